"""ping(8): ICMP echo over IPv4 and IPv6, sent from the caller's vnet."""

from __future__ import annotations

import errno
import ipaddress
import math
import re
import socket
import struct
import time
from dataclasses import dataclass, field

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands.addresses import parse_ipv4
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.kernel.errors import ERRORS, strerror

# sysexits(3)
EX_USAGE = 64
EX_NOHOST = 68
EX_NOPERM = 77
NO_ANSWER = 2

USAGE = """\
usage:
\tping [-4AaDdfHnoQqRrv] [-C pcp] [-c count] [-G sweepmaxsize]
\t    [-g sweepminsize] [-h sweepincrsize] [-i wait] [-l preload]
\t    [-M mask | time] [-m ttl] [-P policy] [-p pattern] [-S src_addr]
\t    [-s packetsize] [-t timeout] [-W waittime] [-z tos] IPv4-host
\tping [-6AaDdEfHNnOoquvYyZ] [-b bufsiz] [-C pcp] [-c count] [-e gateway]
\t    [-I interface] [-i wait] [-k addrtype] [-l preload] [-m hoplimit]
\t    [-P policy] [-p pattern] [-S sourceaddr] [-s packetsize] [-t timeout]
\t    [-W waittime] [-z tclass] IPv6-host"""
LETTERS = "46AaC:c:Ddfg:G:Hh:I:i:l:M:m:nop:P:QqRrS:s:t:TvW:X:x:z:e:k:b:ENOuYyZ"
UNDERSTOOD = set("46cDiImnoqSstWXxrv")
# linux/in.h, linux/in6.h
IP_MTU_DISCOVER = 10
IPV6_MTU_DISCOVER = 23
PMTUDISC_DO = 2
LAST_WAIT = 10.0  # seconds; how long an answer to the last packet is awaited
LOOK_AGAIN = 0.2  # seconds between two looks whether the caller is still there


@dataclass
class Settings:
    """What the options ask for; times in seconds."""

    count: int | None = None
    interval: float = 1.0
    size: int | None = None
    source: str | None = None
    timeout: float | None = None
    wait: float | None = None
    ttl: int | None = None
    interface: str | None = None
    quiet: bool = False
    once: bool = False
    whole: bool = False  # -D: never fragmented


@dataclass
class Tally:
    """What has happened so far; times in seconds."""

    sent: int = 0
    received: int = 0
    duplicates: int = 0
    times: list[float] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    started: dict[int, float] = field(default_factory=dict)


def main(call: Call) -> int:
    """Run ping."""
    letters, operands = parse_options(call, LETTERS, USAGE, EX_USAGE)
    for letter, _ in letters:
        if letter not in UNDERSTOOD:
            raise NotSimulated(f"{call.argv[0]}: -{letter}")
    if len(operands) != 1:
        raise CommandExit(EX_USAGE, USAGE)
    version = 6 if call.argv[0] == "ping6" else 0
    for letter, _ in letters:
        version = int(letter) if letter in "46" else version
    settings = _read_settings(call, letters)
    host = operands[0]
    address, scope = _resolve(call, host, version)
    pinger = Pinger(call, settings, host, address, scope)
    return call.jail.network.stack.run(pinger.run)


def _read_settings(call: Call, letters: list[tuple[str, str]]) -> Settings:
    settings = Settings()
    for letter, text in letters:
        if letter == "c":
            settings.count = _number(call, text, "invalid count of packets to transmit", least=1)
        elif letter == "i":
            try:
                settings.interval = float(text)
            except ValueError:
                settings.interval = 0
            if settings.interval <= 0:
                raise CommandExit(EX_USAGE, f"ping: invalid timing interval: `{text}'")
            if settings.interval < 1 and not call.is_root:
                raise CommandExit(EX_NOPERM, f"ping: -i interval too short: {strerror('EPERM')}")
        elif letter == "s":
            settings.size = _number(call, text, "invalid packet size")
        elif letter in "tX":
            settings.timeout = float(_number(call, text, "invalid timeout", least=1))
        elif letter in "Wx":
            settings.wait = _number(call, text, "invalid timing interval") / 1000
        elif letter == "m":
            settings.ttl = _number(call, text, "invalid TTL")
        elif letter == "S":
            settings.source = text
        elif letter == "I":
            settings.interface = text
        settings.quiet |= letter == "q"
        settings.once |= letter == "o"
        settings.whole |= letter == "D"
    return settings


def _number(call: Call, text: str, complaint: str, least: int = 0) -> int:
    if not text.isdigit() or int(text) < least:
        raise CommandExit(EX_USAGE, f"ping: {complaint}: `{text}'")
    return int(text)


def _resolve(call: Call, host: str, version: int) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, str]:
    """Return the address and the interface after "%" of a numeric address or of a name in /etc/hosts."""
    words = [host]
    try:
        for line in (call.kernel.root / "etc/hosts").read_text().splitlines():
            found = line.partition("#")[0].split()
            if host in found[1:]:
                words.append(found[0])
    except OSError:
        pass
    for word in words:
        text, _, scope = word.partition("%")
        if version in (0, 4) and re.match(r"[0-9]", word) and ":" not in word:
            address = parse_ipv4(word)
            if address is not None:
                return address, ""
        if version in (0, 6) and ":" in word:
            try:
                return ipaddress.IPv6Address(text), scope
            except ValueError:
                continue
    raise CommandExit(EX_NOHOST, f"ping: cannot resolve {host}: Unknown host")


class Pinger:
    """One run of ping, in a thread inside the caller's stack."""

    def __init__(
        self,
        call: Call,
        settings: Settings,
        host: str,
        address: ipaddress.IPv4Address | ipaddress.IPv6Address,
        scope: str,
    ) -> None:
        self.call = call
        self.settings = settings
        self.host = host
        self.address = address
        self.six = address.version == 6
        self.size = settings.size if settings.size is not None else 8 if self.six else 56
        self.scope = settings.interface or scope
        self.identifier = (call.pid ^ id(self) >> 8) & 0xFFFF
        self.tally = Tally()

    def run(self) -> int:
        """Send and receive; return the exit status."""
        family = socket.AF_INET6 if self.six else socket.AF_INET
        protocol = socket.IPPROTO_ICMPV6 if self.six else socket.IPPROTO_ICMP
        with socket.socket(family, socket.SOCK_RAW, protocol) as channel:
            self._prepare(channel)
            self._announce(channel)
            self._work(channel)
        return self._summarize()

    def _target(self) -> tuple[str, int] | tuple[str, int, int, int]:
        if not self.six:
            return str(self.address), 0
        return str(self.address), 0, 0, self._scope_index()

    def _scope_index(self) -> int:
        if not self.scope:
            return 0
        for interface in self.call.kernel.interfaces.list(self.call.jail):
            if interface.name == self.scope:
                return interface.linux_index
        raise CommandExit(1, f"ping: {self.scope}: invalid interface name")

    def _prepare(self, channel: socket.socket) -> None:
        if self.six:
            channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        if self.settings.whole:
            level, option = (
                (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER) if self.six else (socket.IPPROTO_IP, IP_MTU_DISCOVER)
            )
            channel.setsockopt(level, option, PMTUDISC_DO)
        if self.settings.ttl is not None:
            level, option = (
                (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if self.six else (socket.IPPROTO_IP, socket.IP_TTL)
            )
            channel.setsockopt(level, option, self.settings.ttl)
        if self.settings.source is not None:
            try:
                channel.bind((self.settings.source, 0))
            except OSError as error:
                raise CommandExit(1, f"ping: bind: {_text_of(error)}") from None

    def _announce(self, channel: socket.socket) -> None:
        if not self.six:
            source = f" from {self.settings.source}" if self.settings.source else ""
            self.call.out(f"PING {self.host} ({self.address}){source}: {self.size} data bytes\n")
            return
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            try:
                if self.settings.source is not None:
                    probe.bind((self.settings.source, 0))
                probe.connect((str(self.address), 9, 0, self._scope_index()))
            except OSError as error:
                raise CommandExit(1, f"ping: UDP connect: {_text_of(error)}") from None
            source = str(probe.getsockname()[0]).partition("%")[0]
        scope = f"%{self.scope}" if self.scope and self.address.is_link_local else ""
        total = 40 + 8 + self.size
        self.call.out(f"PING({total}=40+8+{self.size} bytes) {source}{scope} --> {self.address}{scope}\n")

    def _work(self, channel: socket.socket) -> None:
        settings, tally = self.settings, self.tally
        begin = time.monotonic()
        end = begin + settings.timeout if settings.timeout is not None else math.inf
        next_send = begin
        while True:
            now = time.monotonic()
            done = settings.count is not None and tally.sent >= settings.count
            if not done and now >= next_send:
                self._send(channel)
                next_send = now + settings.interval
                done = settings.count is not None and tally.sent >= settings.count
                if done:
                    next_send = now + (settings.wait if settings.wait is not None else self._last_wait())
            if now >= end or (done and now >= next_send):
                return
            if settings.count is not None and tally.received >= settings.count:
                return
            if settings.once and tally.received:
                return
            if self.call.caller_gone():
                return
            channel.settimeout(max(0.0005, min(next_send, end, now + LOOK_AGAIN) - time.monotonic()))
            self._receive(channel)

    def _last_wait(self) -> float:
        if not self.tally.times:
            return LAST_WAIT
        return max(1.0, 2 * max(self.tally.times))

    def _send(self, channel: socket.socket) -> None:
        number = self.tally.sent & 0xFFFF
        self.tally.started[number] = time.monotonic()
        body = bytes(index & 0xFF for index in range(self.size))
        packet = struct.pack("!BBHHH", 128 if self.six else 8, 0, 0, self.identifier, number) + body
        if not self.six:
            packet = packet[:2] + struct.pack("!H", _checksum(packet)) + packet[4:]
        self.tally.sent += 1
        try:
            channel.sendto(packet, self._target())
        except OSError as error:
            self.call.err(f"ping: sendto: {_text_of(error)}\n")

    def _receive(self, channel: socket.socket) -> None:
        try:
            data, notes, _, sender = channel.recvmsg(65536, 256)
        except (TimeoutError, BlockingIOError):
            return
        except OSError:
            return
        arrived = time.monotonic()
        if self.six:
            hops = next((struct.unpack("=i", note[2])[0] for note in notes if note[1] == socket.IPV6_HOPLIMIT), 0)
        else:
            hops, data = data[8], data[(data[0] & 0xF) * 4 :]
        if len(data) < 8:
            return
        kind, _, _, identifier, number = struct.unpack("!BBHHH", data[:8])
        if kind != (129 if self.six else 0) or identifier != self.identifier or number not in self.tally.started:
            return
        took = arrived - self.tally.started[number]
        again = number in self.tally.seen
        if again:
            self.tally.duplicates += 1
        else:
            self.tally.seen.add(number)
            self.tally.received += 1
            self.tally.times.append(took)
        if self.settings.quiet:
            return
        rest = f"time={took * 1000:.3f} ms{' (DUP!)' if again else ''}\n"
        if self.six:
            name = str(sender[0]).partition("%")[0]
            scope = f"%{self.scope}" if self.scope and ipaddress.ip_address(name).is_link_local else ""
            self.call.out(f"{len(data)} bytes from {name}{scope}, icmp_seq={number} hlim={hops} {rest}")
        else:
            self.call.out(f"{len(data)} bytes from {sender[0]}: icmp_seq={number} ttl={hops} {rest}")

    def _summarize(self) -> int:
        tally = self.tally
        text = f"\n--- {self.host} ping statistics ---\n"
        text += f"{tally.sent} packets transmitted, {tally.received} packets received, "
        text += f"+{tally.duplicates} duplicates, " if tally.duplicates else ""
        if tally.sent:
            text += f"{(tally.sent - tally.received) * 100 / tally.sent:.1f}% packet loss"
        text += "\n"
        if tally.times:
            times = [took * 1000 for took in tally.times]
            mean = sum(times) / len(times)
            deviation = math.sqrt(max(sum(took * took for took in times) / len(times) - mean * mean, 0))
            word = "std-dev" if self.six else "stddev"
            text += f"round-trip min/avg/max/{word} = "
            text += f"{min(times):.3f}/{mean:.3f}/{max(times):.3f}/{deviation:.3f} ms\n"
        self.call.out(text)
        return 0 if tally.received else NO_ANSWER


def _checksum(packet: bytes) -> int:
    if len(packet) % 2:
        packet += b"\0"
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)


def _text_of(error: OSError) -> str:
    """Return FreeBSD's text for what Linux refused; without a route FreeBSD says EHOSTUNREACH."""
    name = errno.errorcode.get(error.errno or 0, "")
    name = "EHOSTUNREACH" if name == "ENETUNREACH" else name
    return strerror(name) if name in ERRORS else str(error.strerror)
