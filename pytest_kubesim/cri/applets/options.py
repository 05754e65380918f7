"""Options of commands, as getopt reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.cri.linux.process import Exit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_kubesim.cri.linux.process import Proc


class Options:
    """What was given: flags and values by their letter, the rest in order."""

    def __init__(self) -> None:
        self.values: dict[str, list[str]] = {}
        self.rest: list[str] = []

    def __contains__(self, letter: str) -> bool:
        return letter in self.values

    def get(self, letter: str, default: str = "") -> str:
        """The last value of an option."""
        found = self.values.get(letter)
        return found[-1] if found else default

    def all(self, letter: str) -> list[str]:
        """All values of an option."""
        return self.values.get(letter, [])


async def parse(
    proc: Proc,
    args: list[str],
    spec: str,
    long: Mapping[str, str] | None = None,
    *,
    stop: bool = False,
) -> Options:
    """Read options.

    Parameters: `spec`, the letters, those that take a value followed by `:`; `long`, long names by
    the letter they stand for; `stop`, whether the first argument that is none ends them.

    Raises: `Exit` (1) for an option that is not known, with the complaint made.
    """
    found = Options()
    takes = {spec[i] for i in range(len(spec)) if spec[i + 1 : i + 2] == ":"}
    letters = set(spec) - {":"}
    at = 0
    while at < len(args):
        word = args[at]
        at += 1
        if word == "--":
            found.rest += args[at:]
            break
        if word.startswith("--") and long is not None:
            name, equals, value = word[2:].partition("=")
            letter = long.get(name)
            if letter is None:
                await _unknown(proc, f"unrecognized option: {name}")
                continue
            if letter in takes and not equals:
                value = args[at] if at < len(args) else ""
                at += 1
            found.values.setdefault(letter, []).append(value)
        elif word.startswith("-") and len(word) > 1:
            at = await _cluster(proc, word, args, at, letters, takes, found)
        else:
            found.rest.append(word)
            if stop:
                found.rest += args[at:]
                break
    return found


async def _cluster(
    proc: Proc,
    word: str,
    args: list[str],
    at: int,
    letters: set[str],
    takes: set[str],
    found: Options,
) -> int:
    position = 1
    while position < len(word):
        letter = word[position]
        position += 1
        if letter not in letters:
            await _unknown(proc, f"unrecognized option: {letter}")
        if letter not in takes:
            found.values.setdefault(letter, []).append("")
            continue
        value = word[position:]
        if not value:
            if at >= len(args):
                await _unknown(proc, f"option requires an argument: {letter}")
            value = args[at]
            at += 1
        found.values.setdefault(letter, []).append(value)
        break
    return at


async def _unknown(proc: Proc, problem: str) -> None:
    await proc.err(f"{proc.name}: {problem}\n")
    raise Exit(1)
