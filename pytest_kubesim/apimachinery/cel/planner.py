"""Compiling a checked tree to closures.

The law: a closure takes a frame, a list, and returns a value or raises ``CELError``. The first two
places of a frame are what the evaluation has cost and what it may cost; only closures planned with
``costs`` look at them. After them come the variables, then what comprehensions bind.

What the checker knows saves work: a field of a declared message is one look-up in the user's own
object, a function with one overload is called as it is. Where types are known only at run time, the
overloads are tried in turn, and the errors are those of cel-go.

Follows ``cel-go/interpreter/{planner,interpretable,attributes}.go``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, cast

import attrs

from pytest_kubesim.apimachinery.cel import dispatch, folds, types, values
from pytest_kubesim.apimachinery.cel.environment import Environment, StructType
from pytest_kubesim.apimachinery.cel.errors import CELError, CostLimitExceeded, no_such_overload
from pytest_kubesim.apimachinery.cel.syntax import (
    ACCUMULATOR,
    Call,
    Comprehension,
    Entry,
    Ident,
    ListNode,
    Literal,
    MapNode,
    Node,
    Select,
    Struct,
)
from pytest_kubesim.apimachinery.cel.values import NONE, ErrorValue, Optional

Frame: TypeAlias = list[Any]
Step: TypeAlias = Callable[[Frame], Any]

COST, LIMIT, FIRST_VARIABLE = 0, 1, 2
_LIST_COST, _MAP_COST, _STRUCT_COST = 10, 30, 40
_CONVERSIONS = frozenset(
    ("bool", "bytes", "double", "duration", "int", "string", "timestamp", "uint", "quantity")
)
_MISSING: Any = object()


class Costs(Protocol):
    """What calls cost while they run."""

    def of_call(self, function: str, overload: str, args: list[Any], result: Any) -> int:
        """What one call cost. A method's first argument is what it was called on."""
        ...


@attrs.frozen
class Plan:
    """A compiled expression, and how long its frames are."""

    step: Step
    size: int


def plan(
    node: Node, environment: Environment, slots: Mapping[str, int], costs: Costs | None = None
) -> Plan:
    """The closure of a checked tree. ``slots`` says where in a frame the variables are."""
    planner = _Planner(environment, slots, costs)
    step = planner.plan(node)
    return Plan(step, planner.size)


class _Planner:
    def __init__(
        self, environment: Environment, slots: Mapping[str, int], costs: Costs | None
    ) -> None:
        self.environment = environment
        self.slots = slots
        self.costs = costs
        self.size = FIRST_VARIABLE + len(slots)
        self.scopes: list[dict[str, int]] = []

    def plan(self, node: Node) -> Step:
        match node:
            case Literal():
                return _constant(node.value)
            case Ident():
                return self.ident(node)
            case Select():
                return self.select(node)
            case Call():
                return self.call(node)
            case ListNode():
                return self.charged(self.list(node), _LIST_COST)
            case MapNode():
                return self.charged(self.map(node), _MAP_COST)
            case Struct():
                return self.charged(self.struct(node), _STRUCT_COST)
            case Comprehension():
                return self.comprehension(node)

    def charged(self, step: Step, cost: int) -> Step:
        """The step, which costs so much each time it runs."""
        if self.costs is None or not cost:
            return step

        def counted(frame: Frame) -> Any:
            value = step(frame)
            total = frame[COST] + cost
            frame[COST] = total
            if total > frame[LIMIT]:
                raise CostLimitExceeded
            return value

        return counted

    # -- names and fields --------------------------------------------------------------------------

    def slot(self) -> int:
        self.size += 1
        return self.size - 1

    def local(self, name: str) -> int | None:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return None

    def ident(self, node: Ident) -> Step:
        slot = self.local(node.name)
        if slot is not None and node.name == ACCUMULATOR:
            return self.charged(folds.accumulated(slot), 1)
        if slot is None:
            if node.constant is not None:
                return _constant(node.constant)
            slot = self.slots[node.name]
        return self.charged(operator.itemgetter(slot), 1)

    def select(self, node: Select) -> Step:
        if not node.field:
            # A name with dots in it.
            return self.plan(node.operand)
        operand = self.plan(node.operand)
        operand_type = node.operand.type or types.DYN
        struct = self.struct_type(operand_type)
        field = node.field
        key = struct.keys.get(field, field) if struct is not None else field
        if node.test_only:
            return _presence(operand, key, null_is_missing=struct is not None)
        if struct is not None:
            fallible = node.type is None or node.type.kind in _FALLIBLE
            step = _declared_field(operand, field, key, fallible=fallible)
        elif operand_type.kind == "map":
            step = _map_entry(operand, field)
        else:
            step = _any_field(operand, field)
        return self.charged(step, 1)

    def struct_type(self, type_: types.Type) -> StructType | None:
        return self.environment.struct(type_.name) if type_.kind == "struct" else None

    # -- calls -------------------------------------------------------------------------------------

    def call(self, node: Call) -> Step:
        nodes = [*([node.target] if node.target is not None else ()), *node.args]
        special = self.special(node, nodes)
        if special is not None:
            return special
        args = [self.plan(arg) for arg in nodes]
        types_ = [arg.type or types.DYN for arg in nodes]
        function = self.environment.functions[node.function]
        run = dispatch.choose(function, node.overloads, types_)
        if self.costs is not None:
            return self.counted_call(node, args, run)
        fast = dispatch.inlined(node.function, nodes, args, types_)
        if fast is not None:
            return fast
        if node.function in _CONVERSIONS and all(isinstance(arg, Literal) for arg in nodes):
            try:
                return _constant(run(*[arg([]) for arg in args]))
            except CELError:
                pass
        return _apply(run, args)

    def counted_call(self, node: Call, args: list[Step], run: Callable[..., Any]) -> Step:
        assert self.costs is not None
        of_call = self.costs.of_call
        function = node.function
        candidates = self.environment.functions[function].overloads
        known = node.overloads[0] if len(node.overloads) == 1 else ""

        def counted(frame: Frame) -> Any:
            evaluated = [arg(frame) for arg in args]
            value = run(*evaluated)
            chosen = known or dispatch.matching(candidates, evaluated)
            total = frame[COST] + of_call(function, chosen, evaluated, value)
            frame[COST] = total
            if total > frame[LIMIT]:
                raise CostLimitExceeded
            return value

        return counted

    def special(self, node: Call, nodes: list[Node]) -> Step | None:
        """Operators that do not evaluate all their operands, or that see errors."""
        name = node.function
        if name == "_&&_":
            return _logical(self.plan(nodes[0]), self.plan(nodes[1]), decides=False)
        if name == "_||_":
            return _logical(self.plan(nodes[0]), self.plan(nodes[1]), decides=True)
        if name == "_?_:_":
            return _conditional(*[self.plan(arg) for arg in nodes])
        if name == "_?._":
            operand, field = nodes
            assert isinstance(field, Literal), node
            struct = self.struct_type(types.unwrap_optional(operand.type or types.DYN)[0])
            key = field.value if struct is None else struct.keys.get(field.value, field.value)
            step = _optional_field(self.plan(operand), key, null_is_missing=struct is not None)
            return self.charged(step, 1)
        if name == "_[?_]":
            return self.charged(_optional_index(self.plan(nodes[0]), self.plan(nodes[1])), 1)
        if name == "@not_strictly_false":
            step = _not_strictly_false(self.plan(nodes[0]))
            return self.charged(step, 1)
        if node.target is not None and name in ("or", "orValue"):
            either = _either(self.plan(nodes[0]), self.plan(nodes[1]), unwrap=name == "orValue")
            return self.charged(either, 1)
        return None

    # -- aggregates --------------------------------------------------------------------------------

    def list(self, node: ListNode) -> Step:
        if not node.optional and all(isinstance(item, Literal) for item in node.elements):
            return _constant([cast("Literal", item).value for item in node.elements])
        steps = [self.plan(item) for item in node.elements]
        if not node.optional:
            return lambda frame: [step(frame) for step in steps]
        optional = [index in node.optional for index in range(len(steps))]

        def made(frame: Frame) -> Any:
            items: list[Any] = []
            for step, is_optional in zip(steps, optional, strict=True):
                value = step(frame)
                if not is_optional:
                    items.append(value)
                elif _as_optional(value, "element").has_value:
                    items.append(value.value)
            return items

        return made

    def map(self, node: MapNode) -> Step:
        entries = [
            (self.plan(entry.key), self.plan(entry.value), entry.optional) for entry in node.entries
        ]

        def made(frame: Frame) -> Any:
            result: dict[Any, Any] = {}
            for key_step, value_step, optional in entries:
                key, value = key_step(frame), value_step(frame)
                if optional:
                    if not _as_optional(value, "entry").has_value:
                        continue
                    value = value.value
                folds.insert(result, key, value)
            return result

        return made

    def struct(self, node: Struct) -> Step:
        struct = self.environment.struct(node.name)
        assert struct is not None, node
        fields = [self.struct_field(entry) for entry in node.fields]
        make = struct.make

        def made(frame: Frame) -> Any:
            if make is None:
                raise CELError(f"unknown type: {node.name}")
            result: dict[str, Any] = {}
            for name, step, optional in fields:
                value = step(frame)
                if optional:
                    if not _as_optional(value, "field").has_value:
                        continue
                    value = value.value
                result[name] = value
            return make(result)

        return made

    def struct_field(self, entry: Entry) -> tuple[str, Step, bool]:
        assert isinstance(entry.key, Literal), entry
        return str(entry.key.value), self.plan(entry.value), entry.optional

    # -- comprehensions ----------------------------------------------------------------------------

    def comprehension(self, node: Comprehension) -> Step:
        items = self.plan(node.range)
        init = self.plan(node.init)
        accu = self.slot()
        first, second = self.slot(), self.slot()
        self.scopes.append({node.accu_var: accu})
        if node.macro == "bind":
            result = self.plan(node.result)
            self.scopes.pop()
            return folds.bind(items, init, result, accu)
        names = {node.var: first}
        if node.var2:
            names[node.var2] = second
        self.scopes.append(names)
        place = folds.Place(accu, first, second if node.var2 else -1)
        shortcut = None if self.costs is not None else self.shortcut(node, items, place)
        if shortcut is None:
            condition, step = self.plan(node.condition), self.plan(node.step)
        else:
            condition = step = shortcut
        self.scopes.pop()
        result = self.plan(node.result)
        self.scopes.pop()
        if shortcut is not None:
            return shortcut
        return folds.general(items, init, condition, step, result, place)

    def shortcut(self, node: Comprehension, items: Step, place: folds.Place) -> Step | None:
        """A macro run as the loop that it means."""
        step = node.step
        if not isinstance(step, Call):
            return None
        if node.macro in ("all", "exists"):
            return folds.quantifier(items, self.plan(step.args[1]), place, node.macro == "exists")
        if node.macro == "existsOne":
            return folds.exists_one(items, self.plan(step.args[0]), place)
        predicate: Step | None = None
        if step.function == "_?_:_":
            predicate = self.plan(step.args[0])
            inner = step.args[1]
        else:
            inner = step
        if not isinstance(inner, Call):
            return None
        if node.macro in ("map", "filter", "transformList"):
            added = inner.args[1]
            assert isinstance(added, ListNode), node
            return folds.collect(items, self.plan(added.elements[0]), predicate, place)
        return None


_FALLIBLE = frozenset(("bytes", "timestamp", "duration", "dyn"))


def _constant(value: Any) -> Step:
    return lambda _frame: value


# -- fields ----------------------------------------------------------------------------------------


def _no_key(field: Any) -> CELError:
    return CELError(f"no such key: {values.show(field)}")


def _read(value: Any) -> Any:
    if value.__class__ is ErrorValue:
        raise CELError(value.message)
    return value


def _declared_field(operand: Step, field: str, key: str, *, fallible: bool) -> Step:
    """A field of a message; null means that it is missing."""

    def found(frame: Frame) -> Any:
        holder = operand(frame)
        try:
            value = holder.get(key)
        except AttributeError:
            return field_of(holder, key)
        if value is None:
            raise _no_key(field)
        return value

    if not fallible:
        return found
    return lambda frame: _read(found(frame))


def _map_entry(operand: Step, field: str) -> Step:
    def found(frame: Frame) -> Any:
        holder = operand(frame)
        try:
            return holder[field]
        except KeyError:
            raise _no_key(field) from None
        except TypeError:
            return field_of(holder, field)

    return found


def _any_field(operand: Step, field: str) -> Step:
    return lambda frame: field_of(operand(frame), field)


def field_of(holder: Any, field: str) -> Any:
    """A field of what may be anything. Raises ``CELError``."""
    if isinstance(holder, Optional):
        return _field_if_present(holder, field, null_is_missing=False)
    if isinstance(holder, ErrorValue):
        raise CELError(holder.message)
    if isinstance(holder, Mapping):
        value = cast("Mapping[Any, Any]", holder).get(field, _MISSING)
        if value is not _MISSING:
            return _read(value)
    elif isinstance(holder, list):
        raise CELError("unsupported index type 'string' in list")
    raise _no_key(field)


def _field_if_present(holder: Any, field: str, *, null_is_missing: bool) -> Optional:
    if isinstance(holder, Optional):
        if not holder.has_value:
            return NONE
        holder = holder.value
    if not isinstance(holder, Mapping):
        return NONE
    value = cast("Mapping[Any, Any]", holder).get(field, _MISSING)
    if value is _MISSING or (null_is_missing and value is None):
        return NONE
    return Optional(_read(value))


def _presence(operand: Step, field: str, *, null_is_missing: bool) -> Step:
    def declared(frame: Frame) -> bool:
        holder = operand(frame)
        try:
            return holder.get(field) is not None
        except AttributeError:
            return _field_if_present(holder, field, null_is_missing=True).has_value

    def known(frame: Frame) -> bool:
        holder = operand(frame)
        if isinstance(holder, Optional):
            return _field_if_present(holder, field, null_is_missing=False).has_value
        return isinstance(holder, Mapping) and field in holder

    return declared if null_is_missing else known


def _optional_field(operand: Step, field: str, *, null_is_missing: bool) -> Step:
    return lambda frame: _field_if_present(operand(frame), field, null_is_missing=null_is_missing)


def _optional_index(operand: Step, position: Step) -> Step:
    def found(frame: Frame) -> Optional:
        holder, at = operand(frame), position(frame)
        return dispatch.index_if_present(holder, at)

    return found


# -- operators -------------------------------------------------------------------------------------


def _logical(left: Step, right: Step, *, decides: bool) -> Step:
    """``&&`` and ``||``: a side that decides makes errors of the other disappear."""

    def both(frame: Frame) -> bool:
        problem: CELError | None = None
        try:
            value = left(frame)
            if value is decides:
                return decides
            if value is not (not decides):
                problem = no_such_overload()
        except CELError as raised:
            problem = raised
        value = right(frame) if problem is None else _try(right, frame)
        if value is decides:
            return decides
        if problem is not None:
            raise problem
        if value is not (not decides):
            raise no_such_overload()
        return not decides

    return both


def _try(step: Step, frame: Frame) -> Any:
    try:
        return step(frame)
    except CELError:
        return None


def _conditional(condition: Step, first: Step, second: Step) -> Step:
    def chosen(frame: Frame) -> Any:
        value = condition(frame)
        if value is True:
            return first(frame)
        if value is False:
            return second(frame)
        raise no_such_overload()

    return chosen


def _not_strictly_false(operand: Step) -> Step:
    def held(frame: Frame) -> bool:
        try:
            return operand(frame) is not False
        except CELError:
            return True

    return held


def _either(left: Step, right: Step, *, unwrap: bool) -> Step:
    """``or`` and ``orValue`` of optionals: the second is evaluated only if needed."""

    def chosen(frame: Frame) -> Any:
        value = left(frame)
        if not isinstance(value, Optional):
            name = "orValue" if unwrap else "or"
            raise no_such_overload(name, [values.type_name(value), ""])
        if value.has_value:
            return value.value if unwrap else value
        return right(frame)

    return chosen


def _as_optional(value: Any, place: str) -> Optional:
    if not isinstance(value, Optional):
        shown = values.show(value)
        raise CELError(f"cannot initialize optional list {place} from non-optional value {shown}")
    return value


def _apply(run: Callable[..., Any], args: list[Step]) -> Step:
    match args:
        case []:
            return lambda _frame: run()
        case [only]:
            return lambda frame: run(only(frame))
        case [first, second]:
            return lambda frame: run(first(frame), second(frame))
        case _:
            return lambda frame: run(*[arg(frame) for arg in args])
