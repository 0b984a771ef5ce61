"""Served as ``neutron.privileged.agent.linux.ip_lib`` on FreeBSD (seam N3): entry points, and what they raise.

The names, the arguments, the exceptions and the privilege context of each
function are upstream's, and so are the shapes of results: the agents' own
layer above this stays as it is. What is done, and how, stands in the modules
``ip_lib_*`` beside this one. Exceptions travel from the privileged daemon by
class and text, so that no other kind than those of this module and Python's
own may leave it.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import re
import socket
from collections.abc import Iterator
from typing import Any

import tenacity  # type: ignore[import-not-found,unused-ignore]
from neutron import privileged
from neutron._i18n import _
from neutron_lib import constants
from oslo_log import log as logging
from pyroute2.netlink import exceptions as netlink_exceptions
from pyroute2.netlink import rtnl
from pyroute2.netlink.rtnl import ndmsg

from beastack.freebsd import errors
from beastack.freebsd.command import CommandError
from beastack.port.neutron import (
    ip_lib_addresses,
    ip_lib_create,
    ip_lib_links,
    ip_lib_namespaces,
    ip_lib_neighbours,
    ip_lib_routes,
)

LOG = logging.getLogger(__name__)

_IP_VERSION_FAMILY_MAP = {4: socket.AF_INET, 6: socket.AF_INET6}

NETNS_RUN_DIR = str(ip_lib_namespaces.MARKERS.directory)

NUD_STATES = {state[1]: state[0] for state in ndmsg.states.items()}


def get_scope_name(scope):  # type: ignore[no-untyped-def]
    """Return the number of a scope given by name (``global`` too), or what was given."""
    scope = "universe" if scope == "global" else scope
    return rtnl.rt_scope.get(scope, scope)


class NetworkNamespaceNotFound(RuntimeError):
    """There is no such jail."""

    message = _("Network namespace %(netns_name)s could not be found.")

    def __init__(self, netns_name):  # type: ignore[no-untyped-def]
        super().__init__(self.message % {"netns_name": netns_name})


class _DeviceError(RuntimeError):
    """The daemon's client makes an exception anew from its text alone, which is why that comes first."""

    message = ""

    def __init__(self, message=None, device=None, namespace=None):  # type: ignore[no-untyped-def]
        super().__init__(message or self.message % {"device": device, "namespace": namespace})


class NetworkInterfaceNotFound(_DeviceError):
    """There is no such interface in that jail."""

    message = _("Network interface %(device)s not found in namespace %(namespace)s.")


class InterfaceOperationNotSupported(_DeviceError):
    """FreeBSD, or that interface, has nothing like it."""

    message = _("Operation not supported on interface %(device)s, namespace %(namespace)s.")


class InvalidArgument(_DeviceError):
    """The host refuses a value."""

    message = _("Invalid parameter/value used on interface %(device)s, namespace %(namespace)s.")


class IpAddressAlreadyExists(RuntimeError):
    """The interface has that address."""

    message = _("IP address %(ip)s already configured on %(device)s.")

    def __init__(self, message=None, ip=None, device=None):  # type: ignore[no-untyped-def]
        super().__init__(message or self.message % {"ip": ip, "device": device})


class InterfaceAlreadyExists(RuntimeError):
    """There is an interface of that name."""

    message = _("Interface %(device)s already exists.")

    def __init__(self, message=None, device=None):  # type: ignore[no-untyped-def]
        super().__init__(message or self.message % {"device": device})


@contextlib.contextmanager
def _translated(device: Any = None, namespace: Any = None) -> Iterator[None]:
    """Let only exceptions out that the agents know, and that can be made anew from their text."""
    where = {"device": device, "namespace": namespace}
    try:
        yield
    except errors.InterfaceNotFound as error:
        raise NetworkInterfaceNotFound(**where) from error
    except (errors.JailNotFound, errors.JailDying) as error:
        # Of two jails in one request, ifconfig(8) names the one that is not there.
        named = re.search(r'jail "(.+)" ', error.stderr)
        raise NetworkNamespaceNotFound(netns_name=named.group(1) if named else namespace) from error
    except errors.InterfaceExists as error:
        raise InterfaceAlreadyExists(device=device) from error
    except ip_lib_addresses.AddressPresent as error:
        raise IpAddressAlreadyExists(ip=str(error), device=device) from error
    except errors.InterfaceBusy as error:
        raise InterfaceOperationNotSupported(message=f"{_DEVICE % where} {error}") from error
    except ip_lib_links.Unsupported as error:
        raise InterfaceOperationNotSupported(message=f"{_DEVICE % where} {error}") from error
    except (errors.InvalidArgument, ValueError) as error:
        raise InvalidArgument(message=f"{InvalidArgument.message % where} {error}") from error
    except (CommandError, ip_lib_namespaces.ForeignJail) as error:
        raise RuntimeError(str(error)) from error


_DEVICE = InterfaceOperationNotSupported.message


def get_iproute(namespace):  # type: ignore[no-untyped-def]
    """Raise: there is no netlink socket for other modules to use.

    :raises NotImplementedError: always
    """
    raise NotImplementedError("FreeBSD has no netlink socket of another network stack")


@privileged.default.entrypoint
def open_namespace(namespace):  # type: ignore[no-untyped-def]
    """Do nothing if the jail is there.

    :raises NetworkNamespaceNotFound: it is not
    """
    with _translated(namespace=namespace):
        ip_lib_namespaces.check_namespace(namespace)


@privileged.default.entrypoint
def list_ns_pids(namespace):  # type: ignore[no-untyped-def]
    """Return the processes in a jail; none if there is no such jail."""
    with _translated(namespace=namespace):
        return ip_lib_namespaces.list_pids(namespace)


def get_link_id(device, namespace, raise_exception=True):  # type: ignore[no-untyped-def]
    """Return the index of an interface, or None when it is not there and may be missing.

    :raises NetworkInterfaceNotFound: it is not there
    """
    try:
        with _translated(device, namespace):
            return ip_lib_links.read_one(device, namespace).index
    except NetworkInterfaceNotFound:
        if raise_exception:
            raise
    LOG.debug("Interface %(dev)s not found in namespace %(namespace)s", {"dev": device, "namespace": namespace})
    return None


@privileged.default.entrypoint
def privileged_get_link_id(device, namespace, raise_exception=True):  # type: ignore[no-untyped-def]
    """As ``get_link_id``."""
    return get_link_id(device, namespace, raise_exception=raise_exception)


@privileged.default.entrypoint
def add_ip_address(ip_version, ip, prefixlen, device, namespace, scope, broadcast=None):  # type: ignore[no-untyped-def]
    """Add an address; its scope is what FreeBSD gives it.

    :raises IpAddressAlreadyExists: it is there
    """
    with _translated(device, namespace):
        wanted = (ipaddress.ip_interface(f"{ip}/{prefixlen}"), broadcast)
        ip_lib_addresses.add_addresses([wanted], device, namespace)


@privileged.default.entrypoint
def add_ip_addresses(cidrs, device, namespace, scope, add_broadcast=True):  # type: ignore[no-untyped-def]
    """Add addresses one after the other; broadcast addresses are those of their networks.

    :raises IpAddressAlreadyExists: one is there
    """
    with _translated(device, namespace):
        wanted = [(ipaddress.ip_interface(str(cidr)), None) for cidr in cidrs]
        ip_lib_addresses.add_addresses(wanted, device, namespace)


@privileged.default.entrypoint
def delete_ip_address(ip_version, ip, prefixlen, device, namespace):  # type: ignore[no-untyped-def]
    """Delete an address; one that is not there is no error."""
    with _translated(device, namespace):
        ip_lib_addresses.delete_address(f"{ip}/{prefixlen}", device, namespace)


@privileged.default.entrypoint
def delete_ip_addresses(cidrs, device, namespace):  # type: ignore[no-untyped-def]
    """Delete addresses; those that are not there are no error."""
    with _translated(device, namespace):
        for cidr in cidrs:
            ip_lib_addresses.delete_address(str(cidr), device, namespace)


@privileged.default.entrypoint
def flush_ip_addresses(ip_version, device, namespace):  # type: ignore[no-untyped-def]
    """Delete all addresses of a family."""
    with _translated(device, namespace):
        ip_lib_addresses.flush_addresses(ip_version, device, namespace)


@privileged.default.entrypoint
def create_interface(ifname, namespace, kind, **kwargs):  # type: ignore[no-untyped-def]
    """Make an interface; its name is cut to the length that interfaces can have.

    :raises InterfaceAlreadyExists: the name is taken
    """
    ifname = ifname[: constants.DEVICE_NAME_MAX_LEN]
    with _translated(ifname, namespace):
        ip_lib_create.create_link(ifname, namespace, kind, kwargs)


@privileged.default.entrypoint
def delete_interface(ifname, namespace, **kwargs):  # type: ignore[no-untyped-def]
    """Destroy an interface."""
    with _translated(ifname, namespace):
        ip_lib_links.delete_link(ifname, namespace)


@privileged.default.entrypoint
def interface_exists(ifname, namespace):  # type: ignore[no-untyped-def]
    """Tell whether an interface is there; without its jail it is not."""
    with _translated(ifname, namespace):
        return ip_lib_links.exists(ifname, namespace)


@privileged.link_cmd.entrypoint
def set_link_flags(device, namespace, flags):  # type: ignore[no-untyped-def]
    """Raise flags of an interface."""
    with _translated(device, namespace):
        ip_lib_links.raise_flags(device, namespace, flags)


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(NetworkInterfaceNotFound),
    wait=tenacity.wait_exponential(multiplier=0.02, max=1),
    stop=tenacity.stop_after_delay(3),
    reraise=True,
)
@privileged.link_cmd.entrypoint
def set_link_attribute(device, namespace, **attributes):  # type: ignore[no-untyped-def]
    """Change an interface: address, mtu, state, ifalias, ifname, net_ns_fd."""
    with _translated(device, namespace):
        ip_lib_links.change_link(device, namespace, attributes)


@privileged.link_cmd.entrypoint
def set_link_vf_feature(device, namespace, vf_config):  # type: ignore[no-untyped-def]
    """Raise: SR-IOV is set up by iovctl(8), before anything uses the card."""
    raise InterfaceOperationNotSupported(device=device, namespace=namespace)


@privileged.link_cmd.entrypoint
def set_link_bridge_forward_delay(device, forward_delay, namespace=None):  # type: ignore[no-untyped-def]
    """Raise: nothing needs it without spanning tree."""
    raise InterfaceOperationNotSupported(device=device, namespace=namespace)


@privileged.link_cmd.entrypoint
def set_link_bridge_stp(device, stp, namespace=None):  # type: ignore[no-untyped-def]
    """Leave spanning tree off, as it is; it cannot be turned on for a whole bridge."""
    if stp:
        raise InterfaceOperationNotSupported(device=device, namespace=namespace)


@privileged.link_cmd.entrypoint
def set_link_bridge_master(device, bridge, namespace=None):  # type: ignore[no-untyped-def]
    """Put an interface into a bridge, or (None) out of the one it is in."""
    with _translated(device, namespace):
        ip_lib_links.set_bridge(device, bridge, namespace)


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(NetworkInterfaceNotFound),
    wait=tenacity.wait_exponential(multiplier=0.02, max=1),
    stop=tenacity.stop_after_delay(8),
    reraise=True,
)
@privileged.link_cmd.entrypoint
def get_link_attributes(device, namespace):  # type: ignore[no-untyped-def]
    """Return mtu, qlen, state, qdisc, brd, link/ether, alias, allmulticast and link_kind."""
    with _translated(device, namespace):
        return ip_lib_links.read_attributes(device, namespace)


@privileged.link_cmd.entrypoint
def get_link_vfs(device, namespace):  # type: ignore[no-untyped-def]
    """Return no virtual functions, of an interface that is there."""
    with _translated(device, namespace):
        ip_lib_links.read_attributes(device, namespace)
    return {}


@privileged.default.entrypoint
def add_neigh_entry(ip_version, ip_address, mac_address, device, namespace, nud_state, **kwargs):  # type: ignore[no-untyped-def]
    """Set the MAC address of a neighbour."""
    with _translated(device, namespace):
        ip_lib_neighbours.set_entry(ip_version, ip_address, mac_address, device, namespace, nud_state)


@privileged.default.entrypoint
def delete_neigh_entry(ip_version, ip_address, mac_address, device, namespace, **kwargs):  # type: ignore[no-untyped-def]
    """Delete the entry of a neighbour; one that is not there is no error."""
    with _translated(device, namespace):
        ip_lib_neighbours.remove_entry(ip_address, device, namespace)


@privileged.default.entrypoint
def dump_neigh_entries(ip_version, device, namespace, **kwargs):  # type: ignore[no-untyped-def]
    """Return neighbours as dictionaries of dst, lladdr, device and state."""
    with _translated(device, namespace):
        return ip_lib_neighbours.list_entries(ip_version, device, namespace, kwargs)


@privileged.namespace_cmd.entrypoint
def create_netns(name, **kwargs):  # type: ignore[no-untyped-def]
    """Make a jail; one that is there already is no error."""
    with _translated(namespace=name):
        ip_lib_namespaces.create_namespace(name)


@privileged.namespace_cmd.entrypoint
def remove_netns(name, **kwargs):  # type: ignore[no-untyped-def]
    """Remove a jail; one that is not there is no error."""
    with _translated(namespace=name):
        ip_lib_namespaces.remove_namespace(name)
    LOG.debug("Namespace %s deleted.", name)


@privileged.namespace_cmd.entrypoint
def list_netns(**kwargs):  # type: ignore[no-untyped-def]
    """Return the names of the jails that were made by ``create_netns``."""
    with _translated():
        return ip_lib_namespaces.list_namespaces()


@privileged.default.entrypoint
def get_link_devices(namespace, **kwargs):  # type: ignore[no-untyped-def]
    """Return the interfaces of a jail as netlink messages.

    :param kwargs: ``index``, ``ifname`` or ``kind``, of which there may be none
    :raises NetlinkError: there is no interface of that index
    """
    index, name, kind = kwargs.pop("index", None), kwargs.pop("ifname", None), kwargs.pop("kind", None)
    index = None if index == "all" else index
    with _translated(namespace=namespace):
        if kwargs:
            raise ValueError(f"links cannot be chosen by {', '.join(sorted(kwargs))}")
        found = ip_lib_links.list_links(namespace, index=index, name=name, kind=kind)
    if index is not None and not found:
        raise netlink_exceptions.NetlinkError(errno.ENODEV, "No such device")
    return found


def get_device_names(namespace, **kwargs):  # type: ignore[no-untyped-def]
    """Return the names of the interfaces of a jail."""
    return [
        value
        for link in get_link_devices(namespace, **kwargs)
        for name, value in link["attrs"]
        if name == "IFLA_IFNAME"
    ]


@privileged.default.entrypoint
def get_ip_addresses(namespace, **kwargs):  # type: ignore[no-untyped-def]
    """Return addresses in a jail as netlink messages.

    :param kwargs: as pyroute2 takes them: index, family, address, mask, broadcast, label, scope
    """
    with _translated(namespace=namespace):
        return ip_lib_addresses.list_addresses(namespace, kwargs)


@privileged.default.entrypoint
def list_ip_rules(namespace, ip_version, match=None, **kwargs):  # type: ignore[no-untyped-def]
    """Return no rules: FreeBSD routes by destination alone."""
    return []


@privileged.default.entrypoint
def add_ip_rule(namespace, **kwargs):  # type: ignore[no-untyped-def]
    """Raise: FreeBSD routes by destination alone.

    :raises NotImplementedError: always
    """
    raise NotImplementedError("FreeBSD has no IP rules")


@privileged.default.entrypoint
def delete_ip_rule(namespace, **kwargs):  # type: ignore[no-untyped-def]
    """Do nothing: there are no rules, and one that is not there is no error."""


@privileged.default.entrypoint
def add_ip_route(  # type: ignore[no-untyped-def]
    namespace,
    cidr,
    ip_version,
    device=None,
    via=None,
    table=None,
    metric=None,
    scope=None,
    proto=rtnl.rt_proto["static"],
    **kwargs,
):
    """Make this the only route to a destination; metric, scope and protocol are not kept."""
    with _translated(device, namespace):
        ip_lib_routes.set_route(namespace, ip_version, cidr, device=device, via=via, table=_number(table))


@privileged.default.entrypoint
def list_ip_routes(namespace, ip_version, device=None, table=None, **kwargs):  # type: ignore[no-untyped-def]
    """Return routes of a jail as netlink messages."""
    with _translated(device, namespace):
        return ip_lib_routes.list_messages(namespace, ip_version, device=device, table=_number(table))


@privileged.default.entrypoint
def delete_ip_route(namespace, cidr, ip_version, device=None, via=None, table=None, scope=None, **kwargs):  # type: ignore[no-untyped-def]
    """Delete a route; one that is not there is no error."""
    with _translated(device, namespace):
        ip_lib_routes.remove_route(namespace, ip_version, cidr, device=device, via=via, table=_number(table))


def _number(table: Any) -> int | None:
    return int(table) if table else None


@privileged.default.entrypoint
def list_bridge_fdb(namespace=None, **kwargs):  # type: ignore[no-untyped-def]
    """Return no entries: only Linux's tunnels are set up by them."""
    return []


@privileged.default.entrypoint
def add_bridge_fdb(mac, device, dst_ip=None, namespace=None, **kwargs):  # type: ignore[no-untyped-def]
    """Raise: a vxlan interface here has one remote side, and no table of them."""
    raise InterfaceOperationNotSupported(device=device, namespace=namespace)


@privileged.default.entrypoint
def append_bridge_fdb(mac, device, dst_ip=None, namespace=None, **kwargs):  # type: ignore[no-untyped-def]
    """Raise, as ``add_bridge_fdb``."""
    raise InterfaceOperationNotSupported(device=device, namespace=namespace)


@privileged.default.entrypoint
def replace_bridge_fdb(mac, device, dst_ip=None, namespace=None, **kwargs):  # type: ignore[no-untyped-def]
    """Raise, as ``add_bridge_fdb``."""
    raise InterfaceOperationNotSupported(device=device, namespace=namespace)


@privileged.default.entrypoint
def delete_bridge_fdb(mac, device, dst_ip=None, namespace=None, **kwargs):  # type: ignore[no-untyped-def]
    """Do nothing: there are no entries, and one that is not there is no error."""
