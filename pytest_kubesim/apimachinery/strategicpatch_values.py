"""Values of strategic merge patches: directives, comparisons, and what is wrong with them.

Follows ``apimachinery/pkg/util/strategicpatch/{patch,errors}.go``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from pytest_kubesim.apimachinery import golang
from pytest_kubesim.apimachinery.meta import Object

DIRECTIVE = "$patch"
DELETE = "delete"
REPLACE = "replace"
MERGE = "merge"
RETAIN_KEYS = "retainKeys"
RETAIN_KEYS_DIRECTIVE = "$retainKeys"
DELETE_FROM_LIST = "$deleteFromPrimitiveList"
SET_ELEMENT_ORDER = "$setElementOrder"

BAD_PRIMITIVE_LIST = "invalid patch format of primitive list"
BAD_RETAIN_KEYS = "invalid patch format of retainKeys"
BAD_ELEMENT_ORDER = "invalid patch format of setElementOrder list"
NO_LIST_OF_LISTS = "lists of lists are not supported"

_BAD_REQUEST = frozenset({BAD_PRIMITIVE_LIST, BAD_RETAIN_KEYS, BAD_ELEMENT_ORDER})


class StrategicPatchError(ValueError):
    """The patch cannot be applied; the text is upstream's."""

    @property
    def code(self) -> int:
        """The HTTP code with which the API server answers: 400, 422, and 500 for most."""
        if str(self) in _BAD_REQUEST:
            return 400
        return 422 if str(self) == NO_LIST_OF_LISTS else 500


class _Dropped:
    """The type of ``DROPPED``."""


DROPPED = _Dropped()
"""What is left of a value that a directive takes away."""


def without_nulls(value: Any) -> Any:
    """A new value as it is put into a document: nulls delete nothing there."""
    if isinstance(value, dict):
        fields = cast("Object", value)
        return {
            k: v if type(v) is str else without_nulls(v)
            for k, v in fields.items()
            if v is not None
        }
    if isinstance(value, list):
        return [without_nulls(entry) for entry in cast("list[Any]", value)]
    return value


def without_directives(value: Any) -> Any:
    """The same without maps that carry a directive; ``DROPPED`` for one that does itself."""
    if isinstance(value, dict):
        fields = cast("Object", value)
        if DIRECTIVE in fields:
            return DROPPED
        return {
            k: cleaned
            for k, v in fields.items()
            if (cleaned := v if type(v) is str else without_directives(v)) is not DROPPED
        }
    if isinstance(value, list):
        entries = map(without_directives, cast("list[Any]", value))
        return [entry for entry in entries if entry is not DROPPED]
    return value


def kind_of(value: Any) -> str:
    """How Go names the type of a value."""
    return golang.type_name(value)


def same(left: Any, right: Any) -> bool:
    """Equality of scalars with their types, as Go compares interfaces."""
    return type(left) is type(right) and bool(left == right)


def contains(items: Sequence[Any], value: Any) -> bool:
    """Whether a scalar is among others."""
    return any(same(item, value) for item in items)


def deduplicated(items: list[Any]) -> list[Any]:
    """Scalars, each once."""
    result: list[Any] = []
    for item in items:
        if not contains(result, item):
            result.append(item)
    return result


def elements_are_maps(*lists: list[Any]) -> bool:
    """Whether the entries are maps; they must all be of one type, and not lists."""
    kinds = [kind_of(value) for items in lists for value in items]
    if not kinds:
        raise StrategicPatchError("no elements in any of the given slices")
    if kinds[0] == "[]interface {}":
        raise StrategicPatchError(NO_LIST_OF_LISTS)
    if any(kind != kinds[0] for kind in kinds):
        shown = golang.plain(list(lists))
        raise StrategicPatchError(f"list element types are not identical: {shown}")
    return kinds[0] == "map[string]interface {}"


def as_list(value: Any) -> list[Any]:
    """A value that has to be a list.  Raises ``StrategicPatchError``."""
    if not isinstance(value, list):
        raise _bad_type("[]interface {}", value)
    return cast("list[Any]", value)


def as_map(value: Any) -> Object:
    """A value that has to be a map.  Raises ``StrategicPatchError``."""
    if not isinstance(value, dict):
        raise _bad_type("map[string]interface {}", value)
    return cast("Object", value)


def _bad_type(expected: str, value: Any) -> StrategicPatchError:
    actual = "%!s(<nil>)" if value is None else kind_of(value)
    return StrategicPatchError(f"expected a {expected}, but received a {actual}")


def same_key(left: Any, right: Any, merge_key: str) -> bool:
    """Whether two entries are one.  Raises ``StrategicPatchError`` where one has no key."""
    if not merge_key:
        return same(left, right)
    for entry in (left, right):
        if merge_key not in as_map(entry):
            raise no_merge_key(entry, merge_key)
    return same(left[merge_key], right[merge_key])


def no_merge_key(entry: Object, merge_key: str) -> StrategicPatchError:
    """The error for an entry of a list that lacks the key by which it is matched."""
    shown = golang.plain(entry)
    return StrategicPatchError(f"map: {shown} does not contain declared merge key: {merge_key}")


def list_key(key: str, prefix: str, problem: str) -> str:
    """The field that a directive is about.  Raises ``StrategicPatchError`` with ``problem``."""
    found, slash, rest = key.partition("/")
    if not slash or found != prefix:
        raise StrategicPatchError(problem)
    return rest
