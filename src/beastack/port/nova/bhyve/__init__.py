"""The bhyve driver of nova-compute: upstream's libvirt driver, where libvirt's bhyve driver and FreeBSD differ."""
