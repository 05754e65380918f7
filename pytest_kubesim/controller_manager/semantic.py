"""Equality as Kubernetes means it: what is empty and what is absent are the same.

The law (`apimachinery/pkg/api/equality`, `third_party/forked/golang/reflect`): nil, empty list,
empty map and a missing field do not differ; neither do a missing field and its Go zero value.
Quantities and times arrive here in canonical form, so their text is their value.
"""

from __future__ import annotations

from typing import Any, cast

_EMPTY = (None, "", 0, False)


def equal(left: Any, right: Any) -> bool:
    """Whether two JSON values mean the same."""
    if left is right or left == right:
        return True
    if isinstance(left, dict) and isinstance(right, dict):
        mine, other = cast("dict[str, Any]", left), cast("dict[str, Any]", right)
        for key, value in mine.items():
            if not equal(value, other.get(key)):
                return False
        return all(key in mine or is_empty(value) for key, value in other.items())
    if isinstance(left, list) and isinstance(right, list):
        mine_list, other_list = cast("list[Any]", left), cast("list[Any]", right)
        return len(mine_list) == len(other_list) and all(
            equal(a, b) for a, b in zip(mine_list, other_list, strict=True)
        )
    return is_empty(left) and is_empty(right)


def is_empty(value: Any) -> bool:
    """Whether a field with this value means what a missing field means."""
    if isinstance(value, dict):
        return all(is_empty(entry) for entry in cast("dict[str, Any]", value).values())
    if isinstance(value, list):
        return not value
    return value in _EMPTY


def compact(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields without those that Go's `omitempty` leaves out (zero, empty, nil)."""
    return {k: v for k, v in fields.items() if v is not None and v not in (0, "", [], {})}
