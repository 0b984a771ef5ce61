"""The host library: what drives a host. Imports the standard library only."""
