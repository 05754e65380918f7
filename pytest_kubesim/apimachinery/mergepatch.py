"""JSON merge patches (RFC 7386): values replace, ``null`` removes, lists are replaced whole.

Nothing is mutated: the result shares with the document, and with the patch, all it can.

Follows ``gopkg.in/evanphx/json-patch.v4`` (``merge.go``).
"""

from __future__ import annotations

from typing import Any, cast

from pytest_kubesim.apimachinery.golang import type_name
from pytest_kubesim.apimachinery.meta import Object

_MAP = "map[string]interface {}"


def apply(document: Object, patch: Object) -> Object:
    """The document with the patch merged into it."""
    result = dict(document)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
            continue
        current: Any = result.get(key)
        if not isinstance(current, dict):
            result[key] = _without_nulls(value)
        elif isinstance(value, dict):
            result[key] = apply(cast("Object", current), cast("Object", value))
        else:
            # The library keeps nulls inside a list that replaces a map.
            result[key] = value
    return result


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        fields = cast("Object", value)
        return {k: _without_nulls(v) for k, v in fields.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in cast("list[Any]", value)]
    return value


def create(original: Object, modified: Object) -> Object:
    """The patch that makes ``modified`` out of ``original``; empty where they are equal.

    What is ``null`` in ``modified`` cannot be said by such a patch and is removed instead.
    """
    patch: Object = {}
    for key, value in modified.items():
        if key not in original:
            patch[key] = value
            continue
        old = original[key]
        kinds = type_name(old), type_name(value)
        if kinds == (_MAP, _MAP):
            if difference := create(old, value):
                patch[key] = difference
        elif old != value or kinds[0] != kinds[1]:
            patch[key] = value
    for key in original:
        if key not in modified:
            patch[key] = None
    return patch
