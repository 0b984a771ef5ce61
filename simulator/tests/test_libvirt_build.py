"""The parts of libvirt's build that can be tested without building it."""

from __future__ import annotations

from pathlib import Path

import pytest

from freebsd_sim import libvirt, libvirt_changes
from freebsd_sim.libvirt import BuildError, Source
from freebsd_sim.libvirt_changes import Change, ChangeError, apply_changes

DEB822 = """\
Types: deb
# a note
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://deb.example.org/node
Suites: nodistro
Components: main
"""


class TestMirror:
    def test_deb822(self) -> None:
        signed = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
        assert libvirt.find_mirror(DEB822) == ("http://deb.debian.org/debian", "bookworm", signed)

    def test_one_line(self) -> None:
        text = "# deb http://old.example.org/debian x main\ndeb http://ftp.example.org/debian trixie main contrib\n"
        assert libvirt.find_mirror(text) == ("http://ftp.example.org/debian", "trixie", "")

    def test_one_line_with_options(self) -> None:
        text = "deb [signed-by=/k.gpg] http://ftp.example.org/debian trixie main\n"
        assert libvirt.find_mirror(text) == ("http://ftp.example.org/debian", "trixie", "[signed-by=/k.gpg] ")

    def test_none(self) -> None:
        assert libvirt.find_mirror("deb https://packages.example.org/apt cloud main\n") is None


class TestSource:
    @pytest.mark.parametrize(
        ("package", "upstream"),
        [("11.3.0-3+deb13u3", "11.3.0"), ("9.0.0-4+deb12u2", "9.0.0"), ("1:12.8.0-1", "12.8.0")],
    )
    def test_upstream(self, package: str, upstream: str) -> None:
        assert Source(package).upstream == upstream

    def test_order_is_by_number(self) -> None:
        assert Source("11.3.0-1").order > Source("9.0.0-1").order


class TestOptions:
    def test_only_known_options_are_given(self) -> None:
        chosen = libvirt.choose_options("option('driver_bhyve', type: 'feature')\n", Path("/inc"))
        assert "-Ddriver_bhyve=enabled" in chosen
        assert "-Dprefix=/usr/local" in chosen
        assert not any(word.startswith("-Ddriver_remote") for word in chosen)
        assert any("-I/inc" in word for word in chosen)


class TestChanges:
    def test_a_missing_place_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(libvirt_changes, "CHANGES", (Change("a.c", r"^old$", "new"),))
        (tmp_path / "a.c").write_text("other\n")
        with pytest.raises(ChangeError, match=r"a\.c"):
            apply_changes(tmp_path)

    def test_a_missing_file_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(libvirt_changes, "CHANGES", (Change("a.c", r"^old$", "new"),))
        with pytest.raises(ChangeError, match=r"a\.c"):
            apply_changes(tmp_path)

    def test_every_place_is_changed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(libvirt_changes, "CHANGES", (Change("a.c", r"^old$", "new"),))
        (tmp_path / "a.c").write_text("old\nx\nold\n")
        apply_changes(tmp_path)
        assert (tmp_path / "a.c").read_text() == "new\nx\nnew\n"

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (
                "if not get_option('driver_bhyve').disabled() and host_machine.system() == 'freebsd'\n",
                "if not get_option('driver_bhyve').disabled()\n",
            ),
            (
                "  conf.set_quoted('BHYVECTL', bhyvectl_prog.full_path())\n",
                "  conf.set_quoted('BHYVECTL', '/usr/sbin/bhyvectl')\n",
            ),
            ("    prog_path = prog.full_path()\n", "    prog_path = name\n"),
        ],
    )
    def test_build_file(self, before: str, after: str) -> None:
        import re

        text = before
        for change in libvirt_changes.CHANGES:
            if change.file == "meson.build":
                text = re.sub(change.old, change.new, text, flags=re.MULTILINE)
        assert text == after


class TestTree:
    def make_tree(self, folder: Path) -> None:
        local = folder / "usr/local"
        (local / "lib/libvirt/connection-driver").mkdir(parents=True)
        (local / "lib/libvirt/connection-driver/libvirt_driver_bhyve.so").touch()
        (local / "sbin").mkdir()
        (local / "sbin/libvirtd").write_text("program")
        (local / "sbin/virtbhyved").write_text("program")
        (local / "share/locale/de").mkdir(parents=True)

    def test_arranged(self, tmp_path: Path) -> None:
        self.make_tree(tmp_path)
        libvirt.arrange_tree(tmp_path, "11.3.0")
        assert libvirt.read_version(tmp_path) == "11.3.0"
        assert (tmp_path / "usr/local/sbin/libvirtd").exists()
        assert not (tmp_path / "usr/local/share/locale").exists()
        assert not (tmp_path / "usr/local/sbin/virtbhyved").exists()

    def test_without_the_driver_it_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "usr/local").mkdir(parents=True)
        with pytest.raises(BuildError):
            libvirt.arrange_tree(tmp_path, "11.3.0")

    def test_newest_built_is_found(self, tmp_path: Path) -> None:
        for version in ("9.0.0", "11.3.0"):
            tree = tmp_path / f"libvirt-{version}-{libvirt.hash_recipe()}"
            tree.mkdir()
            (tree / "version").write_text(version)
        (tmp_path / "libvirt-12.0.0-000000000000").mkdir()
        found = libvirt.find_built(tmp_path)
        assert found is not None
        assert found.name.startswith("libvirt-11.3.0-")
