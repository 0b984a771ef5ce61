/* libvirt's bhyve driver includes this file of FreeBSD and uses nothing of it. */
