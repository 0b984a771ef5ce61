"""A site as a directory: whose it is, of which format, and who works on it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import beastack
from beastack.freebsd import command
from beastack.freebsd.command import run
from beastack.site.description import Description
from beastack.site.layout import FORMAT, Layout
from beastack.site.operate import (
    NotASite,
    SiteError,
    forget_earlier_boot,
    make_site,
    only_one,
    open_site,
    read_description,
)
from beastack.site.wait import wait_until
from beastack.supervisor import process

SOURCE = Path(beastack.__file__).resolve().parent.parent
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "site")


@pytest.fixture(autouse=True)
def commands_hold_nothing_afterwards() -> Iterator[None]:
    yield
    command._held.clear()


# Making and opening.


def test_a_new_site_is_a_marked_directory_with_secrets(layout: Layout) -> None:
    site = make_site(layout, Description())
    assert json.loads(layout.marker.read_text()) == {
        "format": FORMAT, "version": beastack.__version__, "host": {"kind": "freebsd", "role": "all"},
    }  # fmt: skip
    assert sorted(path.name for path in layout.root.iterdir()) == ["secrets.json", "site.json"]
    assert json.loads(layout.secrets.read_text()) == site.secrets
    # Services of other users go through it, but nobody lists it.
    assert stat.S_IMODE(layout.root.stat().st_mode) == 0o711


def test_a_site_that_exists_is_opened_as_it_is(layout: Layout) -> None:
    made = make_site(layout, Description())
    assert make_site(layout, Description()) == made
    assert open_site(layout, Description()) == made


def test_what_may_be_there_before(layout: Layout) -> None:
    layout.root.mkdir()
    (layout.root / "site.toml").write_text('[site]\nregion = "North"\n')
    (layout.root / "lock").write_text("")
    site = make_site(layout, read_description(layout, None))
    assert site.description.site.region == "North"


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "data"])
def test_a_directory_of_somebody_elses_is_refused_and_left_alone(layout: Layout, name: str) -> None:
    layout.root.mkdir(mode=0o750)
    (layout.root / name).mkdir()
    with pytest.raises(SiteError) as caught:
        make_site(layout, Description())
    assert str(caught.value) == f"{layout.root} is not empty and not a site (it holds {name}): choose another --root"
    assert [path.name for path in layout.root.iterdir()] == [name]
    assert stat.S_IMODE(layout.root.stat().st_mode) == 0o750


def test_a_run_that_was_killed_before_the_marker_stood_is_resumed(layout: Layout) -> None:
    layout.root.mkdir()
    (layout.root / ".site.json.new").write_text('{"for')
    make_site(layout, Description())
    assert layout.marker.exists()


def test_no_site_to_open(layout: Layout) -> None:
    with pytest.raises(NotASite) as caught:
        open_site(layout, Description())
    assert str(caught.value) == f"there is no site at {layout.root} (make one with: beastack up)"
    assert not layout.root.exists()


@pytest.mark.parametrize(
    ("marker", "which"),
    [
        ({"format": FORMAT + 1, "version": "9.1"}, "9.1"),
        ({"format": FORMAT + 7}, "of that release"),
    ],
)
def test_a_site_of_a_newer_release_is_refused(layout: Layout, marker: dict[str, object], which: str) -> None:
    layout.root.mkdir()
    layout.marker.write_text(json.dumps(marker))
    for attempt in (open_site, make_site):
        with pytest.raises(SiteError) as caught:
            attempt(layout, Description())
        assert str(caught.value) == (
            f"the site at {layout.root} was made by a newer beastack (format {marker['format']}, "
            f"this one knows {FORMAT}): use beastack {which} or newer"
        )
    assert [path.name for path in layout.root.iterdir()] == ["site.json"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"7", b'"text"', b"{}", b'{"format": "x"}', b'{"format": null}', b"\xff\xfe"]
)
def test_a_damaged_marker_is_said_to_be(layout: Layout, content: bytes) -> None:
    layout.root.mkdir()
    layout.marker.write_bytes(content)
    with pytest.raises(SiteError) as caught:
        open_site(layout, Description())
    assert str(caught.value) == f"{layout.marker} is damaged: restore it from a backup, or destroy the site"


def test_which_description_counts(layout: Layout, tmp_path: Path) -> None:
    layout.root.mkdir()
    assert read_description(layout, None) == Description()
    (layout.root / "site.toml").write_text('[site]\nregion = "Own"\n')
    (tmp_path / "named.toml").write_text('[site]\nregion = "Named"\n')
    assert read_description(layout, None).site.region == "Own"
    assert read_description(layout, tmp_path / "named.toml").site.region == "Named"


# One at a time.

HOLDER = """
import sys
from pathlib import Path
from beastack.freebsd.command import run
from beastack.site.layout import Layout
from beastack.site.operate import only_one
with only_one(Layout(Path(sys.argv[1]))):
    if sys.argv[2] == "command":
        run(["sh", "-c", "echo $$ > command.new; mv command.new command; exec sleep 300"], timeout=300)
    print("holding", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holders(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for one in started:
        one.kill()
        one.communicate()
    if (tmp_path / "command").exists():
        pid = int((tmp_path / "command").read_text())
        process.send_signal(pid, process.start_time(pid), signal.SIGKILL)


def hold(layout: Layout, tmp_path: Path, how: str = "wait") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(layout.root), how],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(SOURCE)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def test_a_second_one_is_refused_with_the_firsts_pid(
    layout: Layout, tmp_path: Path, holders: list[subprocess.Popen[str]]
) -> None:
    first = hold(layout, tmp_path)
    holders.append(first)
    assert first.stdout is not None and first.stdout.readline() == "holding\n"
    with pytest.raises(SiteError) as caught, only_one(layout):
        pass
    assert str(caught.value) == f"another beastack is at work on {layout.root} (pid {first.pid}): wait for it"
    first.communicate("")
    assert first.returncode == 0
    with only_one(layout):
        assert (layout.root / "lock").read_text() == f"{os.getpid()}\n"


def test_the_next_one_waits_for_a_command_that_a_killed_one_left(
    layout: Layout, tmp_path: Path, holders: list[subprocess.Popen[str]]
) -> None:
    killed = hold(layout, tmp_path, "command")
    holders.append(killed)
    command_file = tmp_path / "command"
    wait_until(lambda: (command_file.exists(), ""), what="the command to run", timeout=30, interval=0.02)
    killed.kill()
    killed.wait()
    next_one = hold(layout, tmp_path)
    holders.append(next_one)
    assert next_one.stdout is not None
    pid = int(command_file.read_text())
    assert process.start_time(pid) is not None
    # It has neither the lock nor given up as long as the command runs.
    with pytest.raises(subprocess.TimeoutExpired):
        next_one.wait(1.0)
    assert (layout.root / "lock").read_text() == f"{killed.pid}\n"
    os.kill(pid, signal.SIGKILL)
    assert next_one.stdout.readline() == "holding\n"
    assert (layout.root / "lock").read_text() == f"{next_one.pid}\n"


def test_the_site_is_free_again_afterwards(layout: Layout) -> None:
    with only_one(layout):
        pass
    with pytest.raises(ZeroDivisionError), only_one(layout):
        raise ZeroDivisionError
    with only_one(layout):
        pass


def test_commands_run_on_after_the_site_was_held(layout: Layout) -> None:
    # Descriptors are reused from the lowest: this one stays above what a command opens for itself.
    spare = [os.open(os.devnull, os.O_RDONLY) for _ in range(30)]
    try:
        with only_one(layout):
            pass
    finally:
        for descriptor in spare:
            os.close(descriptor)
    assert run(["echo", "still"]).stdout == "still\n"


# After a boot.


@pytest.fixture
def boot() -> str:
    if not BOOT_ID.exists():
        pytest.skip("this kernel does not tell one boot from another")
    return BOOT_ID.read_text().strip()


def test_what_runs_since_this_boot_is_kept(layout: Layout, boot: str) -> None:
    layout.root.mkdir()
    forget_earlier_boot(layout, "linux")
    assert (layout.run() / "boot-id").read_text() == boot
    (layout.run() / "control.sock").write_text("")
    forget_earlier_boot(layout, "linux")
    assert sorted(path.name for path in layout.run().iterdir()) == ["boot-id", "control.sock"]


@pytest.mark.parametrize("earlier", ["1c6a3f5e-0000-4000-8000-000000000000", None])
def test_what_an_earlier_boot_left_is_removed(layout: Layout, boot: str, earlier: str | None) -> None:
    (layout.run() / "services").mkdir(parents=True)
    (layout.run() / "services" / "glance.json").write_text("{}")
    layout.data("glance").mkdir(parents=True)
    if earlier is not None:
        (layout.run() / "boot-id").write_text(earlier)
    forget_earlier_boot(layout, "linux")
    assert [path.name for path in layout.run().iterdir()] == ["boot-id"]
    assert (layout.run() / "boot-id").read_text() == boot
    assert layout.data("glance").is_dir()
