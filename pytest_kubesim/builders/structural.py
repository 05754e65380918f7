"""Values that fit a structural schema: what a custom resource of a CRD may hold.

Bounds, enums, formats, required fields and list types are kept.  What only its author knows (a
`pattern`, a CEL rule, `oneOf`) cannot be made up: a field with a default or an enum gets that,
another optional one is left out, and a required one is an error that names it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pytest_kubesim.errors import UsageError

if TYPE_CHECKING:
    from faker.providers import BaseProvider

_FORMATS: dict[str, str] = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "email": "someone@example.com",
    "hostname": "host.example.com",
    "ipv4": "192.0.2.7",
    "ipv6": "2001:db8::7",
    "cidr": "192.0.2.0/24",
    "uri": "https://example.com/path",
    "uuid": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "byte": "aGVsbG8=",
    "duration": "1h30m0s",
    "password": "hunter2",
}


_AT_THE_ROOT: frozenset[str] = frozenset({"apiVersion", "kind", "metadata", "status"})


def value(source: BaseProvider, schema: dict[str, Any], path: str = "") -> Any:
    """A value that `schema` accepts; `path` is where it stands, for errors."""
    if "default" in schema:
        return schema["default"]
    if schema.get("enum"):
        return source.random_element(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return source.random_int(1, 9)
    kind = schema.get("type")
    if kind == "object":
        return _object(source, schema, path)
    if kind == "array":
        return _array(source, schema, path)
    if kind == "integer":
        return _number(source, schema, 1)
    if kind == "number":
        return _number(source, schema, 1)
    if kind == "boolean":
        return source.random_element((True, False))
    if kind == "string":
        return _string(source, schema, path)
    return {}


def _unknowable(schema: dict[str, Any]) -> bool:
    if "default" in schema or "enum" in schema:
        return False
    if schema.get("x-kubernetes-validations") or any(
        key in schema for key in ("oneOf", "anyOf", "not", "allOf")
    ):
        return not schema.get("x-kubernetes-int-or-string")
    return bool(schema.get("pattern"))


def _object(source: BaseProvider, schema: dict[str, Any], path: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    required: frozenset[str] = frozenset(schema.get("required") or ())
    properties: dict[str, dict[str, Any]] = schema.get("properties") or {}
    for name, child in properties.items():
        where = f"{path}.{name}" if path else name
        at_the_root = path == ""
        if at_the_root and name in _AT_THE_ROOT:
            continue
        if name not in required and (_unknowable(child) or source.random_int(0, 3) == 0):
            continue
        made[name] = value(source, child, where)
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        least = max(schema.get("minProperties") or 0, 1)
        for number in range(least):
            made[f"key-{number}"] = value(source, values, f"{path}.key-{number}")  # pyright: ignore[reportUnknownArgumentType]
    return made


def _array(source: BaseProvider, schema: dict[str, Any], path: str) -> list[Any]:
    least = schema.get("minItems") or 0
    most = schema.get("maxItems", max(least, 2))
    count = min(max(least, 1), most)
    items: dict[str, Any] = schema.get("items") or {}
    made: list[Any] = []
    for number in range(count):
        item = value(source, items, f"{path}[{number}]")
        if item not in made:
            made.append(item)
    return made


def _number(source: BaseProvider, schema: dict[str, Any], step: int) -> Any:
    low = schema.get("minimum", 1)
    if schema.get("exclusiveMinimum"):
        low += step
    high = schema.get("maximum", max(low, 0) + 10)
    if schema.get("exclusiveMaximum"):
        high -= step
    factor = schema.get("multipleOf")
    if factor:
        least = -(-low // factor)
        return factor * source.random_int(int(least), max(int(least), int(high // factor)))
    return source.random_int(int(low), max(int(low), int(high)))


def _string(source: BaseProvider, schema: dict[str, Any], path: str) -> str:
    made = _FORMATS.get(schema.get("format", ""))
    if made is None:
        low = schema.get("minLength") or 0
        high = schema.get("maxLength", max(low, 12))
        letter = source.random_element(("alpha", "beta", "gamma", "delta"))
        word = f"{letter}{source.random_int(0, 99)}"
        made = (word + "x" * low)[: max(low, min(high, max(len(word), low)))]
    pattern = schema.get("pattern")
    if pattern and not re.search(pattern, made):
        raise UsageError(
            f"fake: {path or 'a field'} is required and must match {pattern!r}, which cannot be "
            "made up;",
            f"give it: k8s_custom_resource(crd, {path.split('.', maxsplit=1)[0] or 'spec'}=...).",
        )
    return made
