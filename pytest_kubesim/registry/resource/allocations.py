"""The status of a claim: what was allocated, for whom, and how the devices are.

The law: a populated allocation does not change.

Follows `pkg/apis/resource/validation/validation.go`.
"""

from __future__ import annotations

import re

from pytest_kubesim.apimachinery import golang, metav1, objectmeta
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.pod_template.scheduling import validate_node_selector
from pytest_kubesim.registry.resource import names, requests
from pytest_kubesim.registry.resource.requests import Names
from pytest_kubesim.registry.strategies import STATUS, semantically_equal

FINALIZER = "resource.kubernetes.io/delete-protection"
"""Keeps a claim while it is allocated."""
MAX_RESERVED = 256
MAX_RESULTS = 32
MAX_CONDITIONS = 8
SOURCES = ("FromClaim", "FromClass")
_UID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_WRONG_UID = (
    "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with "
    "lowercase hexadecimal characters"
)
_UNCHANGED = (
    "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
)


def shared_id(device: Object) -> str:
    """How a device is named among all devices (`SharedDeviceID.String`)."""
    name = "/".join(parts.text(device, key) for key in ("driver", "pool", "device"))
    share = parts.text(device, "shareID")
    return f"{name}/{share}" if share else name


def without_released(status: Object, before: Object) -> Object:
    """Without what is told of devices that are no longer allocated."""
    devices = parts.structs(status, "devices")
    if not devices:
        return status
    released = _allocated(before) - _allocated(status)
    kept = [device for device in devices if shared_id(device) not in released]
    if len(kept) == len(devices):
        return status
    status = {**status, "devices": kept}
    if not kept:
        del status["devices"]
    return status


def _allocated(status: Object) -> set[str]:
    devices = parts.struct(parts.struct(status, "allocation"), "devices")
    return set(map(shared_id, parts.structs(devices, "results")))


def validate(obj: Object, old: Object) -> ErrorList:
    """`ValidateResourceClaimStatusUpdate`."""
    status, before = parts.status(obj), parts.status(old)
    reserved = parts.structs(status, "reservedFor")
    where = STATUS.child("reservedFor")
    errors = names.unique(
        reserved, MAX_RESERVED, _consumer, where, lambda item: parts.text(item, "uid")
    )
    devices, allocated = parts.structs(status, "devices"), _allocated(status)
    errors += names.unique(
        devices,
        len(devices),
        lambda item, at: _device(item, at, allocated),
        STATUS.child("devices"),
        shared_id,
        declared=False,
    )
    allocation: Object | None = status.get("allocation")
    if reserved and allocation is None:
        detail = "may not be specified when `allocated` is not set"
        errors.append(field.forbidden(where, detail))
    elif reserved and obj["metadata"].get("deletionTimestamp"):
        known = parts.structs(before, "reservedFor")
        if any(item not in known for item in reserved):
            errors.append(field.forbidden(where, _UNCHANGED))
    if allocation is None:
        return errors
    where = STATUS.child("allocation")
    if before.get("allocation") is None:
        known = requests.request_names(parts.struct(parts.spec(obj), "devices"))
        return errors + _allocation(allocation, where, known)
    if not semantically_equal(allocation, before["allocation"]):
        errors.append(field.invalid(where, None, field.FIELD_IMMUTABLE))
    return errors


def _consumer(consumer: Object, path: Path) -> ErrorList:
    return [
        field.required(path.child(key))
        for key in ("resource", "name", "uid")
        if not parts.text(consumer, key)
    ]


def _share(device: Object, path: Path) -> ErrorList:
    share: str | None = device.get("shareID")
    if share is None or _UID.match(share):
        return []
    return [field.invalid(path.child("shareID"), share, _WRONG_UID)]


def _which(device: Object, path: Path) -> ErrorList:
    errors = names.driver(parts.text(device, "driver"), path.child("driver"))
    errors += names.pool(parts.text(device, "pool"), path.child("pool"))
    return errors + names.short(parts.text(device, "device"), path.child("device"))


def _device(device: Object, path: Path, allocated: set[str]) -> ErrorList:
    errors = _which(device, path) + _share(device, path)
    name = shared_id(device)
    if name not in allocated:
        keys = {"Driver": "driver", "Pool": "pool", "Device": "device", "ShareID": "shareID"}
        given = {go_name: parts.text(device, key) for go_name, key in keys.items()}
        shown = field.Printed(golang.json_text(given, sort_keys=False))
        errors.append(field.invalid(path, shown, "must be an allocated device in the claim"))
    return errors + conditions(device, path.child("conditions"))


def conditions(holder: Object, path: Path) -> ErrorList:
    """A list of conditions that is not long."""
    given = parts.structs(holder, "conditions")
    errors: ErrorList = []
    if len(given) > MAX_CONDITIONS:
        errors.append(field.too_many(path, len(given), MAX_CONDITIONS))
    return errors + metav1.validate_conditions(given, path)


def _allocation(allocation: Object, path: Path, known: Names) -> ErrorList:
    devices, where = parts.struct(allocation, "devices"), path.child("devices")
    errors = names.each(
        parts.structs(devices, "results"),
        MAX_RESULTS,
        lambda item, at: _result(item, at, known),
        where.child("results"),
    )
    errors += names.each(
        parts.structs(devices, "config"),
        64,
        lambda item, at: _config(item, at, known),
        where.child("config"),
    )
    selector: Object | None = allocation.get("nodeSelector")
    if selector is None:
        return errors
    where = path.child("nodeSelector")
    return errors + validate_node_selector(selector, where, allow_invalid_values=False)


def _result(result: Object, path: Path, known: Names) -> ErrorList:
    errors = requests.reference(parts.text(result, "request"), path.child("request"), known)
    errors += names.declared_driver(parts.text(result, "driver"), path.child("driver"))
    errors += names.declared_pool(parts.text(result, "pool"), path.child("pool"))
    errors += names.short(parts.text(result, "device"), path.child("device"))
    errors += binding_conditions(result, path)
    for position, toleration in enumerate(parts.structs(result, "tolerations")):
        errors += names.toleration(toleration, path.child("tolerations").index(position))
    return errors + _share(result, path)


def binding_conditions(device: Object, path: Path) -> ErrorList:
    """`validateDeviceBindingParameters`."""
    good, bad = (
        parts.texts(device, key) for key in ("bindingConditions", "bindingFailureConditions")
    )
    where, failing = path.child("bindingConditions"), path.child("bindingFailureConditions")
    label = objectmeta.validate_label_name
    errors = names.unique(good, 4, label, where, declared=False)
    errors += names.unique(bad, 4, label, failing, declared=False)
    detail = "bindingFailureConditions must not overlap with bindingConditions"
    errors += [
        field.invalid(failing.index(position), name, detail)
        for position, name in enumerate(bad)
        if name in good
    ]
    if bool(good) == bool(bad):
        return errors
    lacking, given = ("bindingFailureConditions", "bindingConditions")[:: 1 if good else -1]
    detail = f"{lacking} are required to use {given}"
    return [*errors, field.invalid(path.child(lacking), field.Printed("null"), detail)]


def _config(config: Object, path: Path, known: Names) -> ErrorList:
    source, where = parts.text(config, "source"), path.child("source")
    errors: ErrorList = []
    if not source:
        errors.append(field.required(where))
    elif source not in SOURCES:
        errors += field.declared([field.not_supported(where, source, SOURCES)])
    return errors + requests.configuration_of(config, path, known)
