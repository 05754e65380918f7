"""Errors of system calls, with libc's words for them."""

from __future__ import annotations

_TEXTS = {
    "EPERM": "Operation not permitted",
    "ENOENT": "No such file or directory",
    "ESRCH": "No such process",
    "EIO": "Input/output error",
    "ENOEXEC": "Exec format error",
    "EBADF": "Bad file descriptor",
    "EACCES": "Permission denied",
    "EBUSY": "Resource busy",
    "EEXIST": "File exists",
    "EXDEV": "Cross-device link",
    "ENOTDIR": "Not a directory",
    "EISDIR": "Is a directory",
    "EINVAL": "Invalid argument",
    "ENOSPC": "No space left on device",
    "EROFS": "Read-only file system",
    "EPIPE": "Broken pipe",
    "ENOTEMPTY": "Directory not empty",
    "ELOOP": "Symbolic link loop",
    "ECONNREFUSED": "Connection refused",
    "ECONNRESET": "Connection reset by peer",
    "EADDRINUSE": "Address already in use",
}


class Fault(Exception):
    """A system call failed; `name` is the error's, `str(fault)` its text."""

    def __init__(self, name: str) -> None:
        super().__init__(_TEXTS[name])
        self.name = name
