"""Whether an object is as a test says: a partial object, or a predicate.

A *match* names only what matters.  Maps match by their keys; lists by the schema's merge keys
(containers by name), else element by element; `None` means absent (or null); everything else by
equality, where quantities and numbers are as they are written.  `differences` says what is wrong,
so that the nearest miss can be shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import attrs

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.schema import Schema

Match = dict[str, Any] | Callable[[Any], object] | None
"""A partial object, a predicate of the object, or None: that it exists."""


@attrs.frozen(slots=True)
class Difference:
    """One thing that is not as expected, at `path` (`spec.containers[name=app].image`)."""

    path: str
    expected: Any
    actual: Any

    def __str__(self) -> str:
        return f"{self.path}: expected {_show(self.expected)}, was {_show(self.actual)}"


def _show(value: Any) -> str:
    if value is None:
        return "absent"
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def differences(match: Match, obj: Object, schema: Schema | None = None) -> list[Difference]:
    """All that keeps `obj` from matching; empty when it matches."""
    if match is None:
        return []
    if callable(match):
        if match(obj):
            return []
        name = getattr(match, "__name__", repr(match))
        return [Difference(name, "a true answer", "a false one")]
    return list(_map(match, obj, "", schema))


def matches(match: Match, obj: Object, schema: Schema | None = None) -> bool:
    """Whether `obj` matches; stops at the first difference."""
    if match is None:
        return True
    if callable(match):
        return bool(match(obj))
    return next(_map(match, obj, "", schema), None) is None


def _child(schema: Schema | None, key: str) -> Schema | None:
    return schema.child(key) if schema is not None else None


def _map(
    expected: dict[str, Any], actual: dict[str, Any], path: str, schema: Schema | None
) -> Iterator[Difference]:
    for key, value in expected.items():
        where = f"{path}.{key}" if path else key
        yield from _value(value, actual.get(key), where, _child(schema, key))


def _value(expected: Any, actual: Any, path: str, schema: Schema | None) -> Iterator[Difference]:
    if callable(expected):
        if not expected(actual):
            yield Difference(path, getattr(expected, "__name__", "the predicate"), actual)
    elif isinstance(expected, dict):
        if not isinstance(actual, dict):
            # An empty or all-absent map says nothing against an absent one.
            empty: dict[str, Any] = {}
            if actual is not None or next(
                _map(cast("dict[str, Any]", expected), empty, path, schema), None
            ):
                yield Difference(path, expected, actual)
            return
        yield from _map(
            cast("dict[str, Any]", expected), cast("dict[str, Any]", actual), path, schema
        )
    elif isinstance(expected, list):
        if not isinstance(actual, list):
            if expected or actual is not None:
                yield Difference(path, expected, actual)
            return
        yield from _list(cast("list[Any]", expected), cast("list[Any]", actual), path, schema)
    elif expected is None:
        if actual is not None:
            yield Difference(path, None, actual)
    elif expected != actual or isinstance(expected, bool) != isinstance(actual, bool):
        yield Difference(path, expected, actual)


def _merge_keys(schema: Schema | None, expected: list[Any]) -> tuple[str, ...]:
    """The keys by which the elements are told apart: as many of the schema's as all of them give.

    Conditions are told apart by `type` wherever they come from.
    """
    if not expected or not all(isinstance(e, dict) for e in expected):
        return ()
    keys: tuple[str, ...] = ()
    if schema is not None:
        keys = tuple(schema.list_map_keys or ()) if schema.list_type == "map" else ()
        if not keys and schema.merge_key:
            keys = (schema.merge_key,)
    if not keys and all("type" in e and "status" in e for e in expected):
        keys = ("type",)
    return tuple(k for k in keys if all(k in e for e in expected))


def _list(
    expected: list[Any], actual: list[Any], path: str, schema: Schema | None
) -> Iterator[Difference]:
    item = schema.item() if schema is not None else None
    keys = _merge_keys(schema, expected)
    if keys:
        for element in expected:
            label = ",".join(f"{k}={element[k]}" for k in keys)
            where = f"{path}[{label}]"
            found = next(
                (
                    a
                    for a in cast("list[Object]", actual)
                    if isinstance(a, dict) and all(a.get(k) == element[k] for k in keys)  # pyright: ignore[reportUnnecessaryIsInstance]
                ),
                None,
            )
            if found is None:
                yield Difference(where, element, None)
            else:
                yield from _map(element, found, where, item)
        return
    if len(expected) != len(actual):
        yield Difference(path, expected, actual)
        return
    for number, (left, right) in enumerate(zip(expected, actual, strict=True)):
        yield from _value(left, right, f"{path}[{number}]", item)
