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
from typing import Any, Protocol, TypeAlias

import attrs

from pytest_kubesim.apimachinery import go_regexp
from pytest_kubesim.apimachinery.cel import dispatch, folds, steps, types
from pytest_kubesim.apimachinery.cel.environment import Environment, StructType
from pytest_kubesim.apimachinery.cel.errors import CELError
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

FIRST_VARIABLE = 2
_LIST_COST, _MAP_COST, _STRUCT_COST = 10, 30, 40


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
    """The closure of a checked tree. ``slots`` says where in a frame the variables are.

    Raises ``CELError`` for constants that are errors.
    """
    planner = _Planner(environment, slots, costs)
    step = planner.plan(node)
    return Plan(step, planner.size)


_CONVERSIONS = frozenset(
    (
        *("bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type"),
        "uint",
    )
)


_PATTERNS = frozenset(("find", "findAll", "matches"))


def _check_pattern(pattern: str) -> None:
    try:
        go_regexp.compile(pattern)
    except go_regexp.RegexpError as problem:
        raise CELError(str(problem)) from None


@attrs.frozen
class Constant:
    """The value of a part of an expression that does not depend on variables."""

    value: Any


def constant(node: Node, environment: Environment) -> Constant | None:
    """What a node always evaluates to, if it is written in constants.

    Raises ``CELError`` for conversions that cannot be.
    """
    match node:
        case Literal():
            return Constant(node.value)
        case Ident():
            return None if node.constant is None else Constant(node.constant)
        case Select():
            return None if node.field else constant(node.operand, environment)
        case ListNode():
            items = [constant(element, environment) for element in node.elements]
            return None if node.optional else _all_constant(items)
        case MapNode():
            return _constant_map(node, environment)
        case Call(function=name, target=None, args=[arg]) if name in _CONVERSIONS:
            known = constant(arg, environment)
            if known is None:
                return None
            function = environment.functions[name]
            run = dispatch.choose(function, node.overloads, [arg.type or types.DYN])
            return Constant(run(known.value))
        case _:
            return None


def _all_constant(items: list[Constant | None]) -> Constant | None:
    found = [item.value for item in items if item is not None]
    return Constant(found) if len(found) == len(items) else None


def _constant_map(node: MapNode, environment: Environment) -> Constant | None:
    made: dict[Any, Any] = {}
    for entry in node.entries:
        key, value = constant(entry.key, environment), constant(entry.value, environment)
        if key is None or value is None or entry.optional:
            return None
        folds.insert(made, key.value, value.value)
    return Constant(made)


_ATTRIBUTES = frozenset(("_[_]", "_[?_]", "_?._", "_?_:_"))


def _is_attribute(node: Node) -> bool:
    """Whether a node is a variable with fields and positions, or a choice between such."""
    if isinstance(node, Select):
        return not node.test_only
    if isinstance(node, Call):
        return node.function in _ATTRIBUTES
    return isinstance(node, Ident) and node.constant is None


class _Planner:
    def __init__(
        self, environment: Environment, slots: Mapping[str, int], costs: Costs | None
    ) -> None:
        self.environment = environment
        self.slots = slots
        self.costs = costs
        self.size = FIRST_VARIABLE + len(slots)
        self.scopes: list[dict[str, int]] = []

    def plan(self, node: Node, *, rooted: bool = True) -> Step:
        """The step of a node.

        Without ``rooted`` the variable that an attribute begins with costs nothing: branches of
        ``? :`` and positions in ``[]`` are resolved unseen.
        """
        known = constant(node, self.environment)
        if known is not None:
            return steps.constant(known.value)
        match node:
            case Literal():
                return steps.constant(node.value)
            case Ident():
                return self.ident(node, rooted=rooted)
            case Select():
                return self.select(node, rooted=rooted)
            case Call():
                return self.call(node, rooted=rooted)
            case ListNode():
                return self.charged(self.list(node), _LIST_COST)
            case MapNode():
                return self.charged(self.map(node), _MAP_COST)
            case Struct():
                return self.charged(self.struct(node), _STRUCT_COST)
            case Comprehension():
                return self.comprehension(node)

    def charged(self, step: Step, cost: int) -> Step:
        """The step, which costs so much each time it runs, whatever comes of it."""
        if self.costs is None or not cost:
            return step

        def counted(frame: Frame) -> Any:
            steps.pay(frame, cost)
            return step(frame)

        return counted

    def charging(self, operand: Step, cost: int) -> Step:
        """What something is done with, which costs so much if there is anything to do it with."""
        if self.costs is None or not cost:
            return operand

        def counted(frame: Frame) -> Any:
            value = operand(frame)
            steps.pay(frame, cost)
            return value

        return counted

    def if_present(self, step: Step) -> Step:
        """A step that gives an optional, and costs one if that has a value."""
        if self.costs is None:
            return step

        def counted(frame: Frame) -> Any:
            value = step(frame)
            if value.has_value:
                steps.pay(frame, 1)
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

    def ident(self, node: Ident, *, rooted: bool) -> Step:
        slot = self.local(node.name)
        if slot is not None and node.name == ACCUMULATOR:
            return self.charged(folds.accumulated(slot), rooted)
        if slot is None:
            if node.constant is not None:
                return steps.constant(node.constant)
            slot = self.slots[node.name.removeprefix(".")]
        return self.charged(operator.itemgetter(slot), rooted)

    def operand(self, node: Node, *, rooted: bool) -> Step:
        """What a field or an element is taken of; what is no attribute is made into one."""
        step = self.plan(node, rooted=rooted)
        return self.charging(step, rooted and not _is_attribute(node))

    def select(self, node: Select, *, rooted: bool) -> Step:
        if not node.field:
            # A name with dots in it.
            return self.plan(node.operand, rooted=rooted)
        operand_type, is_optional = types.unwrap_optional(node.operand.type or types.DYN)
        struct = self.struct_type(operand_type)
        field = node.field
        key = struct.keys.get(field, field) if struct is not None else field
        is_struct = struct is not None
        if node.test_only:
            operand = self.operand(node.operand, rooted=True)
            return steps.presence(operand, key, null_is_missing=is_struct)
        operand = self.operand(node.operand, rooted=rooted)
        if is_optional:
            return self.if_present(steps.optional_field(operand, key, null_is_missing=is_struct))
        operand = self.charging(operand, 1)
        if is_struct:
            fallible = node.type is None or node.type.kind in steps.FALLIBLE
            return steps.declared_field(operand, field, key, fallible=fallible)
        if operand_type.kind == "map":
            return steps.map_entry(operand, field)
        return steps.any_field(operand, field)

    def struct_type(self, type_: types.Type) -> StructType | None:
        return self.environment.struct(type_.name) if type_.kind == "struct" else None

    # -- calls -------------------------------------------------------------------------------------

    def call(self, node: Call, *, rooted: bool) -> Step:
        nodes = [*([node.target] if node.target is not None else ()), *node.args]
        special = self.special(node, nodes, rooted=rooted)
        if special is not None:
            return special
        is_index = node.function == "_[_]"
        if is_index:
            args = [self.operand(nodes[0], rooted=rooted), self.plan(nodes[1], rooted=False)]
        else:
            args = [self.plan(arg) for arg in nodes]
        types_ = [arg.type or types.DYN for arg in nodes]
        function = self.environment.functions[node.function]
        run = dispatch.choose(function, node.overloads, types_)
        if is_index and types.unwrap_optional(types_[0])[1]:
            return self.if_present(steps.optional_index(*args))
        if node.function in _PATTERNS and isinstance(nodes[1], Literal):
            _check_pattern(nodes[1].value)
        if self.costs is not None:
            return self.counted_call(node, args, run)
        fast = dispatch.inlined(node.function, nodes, args, types_)
        if fast is not None:
            return fast
        if node.function == "quantity" and isinstance(nodes[0], Literal):
            try:
                return steps.constant(run(nodes[0].value))
            except CELError:
                pass
        return steps.apply(run, args)

    def counted_call(self, node: Call, args: list[Step], run: Callable[..., Any]) -> Step:
        """A call that is paid for, with what it costs for arguments that are errors, too."""
        assert self.costs is not None
        of_call = self.costs.of_call
        function = node.function
        overload = node.overloads[0] if len(node.overloads) == 1 else ""
        stops = len(args) > 2

        def counted(frame: Frame) -> Any:
            evaluated: list[Any] = []
            problem: CELError | None = None
            value: Any = None
            for arg in args:
                try:
                    evaluated.append(arg(frame))
                except CELError as raised:
                    problem = problem or raised
                    evaluated.append(None)
                    if stops:
                        break
            if problem is None:
                try:
                    value = run(*evaluated)
                except CELError as raised:
                    problem = raised
            if len(evaluated) == len(args):
                steps.pay(frame, of_call(function, overload, evaluated, value))
            if problem is not None:
                raise problem
            return value

        return counted

    def special(self, node: Call, nodes: list[Node], *, rooted: bool) -> Step | None:
        """Operators that do not evaluate all their operands, or that see errors."""
        name = node.function
        if name == "_&&_":
            return steps.logical(self.plan(nodes[0]), self.plan(nodes[1]), decides=False)
        if name == "_||_":
            return steps.logical(self.plan(nodes[0]), self.plan(nodes[1]), decides=True)
        if name == "_?_:_":
            branches = [self.plan(branch, rooted=False) for branch in nodes[1:]]
            return steps.conditional(self.plan(nodes[0]), *branches)
        if node.overloads == ["in_list"]:
            return self.member_of_constants(nodes)
        if name == "_?._":
            return self.optional_select(nodes, rooted=rooted)
        if name == "_[?_]":
            operand = self.operand(nodes[0], rooted=rooted)
            position = self.plan(nodes[1], rooted=False)
            return self.if_present(steps.optional_index(operand, position))
        if name == "@not_strictly_false":
            return self.charged(steps.not_strictly_false(self.plan(nodes[0])), 1)
        if node.target is not None and name in ("or", "orValue"):
            unwrap = name == "orValue"
            return steps.either(self.plan(nodes[0]), self.plan(nodes[1]), unwrap=unwrap)
        return None

    def optional_select(self, nodes: list[Node], *, rooted: bool) -> Step:
        operand, field = nodes
        assert isinstance(field, Literal), nodes
        struct = self.struct_type(types.unwrap_optional(operand.type or types.DYN)[0])
        key = field.value if struct is None else struct.keys.get(field.value, field.value)
        step = self.operand(operand, rooted=rooted)
        return self.if_present(steps.optional_field(step, key, null_is_missing=struct is not None))

    def member_of_constants(self, nodes: list[Node]) -> Step | None:
        """``in`` for a list of constants, which is a set and costs nothing."""
        known = constant(nodes[1], self.environment)
        if known is None:
            return None
        items: list[Any] = known.value
        if not items:
            return steps.constant(False)
        if not all(isinstance(item, (str, bool, int, float)) for item in items):
            return None
        return steps.member(self.plan(nodes[0]), items)

    # -- aggregates --------------------------------------------------------------------------------

    def list(self, node: ListNode) -> Step:
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
