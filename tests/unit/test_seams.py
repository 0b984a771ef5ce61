"""Seams: applied as upstream is imported, and only to the code they were written against."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import itertools
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from beastack.port import seams as port_seams
from beastack.seams.install import apply, check, install, serve
from beastack.seams.registry import Seam, SeamError, check_installed, find_duplicates, read_allowed, wanted_hashes
from beastack.seams.source import code_hash

BODY = "class Guest:\n    def describe(self):\n        return 'upstream'\n\n\ndef start(count):\n    return count + 1\n"

_number = itertools.count()


@pytest.fixture(autouse=True)
def imports_as_before() -> Iterator[None]:
    finders, modules = list(sys.meta_path), set(sys.modules)
    yield
    sys.meta_path[:] = finders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


class Upstream:
    """A package of the test's own, installed as a distribution of some version."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # A name of its own for each test: the import system remembers.
        self.name = f"seamed{next(_number)}"
        (directory / self.name).mkdir()
        (directory / self.name / "__init__.py").write_text("")
        self.release("3.1.0")

    def release(self, version: str) -> None:
        for old in self.directory.glob("*.dist-info"):
            shutil.rmtree(old)
        info = self.directory / f"{self.name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {version}\n")
        importlib.invalidate_caches()

    def write(self, text: str = BODY, module: str = "guest") -> str:
        (self.directory / self.name / f"{module}.py").write_text(text)
        importlib.invalidate_caches()
        return f"{self.name}.{module}"

    def seam(
        self, attribute: str, hashes: dict[str, str], make: Callable[[Any], Any], module: str = "guest",
        kind: str = "function",
    ) -> Seam:  # fmt: skip
        return Seam(
            id="T1",
            kind=kind,
            distribution=self.name,
            module=f"{self.name}.{module}",
            why="to test",
            since="1",
            retired_by="nothing",
            processes=("test",),
            hosts=("linux",),
            hashes=hashes,
            make={attribute: make},
        )


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    monkeypatch.syspath_prepend(tmp_path)
    return Upstream(tmp_path)


@pytest.fixture
def hash_of() -> Callable[..., str]:
    """Return the hash of a function or class, given its source."""

    def compute(source: str, name: str = "f") -> str:
        return code_hash(source, name, "function")

    return compute


def doubled(original: Callable[[int], int]) -> Callable[[int], int]:
    return lambda count: original(count) * 2


def shouting(original: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda self: original(self).upper()


START = "def start(count):\n    return count + 1\n"


# The hash.

REFERENCE = "def f(a, b=2, *c, **d):\n    x = a + b\n    return [x, None, 'text']\n"


@pytest.mark.parametrize(
    "source",
    [
        "def f(a, b=2, *c, **d):\n    # a comment\n    x = a + b  # another\n\n    return [x, None, 'text']\n",
        'def f(a, b=2, *c, **d):\n    """What it does."""\n    x = a + b\n    return [x, None, "text"]\n',
        "def f(a: int, b: int = 2, *c: str, **d: 'object') -> list:\n    x = a + b\n    return [x, None, 'text']\n",
        "def f(\n    a,\n    b=2,\n    *c,\n    **d\n):\n  x = (a\n       + b)\n  return [x, None,\n    'text',]\n",
    ],
    ids=["comments", "docstring", "annotations", "layout"],
)
def test_what_changes_nothing_does_not_change_the_hash(source: str, hash_of: Callable[..., str]) -> None:
    assert hash_of(source) == hash_of(REFERENCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a + b", "a - b"),
        ("a + b", "b + a"),
        ("b=2", "b=3"),
        ("b=2", "b=2.0"),
        ("b=2", "b=None"),
        ("b=2", "b"),
        ("*c", "*e"),
        ("'text'", "b'text'"),
        ("'text'", "'Text'"),
        (", None", ""),
        ("None", "False"),
        ("None", "0"),
        ("x, None", "None, x"),
        ("return ", ""),
        ("return [x, None, 'text']", "return"),
        ("return [x, None, 'text']", "return None"),
        ("def f", "async def f"),
        ("    x = a + b\n", ""),
    ],
)
def test_any_change_of_what_it_does_changes_the_hash(old: str, new: str, hash_of: Callable[..., str]) -> None:
    assert old in REFERENCE
    assert hash_of(REFERENCE.replace(old, new, 1)) != hash_of(REFERENCE)


def test_text_that_is_no_docstring_counts(hash_of: Callable[..., str]) -> None:
    assert hash_of("def f():\n    return 'a'\n") != hash_of("def f():\n    return 'b'\n")
    assert hash_of("def f():\n    1\n    'a'\n") != hash_of("def f():\n    1\n    'b'\n")


def test_a_body_that_is_only_a_docstring(hash_of: Callable[..., str]) -> None:
    assert hash_of("def f():\n    'About.'\n") == hash_of("def f():\n    pass\n")


def test_classes_and_what_is_inside_them(hash_of: Callable[..., str]) -> None:
    plain = "class C:\n    def m(self):\n        return 1\n"
    documented = 'class C:\n    """C."""\n\n    def m(self) -> int:\n        """M."""\n        return 1\n'
    assert hash_of(plain, "C") == hash_of(documented, "C")
    assert hash_of(plain, "C") != hash_of(plain.replace("1", "2"), "C")


def test_decorators_count(hash_of: Callable[..., str]) -> None:
    bare = "import functools\n\ndef f():\n    return 1\n"
    assert hash_of(bare) != hash_of(bare.replace("def", "@functools.cache\ndef"))


def test_the_hash_is_the_same_on_every_release_of_python(hash_of: Callable[..., str]) -> None:
    assert hash_of(REFERENCE) == "e953b1051b262b23"


# Installing.


def test_a_seam_is_applied_when_its_module_is_imported(upstream: Upstream, hash_of: Callable[..., str]) -> None:
    module = upstream.write()
    install([upstream.seam("start", {"3": hash_of(START, "start")}, doubled)])
    assert module not in sys.modules
    assert importlib.import_module(module).start(1) == 4


def test_it_is_applied_before_the_importer_takes_names_out(upstream: Upstream, hash_of: Callable[..., str]) -> None:
    upstream.write()
    user = upstream.write(f"from {upstream.name}.guest import start\nresult = start(1)\n", "user")
    install([upstream.seam("start", {"3": hash_of(START, "start")}, doubled)])
    assert importlib.import_module(user).result == 4


def method_hash(upstream: Upstream, hash_of: Callable[..., str]) -> str:
    return hash_of("def describe(self):\n    return 'upstream'\n", "describe")


def test_a_method_is_replaced_in_its_class(upstream: Upstream, hash_of: Callable[..., str]) -> None:
    module = upstream.write()
    install([upstream.seam("Guest.describe", {"3": method_hash(upstream, hash_of)}, shouting)])
    assert importlib.import_module(module).Guest().describe() == "UPSTREAM"


def test_several_seams_of_one_module_and_of_others(upstream: Upstream, hash_of: Callable[..., str]) -> None:
    guest, other = upstream.write(), upstream.write(BODY, "other")
    start = {"3": hash_of(START, "start")}
    install([
        upstream.seam("start", start, doubled),
        upstream.seam("Guest.describe", {"3": method_hash(upstream, hash_of)}, shouting),
        upstream.seam("start", start, lambda original: lambda count: 0, module="other"),
    ])  # fmt: skip
    module = importlib.import_module(guest)
    assert (module.start(1), module.Guest().describe()) == (4, "UPSTREAM")
    assert importlib.import_module(other).start(1) == 0


def test_a_module_that_is_imported_already_is_changed_at_once(upstream: Upstream, hash_of: Callable[..., str]) -> None:
    module = importlib.import_module(upstream.write())
    install([upstream.seam("start", {"3": hash_of(START, "start")}, doubled)])
    assert module.start(1) == 4


def test_modules_without_seams_are_imported_as_ever(upstream: Upstream, hash_of: Callable[..., str]) -> None:
    upstream.write()
    other = upstream.write(BODY, "other")
    install([upstream.seam("start", {"3": hash_of(START, "start")}, doubled)])
    assert importlib.import_module(other).start(1) == 2
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{upstream.name}.missing")


def test_a_seam_of_a_module_that_is_not_there_does_not_hide_that(upstream: Upstream) -> None:
    install([upstream.seam("start", {"3": ""}, doubled, module="missing")])
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"{upstream.name}.missing")


def test_a_module_with_seams_still_shows_its_source(upstream: Upstream, hash_of: Callable[..., str]) -> None:
    name = upstream.write()
    install([upstream.seam("start", {"3": hash_of(START, "start")}, doubled)])
    module = importlib.import_module(name)
    assert inspect.getsource(module) == BODY
    loader = module.__spec__.loader if module.__spec__ else None
    assert loader is not None
    assert loader.get_source(name) == BODY  # type: ignore[attr-defined]


# Refusing.


def test_a_changed_body_is_refused_with_names(upstream: Upstream, hash_of: Callable[..., str]) -> None:
    changed = START.replace("1", "2")
    name = upstream.write(changed)
    install([upstream.seam("start", {"3": hash_of(START, "start")}, doubled)])
    with pytest.raises(SeamError) as caught:
        importlib.import_module(name)
    assert str(caught.value) == (
        f"seam T1: {name}:start of {upstream.name} 3.1.0 is not the code it was written against "
        f"({hash_of(changed, 'start')}, not {hash_of(START, 'start')}, "
        f"in {upstream.directory / upstream.name / 'guest.py'}); --allow-changed T1 goes on regardless"
    )
    assert name not in sys.modules


@pytest.mark.parametrize("version", ["4.0.0", "2.9", "33.1"])
def test_a_release_that_the_seam_does_not_know_is_refused(
    version: str, upstream: Upstream, hash_of: Callable[..., str]
) -> None:
    name = upstream.write()
    upstream.release(version)
    seam = upstream.seam("start", {"3": hash_of(START, "start")}, doubled)
    with pytest.raises(SeamError) as caught:
        check(seam, importlib.import_module(name))
    assert str(caught.value) == (
        f"seam T1 was not written for {upstream.name} {version}: check {name}:start "
        f"in {upstream.directory / upstream.name / 'guest.py'} and add its hash; --allow-changed T1 goes on regardless"
    )


def test_each_major_release_has_a_hash_of_its_own(upstream: Upstream, hash_of: Callable[..., str]) -> None:
    changed = START.replace("1", "2")
    name = upstream.write(changed)
    upstream.release("4.0.1")
    hashes = {"3": hash_of(START, "start"), "4": hash_of(changed, "start")}
    install([upstream.seam("start", hashes, doubled)])
    assert importlib.import_module(name).start(1) == 6


def test_an_imported_module_that_does_not_fit_is_refused_at_once(upstream: Upstream) -> None:
    module = importlib.import_module(upstream.write())
    with pytest.raises(SeamError):
        install([upstream.seam("start", {"3": "0" * 16}, doubled)])
    assert module.start(1) == 2


def test_nothing_is_changed_by_a_check(upstream: Upstream, hash_of: Callable[..., str]) -> None:
    module: types.ModuleType = importlib.import_module(upstream.write())
    seam = upstream.seam("start", {"3": hash_of(START, "start")}, doubled)
    check(seam, module)
    assert module.start(1) == 2
    apply(seam, module)
    assert module.start(1) == 4


def test_a_refused_module_is_refused_again(upstream: Upstream) -> None:
    name = upstream.write()
    install([upstream.seam("start", {"3": "0" * 16}, doubled)])
    for _ in range(2):
        with pytest.raises(SeamError):
            importlib.import_module(name)


def test_looking_for_a_module_does_not_lose_its_seam(upstream: Upstream, hash_of: Callable[..., str]) -> None:
    name = upstream.write()
    install([upstream.seam("start", {"3": hash_of(START, "start")}, doubled)])
    assert importlib.util.find_spec(name) is not None
    assert importlib.import_module(name).start(1) == 4


# Data and modules.

TABLE = "import sys\n\nCHOICES: list = ['a', 'b']\n\nif sys.maxsize:\n    import grp\n"


def test_data_is_the_expression_that_is_assigned() -> None:
    reference = code_hash(TABLE, "CHOICES", "data")
    assert code_hash("CHOICES = [\n    'a',  # one\n    'b',\n]\n", "CHOICES", "data") == reference
    for other in ("CHOICES = ['a']\n", "CHOICES = ['a', 'b']\nCHOICES += ['c']\n", "CHOICES = ('a', 'b')\n"):
        assert code_hash(other, "CHOICES", "data") != reference


def test_data_under_a_condition_is_the_whole_statement() -> None:
    assert code_hash(TABLE, "grp", "data") != code_hash(TABLE.replace("if sys", "if not sys"), "grp", "data")
    assert code_hash(TABLE, "grp", "data") == code_hash("x = 1\n" + TABLE, "grp", "data")


def test_a_module_is_its_public_names_and_their_arguments() -> None:
    text = "import os\nA = 1\n_b = 2\n\ndef f(x, y=1):\n    return x\n\ndef _g():\n    pass\n"
    reference = code_hash(text, "", "module")
    for same in (text.replace("return x", "return y"), text.replace("_g", "_h"), text.replace("A = 1", "A = 2")):
        assert code_hash(same, "", "module") == reference
    for other in (text.replace("y=1", "y=2"), text.replace("A =", "B ="), text.replace("_g", "g")):
        assert code_hash(other, "", "module") != reference


@pytest.mark.parametrize(("name", "kind"), [("g", "function"), ("C.m", "function"), ("g", "data")])
def test_what_is_not_in_the_source(name: str, kind: str) -> None:
    with pytest.raises(LookupError):
        code_hash("def f():\n    pass\n", name, kind)


def test_data_is_replaced_and_may_be_missing(upstream: Upstream) -> None:
    name = upstream.write(TABLE.replace("maxsize", "maxsize < 0"))
    text = TABLE.replace("maxsize", "maxsize < 0")
    install([
        upstream.seam("CHOICES", {"3": code_hash(text, "CHOICES", "data")}, lambda old: [*old, "c"], kind="data"),
        upstream.seam("grp", {"3": code_hash(text, "grp", "data")}, lambda old: old or "here", kind="data"),
    ], ())  # fmt: skip
    module = importlib.import_module(name)
    assert (module.CHOICES, module.grp) == (["a", "b", "c"], "here")


def whole(upstream: Upstream, text: str = BODY) -> Seam:
    upstream.write("def start(count):\n    return __name__, count\n", "ours")
    hashes = {"3": code_hash(text, "", "module")}
    return upstream.seam("", hashes, serve(f"{upstream.name}.ours"), kind="module")


def test_a_module_is_served_under_upstreams_name(upstream: Upstream) -> None:
    name = upstream.write()
    install([whole(upstream)], ())
    module = importlib.import_module(name)
    assert module.start(3) == (name, 3)
    assert module.start.__module__ == module.__name__ == name


def test_a_module_whose_names_changed_is_refused(upstream: Upstream) -> None:
    name = upstream.write(BODY.replace("start", "begin"))
    install([whole(upstream)], ())
    with pytest.raises(SeamError, match=f"seam T1: {name} of"):
        importlib.import_module(name)


def test_a_module_that_is_imported_already_cannot_be_replaced(upstream: Upstream) -> None:
    importlib.import_module(upstream.write())
    with pytest.raises(SeamError, match="too late"):
        install([whole(upstream)], ())


def test_a_module_is_replaced_as_a_whole_or_in_parts(upstream: Upstream) -> None:
    upstream.write()
    with pytest.raises(ValueError, match="as a whole and in parts"):
        install([whole(upstream), upstream.seam("start", {}, doubled)], ())


# Allowed all the same.


def test_an_allowed_seam_stands_over_changed_code_and_is_logged(
    upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    name = upstream.write()
    install([upstream.seam("start", {"3": "0" * 16}, doubled)], ("T1",))
    assert importlib.import_module(name).start(1) == 4
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(f"allowed all the same: seam T1: {name}:start of {upstream.name} 3.1.0")


def test_the_environment_allows(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEASTACK_ALLOW_CHANGED", "C3,T1")
    name = upstream.write()
    install([upstream.seam("start", {}, doubled)])
    assert importlib.import_module(name).start(1) == 4
    assert read_allowed({"BEASTACK_ALLOW_CHANGED": " A1, B2 "}) == {"A1", "B2"}
    assert read_allowed({}) == frozenset()


# What is installed elsewhere, and the list.


def test_installed_packages_are_checked_without_importing_them(upstream: Upstream, hash_of: Callable[..., str]) -> None:
    name = upstream.write()
    seam = upstream.seam("start", {"3": hash_of(START, "start")}, doubled)
    assert check_installed(seam, upstream.directory) == "3.1.0"
    assert name not in sys.modules
    upstream.write("raise SystemExit\n")
    with pytest.raises(SeamError, match=f"seam T1: {name}:start is not in {upstream.name} 3.1.0"):
        check_installed(seam, upstream.directory)


def test_the_longest_version_counts(upstream: Upstream) -> None:
    seam = upstream.seam("start", {"3": "a", "3.1": "b"}, doubled)
    assert [wanted_hashes(seam, version) for version in ("3.0.1", "3.1", "3.1.2", "3.10", "30.1")] == [
        ("a",), ("b",), ("b",), ("a",), None,
    ]  # fmt: skip


def test_no_two_seams_stand_over_the_same(upstream: Upstream) -> None:
    assert find_duplicates(port_seams.ALL) == []
    twice = upstream.seam("start", {}, doubled)
    assert find_duplicates([twice, twice]) == [f"{upstream.name}.guest:start"]


def test_every_seam_says_what_a_porter_needs() -> None:
    assert len({seam.id for seam in port_seams.ALL}) == len(port_seams.ALL)
    for seam in port_seams.ALL:
        assert seam.why and seam.since and seam.retired_by and seam.processes
        assert set(seam.hosts) <= set(port_seams.INSTALLED)
        assert len(seam.hashes) >= 2
        assert all(len(text.split()) == len(seam.attributes) for text in seam.hashes.values())
    for host, parents in port_seams.INSTALLED.items():
        assert all(host in seam.hosts for installed in parents.values() for seam in installed)


def test_hosts_have_no_more_seams_than_they_need() -> None:
    assert [seam.id for seam in port_seams.installed_on("freebsd")] == [
        "C1", "C2", "C3", "C4", "K1", "V1", "V2", "V3", "V4", "V5", "V6", "V7", "N1", "N2", "N3", "N4", "N5", "N6",
    ]  # fmt: skip
    assert [seam.id for seam in port_seams.installed_on("linux")] == ["K1", "L1"]
