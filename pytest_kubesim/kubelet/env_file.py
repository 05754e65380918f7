"""Files of environment variables: `NAME='value'`, a line each.

The law: a value stands in single quotes and may span lines; what is inside is taken as it is.  A
value that does not begin right after the `=` is empty.

Follows `pkg/kubelet/util/env/env_util.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class MalformedLine(ValueError):
    """A line that is none of such a file."""


def value_of(text: str, key: str) -> str:
    """The value of a variable; empty where there is none.

    Raises: `MalformedLine` for a line before it that cannot be read.
    """
    lines = iter(text.splitlines())
    for line in lines:
        stripped = line.lstrip(" \t")
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not equals or not name or name != name.rstrip(" \t"):
            raise MalformedLine(line)
        if value[:1] in (" ", "\t") or not value:
            if not value:
                raise MalformedLine(line)
            found = ""
        elif value[0] != "'":
            raise MalformedLine(line)
        else:
            found = _quoted(value[1:], lines)
        if name == key:
            return found
    return ""


def _quoted(rest: str, lines: Iterator[str]) -> str:
    value = ""
    while "'" not in rest:
        value += f"{rest}\n"
        try:
            rest = next(lines)
        except StopIteration:
            raise MalformedLine(rest) from None
    inside, _, after = rest.partition("'")
    after = after.lstrip(" \t")
    if after and not after.startswith("#"):
        raise MalformedLine(rest)
    return value + inside
