"""What deserves a warning in the schemas of a definition.

Follows `apiextensions-apiserver/pkg/registry/customresourcedefinition/strategy.go` and
`pkg/apiserver/validation/formats.go`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import get_path
from pytest_kubesim.registry.apiextensions.hoisting import hoisted

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

_STRING_FORMATS = frozenset(
    {
        "bsonobjectid",
        "uri",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "cidr",
        "mac",
        "uuid",
        "uuid3",
        "uuid4",
        "uuid5",
        "isbn",
        "isbn10",
        "isbn13",
        "creditcard",
        "ssn",
        "hexcolor",
        "rgbcolor",
        "byte",
        "password",
        "date",
        "duration",
        "datetime",
        "k8sshortname",
        "k8slongname",
    }
)
_FORMATS = {"integer": ("int32", "int64"), "number": ("float", "double")}


def unrecognized_formats(crd: Object) -> list[str]:
    """A warning for each format that nobody checks."""
    return [
        f"unrecognized format {quote(node['format'])}"
        for node in _nodes(crd)
        if node.get("format") and not _is_known(node.get("type") or "", node["format"])
    ]


def sets_of_non_scalars(crd: Object) -> list[str]:
    """A warning for sets of objects and of lists, sorted."""
    found: set[str] = set()
    for node in _nodes(crd):
        items = node.get("items")
        if node.get("x-kubernetes-list-type") != "set" or not isinstance(items, dict):
            continue
        kind = cast("Object", items).get("type")
        if kind in ("object", "array"):
            found.add(
                f"x-kubernetes-list-type: set for items of type {quote(kind)} is not supported by "
                "server-side apply or CEL validation rules"
            )
    return sorted(found)


def _is_known(type_: str, format_: str) -> bool:
    if type_ in ("", "string"):
        return format_.replace("-", "") in _STRING_FORMATS
    return format_ in _FORMATS.get(type_, ())


def _nodes(crd: Object) -> Iterator[Object]:
    """All schemas in a definition."""
    spec = hoisted(crd["spec"])
    versions: list[Object] = spec.get("versions") or []
    yield from _walk(get_path(spec, "validation", "openAPIV3Schema"))
    for version in versions:
        yield from _walk(get_path(version, "schema", "openAPIV3Schema"))


def _walk(node: Any) -> Iterator[Object]:
    if not isinstance(node, dict):
        return
    schema = cast("Object", node)
    yield schema
    items = schema.get("items")
    below: list[Any] = cast("list[Any]", items) if isinstance(items, list) else [items]
    for each in below:
        yield from _walk(each)
    for key in ("allOf", "anyOf", "oneOf"):
        alternatives: list[Any] = schema.get(key) or []
        for each in alternatives:
            yield from _walk(each)
    yield from _walk(schema.get("not"))
    properties: Object = schema.get("properties") or {}
    for name in sorted(properties):
        yield from _walk(properties[name])
    yield from _walk(schema.get("additionalProperties"))
