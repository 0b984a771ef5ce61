"""The command freebsd-sim."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from freebsd_sim.host import DEFAULT_NAME, DEFAULT_STATE, RELEASES, Host, HostError, all_hosts

EPILOG = "Everything runs as root on Linux. docs/simulator.md says what is simulated and what is not."


def build_parser() -> argparse.ArgumentParser:
    """Return the grammar of the command line."""
    parser = argparse.ArgumentParser("freebsd-sim", description="A simulated FreeBSD host on Linux.", epilog=EPILOG)
    parser.add_argument("--state", type=Path, default=Path(os.environ.get("FREEBSD_SIM_STATE", DEFAULT_STATE)),
                        metavar="DIR", help="where hosts are kept (or $FREEBSD_SIM_STATE)")  # fmt: skip
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str, *, named: bool = True) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        if named:
            sub.add_argument("--name", default=DEFAULT_NAME, metavar="N", help="which host (default: %(default)s)")
        return sub

    start = verb("start", "Make a host if need be, and start it; its disk is as it was left.")
    start.add_argument("--release", choices=RELEASES, help="the FreeBSD release it is to be (default: 15.0)")
    start.add_argument("--share", action="append", default=[], metavar="DIR",
                       help="a directory of Linux that stands at the same place inside (repeatable)")  # fmt: skip
    start.add_argument("--without-libvirt", action="store_true", help="do not build or install libvirtd")
    start.add_argument("--bare", action="store_true", help="a new host has no packages but Python (default: all)")
    start.add_argument("--single-user", action="store_true", help="start no services of rc.conf, as boot -s does")
    run = verb("run", "Run a command inside a host; its exit status is returned.")
    run.add_argument("--jail", metavar="J", help="run it inside this jail, by jexec(8)")
    run.add_argument("--user", metavar="U", help="run it as this user of the host")
    run.add_argument("--cwd", default="/", metavar="DIR", help="start in this directory of the host")
    run.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="an environment variable")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD ...")
    outside = verb("outside", "Run a program of Linux in the network of a host or a jail: a machine behind it.")
    outside.add_argument("--jail", metavar="J", help="in the network of this jail")
    outside.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD ...")
    lead = verb("forward", "Let ports of Linux's loopback lead to a host's; none, to end it.")
    lead.add_argument("port", nargs="*", type=int, metavar="PORT")
    offer = verb("offer", "Set what a host's package repository offers.")
    offer.add_argument("package", nargs="+", metavar="NAME=VERSION", help="without a version: not offered any more")
    verb("shell", "Open a shell inside a host.")
    status = verb("status", "Say which hosts there are and what they are.", named=False)
    status.add_argument("--name", metavar="N", help="this host alone")
    status.add_argument("--linuxisms", action="store_true", help="list the calls of programs that only Linux has")
    status.add_argument("--probes", action="store_true",
                        help="with --linuxisms: also files that a program can do without")  # fmt: skip
    status.add_argument("--json", action="store_true", help="as JSON")
    stop = verb("stop", "End every process of a host at once, as a power cut would; its disk stays.")
    stop.add_argument("--all", action="store_true", help="every host")
    verb("remove", "Stop a host and delete everything of it.")
    join = verb("link", "Join hosts to a simulated Ethernet segment.", named=False)
    join.add_argument("segment")
    join.add_argument("end", nargs="+", metavar="HOST:INTERFACE", help="as in one:em0; the interface is made")
    unjoin = verb("unlink", "Remove a segment and its interfaces.", named=False)
    unjoin.add_argument("segment")
    setup = verb("setup", "Install and build what hosts need: packages, helpers, libvirtd.", named=False)
    setup.add_argument("--without-libvirt", action="store_true", help="do not build libvirtd")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    What a verb alone needs is imported there: ``run`` is called often and has to be quick.
    """
    options = build_parser().parse_args(arguments)
    try:
        if os.geteuid() != 0:
            raise HostError("simulated hosts need root: run this as root")
        status: int = globals()[f"_{options.verb}"](options)
        return status
    except HostError as error:
        print(f"freebsd-sim: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"freebsd-sim: {error.filename or ''}: {error.strerror}".replace(": : ", ": "), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("freebsd-sim: interrupted", file=sys.stderr)
        return 130


def _say(text: str) -> None:
    print(f"freebsd-sim: {text}", file=sys.stderr, flush=True)


def _build(options: argparse.Namespace, *, with_libvirt: bool) -> tuple[Path, Path | None]:
    from freebsd_sim import libvirt, native_build, packages

    cache = options.state / "build"
    cache.mkdir(parents=True, exist_ok=True)
    options.state.chmod(0o755)
    try:
        packages.install_missing(_say)
        helpers = native_build.build_native(cache / "native")
        if with_libvirt and libvirt.find_built(cache) is None:
            _say("building libvirt with its bhyve driver; this is done once and takes a minute or two")
        return helpers, libvirt.build_libvirt(cache) if with_libvirt else None
    except (packages.PackageError, libvirt.BuildError, native_build.BuildError) as error:
        raise HostError(str(error)) from None


def _setup(options: argparse.Namespace) -> int:
    _build(options, with_libvirt=not options.without_libvirt)
    return 0


def _start(options: argparse.Namespace) -> int:
    host = Host(options.name, options.state)
    shares = [os.path.abspath(share) for share in options.share]
    for share in shares:
        if not os.path.isdir(share):
            raise HostError(f"there is no directory {share} to share")
    if host.pid() is not None:
        print(f"{host.name} is running already")
        return 0
    native, tree = _build(options, with_libvirt=not options.without_libvirt)
    host.start(options.release, shares, native, tree, bare=options.bare)
    if not options.single_user:
        host.start_services()
    print(f"{host.name} is up: freebsd-sim run --name {host.name} uname -a")
    return 0


def _command_of(options: argparse.Namespace) -> list[str]:
    command: list[str] = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise HostError(f"say which command: freebsd-sim {options.verb} [--jail J] CMD ...")
    return command


def _run(options: argparse.Namespace) -> int:
    command = _command_of(options)
    for item in options.env:
        if "=" not in item:
            raise HostError(f"--env {item}: write NAME=VALUE")
    environ = dict(item.partition("=")[::2] for item in options.env)
    host = Host(options.name, options.state)
    return host.run(command, jail=options.jail, user=options.user, cwd=options.cwd, environ=environ)


def _outside(options: argparse.Namespace) -> int:
    command = _command_of(options)
    return Host(options.name, options.state).run_outside(command, jail=options.jail)


def _forward(options: argparse.Namespace) -> int:
    from freebsd_sim.forward import forward

    for port in options.port:
        if not 0 < port < 65536:
            raise HostError(f"{port} is no port: say numbers from 1 to 65535")
    forward(Host(options.name, options.state), options.port)
    return 0


def _offer(options: argparse.Namespace) -> int:
    from freebsd_sim import package_database

    host = Host(options.name, options.state)
    host.settings()
    catalogue = package_database.read_catalogue(host.root)
    for item in options.package:
        name, equals, version = item.partition("=")
        if not equals:
            raise HostError(f"{item}: write NAME=VERSION")
        known = catalogue.pop(name, None) or package_database.initial_catalogue().get(name)
        if known is None:
            raise HostError(f"{name} is no package that a simulated host knows")
        if version:
            catalogue[name] = replace(known, version=version)
    package_database.write_catalogue(host.root, catalogue)
    return 0


def _shell(options: argparse.Namespace) -> int:
    return Host(options.name, options.state).run(
        ["/bin/sh"], cwd="/root", environ={"PS1": f"root@{options.name}:\\w # "}
    )


def _status(options: argparse.Namespace) -> int:
    from freebsd_sim import linuxisms
    from freebsd_sim.forward import forwarded
    from freebsd_sim.root import installed_libvirt
    from freebsd_sim.segment import segments

    hosts = all_hosts(options.state)
    if options.name is not None:
        hosts = [Host(options.name, options.state)]
        hosts[0].settings()
    found = []
    for host in hosts:
        item = {
            "name": host.name,
            "release": host.settings()["release"],
            "pid": host.pid(),
            "root": str(host.root),
            "shares": host.settings()["shares"],
            "libvirt": installed_libvirt(host.root),
            "forwarded": forwarded(host),
        }
        if options.linuxisms:
            touched = linuxisms.read_linuxisms(host.linuxisms)
            item["linuxisms"] = [record.as_dict() for record in touched if options.probes or not record.guarded]
        found.append(item)
    if options.json:
        print(json.dumps({"hosts": found, "segments": segments()}, indent=2))
        return 0
    for item in found:
        state = f"running as process {item['pid']}" if item["pid"] else "stopped"
        print(
            f"{item['name']}: FreeBSD {item['release']} (simulated), {state}, libvirt {item['libvirt'] or 'not built'}"
        )
        records = item.get("linuxisms")
        for record in records if isinstance(records, list) else ():
            print(f"  {record['program']}: {record['kind']}: {record['what']} ({record['where']})")
        if options.linuxisms and not records:
            print("  no Linuxism was touched")
    if not found:
        print("no simulated host: freebsd-sim start makes one")
    for segment in segments():
        print(f"segment {segment}")
    return 0


def _stop(options: argparse.Namespace) -> int:
    hosts = all_hosts(options.state) if options.all else [Host(options.name, options.state)]
    for host in hosts:
        if not options.all:
            host.settings()
        print(f"{host.name} is stopped" if host.stop() else f"{host.name} was not running")
    return 0


def _remove(options: argparse.Namespace) -> int:
    host = Host(options.name, options.state)
    host.settings()
    host.remove()
    print(f"{host.name} is gone")
    return 0


def _link(options: argparse.Namespace) -> int:
    from freebsd_sim.segment import link

    ends = []
    for item in options.end:
        name, colon, interface = item.partition(":")
        if not colon:
            raise HostError(f"{item}: write HOST:INTERFACE, as in one:em0")
        ends.append((Host(name, options.state), interface))
    link(options.segment, ends)
    return 0


def _unlink(options: argparse.Namespace) -> int:
    from freebsd_sim.segment import unlink

    unlink(options.segment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
