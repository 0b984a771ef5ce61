"""Makes this interpreter a FreeBSD one; found by ``site`` at the start of every Python inside the simulated host."""

__import__("freebsd_personality").activate()
