"""Beastack: a FreeBSD (or Linux) host as an OpenStack cloud."""

__version__ = "0.4.0"
