"""Whether processes of this machine have something to do, as Linux tells it in `/proc`.

Law: it is known or not known, never guessed: where there is no `/proc`, nobody is known to be busy.
A process counts with all that it has started, as long as they stay in its session.
"""

from __future__ import annotations

import os

_BUSY = b"RD"
"""Running or able to; waiting for a disk."""


def _stat(path: str) -> list[bytes]:
    """The fields of a `stat` file after the name: state, parent, group, session ..."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return []
    try:
        return os.read(file, 512).rpartition(b")")[2].split()
    except OSError:
        return []  # it has just ended
    finally:
        os.close(file)


def known() -> bool:
    """Whether it can be told at all."""
    return bool(_stat("/proc/self/stat"))


def members(session: int) -> list[int]:
    """The processes of a session."""
    try:
        found = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    wanted = b"%d" % session
    return [pid for pid in found if _stat(f"/proc/{pid}/stat")[3:4] == [wanted]]


def busy(pid: int) -> bool:
    """Whether one of its threads runs, or would if it were its turn."""
    folder = f"/proc/{pid}/task"
    try:
        threads = os.listdir(folder)
    except OSError:
        return False
    for thread in threads:
        fields = _stat(f"{folder}/{thread}/stat")
        if fields and fields[0] in _BUSY:
            return True
    return False


def spent_s(pid: int) -> float:
    """Seconds for which it has had a processor; 0.0 where it is not there any more."""
    fields = _stat(f"/proc/{pid}/stat")
    if len(fields) < 13:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
