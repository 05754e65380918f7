"""Nodes.

Follows `pkg/registry/core/node/strategy.go` and `ValidateNode` of
`pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

import json
import re
from typing import Any, cast

from pytest_kubesim.apimachinery import addresses, formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.objectmeta import validate_label_name
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry.columns import NONE, UNKNOWN, age, printer
from pytest_kubesim.registry.pod_template import go_structs
from pytest_kubesim.registry.pod_template.resource_names import rounded, validate_amount
from pytest_kubesim.registry.pod_template.scheduling import taint_effect
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    EMPTY,
    METADATA,
    SPEC,
    STATUS,
    Plain,
    annotations_of,
    keeping,
    labels_of,
)

_TAINTS = "scheduler.alpha.kubernetes.io/taints"
_FEATURE = re.compile(r"[A-Z][a-zA-Z0-9]*(/[a-zA-Z][a-zA-Z0-9]*)*").fullmatch
_CIDRS = SPEC.child("podCIDRs")


def _defaults(obj: Object) -> Object:
    spec: Object = dict(obj.get("spec") or {})
    status: Object = dict(obj.get("status") or {})
    # The first of podCIDRs and podCIDR say the same.
    first: str = spec.get("podCIDR") or ""
    many: list[str] = spec.get("podCIDRs") or []
    if many and not first:
        spec["podCIDR"] = many[0]
    elif first and (not many or many[0] != first):
        spec["podCIDRs"] = [first]
    if status.get("allocatable") is None and status.get("capacity") is not None:
        status["allocatable"] = status["capacity"]
    for key in ("capacity", "allocatable"):
        if status.get(key):
            status[key] = rounded(status[key])
    return {**obj, "spec": spec, "status": status}


class NodeStrategy(Plain):
    """`/nodes`."""

    reset_fields = (("status",),)
    selectable = ("metadata.name", "spec.unschedulable")

    def default(self, obj: Object) -> Object:
        """`SetDefaults_NodeStatus`, and what conversion keeps in step."""
        return _defaults(obj)

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """A node brings its status along; sources of configuration are no more."""
        del ctx
        return {
            **obj,
            "spec": _without(obj.get("spec") or {}, "configSource", "podPreemptionPolicy"),
            "status": _without(obj.get("status") or {}, "config"),
        }

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old status."""
        del ctx
        obj = keeping(obj, old, "status")
        before: Object = old.get("spec") or {}
        gone = [k for k in ("configSource", "podPreemptionPolicy") if before.get(k) is None]
        return {**obj, "spec": _without(obj.get("spec") or {}, *gone)}

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateNode`, and on update `ValidateNodeUpdate` after it."""
        errors = _node(obj)
        return errors if old is None else errors + _update(obj, old)

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """Fields that are no more, and addresses written oddly."""
        del ctx
        return _warnings(obj)

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """The same."""
        del ctx, old
        return _warnings(obj)

    def selectable_fields(self, obj: Object) -> dict[str, str]:
        """Whether pods are kept off it."""
        unschedulable = (obj.get("spec") or EMPTY).get("unschedulable")
        return {"spec.unschedulable": "true" if unschedulable else "false"}


def _without(holder: Object, *keys: str) -> Object:
    if not any(key in holder for key in keys):
        return holder
    return {k: v for k, v in holder.items() if k not in keys}


def _warnings(obj: Object) -> list[str]:
    spec: Object = obj.get("spec") or {}
    found: list[str] = []
    if spec.get("configSource") is not None:
        found.append("spec.configSource: the feature is removed")
    if spec.get("externalID"):
        found.append("spec.externalID: this field is deprecated, and is unused by Kubernetes")
    for position, cidr in enumerate(spec.get("podCIDRs") or ()):
        found += addresses.cidr_warnings(str(_CIDRS.index(position)), cidr)
    return found


def _node(obj: Object) -> ErrorList:
    spec: Object = obj.get("spec") or {}
    status: Object = obj.get("status") or {}
    errors = _annotations(obj)
    # Upstream gives the taints a path in the metadata.
    if taints := spec.get("taints"):
        errors += _taints(taints, METADATA.child("taints"))
    errors += _resources(status)
    capacity = ((status.get("nodeInfo") or EMPTY).get("swap") or EMPTY).get("capacity")
    if capacity is not None and capacity <= 0:
        where = METADATA.child("nodeSwapStatus", "capacity")
        errors.append(field.invalid(where, capacity, "must be greater than zero"))
    errors += _features(status.get("declaredFeatures") or [])
    cidrs: list[str] = spec.get("podCIDRs") or []
    for position, cidr in enumerate(cidrs):
        errors += field.validate_cidr_for_legacy_field(_CIDRS.index(position), cidr)
    if len(cidrs) > 1:
        families = [
            parsed[0].version if (parsed := addresses.parse_cidr_sloppy(cidr)) else 0
            for cidr in cidrs
        ]
        if 0 in families:
            bad = families.index(0)
            detail = (
                "invalid PodCIDRs. failed to check with dual stack with error:"
                f"invalid CIDR[{bad}]: <nil> (invalid CIDR address: {cidrs[bad]})"
            )
            errors.append(field.internal_error(_CIDRS, detail))
        if len(cidrs) > 2 or set(families) != {4, 6}:
            detail = "may specify no more than one CIDR for each IP family"
            errors.append(field.invalid(_CIDRS, cidrs, detail))
    return errors


def _annotations(obj: Object) -> ErrorList:
    text = annotations_of(obj).get(_TAINTS)
    if not text:
        return []
    path = METADATA.child("annotations")
    try:
        found: Any = json.loads(text)
    except ValueError as error:
        return [field.invalid(path, _TAINTS, str(error))]
    if not isinstance(found, list) or not found:
        return []
    return _taints(cast("list[Object]", found), path.child(_TAINTS))


def _taints(taints: list[Object], path: Path) -> ErrorList:
    errors: ErrorList = []
    seen: set[tuple[str, str]] = set()
    for position, taint in enumerate(taints):
        where = path.index(position)
        key, value = taint.get("key") or "", taint.get("value") or ""
        effect = taint.get("effect") or ""
        errors += validate_label_name(key, where.child("key"))
        if details := formats.is_valid_label_value(value):
            errors.append(field.invalid(where.child("value"), value, ";".join(details)))
        at = where.child("effect")
        errors += taint_effect(effect, at) if effect else [field.required(at)]
        if (key, effect) in seen:
            shown = go_structs.printed("Taint", taint)
            detail = "taints must be unique by key and effect pair"
            errors.append(FieldError(field.DUPLICATE, str(where), shown, detail))
        seen.add((key, effect))
    return errors


def _resources(status: Object) -> ErrorList:
    errors: ErrorList = []
    for key in ("capacity", "allocatable"):
        amounts: Object = status.get(key) or {}
        for name in sorted(amounts):
            errors += validate_amount(name, amounts[name], STATUS.child(key, name))
    return errors


def _features(features: list[str]) -> ErrorList:
    errors: ErrorList = []
    path = STATUS.child("declaredFeatures")
    for position, name in enumerate(features):
        problem = ""
        if len(name.encode()) > 253:
            problem = "must be no more than 253 characters"
        elif not _FEATURE(name):
            problem = (
                "must start with an UpperCamelCase segment, with subsequent segments separated by "
                "'/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric "
                "characters and slashes"
            )
        if problem:
            detail = f"invalid feature name {quote(name)}: {problem}"
            errors.append(field.invalid(path.index(position), name, detail))
        if position + 1 < len(features):
            following = features[position + 1]
            where = path.index(position + 1)
            if name == following:
                errors.append(field.duplicate(where, following))
            elif name > following:
                detail = "list must be sorted alphabetically"
                errors.append(field.invalid(where, following, detail))
    return errors


def _update(obj: Object, old: Object) -> ErrorList:
    spec: Object = obj.get("spec") or {}
    before: Object = old.get("spec") or {}
    status: Object = obj.get("status") or {}
    errors = _annotations(obj) + _resources(status)
    errors += _features(status.get("declaredFeatures") or [])
    seen: list[Object] = []
    for position, address in enumerate(status.get("addresses") or ()):
        if address in seen:
            where = STATUS.child("addresses").index(position)
            errors.append(field.duplicate(where, go_structs.printed("NodeAddress", address)))
        seen.append(address)
    cidrs: list[str] = before.get("podCIDRs") or []
    if cidrs and cidrs != (spec.get("podCIDRs") or []):
        detail = 'node updates may not change podCIDR except from "" to valid'
        errors.append(field.forbidden(_CIDRS, detail))
    provider, old_provider = spec.get("providerID") or "", before.get("providerID") or ""
    if old_provider and provider != old_provider:
        detail = (
            "field cannot be modified once set" if provider else "field cannot be cleared once set"
        )
        errors.append(field.invalid(SPEC.child("providerID"), None, detail))
    if taints := spec.get("taints"):
        errors += _taints(taints, METADATA.child("taints"))
    if (spec.get("externalID") or "") != (before.get("externalID") or ""):
        errors.append(field.forbidden(SPEC.child("externalID"), "may not be updated"))
    return errors


class NodeStatusStrategy(NodeStrategy):
    """`/nodes/{name}/status`."""

    reset_fields = (("spec",),)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec."""
        del ctx
        obj = keeping(obj, old, "spec")
        if (old.get("status") or EMPTY).get("config") is None:
            obj = {**obj, "status": _without(obj.get("status") or {}, "config")}
        return obj

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateNodeUpdate`."""
        return _update(obj, old or {})

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """None."""
        del ctx, obj, old
        return []


def _roles(obj: Object) -> str:
    prefix = "node-role.kubernetes.io/"
    roles: set[str] = set()
    for key, value in labels_of(obj).items():
        if key.startswith(prefix):
            roles.add(key[len(prefix) :])
        elif key == "kubernetes.io/role":
            roles.add(value)
    return ",".join(sorted(roles - {""})) or NONE


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec: Object = obj.get("spec") or {}
    status: Object = obj.get("status") or {}
    info: Object = status.get("nodeInfo") or {}
    ready = {c.get("type"): c.get("status") for c in status.get("conditions") or ()}.get("Ready")
    states = ["Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"]
    if spec.get("unschedulable"):
        states.append("SchedulingDisabled")
    found: dict[str, str] = {}
    for address in status.get("addresses") or ():
        found.setdefault(address.get("type") or "", address.get("address") or "")
    kernel = info.get("kernelVersion") or UNKNOWN
    if info.get("architecture"):
        kernel += f" ({info['architecture']})"
    return [
        obj["metadata"]["name"],
        ",".join(states),
        _roles(obj),
        age(obj, now_ns),
        info.get("kubeletVersion") or "",
        found.get("InternalIP", NONE),
        found.get("ExternalIP", NONE),
        info.get("osImage") or UNKNOWN,
        kernel,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


KIND = Kind(
    strategy=NodeStrategy(),
    status=NodeStatusStrategy(),
    printer=printer("Node", _row),
)
