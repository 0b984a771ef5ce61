"""The beastack command: arguments in, one clear line for each error out.

Exit status: 0 done; 1 it could not be done, or something is wrong; 2 the
arguments are wrong; 3 there is no site, or it does not run; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import beastack
from beastack.cli import commands, simulated
from beastack.cli.tempest.selection import SETS as TEMPEST_SETS
from beastack.freebsd.command import CommandError
from beastack.site.api import CloudError
from beastack.site.backup import BackupError
from beastack.site.clients import ClientsError
from beastack.site.data_services import DataServiceError
from beastack.site.description import HOST_KINDS, HOST_ROLES, DescriptionError
from beastack.site.environment import EnvironmentFailed
from beastack.site.execute import StepFailed
from beastack.site.guest_image import GuestImageError
from beastack.site.host import HostError
from beastack.site.images import ImageError
from beastack.site.joining import JoinError
from beastack.site.layout import default_root
from beastack.site.members import OtherHostError
from beastack.site.operate import NotASite, Refused, SiteError
from beastack.site.release import ReleaseError
from beastack.site.resources import ResourceError
from beastack.site.steps import StepError
from beastack.site.wait import STOPPING, Interrupted, WaitTimeout
from beastack.supervisor.client import SupervisorError, TaskFailed

#: Errors whose text is made for the user: shown as one line, without a traceback.
KNOWN = (
    SiteError, HostError, ReleaseError, EnvironmentFailed, StepError, StepFailed, DataServiceError, ClientsError,
    GuestImageError, BackupError,
    ResourceError, JoinError, OtherHostError, CloudError, CommandError, WaitTimeout, TaskFailed, SupervisorError,
    ImageError,
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="beastack",
        description="Bring up, watch and take down an OpenStack cloud on this machine.",
        epilog="Exit status: 0 done, 1 failed, 2 wrong arguments, 3 no site or not running, 130 interrupted.",
    )
    top.add_argument("--version", action="version", version=f"beastack {beastack.__version__}")
    top.add_argument("--root", type=Path, metavar="DIR", default=default_root(),
                     help="the site's state directory (default: %(default)s)")  # fmt: skip
    top.add_argument("--site", type=Path, metavar="FILE",
                     help="the site's description (default: site.toml there, or in /etc/beastack)")  # fmt: skip
    verbs = top.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    def add(name: str, text: str, *, json: bool = False) -> argparse.ArgumentParser:
        verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if json:
            verb.add_argument("--json", action="store_true", help="print one JSON document")
        return verb

    up = add("up", "install what is missing, start the cloud, boot a first instance", json=True)
    up.add_argument("--plan", action="store_true", help="only print what would be done")
    up.add_argument("--host", choices=HOST_KINDS, help="kind of the host (freebsd on Linux: a simulated one)")
    up.add_argument("--role", choices=HOST_ROLES, help="what the host does (default: all)")
    _add_allow_changed(up)
    add("status", "show the services, with user, pid and memory", json=True)
    add("doctor", "look for all that can be wrong, each finding with its remedy", json=True)
    logs = add("logs", "show a service's log, or the last lines of all")
    logs.add_argument("service", nargs="?", metavar="SERVICE")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as the log grows")
    logs.add_argument(
        "-n", "--lines", type=int, default=None, metavar="N", help="how many lines (default 50; 5 of each)"
    )
    openrc = add("openrc", "print shell lines that set the openstack command's environment")
    openrc.add_argument("user", nargs="?", default="demo", choices=("demo", "admin"))
    add("down", "stop everything and keep the data")
    destroy = add("destroy", "remove all that up made; asks first")
    destroy.add_argument("--yes", action="store_true", help="do not ask")
    destroy.add_argument("--packages", action="store_true", help="also remove the system packages that up installed")
    ssh = add("ssh", "log in to an instance on the provider network, or run a command in it")
    ssh.add_argument("--print", action="store_true", help="print ssh's arguments as JSON instead")
    ssh.add_argument("instance", nargs="?", metavar="[USER@]INSTANCE", help="its name or id (default: the first one)")
    ssh.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND ...")
    image = add("image", "list images, or add one")
    kinds = image.add_subparsers(dest="kind", required=True, metavar="list|add")
    kinds.add_parser("list", help="list the cloud's images")
    put = kinds.add_parser("add", help="add a raw or qcow2 image from a file or URL")
    put.add_argument("source", metavar="FILE|URL")
    put.add_argument("--name", help="its name in the cloud (default: the file's)")
    put.add_argument("--sha256", metavar="HEX", help="the checksum it must have (needed for a URL)")
    put.add_argument("--bios", action="store_true", help="it boots by BIOS, not UEFI")
    console = add("console", "print the address of a page with an instance's console, for a browser")
    console.add_argument("name", metavar="NAME", help="the instance's name or id")
    which = console.add_mutually_exclusive_group()
    which.add_argument("--vnc", dest="screen", action="store_const", const="novnc", default="novnc",
                       help="its screen (the default)")  # fmt: skip
    which.add_argument("--serial", dest="screen", action="store_const", const="serial", help="its serial line")
    host = add("host", "add, list, remove other hosts of the cloud, renew their certificates (on its control host)")
    actions = host.add_subparsers(dest="action", required=True, metavar="add|list|remove|renew")
    new = actions.add_parser("add", help="make another host's credentials, and print the command to run there")
    new.add_argument("name", metavar="NAME", help="what the cloud is to call it")
    new.add_argument("--role", required=True, choices=HOST_ROLES, help="what it is to do")
    new.add_argument("--address", required=True, metavar="ADDRESS/PREFIX", help="its own address, as in 10.0.0.2/24")
    new.add_argument("--interface", metavar="NAME", help="its interface with that address; it carries the tunnels")
    new.add_argument("--output", type=Path, metavar="FILE", help="what to write (default: hosts/NAME.toml of the site)")
    listing = actions.add_parser("list", help="list the hosts, with their services and instances")
    gone = actions.add_parser("remove", help="take a host out of the cloud; it may have no instances")
    gone.add_argument("name", metavar="NAME")
    again = actions.add_parser("renew", help="make the certificates of all hosts anew: those of removed ones end")
    for action in (new, listing, gone, again):
        action.add_argument("--json", action="store_true", help="print one JSON document")
    join = add("join", "make this host one of a cloud that runs elsewhere, looking at that cloud first", json=True)
    what = join.add_mutually_exclusive_group(required=True)
    what.add_argument("file", nargs="?", type=Path, metavar="FILE", help="what beastack host add wrote, or the like")
    what.add_argument("--template", action="store_true", help="print such a file, for another maker's cloud")
    join.add_argument("--plan", action="store_true", help="only print what would be done")
    _add_allow_changed(join)
    add("enable", "start the site when the machine boots")
    add("disable", "do not start the site when the machine boots")
    backup = add("backup", "write the databases, images and keys of the running site to one file")
    backup.add_argument("file", metavar="FILE", help="a new file; - for standard output")
    backup.add_argument("--disks", action="store_true", help="the instances' disks too; no instance may run")
    restore = add("restore", "put a backup back, onto a machine without a site or over one that is down; then: up")
    restore.add_argument("file", metavar="FILE", help="what backup wrote; - for standard input")
    restore.add_argument("--yes", action="store_true", help="do not ask")
    secrets = add("secrets", "make all passwords and keys of the site anew, and put them to use")
    secrets.add_subparsers(dest="action", required=True, metavar="rotate").add_parser(
        "rotate", help="make all passwords and keys of the site anew, and put them to use"
    )
    describe = add("describe", "print an annotated site.toml with every default")
    describe.add_argument("--mdoc", action="store_true", help="print site.toml(5), the manual page, instead")
    seams = add(
        "seams", "list every deviation from upstream's code, or check them against what is installed", json=True
    )
    seams.add_argument("--check", action="store_true", help="check each against the installed packages")
    seams.add_argument("--host", choices=("freebsd", "linux"), help="kind of host (default: this machine's)")
    seams.add_argument("--all", action="store_true", help="those of all kinds of hosts, and those not in use yet")
    seams.add_argument("--venv", type=Path, metavar="DIR", help="what to check (default: the site's packages)")
    _add_allow_changed(seams)
    test = add("test", "run the project's tests, or Tempest against the running cloud", json=True)
    test.add_argument(
        "--tempest", nargs="?", const=TEMPEST_SETS[0], type=_tempest_set, metavar="|".join(TEMPEST_SETS),
        help="run Tempest: its smoke set, or those of the standard SCS-0128's tests that there are services for",
    )  # fmt: skip
    test.add_argument("arguments", nargs="*", help="passed on to pytest, or names of Tempest's tests; after --")
    return top


def _tempest_set(text: str) -> str:
    if text not in TEMPEST_SETS:
        sets = " or ".join(TEMPEST_SETS)
        raise argparse.ArgumentTypeError(f"{text!r} is not {sets} (a test's name goes after --: --tempest -- {text})")
    return text


def _add_allow_changed(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--allow-changed", action="append", metavar="SEAM",
                      help="let this seam stand over upstream code that changed, at your own risk")  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = _parse(argv)
    arguments.root = Path(os.path.realpath(arguments.root))
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if simulated.applies(arguments):
            return simulated.run(arguments, sys.argv[1:] if argv is None else argv)
        return commands.VERBS[arguments.verb](arguments)
    except (DescriptionError, Refused) as error:
        for problem in error.problems:
            _complain(str(problem))
        return 1
    except NotASite as error:
        _complain(str(error))
        return 3
    except KNOWN as error:
        if STOPPING.is_set():
            _complain("interrupted; what is done stays, and up goes on from there")
            return 130
        _complain(str(error))
        return 1
    except Interrupted:
        _complain("interrupted; what is done stays, and up goes on from there")
        return 130
    except KeyboardInterrupt:
        _complain("interrupted")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except PermissionError as error:
        _complain(f"{error.filename}: permission denied (run as root)")
        return 1
    except OSError as error:
        _complain(f"{error.filename or 'the system'}: {error.strerror or error}")
        return 1
    except Exception as error:
        return _unexpected(error, arguments.root)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    top = parser()
    arguments = top.parse_args(argv)
    if arguments.verb == "test" and arguments.json and not arguments.tempest:
        top.error("--json goes with test --tempest")
    return arguments


def _interrupt(number: int, frame: FrameType | None) -> None:
    """First: let the steps under way end, start no other. Second: leave at once."""
    if STOPPING.is_set():
        os._exit(130)
    STOPPING.set()
    if commands.patient():
        sys.stderr.write("\nstopping after the steps under way (once more: at once)\n")
        return
    raise KeyboardInterrupt


def _complain(text: str) -> None:
    sys.stderr.write(f"beastack: {' '.join(text.split())}\n")


def _unexpected(error: Exception, root: Path) -> int:
    """A mistake of ours: one line for the user, the whole in a file for who mends it."""
    place = root / "log" / "beastack.log"
    try:
        with place.open("a") as stream:
            traceback.print_exception(error, file=stream)
        _complain(f"a fault in beastack itself: {type(error).__name__}: {error} (details in {place})")
    except OSError:
        _complain(f"a fault in beastack itself: {type(error).__name__}: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
