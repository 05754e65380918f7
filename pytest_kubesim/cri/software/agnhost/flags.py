"""Flags as cobra reads them, and what Go programs have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.cri.applets.dates import strftime
from pytest_kubesim.cri.linux.process import Exit
from pytest_kubesim.sim.tasks import Event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_kubesim.cri.linux.process import Proc


class Flags:
    """Values of flags, defaults included, and the arguments."""

    def __init__(self, values: dict[str, str], rest: list[str]) -> None:
        self._values = values
        self.rest = rest

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def number(self, name: str) -> int:
        """A flag as a number."""
        return int(self._values[name])

    def truth(self, name: str) -> bool:
        """A flag as a truth."""
        return self._values[name] in ("true", "1", "t", "T", "TRUE", "True")


async def parse(
    proc: Proc,
    args: list[str],
    defaults: Mapping[str, str],
    truths: tuple[str, ...] = (),
    short: Mapping[str, str] | None = None,
) -> Flags:
    """Read flags.  Raises `Exit` (1) for an unknown one, with cobra's words."""
    values = dict(defaults)
    rest: list[str] = []
    at = 0
    while at < len(args):
        word = args[at]
        at += 1
        if word == "--":
            rest += args[at:]
            break
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("--"):
            name = (short or {}).get(name, name)
        if name not in values:
            await proc.err(f"Error: unknown flag: --{name}\n")
            raise Exit(1)
        if name in truths:
            values[name] = value if equals else "true"
        elif equals:
            values[name] = value
        elif at < len(args):
            values[name] = args[at]
            at += 1
        else:
            await proc.err(f"Error: flag needs an argument: --{name}\n")
            raise Exit(1)
    return Flags(values, rest)


async def log(proc: Proc, text: str) -> None:
    """A line as Go's `log.Printf` writes it."""
    stamp = strftime("%Y/%m/%d %H:%M:%S", proc.system.now_ns())
    await proc.err(f"{stamp} {text}\n")


async def klog(proc: Proc, level: str, place: str, text: str) -> None:
    """A line as klog writes it; `place` in the source as `file.go:1`."""
    stamp = strftime("%m%d %H:%M:%S", proc.system.now_ns())
    micros = proc.system.now_ns() // 1000 % 1_000_000
    await proc.err(f"{level}{stamp}.{micros:06d} {proc.pid:7d} {place}] {text}\n")


async def fatal(proc: Proc, text: str) -> int:
    """`log.Fatal`."""
    await log(proc, text)
    return 1


def go_quote(text: str) -> str:
    """`%q`."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


class Signals:
    """Signals that a Go program asked to hear of."""

    def __init__(self, proc: Proc, *names: str) -> None:
        self._proc = proc
        self._come = Event(proc.system.kernel)
        self.name = ""
        for name in names:
            proc.traps[name] = lambda name=name: self._hear(name)

    def _hear(self, name: str) -> None:
        self.name = self.name or name
        self._come.set()

    async def wait(self) -> str:
        """The first that comes."""
        await self._come.wait()
        return self.name

    @property
    def come(self) -> bool:
        """Whether one has come."""
        return bool(self.name)


def go_program(proc: Proc) -> None:
    """What Go's runtime does with signals that nobody asked for: exit 2 as process 1."""

    def die() -> None:
        proc.system.finish(proc, 2)

    if proc.pid == 1:
        for name in ("TERM", "INT", "HUP"):
            proc.traps.setdefault(name, die)


async def forever(proc: Proc) -> int:
    """`select {}`."""
    await proc.system.kernel.future()
    return 0
