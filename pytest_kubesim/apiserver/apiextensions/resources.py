"""What a definition makes the API server serve: a `Resource` for each of its versions.

The law: a resource is a function of the definition; one that has not changed gives resources that
are equal in all they do.

Follows `getOrCreateServingInfoFor` of `apiextensions-apiserver/pkg/apiserver/
customresource_handler.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.meta import GroupVersionKind, Object, get_path
from pytest_kubesim.apimachinery.schema import Schema, from_structural
from pytest_kubesim.apiserver.apiextensions import printing
from pytest_kubesim.apiserver.apiextensions.coercion import Schemas, coerce
from pytest_kubesim.apiserver.apiextensions.conditions import TERMINATING, is_true, storage_version
from pytest_kubesim.apiserver.apiextensions.numbers import whole_numbers
from pytest_kubesim.apiserver.apiextensions.strategy import CustomStatusStrategy, CustomStrategy
from pytest_kubesim.apiserver.storage.errors import plain
from pytest_kubesim.registry.generic import version_priority
from pytest_kubesim.registry.rest import Resource, Scale, Subresource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_kubesim.apiserver.apiextensions.conversion import Convert

VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
TERMINATING_VERBS = ("delete", "deletecollection", "get", "list", "watch")
_SUBRESOURCE_VERBS = ("get", "patch", "update")
_SCALE = GroupVersionKind("autoscaling", "v1", "Scale")


def schemas_of(crd: Object) -> Schemas:
    """The structural schemas of all versions of a definition."""
    spec: Object = crd["spec"]
    return Schemas(
        spec["group"],
        crd["status"]["acceptedNames"]["kind"],
        {version["name"]: _schema(version) for version in spec["versions"]},
        preserve_unknown=bool(spec.get("preserveUnknownFields")),
    )


def _schema(version: Object) -> Schema | None:
    source: Object | None = get_path(version, "schema", "openAPIV3Schema")
    return None if source is None else from_structural(source)


def resources_of(crd: Object, schemas: Schemas, convert: Convert) -> list[Resource]:
    """The resources of the versions that are served or stored, in the order of the definition."""
    return [
        _resource(crd, version, schemas, convert)
        for version in crd["spec"]["versions"]
        if version["served"] or version["storage"]
    ]


def _resource(crd: Object, version: Object, schemas: Schemas, convert: Convert) -> Resource:
    spec: Object = crd["spec"]
    names: Object = crd["status"]["acceptedNames"]
    group: str = spec["group"]
    gvk = GroupVersionKind(group, version["name"], names["kind"])
    below: Object = version.get("subresources") or {}
    scale = _scale(below["scale"]) if below.get("scale") is not None else None
    subresources: dict[str, Subresource] = {}
    if below.get("status") is not None:
        subresources["status"] = Subresource("status", gvk, _SUBRESOURCE_VERBS)
    if scale is not None:
        subresources["scale"] = Subresource("scale", _SCALE, _SUBRESOURCE_VERBS)
    strategy = CustomStrategy(
        gvk,
        schemas,
        namespaced=spec["scope"] == "Namespaced",
        has_status="status" in subresources,
        scale=below.get("scale"),
        selectable_fields=version.get("selectableFields") or [],
    )
    stored = f"{group}/{storage_version(crd)}"
    decode, encode = codec(convert, gvk.api_version, stored, schemas)
    return Resource(
        group=group,
        version=version["name"],
        kind=names["kind"],
        plural=names["plural"],
        singular=names.get("singular") or "",
        namespaced=spec["scope"] == "Namespaced",
        verbs=TERMINATING_VERBS if is_true(crd, TERMINATING) else VERBS,
        schema=schemas.by_version[version["name"]],
        strategy=strategy,
        list_kind=names.get("listKind") or "",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        status_strategy=CustomStatusStrategy(strategy) if "status" in subresources else None,
        subresources=subresources,
        storage_prefix=f"/registry/{group}/{names['plural']}",
        storage_version=stored,
        printer=printing.printer(version),
        scale=scale,
        custom=True,
        decode_stored=decode,
        encode_stored=encode,
    )


def _path(text: str) -> tuple[str, ...]:
    return tuple(text.removeprefix(".").split("."))


def _scale(scale: Object) -> Scale:
    selector: str = scale.get("labelSelectorPath") or ""
    return Scale(
        spec_replicas=_path(scale["specReplicasPath"]),
        status_replicas=_path(scale["statusReplicasPath"]),
        selector=_path(selector) if selector else None,
        selector_is_string=True,
    )


# -- versions --------------------------------------------------------------------------------------


def codec(
    convert: Convert, served: str, stored: str, schemas: Schemas
) -> tuple[Callable[[Object], Object], Callable[[Object], Object]]:
    """How objects come from etcd into the version served, and back into the one stored.

    Decoding raises `ValueError` for what is in no version of the definition; encoding `APIStatus`.
    """

    def decode(value: Object) -> Object:
        obj, _ = coerce(schemas, value, drop_invalid=True, repair_generation=True)
        obj = schemas.default(obj)
        if obj.get("apiVersion") == served:
            return obj
        return coerce(schemas, convert(obj, served))[0]

    def encode(obj: Object) -> Object:
        obj = whole_numbers(obj)
        if obj.get("apiVersion") == stored:
            return obj
        try:
            return coerce(schemas, convert(obj, stored))[0]
        except ValueError as error:
            raise plain(str(error)) from None

    return decode, encode


# -- deprecation -----------------------------------------------------------------------------------


def deprecation_warnings(crd: Object) -> Mapping[str, str]:
    """By version, what a client is warned of that uses it."""
    found: dict[str, str] = {}
    for version in crd["spec"]["versions"]:
        if version.get("deprecated"):
            text = version.get("deprecationWarning")
            found[version["name"]] = _deprecated(crd, version["name"]) if text is None else text
    return found


def _deprecated(crd: Object, name: str) -> str:
    spec: Object = crd["spec"]
    group, kind = spec["group"], spec["names"]["kind"]
    message = f"{group}/{name} {kind} is deprecated"
    newer = [
        version["name"]
        for version in spec["versions"]
        if version["served"]
        and not version.get("deprecated")
        and version_priority(version["name"]) < version_priority(name)
    ]
    if not newer:
        return message
    return f"{message}; use {group}/{min(newer, key=version_priority)} {kind}"
