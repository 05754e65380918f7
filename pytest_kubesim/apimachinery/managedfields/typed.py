"""What a value may be, seen by structured-merge-diff: scalars, lists and maps that merge.

A ``Type`` says which of the three a value may be (custom resources allow several at once), whether
a list or a map is atomic, which keys name a list's items, and what is declared. ``validate`` says
what is wrong with a value in upstream's words; ``field_set`` says which fields a value mentions.

The law: types are made lazily, each once, and never change; values are only read. A type made for
a custom resource has the metadata, ``apiVersion`` and ``kind`` of every object, declared or not.

Follows ``structured-merge-diff/typed/{helpers,validate,tofieldset}.go`` and
``kube-openapi/pkg/schemaconv``.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, TypeAlias, cast

import attrs

from pytest_kubesim.apimachinery import golang
from pytest_kubesim.apimachinery.fieldpath import LEAF, FieldSet, element_text, in_order
from pytest_kubesim.apimachinery.schema import Schema, schema_named

Scalar: TypeAlias = Literal["numeric", "string", "boolean", "untyped"]

_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_RAW_EXTENSION = "io.k8s.apimachinery.pkg.runtime.RawExtension"


class SchemaMismatch(Exception):
    """Upstream's ``ValidationErrors``: what does not fit the type, path and message each."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        lines = [f"{path}: {message}" if path else message for path, message in problems]
        text = lines[0] if len(lines) == 1 else "\n".join(["errors:", *(f"  {x}" for x in lines)])
        super().__init__(text)


@attrs.define(eq=False)
class Type:
    """One place of an object as merging sees it. Treat it as frozen.

    ``scalar`` is None where no scalar may stand; ``is_list`` and ``is_map`` likewise.
    """

    scalar: Scalar | None = None
    is_list: bool = False
    list_atomic: bool = True
    keys: tuple[str, ...] = ()
    key_defaults: dict[str, Any] = attrs.field(factory=dict[str, Any])
    is_map: bool = False
    map_atomic: bool = False
    is_deduced: bool = False
    """A map of anything, of which upstream knows no fields."""
    schema: Schema | None = None
    custom: bool = False
    preserve: bool = False
    """Unknown fields are kept here and below."""
    is_object: bool = False
    """It has metadata, ``apiVersion`` and ``kind``, declared or not."""
    children: dict[str, Type | None] = attrs.field(factory=dict[str, "Type | None"])
    """The children made so far; ask ``child``."""
    _item: Type | None = None

    def child(self, name: str) -> Type | None:
        """The type of a map's field; None where the field is not declared and none may be."""
        try:
            return self.children[name]
        except KeyError:
            made = self.children[name] = self._make_child(name)
            return made

    def declares(self, name: str) -> bool:
        """Whether the field is declared by name, and not merely allowed."""
        schema = self.schema
        if self.is_object and name in _TYPE_META:
            return True
        return schema is not None and not self.is_deduced and name in schema.properties

    def item(self) -> Type:
        """The type of a list's items."""
        if self._item is None:
            schema = self.schema
            item = schema.item() if schema is not None else None
            if item is None:
                self._item = UNTYPED
            else:
                self._item = _make(item, custom=self.custom, preserve=self.preserve)
        return self._item

    def _make_child(self, name: str) -> Type | None:
        schema = self.schema
        if schema is None:
            return DEDUCED if self.is_deduced else UNTYPED
        if self.is_object and name in _TYPE_META:
            return _metadata_child(name)
        found = schema.properties.get(name)
        if found is None:
            values = schema.additional_properties
            if values is not None:
                found = values
            elif self.preserve or not schema.properties:
                return DEDUCED
            else:
                return None
        return _make(found, custom=self.custom, preserve=self.preserve)


_TYPE_META = frozenset({"apiVersion", "kind", "metadata"})


def _metadata_child(name: str) -> Type:
    return object_meta() if name == "metadata" else Type(scalar="string")


def object_type(schema: Schema | None) -> Type:
    """The type of whole objects with that schema; without one, of objects of any shape."""
    if schema is None:
        return DEDUCED
    if schema.go.kind:
        return _make(schema, custom=False, preserve=False)
    return _make(schema, custom=True, preserve=False, root=True)


def object_meta() -> Type:
    """The type of ``metadata``."""
    return _make(schema_named(_OBJECT_META), custom=False, preserve=False)


def _make(schema: Schema, *, custom: bool, preserve: bool, root: bool = False) -> Type:
    if custom and schema.preserve_unknown:
        preserve = True
    made = Type(schema=schema, custom=custom, preserve=preserve, is_object=root)
    if schema.name == _RAW_EXTENSION:
        return UNTYPED
    if schema.go.kind in ("quantity", "intstr"):
        made.scalar = "untyped"
        return made
    kind = schema.type
    if kind in ("object", ""):
        made.is_map = True
        made.map_atomic = schema.map_type == "atomic" and schema.go.kind != "raw"
        made.is_deduced = not schema.properties and schema.additional_properties is None
        # An embedded resource has the metadata of any object.
        made.is_object = made.is_object or schema.embedded_resource
        if made.is_object:
            made.is_deduced = False
    if kind in ("array", ""):
        made.is_list = True
        _set_list(made, schema)
    if kind == "":
        made.scalar = "untyped"
    elif kind in ("integer", "number"):
        made.scalar = "numeric"
    elif kind == "boolean":
        made.scalar = "boolean"
    elif kind == "string":
        made.scalar = "string" if schema.format in ("", "byte") else "untyped"
    return made


def _set_list(made: Type, schema: Schema) -> None:
    if schema.list_type in ("set", "map"):
        made.list_atomic = False
        made.keys = schema.list_map_keys
    elif schema.list_type is None and "merge" in schema.patch_strategy:
        made.list_atomic = False
        made.keys = (schema.merge_key,) if schema.merge_key else ()
    item = schema.item()
    if made.keys and item is not None:
        for name in made.keys:
            declared = item.properties.get(name)
            if declared is None:
                continue
            if declared.has_default:
                made.key_defaults[name] = declared.default
            elif declared.go.kind in _ZEROS and (declared.go.always or item.name == _REFERENCE):
                # The published schemas give what is always printed its zero value as default.
                made.key_defaults[name] = _ZEROS[declared.go.kind]


_ZEROS: dict[str, Any] = {"string": "", "int": 0}
_REFERENCE = "io.k8s.api.core.v1.LocalObjectReference"
"""Its name may be left out, and yet has an empty default."""


UNTYPED = Type(scalar="untyped", is_list=True, is_map=True, map_atomic=True)
"""``__untyped_atomic_``: anything, and whatever it is, it is one field."""

DEDUCED = Type(scalar="untyped", is_list=True, is_map=True, is_deduced=True)
"""``__untyped_deduced_``: anything; maps are merged by their keys, lists are atomic."""


# -- zero objects ----------------------------------------------------------------------------------


def zero(schema: Schema) -> dict[str, Any]:
    """How an empty object of a built-in kind prints: the fields that Go never leaves out.

    Custom resources have no such fields.
    """
    found: dict[str, Any] = {}
    for name, field in schema.properties.items():
        go = field.go
        if go.pointer or go.kind in ("slice", "map", "bytes", "raw", "intstr", "quantity"):
            if go.always and not (go.kind in ("intstr", "quantity") and not go.pointer):
                found[name] = None
        elif go.kind == "struct":
            if not go.omit_zero:
                found[name] = zero(field)
        elif go.kind in ("time", "microtime"):
            if not go.omit_zero:
                found[name] = None
        elif go.always:
            found[name] = {"string": "", "bool": False}.get(go.kind, 0)
    return found


# -- path elements ---------------------------------------------------------------------------------


def item_element(type_: Type, item: Any) -> str:
    """The path element of an item of an associative list; ``ValueError`` tells why not."""
    if type_.keys:
        if len(type_.keys) == 1 and item.__class__ is dict:
            # Nearly all lists have one key, which is text.
            name = type_.keys[0]
            found = item.get(name)
            if type(found) is str:
                return _named_element(name, found)
        return _keyed_element(type_, item)
    if isinstance(item, str):
        return "v:" + golang.json_string(item)
    if isinstance(item, dict):
        raise ValueError("associative list without keys has an element that's a map type")  # noqa: TRY004 -- malformed JSON
    if isinstance(item, list):
        raise ValueError("not supported: associative list with lists as elements")  # noqa: TRY004 -- malformed JSON
    if item is None:
        raise ValueError("associative list without keys has an element that's an explicit null")
    return "v:" + golang.json_text(item)


@functools.lru_cache(maxsize=8192)
def _named_element(key: str, name: str) -> str:
    return "k:" + golang.json_text({key: name})


def _keyed_element(type_: Type, item: Any) -> str:
    if item is None:
        raise ValueError("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise ValueError("associative list with keys may not have non-map elements")  # noqa: TRY004 -- malformed JSON
    fields = cast("dict[str, Any]", item)
    found: dict[str, Any] = {}
    for name in type_.keys:
        if name in fields:
            found[name] = fields[name]
        elif name in type_.key_defaults:
            found[name] = type_.key_defaults[name]
    if not found:
        keys = "[" + " ".join(map(golang.quote, type_.keys)) + "]"
        raise ValueError(
            f"associative list with keys has an element that omits all key fields {keys} "
            "(and doesn't have default values for any key fields)"
        )
    return "k:" + golang.json_text(found)


# -- validation ------------------------------------------------------------------------------------


def validate(type_: Type, value: Any, *, allow_duplicates: bool = False) -> None:
    """Raises ``SchemaMismatch`` if the value does not fit the type."""
    problems: list[tuple[str, str]] = []
    _validate(type_, value, (), allow_duplicates, problems)
    if problems:
        raise SchemaMismatch(problems)


_Trail: TypeAlias = tuple[Any, ...]


def _where(trail: _Trail) -> str:
    parts: list[str] = []
    while trail:
        trail, element = trail
        parts.append(element_text(element) if isinstance(element, str) else f"[{element}]")
    return "".join(reversed(parts))


def _validate(
    type_: Type, value: Any, trail: _Trail, duplicates: bool, problems: list[tuple[str, str]]
) -> None:
    if isinstance(value, dict):
        if type_.is_map:
            _validate_map(type_, cast("dict[str, Any]", value), trail, duplicates, problems)
            return
    elif isinstance(value, list):
        if type_.is_list:
            _validate_list(type_, cast("list[Any]", value), trail, duplicates, problems)
            return
    elif value is None:
        return
    elif type_.scalar is not None:
        problem = scalar_problem(type_.scalar, value)
        if problem:
            problems.append((_where(trail), problem))
        return
    problems.append((_where(trail), _mismatch(type_, value)))


def _mismatch(type_: Type, value: Any) -> str:
    if type_.is_map:
        return f"expected map, got {_pointed(value)}"
    if type_.scalar is not None:
        return scalar_problem(type_.scalar, value)
    return f"expected list, got {_pointed(value)}"


def _pointed(value: Any) -> str:
    """``%v`` of the pointer to a struct in which upstream keeps the value."""
    return "&{" + golang.plain(value) + "}"


def scalar_problem(scalar: Scalar, value: Any) -> str:
    """What is wrong with a scalar, in upstream's words; empty if nothing is."""
    if value is None:
        return ""
    is_bool = isinstance(value, bool)
    if scalar == "numeric":
        if is_bool or not isinstance(value, (int, float)):
            return f"expected numeric (int or float), got {golang.type_name(value)}"
    elif scalar == "string":
        if not isinstance(value, str):
            return f"expected string, got &value.valueUnstructured{{Value:{_go_syntax(value)}}}"
    elif scalar == "boolean":
        if not is_bool:
            return f"expected boolean, got {_pointed(value)}"
    elif isinstance(value, (dict, list)):
        return f"expected any scalar, got {_pointed(cast('object', value))}"
    return ""


def _go_syntax(value: Any) -> str:
    """``%#v`` of a JSON value."""
    if isinstance(value, str):
        return golang.quote(value)
    if value is None:
        return "interface {}(nil)"
    if isinstance(value, list):
        items = ", ".join(map(_go_syntax, cast("list[Any]", value)))
        return "[]interface {}{" + items + "}"
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        pairs = ", ".join(f"{golang.quote(k)}:{_go_syntax(entries[k])}" for k in sorted(entries))
        return "map[string]interface {}{" + pairs + "}"
    return golang.plain(value)


def _validate_map(
    type_: Type,
    value: dict[str, Any],
    trail: _Trail,
    duplicates: bool,
    problems: list[tuple[str, str]],
) -> None:
    children = type_.children
    for name, item in value.items():
        below = children.get(name) or type_.child(name)
        if below is None:
            # Upstream stops at the first; which one that is its maps decide by chance.
            here = (trail, f"f:{name}")
            problems.append((_where(here), "field not declared in schema"))
            return
        if type(item) is str and below.scalar in ("string", "untyped"):
            continue
        _validate(below, item, (trail, f"f:{name}"), duplicates, problems)


def _validate_list(
    type_: Type,
    value: list[Any],
    trail: _Trail,
    duplicates: bool,
    problems: list[tuple[str, str]],
) -> None:
    below = type_.item()
    if type_.list_atomic:
        for index, item in enumerate(value):
            _validate(below, item, (trail, index), duplicates, problems)
        return
    seen: set[str] = set()
    for index, item in enumerate(value):
        try:
            element = item_element(type_, item)
        except ValueError as problem:
            problems.append((_where(trail), f"element {index}: {problem}"))
            return
        if element in seen and not duplicates:
            text = element_text(element)
            problems.append((_where(trail), f"duplicate entries for key {text}"))
        seen.add(element)
        _validate(below, item, (trail, element), duplicates, problems)


# -- field sets ------------------------------------------------------------------------------------


def field_set(type_: Type, value: Any) -> FieldSet:
    """The fields that a value mentions: leaves, empty maps, and the items of lists.

    A map counts as mentioned itself only where it is empty or null or is the value of a free key.
    """
    return _fields(type_, value) or LEAF


def _fields(type_: Type, value: Any) -> FieldSet | None:
    """None where nothing is mentioned; ``LEAF`` for the place itself."""
    if isinstance(value, dict):
        if type_.is_map:
            if type_.map_atomic:
                return LEAF
            return _fields_of_map(type_, cast("dict[str, Any]", value))
    elif isinstance(value, list):
        if type_.is_list:
            if type_.list_atomic:
                return LEAF
            return _fields_of_list(type_, cast("list[Any]", value))
    elif value is not None and type_.scalar is not None:
        return LEAF
    if type_.is_map:
        return LEAF if type_.map_atomic else None
    if type_.scalar is not None:
        return LEAF
    return LEAF if type_.list_atomic else None


def _fields_of_map(type_: Type, value: dict[str, Any]) -> FieldSet | None:
    found: FieldSet = {}
    for name in sorted(value) if len(value) > 1 else value:
        item = value[name]
        below = type_.child(name) or DEDUCED
        node = _fields(below, item)
        if item is None or item == {} or not type_.declares(name):
            node = {".": LEAF, **node} if node and "." not in node else (node or LEAF)
        if node is not None:
            found["f:" + name] = node
    return found or None


def _fields_of_list(type_: Type, value: list[Any]) -> FieldSet | None:
    found: FieldSet = {}
    repeated: set[str] = set()
    below = type_.item()
    for item in value:
        element = item_element(type_, item)
        if element in found:
            repeated.add(element)
        else:
            node = _fields(below, item)
            found[element] = {".": LEAF, **node} if node and "." not in node else (node or LEAF)
    for element in repeated:
        found[element] = LEAF
    if len(found) < 2:
        return found or None
    return {element: found[element] for element in in_order(found)}
