"""Consoles of instances on bhyve in a real browser: the screen by noVNC, and the serial line. Root only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beastack.cli.debian import install_packages
from browser import ENTER, PACKAGES, Browser, open_browser
from conftest import eventually
from freebsd_guests import Guest, admin_api, first_guest, wait
from freebsd_pair import PairedSite

pytestmark = pytest.mark.cloud

SCREEN = "#screen canvas"
#: How many points of the guest's screen are not dark.
COUNT_LIT = f"""
    const canvas = document.querySelector("{SCREEN}");
    const points = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let lit = 0;
    for (let at = 0; at < points.length; at += 4) if (points[at] + points[at + 1] + points[at + 2] > 96) lit++;
    return lit;
"""
#: What the terminal shows, as text.
READ_TERMINAL = """
    const buffer = window.terminal.buffer.active;
    return Array.from({length: buffer.length}, (_, line) => buffer.getLine(line).translateToString(true)).join("\\n");
"""


@pytest.fixture(scope="module")
def guest(whole_site: PairedSite) -> Iterator[Guest]:
    with admin_api(whole_site) as api:
        made = first_guest(whole_site, api)
        # Its shells begin when it has booted.
        wait(lambda: "ready" in made.shell("ls /run/guest"), "the first instance to have booted")
        yield made


@pytest.fixture(scope="module")
def browser(whole_site: PairedSite) -> Iterator[Browser]:
    install_packages(PACKAGES)
    with open_browser(whole_site.host) as opened:
        yield opened


def page_of(guest: Guest, kind: str) -> str:
    """Return the address that the command line gives."""
    return guest.site.run("console", "first", kind).stdout.strip()


def open_page(browser: Browser, url: str) -> None:
    """Open a page, and wait until it is connected."""
    browser.open(url)
    eventually(lambda: browser.text("#status").startswith("Connected"), "the page to be connected")


def await_shown(browser: Browser, text: str) -> None:
    """Wait until the terminal shows a text."""
    shown = ""

    def is_there() -> bool:
        nonlocal shown
        shown = browser.run(READ_TERMINAL)
        return text in shown

    try:
        eventually(is_there, f"{text!r} on the terminal")
    except AssertionError as error:
        raise AssertionError(f"{error}; it shows:\n{shown}") from None


def test_the_screen_shows_the_guest_and_takes_what_is_typed(browser: Browser, guest: Guest) -> None:
    open_page(browser, page_of(guest, "--vnc"))
    assert browser.run(f"return document.querySelector('{SCREEN}').width") == 1024
    browser.click(SCREEN)
    # Some lines of thin letters; then a prompt alone.
    browser.type(f"help{ENTER}")
    full = eventually(lambda: (lit := browser.run(COUNT_LIT)) > 4000 and lit, "text on the guest's screen")
    browser.type(f"clear{ENTER}")
    eventually(lambda: 0 < browser.run(COUNT_LIT) < full / 4, "the guest's screen to be cleared")
    browser.type(f"touch /run/typed-on-screen{ENTER}")
    eventually(lambda: guest.shell("ls /run/typed-on-screen"), "what was typed to reach the guest")


def test_the_serial_line_shows_the_guest_and_takes_what_is_typed(browser: Browser, guest: Guest) -> None:
    url = page_of(guest, "--serial")
    pid = str(guest.site.services()["console"]["pid"])
    # Held up: what is typed comes before what the guest printed earlier, and asked of its terminal then.
    guest.site.inside("kill", "-STOP", pid)
    try:
        open_page(browser, url)
        browser.type(f"head -n 1 >/run/typed-on-line; echo $((6*7000)){ENTER}")
    finally:
        guest.site.inside("kill", "-CONT", pid)
    await_shown(browser, "; echo $((6*7000))")
    browser.type(f"typed{ENTER}")
    # Not what was typed, but what the guest made of it.
    await_shown(browser, "\n42000\n")
    assert guest.shell("cat /run/typed-on-line") == "typed\n"


def test_a_page_of_another_site_is_refused(browser: Browser, guest: Guest) -> None:
    url = page_of(guest, "--serial")
    # A page on the same machine under another name: its Origin is not the proxy's host.
    browser.open(url.replace("127.0.0.1", "localhost"))
    browser.run(f"""
        window.answer = "";
        const socket = new WebSocket("{url.replace("http", "ws", 1)}", ["binary"]);
        socket.onmessage = () => {{ window.answer = "let in"; }};
        socket.onclose = () => {{ window.answer = window.answer || "refused"; }};
        socket.onopen = () => socket.send("\\r");
    """)
    assert eventually(lambda: browser.run("return window.answer"), "an answer") == "refused"


def test_an_address_that_is_not_the_instances_is_refused(browser: Browser, guest: Guest) -> None:
    url = page_of(guest, "--serial")
    browser.open(url.partition("token=")[0] + "token=11111111-1111-1111-1111-111111111111")
    eventually(lambda: browser.text("#status").startswith("Disconnected"), "the page to be refused")
