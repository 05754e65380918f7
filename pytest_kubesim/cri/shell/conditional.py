"""`[[ ... ]]`: words are neither split nor matched against files; `==` matches patterns.

Follows "Conditional Constructs" of bash's manual, of which busybox's `[[` is a part.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_kubesim.cri.applets import printing
from pytest_kubesim.cri.shell import patterns
from pytest_kubesim.cri.shell.arithmetic import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.cri.shell.interpreter import Shell
    from pytest_kubesim.cri.shell.syntax import Test, Word

_NUMBERS: dict[str, Callable[[int, int], bool]] = {
    "-eq": lambda a, b: a == b, "-ne": lambda a, b: a != b, "-lt": lambda a, b: a < b,
    "-le": lambda a, b: a <= b, "-gt": lambda a, b: a > b, "-ge": lambda a, b: a >= b,
}
_CLASS = re.compile(r"\[:(\w+):\]")


async def status(shell: Shell, test: Test) -> int:
    """0 if the test holds, 1 if it does not, 2 if it is none."""
    try:
        return int(not await _holds(shell, test))
    except re.error:
        return 2


async def _holds(shell: Shell, test: Test) -> bool:
    operator = test.operator
    if operator in ("&&", "||", "!"):
        first = await _holds(shell, _test(test, 0))
        if operator == "!":
            return not first
        return first if first == (operator == "||") else await _holds(shell, _test(test, 1))
    text = await shell.expander.text(_word(test, 0))
    if operator == "":
        return bool(text)
    if len(test.parts) == 1:
        if operator == "-v":
            return shell.values(text) is not None
        if operator in ("-z", "-n"):
            return bool(text) == (operator == "-n")
        return await printing.test(shell.proc, [operator, text]) == 0
    if operator in ("=", "==", "!="):
        matched = patterns.matches(await shell.expander.pattern(_word(test, 1)), text)
        return matched == (operator != "!=")
    if operator == "=~":
        return _searched(shell, text, await shell.expander.pattern(_word(test, 1)))
    other = await shell.expander.text(_word(test, 1))
    if operator in _NUMBERS:
        one, two = (evaluate(each, shell.get_number, shell.assign) for each in (text, other))
        return _NUMBERS[operator](one, two)
    if operator in ("<", ">"):
        return text < other if operator == "<" else text > other
    return await printing.test(shell.proc, [text, operator, other]) == 0


def _test(test: Test, number: int) -> Test:
    part = test.parts[number]
    assert not isinstance(part, tuple)
    return part


def _word(test: Test, number: int) -> Word:
    part = test.parts[number]
    assert isinstance(part, tuple)
    return part


def _searched(shell: Shell, text: str, segments: patterns.Segments) -> bool:
    source = "".join(
        re.escape(piece) if quoted else _extended(piece) for piece, quoted in segments
    )
    match = re.search(source, text)
    if shell.bash:
        groups = () if match is None else (match.group(), *match.groups())
        shell.assign_all("BASH_REMATCH", [(n, g or "") for n, g in enumerate(groups)])
    return match is not None


def _extended(text: str) -> str:
    """An extended regular expression as Python spells it."""
    return _CLASS.sub(lambda found: patterns.CLASSES.get(found.group(1), ""), text)
