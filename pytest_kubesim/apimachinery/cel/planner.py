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

from pytest_kubesim.apimachinery.cel import dispatch, folds, steps, types
from pytest_kubesim.apimachinery.cel.environment import Environment, StructType
from pytest_kubesim.apimachinery.cel.errors import CELError, CostLimitExceeded
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

Frame: TypeAlias = list[Any]
Step: TypeAlias = Callable[[Frame], Any]

COST, LIMIT, FIRST_VARIABLE = 0, 1, 2
_LIST_COST, _MAP_COST, _STRUCT_COST = 10, 30, 40
_CONVERSIONS = frozenset(
    ("bool", "bytes", "double", "duration", "int", "string", "timestamp", "uint", "quantity")
)


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
                return steps.constant(node.value)
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
                return steps.constant(node.constant)
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
            return steps.presence(operand, key, null_is_missing=struct is not None)
        if struct is not None:
            fallible = node.type is None or node.type.kind in steps.FALLIBLE
            step = steps.declared_field(operand, field, key, fallible=fallible)
        elif operand_type.kind == "map":
            step = steps.map_entry(operand, field)
        else:
            step = steps.any_field(operand, field)
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
                return steps.constant(run(*[arg([]) for arg in args]))
            except CELError:
                pass
        return steps.apply(run, args)

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
            return steps.logical(self.plan(nodes[0]), self.plan(nodes[1]), decides=False)
        if name == "_||_":
            return steps.logical(self.plan(nodes[0]), self.plan(nodes[1]), decides=True)
        if name == "_?_:_":
            return steps.conditional(*[self.plan(arg) for arg in nodes])
        if name == "_?._":
            operand, field = nodes
            assert isinstance(field, Literal), node
            struct = self.struct_type(types.unwrap_optional(operand.type or types.DYN)[0])
            key = field.value if struct is None else struct.keys.get(field.value, field.value)
            step = steps.optional_field(self.plan(operand), key, null_is_missing=struct is not None)
            return self.charged(step, 1)
        if name == "_[?_]":
            return self.charged(steps.optional_index(self.plan(nodes[0]), self.plan(nodes[1])), 1)
        if name == "@not_strictly_false":
            step = steps.not_strictly_false(self.plan(nodes[0]))
            return self.charged(step, 1)
        if node.target is not None and name in ("or", "orValue"):
            either = steps.either(
                self.plan(nodes[0]), self.plan(nodes[1]), unwrap=name == "orValue"
            )
            return self.charged(either, 1)
        return None

    # -- aggregates --------------------------------------------------------------------------------

    def list(self, node: ListNode) -> Step:
        if not node.optional and all(isinstance(item, Literal) for item in node.elements):
            return steps.constant([cast("Literal", item).value for item in node.elements])
        planned = [self.plan(item) for item in node.elements]
        if not node.optional:
            return lambda frame: [step(frame) for step in planned]
        optional = [index in node.optional for index in range(len(planned))]

        def made(frame: Frame) -> Any:
            items: list[Any] = []
            for step, is_optional in zip(planned, optional, strict=True):
                value = step(frame)
                if not is_optional:
                    items.append(value)
                elif steps.as_optional(value, "element").has_value:
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
                    if not steps.as_optional(value, "entry").has_value:
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
                    if not steps.as_optional(value, "field").has_value:
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
