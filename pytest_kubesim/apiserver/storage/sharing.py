"""Equal parts of stored objects are one Python object.

The pods of a ReplicaSet differ in a name, an address, a few times; their events in less.  Most of
what a pod consists of is what its managers own and what its template says, each a tree of small
dicts.  Kept once, a pod has a third of them left, and who compares two pods sees by identity what
is the same.

The law: what `shared` gives equals what it was given, to the order of the keys and the types of
the numbers; what it was given is not changed.  What it remembers is bounded: parts that were not
met again while half as much came anew are forgotten.

A part is looked up by its encoding, the largest parts first, so that a part that is known costs one
look-up however much it holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

HALF_BYTES = 512 * 1024
"""How much the encodings of the parts that a half remembers may take."""
LARGEST_BYTES = 4 * 1024
"""The largest part that is remembered: what is larger is likely to be alone."""
DEPTH = 5
"""How far down parts are looked for: what an entry of `managedFields` says of a status."""

_SECTIONS = frozenset(("metadata", "spec", "status"))
"""What is never the same in two objects: only what is below is looked up."""

_CONTAINERS = frozenset((dict, list))
"""What JSON is decoded to; nothing else has parts."""

_encode = msgspec.msgpack.Encoder().encode


class Parts:
    """The parts that were met of late."""

    __slots__ = ("_bytes", "_older", "_recent")

    def __init__(self) -> None:
        self._recent: dict[bytes, Any] = {}
        self._older: dict[bytes, Any] = {}
        self._bytes = 0

    @property
    def remembered_bytes(self) -> int:
        """What the encodings take by which parts are found."""
        return sum(map(len, self._recent)) + sum(map(len, self._older))

    def shared(self, obj: Object, before: Object | None) -> Object:
        """An equal object whose parts are those of objects before it.

        `before` is what it replaces: what the two have in common already is not looked at.
        """
        found = obj
        for key, value in obj.items():
            if type(value) not in _CONTAINERS:
                continue
            old: Any = None if before is None else before.get(key)
            if value is old:
                continue
            if key in _SECTIONS and type(value) is dict:
                met = self._inside(value, old if type(old) is dict else None, DEPTH)
            else:
                met = self._part(value, DEPTH)
            if met is not value:
                if found is obj:
                    found = obj.copy()
                found[key] = met
        return found

    def _part(self, part: Any, depth: int) -> Any:
        try:
            name = _encode(part)
        except (ValueError, OverflowError, TypeError):
            return part  # It holds a text or a number that has no encoding.
        met = self._recent.get(name)
        if met is not None:
            return met
        met = self._older.get(name)
        if met is None:
            if depth == 0:
                met = part
            elif type(part) is dict:
                met = self._inside(part, None, depth)
            else:
                met = self._items(part, depth)
        if len(name) <= LARGEST_BYTES:
            self._remember(name, met)
        return met

    def _inside(self, section: Any, before: Any, depth: int) -> Any:
        found = section
        for key, value in section.items():
            if value and type(value) in _CONTAINERS:
                old = None if before is None else before.get(key)
                if old is value or _shares_already(old, value):
                    continue
                met = self._part(value, depth - 1)
                if met is not value:
                    if found is section:
                        found = section.copy()
                    found[key] = met
        return found

    def _items(self, items: list[Any], depth: int) -> list[Any]:
        found = items
        for index, value in enumerate(items):
            if value and type(value) in _CONTAINERS:
                met = self._part(value, depth - 1)
                if met is not value:
                    if found is items:
                        found = items.copy()
                    found[index] = met
        return found

    def _remember(self, name: bytes, met: Any) -> None:
        self._bytes += len(name)
        if self._bytes > HALF_BYTES:
            self._older, self._recent, self._bytes = self._recent, {}, len(name)
        self._recent[name] = met


def _shares_already(old: Any, new: Any) -> bool:
    """Whether a part has all its own parts from the one before it: a new time, say, beside them."""
    kind = new.__class__
    if old.__class__ is not kind:
        return False
    if kind is list:
        if len(old) != len(new):
            return False
        for before, item in zip(old, new, strict=True):
            if item is not before and not _shares_already(before, item):
                return False
        return True
    shares = False
    if kind is dict:
        for key, value in new.items():
            if type(value) in _CONTAINERS:
                if value is not old.get(key):
                    return False
                shares = True
    return shares
