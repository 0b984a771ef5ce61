"""Python inside a host: what it says it is, what it lacks, what it emulates, and what it records."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from freebsd_sim import native_build, protocol
from freebsd_sim.linuxisms import Linuxism, read_linuxisms

PERSONALITY = native_build.PACKAGE / "python"
Run = Callable[[str], list[str]]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A directory that stands for /.sim."""
    (tmp_path / "release").write_text("15.0\n")
    (tmp_path / "linuxisms").touch()
    return tmp_path


@pytest.fixture
def run(state: Path) -> Run:
    """Run a program in a FreeBSD Python and return the lines that it prints."""

    def run_program(source: str) -> list[str]:
        program = state / "program.py"
        program.write_text(textwrap.dedent(source))
        environ = os.environ | {"FREEBSD_SIM_STATE": str(state), "PYTHONPATH": str(PERSONALITY)}
        environ["PYTHONPYCACHEPREFIX"] = str(state / "cache")
        done = subprocess.run(
            [os.environ.get("FREEBSD_SIM_TEST_PYTHON", sys.executable), str(program)],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run_program


def kinds(state: Path) -> list[tuple[str, str]]:
    """Return what was recorded, without who and where."""
    return [(item.kind, item.what) for item in read_linuxisms(state / "linuxisms")]


# Who it says it is


def test_it_says_freebsd(run: Run) -> None:
    lines = run("""
        import os, platform, sys, sysconfig
        print(sys.platform, os.name, os.uname().release, platform.system(), platform.machine())
        print(sysconfig.get_platform(), sysconfig.get_config_var("MACHDEP"), platform.libc_ver())
    """)
    assert lines == [
        "freebsd15 posix 15.0-RELEASE FreeBSD amd64",
        "freebsd-15.0-RELEASE-amd64 freebsd15 ('', '')",
    ]


def test_an_earlier_release_says_so(run: Run, state: Path) -> None:
    (state / "release").write_text("14.3\n")
    assert run("import os, sys; print(sys.platform, os.uname().release)") == ["freebsd14 14.3-RELEASE"]


def test_outside_a_host_nothing_changes(run: Run, state: Path) -> None:
    (state / "release").unlink()
    assert run("import select, sys; print(sys.platform, hasattr(select, 'epoll'))") == ["linux True"]


def test_names_of_linux_are_gone(run: Run, state: Path) -> None:
    lines = run("""
        import fcntl, os, resource, select, signal, socket
        wanted = {
            os: "setns unshare pidfd_open setxattr sched_getaffinity O_TMPFILE splice CLONE_NEWNET",
            select: "epoll EPOLLIN",
            socket: "AF_NETLINK AF_PACKET AF_VSOCK SO_PEERCRED SO_BINDTODEVICE SO_MARK TCP_USER_TIMEOUT TCP_QUICKACK"
                    " IP_TRANSPARENT NETLINK_ROUTE SCM_CREDENTIALS",
            fcntl: "F_OFD_SETLK F_NOTIFY",
            resource: "prlimit RLIMIT_RTPRIO",
            signal: "pidfd_send_signal SIGPWR",
        }
        print([name for module, names in wanted.items() for name in names.split() if hasattr(module, name)])
        kept = [os.eventfd, os.memfd_create, select.poll, socket.SO_REUSEPORT, socket.TCP_KEEPIDLE, socket.AF_UNIX]
        print(len(kept), socket.LOCAL_PEERCRED, socket.SO_SETFIB, resource.RLIMIT_VMEM == resource.RLIMIT_AS)
        for module in (os, socket, select):
            exec(f"from {module.__name__} import *")
    """)
    assert lines == ["[]", "6 1 4116 True"]
    assert kinds(state) == []  # asking is portable


# Sockets


def test_options_have_freebsd_numbers(run: Run) -> None:
    lines = run("""
        import socket
        s = socket.socket()
        s.setsockopt(socket.IPPROTO_TCP, 68, 30)
        print(s.getsockopt(socket.IPPROTO_TCP, 68))
        s.setsockopt(socket.SOL_SOCKET, 0x10000, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SETFIB, 0)
        for option in (socket.SO_SETFIB, 0x1015):
            try:
                s.setsockopt(socket.SOL_SOCKET, option, 1)
            except OSError as error:
                print(error.strerror)
    """)
    assert lines == [
        "30",
        "Invalid argument",
        "Protocol not available (freebsd-sim: not simulated: SO_USER_COOKIE)",
    ]


def test_peer_credentials_are_an_xucred(run: Run) -> None:
    lines = run("""
        import os, socket, struct
        a, b = socket.socketpair()
        raw = a.getsockopt(0, socket.LOCAL_PEERCRED, 256)
        version, uid, ngroups = struct.unpack_from("=IIh", raw)
        print(len(raw), version, uid == os.getuid(), ngroups >= 1)
        print(struct.unpack_from("=I", raw, 12)[0] == os.getegid(), struct.unpack_from("=i", raw, 80)[0] == os.getpid())
        try:
            socket.socket(socket.AF_UNIX).getsockopt(0, 1, 88)
        except OSError as error:
            print(error.strerror)
    """)
    assert lines == ["88 0 True True", "True True", "Socket is not connected"]


def test_destination_address_of_a_datagram(run: Run) -> None:
    lines = run("""
        import socket
        a, b = socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM)
        a.setsockopt(socket.IPPROTO_IP, socket.IP_RECVDSTADDR, 1)
        a.bind(("127.0.0.1", 0))
        b.sendto(b"x", a.getsockname())
        print(a.recvmsg(10, 100)[1])
        a.sendmsg([b"y"], [(0, 7, socket.inet_aton("127.0.0.1"))], 0, b.getsockname())
        print(b.recv(1))
    """)
    assert lines == [r"[(0, 7, b'\x7f\x00\x00\x01')]", "b'y'"]


def test_unix_paths_are_shorter_and_never_abstract(run: Run, state: Path) -> None:
    lines = run("""
        import socket, tempfile
        for path in ("\\0name", "/tmp/" + 99 * "x"):
            try:
                socket.socket(socket.AF_UNIX).bind(path)
            except OSError as error:
                print(error)
    """)
    assert lines == ["[Errno 2] No such file or directory", "AF_UNIX path too long"]
    assert kinds(state) == [("socket", r"abstract unix socket b'\x00name'")]


# kqueue


def test_kqueue_is_the_default_and_sees_exits_and_timers(run: Run) -> None:
    lines = run("""
        import os, select, selectors
        print(selectors.DefaultSelector.__name__)
        queue = select.kqueue()
        child = os.fork()
        if child == 0:
            print(queue.closed, flush=True)
            os._exit(3)
        watch = select.kevent(child, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
        queue.control([watch], 0)
        event, = queue.control(None, 4, 10)
        print(event.ident == child, event.filter, os.waitstatus_to_exitcode(event.data))
        os.waitpid(child, 0)
        try:
            queue.control([watch], 0)
        except ProcessLookupError:
            print("no such process")
        queue.control([select.kevent(1, select.KQ_FILTER_TIMER, select.KQ_EV_ADD | select.KQ_EV_ONESHOT, 0, 10)], 0)
        print(queue.control(None, 4, 10)[0].filter, queue.control(None, 4, 0))
        reader, writer = os.pipe()
        queue.control([select.kevent(reader, select.KQ_FILTER_READ)], 0)
        print(queue.control(None, 4, 0))
        os.write(writer, b"abc")
        print(queue.control(None, 4, 0)[0].data)
        os.close(writer)
        os.read(reader, 3)
        print(bool(queue.control(None, 4, 0)[0].flags & select.KQ_EV_EOF))
    """)
    assert lines == [
        "KqueueSelector", "True", "True -5 3", "no such process", "-7 []", "[]", "3", "True",
    ]  # fmt: skip


def test_the_standard_library_lives_on_it(run: Run) -> None:
    lines = run("""
        import asyncio, concurrent.futures, multiprocessing, os, ssl, subprocess, tempfile

        def square(number):
            return number * number

        async def talk():
            server = await asyncio.start_server(lambda r, w: (w.write(b"hi"), w.close()), "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            data = await reader.read()
            writer.close()
            server.close()
            child = await asyncio.create_subprocess_exec("echo", "x", stdout=subprocess.PIPE)
            return data, (await child.communicate())[0]

        if __name__ == "__main__":
            print(asyncio.run(talk()))
            with concurrent.futures.ProcessPoolExecutor(1) as pool:
                print(list(pool.map(square, [1, 2])))
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(square, [3]))
            ssl.create_default_context()
            with tempfile.TemporaryDirectory() as directory:
                os.makedirs(directory + "/a/b")
    """)
    assert lines == ["(b'hi', b'x\\n')", "[1, 4]", "[9]"]


# Records


def test_uses_are_recorded_once_with_their_place(run: Run, state: Path) -> None:
    run("""
        import fcntl, os, socket, subprocess
        for attempt in range(2):
            for number in (18, 12):
                try:
                    socket.socket().setsockopt(6, number, 1)
                except OSError as error:
                    assert error.strerror == "Protocol not available"
        try:
            socket.socket(16, socket.SOCK_RAW, 0)
        except OSError as error:
            assert error.strerror.startswith("Address family not supported")
        for path in ("/proc/self/nothing", "/sys/nothing", "/process", "/system"):
            try:
                open(path)
            except OSError:
                pass
        os.path.exists("/proc/1/cmdline")
        try:
            subprocess.run(["env", "A=1", "/no/such/iptables", "-L", "-n"])
        except OSError:
            pass
        subprocess.run("true || A=1 ip link show; true", shell=True)
        subprocess.run(["true", "ip"])
        try:
            fcntl.ioctl(0, 0x8927, bytes(32))
        except OSError as error:
            print(error.strerror)
    """)
    records = read_linuxisms(state / "linuxisms")
    assert [(item.kind, item.what) for item in records] == [
        ("setsockopt", "TCP_USER_TIMEOUT"),
        ("setsockopt", "TCP_QUICKACK"),
        ("socket", "AF_NETLINK (16)"),
        ("open", "/proc/self/nothing"),
        ("open", "/sys/nothing"),
        ("stat", "/proc/1/cmdline"),
        ("exec", "/no/such/iptables -L -n"),
        ("exec", "ip link show"),
        ("ioctl", "0x8927"),
    ]
    assert records[0].program == "program.py"
    assert records[0].where == f"{state}/program.py:6"


def test_records_that_are_none_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "linuxisms"
    good = {"time": 1.5, "pid": 2, "program": "p", "kind": "exec", "what": "ip", "where": "f:1"}
    file.write_text(f"rubbish\n{json.dumps(good)}\n[]\n{{}}\n")
    assert read_linuxisms(file) == [Linuxism(1.5, 2, "p", "exec", "ip", "f:1")]
    assert read_linuxisms(tmp_path / "none") == []


# The kernel's side


class FakeKernel:
    """Answers system calls as process 1 does."""

    def __init__(self, path: Path) -> None:
        self.calls: list[dict[str, Any]] = []
        self.answers: dict[str, tuple[dict[str, Any], list[int]]] = {}
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                return
            with stream:
                data, _ = protocol.receive(stream)
                call = json.loads(data[1:])
                self.calls.append(call)
                answer, descriptors = self.answers.get(call["call"], ({"errno": "ENOSYS", "text": ""}, []))
                protocol.send(stream, b"R" + json.dumps(answer).encode(), descriptors)


@pytest.fixture
def kernel(state: Path) -> Iterator[FakeKernel]:
    """A kernel that answers what a test tells it to."""
    fake = FakeKernel(state / "kernel.sock")
    yield fake
    fake.listener.close()


def test_taps_come_from_the_kernel(run: Run, kernel: FakeKernel) -> None:
    reader, writer = os.pipe()
    kernel.answers["open_tap"] = ({"result": None}, [writer])
    lines = run("""
        import os
        tap = os.open("/dev/tap7", os.O_RDWR | os.O_NONBLOCK)
        print(os.get_blocking(tap), os.get_inheritable(tap))
        os.write(tap, b"frame")
        try:
            open("/dev/tap7", "rb")
        except OSError as error:
            print(error.strerror)
    """)
    assert lines == ["False False", "freebsd-sim: not simulated: a tap opened by other than os.open"]
    assert kernel.calls == [{"call": "open_tap", "node": "tap7"}]
    assert os.read(reader, 10) == b"frame"
    kernel.answers["open_tap"] = ({"errno": "EBUSY", "text": "Device busy"}, [])
    assert run("""
        import errno, os
        try:
            os.open("/dev/tap7", os.O_RDWR)
        except OSError as error:
            print(error.errno == errno.EBUSY, error.filename)
    """) == ["True /dev/tap7"]
    os.close(reader)
    os.close(writer)


def test_the_first_look_makes_an_nmdm_pair(run: Run, kernel: FakeKernel) -> None:
    kernel.answers["nmdm_open"] = ({"result": "/dev/pts/0"}, [])
    run("""
        import os
        for call in (lambda p: os.open(p, os.O_RDWR | os.O_NONBLOCK), open, os.path.exists):
            try:
                call("/dev/nmdm-x.1B")
            except OSError:
                pass
    """)
    assert [call["wait"] for call in kernel.calls] == [False, True, False]
    assert {call["path"] for call in kernel.calls} == {"/dev/nmdm-x.1B"}


def test_load_is_the_kernels(run: Run, kernel: FakeKernel) -> None:
    kernel.answers["sysctl.read"] = ({"result": {"kind": "struct", "format": "S,loadavg", "value": [0.5, 0.25, 0]}}, [])
    assert run("import os; print(os.getloadavg())") == ["(0.5, 0.25, 0.0)"]


def test_psutil_asks_the_kernel(run: Run, kernel: FakeKernel) -> None:
    fields = {"pid": 5, "ppid": 1, "state": "S", "comm": "python3.11", "argv": ["a b", "c"], "threads": 2}
    kernel.answers["proc.get"] = ({"result": fields}, [])
    kernel.answers["proc.pathname"] = ({"result": "/usr/local/bin/python3.11"}, [])
    lines = run("""
        import importlib.util, sys, types
        sys.modules["psutil"] = package = types.ModuleType("psutil")
        package.__path__ = []
        from psutil import _psutil_bsd as bsd
        print(bsd.proc_cmdline(5), bsd.proc_name(5), bsd.proc_exe(5), bsd.proc_is_zombie(5), bsd.proc_num_threads(5))
        try:
            bsd.users()
        except NotImplementedError as error:
            print(error)
    """)
    assert lines == [
        "['a b', 'c'] python3.11 /usr/local/bin/python3.11 False 2",
        "freebsd-sim: not simulated: this part of psutil",
    ]


# libc.so.7


@pytest.fixture
def libc(state: Path) -> Path:
    """The library, with the test's kernel."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    (state / "bin").mkdir()
    library = state / "bin" / native_build.LIBC
    define = f'-DSOCKET_PATH="{state}/kernel.sock"'
    source = str(native_build.find_sources() / "libc.c")
    subprocess.run(
        ["cc", *native_build.WARNINGS, "-Werror", define, "-shared", "-fPIC", "-o", library, source], check=True
    )
    return library


def test_symbols_of_linux_are_hidden(run: Run, libc: Path, state: Path) -> None:
    lines = run("""
        import ctypes, ctypes.util, os
        libc = ctypes.CDLL(None)
        print(hasattr(libc, "prctl"), getattr(libc, "setns", None), libc.getpid() == os.getpid())
        try:
            libc.unshare(0)
        except AttributeError as error:
            print(error)
        print(ctypes.util.find_library("c"), ctypes.CDLL("libc.so.7").close_range is not None)
        try:
            ctypes.CDLL("libc.so.6")
        except OSError as error:
            print(error)
    """)
    assert lines == [
        "False None True",
        'Undefined symbol "unshare"',
        "libc.so.7 True",
        'Shared object "libc.so.6" not found, required by "python"',
    ]
    assert kinds(state) == [("ctypes", "unshare"), ("ctypes", "libc.so.6")]


def test_procctl(run: Run, libc: Path) -> None:
    lines = run("""
        import ctypes
        libc = ctypes.CDLL("libc.so.7", use_errno=True)
        libc.procctl.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int, ctypes.c_void_p]
        def call(command, number=0):
            value = ctypes.c_int(number)
            return libc.procctl(0, 0, command, ctypes.byref(value)), value.value
        print(call(20), call(19, 2)[0], call(19, 1)[0], call(20))
        print(call(11, 15)[0], call(12), call(2)[0], call(99)[0], libc.setfib(1))
    """)
    assert lines == ["(0, 2) -1 0 (0, 1)", "0 (0, 15) 0 -1 -1"]


def test_jails_and_sysctls_are_asked_of_the_kernel(run: Run, libc: Path, kernel: FakeKernel) -> None:
    kernel.answers["jail_get"] = ({"result": {"jid": "7", "name": 'net"é', "vnet": "new", "persist": "true"}}, [])
    kernel.answers["jail_set"] = ({"errno": "EEXIST", "text": 'jail "x" already exists'}, [])
    kernel.answers["jail_remove"] = ({"result": {}}, [])
    kernel.answers["sysctl.read"] = ({"result": {"kind": "int", "format": "I", "value": -4}}, [])
    kernel.answers["proc.get"] = ({"result": {"comm": "a", "argv": ["a b", "c"]}}, [])
    lines = run("""
        import ctypes, errno
        libc = ctypes.CDLL(None, use_errno=True)
        class iovec(ctypes.Structure):
            _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
        def call(function, flags, **pairs):
            parts = []
            for name, value in pairs.items():
                key = ctypes.create_string_buffer(name.encode())
                parts += [iovec(ctypes.addressof(key), len(key)), iovec()]
                parts[-2].keep = key
                if value is not None:
                    parts[-1] = iovec(ctypes.addressof(value), ctypes.sizeof(value))
            kept = (iovec * len(parts))(*parts)
            return function(kept, len(parts), flags)
        name, vnet, persist = ctypes.create_string_buffer(256), ctypes.c_int(), ctypes.c_int()
        print(call(libc.jail_get, 0, lastjid=ctypes.c_int(0), name=name, vnet=vnet, persist=persist))
        print(name.value.decode(), vnet.value, persist.value)
        text = ctypes.create_string_buffer(1024)
        x, new = ctypes.create_string_buffer(b"x"), ctypes.c_int(1)
        made = call(libc.jail_set, 1, name=x, vnet=new, persist=None, errmsg=text)
        print(made, errno.errorcode[ctypes.get_errno()], text.value.decode())
        print(libc.jail_getid(b"net"), libc.jail_remove(7))
        number, size = ctypes.c_int(), ctypes.c_size_t(4)
        print(libc.sysctlbyname(b"a.b", ctypes.byref(number), ctypes.byref(size), None, 0), number.value, size.value)
        mib, room, size = (ctypes.c_int * 4)(1, 14, 7, 5), ctypes.create_string_buffer(100), ctypes.c_size_t(100)
        print(libc.sysctl(mib, 4, room, ctypes.byref(size), None, 0), room.raw[: size.value])
    """)
    assert lines == [
        "7",
        'net"é 1 1',
        '-1 EEXIST jail "x" already exists',
        "7 0",
        "0 -4 4",
        r"0 b'a b\x00c\x00'",
    ]
    assert kernel.calls[:3] == [
        {"call": "jail_get", "flags": 0, "params": {"lastjid": "0", "name": ""}},
        {"call": "jail_set", "flags": 1, "params": {"name": "x", "vnet": "new", "persist": None}},
        {"call": "jail_get", "flags": 0, "params": {"name": "net"}},
    ]


def test_build_is_repeatable(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    built = native_build.build_native(tmp_path / "native")
    names = {item.name: item.stat().st_mtime_ns for item in built.iterdir()}
    assert set(names) == {"simcall", "native", native_build.LIBC, native_build.OVS}
    native_build.build_native(built)
    assert {item.name: item.stat().st_mtime_ns for item in built.iterdir()} == names
