"""Which overload of a function runs.

The law: an overload whose arguments the checker knows runs without a look at them; a null where
none was expected is noticed when it breaks the call. Operators take anything and say themselves
what they do not take.

Follows ``cel-go/common/decls/decls.go``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

from pytest_kubesim.apimachinery.cel import types, values
from pytest_kubesim.apimachinery.cel.environment import Function, Overload
from pytest_kubesim.apimachinery.cel.errors import CELError, no_such_overload
from pytest_kubesim.apimachinery.cel.library import standard
from pytest_kubesim.apimachinery.cel.syntax import Literal, Node
from pytest_kubesim.apimachinery.cel.types import Type
from pytest_kubesim.apimachinery.cel.values import NONE, Optional

Frame: TypeAlias = list[Any]
Step: TypeAlias = Callable[[Frame], Any]
Run: TypeAlias = Callable[..., Any]

_TOTAL = frozenset(
    (
        *("!_", "-_", "_+_", "_-_", "_*_", "_/_", "_%_", "_==_", "_!=_", "_<_", "_<=_", "_>_"),
        *("_>=_", "@in", "size", "dyn", "type", "sort", "flatten"),
    )
)
"""Functions whose overloads are one function that takes anything."""


def choose(function: Function, ids: Sequence[str], arg_types: Sequence[Type]) -> Run:
    """What to call for arguments of those types, with the overloads that the checker found."""
    candidates = [overload for overload in function.overloads if overload.id in ids]
    if function.name in _TOTAL:
        return candidates[0].run
    if function.name == "_[_]":
        return index
    name = function.name
    if len(candidates) == 1 and not any(map(types.is_dyn, arg_types)):
        return _trusting(name, candidates[0].run)
    return _trying(name, candidates)


_SILENT = frozenset(("contains", "startsWith", "endsWith", "matches"))
"""Functions that do not say what they do not take."""


def _no_overload(name: str, args: Sequence[Any]) -> CELError:
    if name in _SILENT:
        return no_such_overload()
    shown = [values.type_name(arg) for arg in args]
    return no_such_overload(name, shown)


def _trusting(name: str, run: Run) -> Run:
    def call(*args: Any) -> Any:
        try:
            return run(*args)
        except (TypeError, AttributeError):
            raise _no_overload(name, args) from None

    return call


def _trying(name: str, candidates: list[Overload]) -> Run:
    def call(*args: Any) -> Any:
        for overload in candidates:
            if len(overload.args) == len(args) and all(map(fits, overload.args, args)):
                return overload.run(*args)
        raise _no_overload(name, args)

    return call


def fits(type_: Type, value: Any) -> bool:
    """Whether a value is of a type; of lists and maps only the first element is looked at."""
    if type_.kind in ("dyn", "any", "param"):
        return True
    found = values.type_of(value)
    if found.kind != type_.kind or found.name != type_.name:
        return False
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return not items or fits(type_.params[0], items[0])
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[Any, Any]", value).items():
            return fits(type_.params[0], key) and fits(type_.params[1], item)
    if isinstance(value, Optional) and value.has_value:
        return fits(type_.params[0], value.value)
    return True


# -- indexing --------------------------------------------------------------------------------------


def index(holder: Any, position: Any) -> Any:
    """``[]`` of any value. Raises ``CELError``."""
    if isinstance(holder, Optional):
        return index_if_present(holder, position)
    if position is None or isinstance(position, (list, Mapping)):
        shown = {type(None): "<nil>", list: "[]interface {}"}
        name = shown.get(values.kind_of(position), "map[string]interface {}")
        raise CELError(f"invalid qualifier type: {name}")
    return standard.index(holder, position)


def index_if_present(holder: Any, position: Any) -> Optional:
    """``[?]`` of any value."""
    if isinstance(holder, Optional):
        if not holder.has_value:
            return NONE
        holder = holder.value
    if isinstance(holder, list):
        items = cast("list[Any]", holder)
        at = standard.list_index(position)
        return Optional(items[at]) if 0 <= at < len(items) else NONE
    if isinstance(holder, Mapping):
        found = values.find(cast("Mapping[Any, Any]", holder), position)
        return NONE if values.is_missing(found) else Optional(found)
    return NONE


# -- inlined operators -----------------------------------------------------------------------------

_PLAIN = frozenset(("string", "int", "bool", "bytes", "timestamp", "duration"))
_ORDERED = frozenset(("string", "int"))
_SIZED = frozenset(("string", "list", "map", "bytes"))
_COMPARISONS: dict[str, tuple[Callable[[Any, Any], bool], Run]] = {
    "_<_": (operator.lt, standard.less),
    "_<=_": (operator.le, standard.less_equals),
    "_>_": (operator.gt, standard.greater),
    "_>=_": (operator.ge, standard.greater_equals),
}


def inlined(
    name: str, nodes: Sequence[Node], args: Sequence[Step], arg_types: Sequence[Type]
) -> Step | None:
    """A shorter way to apply an operator to operands of known types, if there is one."""
    if name == "size":
        return _size(args[0]) if arg_types[0].kind in _SIZED else None
    if name == "!_":
        return _negation(args[0])
    if len(args) != 2:
        return None
    left, right = args
    kinds = arg_types[0].kind, arg_types[1].kind
    if name in ("_==_", "_!=_"):
        if kinds[0] == kinds[1] and kinds[0] in _PLAIN:
            return _equality(left, right, nodes[1], negated=name == "_!=_")
    elif name in _COMPARISONS:
        if kinds[0] == kinds[1] and kinds[0] in _ORDERED:
            return _comparison(left, right, nodes[1], *_COMPARISONS[name])
    elif name == "@in":
        return _membership(left, right, arg_types)
    elif name == "_[_]":
        if kinds == ("list", "int"):
            return _element(left, right)
        if kinds == ("map", "string"):
            return _entry(left, right)
    return None


def _size(operand: Step) -> Step:
    def size(frame: Frame) -> int:
        value = operand(frame)
        try:
            return len(value)
        except TypeError:
            return standard.size(value)

    return size


def _negation(operand: Step) -> Step:
    def negated(frame: Frame) -> bool:
        value = operand(frame)
        if value is True:
            return False
        if value is False:
            return True
        return standard.logical_not(value)

    return negated


def _equality(left: Step, right: Step, node: Node, *, negated: bool) -> Step:
    if isinstance(node, Literal):
        wanted = node.value
        if negated:
            return lambda frame: left(frame) != wanted
        return lambda frame: left(frame) == wanted
    if negated:
        return lambda frame: left(frame) != right(frame)
    return lambda frame: left(frame) == right(frame)


def _comparison(
    left: Step, right: Step, node: Node, compare: Callable[[Any, Any], bool], slow: Run
) -> Step:
    if isinstance(node, Literal):
        limit = node.value

        def with_constant(frame: Frame) -> bool:
            value = left(frame)
            try:
                return compare(value, limit)
            except TypeError:
                return slow(value, limit)

        return with_constant

    def compared(frame: Frame) -> bool:
        first, second = left(frame), right(frame)
        try:
            return compare(first, second)
        except TypeError:
            return slow(first, second)

    return compared


def _membership(left: Step, right: Step, arg_types: Sequence[Type]) -> Step | None:
    wanted, holder = arg_types
    if wanted.kind != "string" or holder.kind not in ("list", "map"):
        return None
    if holder.params[0].kind != "string":
        return None

    def contained(frame: Frame) -> bool:
        value, items = left(frame), right(frame)
        try:
            return value in items
        except TypeError:
            return standard.is_in(value, items)

    return contained


def _element(left: Step, right: Step) -> Step:
    def element(frame: Frame) -> Any:
        items, at = left(frame), right(frame)
        if items.__class__ is list and at.__class__ is int and 0 <= at < len(items):
            return items[at]
        return index(items, at)

    return element


def _entry(left: Step, right: Step) -> Step:
    def entry(frame: Frame) -> Any:
        holder, name = left(frame), right(frame)
        try:
            return holder[name]
        except (KeyError, TypeError):
            return index(holder, name)

    return entry
