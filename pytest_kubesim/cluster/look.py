"""A condition that is looked at again and again: what was not written since is not looked at anew.

The law: the answers are those of a look at everything.  Which objects there are and which of them
match is remembered by key, and found out again for the keys that were written; a predicate may ask
anything of anybody, so it is asked of all objects at every look.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.cluster import matching

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.schema import Schema
    from pytest_kubesim.cluster.waiting import Condition
    from pytest_kubesim.registry.rest import Resource


class Look:
    """One look after the other at `condition`."""

    def __init__(self, condition: Condition) -> None:
        self._condition = condition
        reference = condition.reference
        self._changes = condition.cluster.changes(reference)
        self._follows = reference is not None and reference.name is None
        self._asks = _asks(condition.match)
        self._resource: Resource | None = None
        self._objects: dict[str, Object] = {}
        """The objects that are meant, by key."""
        self._matching: set[str] = set()

    def changed(self) -> bool:
        """Whether anything has changed since this was last asked; yes, the first time."""
        return self._changes.changed()

    def holds(self) -> bool:
        """`Condition.holds` now."""
        condition = self._condition
        if not self._follows:
            return condition.holds()
        self._catch_up()
        hits = len(self._matching)
        return hits >= 1 if condition.count is None else hits == condition.count

    def holds_for_all(self) -> bool:
        """`Condition.holds_for_all` now."""
        condition = self._condition
        if not self._follows:
            return condition.holds_for_all()
        if condition.count is not None:
            return self.holds()
        self._catch_up()
        return len(self._matching) == len(self._objects)

    def _catch_up(self) -> None:
        condition, objects = self._condition, self._objects
        reference = condition.reference
        assert reference is not None
        resource = reference.resource
        keys = self._changes.keys()
        if keys is None or resource is not self._resource:
            self._resource = resource
            objects.clear()
            for obj in condition.candidates():
                meta = obj["metadata"]
                objects[resource.key(meta.get("namespace", ""), meta["name"])] = obj
            self._matching.clear()
            keys = list(objects)
        else:
            read = condition.cluster.control_plane.read
            for key in keys:
                obj = read(resource, *resource.place(key))
                if obj is not None and condition.means(obj):
                    objects[key] = obj
                else:
                    objects.pop(key, None)
        self._match(objects if self._asks else keys, resource.schema)

    def _match(self, keys: Iterable[str], schema: Schema | None) -> None:
        objects, match = self._objects, self._condition.match
        if self._asks:
            self._matching.clear()
        for key in keys:
            obj = objects.get(key)
            if obj is not None and matching.matches(match, obj, schema):
                self._matching.add(key)
            else:
                self._matching.discard(key)


def _asks(match: Any) -> bool:
    """Whether there is a predicate in it."""
    if isinstance(match, dict):
        return any(map(_asks, cast("dict[str, Any]", match).values()))
    if isinstance(match, list):
        return any(map(_asks, cast("list[Any]", match)))
    return callable(match)
