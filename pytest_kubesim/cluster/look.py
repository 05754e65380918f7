"""A condition that is looked at again and again: what was not written since is not looked at anew.

The law: the answers are those of a look at everything.  Which objects match is remembered by key,
and asked again for the keys that were written; a predicate may ask anything of anybody, so with one
every look is at everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.cluster import matching

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cluster.waiting import Condition
    from pytest_kubesim.registry.rest import Resource


class Look:
    """One look after the other at `condition`."""

    def __init__(self, condition: Condition) -> None:
        self._condition = condition
        reference = condition.reference
        self._changes = condition.cluster.changes(reference)
        self._remembers = (
            reference is not None and reference.name is None and not _asks(condition.match)
        )
        self._resource: Resource | None = None
        self._matching: dict[str, bool] = {}
        self._hits = 0

    def changed(self) -> bool:
        """Whether anything has changed since this was last asked; yes, the first time."""
        return self._changes.changed()

    def holds(self) -> bool:
        """`Condition.holds` now."""
        condition = self._condition
        if not self._remembers:
            return condition.holds()
        self._catch_up()
        return self._hits >= 1 if condition.count is None else self._hits == condition.count

    def holds_for_all(self) -> bool:
        """`Condition.holds_for_all` now."""
        condition = self._condition
        if not self._remembers:
            return condition.holds_for_all()
        if condition.count is not None:
            return self.holds()
        self._catch_up()
        return self._hits == len(self._matching)

    def _catch_up(self) -> None:
        condition = self._condition
        reference = condition.reference
        assert reference is not None
        resource = reference.resource
        keys = self._changes.keys()
        if keys is None or resource is not self._resource:
            self._resource = resource
            self._matching.clear()
            self._hits = 0
            for obj in condition.candidates():
                meta = obj["metadata"]
                key = resource.key(meta.get("namespace", ""), meta["name"])
                self._remember(key, obj, resource)
            return
        read = condition.cluster.control_plane.read
        for key in keys:
            self._hits -= self._matching.pop(key, False)
            obj = read(resource, *resource.place(key))
            if obj is not None and condition.means(obj):
                self._remember(key, obj, resource)

    def _remember(self, key: str, obj: Object, resource: Resource) -> None:
        found = matching.matches(self._condition.match, obj, resource.schema)
        self._matching[key] = found
        self._hits += found


def _asks(match: Any) -> bool:
    """Whether there is a predicate in it."""
    if isinstance(match, dict):
        return any(map(_asks, cast("dict[str, Any]", match).values()))
    if isinstance(match, list):
        return any(map(_asks, cast("list[Any]", match)))
    return callable(match)
