"""What an expression may name: variables, functions, types.

The law: an environment never changes; ``extend`` makes another that shares what it has. The
functions of a library are values, so that the same table serves the checker, the planner and the
cost estimator.

Follows ``cel-go/checker/env.go`` and ``cel-go/common/decls/decls.go``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import attrs

from pytest_kubesim.apimachinery.cel import types
from pytest_kubesim.apimachinery.cel.types import Type

Implementation: TypeAlias = (
    Callable[[], Any]
    | Callable[[Any], Any]
    | Callable[[Any, Any], Any]
    | Callable[[Any, Any, Any], Any]
    | Callable[[Any, Any, Any, Any], Any]
)
"""What takes the arguments of a call and returns its value, or raises ``CELError``."""


@attrs.frozen
class Overload:
    """One signature of a function. A method's first argument is what it is called on."""

    id: str
    args: tuple[Type, ...]
    result: Type
    run: Callable[..., Any]
    member: bool = False

    @property
    def is_generic(self) -> bool:
        """Whether it has type parameters."""
        return any(map(_has_param, (*self.args, self.result)))


def _has_param(type_: Type) -> bool:
    return type_.kind == "param" or any(map(_has_param, type_.params))


@attrs.frozen
class Function:
    """A function with its overloads, in the order in which they are tried."""

    name: str
    overloads: tuple[Overload, ...]

    def merged(self, other: Function) -> Function:
        """The overloads of both; the other's replace those with the same identifier."""
        found = {overload.id: overload for overload in self.overloads}
        found.update({overload.id: overload for overload in other.overloads})
        return Function(self.name, tuple(found.values()))


def function(name: str, *overloads: Overload) -> Function:
    """A function of a library."""
    return Function(name, overloads)


def overload(id_: str, args: Iterable[Type], result: Type, run: Implementation) -> Overload:
    """A signature of a function called by its name."""
    return Overload(id_, tuple(args), result, run)


def method(id_: str, args: Iterable[Type], result: Type, run: Implementation) -> Overload:
    """A signature of a function called on its first argument."""
    return Overload(id_, tuple(args), result, run, member=True)


@attrs.frozen
class StructType:
    """A message: its fields, and under which names the data has them."""

    fields: Mapping[str, Type]
    keys: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """The name in the data for a field whose name in CEL is another."""
    make: Callable[[dict[str, Any]], Any] | None = None
    """Makes a value of the fields given; None if the type cannot be written as a literal."""


_TYPE_NAMES: dict[str, Type] = {
    type_.name: type_
    for type_ in (
        types.BOOL,
        types.BYTES,
        types.DOUBLE,
        types.DURATION,
        types.INT,
        types.LIST,
        types.MAP,
        types.NULL,
        types.STRING,
        types.TIMESTAMP,
        types.TYPE,
        types.UINT,
        types.optional(types.DYN),
    )
}


@attrs.frozen(eq=False)
class Environment:
    """Variables, functions and types."""

    functions: Mapping[str, Function]
    variables: Mapping[str, Type] = attrs.field(factory=dict[str, Type])
    structs: Mapping[str, StructType] = attrs.field(factory=dict[str, StructType])
    type_names: Mapping[str, Type] = attrs.field(factory=dict[str, Type])
    """Types of libraries that expressions may name."""
    open_structs: Callable[[str], StructType | None] | None = None
    """Finds messages whose names are not known beforehand."""

    def extend(
        self,
        *,
        functions: Iterable[Function] = (),
        variables: Mapping[str, Type] | None = None,
        structs: Mapping[str, StructType] | None = None,
        type_names: Mapping[str, Type] | None = None,
        open_structs: Callable[[str], StructType | None] | None = None,
    ) -> Environment:
        """An environment with more in it."""
        known = dict(self.functions)
        for added in functions:
            existing = known.get(added.name)
            known[added.name] = existing.merged(added) if existing else added
        return Environment(
            functions=known,
            variables={**self.variables, **(variables or {})},
            structs={**self.structs, **(structs or {})},
            type_names={**self.type_names, **(type_names or {})},
            open_structs=open_structs or self.open_structs,
        )

    def struct(self, name: str) -> StructType | None:
        """The message of that name."""
        found = self.structs.get(name)
        if found is None and self.open_structs is not None:
            return self.open_structs(name)
        return found

    def type_named(self, name: str) -> Type | None:
        """The type that a name stands for."""
        name = name.removeprefix(".")
        found = _TYPE_NAMES.get(name) or self.type_names.get(name)
        if found is not None:
            return found
        return types.struct(name) if self.struct(name) is not None else None
