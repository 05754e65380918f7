"""Complaints show what was sent: a list or a map that is empty, and not none at all.

The law: objects here hold no empty lists and maps where Go leaves them out of what it prints; to a
validation they are there nevertheless.  Only a refusal has to know.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

import attrs

from pytest_kubesim.apimachinery import golang
from pytest_kubesim.apimachinery.validation import Printed

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.schema import Schema
    from pytest_kubesim.apimachinery.validation import FieldError

_MEANT = {"either `defaultBackend` or `rules` must be specified": "rules"}
"""Complaints of a struct that show one of its fields."""
_STEP = re.compile(r"\[([^\]]*)\]|([^.\[\]]+)")


def shown(
    problems: list[FieldError], given: Object | None, schema: Schema | None
) -> list[FieldError]:
    """The complaints with empty values in the place of none, where `given` has them."""
    if given is None or schema is None:
        return problems
    return [_shown(problem, given, schema) for problem in problems]


def _shown(problem: FieldError, given: Object, schema: Schema) -> FieldError:
    value = problem.bad_value
    if value is not None and not isinstance(value, Printed):
        return problem
    path = problem.field
    if child := _MEANT.get(problem.detail):
        path = f"{path}.{child}"
    found = _at(given, path)
    if found is None:
        # Some complaints of a spec begin where it begins.
        found = _at(given.get("spec"), problem.field)
    if found == "" and value is None and _kind_at(schema, problem.field) == "bytes":
        return attrs.evolve(problem, bad_value="")
    if not isinstance(found, dict | list):
        return problem
    if value is None:
        if found or _kind_at(schema, path) not in ("slice", "map"):
            return problem
        return attrs.evolve(problem, bad_value=found)
    if "null" not in value.text:
        return problem
    full = _filled(json.loads(value.text), found)
    return attrs.evolve(problem, bad_value=Printed(golang.json_text(full, sort_keys=False)))


def _at(given: Any, path: str) -> Any:
    for key, name in _STEP.findall(path):
        if isinstance(given, dict):
            given = cast("Object", given).get(key or name)
        elif isinstance(given, list) and key.isdigit():
            entries = cast("list[Any]", given)
            given = entries[int(key)] if int(key) < len(entries) else None
        else:
            return None
    return given


def _kind_at(schema: Schema | None, path: str) -> str:
    for key, name in _STEP.findall(path):
        if schema is None:
            return ""
        schema = schema.items if key.isdigit() and schema.items else schema.child(key or name)
    return "" if schema is None else schema.go.kind


def _filled(printed: Any, given: Any) -> Any:
    """What Go printed of a struct, by the names of Go, with what was given empty."""
    if printed is None:
        return given if given in ([], {}) else None
    if isinstance(printed, list) and isinstance(given, list):
        shown, entries = cast("list[Any]", printed), cast("list[Any]", given)
        if len(entries) == len(shown):
            return [_filled(a, b) for a, b in zip(shown, entries, strict=True)]
    if isinstance(printed, dict) and isinstance(given, dict):
        by_name = {key.lower(): value for key, value in cast("Object", given).items()}
        fields = cast("Object", printed)
        return {key: _filled(value, by_name.get(key.lower())) for key, value in fields.items()}
    return cast("Any", printed)
