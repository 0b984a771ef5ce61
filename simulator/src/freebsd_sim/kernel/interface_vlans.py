"""vlan interfaces, with the tagging done here: Linux may lack 8021q (vlan(4), sys/net/if_vlan.c).

A vlan is one end of a veth pair; the other end is in a room of its own, and a
thread carries frames between that end and the parent, adding and removing the
tag. Frames keep their offload header, so that checksums stay as they were.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
import struct
import threading
from typing import TYPE_CHECKING

from freebsd_sim.kernel import interface_linux
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.interface_model import CAP_VLAN_MTU, Interface
from freebsd_sim.kernel.stack import Stack

if TYPE_CHECKING:
    from freebsd_sim.kernel.interfaces import Interfaces

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_VNET_HDR = 15
PACKET_IGNORE_OUTGOING = 23
SO_ATTACH_FILTER = 26
HEADER = 10  # struct virtio_net_hdr
FRAME_LIMIT = 65536
PROTOCOLS = {"802.1q": 0x8100, "802.1ad": 0x88A8}


class Pump:
    """Carries frames between a parent and the outer end of a vlan, in a thread."""

    def __init__(self, parent: socket.socket, outer: socket.socket, tag: int, protocol: int) -> None:
        self.parent, self.outer = parent, outer
        self.header = struct.pack("!HH", protocol, tag)
        self.stop_in, self.stop_out = os.pipe2(os.O_CLOEXEC)
        self.thread = threading.Thread(target=self._run, name="vlan", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        poll = select.poll()
        for descriptor in (self.parent.fileno(), self.outer.fileno(), self.stop_in):
            poll.register(descriptor, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self.stop_in:
                    return
                # A link that is down reports an error once and refuses frames.
                with contextlib.suppress(OSError):
                    if descriptor == self.parent.fileno():
                        self.outer.send(self.parent.recv(FRAME_LIMIT))
                    else:
                        self.parent.send(self._tagged(self.outer.recv(FRAME_LIMIT)))

    def _tagged(self, data: bytes) -> bytes:
        flags, kind, length, size, start, offset = struct.unpack_from("=BBHHHH", data)
        if flags & 1:  # VIRTIO_NET_HDR_F_NEEDS_CSUM
            start += len(self.header)
        head = struct.pack("=BBHHHH", flags, kind, length, size, start, offset)
        frame = data[HEADER:]
        return head + frame[:12] + self.header + frame[12:]

    def stop(self) -> None:
        """End the thread and close the sockets."""
        os.write(self.stop_out, b"x")
        self.thread.join()
        for descriptor in (self.stop_in, self.stop_out):
            os.close(descriptor)
        self.parent.close()
        self.outer.close()


def _tag_filter(tag: int | None) -> bytes:
    """Return a classic BPF program that takes only frames with this tag."""
    extension = 0xFFFFF000  # SKF_AD_OFF
    present, value = 48, 44  # SKF_AD_VLAN_TAG_PRESENT, SKF_AD_VLAN_TAG
    program = [
        (0x20, 0, 0, extension + present),
        (0x15, 0, 4, 1),
        (0x20, 0, 0, extension + value),
        (0x54, 0, 0, 0xFFF),
        (0x15, 0, 1, tag or 0),
        (0x06, 0, 0, FRAME_LIMIT),
        (0x06, 0, 0, 0),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _open_socket(name: str, tag: int | None) -> socket.socket:
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    if tag is not None:
        program = _tag_filter(tag)
        code = ctypes.create_string_buffer(program, len(program))
        link.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
        )
    link.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    link.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    link.bind((name, ETH_P_ALL))
    return link


def _outer_name(interface: Interface) -> str:
    return f"vo{interface.index}"


def back_room(interfaces: Interfaces) -> Stack:
    """Return the stack where the outer ends are."""
    if interfaces.back_room is None:
        interfaces.back_room = Stack.create()
    return interfaces.back_room


def install(interfaces: Interfaces, interface: Interface) -> None:
    """Make the Linux half of a new vlan interface: a veth whose other end is in the back room."""
    room, stack = back_room(interfaces), interface.jail.stack
    outer = _outer_name(interface)
    interface_linux.add_link(room, "veth", outer, 0, peer={"ifname": f"vi{interface.index}"})
    interface_linux.set_link(room, interface_linux.index_of(room, outer), state="up")
    inner = interface_linux.index_of(room, f"vi{interface.index}")
    interface_linux.set_link(room, inner, net_ns_fd=stack.fd, ifname=interface.linux_name)
    interface.linux_index = interface_linux.index_of(stack, interface.linux_name)
    interface_linux.set_offloads(stack, interface.linux_name, checksums=False)


def attach(
    interfaces: Interfaces, interface: Interface, parent: Interface, tag: int, protocol: str, pcp: int = 0
) -> None:
    """Give a vlan interface its parent and tag.

    :raises KernelError: EBUSY when it has a parent, EEXIST when the parent has that tag, EINVAL, EPROTONOSUPPORT
    """
    with interfaces.kernel.lock:
        vlan = interface.vlan
        if vlan is None or not 1 <= tag <= 4094 or parent.kind == "lo" or parent is interface:
            raise KernelError("EINVAL")
        if protocol not in PROTOCOLS:
            raise KernelError("EINVAL")
        if vlan.parent is not None:
            raise KernelError("EBUSY")
        for other in interfaces.everywhere():
            if other.vlan is not None and other.vlan.parent is parent and other.vlan.tag == tag:
                raise KernelError("EEXIST")
        vlan.parent, vlan.tag, vlan.protocol, vlan.pcp = parent, tag, protocol, pcp
        stack = interface.jail.stack
        room = back_room(interfaces)
        outer = room.run(_open_socket, _outer_name(interface), None)
        inner = parent.jail.stack.run(_open_socket, parent.linux_name, tag)
        interfaces.pumps[interface] = Pump(inner, outer, tag, PROTOCOLS[protocol])
        interface_linux.set_link(stack, interface.linux_index, address=parent.mac)
        interface.mac = interface.permanent_mac = parent.mac
        roomy = parent.enabled & CAP_VLAN_MTU or parent.bridge is not None or parent.tap is not None
        interfaces.apply_mtu(interface, parent.mtu if roomy else parent.mtu - 4)


def detach(interfaces: Interfaces, interface: Interface) -> None:
    """Take a vlan interface off its parent; it stays, without one."""
    pump = interfaces.pumps.pop(interface, None)
    if pump is not None:
        pump.stop()
    if interface.vlan is not None:
        interface.vlan.parent, interface.vlan.tag = None, 0
