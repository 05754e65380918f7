"""The entries of ``metadata.managedFields``, taken apart and put together again.

The law: an entry that did not change stays the same Python object, and entries are always in
upstream's order: appliers first, then by time, manager, version and subresource.

Follows ``apimachinery/pkg/util/managedfields/internal/managedfields.go``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import msgspec

from pytest_kubesim.apimachinery import fieldpath, golang
from pytest_kubesim.apimachinery.fieldpath import FieldSet
from pytest_kubesim.apimachinery.meta import Object

APPLY = "Apply"
UPDATE = "Update"


class Manager(NamedTuple):
    """Who manages fields: upstream's manager identifier. Appliers have no version in it."""

    name: str
    operation: str
    api_version: str
    subresource: str

    @property
    def identifier(self) -> str:
        """The JSON by which upstream sorts managers."""
        fields = {
            "manager": self.name,
            "operation": self.operation,
            "apiVersion": self.api_version,
            "subresource": self.subresource,
        }
        return golang.json_text({k: v for k, v in fields.items() if v}, sort_keys=False)

    def __str__(self) -> str:
        text = golang.quote(self.name)
        if self.subresource:
            text = f"{text} with subresource {golang.quote(self.subresource)}"
        return f"{text} using {self.api_version}" if self.operation == UPDATE else text


def manager(name: str, operation: str, api_version: str, subresource: str = "") -> Manager:
    """The identity under which a request manages fields; without a name it is ``unknown``."""
    version = "" if operation == APPLY else api_version
    return Manager(name or "unknown", operation, version, subresource)


class Owned(msgspec.Struct, frozen=True):
    """What one manager owns: the fields in a version, whether applied, and since when."""

    fields: FieldSet
    api_version: str
    applied: bool
    time: str | None = None
    entry: Object | None = None
    """The entry that this was read from, for as long as it says the same."""

    def with_fields(self, fields: FieldSet) -> Owned:
        """The same with other fields."""
        if fields is self.fields:
            return self
        return Owned(fields, self.api_version, self.applied, self.time)


Managers = dict[Manager, Owned]


class UndecodableEntry(ValueError):
    """An entry that upstream refuses to read, with its words."""


def decode(entries: Sequence[Object] | None, *, stored: bool = False) -> Managers:
    """The managers that the entries name. Raises ``UndecodableEntry``.

    ``stored`` entries were written by ``encode`` and are taken as they are; others are normalised.
    """
    managers: Managers = {}
    for index, entry in enumerate(entries or ()):
        operation = entry.get("operation") or ""
        if operation not in (APPLY, UPDATE):
            raise UndecodableEntry("operation must be `Apply` or `Update`")
        api_version = entry.get("apiVersion") or ""
        if not api_version:
            raise UndecodableEntry("apiVersion must not be empty")
        fields_type = entry.get("fieldsType") or ""
        if fields_type != "FieldsV1":
            if not fields_type:
                raise UndecodableEntry(f"missing fieldsType in managed fields entry {index}")
            kind = golang.quote(fields_type)
            raise UndecodableEntry(f"invalid fieldsType {kind} in managed fields entry {index}")
        who = Manager(
            entry.get("manager") or "",
            operation,
            "" if operation == APPLY else api_version,
            entry.get("subresource") or "",
        )
        given = entry.get("fieldsV1")
        try:
            fields = given if stored and given is not None else fieldpath.from_json(given)
        except ValueError as problem:
            raise UndecodableEntry(
                f"error decoding versioned set from {entry}: error decoding set: {problem}"
            ) from problem
        same = entry if fields is given else None
        managers[who] = Owned(
            fields, api_version, operation == APPLY, entry.get("time") or None, same
        )
    return managers


def encode(managers: Managers) -> list[Object]:
    """The entries for the managers, sorted; empty if there are none."""
    keyed = [(_order(who, owned), _entry(who, owned)) for who, owned in managers.items()]
    keyed.sort(key=_first)
    return [entry for _, entry in keyed]


def _first(pair: tuple[tuple[str, ...], Object]) -> tuple[str, ...]:
    return pair[0]


def _order(who: Manager, owned: Owned) -> tuple[str, ...]:
    operation = APPLY if owned.applied else who.operation
    return operation, owned.time or "", who.name, owned.api_version, who.subresource


def _entry(who: Manager, owned: Owned) -> Object:
    if owned.entry is not None:
        return owned.entry
    entry: Object = {}
    if who.name:
        entry["manager"] = who.name
    entry["operation"] = APPLY if owned.applied else who.operation
    entry["apiVersion"] = owned.api_version
    if owned.time:
        entry["time"] = owned.time
    entry["fieldsType"] = "FieldsV1"
    entry["fieldsV1"] = owned.fields
    if who.subresource:
        entry["subresource"] = who.subresource
    return entry


def of_object(obj: Object) -> list[Object] | None:
    """``metadata.managedFields`` as it stands; None where there is none."""
    metadata: Any = obj.get("metadata")
    return cast("Object", metadata).get("managedFields") if isinstance(metadata, dict) else None


def with_entries(obj: Object, entries: list[Object]) -> Object:
    """The object with those managed fields; without any where the list is empty."""
    metadata = dict(obj.get("metadata") or {})
    if entries:
        metadata["managedFields"] = entries
    elif "managedFields" not in metadata:
        return obj
    else:
        del metadata["managedFields"]
    return {**obj, "metadata": metadata}


def is_reset(entries: Sequence[Object] | None) -> bool:
    """Whether a request clears managed fields: an empty list, or one empty entry."""
    if not entries:
        return entries is not None
    return len(entries) == 1 and not any(entries[0].values())
