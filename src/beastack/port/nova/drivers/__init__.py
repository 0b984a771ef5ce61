"""Directories of modules that are given to upstream's package ``nova.virt`` to look in."""
