"""The port's skeleton, by rules of portlint(1) and the Porter's Handbook that can be held against files alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from beastack.site import environment, release
from beastack.site.description import Description, Hosts
from beastack.site.host import freebsd_packages

PROJECT = environment.REQUIREMENTS.parent
PORT = PROJECT / "packaging" / "freebsd"
MAKEFILE = (PORT / "Makefile").read_text()

#: Variables in the order of the Porter's Handbook (chapter 15); those of one group stand together.
GROUPS = (
    ("PORTNAME", "DISTVERSION", "PORTREVISION", "PORTEPOCH", "CATEGORIES", "MASTER_SITES", "PKGNAMEPREFIX"),
    ("MAINTAINER", "COMMENT", "WWW"),
    ("LICENSE", "LICENSE_FILE"),
    ("ONLY_FOR_ARCHS", "ONLY_FOR_ARCHS_REASON"),
    ("BUILD_DEPENDS", "LIB_DEPENDS", "RUN_DEPENDS"),
    ("USES", "USE_PYTHON", "USE_RC_SUBR"),
    ("NO_ARCH", "NO_BUILD", "SUB_FILES", "SUB_LIST"),
    ("PLIST_FILES", "PORTDATA", "PORTDOCS"),
    ("OPTIONS_DEFINE",),
)
ASSIGNMENT = re.compile(r"^([A-Z_]+)(\+?=)(\t*)(.*)$")


def statements() -> list[tuple[str, str, str]]:
    """Return name, what separates it from its value, and value of each assignment, continued lines joined."""
    joined = re.sub(r"[ \t]*\\\n\t*", " ", MAKEFILE)
    found = [ASSIGNMENT.match(line) for line in joined.splitlines()]
    return [(match[1], match[3], match[4].strip()) for match in found if match]


def values() -> dict[str, str]:
    """Return the variables; what is added to one is part of it."""
    found: dict[str, str] = {}
    for name, _, value in statements():
        found[name] = f"{found[name]} {value}" if name in found else value
    return found


def dependencies() -> dict[str, tuple[str, str]]:
    """Return bounds and origin of what the port needs at run time, by package."""
    found = {}
    for word in values()["RUN_DEPENDS"].split():
        match = re.fullmatch(
            r"(\$\{PYTHON_PKGNAMEPREFIX\})?([A-Za-z0-9-]+)([<>=0-9.,]+):([a-z]+/[^@]+)(?:@(.*))?", word
        )
        assert match, word
        assert (match[1] is None) == (match[5] != "${PY_FLAVOR}"), f"{word}: a module's flavor is Python's"
        found[(match[1] or "") + match[2]] = (match[3], match[4])
    return found


def test_it_has_every_file_that_a_port_must_have() -> None:
    for name in ("Makefile", "pkg-descr", "files/beastack.in", "files/pkg-message.in"):
        assert (PORT / name).read_text().endswith("\n")
    # An archive's checksums are made with the archive: the README says how.
    assert "make makesum" in (PORT / "README.md").read_text()
    assert MAKEFILE.endswith("\n.include <bsd.port.mk>\n")


def test_its_variables_stand_in_order_and_in_groups() -> None:
    known = [name for group in GROUPS for name in group]
    names = list(dict.fromkeys(name for name, _, _ in statements()))
    assert [name for name in names if name not in known] == []
    assert names == sorted(names, key=known.index)
    for group in GROUPS:
        lines = [index for index, line in enumerate(MAKEFILE.splitlines()) if line.split("=")[0].rstrip("+") in group]
        between = MAKEFILE.splitlines()[lines[0] : lines[-1]]
        assert "" not in between, f"{group}: one group, no blank line in it"


def test_it_is_written_with_tabs() -> None:
    for name, gap, value in statements():
        assert not value or gap, f"{name}: a tab stands between = and the value"
    for number, line in enumerate(MAKEFILE.splitlines(), 1):
        assert line == line.rstrip(), f"line {number}: blanks at its end"
        assert not line.startswith(" "), f"line {number}: begins with a blank"


def test_what_it_says_of_itself_has_the_form() -> None:
    found = values()
    assert re.fullmatch(r"[a-z0-9-]+", found["PORTNAME"])
    comment = found["COMMENT"]
    assert len(comment) <= 70 and not comment.endswith(".") and comment[0].isupper()
    assert not re.match(r"(a|an|the) ", comment, re.IGNORECASE) and found["PORTNAME"] not in comment.lower()
    assert found["WWW"].startswith("https://") and "@" in found["MAINTAINER"]
    assert found["CATEGORIES"].split()[0] == "sysutils"
    assert all(len(line) <= 80 for line in (PORT / "pkg-descr").read_text().splitlines())
    assert "WWW:" not in (PORT / "pkg-descr").read_text()


def test_version_and_licence_are_the_project_s() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    found = values()
    assert found["DISTVERSION"] == project["version"]
    assert (found["LICENSE"], project["license"]) == ("BSD2CLAUSE", "BSD-2-Clause")
    assert project["requires-python"] == ">=3.11,<3.14" and "python:3.11-3.13" in found["USES"]


def test_no_place_is_named_that_the_ports_tree_may_put_elsewhere() -> None:
    for file in (PORT / "Makefile", *(PORT / "files").iterdir()):
        assert "/usr/local" not in file.read_text(), f"{file.name}: PREFIX or LOCALBASE"


def recipes() -> dict[str, list[str]]:
    """Return the commands of each target."""
    found: dict[str, list[str]] = {}
    for match in re.finditer(r"^(do-install[A-Za-z-]*):\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE):
        found[match[1]] = [line.removeprefix("\t").removeprefix("@") for line in match[2].splitlines()]
    return found


def test_its_commands_are_those_of_the_framework() -> None:
    assert set(recipes()) == {"do-install", "do-install-DOCS-on"}
    for line in (line for lines in recipes().values() for line in lines):
        command = r"(\$\{(MKDIR|INSTALL_SCRIPT|INSTALL_MAN|RLN)\}|cd \$\{WRKSRC\} && \$\{COPYTREE_SHARE\}) "
        assert re.match(command, line), line
        assert "${STAGEDIR}" in line


#: What the framework's variables stand for, with programs that Linux has too (Mk/bsd.port.mk, Mk/bsd.commands.mk).
VARIABLES = {
    "PREFIX": "/usr/local", "DATADIR": "/usr/local/share/beastack", "DOCSDIR": "/usr/local/share/doc/beastack",
    "WRKSRC": str(PROJECT), "MKDIR": "mkdir -p", "INSTALL_SCRIPT": "install -m 555", "INSTALL_MAN": "install -m 444",
    "RLN": "ln -sr", "COPYTREE_SHARE": "copy_tree",
}  # fmt: skip
#: Made in the staging directory beforehand, by mtree(8) from BSD.local.dist.
STAGED = ("sbin", "share/man/man5", "share/man/man8")
COPY_TREE = 'copy_tree() { for name in $1; do tar -cf - --exclude=__pycache__ "$name" | tar -xf - -C "$2"; done; }\n'


def test_what_it_installs_is_what_its_list_of_files_says(tmp_path: Path) -> None:
    for name in STAGED:
        (tmp_path / "usr/local" / name).mkdir(parents=True)
    script = "".join(f"{line}\n" for lines in recipes().values() for line in lines)
    for name, value in {**VARIABLES, "STAGEDIR": str(tmp_path)}.items():
        script = script.replace(f"${{{name}}}", value)
    assert "${" not in script
    # Each line is a shell of its own to make(1).
    for line in script.splitlines():
        subprocess.run(["sh", "-euc", COPY_TREE + line], check=True)
    local = tmp_path / "usr/local"
    installed = {path.relative_to(local) for path in local.rglob("*") if not path.is_dir()}
    # PORTDATA and PORTDOCS are all that is in these two.
    rest = {path for path in installed if not set(path.parents) & {Path("share/beastack"), Path("share/doc/beastack")}}
    # Manual pages are compressed by the framework.
    assert {f"{path}.gz" if "man" in path.parts else str(path) for path in rest} == set(values()["PLIST_FILES"].split())
    pages = {path.name for path in (PROJECT / "docs/man").iterdir()}
    assert {path.name for path in rest if "man" in path.parts} == pages
    assert {path.name for path in (PROJECT / "docs").glob("*.md")} == {
        path.name for path in installed if Path("share/doc/beastack") in path.parents
    }
    told = subprocess.run([local / "sbin/beastack", "--version"], capture_output=True, text=True)
    assert (told.returncode, values()["DISTVERSION"] in told.stdout) == (0, True), told.stderr


def test_what_is_left_to_fill_in_is_said() -> None:
    readme = (PORT / "README.md").read_text()
    for name in ("MASTER_SITES", "MAINTAINER", "WWW"):
        lines = MAKEFILE.splitlines()
        place = next(number for number, line in enumerate(lines) if line.startswith(f"{name}="))
        assert lines[place - 1].startswith("# To be filled in by who submits it: ")
        assert f"`{name}`" in readme


def test_it_depends_on_what_up_installs() -> None:
    def local(name: str) -> str:
        return name.replace(freebsd_packages.prefix(), "${PYTHON_PKGNAMEPREFIX}")

    wanted = freebsd_packages.packages(Description(host=Hosts(kind="freebsd")))
    assert set(dependencies()) == {local(name) for name in wanted}


def test_its_bounds_are_those_of_the_split() -> None:
    found = dependencies()
    for item in release.split().packages:
        bounds, origin = found["${PYTHON_PKGNAMEPREFIX}" + item.package]
        assert origin == item.origin
        limits = dict(re.findall(r"(>=|<)([0-9.]+)", bounds))
        lowest = limits.get(">=", "0")
        assert not item.broken_bounds(lowest) or lowest == "0", f"{item.package}: {bounds} lets too old ones in"
        if "<" in limits:
            assert item.broken_bounds(limits["<"]), f"{item.package}: {bounds} leaves too many out"
    assert found["${PYTHON_PKGNAMEPREFIX}cryptography"][0] == ">=49.0.0,1<51,1"


def test_the_dependencies_are_as_the_split_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(environment.REQUIREMENTS))
    import make_freebsd_split

    split = json.loads(make_freebsd_split.SPLIT.read_text())
    between = MAKEFILE.partition(make_freebsd_split.BEGIN)[2].partition(make_freebsd_split.END)[0]
    assert between == make_freebsd_split.dependencies(split)
    assert make_freebsd_split.port_limits([">=2,<4", ">=10.1", "!=3.*"], 1) == ">=10.1,1<4,1"
    assert make_freebsd_split.port_limits([], 0) == ">=0"
    sys.modules.pop("make_freebsd_split")


def test_the_rc_script_has_what_rc_and_rcorder_read() -> None:
    text = (PORT / "files/beastack.in").read_text()
    assert text.startswith("#!/bin/sh\n") and text.endswith('run_rc_command "$1"\n')
    for line in ("# PROVIDE: ", "# REQUIRE: ", "# KEYWORD: ", ". /etc/rc.subr", "load_rc_config $name"):
        assert f"\n{line}" in text
    # Defaults come after rc.conf was read.
    assert text.index("load_rc_config") < text.index(':="NO"}')
    for name in re.findall(r"%%([A-Z]+)%%", text):
        assert name == "PREFIX" or f"{name}=" in values()["SUB_LIST"], f"%%{name}%% is not in SUB_LIST"
    assert values()["USE_RC_SUBR"] == "beastack"


def test_the_message_is_ucl() -> None:
    text = (PORT / "files/pkg-message.in").read_text()
    assert text.startswith("[\n") and text.rstrip().endswith("]")
    assert text.count("<<EOM\n") == text.count("\nEOM\n") == text.count("message:") == 2
    assert set(re.findall(r"type: (\w+)", text)) == {"install", "remove"}
    assert "sysrc beastack_enable=YES" in text and "service beastack start" in text
    assert values()["SUB_FILES"] == "pkg-message"


def test_its_shell_is_shell() -> None:
    for name in re.findall(r"%%([A-Z]+)%%", text := (PORT / "files/beastack.in").read_text()):
        text = text.replace(f"%%{name}%%", name.lower())
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)
