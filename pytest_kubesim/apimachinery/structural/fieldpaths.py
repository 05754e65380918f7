"""Paths as rules and selectable fields write them: ``.spec.ports['x']``.

Follows ``ValidFieldPath`` in ``apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from pytest_kubesim.apimachinery.validation import NIL, Path

_UNESCAPED = {
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
}


class FieldPathError(ValueError):
    """Why a path leads nowhere, in upstream's words."""


def resolve(
    text: str, source: Mapping[str, Any], *, allow_brackets: bool = True
) -> tuple[Path, Mapping[str, Any] | None]:
    """The path below a schema and the schema at its end.

    There is no schema under ``additionalProperties: true``.

    Raises ``FieldPathError``.
    """
    path = NIL
    schema: Mapping[str, Any] | None = source
    tokens = _tokens(text)
    for token in tokens:
        if token == "[":
            if not allow_brackets:
                raise FieldPathError("array notation is not allowed")
            name = _quoted(next(tokens, None))
            path, schema = _step(path, schema, name)
            closing = next(tokens, None)
            if closing is None:
                raise FieldPathError("unexpected end of JSON path")
            if closing != "]":
                raise FieldPathError(f"expected ] but got {closing}")
        elif token == ".":
            name = next(tokens, None)
            if name is None:
                raise FieldPathError("unexpected end of JSON path")
            path, schema = _step(path, schema, name)
        else:
            raise FieldPathError(f"expected [ or . but got: {token}")
    return path, schema


def _tokens(text: str) -> Iterator[str]:
    """The delimiters ``.[]``, quoted strings, and the texts between them."""
    at = 0
    while at < len(text):
        if text[at] == "'":
            end = next((i for i in range(at + 1, len(text)) if _closes(text, i)), len(text) - 1)
            yield text[at : end + 1]
            at = end + 1
            continue
        end = next((i for i in range(at, len(text)) if text[i] in ".[]"), len(text))
        end = max(end, at + 1)
        yield text[at:end]
        at = end


def _closes(text: str, index: int) -> bool:
    return text[index] == "'" and text[index - 1] != "\\"


def _quoted(token: str | None) -> str:
    if token is None:
        raise FieldPathError("unexpected end of JSON path")
    if len(token) < 2 or token[0] != "'" or token[-1] != "'":
        raise FieldPathError(f"expected single quoted string but got {token}")
    out: list[str] = []
    chars = iter(token[1:-1])
    for char in chars:
        if char != "\\":
            out.append(char)
            continue
        escaped = _UNESCAPED.get(next(chars, ""))
        if escaped is None:
            raise FieldPathError("invalid string literal: invalid syntax")
        out.append(escaped)
    return "".join(out)


def _step(
    path: Path, schema: Mapping[str, Any] | None, name: str
) -> tuple[Path, Mapping[str, Any] | None]:
    properties = (schema or {}).get("properties")
    if properties:
        if name not in properties:
            raise FieldPathError("does not refer to a valid field")
        return path.child(name), properties[name]
    values = (schema or {}).get("additionalProperties")
    if values is None:
        raise FieldPathError("does not refer to a valid field")
    below = cast("Mapping[str, Any]", values) if isinstance(values, dict) else None
    return path.key(name), below
