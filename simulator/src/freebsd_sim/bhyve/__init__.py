"""The simulated bhyve(8): FreeBSD's command line in front, QEMU as the device model behind."""
