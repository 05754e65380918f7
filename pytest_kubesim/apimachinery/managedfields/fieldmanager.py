"""The field manager: what the API server's handlers call before an object goes on its way.

``update`` follows every create, update and patch; ``apply`` is server-side apply. Both take the
live object as it is stored (None if there is none) and return the object with its managed fields.

The law: pure functions of what they are given. The time comes as text (RFC 3339 in UTC, ``now``);
an entry's time moves only when its manager took something. Objects of built-in kinds are expected
as Go prints them, with the fields that it never leaves out; the result of ``apply`` is not
defaulted and may contain nulls, as an applied configuration may.

Follows ``apimachinery/pkg/util/managedfields/internal``: the chain of managers that upstream's
``NewDefaultFieldManager`` builds, from the version check down to structured merge.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any, cast

from pytest_kubesim.apimachinery import fieldpath, golang, meta, status
from pytest_kubesim.apimachinery.fieldpath import FieldSet, Filter
from pytest_kubesim.apimachinery.managedfields import compare as comparing
from pytest_kubesim.apimachinery.managedfields import entries as managed
from pytest_kubesim.apimachinery.managedfields import typed
from pytest_kubesim.apimachinery.managedfields.compare import Comparison
from pytest_kubesim.apimachinery.managedfields.entries import Manager, Managers, Owned
from pytest_kubesim.apimachinery.managedfields.typed import SchemaMismatch
from pytest_kubesim.apimachinery.managedfields.updater import (
    Conflicts,
    Convert,
    Failed,
    Updater,
    Versioned,
)
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.schema import Schema

MAX_UPDATE_MANAGERS = 10
ANCIENT_CHANGES = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"
LAST_APPLIED_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
KUBECTL = "kubectl"
TOTAL_ANNOTATION_SIZE_LIMIT = 256 * 1024

_CURRENT = Manager("current-operation", managed.UPDATE, "", "")
_NO_RESETS: Mapping[str, Filter] = {}

STRIPPED = fieldpath.of_fields(
    "apiVersion",
    "kind",
    "metadata",
    "metadata.name",
    "metadata.namespace",
    "metadata.creationTimestamp",
    "metadata.selfLink",
    "metadata.uid",
    "metadata.clusterName",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.resourceVersion",
)
"""What nobody manages."""


@functools.lru_cache(maxsize=1024)
def _type_of(schema: Schema | None) -> typed.Type:
    return typed.object_type(schema)


@functools.lru_cache(maxsize=512)
def _zero_of(schema: Schema) -> Object:
    return typed.zero(schema)


def _empty(schema: Schema | None, api_version: str, kind: str) -> Object:
    """An object of the kind before anything is set."""
    if schema is not None and schema.go.kind:
        return _zero_of(schema)
    return {"apiVersion": api_version, "kind": kind}


def _updater(
    schema: Schema | None,
    api_version: str,
    convert: Convert | None,
    reset_fields: Mapping[str, Filter],
) -> Updater:
    custom = schema is None or not schema.go.kind
    return Updater(_type_of(schema), api_version, convert, reset_fields, reconciles=custom)


def versioned(schema: Schema | None, obj: Object) -> Versioned:
    """What a ``convert`` returns for an object that it converted.

    Raises ``SchemaMismatch`` if the object does not fit the schema it has in its new version.
    """
    type_ = _type_of(schema)
    if schema is None or not schema.go.kind:
        typed.validate(type_, obj)
    return Versioned(type_, obj)


# -- update --------------------------------------------------------------------------------------


def update(
    live: Object | None,
    new: Object,
    *,
    schema: Schema | None,
    manager: str,
    api_version: str,
    now: str,
    subresource: str = "",
    reset_fields: Mapping[str, Filter] = _NO_RESETS,
    convert: Convert | None = None,
) -> Object:
    """The new object with managed fields that tell what ``manager`` changed.

    ``live`` is the stored object, None on create. ``schema`` is the kind's in ``api_version``, the
    version of the request; ``reset_fields`` filters, by version, what the strategy ignores (see
    ``fieldpath.excluding``). ``convert`` is needed only where others manage other versions.

    Never fails: objects that do not fit their schema keep the managed fields of the live one, as
    with upstream's ``UpdateNoErrors``.
    """
    try:
        managers = _live_or_new(live, new, ignore_new=bool(subresource))
        old = live if live is not None else _empty(schema, api_version, new.get("kind") or "")
        bare = managed.with_entries(new, [])
        # Where the entries came back as they are stored, so perhaps did all that is around them.
        given = managed.of_object(new)
        seen = new if given is not None and given is managed.of_object(old) else bare
        updater = _updater(schema, api_version, convert, reset_fields)
        who = managed.manager(manager, managed.UPDATE, api_version, subresource)
        if managers or not meta.uid(old):
            managers = _update(updater, old, seen, managers, who, now)
            managers = _capped(managers)
        return _with_managers(bare, managers)
    except (SchemaMismatch, ValueError, Failed):
        return managed.with_entries(new, (managed.of_object(live) if live else None) or [])


def _with_managers(obj: Object, managers: Managers) -> Object:
    # ``obj`` has no managed fields and, unless it is the caller's, may still share its metadata.
    return managed.with_entries(obj, managed.encode(managers))


def _live_or_new(live: Object | None, new: Object, *, ignore_new: bool) -> Managers:
    """The managers to start from: a client may set them, but not lose or spoil them."""
    stored = managed.of_object(live) if live is not None else None
    given = managed.of_object(new)
    if not ignore_new and given is not stored:
        if managed.is_reset(given):
            return {}
        if given != stored:
            try:
                found = managed.decode(given)
            except managed.UndecodableEntry:
                found = {}
            if found:
                return found
    try:
        return managed.decode(stored, stored=True)
    except managed.UndecodableEntry:
        return {}


def _update(
    updater: Updater, live: Object, new: Object, managers: Managers, who: Manager, now: str
) -> Managers:
    """One update: what the current operation changes is added to what its manager had."""
    if updater.reconciles:
        typed.validate(updater.type_, new, allow_duplicates=True)
        typed.validate(updater.type_, live, allow_duplicates=True)
    comparison = updater.compare(live, new)
    if not updater.reconciles and (kept := _kept(updater, comparison, managers, who, now)):
        return kept
    managers = updater.update(live, new, managers, _CURRENT, comparison)
    taken = managers.pop(_CURRENT, None)
    fields = fieldpath.difference(taken.fields, STRIPPED) if taken else None
    if fields:
        previous = managers.get(who)
        if previous is not None:
            fields = fieldpath.union(previous.fields, fields)
        managers[who] = Owned(fields, updater.api_version, applied=False, time=now)
    return managers


def _kept(
    updater: Updater, comparison: Comparison, managers: Managers, who: Manager, now: str
) -> Managers | None:
    """The managers where ``who`` gives other values to fields of its own, and nobody else's.

    The commonest update: no field changes hands, so the sets stay as they are. None for any other.
    """
    previous = managers.get(who)
    if previous is None or previous.applied or comparison.added:
        return None
    gone = comparison.removed
    if gone and fieldpath.difference(gone, STRIPPED):
        return None
    for manager, owned in managers.items():
        if owned.api_version != updater.api_version or not owned.fields:
            return None
        if gone and fieldpath.intersection(owned.fields, gone):
            return None
        if manager != who and fieldpath.intersection(owned.fields, comparison.modified):
            return None
    fields = fieldpath.difference(comparison.modified, STRIPPED)
    if not fields or fieldpath.intersection(previous.fields, comparison.modified) != fields:
        return None
    kept = Owned(previous.fields, updater.api_version, applied=False, time=now)
    return {**managers, who: kept}


def _capped(managers: Managers) -> Managers:
    """The oldest updaters beyond the tenth are merged into one per version."""
    updaters = [who for who, owned in managers.items() if not owned.applied]
    excess = len(updaters) - MAX_UPDATE_MANAGERS
    if excess <= 0:
        return managers
    updaters.sort(key=lambda who: (managers[who].time or "", who.identifier))
    found = dict(managers)
    first: dict[str, Manager] = {}
    for who in updaters:
        if excess == 0:
            break
        owned = found[who]
        version = owned.api_version
        bucket = Manager(ANCIENT_CHANGES, managed.UPDATE, version, "")
        if version not in first:
            first[version] = who
            continue
        if bucket not in found:
            found[bucket] = found.pop(first[version])
        fields = fieldpath.union(owned.fields, found[bucket].fields)
        found[bucket] = Owned(fields, version, owned.applied, owned.time)
        del found[who]
        excess -= 1
    return found


# -- apply ---------------------------------------------------------------------------------------


def apply(
    live: Object | None,
    applied: Object,
    *,
    schema: Schema | None,
    manager: str,
    force: bool,
    api_version: str,
    kind: str,
    now: str,
    subresource: str = "",
    reset_fields: Mapping[str, Filter] = _NO_RESETS,
    convert: Convert | None = None,
) -> Object:
    """The live object with a configuration applied to it by ``manager``.

    ``kind`` and ``api_version`` are those of the request's path; the other parameters are those of
    ``update``. The result still has to be decoded, defaulted and validated as the kind demands.

    Raises ``APIStatus``: 400 for another kind or for managed fields in the configuration, 409 with
    a cause for each conflict unless ``force``, 500 for what does not fit the schema.
    """
    given = applied.get("apiVersion") or "", applied.get("kind") or ""
    if given != (api_version, kind):
        group, version = meta.parse_api_version(given[0])
        shown = meta.GroupVersionKind(group, version, given[1])
        raise status.new_bad_request(f"invalid object type: {shown}")
    try:
        managers = managed.decode(managed.of_object(live) if live else None, stored=True)
    except managed.UndecodableEntry as problem:
        raise _internal(f"failed to decode managed fields: {problem}") from problem
    chain = _Apply(
        updater=_updater(schema, api_version, convert, reset_fields),
        live=live if live is not None else _empty(schema, api_version, kind),
        applied=applied,
        empty=_empty(schema, api_version, kind),
        who=managed.manager(manager, managed.APPLY, api_version, subresource),
        first=managed.manager(BEFORE_FIRST_APPLY, managed.UPDATE, api_version, subresource),
        now=now,
    )
    obj, managers = _applied_by_kubectl(chain, managers, force=force, name=manager)
    return managed.with_entries(obj, managed.encode(managers))


def _internal(message: str) -> status.APIStatus:
    # An error that is no Status reaches the client as a bare 500.
    return status.APIStatus(500, "", message)


class _Apply:
    """One apply request on its way down the chain."""

    __slots__ = ("applied", "empty", "first", "live", "now", "updater", "who")

    def __init__(
        self,
        *,
        updater: Updater,
        live: Object,
        applied: Object,
        empty: Object,
        who: Manager,
        first: Manager,
        now: str,
    ) -> None:
        self.updater = updater
        self.live = live
        self.applied = applied
        self.empty = empty
        self.who = who
        self.first = first
        self.now = now

    def run(self, managers: Managers, *, force: bool) -> tuple[Object, Managers]:
        """Applies; raises ``Conflicts`` and ``APIStatus``."""
        live = self.live
        if not managers:
            # Whatever is there was set before anybody was tracked.
            managers = self._tracked_from_here()
        if managed.of_object(self.applied) is not None:
            raise status.new_bad_request("metadata.managedFields must be nil")
        self._check(live)
        try:
            obj, managers = self.updater.apply(live, self.applied, managers, self.who, force=force)
        except Failed as problem:
            raise _internal(str(problem)) from problem
        managers = _stripped(managers, self.who)
        if obj is None:
            return live, managers
        owned = managers.get(self.who)
        if owned is not None:
            managers[self.who] = Owned(owned.fields, owned.api_version, True, self.now)
        return obj, managers

    def _tracked_from_here(self) -> Managers:
        try:
            return _update(self.updater, self.empty, self.live, {}, self.first, self.now)
        except (SchemaMismatch, ValueError, Failed) as problem:
            problem = self._mismatch() or problem
            message = (
                "failed to create manager for existing fields: failed to convert new object "
                f"({_described(self.live)}) to smd typed: {problem}"
            )
            raise _internal(message) from problem

    def _mismatch(self) -> SchemaMismatch | None:
        """What is wrong with the live object, and where."""
        try:
            typed.validate(self.updater.type_, self.live, allow_duplicates=True)
        except SchemaMismatch as problem:
            return problem
        return None

    def _check(self, live: Object) -> None:
        type_ = self.updater.type_
        try:
            typed.validate(type_, self.applied)
        except SchemaMismatch as problem:
            where = _described(self.applied)
            message = f"failed to create typed patch object ({where}): {problem}"
            raise _internal(message) from problem
        if not self.updater.reconciles:
            return
        try:
            typed.validate(type_, live, allow_duplicates=True)
        except SchemaMismatch as problem:
            message = f"failed to create typed live object ({_described(live)}): {problem}"
            raise _internal(message) from problem


def _described(obj: Object) -> str:
    metadata: Any = obj.get("metadata")
    fields = cast("Object", metadata) if isinstance(metadata, dict) else {}
    # An unstructured object has no name where that is no string.
    namespace, name = (
        found if isinstance(found := fields.get(key), str) else "" for key in ("namespace", "name")
    )
    return f"{namespace}/{name}; {meta.gvk(obj)}"


def _stripped(managers: Managers, who: Manager) -> Managers:
    owned = managers.get(who)
    if owned is None:
        return managers
    fields = fieldpath.difference(owned.fields, STRIPPED)
    if fields:
        managers[who] = owned.with_fields(fields)
    else:
        del managers[who]
    return managers


# -- coming from client-side apply ---------------------------------------------------------------


def _applied_by_kubectl(
    chain: _Apply, managers: Managers, *, force: bool, name: str
) -> tuple[Object, Managers]:
    """Applies; kubectl may take over what it applied before on the client's side."""
    try:
        obj, managers = chain.run(managers, force=force)
    except Conflicts as conflicts:
        left = conflicts
        allowed = _last_applied_fields(chain) if name == KUBECTL else None
        if allowed is not None:
            left = conflicts.without(allowed)
        if left.found:
            raise conflict_error(left) from conflicts
        obj, managers = chain.run(managers, force=True)
    if name == KUBECTL and meta.annotations(obj).get(LAST_APPLIED_ANNOTATION):
        obj = _with_last_applied(obj, chain.applied)
    return obj, managers


def _last_applied_fields(chain: _Apply) -> FieldSet | None:
    """What the annotation says kubectl set, as far as it still has those values."""
    text = meta.annotations(chain.live).get(LAST_APPLIED_ANNOTATION)
    if not text:
        return None
    type_ = chain.updater.type_
    try:
        last: Any = json.loads(text)
        if not isinstance(last, dict):
            return None
        config = cast("Object", last)
        if not config.get("kind") or config.get("apiVersion") != chain.updater.api_version:
            return None
        typed.validate(type_, config)
        comparison = comparing.compare(type_, config, chain.live)
    except (SchemaMismatch, ValueError):
        return None
    fields = typed.field_set(type_, config)
    for gone in (comparison.modified, comparison.added, comparison.removed):
        fields = fieldpath.difference(fields, gone)
    return fields


def _with_last_applied(obj: Object, applied: Object) -> Object:
    config = meta.delete_path(applied, ("metadata", "annotations", LAST_APPLIED_ANNOTATION))
    if "annotations" in (config.get("metadata") or {}) and not meta.annotations(config):
        config = meta.delete_path(config, ("metadata", "annotations"))
    text = golang.json_text(config) + "\n"
    annotations = {**meta.annotations(obj), LAST_APPLIED_ANNOTATION: text}
    size = sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items())
    if size > TOTAL_ANNOTATION_SIZE_LIMIT:
        del annotations[LAST_APPLIED_ANNOTATION]
    return meta.with_metadata(obj, annotations=annotations)


# -- conflicts -----------------------------------------------------------------------------------


def conflict_error(conflicts: Conflicts) -> status.APIStatus:
    """409 with upstream's message and a cause for every field."""
    found = conflicts.found
    causes = [
        status.cause(
            status.FIELD_MANAGER_CONFLICT, f"conflict with {who}", fieldpath.path_text(path)
        )
        for who, path in found
    ]
    if len(found) == 1:
        who, path = found[0]
        message = f"Apply failed with 1 conflict: conflict with {who}: {fieldpath.path_text(path)}"
        return status.new_apply_conflict(causes, message)
    lines: list[str] = []
    for who in dict.fromkeys(who for who, _ in found):
        lines.append(f"conflicts with {who}:")
        lines += [f"- {fieldpath.path_text(path)}" for m, path in found if m == who]
    message = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
    return status.new_apply_conflict(causes, message)
