"""CustomResourceDefinition: the kind that makes kinds.

Follows `apiextensions-apiserver/pkg/registry/customresourcedefinition/{strategy,etcd}.go` and
`pkg/apis/apiextensions/v1/defaults.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.registry.rest import Column, Context, Kind, Printer, Strategy
from pytest_kubesim.registry.strategies import (
    keeping,
    raised,
    semantically_equal,
    with_generation,
)

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.validation import FieldError

_WEBHOOK_PORT = 443


class CustomResourceDefinitionStrategy(Strategy):
    """The definition itself."""

    allow_unconditional_update = False
    reset_fields = (("status",),)

    def default(self, obj: Object) -> Object:
        """Singular and list names, no conversion, the version that is stored."""
        spec: Object = dict(obj.get("spec") or {})
        names: Object = dict(spec.get("names") or {})
        kind: str = names.get("kind") or ""
        if not names.get("singular"):
            names["singular"] = kind.lower()
        if not names.get("listKind") and kind:
            names["listKind"] = f"{kind}List"
        spec["names"] = names
        spec["conversion"] = _defaulted_conversion(spec.get("conversion"))
        obj = {**obj, "spec": spec}
        status: Object = obj.get("status") or {}
        if not status.get("storedVersions"):
            stored = _storage_version(obj)
            if stored:
                obj["status"] = {**status, "storedVersions": [stored]}
        return obj

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """At generation 1, with nothing in the status but the version that is stored."""
        del ctx
        stored = _storage_version(obj)
        status: Object = {"storedVersions": [stored]} if stored else {}
        return with_generation({**obj, "status": status}, 1)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old status; a new storage version is remembered among those stored."""
        del ctx
        obj = keeping(obj, old, "status")
        if not semantically_equal(obj.get("spec"), old.get("spec")):
            obj = raised(obj, old)
        stored = _storage_version(obj)
        status: Object = obj.get("status") or {}
        versions: list[str] = status.get("storedVersions") or []
        if stored and stored not in versions:
            obj = {**obj, "status": {**status, "storedVersions": [*versions, stored]}}
        return obj


class StatusStrategy(Strategy):
    """`/status`: the spec stays, and of the metadata all but the managed fields."""

    allow_unconditional_update = False
    reset_fields = (("spec",),)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec."""
        del ctx
        # Upstream resets the metadata with its own copy: nothing of it is kept from the old.
        return keeping(obj, old, "spec")


def _defaulted_conversion(conversion: Object | None) -> Object:
    if conversion is None:
        return {"strategy": "None"}
    service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
    if service is None or service.get("port") is not None:
        return conversion
    webhook: Object = conversion["webhook"]
    config: Object = {
        **webhook["clientConfig"],
        "service": {**service, "port": _WEBHOOK_PORT},
    }
    return {**conversion, "webhook": {**webhook, "clientConfig": config}}


def _storage_version(crd: Object) -> str:
    versions: list[Object] = (crd.get("spec") or {}).get("versions") or []
    for version in versions:
        if version.get("storage"):
            return version.get("name") or ""
    return ""


def _row(obj: Object, now_ns: int) -> list[Any]:
    del now_ns
    metadata: Object = obj["metadata"]
    return [metadata.get("name") or "", metadata.get("creationTimestamp")]


KIND = Kind(
    strategy=CustomResourceDefinitionStrategy(),
    status=StatusStrategy(),
)
