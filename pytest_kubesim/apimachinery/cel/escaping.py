"""Names of fields as identifiers of CEL.

Follows ``apiserver/pkg/cel/escaping.go``.
"""

from __future__ import annotations

import re

KEYWORDS = frozenset(
    (
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for"),
        *("function", "if", "import", "let", "loop", "package", "namespace", "return", "var"),
        *("void", "while"),
    )
)
_ESCAPED = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_SPECIAL = re.compile(r"__|[-./]|[^a-zA-Z0-9_./-]")


def escape(name: str) -> str | None:
    """The identifier for a field's name; None if there is none."""
    if not name or name[0] in "0123456789":
        return None
    if name in KEYWORDS:
        return f"__{name}__"
    if any(part not in _ESCAPED for part in _SPECIAL.findall(name)):
        return None
    return _SPECIAL.sub(lambda found: _ESCAPED[found.group()], name)
