"""The process tree: start, restart, stop and log what a site runs.

Knows processes, users and log files; knows no OpenStack: which modules a
parent preloads and what a service runs are data that the site hands over.
"""
