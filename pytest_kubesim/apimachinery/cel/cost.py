"""What an expression may cost, told before it runs.

The law: the numbers are upstream's, as a rule that may be too dear is refused there as here. What a
call costs by itself is in ``library/estimators``; here is how costs and sizes add up along the
tree.

Follows ``cel-go/checker/cost.go``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import attrs

from pytest_kubesim.apimachinery.cel import types
from pytest_kubesim.apimachinery.cel.estimates import MOST, NOTHING, ONE, UNKNOWN, Estimate, fixed
from pytest_kubesim.apimachinery.cel.library import estimators
from pytest_kubesim.apimachinery.cel.library.costs import LIST_COST, MAP_COST, STRUCT_COST
from pytest_kubesim.apimachinery.cel.library.estimators import Operand, Path
from pytest_kubesim.apimachinery.cel.syntax import (
    ACCUMULATOR,
    Call,
    Comprehension,
    Ident,
    ListNode,
    Literal,
    MapNode,
    Node,
    Select,
    Struct,
)
from pytest_kubesim.apimachinery.cel.types import DYN, Type

SizeOf: TypeAlias = Callable[[Path], Estimate | None]
"""What is known of the size of the data at a path: a variable, then fields, ``@items``..."""

_SCALARS = frozenset(("bool", "double", "duration", "int", "timestamp", "uint"))


def estimate(node: Node, size_of: SizeOf) -> Estimate:
    """Between what and what the evaluation of a checked tree costs."""
    return _Coster(size_of).cost(node)


@attrs.frozen
class _Entries:
    """How large the keys and the values of a container are."""

    kind: str
    key: Estimate
    value: Estimate

    def union(self, other: _Entries | None) -> _Entries | None:
        if other is None:
            return None
        return _Entries(self.kind, self.key.union(other.key), self.value.union(other.value))


@attrs.frozen
class _Local:
    path: Path
    size: Estimate | None
    entries: _Entries | None


class _Coster:
    def __init__(self, size_of: SizeOf) -> None:
        self.size_of = size_of
        self.paths: dict[Node, Path] = {}
        self.sizes: dict[Node, Estimate] = {}
        self.entries: dict[Node, _Entries] = {}
        self.locals: dict[str, list[_Local]] = {}

    def cost(self, node: Node) -> Estimate:
        match node:
            case Literal():
                return NOTHING
            case Ident():
                local = self.local(node.name)
                name = node.name.removeprefix(".")
                self.paths[node] = (name,) if local is None else local.path
                return ONE
            case Select():
                return self.select(node)
            case Call():
                return self.call(node)
            case ListNode():
                return self.list(node)
            case MapNode():
                return self.map(node)
            case Struct():
                total = fixed(STRUCT_COST)
                for entry in node.fields:
                    total = total.plus(self.cost(entry.value))
                return total
            case Comprehension():
                return self.bind(node) if node.macro == "bind" else self.comprehension(node)

    # -- names -------------------------------------------------------------------------------------

    def local(self, name: str) -> _Local | None:
        found = self.locals.get(name)
        return found[-1] if found else None

    def push(self, name: str, path: Path, size: Estimate | None, entries: _Entries | None) -> None:
        self.locals.setdefault(name, []).append(_Local(path, size, entries))

    def pop(self, name: str) -> None:
        self.locals[name].pop()

    def push_value(self, name: str, node: Node) -> None:
        self.push(name, self.path(node), self.size(node), self.entry_sizes(node))

    def push_iteration(self, name: str, node: Node, *, keys: bool, single: bool = False) -> None:
        """A variable that walks over a container: over its keys or over its values.

        A single variable walks over the values of a list and over the keys of a map.
        """
        entries = self.entry_sizes(node)
        kind = entries.kind if entries is not None else (node.type or DYN).kind
        is_list = kind == "list"
        if single:
            keys = not is_list
        size = None
        if entries is not None:
            size = entries.key if keys else entries.value
        if keys:
            below = "@indices" if is_list and not single else "@keys"
        else:
            below = "@items" if is_list else "@values"
        self.push(name, (*self.path(node), below), size, None)

    def path(self, node: Node) -> Path:
        if isinstance(node, Ident):
            local = self.local(node.name)
            if local is not None:
                return local.path
        return self.paths.get(node, ())

    def select(self, node: Select) -> Estimate:
        if node.test_only:
            # Looking whether a field is there costs nothing.
            return self.cost(node.operand)
        total = self.cost(node.operand)
        if not node.field:
            self.paths[node] = self.path(node.operand)
            return total
        if (node.operand.type or DYN).kind in ("map", "struct", "param"):
            total = total.plus(ONE)
        self.paths[node] = (*self.path(node.operand), node.field)
        return total

    # -- sizes -------------------------------------------------------------------------------------

    def size(self, node: Node) -> Estimate | None:
        found = self.sizes.get(node) or _written_size(node)
        if found is not None:
            return found
        path = self.path(node)
        found = self.size_of(path) if path else None
        if found is not None:
            self.sizes[node] = found
            return found
        if _is_scalar(node.type or DYN):
            return ONE
        if isinstance(node, Ident):
            local = self.local(node.name)
            if local is not None:
                return local.size
        return None

    def size_or_unknown(self, node: Node) -> Estimate:
        return self.size(node) or UNKNOWN

    def set_size(self, node: Node, size: Estimate | None) -> None:
        if size is not None:
            self.sizes[node] = size

    def entry_sizes(self, node: Node) -> _Entries | None:
        found = self.entries.get(node)
        if found is not None:
            return found
        if isinstance(node, Ident):
            local = self.local(node.name)
            return local.entries if local is not None else None
        return None

    def set_entries(self, node: Node, entries: _Entries | None) -> None:
        if entries is not None:
            self.entries[node] = entries

    def operand(self, node: Node) -> Operand:
        path = self.path(node)
        if path[:1] == (ACCUMULATOR,):
            path = ()
        return Operand(node, path, node.type or DYN, self.size(node), self.size_of)

    # -- calls -------------------------------------------------------------------------------------

    def call(self, node: Call) -> Estimate:
        if node.function == "dyn":
            total = ONE.plus(self.cost(node.args[0]))
            self.set_size(node, self.size(node.args[0]))
            self.set_entries(node, self.entry_sizes(node.args[0]))
            return total
        costs = [self.cost(arg) for arg in node.args]
        args = [self.operand(arg) for arg in node.args]
        if not node.overloads:
            return NOTHING
        total = NOTHING
        target: Operand | None = None
        if node.target is not None:
            total = self.cost(node.target)
            target = self.operand(node.target)
        spread: Estimate | None = None
        size: Estimate | None = None
        for overload in node.overloads:
            cost, result = self.overload(node, overload, target, args, costs)
            spread = cost if spread is None else spread.union(cost)
            if result is not None:
                size = result if size is None else size.union(result)
            if overload in ("index_list", "index_map"):
                entries = self.entry_sizes(node.args[0])
                size = entries.value if entries is not None else None
                below = "@items" if overload == "index_list" else "@values"
                self.paths[node] = (*self.path(node.args[0]), below)
            if size is None:
                size = self.size(node)
        self.set_size(node, size)
        assert spread is not None, node
        return total.plus(spread)

    def overload(
        self,
        node: Call,
        overload: str,
        target: Operand | None,
        args: list[Operand],
        costs: list[Estimate],
    ) -> tuple[Estimate, Estimate | None]:
        """The cost of a call with its arguments, and the size of its result if that is known."""
        spent = NOTHING
        for cost in costs:
            spent = spent.plus(cost)
        if overload in ("logical_and", "logical_or"):
            # The first side may decide.
            return Estimate(costs[0].least, costs[0].plus(costs[1]).most), None
        if overload == "conditional":
            size = self.size_or_unknown(node.args[1]).union(self.size_or_unknown(node.args[2]))
            self.join_entries(node, node.args[1], node.args[2])
            return costs[0].plus(costs[1].union(costs[2])), size
        if overload in ("add_string", "add_bytes", "add_list"):
            self.join_entries(node, node.args[0], node.args[1])
        cost, size = estimators.of_call(node.function, overload, target, args)
        return cost.plus(spent), size

    def join_entries(self, node: Node, left: Node, right: Node) -> None:
        first = self.entry_sizes(left)
        if first is not None:
            self.set_entries(node, first.union(self.entry_sizes(right)))

    # -- aggregates --------------------------------------------------------------------------------

    def list(self, node: ListNode) -> Estimate:
        total = fixed(LIST_COST)
        size = Estimate(MOST if node.elements else 0, 0)
        for element in node.elements:
            total = total.plus(self.cost(element))
            size = size.union(self.size_or_unknown(element))
        self.entries[node] = _Entries("list", ONE, size)
        return total

    def map(self, node: MapNode) -> Estimate:
        total = fixed(MAP_COST)
        keys = values = Estimate(MOST if node.entries else 0, 0)
        for entry in node.entries:
            total = total.plus(self.cost(entry.key)).plus(self.cost(entry.value))
            keys = keys.union(self.size_or_unknown(entry.key))
            values = values.union(self.size_or_unknown(entry.value))
        self.entries[node] = _Entries("map", keys, values)
        return total

    def comprehension(self, node: Comprehension) -> Estimate:
        total = self.cost(node.range).plus(self.cost(node.init))
        self.push_value(node.accu_var, node.init)
        if node.var2:
            self.push_iteration(node.var, node.range, keys=True)
            self.push_iteration(node.var2, node.range, keys=False)
        else:
            self.push_iteration(node.var, node.range, keys=False, single=True)
        condition, step = self.cost(node.condition), self.cost(node.step)
        self.pop(node.var)
        if node.var2:
            self.pop(node.var2)
        total = total.plus(self.cost(node.result))
        self.pop(node.accu_var)
        count = self.size_or_unknown(node.range)
        total = total.plus(count.times(step.plus(condition)))
        if isinstance(node.init, Literal):
            self.set_size(node, self.size(node.init))
        elif isinstance(node.init, (ListNode, MapNode)):
            self.set_size(node, count)
            self.set_entries(node, self.entry_sizes(node.step))
        return total

    def bind(self, node: Comprehension) -> Estimate:
        total = self.cost(node.range).plus(self.cost(node.init))
        self.push_value(node.accu_var, node.init)
        total = total.plus(self.cost(node.result))
        self.pop(node.accu_var)
        self.set_size(node, self.size(node.result))
        self.set_entries(node, self.entry_sizes(node.result))
        return total


def _written_size(node: Node) -> Estimate | None:
    """The size of what is written out in the expression."""
    if isinstance(node, Literal):
        value = node.value
        return fixed(len(value)) if isinstance(value, (str, bytes)) else ONE
    if isinstance(node, ListNode):
        return fixed(len(node.elements))
    return fixed(len(node.entries)) if isinstance(node, MapNode) else None


def _is_scalar(type_: Type) -> bool:
    inner, _ = types.unwrap_optional(type_)
    return inner.kind in _SCALARS
