"""Which part of the old object a part of the new one comes from.

Ratcheting lets errors pass where nothing changed, and transition rules compare with ``oldSelf``;
both need the old value of a place. Fields correlate by name, items of lists by their map keys,
and nothing below what the schema does not declare.

The law: the answer to ``is_unchanged`` is kept; values are only read.

Follows ``apiserver/pkg/cel/common/{equality,maplist}.go``.
"""

from __future__ import annotations

from typing import Any, cast

from pytest_kubesim.apimachinery.schema import Schema


class Correlation:
    """A place of the new object, its value there and its old value."""

    __slots__ = ("_by_key", "_children", "_unchanged", "new", "old", "schema")

    def __init__(self, new: Any, old: Any, schema: Schema) -> None:
        self.new = new
        self.old = old
        self.schema = schema
        self._children: dict[str | int, Correlation | None] = {}
        self._by_key: dict[Any, Any] | None = None
        self._unchanged: bool | None = None

    def key(self, name: str) -> Correlation | None:
        """The field below, or None where it has no old value or the schema does not declare it."""
        if name not in self._children:
            self._children[name] = self._field(name)
        return self._children[name]

    def index(self, index: int) -> Correlation | None:
        """The item, or None unless an old one has the same keys."""
        if index not in self._children:
            self._children[index] = self._item(index)
        return self._children[index]

    def _field(self, name: str) -> Correlation | None:
        old, new = _fields(self.old), _fields(self.new)
        if old is None or new is None:
            return None
        if name not in old or name not in new:
            return None
        schema = self.schema.properties.get(name) or self.schema.additional_properties
        # ``additionalProperties: true`` has no schema to go on with.
        if schema is None or schema.source is None:
            return None
        return Correlation(new[name], old[name], schema)

    def _item(self, index: int) -> Correlation | None:
        new, item = _items(self.new), self.schema.item()
        if new is None or self.schema.list_type != "map" or item is None or index >= len(new):
            return None
        key = map_key(self.schema, new[index])
        old = self._old_by_key().get(key) if key is not None else None
        return None if old is None else Correlation(new[index], old, item)

    def _old_by_key(self) -> dict[Any, Any]:
        if self._by_key is None:
            self._by_key = {}
            for item in _items(self.old) or ():
                key = map_key(self.schema, item)
                if key is not None:
                    self._by_key.setdefault(key, item)
        return self._by_key

    def is_unchanged(self) -> bool:
        """Whether old and new are equal, items of map lists compared by their keys."""
        if self._unchanged is None:
            self._unchanged = self._compare()
        return self._unchanged

    def _compare(self) -> bool:
        new, old = self.new, self.old
        if new is None or old is None:
            return new is old
        if isinstance(new, dict) != isinstance(old, dict):
            return False
        if isinstance(new, list) != isinstance(old, list):
            return False
        if isinstance(new, dict):
            fields = cast("dict[str, Any]", new)
            if len(fields) != len(old):
                return False
            children = (self.key(name) for name in fields)
            return all(child is not None and child.is_unchanged() for child in children)
        if isinstance(new, list):
            return self._compare_lists(cast("list[Any]", new), cast("list[Any]", old))
        return type(new) is type(old) and bool(new == old)

    def _compare_lists(self, new: list[Any], old: list[Any]) -> bool:
        if len(new) != len(old):
            return False
        for index in range(len(new)):
            child = self.index(index)
            if child is None:
                # A list without keys is compared as a whole.
                return self.schema.list_type != "map" and new == old
            if not child.is_unchanged():
                return False
        return True


def _fields(value: Any) -> dict[str, Any] | None:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _items(value: Any) -> list[Any] | None:
    return cast("list[Any]", value) if isinstance(value, list) else None


def map_key(schema: Schema, item: Any) -> tuple[Any, ...] | None:
    """What names an item of a list of type map; None if a key is absent or no scalar."""
    if schema.type != "array" or not schema.list_map_keys or not isinstance(item, dict):
        return None
    fields = cast("dict[str, Any]", item)
    found: list[Any] = []
    for name in schema.list_map_keys:
        value = fields.get(name)
        if not isinstance(value, (str, int, float)):
            return None
        # True, 1 and 1.0 are one key in Python and three in Go.
        found.append((type(value).__name__, value))
    return tuple(found)
