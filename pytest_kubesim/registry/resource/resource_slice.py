"""ResourceSlices: the devices of a pool that a driver publishes.

Follows `pkg/registry/resource/resourceslice/strategy.go` and
`pkg/apis/resource/validation/validation.go`; request policies of capacities and what devices take
of a node's resources are not looked into.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pytest_kubesim.apimachinery import formats, golang
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.pod_template.scheduling import validate_node_selector
from pytest_kubesim.registry.resource import allocations, gated_fields, names
from pytest_kubesim.registry.resource.generations import Generations
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import SPEC

MAX_DEVICES = 128
MAX_RICH_DEVICES = 64
MAX_NAMED = 32
MAX_VALUES = 48
MAX_VALUE = 64
_LISTS = ("bools", "ints", "strings", "versions")
_EACH_DEVICE = ("devices", gated_fields.EACH)
_GATED: tuple[gated_fields.Feature, ...] = (
    (("partitionTypeAttribute",),),
    (("skipNodeOperations",),),
    ((*_EACH_DEVICE, "consumesCounters", gated_fields.EACH, "compatibilityGroups"),),
    ((*_EACH_DEVICE, "nodeAllocatableResources"),),
    tuple((*_EACH_DEVICE, "attributes", gated_fields.EACH, key) for key in _LISTS),
)
_PLACES = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
_ONE_PLACE = (
    "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
)
_ONE_DEVICE_PLACE = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when "
    "`perDeviceNodeSelection` is set to true in the ResourceSlice spec"
)
_NO_DEVICE_PLACE = (
    "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set "
    "to true in the ResourceSlice spec"
)
_VALUES = ("int", "bool", "string", "version", "ints", "bools", "strings", "versions")
_ALL_VALUES = ", ".join(f"`{key}`" for key in _VALUES)
_VERSION = "must be a string compatible with semver.org spec 2.0.0"
_NUMBER = r"(0|[1-9]\d*)"
_PRE = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_BUILD = r"[0-9a-zA-Z-]+"
_SEMVER = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_PRE}(\.{_PRE})*)?(\+{_BUILD}(\.{_BUILD})*)?\Z",
    re.ASCII,
)


class ResourceSliceStrategy(Generations):
    """`/resourceslices`."""

    selectable = ("spec.nodeName", "spec.driver", "spec.pool.name")

    def selectable_fields(self, obj: Object) -> dict[str, str]:
        """The node, the driver and the pool."""
        spec = parts.spec(obj)
        return {
            "spec.nodeName": parts.text(spec, "nodeName"),
            "spec.driver": parts.text(spec, "driver"),
            "spec.pool.name": parts.text(parts.struct(spec, "pool"), "name"),
        }

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Without what is behind feature gates."""
        obj = super().prepare_for_create(ctx, obj)
        return {**obj, "spec": gated_fields.without(parts.spec(obj), None, _GATED)}

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """The same, unless it was there."""
        obj = super().prepare_for_update(ctx, obj, old)
        return {**obj, "spec": gated_fields.without(parts.spec(obj), parts.spec(old), _GATED)}

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`validateResourceSliceSpec`."""
        spec = parts.spec(obj)
        errors = names.driver(parts.text(spec, "driver"), SPEC.child("driver")) + _pool(spec)
        if old is not None:
            errors += _kept(spec, parts.spec(old))
        errors += _places(spec, SPEC, _PLACES, _ONE_PLACE)
        if spec.get("sharedCounters") is not None and spec.get("devices") is not None:
            detail = "only one of `sharedCounters` or `devices` is allowed"
            errors.append(field.invalid(SPEC, "", detail))
        devices = parts.structs(spec, "devices")
        limit = MAX_RICH_DEVICES if any(map(_rich, devices)) else MAX_DEVICES
        apart = bool(spec.get("perDeviceNodeSelection"))
        errors += names.unique(
            devices,
            limit,
            lambda item, at: _device(item, at, apart=apart),
            SPEC.child("devices"),
            names.named,
            whole=False,
        )
        return errors + names.unique(
            parts.structs(spec, "sharedCounters"),
            8,
            _counters_of("name"),
            SPEC.child("sharedCounters"),
            names.named,
        )

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """For a driver's name in capitals."""
        del ctx
        driver = parts.text(parts.spec(obj), "driver")
        if driver == driver.lower():
            return []
        shown = golang.quote(driver)
        rule = "driver names should be lowercase"
        return [f"spec.driver: {rule}; {shown} contains uppercase characters"]

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """The same."""
        del old
        return self.warnings_on_create(ctx, obj)


def _pool(spec: Object) -> ErrorList:
    pool, where = parts.struct(spec, "pool"), SPEC.child("pool")
    errors = names.pool(parts.text(pool, "name"), where.child("name"))
    count, generation = (parts.number(pool, key) for key in ("resourceSliceCount", "generation"))
    if count <= 0:
        at = where.child("resourceSliceCount")
        errors.append(field.invalid(at, count, "must be greater than zero"))
    if generation < 0:
        at = where.child("generation")
        errors.append(field.invalid(at, generation, "must be greater than or equal to zero"))
    return errors


def _kept(spec: Object, before: Object) -> ErrorList:
    name, was = (parts.text(parts.struct(each, "pool"), "name") for each in (spec, before))
    errors = field.validate_immutable_field(name, was, SPEC.child("pool", "name"))
    for key in ("driver", "nodeName"):
        path = SPEC.child(key)
        errors += field.validate_immutable_field(spec.get(key), before.get(key), path)
    return errors


def _places(holder: Object, path: Path, keys: tuple[str, ...], one: str) -> ErrorList:
    """Where devices are: in exactly one way."""
    errors: ErrorList = []
    said: list[str] = []
    for key in keys:
        value, where = holder.get(key), path.child(key)
        if value is None:
            continue
        if key == "nodeName":
            if value:
                errors += field.invalid_each(where, value, formats.is_dns1123_subdomain(value))
            else:
                detail = "must be either unset or set to a non-empty string"
                errors.append(field.invalid(where, value, detail))
                continue
        elif key == "nodeSelector":
            errors += validate_node_selector(value, where, allow_invalid_values=False)
            terms = parts.structs(value, "nodeSelectorTerms")
            if keys is _PLACES and len(terms) != 1:
                shown = field.Printed(golang.json_text(terms or None))
                detail = "must have exactly one node selector term"
                errors.append(field.invalid(where.child("nodeSelectorTerms"), shown, detail))
        elif not value:
            errors.append(field.invalid(where, value, "must be either unset or set to true"))
            continue
        said.append(f"`{key}`")
    if not said:
        errors.append(field.required(path, one))
    elif len(said) > 1:
        detail = f"{one}, but multiple fields are set" if keys is _PLACES else one
        errors.append(field.invalid(path, f"{{{', '.join(said)}}}", detail))
    return errors


# -- devices ---------------------------------------------------------------------------------------


def _rich(device: Object) -> bool:
    """It has taints, counters or attributes that are lists, and counts double."""
    if device.get("taints") or device.get("consumesCounters"):
        return True
    attributes: Mapping[str, Object] = parts.struct(device, "attributes")
    return any(each.get(key) is not None for each in attributes.values() for key in _LISTS)


def _device(device: Object, path: Path, *, apart: bool) -> ErrorList:
    errors = names.short(names.named(device), path.child("name"))
    attributes: Mapping[str, Object] = parts.struct(device, "attributes")
    capacity: Mapping[str, Object] = parts.struct(device, "capacity")
    for count, limit, what in (
        (len(attributes) + len(capacity), MAX_NAMED, "attributes and capacities"),
        (sum(map(_values, attributes.values())), MAX_VALUES, "attribute values"),
    ):
        if count > limit:
            detail = f"the total number of {what} must not exceed {limit}"
            errors.append(field.invalid(path, count, detail))
    for name in sorted(attributes):
        where = path.child("attributes")
        errors += names.qualified(name, where) + _attribute(attributes[name], where.key(name))
    shared = bool(device.get("allowMultipleAllocations"))
    for name in sorted(capacity):
        errors += names.qualified(name, path.child("capacity"))
        where = path.child("capacity").key(name)
        if capacity[name].get("requestPolicy") is not None and not shared:
            detail = "allowMultipleAllocations must be true"
            errors.append(field.forbidden(where.child("requestPolicy"), detail))
    errors += names.each(
        parts.structs(device, "taints"),
        16,
        lambda item, at: names.taint(item, None, at),
        path.child("taints"),
    )
    errors += names.unique(
        parts.structs(device, "consumesCounters"),
        2,
        _counters_of("counterSet"),
        path.child("consumesCounters"),
        lambda item: parts.text(item, "counterSet"),
    )
    if apart:
        errors += _places(device, path, _PLACES[:3], _ONE_DEVICE_PLACE)
    elif any(device.get(key) is not None for key in _PLACES[:3]):
        errors.append(field.invalid(path, None, _NO_DEVICE_PLACE))
    return errors + allocations.binding_conditions(device, path)


def _values(attribute: Object) -> int:
    return sum(len(attribute.get(key) or ()) for key in _LISTS) or 1


def _attribute(attribute: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    for key in ("string", "version"):
        value: str | None = attribute.get(key)
        if value is not None:
            errors += _text(value, path.child(key), version=key == "version")
    for key in _LISTS:
        values = attribute.get(key)
        if values is None:
            continue
        where = path.child(key)
        if not values:
            shown = field.Printed("[]")
            errors.append(field.invalid(where, shown, "must not be empty if specified"))
        if key in ("strings", "versions"):
            for position, value in enumerate(parts.texts(attribute, key)):
                errors += _text(value, where.index(position), version=key == "versions")
    said = [key for key in _VALUES if attribute.get(key) is not None]
    if not said:
        errors += field.declared([field.invalid(path, "", f"must specify one of: {_ALL_VALUES}")])
    elif len(said) > 1:
        shown = f"{{{', '.join(said)}}}"
        detail = f"must specify exactly one of: {_ALL_VALUES}"
        errors += field.declared([field.invalid(path, shown, detail)])
    return errors


def _text(value: str, path: Path, *, version: bool) -> ErrorList:
    errors: ErrorList = []
    if version and not _SEMVER.match(value):
        errors.append(field.invalid(path, value, _VERSION))
    if len(value.encode()) > MAX_VALUE:
        errors.append(field.too_long(path, MAX_VALUE))
    return errors


def _counters_of(key: str) -> names.Check:
    """Counters that a set, named by this key, has, or that a device takes from it."""

    def check(holder: Any, path: Path) -> ErrorList:
        name, where = parts.text(holder, key), path.child(key)
        errors: ErrorList = names.short(name, where) if name else [field.required(where)]
        counters, where = parts.struct(holder, "counters"), path.child("counters")
        if not counters:
            errors.append(field.required(where))
        for counter in sorted(counters):
            errors += names.short(counter, where)
        return field.declared(errors)

    return check


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec = parts.spec(obj)
    return [
        obj["metadata"]["name"],
        parts.text(spec, "nodeName"),
        parts.text(spec, "driver"),
        parts.text(parts.struct(spec, "pool"), "name"),
        age(obj, now_ns),
    ]


KIND = Kind(strategy=ResourceSliceStrategy(), printer=printer("ResourceSlice", _row))
