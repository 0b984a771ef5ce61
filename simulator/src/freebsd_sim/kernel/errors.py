"""What a system call of the simulated kernel refuses, with FreeBSD's names, numbers and texts (errno(2))."""

from __future__ import annotations

# name: (FreeBSD's number, the text of its libc's strerror)
ERRORS: dict[str, tuple[int, str]] = {
    "EPERM": (1, "Operation not permitted"),
    "ENOENT": (2, "No such file or directory"),
    "ESRCH": (3, "No such process"),
    "EINTR": (4, "Interrupted system call"),
    "EIO": (5, "Input/output error"),
    "ENXIO": (6, "Device not configured"),
    "E2BIG": (7, "Argument list too long"),
    "ENOEXEC": (8, "Exec format error"),
    "EBADF": (9, "Bad file descriptor"),
    "ECHILD": (10, "No child processes"),
    "EDEADLK": (11, "Resource deadlock avoided"),
    "ENOMEM": (12, "Cannot allocate memory"),
    "EACCES": (13, "Permission denied"),
    "EFAULT": (14, "Bad address"),
    "EBUSY": (16, "Device busy"),
    "EEXIST": (17, "File exists"),
    "EXDEV": (18, "Cross-device link"),
    "ENODEV": (19, "Operation not supported by device"),
    "ENOTDIR": (20, "Not a directory"),
    "EISDIR": (21, "Is a directory"),
    "EINVAL": (22, "Invalid argument"),
    "ENFILE": (23, "Too many open files in system"),
    "EMFILE": (24, "Too many open files"),
    "ENOTTY": (25, "Inappropriate ioctl for device"),
    "EFBIG": (27, "File too large"),
    "ENOSPC": (28, "No space left on device"),
    "ESPIPE": (29, "Illegal seek"),
    "EROFS": (30, "Read-only file system"),
    "EPIPE": (32, "Broken pipe"),
    "EDOM": (33, "Numerical argument out of domain"),
    "ERANGE": (34, "Result too large"),
    "EAGAIN": (35, "Resource temporarily unavailable"),
    "EINPROGRESS": (36, "Operation now in progress"),
    "EALREADY": (37, "Operation already in progress"),
    "ENOTSOCK": (38, "Socket operation on non-socket"),
    "EMSGSIZE": (40, "Message too long"),
    "ENOPROTOOPT": (42, "Protocol not available"),
    "EPROTONOSUPPORT": (43, "Protocol not supported"),
    "EOPNOTSUPP": (45, "Operation not supported"),
    "EAFNOSUPPORT": (47, "Address family not supported by protocol family"),
    "EADDRINUSE": (48, "Address already in use"),
    "EADDRNOTAVAIL": (49, "Can't assign requested address"),
    "ENETDOWN": (50, "Network is down"),
    "ENETUNREACH": (51, "Network is unreachable"),
    "ECONNABORTED": (53, "Software caused connection abort"),
    "ECONNRESET": (54, "Connection reset by peer"),
    "ENOBUFS": (55, "No buffer space available"),
    "EISCONN": (56, "Socket is already connected"),
    "ENOTCONN": (57, "Socket is not connected"),
    "ETIMEDOUT": (60, "Operation timed out"),
    "ECONNREFUSED": (61, "Connection refused"),
    "ELOOP": (62, "Too many levels of symbolic links"),
    "ENAMETOOLONG": (63, "File name too long"),
    "EHOSTDOWN": (64, "Host is down"),
    "EHOSTUNREACH": (65, "No route to host"),
    "ENOTEMPTY": (66, "Directory not empty"),
    "EUSERS": (68, "Too many users"),
    "EDQUOT": (69, "Disc quota exceeded"),
    "ENOSYS": (78, "Function not implemented"),
}


class KernelError(Exception):
    """A refused system call. ``name`` is the errno's name, ``text`` what a command would print for it."""

    def __init__(self, name: str, text: str | None = None) -> None:
        self.name = name
        self.text = strerror(name) if text is None else text
        super().__init__(self.text)


def strerror(name: str) -> str:
    """Return FreeBSD's text for an errno's name."""
    return ERRORS[name][1]
