"""pgrep, pkill, pidof, killall: other processes of the container, by their names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_kubesim.cri.applets.options import Options, parse
from pytest_kubesim.cri.linux.process import SIGNALS

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc


def _name(proc: Proc) -> str:
    return proc.argv[0].rsplit("/", 1)[-1].lstrip("-") if proc.argv else ""


def _signal(args: list[str]) -> tuple[str, list[str]]:
    """The signal that stands before the rest (`-9`, `-KILL`, `-s KILL`), and the rest."""
    if args[:1] == ["-s"] and len(args) > 1:
        args = [f"-{args[1]}", *args[2:]]
    if not args or not args[0].startswith("-"):
        return "TERM", args
    text = args[0][1:].upper().removeprefix("SIG")
    if text.isdigit():
        text = next((name for name, number in SIGNALS.items() if number == int(text)), "")
    return (text, args[1:]) if text in SIGNALS else ("TERM", args)


async def pgrep(proc: Proc, args: list[str]) -> int:
    """`pgrep [-flvxon] pattern`; as `pkill [-SIGNAL] [-flvxon] pattern` it signals them."""
    kills = _name(proc) == "pkill"
    signal, args = _signal(args) if kills else ("", args)
    given = await parse(proc, args, "flavxonP:u:")
    if not given.rest:
        return await proc.complain("no pattern")
    pattern = re.compile(given.rest[0])
    found = [
        other
        for other in proc.system.processes.values()
        if other is not proc and _matches(pattern, other, given) != ("v" in given)
    ]
    found = found[:1] if "o" in given else found[-1:] if "n" in given else found
    for other in found:
        if kills:
            other.signal(signal)
            continue
        command = " ".join(other.argv) if "a" in given or "f" in given else _name(other)
        shown = f" {command}" if "l" in given or "a" in given else ""
        await proc.out(f"{other.pid}{shown}\n")
    return 0 if found else 1


def _matches(pattern: re.Pattern[str], other: Proc, given: Options) -> bool:
    text = " ".join(other.argv) if "f" in given else _name(other)
    return (pattern.fullmatch(text) if "x" in given else pattern.search(text)) is not None


async def pidof(proc: Proc, args: list[str]) -> int:
    """`pidof [-s] names`."""
    given = await parse(proc, args, "so:")
    found = [
        str(other.pid)
        for other in reversed(proc.system.processes.values())
        if _name(other) in given.rest
    ]
    if found:
        await proc.out(" ".join(found[:1] if "s" in given else found) + "\n")
    return 0 if found else 1


async def killall(proc: Proc, args: list[str]) -> int:
    """`killall [-q] [-SIGNAL] names`."""
    signal, rest = _signal([word for word in args if word != "-q"])
    status = 0
    for name in rest:
        found = [other for other in proc.system.processes.values() if _name(other) == name]
        for other in found:
            other.signal(signal)
        if not found:
            status = 1
            if "-q" not in args:
                await proc.err(f"killall: {name}: no process killed\n")
    return status


APPLETS = {"pgrep": pgrep, "pkill": pgrep, "pidof": pidof, "killall": killall}
