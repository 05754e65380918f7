"""The rules of ownership: what an update takes over, what an apply may take, what goes with it.

The law: managers in, managers out; nothing given is changed. Values are compared in every version
in which somebody manages fields, by way of the ``convert`` that the caller brings.

Follows ``structured-merge-diff/merge/update.go`` and ``typed/reconcile_schema.go``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from pytest_kubesim.apimachinery import fieldpath, status
from pytest_kubesim.apimachinery.fieldpath import EMPTY, FieldSet, Filter
from pytest_kubesim.apimachinery.managedfields import compare as comparing
from pytest_kubesim.apimachinery.managedfields import merge as merging
from pytest_kubesim.apimachinery.managedfields.compare import Comparison
from pytest_kubesim.apimachinery.managedfields.entries import Manager, Managers, Owned
from pytest_kubesim.apimachinery.managedfields.typed import (
    DEDUCED,
    SchemaMismatch,
    Type,
    field_set,
)
from pytest_kubesim.apimachinery.meta import Object


class MissingVersion(Exception):
    """Raised by a converter for a version that is no longer there: its managers are dropped."""


class Versioned(msgspec.Struct, frozen=True):
    """An object in one version, with the type it has there."""

    type: Type
    value: Object


Convert = Callable[[Object, str], Versioned]
"""Converts an object to an ``apiVersion`` and checks it against the type it has there.

Raises ``MissingVersion``, ``SchemaMismatch``, ``ValueError`` or ``APIStatus``; see
``fieldmanager.versioned``.
"""


class Failed(Exception):
    """Something that upstream cannot do, with its words."""


class Conflicts(Exception):
    """The fields that other managers own, by manager, in the order of their identifiers."""

    def __init__(self, found: list[tuple[Manager, fieldpath.Path]]) -> None:
        super().__init__(f"{len(found)} conflicts")
        self.found = found

    @property
    def fields(self) -> FieldSet:
        """All fields in conflict."""
        return fieldpath.of(*(path for _, path in self.found))

    def without(self, fields: FieldSet) -> Conflicts:
        """The conflicts about other fields than those."""
        return Conflicts([pair for pair in self.found if not fieldpath.has(fields, pair[1])])


class Updater(msgspec.Struct, frozen=True):
    """Updates managers for objects of one kind.

    ``api_version`` is the version of the request and ``type_`` the kind's type in it. ``resets``
    tells, by version, which fields the strategy takes back. ``reconciles`` says whether stored sets
    may be older than the schema, as those of custom resources may.
    """

    type_: Type
    api_version: str
    convert: Convert | None = None
    resets: Mapping[str, Filter] = msgspec.field(default_factory=dict[str, Filter])
    reconciles: bool = False

    def compare(self, live: Object, new: Object) -> Comparison:
        """What differs in the version of the request, without what the strategy resets."""
        keep = self.resets.get(self.api_version)
        return comparing.compare(self.type_, live, new).filtered(keep)

    def update(
        self,
        live: Object,
        new: Object,
        managers: Managers,
        who: Manager,
        comparison: Comparison | None = None,
    ) -> Managers:
        """The managers after ``who`` replaced the live object by the new one.

        ``comparison`` is that of the two objects, where it is known.
        """
        managers = self._reconciled(live, managers)
        managers, comparison = self._taken(
            live, new, managers, who, force=True, comparison=comparison
        )
        owned = managers.pop(who, None)
        fields = owned.fields if owned else EMPTY
        fields = fieldpath.difference(fields, comparison.removed)
        fields = fieldpath.union(fields, comparison.changed)
        keep = self.resets.get(self.api_version)
        if keep is not None:
            fields = keep(fields)
        if fields:
            managers[who] = Owned(fields, self.api_version, applied=False)
        return managers

    def apply(
        self, live: Object, applied: Object, managers: Managers, who: Manager, *, force: bool
    ) -> tuple[Object | None, Managers]:
        """The object and the managers after an apply; None for the object if nothing changed.

        Raises ``Conflicts`` unless forced.
        """
        managers = dict(self._reconciled(live, managers))
        try:
            merged = merging.merge(self.type_, live, applied)
        except SchemaMismatch as problem:
            raise Failed(f"failed to merge config: {problem}") from problem
        last = managers.get(who)
        fields = field_set(self.type_, applied)
        keep = self.resets.get(self.api_version)
        if keep is not None:
            fields = keep(fields)
        time = last.time if last else None
        managers[who] = Owned(fields, self.api_version, applied=True, time=time)
        merged = self._pruned(merged, managers, last)
        managers, _ = self._taken(live, merged, managers, who, force=force)
        return (None if merged == live else merged), managers

    # -- who loses what ----------------------------------------------------------------------------

    def _taken(
        self,
        live: Object,
        new: Object,
        managers: Managers,
        who: Manager,
        *,
        force: bool,
        comparison: Comparison | None = None,
    ) -> tuple[Managers, Comparison]:
        if comparison is None:
            comparison = self.compare(live, new)
        versions = {self.api_version: comparison}
        left: Managers = {}
        conflicts: list[tuple[Manager, FieldSet]] = []
        for manager, owned in managers.items():
            if manager == who:
                if owned.fields:
                    left[manager] = owned
                continue
            try:
                seen = versions.get(owned.api_version) or self._seen_in(
                    owned.api_version, live, new, versions
                )
            except MissingVersion:
                continue
            conflict = fieldpath.intersection(owned.fields, seen.changed)
            if conflict:
                conflicts.append((manager, conflict))
            fields = fieldpath.difference(owned.fields, conflict)
            fields = fieldpath.difference(fields, seen.removed)
            if fields:
                left[manager] = owned.with_fields(fields)
        if conflicts and not force:
            conflicts.sort(key=lambda pair: pair[0].identifier)
            raise Conflicts(
                [(m, path) for m, fields in conflicts for path in fieldpath.paths(fields)]
            )
        return left, comparison

    def _seen_in(
        self, version: str, live: Object, new: Object, versions: dict[str, Comparison]
    ) -> Comparison:
        old = self._in_version(live, version, "failed to convert old object")
        young = self._in_version(new, version, "failed to convert new object")
        comparison = comparing.compare(old.type, old.value, young.value)
        comparison = comparison.filtered(self.resets.get(version))
        versions[version] = comparison
        return comparison

    def _in_version(self, obj: Object, version: str, doing: str) -> Versioned:
        """The object in a version. ``doing`` begins the text of ``Failed``."""
        if version == self.api_version and obj.get("apiVersion", version) == version:
            return Versioned(self.type_, obj)
        if self.convert is None:
            raise MissingVersion(version)
        try:
            return self.convert(obj, version)
        except (SchemaMismatch, ValueError, status.APIStatus) as problem:
            raise Failed(f"{doing}: {problem}") from problem

    # -- what goes with an apply -------------------------------------------------------------------

    def _pruned(self, merged: Object, managers: Managers, last: Owned | None) -> Object:
        """The merged object without what the applier gave up and nobody else owns."""
        if last is None or not last.fields:
            return merged
        version = last.api_version
        doing = "failed to prune fields: failed to convert merged object to last applied version"
        try:
            seen = self._in_version(merged, version, doing)
        except MissingVersion:
            return merged
        named = merging.with_named_fields(seen.type, last.fields)
        pruned = merging.remove_items(seen.type, seen.value, named)
        pruned = self._with_owned(seen, pruned, version, managers)
        pruned = self._with_dangling(seen, pruned, named)
        return self._in_version(pruned, self.api_version, "failed to prune fields").value

    def _with_owned(
        self, seen: Versioned, pruned: Object, version: str, managers: Managers
    ) -> Object:
        """Adds back what any manager still owns, first of all in the version of the last apply."""
        by_version: dict[str, FieldSet] = {}
        for owned in managers.values():
            found = by_version.get(owned.api_version, EMPTY)
            by_version[owned.api_version] = fieldpath.union(found, owned.fields)
        doing = "failed to prune fields: failed add back owned items: failed to convert"
        for at in sorted(by_version, key=lambda other: (other != version, other)):
            try:
                whole = self._in_version(seen.value, at, f"{doing} merged object at version {at}")
                part = self._in_version(pruned, at, f"{doing} pruned object at version {at}")
                pruned = _restored(whole, part.value, by_version[at])
                pruned = self._in_version(pruned, version, f"{doing} pruned object").value
            except MissingVersion:
                continue
        return pruned

    def _with_dangling(self, seen: Versioned, pruned: Object, last: FieldSet) -> Object:
        """Adds back what was removed only because something around it was."""
        left = merging.with_named_fields(seen.type, field_set(seen.type, pruned))
        all_fields = merging.with_named_fields(seen.type, field_set(seen.type, seen.value))
        gone = fieldpath.intersection(fieldpath.difference(all_fields, left), last)
        return merging.remove_items(seen.type, seen.value, gone)

    # -- schemas that moved on ---------------------------------------------------------------------

    def _reconciled(self, live: Object, managers: Managers) -> Managers:
        if not self.reconciles:
            return managers
        found: Managers = {}
        for manager, owned in managers.items():
            try:
                doing = "failed to reconcile"
                type_ = self._in_version(live, owned.api_version, doing).type
            except MissingVersion:
                continue
            fields = reconcile(type_, owned.fields)
            found[manager] = owned.with_fields(fields)
        return found


def _restored(whole: Versioned, part: Object, managed: FieldSet) -> Object:
    named = merging.with_named_fields
    type_ = whole.type
    kept = fieldpath.union(
        named(type_, field_set(type_, part)),
        named(type_, managed),
    )
    gone = fieldpath.difference(named(type_, field_set(type_, whole.value)), kept)
    return merging.remove_items(type_, whole.value, gone)


def reconcile(type_: Type, fields: FieldSet) -> FieldSet:
    """The set as the schema has it now: what has become atomic is owned as a whole.

    Returns ``fields`` itself where nothing changes.
    """
    found: FieldSet | None = None
    for element, node in fields.items():
        if element == "." or not node:
            continue
        below = _type_at(type_, element)
        if below is None:
            continue
        fixed: Any = fieldpath.LEAF if _became_atomic(below) else reconcile(below, node)
        if fixed is not node:
            if found is None:
                found = dict(fields)
            found[element] = fixed
    return fields if found is None else found


def _type_at(type_: Type, element: str) -> Type | None:
    if type_.is_map:
        if type_ is DEDUCED or type_.is_deduced:
            return None
        return type_.child(element[2:]) if element.startswith("f:") else None
    return type_.item() if type_.is_list else None


def _became_atomic(type_: Type) -> bool:
    if type_.is_map:
        return type_.map_atomic and not type_.is_deduced
    return type_.is_list and type_.list_atomic
