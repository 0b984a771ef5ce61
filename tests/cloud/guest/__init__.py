"""What network_guest.py is made of: a guest's own software. Linux, the standard library, nothing of the project."""
