"""What a FreeBSD host refuses, as exception classes.

Each is a CommandError: it carries argv, exit status and standard error. The
texts that lead to each class stand beside the commands that print them, in
the modules that run those commands.
"""

from __future__ import annotations

from collections.abc import Sequence

from beastack.freebsd.command import CommandError


class PermissionDenied(CommandError):
    """The caller is not root, or the jail it runs in does not allow this."""


class InvalidArgument(CommandError):
    """The host understands the request and refuses a value in it."""


class InterfaceNotFound(CommandError):
    """There is no interface of that name (in that jail)."""


class InterfaceExists(CommandError):
    """An interface of that name is there already."""


class InterfaceBusy(CommandError):
    """The interface is in use: a member of another bridge, attached, or held open."""


class AddressExists(CommandError):
    """The address, or the route its prefix brings, belongs to another interface already."""


class AddressNotFound(CommandError):
    """The interface does not have that address."""


class MemberNotFound(CommandError):
    """The interface is not a member of that bridge."""


class MemberExists(CommandError):
    """The interface is a member of that bridge already."""


class RouteExists(CommandError):
    """A route to that destination is there already."""


class RouteNotFound(CommandError):
    """There is no route to that destination."""


class NetworkUnreachable(CommandError):
    """The gateway is not on a connected network."""


class NeighbourNotFound(CommandError):
    """There is no such entry in the ARP or ND table."""


class JailNotFound(CommandError):
    """There is no jail of that name or number."""


class JailExists(CommandError):
    """A jail of that name is there already."""


class JailDying(CommandError):
    """The jail was removed, but something still holds it."""


class SysctlNotFound(CommandError):
    """There is no sysctl of that name."""


class SysctlReadOnly(CommandError):
    """The sysctl cannot be written, or only by the boot loader."""


class ModuleNotFound(CommandError):
    """There is no kernel module of that name."""


class ModuleBusy(CommandError):
    """The kernel module is in use, or part of the kernel."""


class ProcessNotFound(CommandError):
    """There is no such process, or it cannot be seen from here."""


class AccountExists(CommandError):
    """A user or group of that name or number is there already."""


class AccountNotFound(CommandError):
    """There is no user or group of that name."""


class ServiceNotFound(CommandError):
    """There is no rc script of that name."""


class PackageNotFound(CommandError):
    """No repository has a package of that name."""


class DatasetExists(CommandError):
    """A ZFS dataset of that name is there already."""


class DatasetNotFound(CommandError):
    """There is no ZFS dataset of that name."""


class DatasetBusy(CommandError):
    """The ZFS dataset is in use, or others depend on it."""


class ServiceDisabled(CommandError):
    """The service is not enabled in rc.conf, so its script did nothing."""


class OutOfSpace(CommandError):
    """The ZFS pool, or a quota or reservation in it, has no room for this."""


def translate(error: CommandError, table: Sequence[tuple[str, type[CommandError]]]) -> CommandError:
    """Return the typed form of a failed command.

    :param table: pairs of a text and a class; the first text found in what the
        command printed (standard error, then standard output) decides
    :returns: an exception of that class with the same argv, status and output,
        or the error itself when no text is found
    """
    said = f"{error.stderr}\n{error.stdout}"
    for text, kind in table:
        if text in said:
            return kind(error.argv, error.status, error.stdout, error.stderr)
    return error
