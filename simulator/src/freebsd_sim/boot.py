"""What rc(8) has done by the time a FreeBSD host can be used: modules, sysctls, the loopback interface."""

from __future__ import annotations

import os
import shlex

from freebsd_sim.call import Call, Exec
from freebsd_sim.kernel import Kernel
from freebsd_sim.server import log, run_command

LOOPBACK = (
    ("ifconfig", "lo0", "inet", "127.0.0.1/8", "alias", "up"),
    ("ifconfig", "lo0", "inet6", "::1/128", "alias"),
)


def boot(kernel: Kernel) -> None:
    """Bring the host to the state in which rc(8) leaves it. What fails is written to the log."""
    for argv in LOOPBACK:
        _run(kernel, *argv)
    modules = _rc_variable(kernel, "kld_list")
    if modules:
        _run(kernel, "kldload", "-n", *modules.split())
    for line in (kernel.root / "etc/sysctl.conf").read_text().splitlines():
        setting = line.partition("#")[0].strip()
        if setting:
            _run(kernel, "sysctl", "-q", setting)


def _rc_variable(kernel: Kernel, name: str) -> str:
    value = ""
    for line in (kernel.root / "etc/rc.conf").read_text().splitlines():
        if line.startswith(f"{name}="):
            value = " ".join(shlex.split(line.partition("=")[2], comments=True))
    return value


def _run(kernel: Kernel, *argv: str) -> None:
    reading, writing = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    call = Call(
        argv=list(argv), environ={"PATH": "/sbin:/bin:/usr/sbin:/usr/bin"}, cwd="/", pid=os.getpid(), uid=0, gid=0,
        groups=[0], jail=kernel.jails.host, kernel=kernel, stdin=null, stdout=null, stderr=writing,
    )  # fmt: skip
    status = run_command(call)
    os.close(writing)
    os.close(null)
    with open(reading, errors="replace") as pipe:
        said = pipe.read().strip()
    if isinstance(status, Exec) or status != 0:
        log(f"rc: {' '.join(argv)}: {said or status}")
