"""Compiles what a simulated host needs of native code, and Python's bytecode for its personality."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
COMPILER = "cc"
WARNINGS = ("-Wall", "-Wextra", "-O2")
STATIC = ("simcall", "native")  # they run where no shared library may be found
LIBC = "libc.so.7"
OVS = "ovs.so"


class BuildError(Exception):
    """The compiler failed, or its input is not there."""


def find_sources() -> Path:
    """Return the directory of the C sources: in the installed package, else in the source tree.

    :raises BuildError: neither is there
    """
    for directory in (PACKAGE / "native", PACKAGE.parent.parent / "native"):
        if (directory / "simcall.c").exists():
            return directory
    raise BuildError("the C sources of the simulator are not there")


def build_native(target: Path) -> Path:
    """Compile simcall, native, libc.so.7 and ovs.so into a directory where the source is newer; return the directory.

    The personality's bytecode is written too.

    :raises BuildError: the compiler's own words
    """
    sources = find_sources()
    target.mkdir(parents=True, exist_ok=True)
    for name in STATIC:
        _compile(sources / f"{name}.c", target / name, ("-static",))
    _compile(sources / "libc.c", target / LIBC, ("-shared", "-fPIC", f"-Wl,-soname,{LIBC}", "-Wl,--no-as-needed"))
    _compile(sources / "ovs.c", target / OVS, ("-shared", "-fPIC"))
    compile_personality()
    return target


def compile_personality() -> None:
    """Write the bytecode of the personality beside it for each Python that hosts are lent.

    Inside a host that directory is read-only; without bytecode every start
    of Python would compile it again. A failure only costs that time.
    """
    for interpreter in sorted(Path("/usr/bin").glob("python3.[0-9]*")):
        if interpreter.suffix[1:].isdigit():
            command = [str(interpreter), "-I", "-m", "compileall", "-q", str(PACKAGE / "python")]
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def _compile(source: Path, output: Path, options: tuple[str, ...]) -> None:
    if output.exists() and output.stat().st_mtime >= source.stat().st_mtime:
        return
    compiler = shutil.which(COMPILER)
    if compiler is None:
        raise BuildError(f"there is no C compiler ({COMPILER})")
    part = output.with_name(f".{output.name}.{os.getpid()}")
    done = subprocess.run(
        [compiler, *WARNINGS, *options, "-o", str(part), str(source)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        part.unlink(missing_ok=True)
        raise BuildError(f"{source.name}: {done.stderr.strip()}")
    part.rename(output)
