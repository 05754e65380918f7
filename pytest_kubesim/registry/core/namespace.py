"""Namespaces.

The law: a namespace carries the finalizer `kubernetes` in its spec, which only `/finalize` takes
away, and a label with its own name.

Follows `pkg/registry/core/namespace/strategy.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats, objectmeta
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry.columns import age, printer
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    EMPTY,
    Plain,
    StatusOnly,
    finalizer_problem,
    keeping,
)

NAME_LABEL = "kubernetes.io/metadata.name"
_FINALIZERS = Path("spec", "finalizers")


def _labelled(obj: Object) -> Object:
    metadata: Object = obj.get("metadata") or {}
    name = metadata.get("name")
    if not name or (metadata.get("labels") or EMPTY).get(NAME_LABEL) == name:
        return obj
    labels: Object = {**(metadata.get("labels") or {}), NAME_LABEL: name}
    return {**obj, "metadata": {**metadata, "labels": labels}}


class NamespaceStrategy(Plain):
    """`/namespaces`."""

    reset_fields = (("status",),)
    selectable = ("metadata.name", "status.phase")

    def default(self, obj: Object) -> Object:
        """The label, and a phase."""
        status: Object = obj.get("status") or {}
        if not status.get("phase"):
            obj = {**obj, "status": {**status, "phase": "Active"}}
        return _labelled(obj)

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """Active, with its finalizer."""
        del ctx
        spec: Object = obj.get("spec") or {}
        finalizers: list[str] = spec.get("finalizers") or []
        if "kubernetes" not in finalizers:
            finalizers = [*finalizers, "kubernetes"]
        return {**obj, "spec": {**spec, "finalizers": finalizers}, "status": {"phase": "Active"}}

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old finalizers and status."""
        del ctx
        return keeping(obj, old, "spec", "status")

    def validate_name(self, name: str, prefix: bool) -> list[str]:
        """A DNS label."""
        return formats.name_is_dns_label(name, prefix=prefix)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """The finalizers of the spec."""
        del old
        return _finalizers(obj, indexed=False)

    def canonicalize(self, obj: Object) -> Object:
        """With the label, also where the name was generated."""
        return _labelled(obj)

    def selectable_fields(self, obj: Object) -> dict[str, str]:
        """The phase."""
        return {"status.phase": (obj.get("status") or EMPTY).get("phase") or ""}


def _finalizers(obj: Object, *, indexed: bool) -> ErrorList:
    errors: ErrorList = []
    for position, name in enumerate((obj.get("spec") or EMPTY).get("finalizers") or ()):
        where = _FINALIZERS.index(position) if indexed else _FINALIZERS
        errors += objectmeta.validate_finalizer_name(name, where) + finalizer_problem(name, where)
    return errors


class NamespaceStatusStrategy(StatusOnly):
    """`/namespaces/{name}/status`."""

    def canonicalize(self, obj: Object) -> Object:
        """With the label."""
        return _labelled(obj)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """The phase goes with the deletion timestamp."""
        del old
        phase = (obj.get("status") or EMPTY).get("phase") or ""
        where = Path("status", "Phase")
        if not obj["metadata"].get("deletionTimestamp"):
            if phase == "Active":
                return []
            detail = "may only be 'Active' if `deletionTimestamp` is empty"
            return [field.invalid(where, phase, detail)]
        if phase == "Terminating":
            return []
        detail = "may only be 'Terminating' if `deletionTimestamp` is not empty"
        return [field.invalid(where, phase, detail)]


class NamespaceFinalizeStrategy(NamespaceStrategy):
    """`/namespaces/{name}/finalize`."""

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """With the old status."""
        del ctx
        return keeping(obj, old, "status")

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """The finalizers of the spec."""
        del old
        return _finalizers(obj, indexed=True)


def _row(obj: Object, now_ns: int) -> list[Any]:
    phase = (obj.get("status") or EMPTY).get("phase") or ""
    return [obj["metadata"]["name"], phase, age(obj, now_ns)]


KIND = Kind(
    strategy=NamespaceStrategy(),
    status=NamespaceStatusStrategy(),
    others={"finalize": NamespaceFinalizeStrategy()},
    printer=printer("Namespace", _row),
)
