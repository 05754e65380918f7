"""CustomResourceDefinition: the kind that makes kinds.

Follows `apiextensions-apiserver/pkg/registry/customresourcedefinition/{strategy,etcd}.go` and
`pkg/apis/apiextensions/v1/defaults.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery.meta import Object, get_path
from pytest_kubesim.registry.apiextensions import validation, warnings
from pytest_kubesim.registry.columns import CREATED_DESCRIPTION, NAME_DESCRIPTION
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
    validates_metadata = True
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

    def validate(self, ctx: Context, obj: Object) -> list[FieldError]:
        """Names, versions, schemas, and all else that is wrong with it."""
        del ctx
        return validation.validate_definition(obj)

    def validate_update(self, ctx: Context, obj: Object, old: Object) -> list[FieldError]:
        """As for a new one; and what does not change."""
        del ctx
        return validation.validate_definition_update(obj, old)

    def warnings_on_create(self, ctx: Context, obj: Object) -> list[str]:
        """Formats that nobody checks, sets of what is no scalar."""
        del ctx
        return warnings.unrecognized_formats(obj) + warnings.sets_of_non_scalars(obj)

    def warnings_on_update(self, ctx: Context, obj: Object, old: Object) -> list[str]:
        """The same, where the old definition did not have it."""
        before = self.warnings_on_create(ctx, old)
        return [text for text in self.warnings_on_create(ctx, obj) if text not in before]

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
    validates_metadata = True
    reset_fields = (("spec",),)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old spec."""
        del ctx
        # Upstream resets the metadata with its own copy: nothing of it is kept from the old.
        return keeping(obj, old, "spec")

    def validate_update(self, ctx: Context, obj: Object, old: Object) -> list[FieldError]:
        """The metadata, and the names that are accepted."""
        del ctx
        return validation.validate_status_update(obj, old)


def _defaulted_conversion(conversion: Object | None) -> Object:
    if conversion is None:
        return {"strategy": "None"}
    service: Object | None = get_path(conversion, "webhook", "clientConfig", "service")
    if service is None or service.get("port") is not None:
        return conversion
    webhook: Object = conversion["webhook"]
    config: Object = {
        **webhook["clientConfig"],
        "service": {**service, "port": _WEBHOOK_PORT},
    }
    return {**conversion, "webhook": {**webhook, "clientConfig": config}}


def _storage_version(crd: Object) -> str:
    versions: list[Object] = get_path(crd, "spec", "versions") or []
    for version in versions:
        if version.get("storage"):
            return version.get("name") or ""
    return ""


def _row(obj: Object, now_ns: int) -> list[Any]:
    del now_ns
    metadata: Object = obj["metadata"]
    spec: Object = obj["spec"]
    versions: list[Object] = spec.get("versions") or []
    served = [
        f"{version['name']}(storage)" if version.get("storage") else version["name"]
        for version in versions
        if version.get("served")
    ]
    names: Object = spec.get("names") or {}
    conditions: list[Object] = get_path(obj, "status", "conditions") or []
    return [
        metadata.get("name") or "",
        spec.get("scope") or "",
        ",".join(sorted(served)),
        metadata.get("creationTimestamp"),
        spec.get("group") or "",
        names.get("kind") or "",
        ",".join(names.get("shortNames") or ()),
        any(each["type"] == "Established" and each["status"] == "True" for each in conditions),
    ]


_PRINTER = Printer(
    (
        Column("Name", format="name", description=NAME_DESCRIPTION),
        Column("Scope", description="Cluster/Namespaced"),
        Column("Versions", description="Served versions"),
        Column("Created At", "date", description=CREATED_DESCRIPTION),
        Column("Group", description="API group", priority=1),
        Column("Kind", description="CustomResource kind", priority=1),
        Column("ShortNames", description="Short names", priority=1),
        Column("Established", "boolean", description="Established status", priority=1),
    ),
    _row,
)


KIND = Kind(
    strategy=CustomResourceDefinitionStrategy(),
    status=StatusStrategy(),
    printer=_PRINTER,
)
