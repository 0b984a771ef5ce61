"""N3: names, arguments, contexts and exceptions are upstream's, and upstream's own code takes the results."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import beastack.port.neutron as package
from beastack.port.neutron.ip_lib_seam import SEAM
from beastack.seams.install import install
from beastack.seams.registry import wanted_hashes
from beastack.seams.source import MODULE, code_hash
from freebsd import say_freebsd

Apart = Callable[[Callable[[], None]], None]

LISTING = """\
lo0: flags=1008049<UP,LOOPBACK,RUNNING,MULTICAST,LOWER_UP> metric 0 mtu 16384
\tinet 127.0.0.1 netmask 0xff000000
\tinet6 fe80::1%lo0 prefixlen 64 scopeid 0x4
\tgroups: lo
\tdrivername: lo0
tap12345678-9a: flags=1008843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1450
\tether fa:16:3e:00:00:01
\tinet 10.0.0.2 netmask 0xffffff00 broadcast 10.0.0.255
\tinet6 fe80::f816:3eff:fe00:1%tap12345678-9a prefixlen 64 scopeid 0x11
\tinet6 2001:db8::2 prefixlen 64 tentative
\tinet6 2001:db8::3 prefixlen 64 duplicated
\tgroups: epair
\tstatus: active
\tdrivername: epair3b
"""
ROUTES = """{"statistics":{"route-information":{"route-table":{"rt-family":[{"address-family":"Internet","rt-entry":[
{"destination":"default","gateway":"10.0.0.1","flags_pretty":["up","gateway","static"],"interface-name":"tap12345678-9a"},
{"destination":"10.0.0.0/24","gateway":"link#17","flags_pretty":["up"],"interface-name":"tap12345678-9a"},
{"destination":"10.5.0.0/16","gateway":"link#17","flags_pretty":["up","static"],"interface-name":"tap12345678-9a"},
{"destination":"127.0.0.1","gateway":"link#4","flags_pretty":["up","host"],"interface-name":"lo0"}]}]}}}}"""


def upstreams_file() -> Path:
    spec = importlib.util.find_spec("neutron")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "privileged/agent/linux/ip_lib.py"


def our_file() -> Path:
    return Path(str(package.__file__)).with_name("privileged_ip_lib.py")


def read_contexts(file: Path) -> dict[str, str]:
    """Return the privilege context of each function that is an entry point."""
    found = {}
    for node in ast.parse(file.read_text()).body:
        for decorator in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            text = ast.unparse(decorator)
            if text.startswith("privileged.") and text.endswith(".entrypoint"):
                found[node.name] = text.split(".")[1]
    return found


def test_names_and_arguments_are_upstreams() -> None:
    theirs, ours = (code_hash(file.read_text(), "", MODULE) for file in (upstreams_file(), our_file()))
    assert ours == theirs
    assert wanted_hashes(SEAM, importlib.metadata.version("neutron")) == (theirs,)


def test_every_entry_point_is_in_upstreams_context() -> None:
    contexts = read_contexts(upstreams_file())
    assert len(contexts) > 30
    assert read_contexts(our_file()) == contexts


def load_both() -> tuple[Any, Any]:
    """Import upstream's module under another name, and ours under its own."""
    spec = importlib.util.spec_from_file_location("neutron.privileged.agent.linux.upstreams", upstreams_file())
    assert spec is not None and spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    say_freebsd()
    install([SEAM], ())
    from neutron.privileged.agent.linux import ip_lib as ours

    assert Path(str(ours.__file__)) == our_file()
    return theirs, ours


def test_exceptions_say_what_upstreams_say(apart: Apart) -> None:
    def body() -> None:
        theirs, ours = load_both()
        names = [name for name, value in vars(theirs).items()
                 if isinstance(value, type) and value.__module__ == theirs.__name__]  # fmt: skip
        assert len(names) == 6
        for name in names:
            one, other = getattr(theirs, name), getattr(ours, name)
            assert issubclass(other, RuntimeError)
            assert other.__module__ == "neutron.privileged.agent.linux.ip_lib"
            assert str(one("text")) == str(other("text"))
            for arguments in ({"device": "d", "namespace": "n"}, {"ip": "1", "device": "d"}, {"device": "d"},
                              {"netns_name": "n"}):  # fmt: skip
                try:
                    expected = str(one(**arguments))
                except TypeError:
                    continue
                assert str(other(**arguments)) == expected

    apart(body)


def test_constants_are_upstreams(apart: Apart) -> None:
    def body() -> None:
        theirs, ours = load_both()
        for name in ("NUD_STATES", "NETNS_RUN_DIR", "_IP_VERSION_FAMILY_MAP"):
            assert getattr(ours, name) == getattr(theirs, name)
        for scope in ("global", "link", "host", "site", 253, "x"):
            assert ours.get_scope_name(scope) == theirs.get_scope_name(scope)

    apart(body)


def prepare(outputs: dict[str, str]) -> list[str]:
    """Put the seam in place, run privileged functions here, and answer commands; returns the commands that run."""
    from beastack.freebsd import command, interface_run, jail, route
    from beastack.freebsd.command import CommandError, Result

    called: list[str] = []

    def run(argv: Any, **options: Any) -> Result:
        call = " ".join(argv)
        called.append(call)
        if call not in outputs:
            name = argv[3] if len(argv) > 3 else argv[1]
            raise CommandError(argv, 1, "", f"ifconfig: interface {name} does not exist\n")
        if outputs[call].startswith("ifconfig:"):
            raise CommandError(argv, 1, "", outputs[call])
        return Result(tuple(argv), 0, outputs[call], "")

    for module in (command, interface_run, jail, route):
        module.run = run  # type: ignore[attr-defined]
    say_freebsd()
    install([SEAM], ())
    from neutron import privileged

    for context in (privileged.default, privileged.link_cmd, privileged.namespace_cmd):
        context.set_client_mode(False)
    return called


def test_upstreams_agents_read_interfaces_and_addresses(apart: Apart) -> None:
    def body() -> None:
        prepare({
            "ifconfig -j q -D -a": LISTING,
            "ifconfig -j q -D tap12345678-9a": LISTING[LISTING.index("tap1234") :],
        })  # fmt: skip
        from neutron.agent.linux import ip_lib

        wrapper = ip_lib.IPWrapper(namespace="q")
        assert [device.name for device in wrapper.get_devices()] == ["tap12345678-9a"]
        assert not wrapper.namespace_is_empty()
        device = wrapper.device("tap12345678-9a")
        assert device.exists()
        assert (device.link.address, device.link.mtu, device.link.state) == ("fa:16:3e:00:00:01", 1450, "UP")
        addresses = {each["cidr"]: each for each in device.addr.list()}
        assert list(addresses) == ["10.0.0.2/24", "fe80::f816:3eff:fe00:1/64", "2001:db8::2/64", "2001:db8::3/64"]
        assert not addresses["10.0.0.2/24"]["dynamic"]
        assert addresses["10.0.0.2/24"]["broadcast"] == "10.0.0.255"
        assert addresses["2001:db8::2/64"]["tentative"] and not addresses["2001:db8::2/64"]["dadfailed"]
        assert addresses["2001:db8::3/64"]["dadfailed"]
        assert [each["cidr"] for each in device.addr.list(scope="link")] == ["fe80::f816:3eff:fe00:1/64"]
        assert [each["cidr"] for each in device.addr.list(ip_version=4)] == ["10.0.0.2/24"]
        found = wrapper.get_device_by_ip("10.0.0.2")
        assert found is not None and found.name == "tap12345678-9a"
        assert wrapper.get_device_by_ip("10.0.0.3") is None
        assert ip_lib.device_exists_with_ips_and_mac("tap12345678-9a", ["10.0.0.2/24"], "fa:16:3e:00:00:01", "q")
        try:
            device.addr.wait_until_address_ready("2001:db8::3")
        except ip_lib.DADFailed:
            return
        raise AssertionError("a duplicated address was taken for ready")

    apart(body)


def test_upstreams_agents_read_routes(apart: Apart) -> None:
    def body() -> None:
        prepare({"ifconfig -j q -D -a": LISTING, "netstat --libxo json -rn -4 -j q": ROUTES})
        from neutron.agent.linux import ip_lib

        route = ip_lib.IPWrapper(namespace="q").device("tap12345678-9a").route
        assert route.get_gateway()["via"] == "10.0.0.1"
        # Only what has no source address: upstream removes these.
        assert [each["cidr"] for each in route.list_onlink_routes(4)] == ["10.5.0.0/16"]
        assert [(each["cidr"], each["proto"]) for each in route.list_routes(4)] == [
            ("0.0.0.0/0", "static"), ("10.0.0.0/24", "kernel"), ("10.5.0.0/16", "static"),
        ]  # fmt: skip

    apart(body)


def test_upstreams_agents_are_told_what_is_not_there(apart: Apart) -> None:
    def body() -> None:
        gone = "ifconfig: jail not found: No such file or directory\n"
        called = prepare({"ifconfig -j gone -D -a": gone, "ifconfig -j gone -D tap0": gone, "ifconfig -D present":
                          "present: flags=8802<BROADCAST> metric 0 mtu 1500\n"})  # fmt: skip
        from neutron.agent.linux import ip_lib
        from neutron.privileged.agent.linux import ip_lib as privileged

        assert ip_lib.IPWrapper(namespace="gone").get_devices() == []
        assert not ip_lib.device_exists("tap0", namespace="gone")
        assert not ip_lib.device_exists("absent")
        for kind, call in (
            (ip_lib.NetworkNamespaceNotFound, lambda: privileged.get_ip_addresses("gone")),
            (ip_lib.NetworkInterfaceNotFound, lambda: ip_lib.delete_ip_address("10.0.0.1/24", "absent")),
            (ip_lib.NetworkInterfaceNotFound, lambda: privileged.get_link_id("absent", None)),
            (privileged.InvalidArgument, lambda: ip_lib.IPDevice("present").link.set_address("no mac")),
            (privileged.InterfaceOperationNotSupported, lambda: ip_lib.IPWrapper().add_macvtap("x", "present")),
            (NotImplementedError, lambda: privileged.add_ip_rule(None, table=10)),
        ):
            try:
                call()
            except kind:
                continue
            raise AssertionError(f"{kind} was expected")
        assert privileged.get_link_devices(None, ifname="absent") == []
        assert ip_lib.list_ip_rules(None, 4) == []
        assert "ifconfig -D absent" in called

    apart(body)
