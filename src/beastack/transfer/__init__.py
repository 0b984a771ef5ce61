"""Carries the disks of instances from one host to another, for cold migration.

A daemon on each host with guests takes files from the others; nova-compute
asks it, in place of upstream's ssh. Both ends have a certificate of the
cloud's own authority, and see the other's. Standard library only.
"""
