"""The OpenAPI documents of custom resources: `kubectl explain` and typed clients read them.

A version's schema is published with the metadata of any object.  The paths of a resource are like
those of any other: they are made from the ones of Deployments, which have all that a custom
resource can have.

Follows `apiextensions-apiserver/pkg/controller/openapi/builder/builder.go` and
`pkg/controller/openapi/v2/conversion.go`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.data import openapi as documents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.registry.rest import Resource

Document = dict[str, Any]

_STATE = "apiextensions-openapi"
_TEMPLATE = "apis/apps/v1"
_MODEL = "io.k8s.api.apps.v1.Deployment"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_MEDIA = ("application/json", "application/yaml")
_NOT_TAKEN = ("application/strategic-merge-patch+json", "application/apply-patch+cbor")
_CONVENTIONS = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"

_API_VERSION = (
    "APIVersion defines the versioned schema of this representation of an object. Servers should "
    "convert recognized schemas to the latest internal value, and may reject unrecognized values. "
    f"More info: {_CONVENTIONS}#resources"
)
_KIND = (
    "Kind is a string value representing the REST resource this object represents. Servers may "
    "infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. "
    f"More info: {_CONVENTIONS}#types-kinds"
)
_METADATA = f"Standard object's metadata. More info: {_CONVENTIONS}#metadata"
_LIST_METADATA = f"Standard list metadata. More info: {_CONVENTIONS}#types-kinds"
_EMBEDDED_API_VERSION = (
    "apiVersion defines the versioned schema of this representation of an object. More info: "
    f"{_CONVENTIONS}#resources"
)
_EMBEDDED_KIND = (
    "kind is a string value representing the type of this object. In CamelCase. More info: "
    f"{_CONVENTIONS}#types-kinds"
)


def v3_documents(server: APIServer) -> dict[str, bytes]:
    """The documents of all groups and versions that have custom resources, by path."""
    return _kept(server, "v3", _build_v3)


def v2_document(server: APIServer) -> bytes | None:
    """The one document of version 2, with custom resources; None where there are none."""
    return _kept(server, "v2", _build_v2)


def _kept(server: APIServer, which: str, build: Any) -> Any:
    """What `build` makes of the catalog as it is now; made once."""
    kept: dict[str, Any] = server.state.setdefault(_STATE, {})
    generation = server.catalog.generation
    if kept.get("generation") != generation:
        kept.clear()
        kept["generation"] = generation
    if which not in kept:
        kept[which] = build(server)
    return kept[which]


def _build_v3(server: APIServer) -> dict[str, bytes]:
    template = documents.openapi_v3_document(server.catalog.version, _TEMPLATE)
    assert template is not None
    found: dict[str, Document] = {}
    for resource in server.catalog.custom():
        document = found.setdefault(
            f"apis/{resource.api_version}",
            {
                "openapi": "3.0.0",
                "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"},
                "paths": {},
                "components": {"schemas": {}},
            },
        )
        document["paths"] |= _paths(template["paths"], resource)
        schemas = document["components"]["schemas"]
        schemas |= _models(resource, v2=False)
        shared = template["components"]["schemas"]
        _add_referenced(document["paths"], schemas, shared)
        _add_referenced(dict(schemas), schemas, shared)
    return {path: _encoded(document) for path, document in found.items()}


def _build_v2(server: APIServer) -> bytes | None:
    custom = server.catalog.custom()
    if not custom:
        return None
    built_in = documents.openapi_v2(server.catalog.version)
    alone = not server.catalog.built_in
    paths: Document = {} if alone else dict(built_in["paths"])
    definitions: Document = {} if alone else dict(built_in["definitions"])
    for resource in custom:
        paths |= _paths(built_in["paths"], resource)
        definitions |= _models(resource, v2=True)
    if alone:
        _add_referenced(paths, definitions, built_in["definitions"])
        _add_referenced(dict(definitions), definitions, built_in["definitions"])
    return _encoded({**built_in, "paths": paths, "definitions": definitions})


def _encoded(document: Document) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _add_referenced(holder: Any, schemas: Document, shared: Document) -> None:
    for name in _references(holder):
        if name in shared and name not in schemas:
            schemas[name] = shared[name]
            _add_referenced(shared[name], schemas, shared)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in cast("Document", value).items():
            if key == "$ref" and isinstance(each, str):
                yield each.rpartition("/")[2]
            else:
                yield from _references(each)
    elif isinstance(value, list):
        for each in cast("list[Any]", value):
            yield from _references(each)


# -- models ----------------------------------------------------------------------------------------


def model_name(resource: Resource, kind: str) -> str:
    """`com.example.v1.Database`."""
    group = ".".join(reversed(resource.group.split(".")))
    return f"{group}.{resource.version}.{kind}"


def _models(resource: Resource, *, v2: bool) -> Document:
    prefix = "#/definitions/" if v2 else "#/components/schemas/"
    name = model_name(resource, resource.kind)
    listed: Document = {
        "type": "object",
        "description": f"{resource.list_kind} is a list of {resource.kind}",
        "required": ["items"],
        "properties": {
            **_type_meta(_API_VERSION, _KIND),
            "items": {
                "type": "array",
                "description": f"List of {resource.plural}. More info: {_CONVENTIONS}",
                "items": {"$ref": prefix + name},
            },
            "metadata": _reference(prefix, "ListMeta", _LIST_METADATA, v2=v2),
        },
        "x-kubernetes-group-version-kind": [_kind(resource, resource.list_kind)],
    }
    model = _model(resource, prefix, v2=v2)
    return {name: model, model_name(resource, resource.list_kind): listed}


def _kind(resource: Resource, kind: str) -> Document:
    return {"group": resource.group, "kind": kind, "version": resource.version}


def _type_meta(api_version: str, kind: str) -> Document:
    return {
        "apiVersion": {"type": "string", "description": api_version},
        "kind": {"type": "string", "description": kind},
    }


def _reference(prefix: str, name: str, description: str, *, v2: bool) -> Document:
    reference = {"$ref": f"{prefix}{_META}{name}"}
    if v2:
        return {"description": description, **reference}
    return {"description": description, "allOf": [reference]}


def _model(resource: Resource, prefix: str, *, v2: bool) -> Document:
    source = resource.schema.source if resource.schema is not None else None
    extension = {"x-kubernetes-group-version-kind": [_kind(resource, resource.kind)]}
    if source is None or (v2 and source.get("x-kubernetes-preserve-unknown-fields")):
        return {"type": "object", **extension}
    node = _published(dict(source), prefix, v2=v2)
    properties: Document = {
        **(node.get("properties") or {}),
        **_type_meta(_API_VERSION, _KIND),
        "metadata": _reference(prefix, "ObjectMeta", _METADATA, v2=v2),
    }
    return {**node, "properties": properties, **extension}


_JUNCTORS = ("allOf", "anyOf", "oneOf", "not")


def _published(source: Document, prefix: str, *, v2: bool) -> Document:
    """A schema as it is published, and all below it."""
    node = dict(source)
    if node.get("x-kubernetes-int-or-string") and not v2 and "anyOf" not in node:
        node["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    keeps = bool(node.get("x-kubernetes-preserve-unknown-fields"))
    if v2:
        _strip_for_v2(node, keeps=keeps)
    if "properties" in node:
        node["properties"] = {
            name: _published(below, prefix, v2=v2) for name, below in node["properties"].items()
        }
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            node[key] = _published(node[key], prefix, v2=v2)
    if node.get("x-kubernetes-embedded-resource") and not (v2 and keeps):
        node["properties"] = {
            **(node.get("properties") or {}),
            **_type_meta(_EMBEDDED_API_VERSION, _EMBEDDED_KIND),
            "metadata": _reference(prefix, "ObjectMeta", _METADATA, v2=v2),
        }
        required: list[str] = list(node.get("required") or ())
        node["required"] = [*required, *(k for k in ("kind", "apiVersion") if k not in required)]
    return node


def _strip_for_v2(node: Document, *, keeps: bool) -> None:
    """Take out of a node (a copy) what version 2 cannot say, or what kubectl cannot cope with."""
    for key in _JUNCTORS:
        node.pop(key, None)
    if node.get("nullable") or keeps:
        for key in ("items", "properties"):
            node.pop(key, None)
    if node.pop("nullable", None):
        node.pop("type", None)
    if node.get("type") == "array" and "items" not in node:
        del node["type"]
    if keeps and node.get("type") == "object":
        del node["type"]
    properties: Document = node.get("properties") or {}
    nullable = {name for name, below in properties.items() if below.get("nullable")}
    if nullable and node.get("required"):
        node["required"] = [name for name in node["required"] if name not in nullable]
    if "required" in node and not node["required"]:
        del node["required"]


# -- paths -----------------------------------------------------------------------------------------


def _paths(template: Document, resource: Resource) -> Document:
    collection = "/apis/apps/v1/namespaces/{namespace}/deployments"
    wanted = [collection, f"{collection}/{{name}}"]
    wanted += [f"{collection}/{{name}}/{name}" for name in resource.subresources]
    if resource.namespaced:
        wanted.insert(0, "/apis/apps/v1/deployments")
    shaped = _Shaped(resource)
    return {shaped.path(path): shaped.value(template[path]) for path in wanted}


def _operation_name(text: str) -> str:
    """`ToValidOperationID`: `example.com` as `ExampleCom`."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", text))


class _Shaped:
    """Turns what is published of Deployments into what is published of a custom resource."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource
        group = resource.group.removesuffix(".k8s.io")
        self._group = _operation_name(group)
        self._version = _operation_name(resource.version)
        self._tag = f"{self._group[:1].lower()}{self._group[1:]}_{resource.version}"
        self._model = model_name(resource, resource.kind)
        self._list_model = model_name(resource, resource.list_kind)

    def path(self, path: str) -> str:
        """The path of the resource for one of Deployments."""
        found = path.replace("/apis/apps/v1", f"/apis/{self._resource.api_version}")
        found = found.replace("/deployments", f"/{self._resource.plural}")
        return found if self._resource.namespaced else found.replace("/namespaces/{namespace}", "")

    def value(self, value: Any) -> Any:
        """A part of a document."""
        if isinstance(value, dict):
            return self._map(cast("Document", value))
        if isinstance(value, list):
            return [
                self.value(each)
                for each in cast("list[Any]", value)
                if not self._is_namespace(each) and each not in _NOT_TAKEN
            ]
        return self._text(value) if isinstance(value, str) else value

    def _map(self, fields: Document) -> Document:
        found: Document = {}
        for key, each in fields.items():
            if key in ("consumes", "produces"):
                found[key] = [media for media in each if self._speaks(media)]
            elif key == "content":
                found[key] = {m: self.value(e) for m, e in each.items() if self._speaks(m)}
            elif key == "operationId":
                found[key] = self._operation(each)
            elif key == "tags":
                found[key] = [self._tag]
            elif key == "x-kubernetes-group-version-kind" and isinstance(each, dict):
                found[key] = _kind(self._resource, self._resource.kind)
            else:
                found[key] = self.value(each)
        return found

    @staticmethod
    def _speaks(media: str) -> bool:
        return media == "*/*" or media in _MEDIA or ("patch" in media and media not in _NOT_TAKEN)

    def _is_namespace(self, value: Any) -> bool:
        """Whether a parameter is of no use to a resource of the cluster."""
        if self._resource.namespaced or not isinstance(value, dict):
            return False
        fields = cast("Document", value)
        return fields.get("name") == "namespace" or "/namespace-" in str(fields.get("$ref"))

    def _operation(self, text: str) -> str:
        found = text.replace("AppsV1", f"{self._group}{self._version}")
        found = found.replace("Deployment", self._resource.kind)
        return found if self._resource.namespaced else found.replace("Namespaced", "")

    def _text(self, text: str) -> str:
        if _MODEL in text:
            if text.endswith(f"{_MODEL}List"):
                return text.replace(f"{_MODEL}List", self._list_model)
            return text.replace(_MODEL, self._model)
        text = text.replace("list or watch objects of kind", "list objects of kind")
        return re.sub(r"\bDeployment\b", self._resource.kind, text)
