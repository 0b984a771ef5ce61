"""FreeBSD's packages of a site: what is needed, what stops up, and what of Python's the environment sees."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from beastack.cli import main
from beastack.freebsd import package
from beastack.freebsd.command import CommandError, CommandNotFound
from beastack.freebsd.errors import PackageNotFound
from beastack.site import environment, operate, records, release
from beastack.site.description import Description, Hosts
from beastack.site.host import HostError, freebsd_packages
from beastack.site.layout import Layout

EVERYTHING = Description(host=Hosts(kind="freebsd"))
CONTROL = Description(host=Hosts(kind="freebsd", role="control"))
PREFIX = f"py3{sys.version_info.minor}-"


@dataclass
class Machine:
    """What pkg and uname say of a machine."""

    bootstrapped: bool = True
    installed: dict[str, str] = field(default_factory=dict)
    offered: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    name: str = "FreeBSD"
    release: str = "15.1-RELEASE-p2"
    machine: str = "amd64"

    def uname(self) -> os.uname_result:
        return os.uname_result((self.name, "box", self.release, "FreeBSD 15.1", self.machine))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Machine]:
    """A machine with nothing installed and everything offered in versions that suit."""
    made = Machine()
    for name in freebsd_packages.packages(EVERYTHING):
        made.offered[name] = "99" if name not in freebsd_packages.module_packages() else "9999"
    made.offered[f"{PREFIX}cryptography"] = "50.0.0,1"
    programs = {name: str(tmp_path / name) for name in freebsd_packages.PACKAGES}
    monkeypatch.setattr(freebsd_packages, "PACKAGES", programs)
    monkeypatch.setattr(freebsd_packages.os, "uname", made.uname)
    monkeypatch.setattr(package, "is_bootstrapped", lambda: made.bootstrapped)
    monkeypatch.setattr(
        package, "read_installed", lambda names: {n: made.installed[n] for n in names if n in made.installed}
    )
    monkeypatch.setattr(package, "read_offered", lambda names: {n: made.offered[n] for n in names if n in made.offered})
    monkeypatch.setattr(package, "read_files", lambda names: made.files)
    yield made


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "site").mkdir()
    return Layout(tmp_path / "site")


# What is needed


def test_modules_are_named_after_this_python() -> None:
    names = freebsd_packages.packages(EVERYTHING)
    assert {f"{PREFIX}cryptography", f"{PREFIX}PyNaCl", f"{PREFIX}sqlite3", f"{PREFIX}libvirt"} <= set(names)
    assert {"mariadb118-server", "novnc", "openvswitch", "libvirt"} <= set(names)
    assert len(names) == len(set(names))


def test_a_host_without_guests_needs_no_binding_of_libvirt() -> None:
    names = freebsd_packages.packages(CONTROL)
    assert f"{PREFIX}cryptography" in names and f"{PREFIX}libvirt" not in names and "openvswitch" not in names


def test_programs_are_known_by_their_file_and_modules_by_pkg(machine: Machine) -> None:
    Path(freebsd_packages.PACKAGES["rabbitmq"]).touch()
    machine.installed = {f"{PREFIX}cffi": "2.1.1", "haproxy": "3"}
    names = ["rabbitmq", "haproxy", f"{PREFIX}cffi", f"{PREFIX}lxml"]
    assert freebsd_packages.missing_packages(names) == ["haproxy", f"{PREFIX}lxml"]


def test_a_plan_that_is_made_elsewhere_misses_everything(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(names: list[str]) -> dict[str, str]:
        raise CommandNotFound(["pkg"], None, "", "")

    monkeypatch.setattr(package, "read_installed", nowhere)
    machine.name = "Linux"
    assert freebsd_packages.missing_packages(["rabbitmq", f"{PREFIX}cffi"]) == ["rabbitmq", f"{PREFIX}cffi"]
    assert freebsd_packages.problems(EVERYTHING) == [] and freebsd_packages.notes() == []


# Installing


def test_what_is_installed_is_recorded_first(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[records.Record]] = []
    monkeypatch.setattr(package, "install", lambda names: seen.append(records.read(layout.records)))
    freebsd_packages.install_packages(layout, ["haproxy", "rabbitmq"], lambda text: None)
    assert seen == [[records.Record("packages", "freebsd", "haproxy rabbitmq")]]
    freebsd_packages.install_packages(layout, [], lambda text: None)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (CommandNotFound(["pkg"], None, "", ""), "no pkg: bring rabbitmq some other way"),
        (PackageNotFound(["pkg"], 1, "", "pkg: No packages available"), "No packages available"),
        (CommandError(["pkg"], 1, "", "pkg: no space"), "cannot be installed: pkg exited with status 1: pkg: no space"),
    ],
)
def test_what_pkg_refuses_is_said(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def fail(names: list[str]) -> None:
        raise error

    monkeypatch.setattr(package, "install", fail)
    with pytest.raises(HostError, match=words):
        freebsd_packages.install_packages(layout, ["rabbitmq"], lambda text: None)


def test_only_what_is_still_there_is_removed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    deleted: list[list[str]] = []
    monkeypatch.setattr(package, "delete", deleted.append)
    machine.installed = {"rabbitmq": "4"}
    freebsd_packages.remove_packages(["rabbitmq", "haproxy"])
    freebsd_packages.remove_packages(["haproxy"])
    assert deleted == [["rabbitmq"]]


# What stops up


def test_a_machine_that_suits_has_no_problem(machine: Machine) -> None:
    assert freebsd_packages.problems(EVERYTHING) == [] and freebsd_packages.notes() == []


def test_a_version_out_of_bounds_is_named_with_who_could_not_do_with_it(machine: Machine) -> None:
    machine.offered[f"{PREFIX}cryptography"] = "51.0.0,1"
    machine.offered[f"{PREFIX}psutil"] = "5.9.8_1"
    lines = freebsd_packages.problems(EVERYTHING)
    assert len(lines) == 2
    assert lines[0].startswith(f"{PREFIX}cryptography 51.0.0,1 is what pkg offers, but pyOpenSSL 26.4.0 needs <51,>=49")
    assert lines[1].startswith(f"{PREFIX}psutil 5.9.8_1 is what pkg offers, but neutron 29.0.0 needs >=6.1.0 (")


def test_what_is_installed_counts_and_not_what_is_offered(machine: Machine) -> None:
    machine.installed[f"{PREFIX}cryptography"] = "48.0.0,1"
    (line,) = freebsd_packages.problems(EVERYTHING)
    assert line.startswith(f"{PREFIX}cryptography 48.0.0,1 is installed, but jwcrypto 1.6.1 needs >=49.0.0, pyOpenSSL")


def test_a_package_that_is_not_offered_is_named(machine: Machine) -> None:
    del machine.offered["openvswitch"], machine.offered[f"{PREFIX}lxml"]
    assert [line.partition(":")[0] for line in freebsd_packages.problems(EVERYTHING)] == [
        "pkg offers no openvswitch", f"pkg offers no {PREFIX}lxml",
    ]  # fmt: skip


def test_a_python_that_pkg_has_no_modules_for_is_one_problem(machine: Machine) -> None:
    for name in freebsd_packages.module_packages():
        del machine.offered[name]
    (line,) = freebsd_packages.problems(EVERYTHING)
    assert line.startswith(f"pkg has no modules for Python 3.{sys.version_info.minor}") and "python3" in line


def test_pkg_itself_comes_first(machine: Machine) -> None:
    machine.bootstrapped = False
    assert freebsd_packages.problems(EVERYTHING) == ["pkg is not installed yet: run pkg bootstrap, then up again"]


def test_a_repository_that_cannot_be_asked_is_said(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(names: list[str]) -> dict[str, str]:
        raise CommandError(["pkg"], 1, "", "pkg: Unable to update repository FreeBSD")

    monkeypatch.setattr(package, "read_offered", fail)
    with pytest.raises(HostError, match="Unable to update repository FreeBSD"):
        freebsd_packages.problems(EVERYTHING)


@pytest.mark.parametrize(
    ("number", "noted", "refused"),
    [
        ("13.5-RELEASE", False, True), ("14.3-RELEASE-p5", True, False), ("14.4-RELEASE", False, False),
        ("14.5-RELEASE", False, False), ("15.0-RELEASE", True, False), ("15.1-STABLE", False, False),
        ("16.0-CURRENT", False, False),
    ],
)  # fmt: skip
def test_releases_out_of_support_are_noted_and_those_before_them_refused(
    machine: Machine, number: str, noted: bool, refused: bool
) -> None:
    machine.release = number
    assert bool(freebsd_packages.notes()) is noted
    assert bool(freebsd_packages.problems(EVERYTHING)) is refused


def test_other_machines_are_refused(machine: Machine) -> None:
    machine.machine = "arm64"
    assert freebsd_packages.problems(EVERYTHING) == ["this machine is arm64: on FreeBSD Beastack runs on amd64 only"]


def test_up_refuses_with_a_line_for_each_and_before_it_changes_anything(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main.simulated, "applies", lambda arguments: False)
    monkeypatch.setattr(main.commands.os, "geteuid", lambda: 0)
    machine.offered[f"{PREFIX}cryptography"] = "51.0.0,1"
    del machine.offered["openvswitch"]
    root = tmp_path / "new"
    assert main.main(["--root", str(root), "up", "--host", "freebsd"]) == 1
    said = capsys.readouterr()
    assert [line.split()[1] for line in said.err.splitlines()] == ["pkg", f"{PREFIX}cryptography"]
    assert [path.name for path in root.iterdir()] == ["lock"]
    assert main.main(["--root", str(root), "up", "--host", "freebsd", "--plan"]) == 1
    said = capsys.readouterr()
    assert "openvswitch" in said.out and "pyOpenSSL 26.4.0 needs <51" in said.err


def test_refusals_are_errors_of_the_site() -> None:
    assert isinstance(operate.Refused(["a", "b"]), operate.SiteError)
    assert operate.Refused(["a", "b"]).problems == ("a", "b")


# What the environment sees


@pytest.fixture
def venv(layout: Layout, tmp_path: Path) -> Path:
    """A virtual environment that leaves compiled parts to the system, and the system's modules."""
    modules = layout.venv / "lib/python3.11/site-packages"
    modules.mkdir(parents=True)
    (layout.venv / "beastack-lock").write_text(environment._mark((release.lock_file(),), release.split()))
    for name in ("cryptography", "cryptography-50.0.0.dist-info", "oslo_config"):
        (tmp_path / "lib/site-packages" / name).mkdir(parents=True)
    return modules


def test_exactly_the_packages_modules_are_linked(layout: Layout, machine: Machine, venv: Path, tmp_path: Path) -> None:
    system = tmp_path / "lib/site-packages"
    machine.files = [
        f"{system}/cryptography/__init__.py", f"{system}/cryptography/hazmat/_rust.abi3.so",
        f"{system}/cryptography-50.0.0.dist-info/METADATA", f"{system}/__pycache__/yappi.cpython-311.pyc",
        "/usr/local/share/licenses/x/LICENSE", f"{system}/_cffi_backend.so",
    ]  # fmt: skip
    freebsd_packages.link_modules(layout, EVERYTHING)
    assert {link.name for link in venv.iterdir()} == {
        "cryptography",
        "cryptography-50.0.0.dist-info",
        "_cffi_backend.so",
    }
    assert (venv / "cryptography").readlink() == system / "cryptography"


def test_links_follow_an_upgrade(layout: Layout, machine: Machine, venv: Path, tmp_path: Path) -> None:
    system = tmp_path / "lib/site-packages"
    (venv / "nova").mkdir()
    machine.files = [f"{system}/cryptography/a.py", f"{system}/cryptography-50.0.0.dist-info/METADATA"]
    freebsd_packages.link_modules(layout, EVERYTHING)
    inode = (venv / "cryptography").lstat().st_ino
    machine.files[1] = f"{system}/cryptography-50.0.1.dist-info/METADATA"
    freebsd_packages.link_modules(layout, EVERYTHING)
    assert {entry.name for entry in venv.iterdir()} == {"nova", "cryptography", "cryptography-50.0.1.dist-info"}
    assert (venv / "cryptography").lstat().st_ino == inode  # what is right is left alone


def test_an_environment_that_holds_everything_is_left_alone(layout: Layout, machine: Machine, venv: Path) -> None:
    (layout.venv / "beastack-lock").write_text(environment.digest(release.lock_file()))
    machine.files = ["/usr/local/lib/python3.11/site-packages/lxml/__init__.py"]
    freebsd_packages.link_modules(layout, EVERYTHING)
    assert list(venv.iterdir()) == []


def test_console_pages_are_found_wherever_the_package_has_them(
    layout: Layout, machine: Machine, tmp_path: Path
) -> None:
    with pytest.raises(HostError, match="pkg install novnc"):
        freebsd_packages.console_pages(layout)
    pages = tmp_path / "share/novnc"
    pages.mkdir(parents=True)
    (pages / "vnc_lite.html").touch()
    machine.files = [str(pages / "app/ui.js"), str(pages / "vnc_lite.html")]
    freebsd_packages.console_pages(layout)
    freebsd_packages.console_pages(layout)
    assert (layout.data("novnc") / "vnc_lite.html").exists()
