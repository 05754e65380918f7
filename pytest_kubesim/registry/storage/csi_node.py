"""CSINodes: the drivers of a node.

Follows `pkg/registry/storage/csinode/strategy.go` and `pkg/apis/storage/validation/validation.go`.
What volumes' health says (`status.storageHealth`) is dropped, as its feature is off by default.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats, golang
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.pod_template.volume_sources import csi_driver_name
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    SPEC,
    StatusOnly,
    WithStatus,
    reset_metadata_for_status,
)

MAX_NODE_ID_BYTES = 256
_DRIVERS = SPEC.child("drivers")


class CSINodeStrategy(WithStatus):
    """`/csinodes`."""

    allow_unconditional_update = False

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateCSINode`; of a driver that is there, only its capacity may change."""
        drivers = parts.structs(parts.spec(obj), "drivers")
        errors: ErrorList = []
        names: set[str] = set()
        for position, driver in enumerate(drivers):
            errors += _driver(driver, names, _DRIVERS.index(position))
        for before in parts.structs(parts.spec(old), "drivers"):
            for driver in drivers:
                if driver.get("name") == before.get("name") and _fixed(driver) != _fixed(before):
                    shown = field.Printed(golang.json_text(_fixed(driver), sort_keys=False))
                    errors.append(field.invalid(_DRIVERS, shown, field.FIELD_IMMUTABLE))
        return errors


def _fixed(driver: Object) -> Object:
    """What may not change, as Go prints it."""
    return {
        "Name": parts.text(driver, "name"),
        "NodeID": parts.text(driver, "nodeID"),
        "TopologyKeys": parts.texts(driver, "topologyKeys") or None,
        "Allocatable": None,
    }


def _driver(driver: Object, names: set[str], path: Path) -> ErrorList:
    name, node = parts.text(driver, "name"), parts.text(driver, "nodeID")
    errors = csi_driver_name(name, path.child("name"))
    where = path.child("nodeID")
    if not node:
        errors.append(field.required(where))
    elif len(node.encode()) > MAX_NODE_ID_BYTES:
        detail = f"must be {MAX_NODE_ID_BYTES} characters or less"
        errors.append(field.invalid(where, node, detail))
    count = parts.number(parts.struct(driver, "allocatable"), "count")
    errors += field.validate_nonnegative_field(count, path.child("allocatable", "count"))
    if name in names:
        errors.append(field.duplicate(path.child("name"), name))
    names.add(name)
    keys = parts.texts(driver, "topologyKeys")
    for position, key in enumerate(keys):
        if not key:
            errors.append(field.required(path))
        if key in keys[:position]:
            errors.append(field.duplicate(path, key))
        errors += field.invalid_each(path, key, formats.is_qualified_name(key))
    return errors


class CSINodeStatusStrategy(StatusOnly):
    """`/csinodes/{name}/status`."""

    allow_unconditional_update = False
    reset_fields = (("metadata",), ("spec",))

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec and metadata, without the field of a feature that is off."""
        obj = reset_metadata_for_status(super().prepare_for_update(ctx, obj, old), old)
        if parts.status(old).get("storageHealth"):
            return obj
        return {**obj, "status": {}}


def _row(obj: Object, now_ns: int) -> list[Any]:
    drivers = parts.structs(parts.spec(obj), "drivers")
    return [obj["metadata"]["name"], len(drivers), age(obj, now_ns)]


KIND = Kind(
    strategy=CSINodeStrategy(),
    status=CSINodeStatusStrategy(),
    printer=printer("CSINode", _row),
)
