"""The shape of objects: one node type for built-in kinds and for custom resources.

``Schema`` says what a value at some place in an object is and how it merges. Nodes of built-in
kinds come from the generated data and know their Go type as well (``go_decoding`` and
``go_encoding`` go by it); nodes of custom resources come from a CRD's structural schema and keep
the original in ``source``.

The law: a node never changes. Children of built-in kinds are made when they are first asked for,
which is how ``JSONSchemaProps`` can contain itself; each is made once.

::

    pod = schema_for("", "v1", "Pod")
    containers = pod.child("spec").child("containers")
    containers.list_type, containers.list_map_keys      # "map", ("name",)
    containers.item().child("ports").list_map_keys      # ("containerPort", "protocol")

Follows ``kube-openapi/pkg/schemaconv`` and ``apiextensions-apiserver/pkg/apiserver/schema``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import attrs

from pytest_kubesim.apimachinery.meta import GroupVersionKind
from pytest_kubesim.data import load

ListType: TypeAlias = Literal["atomic", "set", "map"]
Structural: TypeAlias = Mapping[str, Any]
MapType: TypeAlias = Literal["atomic", "granular"]
GoKind: TypeAlias = Literal[
    "",
    "string",
    "bool",
    "int",
    "float",
    "bytes",
    "slice",
    "map",
    "struct",
    "time",
    "microtime",
    "duration",
    "quantity",
    "intstr",
    "raw",
    "schema_or_array",
    "schema_or_bool",
    "schema_or_strings",
]

_NO_PROPERTIES: Mapping[str, Schema] = {}


@attrs.define(eq=False)
class Go:
    """How Go holds a value: what its decoder accepts, says, and prints."""

    kind: GoKind
    type_name: str
    """As an error shows it, pointers left out: ``int32``, ``v1.PodSpec``, ``[]v1.Container``."""
    pointer: bool = False
    always: bool = False
    """Printed though it is empty: the field has neither ``omitempty`` nor ``omitzero``."""
    omit_zero: bool = False
    embedded: tuple[str, ...] = ()
    """The Go names of the inlined structs between the object and this key."""


_NOT_GO = Go("", "")


@attrs.define(eq=False)
class Schema:
    """What may stand at one place of an object. Treat it as frozen.

    ``type`` is ``"object"``, ``"array"``, ``"string"``, ``"integer"``, ``"number"``, ``"boolean"``
    or empty where anything goes. ``list_type`` and ``map_type`` are None where the source says
    nothing: lists are atomic then, and maps granular.
    """

    type: str = ""
    format: str = ""
    name: str = ""
    """The OpenAPI name of a built-in struct, such as ``io.k8s.api.core.v1.PodSpec``."""
    list_type: ListType | None = None
    list_map_keys: tuple[str, ...] = ()
    map_type: MapType | None = None
    merge_key: str | None = None
    """Of strategic merge patches; ``list_map_keys`` are those of server-side apply."""
    patch_strategy: tuple[str, ...] = ()
    int_or_string: bool = False
    preserve_unknown: bool = False
    embedded_resource: bool = False
    nullable: bool = False
    has_default: bool = False
    default: Any = None
    enum: tuple[Any, ...] = ()
    required: tuple[str, ...] = ()
    gvks: tuple[GroupVersionKind, ...] = ()
    unions: tuple[Any, ...] = ()
    go: Go = _NOT_GO
    source: Mapping[str, Any] | None = None
    """The CRD's own text of this node: validations, bounds, formats, list sizes."""
    _make_properties: Callable[[], Mapping[str, Schema]] | None = attrs.field(
        default=None, alias="make_properties"
    )
    _make_items: Callable[[], Schema] | None = attrs.field(default=None, alias="make_items")
    _make_values: Callable[[], Schema] | None = attrs.field(default=None, alias="make_values")
    _properties: Mapping[str, Schema] | None = attrs.field(default=None, alias="properties")
    _items: Schema | None = attrs.field(default=None, alias="items")
    _values: Schema | None = attrs.field(default=None, alias="values")

    @property
    def gvk(self) -> GroupVersionKind | None:
        """The kind that this schema describes; the first where it is many, as DeleteOptions is."""
        return self.gvks[0] if self.gvks else None

    @property
    def properties(self) -> Mapping[str, Schema]:
        """The declared keys, in the order in which Go writes them."""
        if self._properties is None:
            make = self._make_properties
            self._properties = make() if make else _NO_PROPERTIES
        return self._properties

    @property
    def items(self) -> Schema | None:
        """The schema of a list's elements."""
        if self._items is None and self._make_items:
            self._items = self._make_items()
        return self._items

    @property
    def additional_properties(self) -> Schema | None:
        """The schema of a map's values, for keys that are not declared."""
        if self._values is None and self._make_values:
            self._values = self._make_values()
        return self._values

    def child(self, key: str) -> Schema | None:
        """The schema below a key: a declared one, else that of the map's values, else None."""
        found = self.properties.get(key)
        return found if found is not None else self.additional_properties

    def item(self) -> Schema | None:
        """The schema of a list's elements, or None if this is no list."""
        return self.items

    def __repr__(self) -> str:
        return f"<Schema {self.name or self.go.type_name or self.type or 'anything'}>"


@functools.cache
def schema_for(group: str, version: str, kind: str) -> Schema | None:
    """The schema of a built-in kind, or None.

    ``group`` is empty for the core group; versions that are off by default are found too.
    """
    name = load.schema_name(group, version, kind)
    return None if name is None else schema_named(name)


_DEFINED: dict[str, Mapping[str, Any]] = {}


def define(structs: Mapping[str, Mapping[str, Any]]) -> None:
    """Have structs of other API servers known by their OpenAPI names, as if they were generated.

    ``structs`` have the form of the generated data (``data/go_source.py``); their names begin with
    ``io.k8s.``, and must be defined before anybody asks for them.
    """
    _DEFINED.update(structs)


@functools.cache
def schema_named(name: str) -> Schema:
    """A built-in struct by its OpenAPI name. Raises ``KeyError`` if there is none."""
    if name in _LEAVES:
        return _LEAVES[name]
    entry = _DEFINED.get(name) or load.schemas()[name]
    return Schema(
        type="object",
        name=name,
        map_type=_map_type(entry.get("m")),
        required=tuple(entry.get("r", ())),
        gvks=tuple(GroupVersionKind(*kind) for kind in entry.get("g", ())),
        unions=tuple(entry.get("u", ())),
        go=Go("struct", _type_name(name)),
        make_properties=functools.partial(_fields, entry.get("p", {})),
    )


def from_structural(source: Structural) -> Schema:
    """A CRD's ``openAPIV3Schema`` as nodes; the text is not checked here.

    Follows ``apiextensions-apiserver/pkg/apiserver/schema/convert.go``.
    """
    properties: dict[str, Structural] = source.get("properties") or {}
    items: Structural | list[Any] | None = source.get("items")
    return Schema(
        type=source.get("type", ""),
        format=source.get("format", ""),
        list_type=source.get("x-kubernetes-list-type"),
        list_map_keys=tuple(source.get("x-kubernetes-list-map-keys") or ()),
        map_type=source.get("x-kubernetes-map-type"),
        int_or_string=bool(source.get("x-kubernetes-int-or-string")),
        preserve_unknown=bool(source.get("x-kubernetes-preserve-unknown-fields")),
        embedded_resource=bool(source.get("x-kubernetes-embedded-resource")),
        nullable=bool(source.get("nullable")),
        has_default=source.get("default") is not None,
        default=source.get("default"),
        enum=tuple(source.get("enum") or ()),
        required=tuple(source.get("required") or ()),
        source=source,
        properties={key: from_structural(child) for key, child in properties.items()},
        items=from_structural(items) if isinstance(items, Mapping) else None,
        values=_structural_values(source.get("additionalProperties")),
    )


def _structural_values(values: Structural | bool | None) -> Schema | None:
    if isinstance(values, Mapping):
        return from_structural(values)
    return Schema() if values is True else None


def _fields(entries: Mapping[str, list[Any]]) -> Mapping[str, Schema]:
    return {
        key: _typed(entry[0], entry[1] if len(entry) > 1 else {}) for key, entry in entries.items()
    }


def _typed(go_type: str, facts: Mapping[str, Any]) -> Schema:
    """A node for a Go type in the grammar of ``data/go_source.py``, with the facts of its field."""
    pointer = go_type.startswith("*")
    target = _node(go_type.lstrip("*"))
    go = attrs.evolve(
        target.go,
        pointer=pointer,
        always="o" in facts,
        omit_zero="z" in facts,
        embedded=tuple(facts.get("e", ())),
    )
    return attrs.evolve(
        target,
        go=go,
        list_type=facts.get("l"),
        list_map_keys=tuple(facts.get("k", ())),
        map_type=_map_type(facts.get("m")) or target.map_type,
        merge_key=facts.get("y"),
        patch_strategy=tuple(facts.get("s", ())),
        has_default="d" in facts,
        default=facts.get("d"),
        enum=tuple(facts.get("E", ())),
        **_shared_children(target, tuple(facts.get("I", ()))),
    )


def _shared_children(target: Schema, item_enum: tuple[Any, ...]) -> dict[str, Any]:
    """A field's node takes its children from its type's node, so that each is made once."""
    if target.go.kind == "struct":
        return {"make_properties": lambda: target.properties}
    if item_enum and target.items is not None:
        return {"items": attrs.evolve(target.items, enum=item_enum)}
    if item_enum and target.additional_properties is not None:
        return {"values": attrs.evolve(target.additional_properties, enum=item_enum)}
    return {}


@functools.cache
def _node(go_type: str) -> Schema:
    if go_type.startswith("io.k8s."):
        return schema_named(go_type)
    if go_type == "[]uint8":
        return Schema(type="string", format="byte", go=Go("bytes", "[]uint8"))
    if go_type.startswith("[]"):
        item = go_type[2:]
        return Schema(
            type="array",
            go=Go("slice", _type_name(go_type)),
            make_items=lambda: _typed(item, {}),
        )
    if go_type.startswith("map["):
        value = go_type.partition("]")[2]
        return Schema(
            type="object",
            go=Go("map", _type_name(go_type)),
            make_values=lambda: _typed(value, {}),
        )
    shown, equals, underlying = go_type.partition("=")
    if equals:
        node = _node(underlying)
        return attrs.evolve(node, go=attrs.evolve(node.go, type_name=shown))
    return _SCALARS[go_type]


def _type_name(go_type: str) -> str:
    """``reflect.Type.String``: a package is shown by its last name."""
    if go_type.startswith("*"):
        return "*" + _type_name(go_type[1:])
    if go_type.startswith("[]"):
        return "[]" + _type_name(go_type[2:])
    if go_type.startswith("map["):
        key, _, value = go_type[4:].partition("]")
        return f"map[{key}]{_type_name(value)}"
    if go_type.startswith("io.k8s."):
        return ".".join(go_type.split(".")[-2:])
    return go_type.partition("=")[0]


def _map_type(text: str | None) -> MapType | None:
    assert text in (None, "atomic", "granular"), text
    return text


_SCALARS = {
    "string": Schema(type="string", go=Go("string", "string")),
    "bool": Schema(type="boolean", go=Go("bool", "bool")),
    "int32": Schema(type="integer", format="int32", go=Go("int", "int32")),
    "int64": Schema(type="integer", format="int64", go=Go("int", "int64")),
    "float64": Schema(type="number", format="double", go=Go("float", "float64")),
}

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
PROPS = _EXTENSIONS + "JSONSchemaProps"
"""The schema of schemas: it contains itself, and some of its fields decode themselves."""


def _leaf(name: str, kind: GoKind, **facts: Any) -> tuple[str, Schema]:
    return name, Schema(name=name, go=Go(kind, _type_name(name)), **facts)


_LEAVES: dict[str, Schema] = dict(
    [
        _leaf("io.k8s.apimachinery.pkg.api.resource.Quantity", "quantity", format="quantity"),
        _leaf(_META + "Time", "time", type="string", format="date-time"),
        _leaf(_META + "MicroTime", "microtime", type="string", format="date-time"),
        _leaf(_META + "Duration", "duration", type="string"),
        _leaf(
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
            "intstr",
            format="int-or-string",
            int_or_string=True,
        ),
        _leaf(_META + "FieldsV1", "raw", type="object", preserve_unknown=True),
        _leaf(
            "io.k8s.apimachinery.pkg.runtime.RawExtension",
            "raw",
            type="object",
            preserve_unknown=True,
            map_type="atomic",
        ),
        _leaf(_EXTENSIONS + "JSON", "raw", preserve_unknown=True, map_type="atomic"),
        _leaf(_EXTENSIONS + "JSONSchemaPropsOrArray", "schema_or_array", preserve_unknown=True),
        _leaf(_EXTENSIONS + "JSONSchemaPropsOrBool", "schema_or_bool", preserve_unknown=True),
        _leaf(
            _EXTENSIONS + "JSONSchemaPropsOrStringArray",
            "schema_or_strings",
            preserve_unknown=True,
        ),
    ]
)
