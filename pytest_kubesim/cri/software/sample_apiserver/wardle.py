"""Flunders and fischers: the kinds of `wardle.example.com`.

The law: `v1beta1` has the shape of the internal version, and so the others are converted from and
to it.  Whoever reads the first time makes the structs known.

Follows `pkg/apis/wardle` and `pkg/registry/wardle` of `k8s.io/sample-apiserver@v0.37.2`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import formats, status
from pytest_kubesim.apimachinery import schema as schemas
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.registry.rest import Conversion, Resource, Strategy

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.validation import FieldError
    from pytest_kubesim.registry.rest import Context

GROUP, ALPHA, BETA = "wardle.example.com", "v1alpha1", "v1beta1"
PREFIX = f"/registry/{GROUP}/{GROUP}"
"""Where etcd keeps them: the server's own prefix, and in it the group's."""
FLUNDERS, FISCHERS = GroupResource(GROUP, "flunders"), GroupResource(GROUP, "fischers")
FLUNDER, FISCHER = "Flunder", "Fischer"
_FIELD_OF = {FLUNDER: "flunderReference", FISCHER: "fischerReference"}
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_MODELS = "io.k8s.sample-apiserver.pkg.apis.wardle"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_TYPE_META = {key: ["string", {"e": ["TypeMeta"]}] for key in ("kind", "apiVersion")}
_EXAMPLE = "is an example type with a spec and a status."

_TEXTS: Mapping[str, Mapping[str, str]] = {
    ALPHA: {
        "reference": "A name of another flunder or fischer, depending on the reference type.",
        "referenceType": 'The reference type, defaults to "Flunder" if reference is set.',
    },
    BETA: {
        "flunderReference": (
            "A name of another flunder, mutually exclusive to the FischerReference."
        ),
        "fischerReference": "A name of a fischer, mutually exclusive to the FlunderReference.",
        "referenceType": "The reference type.",
    },
}
_BANNED = "DisallowedFlunders holds a list of Flunder.Names that are disallowed."


def _define() -> None:
    structs: dict[str, Any] = {
        f"{_MODELS}.{ALPHA}.Fischer": {
            "g": [[GROUP, ALPHA, FISCHER]],
            "p": {
                **_TYPE_META, "metadata": [_META],
                "disallowedFlunders": ["[]string", {"l": "atomic"}],
            },
        },
    }
    for version, texts in _TEXTS.items():
        kind = f"{version}.ReferenceType=string"
        kind = f"*{kind}" if version == ALPHA else kind
        structs[f"{_MODELS}.{version}.FlunderStatus"] = {"p": {}}
        structs[f"{_MODELS}.{version}.FlunderSpec"] = {"p": {
            key: [kind if key == "referenceType" else "string"] for key in texts
        }}
        structs[f"{_MODELS}.{version}.Flunder"] = {
            "g": [[GROUP, version, FLUNDER]],
            "p": {
                **_TYPE_META, "metadata": [_META], "spec": [f"{_MODELS}.{version}.FlunderSpec"],
                "status": [f"{_MODELS}.{version}.FlunderStatus"],
            },
        }
    schemas.define(structs)


_define()


class FischerStrategy(Strategy):
    """`/fischers`."""

    allow_unconditional_update = False

    def validate_name(self, name: str, prefix: bool) -> list[str]:
        """Names need only fit into a path."""
        return formats.is_valid_path_segment_name(name, prefix=prefix)


class FlunderStrategy(FischerStrategy):
    """`/flunders` of a version; objects are validated in the shape of v1beta1."""

    def __init__(self, version: str) -> None:
        self._version = version

    def default(self, obj: Object) -> Object:
        """`SetDefaults_FlunderSpec`, in v1alpha1 alone."""
        spec: Object = obj.get("spec") or {}
        if self._version == BETA or spec.get("referenceType") or not spec.get("reference"):
            return obj
        return {**obj, "spec": {**spec, "referenceType": FLUNDER}}

    def validate(self, ctx: Context, obj: Object) -> list[FieldError]:
        """`ValidateFlunder`; changes are not validated."""
        del ctx
        path = field.Path("spec")
        spec: Object = obj.get("spec") or {}
        flunder: str = spec.get("flunderReference") or ""
        fischer: str = spec.get("fischerReference") or ""
        kind: str = spec.get("referenceType") or ""
        problem: tuple[str, str, str] | None = None
        if flunder and fischer:
            problem = (
                "fischerReference", fischer, "cannot be set with flunderReference at the same time"
            )
        elif flunder and kind != FLUNDER:
            problem = "flunderReference", flunder, "cannot be set if referenceType is not Flunder"
        elif fischer and kind != FISCHER:
            problem = "fischerReference", fischer, "cannot be set if referenceType is not Fischer"
        elif not fischer and kind == FISCHER:
            problem = "fischerReference", fischer, "cannot be empty if referenceType is Fischer"
        elif not flunder and kind == FLUNDER:
            problem = "flunderReference", flunder, "cannot be empty if referenceType is Flunder"
        errors = [] if problem is None else [
            field.invalid(path.child(problem[0]), problem[1], problem[2])
        ]
        if kind not in ("", FISCHER, FLUNDER):
            errors.append(
                field.invalid(path.child("referenceType"), kind, "must be Flunder or Fischer")
            )
        return errors


def _from_alpha(obj: Object) -> Object:
    """What was written as v1alpha1; a reference of a type that is none is lost."""
    spec: Object = obj.get("spec") or {}
    kind: str = spec.get("referenceType") or ""
    made: Object = {}
    if kind in _FIELD_OF:
        reference: str = spec.get("reference") or ""
        made = {_FIELD_OF[kind]: reference} if reference else {}
        made["referenceType"] = kind
    return {**obj, "apiVersion": f"{GROUP}/{BETA}", "spec": made}


def _to_alpha(obj: Object) -> Object:
    spec: Object = obj.get("spec") or {}
    kind: str = spec.get("referenceType") or ""
    made: Object = {}
    if kind in _FIELD_OF:
        reference: str = spec.get(_FIELD_OF[kind]) or ""
        made = {"reference": reference} if reference else {}
        made["referenceType"] = kind
    return {**obj, "apiVersion": f"{GROUP}/{ALPHA}", "spec": made}


def _published(kind: str, version: str) -> Object:
    """What the OpenAPI documents say of a kind."""
    if kind == FISCHER:
        items = {"type": "array", "items": {"type": "string"}, "description": _BANNED}
        properties: Object = {"disallowedFlunders": {**items, "x-kubernetes-list-type": "atomic"}}
        return {"type": "object", "properties": properties}
    spec = {key: {"type": "string", "description": text} for key, text in _TEXTS[version].items()}
    return {
        "type": "object",
        "description": f"Flunder {_EXAMPLE}",
        "properties": {
            "spec": {
                "type": "object", "properties": spec,
                "description": "FlunderSpec is the specification of a Flunder.",
            },
            "status": {
                "type": "object", "description": "FlunderStatus is the status of a Flunder.",
            },
        },
    }


def _resource(
    kind: str, version: str, strategy: Strategy, conversion: Conversion | None
) -> Resource:
    plural = f"{kind.lower()}s"
    struct = schemas.schema_named(f"{_MODELS}.{version}.{kind}")
    stored = ALPHA if kind == FISCHER else BETA
    return Resource(
        group=GROUP,
        version=version,
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        namespaced=kind == FLUNDER,
        verbs=_VERBS,
        schema=attrs.evolve(struct, source=_published(kind, version)),
        strategy=strategy,
        list_kind=f"{kind}List",
        storage_prefix=f"{PREFIX}/{plural}",
        storage_version=f"{GROUP}/{stored}",
        conversion=conversion,
    )


RESOURCES = (
    _resource(FLUNDER, BETA, FlunderStrategy(BETA), None),
    _resource(FLUNDER, ALPHA, FlunderStrategy(ALPHA), Conversion(_from_alpha, _to_alpha)),
    _resource(FISCHER, ALPHA, FischerStrategy(), None),
)

Listed = Callable[[GroupResource], Iterable["Object"]]
"""Gives all objects of a resource."""


def ban(listed: Listed, resource: GroupResource, name: str) -> None:
    """`BanFlunder`: no flunder is created that a fischer disallows.  Raises: `APIStatus`."""
    if resource != FLUNDERS:
        return
    for fischer in listed(FISCHERS):
        if name in (fischer.get("disallowedFlunders") or ()):
            problem = "this name may not be used, please change the resource name"
            raise status.new_forbidden(resource, name, problem)
