"""Seams: declared, documented, hash-checked substitutions in upstream code.

A seam exists only where upstream offers no option, entry point or subclass
hook. Each is one record; installing one wraps the import of the module it
changes, so that nothing is imported early on its behalf.
"""
