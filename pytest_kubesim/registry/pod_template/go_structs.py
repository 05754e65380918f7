"""How Go prints Kubernetes' internal structs, and how two of them differ.

Internal types have no JSON tags: they print every field under its Go name, empty or not.  The table
of fields is `go_structs.json`, made by `generate_go_structs`.

Follows `encoding/json` and `apimachinery/pkg/util/diff`.
"""

from __future__ import annotations

import difflib
import functools
import importlib.resources
import json
from typing import Any, cast

from pytest_kubesim.apimachinery import golang
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import FieldError, Path
from pytest_kubesim.registry.strategies import semantically_equal

_ZEROES: dict[str, Any] = {
    "string": "",
    "bool": False,
    "int32": 0,
    "int64": 0,
    "int": 0,
    "float64": 0,
}


@functools.cache
def _table() -> dict[str, list[list[str]]]:
    place = importlib.resources.files(str(__package__)).joinpath("go_structs.json")
    found: dict[str, list[list[str]]] = json.loads(place.read_text(encoding="utf-8"))
    return found


def rendered(name: str, value: Object | None) -> Object:
    """The value of an internal struct as Go's JSON has it, fields in Go's order."""
    out: Object = {}
    given: Object = value or {}
    for field_name, key, kind in _table()[name]:
        if field_name:
            out[field_name] = _rendered(kind, given.get(key))
        elif kind.endswith("ObjectMeta"):
            out |= _metadata(given.get("metadata") or {})
        elif not kind.endswith("TypeMeta"):
            out |= rendered(kind.lstrip("*"), given)
    return out


def _sorted(value: Any) -> Object:
    """A map as Go prints it."""
    return dict(sorted(cast("Object", value or {}).items()))


def _metadata(metadata: Object) -> Object:
    maps = ("labels", "annotations")
    return {k: _sorted(v) if k in maps else v for k, v in metadata.items()}


def _rendered(kind: str, value: Any) -> Any:
    if kind.startswith("*"):
        return None if value is None else _rendered(kind[1:], value)
    if kind.startswith("[]"):
        if not value:
            return None
        items = cast("list[Any]", value)
        return [_rendered(kind[2:], item) for item in items]
    if kind.startswith("map["):
        return _sorted(value) or None
    if kind in _table():
        return rendered(kind, value)
    if value is not None:
        return value
    if kind in _ZEROES:
        return _ZEROES[kind]
    return {"IntOrString": 0, "Quantity": "0", "UID": ""}.get(kind.rpartition(".")[2])


def text_of(name: str, value: Object | None) -> str:
    """The JSON of an internal struct."""
    return golang.json_text(rendered(name, value), sort_keys=False)


def printed(name: str, value: Object | None) -> field.Printed:
    """An internal struct as a bad value."""
    return field.Printed(text_of(name, value) if value is not None else "null")


def diff(name: str, old: Object, new: Object) -> str:
    """What differs between two structs: a unified diff of their indented JSON."""
    left, right = (
        json.dumps(rendered(name, each), indent=1, ensure_ascii=False).split("\n")
        for each in (old, new)
    )
    lines = list(difflib.unified_diff(left, right, lineterm=""))[2:]
    return "\n".join(lines) + "\n"


def validate_immutable(
    name: str, new: Object | None, old: Object | None, path: Path
) -> list[FieldError]:
    """That a struct has not changed."""
    if semantically_equal(new, old):
        return []
    return [field.invalid(path, printed(name, new), field.FIELD_IMMUTABLE)]
