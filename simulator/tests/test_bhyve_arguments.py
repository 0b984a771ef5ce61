"""bhyve's command line: what bhyve(8) says it accepts, and how it refuses."""

from __future__ import annotations

import pytest

from freebsd_sim.bhyve.arguments import OPTIONS, USAGE_TEXT, parse
from freebsd_sim.bhyve.config import Config, compute_topology, parse_memory
from freebsd_sim.bhyve.errors import BhyveExit


def no_file(path: str) -> str:
    raise FileNotFoundError(2, "No such file or directory", path)


def take(*argv: str) -> Config:
    return parse(argv, no_file)


def refuse(*argv: str) -> BhyveExit:
    with pytest.raises(BhyveExit) as caught:
        parse(argv, no_file)
    return caught.value


class TestUsage:
    def test_help_is_on_standard_error_and_succeeds(self) -> None:
        stop = refuse("-h")
        assert (stop.status, stop.err, stop.out) == (0, USAGE_TEXT, "")
        assert "-u:" in stop.err
        assert "-c vcpus" not in stop.err

    @pytest.mark.parametrize("argv", [(), ("one", "two"), ("-s", "0,e1000"), ("-l", "bootrom")])
    def test_without_one_name_the_status_is_that_of_a_power_off(self, argv: tuple[str, ...]) -> None:
        stop = refuse(*argv)
        assert (stop.status, stop.err) == (1, USAGE_TEXT)

    def test_unknown_option(self) -> None:
        stop = refuse("-Z", "vm")
        assert stop.status == 1
        assert stop.err == "bhyve: illegal option -- Z\n" + USAGE_TEXT

    def test_option_without_its_argument(self) -> None:
        assert refuse("-m").err.startswith("bhyve: option requires an argument -- m\n")

    def test_monitor_mode_is_not_in_any_release(self) -> None:
        assert refuse("-M", "vm").status == 1

    def test_numa_came_with_15(self) -> None:
        with pytest.raises(BhyveExit) as caught:
            parse(["-n", "id=0,size=1G,cpus=0", "vm"], no_file, OPTIONS)
        assert caught.value.status == 1

    def test_old_options_are_still_accepted(self) -> None:
        assert take("-A", "-I", "vm").get("acpi_tables") == "true"

    def test_lists(self) -> None:
        assert "virtio-blk\n" in refuse("-s", "help").out
        assert refuse("-l", "help").out.startswith("bootrom\ncom1\n")


class TestTopology:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("2", (2, 2, 1, 1)),
            ("", (1, 1, 1, 1)),
            ("cpus=4,sockets=1,cores=2,threads=2", (4, 1, 2, 2)),
            ("sockets=2,cores=3", (6, 2, 3, 1)),
            ("1,cpus=2", (2, 2, 1, 1)),
        ],
    )
    def test_counts(self, text: str, expected: tuple[int, int, int, int]) -> None:
        assert compute_topology(take("-c", text, "vm")) == expected

    def test_missing_sockets_count_as_cpus(self) -> None:
        stop = refuse("-c", "cpus=4,cores=2", "vm")
        assert stop.status == 4
        assert stop.err == "bhyve: Topology (4 sockets, 2 cores, 1 threads) does not match 4 vCPUs\n"

    def test_unknown_key(self) -> None:
        stop = refuse("-c", "dies=2", "vm")
        assert (stop.status, stop.err) == (64, "bhyve: invalid cpu topology 'dies=2'\n")

    def test_bad_number(self) -> None:
        stop = refuse("-c", "cores=x", "vm")
        assert (stop.status, stop.err) == (4, "bhyve: Invalid value for cores: 'x'\n")


class TestMemory:
    @pytest.mark.parametrize(
        ("text", "size"),
        [("256", 256 << 20), ("2048M", 2 << 30), ("1g", 1 << 30), ("1048576", 1 << 20), ("x", None), ("1Q", None)],
    )
    def test_sizes(self, text: str, size: int | None) -> None:
        assert parse_memory(text) == size

    def test_refusal(self) -> None:
        stop = refuse("-m", "lots", "vm")
        assert (stop.status, stop.err) == (64, "bhyve: invalid memsize 'lots'\n")


class TestSlots:
    def test_places(self) -> None:
        config = take("-s", "0,hostbridge", "-s", "3:1,virtio-rnd", "-s", "0:4:0,xhci,tablet", "vm")
        assert [place for place, _ in config.devices()] == [(0, 0, 0), (0, 3, 1), (0, 4, 0)]
        assert config.get("pci.0.4.0.slot.1.device") == "tablet"

    @pytest.mark.parametrize("text", ["32,lpc", "1:8,lpc", "x,lpc", "1", "1,"])
    def test_bad_places(self, text: str) -> None:
        stop = refuse("-s", text, "vm")
        assert stop.status == 4
        assert stop.err == f'Invalid PCI slot info field "{text}"\n'

    def test_taken_place(self) -> None:
        assert refuse("-s", "1,lpc", "-s", "1:0,virtio-rnd", "vm").err == "pci slot 0:1:0 already occupied!\n"

    def test_disk_options(self) -> None:
        values = take("-s", "3,virtio-blk,/d,nocache,sectorsize=512/4096", "vm").below("pci.0.3.0")
        assert values == {"device": "virtio-blk", "path": "/d", "nocache": "true", "sectorsize": "512/4096"}

    def test_ahci_ports(self) -> None:
        values = take("-s", "2:0,ahci,hd:/a,ser=S1,cd:/b", "vm").below("pci.0.2.0")
        assert (values["port.0.type"], values["port.0.path"]) == ("hd", "/a")
        assert values["port.0.ser"] == "S1"
        assert (values["port.1.type"], values["port.1.path"]) == ("cd", "/b")

    def test_network_options(self) -> None:
        values = take("-s", "2,virtio-net,tap7,mac=52:54:00:00:00:01,mtu=1450", "vm").below("pci.0.2.0")
        assert values == {"device": "virtio-net", "backend": "tap7", "mac": "52:54:00:00:00:01", "mtu": "1450"}

    def test_frame_buffer(self) -> None:
        values = take("-s", "4,fbuf,tcp=127.0.0.1:5904,w=800,wait", "vm").below("pci.0.4.0")
        assert values == {"device": "fbuf", "rfb": "127.0.0.1:5904", "w": "800", "wait": "true"}


class TestLpc:
    def test_bootrom_with_variables(self) -> None:
        config = take("-l", "bootrom,/rom,/vars,fwcfg=qemu", "vm")
        assert (config.get("bootrom"), config.get("bootvars"), config.get("lpc.fwcfg")) == ("/rom", "/vars", "qemu")

    def test_bootrom_without_variables(self) -> None:
        config = take("-l", "bootrom,/rom,fwcfg=qemu", "vm")
        assert (config.get("bootvars"), config.get("lpc.fwcfg")) == (None, "qemu")

    def test_port(self) -> None:
        assert take("-l", "com1,/dev/nmdm0A", "vm").get("lpc.com1.path") == "/dev/nmdm0A"

    def test_unknown_device(self) -> None:
        stop = refuse("-l", "com9,stdio", "vm")
        assert (stop.status, stop.err) == (64, "bhyve: invalid lpc device configuration 'com9,stdio'\n")


class TestVariables:
    @pytest.mark.parametrize("text", ["acpi_tables", "acpi_tables=", "=1"])
    def test_bad_option(self, text: str) -> None:
        stop = refuse("-o", text, "vm")
        assert (stop.status, stop.err) == (64, f"bhyve: invalid configuration option '{text}'\n")

    def test_expansion(self) -> None:
        config = take("-o", "path=/vm/%(name)/disk", "-o", "rate=100%%", "web")
        assert (config.get("path"), config.get("rate")) == ("/vm/web/disk", "100%")

    def test_dump_needs_a_name_and_ends_with_1(self) -> None:
        assert refuse("-o", "config.dump=1").err == USAGE_TEXT
        stop = refuse("-o", "config.dump=1", "-m", "1G", "vm")
        assert stop.status == 1
        assert "memory.size=1G\n" in stop.out
        assert "name=vm\n" in stop.out

    def test_file(self) -> None:
        text = "# a guest\nname=web\nmemory.size=1G\n"
        config = parse(["-k", "/vm.conf"], lambda path: text)
        assert (config.get("name"), config.get("memory.size")) == ("web", "1G")

    def test_file_that_is_not_there(self) -> None:
        assert refuse("-k", "/vm.conf", "vm").status == 4

    @pytest.mark.parametrize(
        ("text", "value"), [("true", True), ("ON", True), ("yes", True), ("1", True), ("no", False)]
    )
    def test_booleans(self, text: str, value: bool) -> None:
        assert take("-o", f"memory.wired={text}", "vm").get_bool("memory.wired", default=False) is value
