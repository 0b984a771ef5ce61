"""Python inside the simulated host behaves like Python on FreeBSD, and its Linuxisms are recorded.

``activate`` runs before any program code. It must be quick: it changes the
modules that are loaded already, and leaves the others to a hook that acts
when, and if, they are imported.

What stays Linux's: the numbers of errno, signals, address families and
options (programs use their names; where Python has no name, FreeBSD's number
works), EXT_SUFFIX of compiled modules, sendfile, and programs that are not
Python. cffi and compiled modules are not looked into. jail_attach(2) moves
the calling thread only, not the process.

FREEBSD_SIM_NATIVE in the environment leaves the interpreter a Linux one: for
programs that stand for a part of FreeBSD. FREEBSD_SIM_STATE names a directory
in place of /.sim and is how tests switch the personality on elsewhere.
"""

from __future__ import annotations

import os


def activate() -> None:
    """Take on FreeBSD's ways, when this process is in a simulated host."""
    if "FREEBSD_SIM_NATIVE" in os.environ:
        return
    from . import recorder

    release = recorder.read_release()
    if release is None:
        return
    from . import audit, device_nodes, identity, import_hook

    identity.take_on(release)
    import_hook.install()
    device_nodes.install()
    audit.install()
