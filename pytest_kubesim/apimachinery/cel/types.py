"""The types of CEL, and when one may stand for another.

The law: types are values. Type parameters are bound in a ``Bindings`` that unification returns
anew, so that a failed attempt leaves no trace.

Follows ``cel-go/common/types/types.go`` and ``cel-go/checker/{types,format}.go``.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

Kind: TypeAlias = Literal[
    "any",
    "bool",
    "bytes",
    "double",
    "duration",
    "dyn",
    "error",
    "int",
    "list",
    "map",
    "null",
    "opaque",
    "param",
    "string",
    "struct",
    "timestamp",
    "type",
    "uint",
]


@attrs.frozen(hash=True)
class Type:
    """A type: its kind, its name, and what it is made of."""

    kind: Kind
    name: str
    params: tuple[Type, ...] = ()

    def __str__(self) -> str:
        return format_type(self)


ANY = Type("any", "google.protobuf.Any")
BOOL = Type("bool", "bool")
BYTES = Type("bytes", "bytes")
DOUBLE = Type("double", "double")
DURATION = Type("duration", "google.protobuf.Duration")
DYN = Type("dyn", "dyn")
ERROR = Type("error", "!error!")
INT = Type("int", "int")
NULL = Type("null", "null_type")
STRING = Type("string", "string")
TIMESTAMP = Type("timestamp", "google.protobuf.Timestamp")
TYPE = Type("type", "type")
UINT = Type("uint", "uint")


def list_of(item: Type) -> Type:
    """A list of that type."""
    return Type("list", "list", (item,))


def map_of(key: Type, value: Type) -> Type:
    """A map from the one to the other."""
    return Type("map", "map", (key, value))


def type_of(type_: Type) -> Type:
    """The type of a type."""
    return Type("type", "type", (type_,))


def optional(type_: Type) -> Type:
    """A value of that type, or none."""
    return Type("opaque", "optional_type", (type_,))


def struct(name: str) -> Type:
    """A message by its name."""
    return Type("struct", name)


def opaque(name: str, *params: Type) -> Type:
    """A type that only its library knows."""
    return Type("opaque", name, params)


def param(name: str) -> Type:
    """A type parameter."""
    return Type("param", name)


LIST = list_of(DYN)
MAP = map_of(DYN, DYN)


def format_type(type_: Type) -> str:
    """A type as error messages show it."""
    if type_.kind == "timestamp":
        return "timestamp"
    if type_.kind == "duration":
        return "duration"
    if type_.kind == "any":
        return "any"
    if type_.kind == "null":
        return "null"
    if not type_.params:
        return type_.name
    return f"{type_.name}({', '.join(map(format_type, type_.params))})"


def format_signature(args: list[Type], *, member: bool) -> str:
    """The types that a function is applied to, as error messages show them."""
    shown = [format_type(arg) for arg in args]
    if member:
        return f"{shown[0]}.({', '.join(shown[1:])})"
    return f"({', '.join(shown)})"


# -- unification -----------------------------------------------------------------------------------

Bindings: TypeAlias = dict[Type, Type]


def is_dyn(type_: Type) -> bool:
    """Whether anything goes."""
    return type_.kind in ("dyn", "any")


def is_dyn_or_error(type_: Type) -> bool:
    """Whether anything goes, or went wrong already."""
    return type_.kind in ("dyn", "any", "error")


def unwrap_optional(type_: Type) -> tuple[Type, bool]:
    """What an optional type holds, and whether it is one."""
    if type_.kind == "opaque" and type_.name == "optional_type":
        return type_.params[0], True
    return type_, False


def substitute(bindings: Bindings, type_: Type, *, free_to_dyn: bool = False) -> Type:
    """The type with its parameters replaced by what they are bound to."""
    bound = bindings.get(type_)
    if bound is not None:
        return substitute(bindings, bound, free_to_dyn=free_to_dyn)
    if type_.kind == "param":
        return DYN if free_to_dyn else type_
    if not type_.params:
        return type_
    params = tuple(substitute(bindings, p, free_to_dyn=free_to_dyn) for p in type_.params)
    return type_ if params == type_.params else Type(type_.kind, type_.name, params)


def assignable(bindings: Bindings, left: Type, right: Type) -> Bindings | None:
    """The bindings under which a value of the left type may stand for one of the right."""
    tried = dict(bindings)
    return tried if _assignable(tried, left, right) else None


def assignable_all(bindings: Bindings, left: list[Type], right: list[Type]) -> Bindings | None:
    """The bindings under which all of the left types may stand for those of the right."""
    tried = dict(bindings)
    if len(left) != len(right):
        return None
    return (
        tried if all(_assignable(tried, a, b) for a, b in zip(left, right, strict=True)) else None
    )


def _assignable(bindings: Bindings, left: Type, right: Type) -> bool:
    if right.kind == "param":
        valid, bound = _substitution(bindings, left, right)
        if valid:
            return True
        if bound:
            return False
    if left.kind == "param":
        return _substitution(bindings, right, left)[0]
    if is_dyn_or_error(left) or is_dyn_or_error(right):
        return True
    if left.kind == "null":
        return _nullable(right)
    if right.kind == "null":
        return _nullable(left)
    if left.kind == "type":
        return right.kind == "type"
    if left.kind in ("opaque", "list", "map"):
        return (
            left.kind == right.kind
            and left.name == right.name
            and len(left.params) == len(right.params)
            and all(
                _assignable(bindings, a, b) for a, b in zip(left.params, right.params, strict=True)
            )
        )
    return left.kind == right.kind and left.name == right.name


def _nullable(type_: Type) -> bool:
    return type_.kind in ("opaque", "struct", "any", "duration", "timestamp", "null")


def _substitution(bindings: Bindings, type_: Type, parameter: Type) -> tuple[bool, bool]:
    """Whether the parameter may be the type, and whether it was bound before."""
    if type_ == parameter:
        return True, True
    bound = bindings.get(parameter)
    if bound is not None:
        if type_ == bound:
            return True, True
        if not _assignable(bindings, type_, bound):
            return False, True
        general = most_general(type_, bound)
        if _absent_from(bindings, parameter, general):
            bindings[parameter] = general
        return True, True
    if _absent_from(bindings, parameter, type_):
        bindings[parameter] = type_
        return True, False
    return False, False


def _absent_from(bindings: Bindings, parameter: Type, type_: Type) -> bool:
    if parameter == type_:
        return False
    if type_.kind == "param":
        bound = bindings.get(type_)
        return bound is None or _absent_from(bindings, parameter, bound)
    return all(_absent_from(bindings, parameter, inner) for inner in type_.params)


def most_general(left: Type, right: Type) -> Type:
    """The more general of two types that go together."""
    return left if _less_specific(left, right) else right


def _less_specific(left: Type, right: Type) -> bool:
    if is_dyn(left) or left.kind == "param":
        return True
    if is_dyn(right) or right.kind == "param" or left.kind != right.kind:
        return False
    if left.kind in ("opaque", "list", "map"):
        return (
            left.name == right.name
            and len(left.params) == len(right.params)
            and all(_less_specific(a, b) for a, b in zip(left.params, right.params, strict=True))
        )
    return left.kind == "type" or left == right
