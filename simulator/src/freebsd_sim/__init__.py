"""A simulated FreeBSD host: Linux with its Linuxisms taken away and FreeBSD's commands put in."""
