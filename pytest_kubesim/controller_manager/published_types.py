"""The types of objects as their published schemas say it, for the checking of expressions.

The law: a schema has no references left in it; one that would stand inside of itself is an object
of which nothing is known there.  The schemas of built-in kinds are part of the program, those of
others are asked of the server.

Follows `apiserver/pkg/cel/openapi/resolver`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from pytest_kubesim.apimachinery.cel.declared import Declared, declare
from pytest_kubesim.data import openapi

if TYPE_CHECKING:
    from pytest_kubesim.client_go.rest import RESTClient

Schema: TypeAlias = Mapping[str, Any]
GroupVersionKind: TypeAlias = tuple[str, str, str]

_OF_KINDS = "x-kubernetes-group-version-kind"
_PREFIX = "#/components/schemas/"
_UNKNOWN: Schema = {"type": "object"}


async def type_of(client: RESTClient, version: str, gvk: GroupVersionKind) -> Declared | None:
    """The type of a kind's objects; None if no schema of it is published.

    Raises what the server refuses: a group that it does not serve is not found.
    """
    found = _built_in(version, gvk)
    if found is not None:
        return found
    return _declared(await client.raw("GET", f"/openapi/v3/{_path_of(gvk)}"), gvk)


@functools.lru_cache(64)
def _built_in(version: str, gvk: GroupVersionKind) -> Declared | None:
    document = openapi.openapi_v3_document(version, _path_of(gvk))
    return None if document is None else _declared(document, gvk)


def _path_of(gvk: GroupVersionKind) -> str:
    group, version, _kind = gvk
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _declared(document: Schema, gvk: GroupVersionKind) -> Declared | None:
    group, version, kind = gvk
    wanted = {"group": group, "version": version, "kind": kind}
    schemas: Mapping[str, Schema] = document["components"]["schemas"]
    for name, schema in schemas.items():
        if wanted in (schema.get(_OF_KINDS) or ()):
            return declare(_resolved(schemas, schema, {name}), kind, is_root=True)
    return None


def _resolved(schemas: Mapping[str, Schema], schema: Schema, inside: set[str]) -> Schema:
    """The schema without references; `inside` are those that it is part of."""
    name = _reference(schema)
    if name in inside:
        return _UNKNOWN
    if not name:
        return _filled(schemas, schema, inside)
    return _filled(schemas, schemas[name], inside | {name})


def _filled(schemas: Mapping[str, Schema], schema: Schema, inside: set[str]) -> Schema:
    made = dict(schema)
    if schema.get("format") == "int-or-string":
        made["x-kubernetes-int-or-string"] = True
    for key in ("items", "additionalProperties"):
        below = schema.get(key)
        if isinstance(below, dict):
            made[key] = _resolved(schemas, cast("Schema", below), inside)
    properties: Mapping[str, Schema] | None = schema.get("properties")
    if properties:
        made["properties"] = {
            name: _resolved(schemas, below, inside) for name, below in properties.items()
        }
    return made


def _reference(schema: Schema) -> str:
    """What a schema refers to; a list of one is how a reference gets a description."""
    reference: str = schema.get("$ref") or ""
    if reference:
        return reference.removeprefix(_PREFIX)
    wrapped: list[Schema] = schema.get("allOf") or []
    return next((found for below in wrapped if (found := _reference(below))), "")
