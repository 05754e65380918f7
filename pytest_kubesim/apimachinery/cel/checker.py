"""Giving every node of a tree its type.

The law: the tree is annotated in place, once; the texts of mistakes are cel-go's. A mistake does
not end the check, so that all are told.

Follows ``cel-go/checker/{checker,errors}.go``.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_kubesim.apimachinery.cel import types
from pytest_kubesim.apimachinery.cel.environment import Environment, Function
from pytest_kubesim.apimachinery.cel.errors import CompileError, Issue
from pytest_kubesim.apimachinery.cel.syntax import (
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
    children,
)
from pytest_kubesim.apimachinery.cel.types import (
    BOOL,
    DYN,
    ERROR,
    INT,
    Bindings,
    Type,
    format_type,
    substitute,
)
from pytest_kubesim.apimachinery.cel.values import type_of


def check(source: str, node: Node, environment: Environment) -> Type:
    """Annotates the tree and returns its type. Raises ``CompileError``."""
    checker = _Checker(environment)
    checker.check(node)
    if checker.issues:
        raise CompileError(source, checker.issues)
    _settle(node, checker.bindings)
    return node.type or DYN


def _settle(node: Node, bindings: Bindings) -> None:
    """Writes the final types: parameters that nothing bound are dynamic."""
    if node.type is not None:
        node.type = substitute(bindings, node.type, free_to_dyn=True)
    for child in children(node):
        _settle(child, bindings)


class _Checker:
    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.bindings: Bindings = {}
        self.issues: list[Issue] = []
        self.scopes: list[dict[str, Type]] = []
        self.fresh = 0

    def report(self, node: Node | Entry, message: str) -> None:
        self.issues.append(Issue(node.offset, message))

    def undeclared(self, node: Node, name: str) -> None:
        self.report(node, f"undeclared reference to '{name}' (in container '')")

    def new_variable(self) -> Type:
        made = types.param(f"_var{self.fresh}")
        self.fresh += 1
        return made

    def assignable(self, left: Type, right: Type) -> bool:
        found = types.assignable(self.bindings, left, right)
        if found is None:
            return False
        self.bindings = found
        return True

    def check(self, node: Node) -> Type:
        """The type of a node, which is written into it."""
        match node:
            case Literal():
                found = type_of(node.value)
            case Ident():
                found = self.ident(node)
            case Select():
                found = self.select(node)
            case Call():
                found = self.call(node)
            case ListNode():
                found = self.list(node)
            case MapNode():
                found = self.map(node)
            case Struct():
                found = self.struct(node)
            case Comprehension():
                found = self.comprehension(node)
        node.type = found
        return found

    # -- names -------------------------------------------------------------------------------------

    def local(self, name: str) -> Type | None:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return None

    def ident(self, node: Ident) -> Type:
        found = self.local(node.name)
        if found is not None:
            return found
        name = node.name.removeprefix(".")
        declared = self.environment.variables.get(name)
        if declared is not None:
            return declared
        named = self.environment.type_named(name)
        if named is not None:
            node.constant = named
            return types.type_of(named)
        self.undeclared(node, node.name)
        return ERROR

    def qualified(self, node: Select) -> str | None:
        """The dotted name that a chain of selections may be."""
        parts: list[str] = []
        current: Node = node
        while isinstance(current, Select):
            if current.test_only:
                return None
            parts.append(current.field)
            current = current.operand
        if not isinstance(current, Ident) or self.local(current.name) is not None:
            return None
        return ".".join([current.name, *reversed(parts)]).removeprefix(".")

    def select(self, node: Select) -> Type:
        if not node.field:
            # Macros use a target twice: it has been seen to be a name with dots in it.
            return node.operand.type or DYN
        name = self.qualified(node)
        if name is not None:
            declared = self.environment.variables.get(name)
            constant = None if declared is not None else self.environment.type_named(name)
            if declared is not None or constant is not None:
                # A name with dots in it: the selection stands for a variable.
                node.operand = Ident(node.offset, name, declared, constant)
                node.field = ""
                if constant is not None:
                    node.operand.type = types.type_of(constant)
                return node.operand.type or DYN
        found = self.field(node, node.operand, node.field, optional=False)
        return BOOL if node.test_only else substitute(self.bindings, found)

    def field(self, node: Node, operand: Node, field: str, *, optional: bool) -> Type:
        operand_type = substitute(self.bindings, self.check(operand))
        target, was_optional = types.unwrap_optional(operand_type)
        result = DYN
        if target.kind == "map":
            result = target.params[1]
        elif target.kind == "struct":
            struct = self.environment.struct(target.name)
            found = struct.fields.get(field) if struct is not None else None
            if struct is None:
                self.report(node, f"unexpected failed resolution of '{target.name}'")
                result = ERROR
            elif found is None:
                self.report(node, f"undefined field '{field}'")
                result = ERROR
            else:
                result = found
        elif target.kind == "param":
            self.assignable(DYN, target)
        elif not types.is_dyn_or_error(target):
            shown = format_type(target)
            self.report(node, f"type '{shown}' does not support field selection")
        return types.optional(result) if optional or was_optional else result

    # -- calls -------------------------------------------------------------------------------------

    def call(self, node: Call) -> Type:
        if node.function == "_?._":
            return self.optional_select(node)
        for arg in node.args:
            self.check(arg)
        functions = self.environment.functions
        if node.target is None:
            found = functions.get(node.function.removeprefix("."))
            if found is None:
                self.undeclared(node, node.function)
                return ERROR
            node.function = found.name
            return self.resolve(node, found)
        prefix = _dotted(node.target)
        if prefix is not None:
            namespaced = functions.get(f"{prefix}.{node.function}")
            if namespaced is not None:
                node.target = None
                node.function = namespaced.name
                return self.resolve(node, namespaced)
        self.check(node.target)
        found = functions.get(node.function)
        if found is None:
            self.undeclared(node, node.function)
            return ERROR
        return self.resolve(node, found)

    def optional_select(self, node: Call) -> Type:
        operand, field = node.args
        assert isinstance(field, Literal), node
        result = self.field(node, operand, str(field.value), optional=True)
        field.type = types.STRING
        node.overloads = ["select_optional_field"]
        return substitute(self.bindings, result)

    def resolve(self, node: Call, function: Function) -> Type:
        args = [*([node.target] if node.target is not None else ()), *node.args]
        arg_types = [arg.type or ERROR for arg in args]
        if function.name in ("_&&_", "_||_"):
            return self.logical(node, function, arg_types)
        result: Type | None = None
        overloads: list[str] = []
        for overload in function.overloads:
            if overload.member != (node.target is not None):
                continue
            wanted, returned = list(overload.args), overload.result
            if overload.is_generic:
                wanted, returned = self.instantiate(wanted, returned)
            bindings = types.assignable_all(self.bindings, arg_types, wanted)
            if bindings is None:
                continue
            self.bindings = bindings
            overloads.append(overload.id)
            found = substitute(self.bindings, returned)
            if result is None:
                result = found
            elif not types.is_dyn(result) and found != result:
                result = DYN
        if result is None:
            shown = [substitute(self.bindings, arg, free_to_dyn=True) for arg in arg_types]
            signature = types.format_signature(shown, member=node.target is not None)
            name = function.name
            self.report(node, f"found no matching overload for '{name}' applied to '{signature}'")
            return ERROR
        node.overloads = overloads
        return result

    def logical(self, node: Call, function: Function, arg_types: list[Type]) -> Type:
        node.overloads = [function.overloads[0].id]
        wrong = False
        for arg, arg_type in zip(node.args, arg_types, strict=True):
            if not self.assignable(arg_type, BOOL):
                self.mismatch(arg, BOOL, arg_type)
                wrong = True
        return ERROR if wrong else BOOL

    def instantiate(self, args: list[Type], result: Type) -> tuple[list[Type], Type]:
        """A signature with fresh variables for its type parameters."""
        fresh: Bindings = {}
        for type_ in (*args, result):
            self.freshen(type_, fresh)
        return [substitute(fresh, arg) for arg in args], substitute(fresh, result)

    def freshen(self, type_: Type, fresh: Bindings) -> None:
        if type_.kind == "param" and type_ not in fresh:
            fresh[type_] = self.new_variable()
        for inner in type_.params:
            self.freshen(inner, fresh)

    # -- aggregates --------------------------------------------------------------------------------

    def mismatch(self, node: Node, expected: Type, found: Type) -> None:
        expected = substitute(self.bindings, expected)
        found = substitute(self.bindings, found)
        message = f"expected type '{format_type(expected)}' but found '{format_type(found)}'"
        self.report(node, message)

    def join(self, before: Type | None, found: Type) -> Type:
        """The type of several elements: dynamic if they do not go together."""
        if before is None:
            return found
        return types.most_general(before, found) if self.assignable(before, found) else DYN

    def element(self, node: Node, *, optional: bool) -> Type:
        found = self.check(node)
        if not optional:
            return found
        inner, is_optional = types.unwrap_optional(found)
        if not is_optional and not types.is_dyn(found):
            self.mismatch(node, types.optional(found), found)
        return inner

    def list(self, node: ListNode) -> Type:
        joined: Type | None = None
        for index, element in enumerate(node.elements):
            found = self.element(element, optional=index in node.optional)
            joined = self.join(joined, found)
        return types.list_of(joined or self.new_variable())

    def map(self, node: MapNode) -> Type:
        keys: Type | None = None
        values: Type | None = None
        for entry in node.entries:
            keys = self.join(keys, self.check(entry.key))
            found = self.element(entry.value, optional=entry.optional)
            values = self.join(values, found)
        if keys is None or values is None:
            return types.map_of(self.new_variable(), self.new_variable())
        return types.map_of(keys, values)

    def struct(self, node: Struct) -> Type:
        name = node.name.removeprefix(".")
        struct = self.environment.struct(name)
        if struct is None:
            if self.environment.type_named(name) is None:
                self.undeclared(node, node.name)
            else:
                self.report(node, f"'{name}' is not a message type")
            return ERROR
        node.name = name
        for entry in node.fields:
            self.struct_field(entry, struct.fields)
        return types.struct(name)

    def struct_field(self, entry: Entry, fields: Mapping[str, Type]) -> None:
        assert isinstance(entry.key, Literal), entry
        name = str(entry.key.value)
        found = self.element(entry.value, optional=entry.optional)
        declared = fields.get(name)
        if declared is None:
            self.report(entry, f"undefined field '{name}'")
        elif not self.assignable(declared, found):
            self.report(
                entry,
                f"expected type of field '{name}' is '{format_type(declared)}' "
                f"but provided type is '{format_type(found)}'",
            )

    def comprehension(self, node: Comprehension) -> Type:
        range_type = self.check(node.range)
        accu_type = self.check(node.init)
        range_type = substitute(self.bindings, range_type)
        first, second = self.iteration(node, range_type)
        self.scopes.append({node.accu_var: accu_type})
        variables = {node.var: first}
        if node.var2:
            variables[node.var2] = second
        self.scopes.append(variables)
        self.expect(node.condition, BOOL)
        self.expect(node.step, accu_type)
        self.scopes.pop()
        result = self.check(node.result)
        self.scopes.pop()
        return substitute(self.bindings, result)

    def expect(self, node: Node, wanted: Type) -> None:
        found = self.check(node)
        if not self.assignable(wanted, found):
            self.mismatch(node, wanted, found)

    def iteration(self, node: Comprehension, range_type: Type) -> tuple[Type, Type]:
        """The types of the iteration variables."""
        if range_type.kind == "list":
            item = range_type.params[0]
            return (INT, item) if node.var2 else (item, item)
        if range_type.kind == "map":
            return range_type.params[0], range_type.params[1]
        if range_type.kind in ("dyn", "error", "param"):
            self.assignable(DYN, range_type)
            return DYN, DYN
        self.report(
            node.range,
            f"expression of type '{format_type(range_type)}' cannot be range of a comprehension "
            "(must be list, map, or dynamic)",
        )
        return ERROR, ERROR


def _dotted(node: Node) -> str | None:
    if isinstance(node, Ident):
        return node.name.removeprefix(".")
    if isinstance(node, Select) and not node.test_only:
        prefix = _dotted(node.operand)
        return None if prefix is None else f"{prefix}.{node.field}"
    return None
