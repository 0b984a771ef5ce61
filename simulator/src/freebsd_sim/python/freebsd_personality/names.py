"""The names that CPython has on Linux and not on FreeBSD, and the reverse.

Sources: the conditions in CPython's Modules/posixmodule.c, socketmodule.c,
fcntlmodule.c, resource.c and signalmodule.c against FreeBSD's headers.
"""

from __future__ import annotations

TYPE_CHECKING = False  # see audit.py
if TYPE_CHECKING:
    from types import ModuleType

REMOVED: dict[str, frozenset[str]] = {
    name: frozenset(text.split())
    for name, text in {
        "posix": """
            setns unshare pidfd_open P_PIDFD getxattr setxattr listxattr removexattr
            splice sched_getaffinity sched_setaffinity O_TMPFILE O_NOATIME O_LARGEFILE O_RSYNC
            SCHED_BATCH SCHED_IDLE SCHED_RESET_ON_FORK SCHED_DEADLINE SCHED_NORMAL
            ST_MANDLOCK ST_NODEV ST_NOEXEC ST_SYNCHRONOUS ST_WRITE ST_APPEND ST_NOATIME ST_NODIRATIME ST_RELATIME
            """,
        "select": "epoll",
        "fcntl": """
            F_NOTIFY F_SETLEASE F_GETLEASE F_SETSIG F_GETSIG F_EXLCK F_SHLCK F_SETPIPE_SZ F_GETPIPE_SZ
            F_GETLK64 F_SETLK64 F_SETLKW64 LOCK_MAND LOCK_READ LOCK_WRITE LOCK_RW FICLONE FICLONERANGE
            F_GETOWN_EX F_SETOWN_EX F_GET_RW_HINT F_SET_RW_HINT F_GET_FILE_RW_HINT F_SET_FILE_RW_HINT
            """,
        "resource": """
            prlimit RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_RTTIME RLIMIT_SIGPENDING RLIMIT_OFILE
            """,
        "_signal": "pidfd_send_signal SIGPWR SIGSTKFLT SIGCLD SIGPOLL",
        "mmap": """
            MAP_DENYWRITE MAP_EXECUTABLE MAP_POPULATE MAP_NORESERVE MAP_HUGETLB MAP_LOCKED MAP_NONBLOCK MAP_GROWSDOWN
            MADV_DODUMP MADV_DOFORK MADV_DONTDUMP MADV_DONTFORK MADV_HUGEPAGE MADV_HWPOISON MADV_MERGEABLE
            MADV_NOHUGEPAGE MADV_REMOVE MADV_UNMERGEABLE MADV_SOFT_OFFLINE
            """,
        "time": "CLOCK_MONOTONIC_RAW CLOCK_TAI",
        "_socket": """
            AF_ALG AF_ASH AF_ATMPVC AF_ATMSVC AF_AX25 AF_BRIDGE AF_CAN AF_ECONET AF_IRDA AF_KEY AF_LLC AF_NETBEUI
            AF_NETLINK AF_NETROM AF_PACKET AF_PPPOX AF_QIPCRTR AF_RDS AF_ROSE AF_SECURITY AF_TIPC AF_VSOCK AF_WANPIPE
            AF_X25 AF_HYPERV PF_CAN PF_PACKET PF_RDS SOL_ALG SOL_CAN_BASE SOL_CAN_RAW SOL_RDS SOL_TIPC
            SCM_CREDENTIALS SO_BINDTODEVICE SO_INCOMING_CPU SO_MARK SO_PASSCRED SO_PASSSEC SO_PEERCRED SO_PEERSEC
            SO_PRIORITY SO_BINDTOIFINDEX SO_RTABLE
            IP_TRANSPARENT IP_FREEBIND IP_PKTINFO IP_BIND_ADDRESS_NO_PORT IP_RECVERR IP_RECVORIGDSTADDR
            IPV6_RECVERR IPPROTO_MPTCP MSG_CONFIRM MSG_ERRQUEUE MSG_FASTOPEN MSG_MORE EAI_NODATA NI_IDN
            BDADDR_ANY BDADDR_LOCAL BTPROTO_HCI BTPROTO_SCO HCI_DATA_DIR HCI_FILTER HCI_TIME_STAMP SOL_HCI
            IOCTL_VM_SOCKETS_GET_LOCAL_CID
            """,
    }.items()
}

REMOVED_PREFIXES: dict[str, tuple[str, ...]] = {
    "posix": ("CLONE_", "RWF_", "XATTR_", "SPLICE_", "PIDFD_"),
    "select": ("EPOLL",),
    "fcntl": ("F_OFD_", "F_OWNER_", "RWH_", "DN_", "I_"),
    "_socket": (
        "ALG_", "CAN_", "J1939_", "SCM_J1939_", "SO_J1939_", "NETLINK_", "PACKET_", "RDS_", "TIPC_", "VMADDR_",
        "VM_SOCKETS_", "SO_VM_SOCKETS_", "HV_", "HVSOCKET_", "ETH_P_", "ETHERTYPE_",
    ),
}  # fmt: skip

# Of TCP_* so much more is Linux's that what stays is named: tcp(4).
_KEPT_TCP = """
    TCP_CONGESTION TCP_FASTOPEN TCP_INFO TCP_KEEPCNT TCP_KEEPIDLE TCP_KEEPINTVL TCP_MAXSEG TCP_NODELAY
    """
KEPT_TCP = frozenset(_KEPT_TCP.split())

# FreeBSD's numbers; the emulation in sockets.py knows them. AF_LINK and AF_ROUTE cannot be used as sockets.
ADDED: dict[str, dict[str, int]] = {
    "_socket": {
        "LOCAL_PEERCRED": 1,
        "SO_SETFIB": 0x1014,
        "SO_USER_COOKIE": 0x1015,
        "IP_RECVDSTADDR": 7,
        "SCM_CREDS": 3,
        "AF_LINK": 18,
        "AF_ROUTE": 17,
    },
}

# A module that copied the names of another when it was imported.
COPIES = {"posix": "os", "_socket": "socket", "_signal": "signal"}


def change_names(module: ModuleType) -> None:
    """Remove and add the names of a module, and of the module that copied them if that is loaded."""
    import sys

    _change(module, module.__name__)
    copy = sys.modules.get(COPIES.get(module.__name__, ""))
    if copy is not None:
        _change(copy, module.__name__)


def _change(module: ModuleType, table: str) -> None:
    names = module.__dict__
    for name in REMOVED.get(table, ()):
        names.pop(name, None)
    prefixes = REMOVED_PREFIXES.get(table)
    if prefixes:
        for name in [name for name in names if name.startswith(prefixes)]:
            del names[name]
    if table == "_socket":
        for name in [name for name in names if name.startswith("TCP_") and name not in KEPT_TCP]:
            del names[name]
    names.update(ADDED.get(table, {}))
    public = names.get("__all__")
    if public:
        public[:] = [name for name in public if name in names]
