"""Variables and parameters of a shell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pytest_kubesim.cri.shell.arithmetic import evaluate
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
        self.arrays: dict[str, dict[int | str, str]] = {}
        """Arrays by index, those that were declared so by key."""
        self.keyed: set[str] = set()
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

    def get_number(self, name: str) -> str:
        """A variable's text in arithmetic, where `name[index]` is one too."""
        stem, bracket, rest = name.partition("[")
        if not bracket:
            return self.get(name)
        return self.elements(stem).get(self.index(stem, rest.removesuffix("]")), "")

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
        if name in self.arrays:
            first = self.arrays[name].get("0" if name in self.keyed else 0)
            return None if first is None else [first]
        found = self.variables.get(name)
        return None if found is None else [found]

    def elements(self, name: str) -> dict[int | str, str]:
        """What an array holds by index; of a plain variable, itself."""
        if name in self.arrays:
            known = self.arrays[name]
            return known if name in self.keyed else dict(sorted(known.items(), key=_number))
        found = self.variables.get(name)
        return {} if found is None else {0: found}

    def index(self, name: str, text: str) -> int | str:
        """The index that a text is: a key, or a number (from the end where it is negative)."""
        if name in self.keyed:
            return text
        number = evaluate(text, self.get, self.assign)
        known = self.elements(name)
        return number + max(map(int, known), default=-1) + 1 if number < 0 else number

    def assign_element(self, name: str, index: int | str, text: str) -> None:
        """Set one element, making the variable an array where it is none."""
        if name in self.constant:
            raise ExpansionFault(f"{name}: readonly variable")
        known = self.arrays.get(name)
        if known is None:
            known = self.arrays[name] = self.elements(name)
            self.variables.pop(name, None)
        known[index] = text

    def assign_all(self, name: str, values: Iterable[tuple[int | str, str]]) -> None:
        """Make a variable an array of these."""
        if name in self.constant:
            raise ExpansionFault(f"{name}: readonly variable")
        self.variables.pop(name, None)
        self.arrays[name] = dict(values)

    def assign(self, name: str, text: str) -> None:
        """Set a variable.  Raises `ExpansionFault` for one that is read-only."""
        if name in self.constant:
            raise ExpansionFault(f"{name}: is read only")
        if name in self.arrays:
            self.arrays[name]["0" if name in self.keyed else 0] = text
            return
        self.variables[name] = text
        if "a" in self.options:
            self.exported.add(name)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """What children inherit."""
        env = {name: self.variables[name] for name in self.variables if name in self.exported}
        if more:
            env.update(more)
        return env


def _number(item: tuple[int | str, str]) -> int:
    return int(item[0])
