"""Numbers as Go writes them into JSON.

The law: nothing is changed in place.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

_Value = TypeVar("_Value")
_LARGEST_PRINTED_WHOLE = 1e21
_WALKED = frozenset({dict, list, float})


def whole_numbers(value: _Value) -> _Value:
    """The value with `3.0` as `3`: Go writes it so, and reads it again as an integer."""
    return cast("_Value", _whole(value))


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        changed: dict[str, Any] | None = None
        for key, each in fields.items():
            if each.__class__ in _WALKED and (new := _whole(each)) is not each:
                changed = dict(fields) if changed is None else changed
                changed[key] = new
        return fields if changed is None else changed
    if isinstance(value, list):
        items = cast("list[Any]", value)
        found = [_whole(each) if each.__class__ in _WALKED else each for each in items]
        return items if all(a is b for a, b in zip(items, found, strict=True)) else found
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_PRINTED_WHOLE:
        return int(value)
    return value
