"""The simulated host's cloud as the Linux machine sees it: by its own loopback, its own files, its own ssh."""

from __future__ import annotations

import subprocess
import urllib.request
from pathlib import Path

import pytest

from freebsd_pair import PairedSite

pytestmark = pytest.mark.cloud


def test_up_says_first_where_the_cloud_is_and_again_changes_nothing(whole_site: PairedSite) -> None:
    before = {name: item["pid"] for name, item in whole_site.services().items()}
    said = whole_site.run("up").stdout.splitlines()
    assert said[0].startswith("This is Linux: the cloud runs inside a simulated FreeBSD host")
    assert any("is up; nothing to do" in line for line in said)
    assert {name: item["pid"] for name, item in whole_site.services().items()} == before


def test_clients_and_browsers_of_the_machine_reach_it(whole_site: PairedSite) -> None:
    assert [server.name for server in whole_site.connect().compute.servers()] == ["first"]
    with urllib.request.urlopen("http://127.0.0.1:6080/vnc_lite.html", timeout=30) as page:
        assert b"noVNC" in page.read()


def test_ssh_finds_an_instance_by_its_name(whole_site: PairedSite) -> None:
    assert whole_site.run("ssh", "first", "hostname").stdout.strip() == "first"
    assert whole_site.run("ssh", "first", "exit", "7", ok=False).returncode == 7
    wrong = whole_site.run("ssh", "second", "hostname", ok=False)
    assert wrong.returncode == 1 and wrong.stdout == ""
    assert wrong.stderr == "beastack: there is no one instance second (there are: first)\n"


def test_an_image_is_added_from_a_file_of_the_machine(whole_site: PairedSite, tmp_path: Path) -> None:
    raw = next(whole_site.layout.data("guest-image").glob("*.raw"))
    file = tmp_path / "guest.qcow2"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(file)], check=True)
    said = whole_site.run("image", "add", str(file), "--name", "from-linux").stdout
    assert "added" in said
    connection = whole_site.connect("beastack-admin")
    image = connection.image.find_image("from-linux")
    assert image.disk_format == "qcow2" and image.size == file.stat().st_size
    connection.image.delete_image(image)
    text = tmp_path / "page.html"
    text.write_text("<html></html>")
    refused = whole_site.run("image", "add", str(text), ok=False)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
