"""Process 1 of a simulated host, and the kernel that it starts.

Process 1 only adopts and reaps; the kernel is its one child, so that the
kernel's own children are nobody else's. When the kernel ends, process 1 ends,
and with it, by Linux's rules, every process of the host.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from freebsd_sim import boot as rc
from freebsd_sim import linux, protocol, root
from freebsd_sim.kernel import Kernel, Release
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.server import Server, log

NAMESPACES = ("mnt", "pid", "net", "uts", "ipc")


def boot(settings: dict[str, Any], ready: int) -> None:
    """Be process 1 of a new host; never returns.

    :param settings: name, release, root, state, shares
    :param ready: a pipe's end: "ok" or one line that says what failed is written there
    """
    try:
        linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
        linux.mount("proc", "/proc", "proc")
        (Path("/proc/sys/kernel/hostname")).write_text(settings["name"])
        root.mount_all(Path(settings["root"]), settings["shares"])
        kernel = os.fork()
    except OSError as error:
        _report(ready, f"{error.filename or ''}: {error.strerror}")
        os._exit(1)
    if kernel == 0:
        _run_kernel(settings, ready)
    os.close(ready)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        pid, _ = os.wait()
        if pid == kernel:
            os._exit(1)


def _report(ready: int, text: str) -> None:
    os.write(ready, text.encode())


def _run_kernel(settings: dict[str, Any], ready: int) -> None:
    try:
        directory = Path(settings["root"])
        kernel = Kernel(settings["name"], Release(settings["release"]), directory, Path(settings["state"]))
        mounts, top = _make_mount_namespace(directory)
        others = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name in NAMESPACES[1:]]
        namespaces = [mounts, *others, top]

        def enter(_: Kernel, pid: int, uid: int, arguments: dict[str, Any]) -> tuple[Any, list[int]]:
            # A caller without a number here is outside of the host.
            if pid != 0 or uid != 0:
                raise KernelError("EPERM")
            given = list(namespaces)
            if arguments.get("jail") is not None:
                given[NAMESPACES.index("net")] = kernel.jails.get(str(arguments["jail"])).network.stack.fd
            return [*NAMESPACES, "root"], [os.dup(descriptor) for descriptor in given]

        kernel.boot()
        kernel.system_calls["enter"] = enter
        rc.boot(kernel)
        server = Server(kernel, directory / protocol.SOCKET)
        _report(ready, "ok")
        os.close(ready)
        log(f"FreeBSD {kernel.release.text}, simulated, is up as {kernel.name}")
    except BaseException as error:
        log(traceback.format_exc())
        _report(ready, f"{type(error).__name__}: {error}")
        os._exit(1)
    server.serve()


def _make_mount_namespace(directory: Path) -> tuple[int, int]:
    """Return a mount namespace in which the host's root is the root, and that root.

    Where this program itself runs below a chroot, the namespace's own root
    stays what it was: who enters goes to the root that is returned.
    """
    done, tell = os.pipe()
    wait, go = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(go)
            linux.unshare(linux.CLONE_NEWNS)
            os.chdir(directory)
            linux.pivot_root(".", ".")
            linux.unmount(".")
            os.write(tell, b"k")
            os.read(wait, 1)
        except OSError as error:
            os.write(tell, str(error).encode())
        finally:
            os._exit(0)
    os.close(tell)
    os.close(wait)
    answer = os.read(done, 1000)
    try:
        if answer != b"k":
            raise RuntimeError(answer.decode() or "no mount namespace")
        top = os.open(f"/proc/{child}/root", os.O_PATH | os.O_DIRECTORY)
        return os.open(f"/proc/{child}/ns/mnt", os.O_RDONLY), top
    finally:
        os.close(go)
        os.close(done)
        os.waitpid(child, 0)


def main() -> None:
    """Make the namespaces, then become process 1 in a child; the parent tells the child's number and ends."""
    settings = json.loads(sys.argv[1])
    ready = int(sys.argv[2])
    os.setsid()
    linux.unshare(linux.CLONE_NEWPID | linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
    child = os.fork()
    if child == 0:
        boot(settings, ready)
    Path(settings["state"], "pid").write_text(f"{child}\n")


if __name__ == "__main__":
    main()
