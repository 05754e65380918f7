"""IngressClasses.

Follows `pkg/registry/networking/ingressclass/strategy.go`, `pkg/apis/networking/v1/defaults.go`
and `pkg/apis/networking/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, FieldError, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.columns import NONE, age, printer
from pytest_kubesim.registry.networking.references import api_group, missing, segment
from pytest_kubesim.registry.rest import Context, Kind
from pytest_kubesim.registry.strategies import (
    SPEC,
    Plain,
    annotations_of,
    raised,
    semantically_equal,
    with_generation,
)

DEFAULT_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
MAX_CONTROLLER_BYTES = 250
SCOPES = ("Cluster", "Namespace")


class IngressClassStrategy(Plain):
    """`/ingressclasses`."""

    def default(self, obj: Object) -> Object:
        """`SetDefaults_IngressClass`."""
        spec = parts.spec(obj)
        parameters: Object | None = spec.get("parameters")
        if parameters is None or parameters.get("scope") is not None:
            return obj
        return {**obj, "spec": {**spec, "parameters": {**parameters, "scope": "Cluster"}}}

    def prepare_for_create(self, ctx: Context, obj: Object) -> Object:
        """At generation 1."""
        del ctx
        return with_generation(obj, 1)

    def prepare_for_update(self, ctx: Context, obj: Object, old: Object) -> Object:
        """A generation further if the spec has changed."""
        del ctx
        if semantically_equal(obj.get("spec"), old.get("spec")):
            return obj
        return raised(obj, old)

    def check(self, obj: Object, old: Object | None) -> list[FieldError]:
        """`ValidateIngressClass`."""
        spec = parts.spec(obj)
        where = SPEC.child("controller")
        controller = parts.text(spec, "controller")
        errors: ErrorList = []
        if old is not None:
            before = parts.text(parts.spec(old), "controller")
            errors += field.validate_immutable_field(controller, before, where)
        if len(controller.encode()) > MAX_CONTROLLER_BYTES:
            errors.append(field.too_long(where, MAX_CONTROLLER_BYTES))
        errors += field.validate_domain_prefixed_path(where, controller)
        parameters: Object | None = spec.get("parameters")
        if parameters is None:
            return errors
        path = SPEC.child("parameters")
        return errors + _parameters(parameters, path) + missing(parameters, path, "kind", "name")


def _parameters(parameters: Object, path: Path) -> ErrorList:
    errors = api_group(parameters, path)
    errors += segment(parameters, "kind", path) + segment(parameters, "name", path)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    where = path.child("namespace")
    if scope is None:
        errors.append(field.required(path.child("scope")))
    elif scope not in SCOPES:
        errors.append(field.not_supported(path.child("scope"), scope, SCOPES))
    elif scope == "Cluster":
        if namespace is not None:
            errors.append(field.forbidden(where, "`parameters.scope` is set to 'Cluster'"))
    elif namespace is None:
        errors.append(field.required(where, "`parameters.scope` is set to 'Namespace'"))
    else:
        errors += field.invalid_each(where, namespace, formats.name_is_dns_label(namespace))
    return errors


def _row(obj: Object, now_ns: int) -> list[Any]:
    spec = parts.spec(obj)
    name: str = obj["metadata"]["name"]
    if annotations_of(obj).get(DEFAULT_ANNOTATION) == "true":
        name += " (default)"
    parameters: Object | None = spec.get("parameters")
    shown = NONE
    if parameters is not None:
        group = parameters.get("apiGroup")
        kind = parts.text(parameters, "kind")
        shown = f"{kind if group is None else f'{kind}.{group}'}/{parameters.get('name') or ''}"
    return [name, parts.text(spec, "controller"), shown, age(obj, now_ns)]


KIND = Kind(strategy=IngressClassStrategy(), printer=printer("IngressClass", _row))
