"""The two layouts that are compared: who starts the services, from what, and which processes are theirs.

Both run the same services with the same configuration values against the same
databases, message broker, switch and hypervisor, which run all the time.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from beastack.freebsd.command import CommandError, run
from beastack.site import code, configuration, resources, services
from beastack.site.configuration import Site
from beastack.site.host.linux import descendants
from beastack.site.steps import Steps
from beastack.site.wait import wait_until
from beastack.supervisor.client import Client

#: Programs that services start for the guests' sake; they are the same in both layouts.
NOT_COUNTED = ("dnsmasq", "haproxy", "qemu-system-x86")
AGENTS = ("neutron-ovs-agent", "neutron-dhcp-agent", "neutron-metadata-agent")
APIS = ("keystone", "glance", "placement", "neutron-api", "nova-api", "nova-metadata")

#: Ten guests of one CPU each are to fit on any machine, in both layouts.
ROOM = {"nova-compute": {"DEFAULT": {"cpu_allocation_ratio": 32.0, "ram_allocation_ratio": 4.0}}}

PYUWSGI = "pyuwsgi==2.0.30.post1"


class Layout(Protocol):
    """One way to run the OpenStack services of a site."""

    name: str

    @property
    def reaper(self) -> int:
        """The process at the root, which inherits orphans."""

    def prepare(self) -> None:
        """Begin what goes on beside the start of the first service."""

    def start(self, *units: str) -> None:
        """Start services; returns before they serve."""

    def settle(self) -> None:
        """Let go of what only the start needed."""

    def stop(self) -> None:
        """Stop all of them; returns when no process is left."""

    def processes(self) -> list[int]:
        """Return every process of the OpenStack services."""


def sections_of(site: Site, service: str) -> configuration.Sections:
    """Return a service's configuration as the site would render it, with room for the guests that are measured."""
    return configuration.merge(configuration.FILES[service][1](site), ROOM.get(service, {}))  # type: ignore[arg-type]


class Beastack:
    """The site's own layout: services forked by the supervisor from preloaded parents."""

    name = "beastack"

    @property
    def reaper(self) -> int:
        return int(self.client.ask("status")["pid"])

    def __init__(self, site: Site) -> None:
        self.site = site
        self.client = Client(site.layout.root)

    def prepare(self) -> None:
        for service in ROOM:
            file = self.site.layout.etc(service) / configuration.FILES[service][0]
            file.write_text(configuration.render(sections_of(self.site, service)))
        self.client.ask("preload", names=[parent.name for parent in services.parents(self.site)])

    def start(self, *units: str) -> None:
        by_name = {unit.name: unit for unit in services.UNITS}
        names = [name for unit in units for name in services.workers(self.site, by_name[unit])]
        self.client.ask("start", names=names)

    def settle(self) -> None:
        # As `up` does at its end.
        self.client.ask("retire", names=list(services.PASSING_PARENTS))

    def stop(self) -> None:
        """Stop the services and their parents too: what follows begins without preloaded modules."""
        names = [service.name for service in services.openstack_services(self.site)]
        self.client.ask("stop", names=names)

        def stopped() -> tuple[bool, str]:
            running = self.client.services()
            left = [name for name in names if running[name]["pid"]]
            return not left, ", ".join(left)

        wait_until(stopped, what="the services to stop", timeout=120, interval=0.05)
        parents = [parent.name for parent in services.parents(self.site)]
        self.client.ask("retire", names=parents[::-1])
        wait_until(lambda: (not self.processes()[1:], "still there"), what="the parents to end", timeout=30)

    def processes(self) -> list[int]:
        """Return the supervisor, its parents, the services and the privileged daemons."""
        status = self.client.ask("status")
        others = {
            pid
            for item in status["services"]
            if item["tier"] in (services.DATA, services.SWITCH, services.HYPERVISOR) and item["pid"]
            for pid in descendants(item["pid"])
        }
        return [pid for pid in descendants(status["pid"]) if pid not in others and is_counted(pid)]


class Stock:
    """Each service an interpreter of its own, as upstream's scripts start it; APIs under uWSGI with two workers."""

    name = "stock"
    workers = 2

    @property
    def reaper(self) -> int:
        return 0 if self.launcher is None else self.launcher.pid

    def __init__(self, site: Site, pyuwsgi: Path) -> None:
        self.site = site
        self.pyuwsgi = pyuwsgi
        self.directory = Path(tempfile.mkdtemp(prefix="beastack-stock-"))
        self.directory.chmod(0o711)
        for unit in services.UNITS:
            self._configure(unit)
        self.launcher: subprocess.Popen[str] | None = None

    def _configure(self, unit: services.Unit) -> None:
        sections = sections_of(self.site, unit.name)
        file = self._file(unit.name)
        # The size of thread pools is upstream's default, and so is how privileged daemons start.
        sections["DEFAULT"].pop("executor_thread_pool_size", None)
        for options in sections.values():
            if "helper_command" in options:
                options["helper_command"] = f"{self.site.layout.venv}/bin/privsep-helper --config-file {file}"
        file.parent.mkdir()
        file.write_text(configuration.render(sections))
        if not unit.root:
            group = pwd.getpwnam(self.site.layout.user(unit.name)).pw_gid
            for path in (file, file.parent):
                os.chown(path, 0, group)
        file.chmod(0o640)
        file.parent.chmod(0o750)

    def _file(self, service: str) -> Path:
        return self.directory / service / configuration.FILES[service][0]

    def prepare(self) -> None:
        environment = dict(os.environ)
        environment["PYTHONPATH"] = f"{Path(__file__).resolve().parent.parent}{os.pathsep}{code.SOURCE.parent}"
        self.launcher = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.launcher"], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0,
        )  # fmt: skip

    def start(self, *units: str) -> None:
        assert self.launcher is not None and self.launcher.stdin is not None and self.launcher.stdout is not None
        for unit in services.UNITS:
            if unit.name in units:
                order = {
                    "argv": self._argv(unit), "env": self._environment(unit),
                    "user": "root" if unit.root else self.site.layout.user(unit.name),
                    "log": str(self.directory / f"{unit.name}.log"), "umask": 0o022 if unit.root else 0o027,
                }  # fmt: skip
                self.launcher.stdin.write(json.dumps(order) + "\n")
                self.launcher.stdin.flush()
                self.launcher.stdout.readline()

    def settle(self) -> None:
        """Nothing was needed for the start alone."""

    def _environment(self, unit: services.Unit) -> dict[str, str]:
        ours, theirs = str(self.site.layout.etc(unit.name)), str(self.directory / unit.name)
        variables = {
            name: value.replace(ours, theirs) for name, value in services.environment(self.site, unit.name).items()
        }
        # Beastack's own choices.
        for name in ("MALLOC_ARENA_MAX", "OPENBLAS_NUM_THREADS"):
            variables.pop(name, None)
        if unit.wsgi:
            variables["PYTHONPATH"] += f"{os.pathsep}{self.pyuwsgi}"
        return variables

    def _argv(self, unit: services.Unit) -> list[str]:
        python = str(self.site.layout.python)
        if unit.wsgi:
            return self._uwsgi(unit, python)
        file = f"--config-file={self._file(unit.name)}"
        if unit.name == "nova-compute":
            # UEFI guests need this on old libvirt, whatever the layout.
            code = "import sys, beastack.port.nova.linux_seams, nova.cmd.compute as c; sys.argv[0] = 'nova-compute'"
            return [python, "-c", f"{code}; sys.exit(c.main())", file]
        scripts = {
            "neutron-rpc": "neutron-rpc-server",
            "neutron-periodic": "neutron-periodic-workers",
            "neutron-ovs-agent": "neutron-openvswitch-agent",
        }
        return [python, str(self.site.layout.venv / "bin" / scripts.get(unit.name, unit.name)), file]

    def _uwsgi(self, unit: services.Unit, python: str) -> list[str]:
        """Return uWSGI's command line, after DevStack's write_uwsgi_config.

        DevStack has Apache in front, which keeps clients' connections open;
        uWSGI's own router stands for it here, and is smaller.
        """
        address = f"{self.site.url_host}:{getattr(self.site.ports, unit.port)}"
        module, _, callable_name = unit.wsgi.partition(":")
        return [
            python, "-c", "import sys, pyuwsgi; pyuwsgi.run(sys.argv[1:])",
            "--http", address, "--http-keepalive=75", "--http-auto-chunked",
            "--module", module, "--callable", callable_name, "--procname-prefix-spaced", unit.name,
            "--master", "--processes", str(self.workers), "--lazy-apps", "--enable-threads", "--thunder-lock",
            "--die-on-term", "--exit-on-reload", "--buffer-size", "65535", "--disable-logging",
        ]  # fmt: skip

    def stop(self) -> None:
        if self.launcher is not None:
            assert self.launcher.stdin is not None
            with contextlib.suppress(OSError):
                self.launcher.stdin.close()
            self.launcher.wait(60)
            self.launcher = None

    def processes(self) -> list[int]:
        """Return the services, masters, routers and privileged daemons; not what started them."""
        if self.launcher is None:
            return []
        return [pid for pid in descendants(self.launcher.pid)[1:] if is_counted(pid)]

    def remove(self) -> None:
        """Remove configuration and logs."""
        shutil.rmtree(self.directory, ignore_errors=True)


def is_counted(pid: int) -> bool:
    """Return whether a process is one of OpenStack's own."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() not in NOT_COUNTED
    except OSError:
        return False


def fetch_pyuwsgi(site: Site, directory: Path) -> Path:
    """Install uWSGI for the site's interpreter beside it, once.

    :raises CommandError: it cannot be fetched
    """
    target = directory / PYUWSGI.replace("==", "-")
    if not target.exists():
        fresh = target.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        uv = site.layout.root / "tools" / "bin" / "uv"
        program = [str(uv), "pip"] if uv.exists() else [str(site.layout.python), "-m", "pip"]
        python = ["--python", str(site.layout.python)] if uv.exists() else []
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)
        run([*program, "install", *python, "--only-binary", ":all:", "--target", str(fresh), PYUWSGI],
            timeout=300, env=dict(os.environ))  # fmt: skip
        fresh.rename(target)
    return target


def bring_up(layout: Layout, site: Site) -> dict[str, float]:
    """Start all services, each as soon as what it needs is there, and return when what was reached, in seconds."""
    steps = Steps(site)
    began, wall = time.monotonic(), time.time()
    reached: dict[str, float] = {}

    def answers(*units: str) -> None:
        for unit in services.UNITS:
            if unit.name in units:
                check = functools.partial(steps.http_answers, unit)
                wait_until(check, what=f"{unit.name} to answer", timeout=180, interval=0.1)

    def network() -> None:
        answers("neutron-api")
        steps.await_readers("q-plugin", "q-reports-plugin")
        layout.start(*AGENTS)

    def compute() -> None:
        steps.await_readers("conductor", "scheduler")
        layout.start("nova-compute")
        steps.await_readers(f"compute.{site.facts.hostname}")

    layout.prepare()
    layout.start("keystone")
    answers("keystone")
    reached["keystone answers"] = time.monotonic() - began
    layout.start(*(unit.name for unit in services.UNITS if unit.tier == services.CONTROL))
    with ThreadPoolExecutor(2) as pool:
        hosts = [pool.submit(network), pool.submit(compute)]
        answers(*APIS)
        reached["six APIs answer"] = time.monotonic() - began
        for future in hosts:
            future.result()
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(wall))
    wanted = [(site.facts.hostname, binary) for binary in ("nova-compute", *steps.host_binaries())]
    cloud = steps.admin()

    def reported() -> tuple[bool, str]:
        missing = resources.hosts_up(cloud).missing(wanted, since)
        return not missing, f"missing: {missing}"

    wait_until(reported, what="the host's services to report", timeout=180, interval=0.3)
    reached["cloud answers"] = time.monotonic() - began
    layout.settle()
    return reached


@contextlib.contextmanager
def running(layout: Layout, site: Site) -> Iterator[dict[str, float]]:
    """Run a layout for a while; yields when it reached what."""
    try:
        yield bring_up(layout, site)
    finally:
        layout.stop()


__all__ = ["Beastack", "CommandError", "Layout", "Stock", "bring_up", "fetch_pyuwsgi", "running"]
