"""APIServices.

The law: one without a service is local, and available from the start.

Follows `kube-aggregator/pkg/registry/apiservice/{strategy.go,etcd/etcd.go}` and
`kube-aggregator/pkg/apis/apiregistration/{v1/defaults.go,validation/validation.go}`.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from pytest_kubesim.apimachinery import formats, golang
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import age
from pytest_kubesim.registry.rest import Column, Context, Kind, Printer
from pytest_kubesim.registry.strategies import (
    SPEC,
    STATUS,
    StatusOnly,
    WithStatus,
    keeping_metadata,
)

PORT = 443
STATUSES = ("True", "False", "Unknown")
_SERVICE = SPEC.child("service")


class APIServiceStrategy(WithStatus):
    """`/apiservices`."""

    any_finalizer = True
    allow_unconditional_update = False

    def default(self, obj: Object) -> Object:
        """`SetDefaults_ServiceReference`."""
        spec = parts.spec(obj)
        service: Object | None = spec.get("service")
        if service is None or service.get("port") is not None:
            return obj
        return {**obj, "spec": {**spec, "service": {**service, "port": PORT}}}

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Without a status; local ones are available."""
        if parts.spec(obj).get("service") is not None:
            return {**obj, "status": {}}
        condition = {
            "type": "Available",
            "status": "True",
            "lastTransitionTime": ctx.now,
            "reason": "Local",
            "message": "Local APIServices are always available",
        }
        return {**obj, "status": {"conditions": [condition]}}

    def validate_name(self, name: str, prefix: bool) -> list[str]:
        """A name need only fit into a path; what it must be `check` sees to."""
        return formats.is_valid_path_segment_name(name, prefix=prefix)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateAPIService`."""
        del old
        spec = parts.spec(obj)
        group, version = parts.text(spec, "group"), parts.text(spec, "version")
        name = parts.text(obj["metadata"], "name")
        errors: ErrorList = []
        begin = parts.text(obj["metadata"], "generateName")
        if (
            begin
            and begin != f"{version}.{group}"
            and not formats.is_valid_path_segment_name(begin)
        ):
            detail = f'must be `spec.version+"."+spec.group`: {golang.quote(f"{version}.{group}")}'
            errors.append(field.invalid(Path("metadata", "generateName"), begin, detail))
        if name != f"{version}.{group}" and not formats.is_valid_path_segment_name(name):
            wanted = golang.quote(f"{version}.{group}")
            detail = f'must be `spec.version+"."+spec.group`: {wanted}'
            errors.append(field.invalid(Path("metadata", "name"), name, detail))
        if group:
            where = SPEC.child("group")
            errors += field.invalid_each(where, group, formats.is_dns1123_subdomain(group))
        elif version != "v1":
            detail = "only v1 may have an empty group and it better be legacy kube"
            errors.append(field.required(SPEC.child("group"), detail))
        details = formats.is_dns1035_label(version)
        errors += field.invalid_each(SPEC.child("version"), version, details)
        for key, most in (("groupPriorityMinimum", 20000), ("versionPriority", 1000)):
            number = parts.number(spec, key)
            if not 0 < number <= most:
                detail = f"must be positive and less than {most}"
                errors.append(field.invalid(SPEC.child(key), number, detail))
        return errors + _service(spec)


def _service(spec: Object) -> ErrorList:
    service: Object | None = spec.get("service")
    bundle, insecure = parts.text(spec, "caBundle"), bool(spec.get("insecureSkipTLSVerify"))
    skip = SPEC.child("insecureSkipTLSVerify")
    errors: ErrorList = []
    if service is None:
        if bundle:
            shown = f"{_size(bundle)} bytes"
            detail = "local APIServices may not have a caBundle"
            errors.append(field.invalid(SPEC.child("caBundle"), shown, detail))
        if insecure:
            detail = "local APIServices may not have insecureSkipTLSVerify"
            errors.append(field.invalid(skip, insecure, detail))
        return errors
    errors += [
        field.required(_SERVICE.child(key)) for key in ("namespace", "name") if not service.get(key)
    ]
    port = parts.number(service, "port")
    if problems := formats.is_valid_port_num(port):
        detail = f"port is not valid: {', '.join(problems)}"
        errors.append(field.invalid(_SERVICE.child("port"), port, detail))
    if insecure and bundle:
        errors.append(field.invalid(skip, insecure, "may not be true if caBundle is present"))
    return errors


def _size(text: str) -> int:
    try:
        return len(base64.b64decode(text))
    except binascii.Error:
        return 0


class APIServiceStatusStrategy(StatusOnly):
    """`/apiservices/{name}/status`."""

    allow_unconditional_update = False
    reset_fields = (("spec",), ("metadata",))

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec and metadata."""
        obj = super().prepare_for_update(ctx, obj, old)
        return keeping_metadata(obj, old, "labels", "annotations", "finalizers", "ownerReferences")

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateAPIServiceStatus`."""
        del old
        errors: ErrorList = []
        for position, condition in enumerate(parts.structs(parts.status(obj), "conditions")):
            status = parts.text(condition, "status")
            if status not in STATUSES:
                where = STATUS.child("conditions").index(position).child("status")
                errors.append(field.not_supported(where, status, STATUSES))
        return errors


_COLUMNS = (
    Column(
        "Name",
        format="name",
        description=(
            "Name must be unique within a namespace. Is required when creating resources, although "
            "some resources may allow a client to request the generation of an appropriate name "
            "automatically. Name is primarily intended for creation idempotence and configuration "
            "definition. Cannot be updated. More info: "
            "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
        ),
    ),
    Column("Service", description="The reference to the service that hosts this API endpoint."),
    Column("Available", description="Whether this service is available."),
    Column(
        "Age",
        description=(
            "CreationTimestamp is a timestamp representing the server time when this object was "
            "created. It is not guaranteed to be set in happens-before order across separate "
            "operations. Clients may not set this value. It is represented in RFC3339 form and is "
            "in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: "
            "https://git.k8s.io/community/contributors/devel/sig-architecture/"
            "api-conventions.md#metadata"
        ),
    ),
)


def _row(obj: Object, now_ns: int) -> list[Any]:
    service: Object | None = parts.spec(obj).get("service")
    shown = "Local"
    if service is not None:
        shown = f"{parts.text(service, 'namespace')}/{parts.text(service, 'name')}"
    available = "Unknown"
    for condition in parts.structs(parts.status(obj), "conditions"):
        if condition.get("type") == "Available":
            available = parts.text(condition, "status")
            reason = parts.text(condition, "reason")
            if available != "True" and reason:
                available = f"{available} ({reason})"
            break
    return [obj["metadata"]["name"], shown, available, age(obj, now_ns)]


KIND = Kind(
    strategy=APIServiceStrategy(),
    status=APIServiceStatusStrategy(),
    printer=Printer(_COLUMNS, _row),
)
