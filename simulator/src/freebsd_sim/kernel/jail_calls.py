"""The jail system calls, for programs inside the host that make them themselves (jail(2))."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from freebsd_sim.kernel.errors import KernelError

if TYPE_CHECKING:
    from freebsd_sim.kernel import Kernel

JAIL_CREATE = 0x01
JAIL_UPDATE = 0x02
JAIL_ATTACH = 0x04
JAIL_DYING = 0x08
KNOWN_FLAGS = JAIL_CREATE | JAIL_UPDATE | JAIL_ATTACH | JAIL_DYING

Answer = tuple[Any, list[int]]


def jail_set(kernel: Kernel, pid: int, uid: int, arguments: dict[str, Any]) -> Answer:
    """Create or change a jail. Arguments: flags, params (name: text or null). Answer: jid; attached: the stack."""
    flags = _take_flags(arguments)
    if uid != 0:
        raise KernelError("EPERM", "")
    values = {}
    for name, text in arguments["params"].items():
        parameter, value = kernel.jails.table.import_value(name, text)
        values[parameter.name] = value
    try:
        jail = kernel.jails.set(
            values,
            create=bool(flags & JAIL_CREATE),
            update=bool(flags & JAIL_UPDATE),
            attach=bool(flags & JAIL_ATTACH),
            caller=kernel.jails.of_process(pid),
        )
    except KernelError as error:
        # Such a text is libjail's; the kernel leaves the buffer empty.
        raise KernelError(error.name, "" if error.text.startswith("jail_set: ") else error.text) from None
    return {"jid": jail.jid}, [os.dup(jail.stack.fd)] if flags & JAIL_ATTACH else []


def jail_get(kernel: Kernel, pid: int, uid: int, arguments: dict[str, Any]) -> Answer:
    """Find a jail by params lastjid, jid or name. Answer: all its parameters in textual form."""
    dying = bool(_take_flags(arguments) & JAIL_DYING)
    viewer = kernel.jails.of_process(pid)
    key = arguments["params"]
    if "lastjid" in key:
        last = int(key["lastjid"])
        jail = next((one for one in kernel.jails.visible(viewer, dying=dying) if one.jid > last), None)
        if jail is None:
            raise KernelError("ENOENT", f"no jail after {last}")
    elif int(key.get("jid") or 0) != 0 or key.get("name"):
        jail = kernel.jails.get(str(int(key.get("jid") or 0) or key["name"]), viewer, dying=dying)
    else:
        raise KernelError("ENOENT", "no jail specified")
    return kernel.jails.values(jail, viewer), []


def jail_attach(kernel: Kernel, pid: int, uid: int, arguments: dict[str, Any]) -> Answer:
    """Enter a jail. Arguments: jid. Answer: the descriptor of the stack to enter."""
    if uid != 0:
        raise KernelError("EPERM")
    try:
        jail = kernel.jails.get(str(int(arguments["jid"])), kernel.jails.of_process(pid))
    except KernelError:
        raise KernelError("EINVAL") from None
    return {"jid": jail.jid, "path": jail.path}, [os.dup(jail.stack.fd)]


def jail_remove(kernel: Kernel, pid: int, uid: int, arguments: dict[str, Any]) -> Answer:
    """Remove a jail. Arguments: jid."""
    if uid != 0:
        raise KernelError("EPERM")
    viewer = kernel.jails.of_process(pid)
    try:
        jail = kernel.jails.get(str(int(arguments["jid"])), viewer)
    except KernelError:
        raise KernelError("EINVAL") from None
    if jail is viewer:
        raise KernelError("EINVAL")
    kernel.jails.remove(jail)
    return {}, []


def _take_flags(arguments: dict[str, Any]) -> int:
    flags = int(arguments.get("flags", 0))
    if flags & ~KNOWN_FLAGS:
        raise KernelError("EINVAL", "")
    return flags


SYSCALLS = {"jail_set": jail_set, "jail_get": jail_get, "jail_attach": jail_attach, "jail_remove": jail_remove}
