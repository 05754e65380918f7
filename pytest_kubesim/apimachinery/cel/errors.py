"""What goes wrong with an expression: while it is compiled, and while it is evaluated.

The law: texts are cel-go's; a place in the text is shown as cel-go shows it, with a snippet and a
caret.

Follows ``cel-go/common/{error,errors}.go``.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

MAX_REPORTED = 100
_MAX_SNIPPET = 16384


class CELError(Exception):
    """An expression's value is an error; ``str()`` is cel-go's text."""


class CostLimitExceeded(Exception):  # CELError would be absorbed by || and &&
    """An evaluation cost more than it may."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


def no_such_overload(function: str = "", types: Sequence[str] = ()) -> CELError:
    """A function that does not take values of those types."""
    if not function:
        return CELError("no such overload")
    return CELError(f"no such overload: {function}({', '.join(types)})")


@attrs.frozen
class Issue:
    """One thing wrong with an expression. ``offset`` is in characters; -1 means nowhere."""

    offset: int
    message: str


class CompileError(Exception):
    """What is wrong with an expression; ``str()`` shows all issues with their places."""

    def __init__(self, source: str, issues: Sequence[Issue]) -> None:
        self.source = source
        self.issues = list(issues)
        super().__init__(display(source, self.issues))


class InstantiationError(CompileError):
    """A part of an expression that is constant is an error; ``str()`` is the error's text."""

    def __init__(self, source: str, text: str) -> None:
        super().__init__(source, ())
        self.args = (text,)


def display(source: str, issues: Sequence[Issue]) -> str:
    """The issues as cel-go shows them, sorted by their places."""
    lines = source.split("\n")
    placed = [(*_position(source, issue.offset), issue.message) for issue in issues]
    shown = placed[:MAX_REPORTED]
    shown.sort(key=lambda entry: entry[:2])
    texts = [_shown(lines, line, column, message) for line, column, message in shown]
    if len(placed) > MAX_REPORTED:
        texts.append(f"{len(placed) - MAX_REPORTED} more errors were truncated")
    return "\n".join(texts)


def _position(source: str, offset: int) -> tuple[int, int]:
    if offset < 0:
        return -1, -1
    if not source:
        return 1, -1
    before = source[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1)


def _shown(lines: list[str], line: int, column: int, message: str) -> str:
    text = f"ERROR: <input>:{line}:{column + 1}: {message}"
    if column < 0 or not 1 <= line <= len(lines) or len(lines[line - 1].encode()) > _MAX_SNIPPET:
        return text
    snippet = lines[line - 1].replace("\t", " ")
    marks = "".join("\uff0e" if ord(char) > 0x7F else "." for char in snippet[:column])
    wide = column < len(snippet) and ord(snippet[column]) > 0x7F
    return f"{text}\n | {snippet}\n | {marks}{chr(0xFF3E) if wide else '^'}"
