"""Network interfaces of a FreeBSD 14 or 15 host and of its jails, through ifconfig(8).

This is the whole of it for callers; the parts are in ``interface_data``,
``interface_parse`` (text to data), ``interface_read``, ``interface_change``,
``interface_create`` and ``interface_bridge``. Every function takes ``jail``: the name or number of
the vnet jail it works in, None for where the program itself runs. What fails
is a class of ``errors``; a value that ifconfig would misunderstand is a
ValueError before anything is run.
"""

from __future__ import annotations

from beastack.freebsd.interface_bridge import (
    MemberSettings,
    add_bridge_address,
    add_member,
    change_bridge,
    change_member,
    delete_bridge_address,
    delete_member,
    flush_bridge,
)
from beastack.freebsd.interface_change import (
    INET6_WORDS,
    WORDS,
    Settings,
    add_address,
    change_interface,
    destroy_interface,
    find_name_clashes,
    move_to_jail,
    remove_address,
    rename_interface,
    return_from_jail,
    set_down,
    set_up,
)
from beastack.freebsd.interface_create import (
    EpairPair,
    create_bridge,
    create_epair,
    create_loopback,
    create_tap,
    create_vlan,
    create_vxlan,
    find_unfinished,
    remove_unfinished,
)
from beastack.freebsd.interface_data import (
    Address,
    Bridge,
    BridgeAddress,
    BridgeMember,
    Endpoint,
    Interface,
    Tunnel,
    Vlan,
    Vxlan,
    Words,
)
from beastack.freebsd.interface_parse import find_epair_peer, parse_interfaces
from beastack.freebsd.interface_read import (
    find_interface,
    list_bridge_addresses,
    list_interfaces,
    list_names,
    read_interface,
)
from beastack.freebsd.interface_run import NAME_LIMIT, check_name, check_new_name

__all__ = [
    "INET6_WORDS",
    "NAME_LIMIT",
    "WORDS",
    "Address",
    "Bridge",
    "BridgeAddress",
    "BridgeMember",
    "Endpoint",
    "EpairPair",
    "Interface",
    "MemberSettings",
    "Settings",
    "Tunnel",
    "Vlan",
    "Vxlan",
    "Words",
    "add_address",
    "add_bridge_address",
    "add_member",
    "change_bridge",
    "change_interface",
    "change_member",
    "check_name",
    "check_new_name",
    "create_bridge",
    "create_epair",
    "create_loopback",
    "create_tap",
    "create_vlan",
    "create_vxlan",
    "delete_bridge_address",
    "delete_member",
    "destroy_interface",
    "find_epair_peer",
    "find_interface",
    "find_name_clashes",
    "find_unfinished",
    "flush_bridge",
    "list_bridge_addresses",
    "list_interfaces",
    "list_names",
    "move_to_jail",
    "parse_interfaces",
    "read_interface",
    "remove_address",
    "remove_unfinished",
    "rename_interface",
    "return_from_jail",
    "set_down",
    "set_up",
]
