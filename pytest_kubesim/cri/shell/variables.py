"""Variables and parameters of a shell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_kubesim.cri.shell.expansion import ExpansionFault

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc


class Variables:
    """What a shell knows by name.

    Parameters: `proc`, the process it is; `name`, `$0`; `positional`, `$1` and on.
    """

    def __init__(self, proc: Proc, name: str, positional: list[str]) -> None:
        self.proc = proc
        self.name = name
        self.positional = positional
        self.variables: dict[str, str] = dict(proc.env)
        self.exported: set[str] = set(proc.env)
        self.constant: set[str] = set()
        self.options: set[str] = set()
        self.status = 0
        self.last_job: Proc | None = None
        self.root_pid = proc.pid
        self.variables.setdefault("PWD", proc.cwd)
        self.variables.setdefault("IFS", " \t\n")

    @property
    def ifs(self) -> str:
        """What separates fields."""
        return self.variables.get("IFS", " \t\n")

    def get(self, name: str) -> str:
        """A variable's or parameter's text; empty where it is not set."""
        return " ".join(self.values(name) or ())

    def values(self, name: str) -> list[str] | None:
        """What a parameter holds; None where it is not set."""
        if name in ("@", "*"):
            return self.positional
        if name == "0":
            return [self.name]
        if name.isdigit():
            number = int(name)
            return [self.positional[number - 1]] if number <= len(self.positional) else None
        if name == "#":
            return [str(len(self.positional))]
        if name == "?":
            return [str(self.status)]
        if name == "$":
            return [str(self.root_pid)]
        if name == "!":
            return [str(self.last_job.pid)] if self.last_job is not None else None
        if name == "-":
            return ["".join(sorted(self.options))]
        if name == "RANDOM":
            return [str(int.from_bytes(self.proc.system.random(2), "big") & 0x7FFF)]
        found = self.variables.get(name)
        return None if found is None else [found]

    def assign(self, name: str, text: str) -> None:
        """Set a variable.  Raises `ExpansionFault` for one that is read-only."""
        if name in self.constant:
            raise ExpansionFault(f"{name}: is read only")
        self.variables[name] = text
        if "a" in self.options:
            self.exported.add(name)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """What children inherit."""
        env = {name: self.variables[name] for name in self.variables if name in self.exported}
        if more:
            env.update(more)
        return env
