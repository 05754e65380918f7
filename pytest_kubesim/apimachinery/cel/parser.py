"""Reading an expression into a tree, macros expanded.

The law: precedence and limits are cel-go's. Syntax errors have the words of the parser that ANTLR
generates, for the mistakes that people make; after one that it cannot mend by dropping a token the
parser stops, where ANTLR might find a second.

Follows ``cel-go/parser/{parser,unescape}.go``.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery.cel import literals, macros
from pytest_kubesim.apimachinery.cel.errors import CompileError, Issue
from pytest_kubesim.apimachinery.cel.lexer import EOF, Token, tokenize
from pytest_kubesim.apimachinery.cel.syntax import (
    Call,
    Entry,
    Ident,
    ListNode,
    Literal,
    MapNode,
    Node,
    Select,
    Struct,
)
from pytest_kubesim.apimachinery.cel.values import UInt

MAX_CODE_POINTS = 100_000
_MAX_DEPTH = 250

RESERVED = frozenset(
    (
        *("as", "break", "const", "continue", "else", "false", "for", "function", "if"),
        *("import", "in", "let", "loop", "package", "namespace", "null", "return", "true"),
        *("var", "void", "while"),
    )
)
_OPERANDS = (
    "'['",
    "'{'",
    "'('",
    "'.'",
    "'-'",
    "'!'",
    "'true'",
    "'false'",
    "'null'",
    "NUM_FLOAT",
    "NUM_INT",
    "NUM_UINT",
    "STRING",
    "BYTES",
    "IDENTIFIER",
)
_MAP_START = (
    "'['",
    "'{'",
    "'}'",
    "'('",
    "'.'",
    "','",
    "'-'",
    "'!'",
    "'?'",
    *_OPERANDS[6:],
)
_LIST_START = ("'['", "']'", "'{'", "'('", "'.'", "','", "'-'", "'!'", "'?'", *_OPERANDS[6:])
_SILENT = frozenset((EOF, "')'", "']'", "'}'", "ESC_IDENTIFIER"))
"""After these in an operand's place ANTLR says nothing about the end of the text."""
_INDEX_START = (*_OPERANDS[:6], "'?'", *_OPERANDS[6:])
_ARGS_START = ("'['", "'{'", "'('", "')'", *_OPERANDS[3:])
_RELATIONS = {
    "'<'": "_<_",
    "'<='": "_<=_",
    "'>'": "_>_",
    "'>='": "_>=_",
    "'=='": "_==_",
    "'!='": "_!=_",
    "'in'": "@in",
}
_SUMS = {"'+'": "_+_", "'-'": "_-_"}
_PRODUCTS = {"'*'": "_*_", "'/'": "_/_", "'%'": "_%_"}


def parse(source: str) -> Node:
    """The tree of an expression. Raises ``CompileError``."""
    if len(source) > MAX_CODE_POINTS:
        message = (
            f"expression code point size exceeds limit: size: {len(source)}, "
            f"limit {MAX_CODE_POINTS}"
        )
        raise CompileError(source, [Issue(-1, message)])
    tokens, issues = tokenize(source)
    parser = _Parser(tokens, issues)
    try:
        node = parser.start()
    except _Stop:
        node = None
    except RecursionError:
        raise too_deep(source) from None
    if parser.issues or node is None:
        raise CompileError(source, parser.issues)
    return node


def too_deep(source: str) -> CompileError:
    """What an expression gets that is nested deeper than we can go."""
    return CompileError(source, [Issue(-1, f"expression recursion limit exceeded: {_MAX_DEPTH}")])


class _Stop(Exception):
    """There is no going on after a syntax error."""


class _Parser:
    def __init__(self, tokens: list[Token], issues: list[Issue]) -> None:
        self.tokens = tokens
        self.issues = issues
        self.at = 0
        self.depth = 0
        self.brackets: list[str] = []
        """What closes the brackets around this place, the innermost last."""

    # -- tokens ------------------------------------------------------------------------------------

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.tokens[self.at]
        if token.kind != EOF:
            self.at += 1
        return token

    def accept(self, kind: str) -> Token | None:
        return self.take() if self.token.kind == kind else None

    def expect(self, kind: str, *, shown: str = "") -> Token:
        """The token of that kind; one token too many before it is reported and dropped."""
        if self.token.kind == kind:
            return self.take()
        if self.at + 1 < len(self.tokens) and self.tokens[self.at + 1].kind == kind:
            self.unexpected("extraneous", shown or kind)
            self.take()
            return self.take()
        if not shown and self.may_be_missing(kind):
            token = self.token
            self.issues.append(
                Issue(token.offset, f"Syntax error: missing {kind} at '{token.text}'")
            )
            return token
        self.unexpected("mismatched", shown or kind)
        raise _Stop

    def may_be_missing(self, kind: str) -> bool:
        """Whether what stands here could come after a token of that kind."""
        if kind == "':'":
            return self.token.kind in _OPERANDS
        if kind not in ("')'", "']'"):
            return False
        around = self.brackets[-1] if self.brackets else EOF
        return self.token.kind in (around, "','" if around == "')'" else around)

    def expect_operand(self, expected: tuple[str, ...] = _OPERANDS) -> None:
        """Stands at the beginning of an operand, or reports that there is none."""
        if self.token.kind in expected:
            return
        following = self.tokens[self.at + 1].kind if self.at + 1 < len(self.tokens) else EOF
        shown = "{" + ", ".join(expected) + "}"
        if self.token.kind != EOF and following in _OPERANDS:
            self.unexpected("extraneous", shown)
            self.take()
            return
        self.unexpected("mismatched", shown)
        if self.take().kind not in _SILENT and self.token.kind == EOF:
            self.unexpected("mismatched", shown)
        raise _Stop

    def unexpected(self, how: str, expected: str) -> None:
        token = self.token
        message = f"Syntax error: {how} input '{token.text}' expecting {expected}"
        self.issues.append(Issue(token.offset, message))

    def fail(self, offset: int, message: str) -> Literal:
        """Reports a mistake that does not hinder reading on."""
        self.issues.append(Issue(offset, message))
        return Literal(offset, None)

    def stopped(self, offset: int, message: str) -> _Stop:
        self.issues.append(Issue(offset, message))
        return _Stop()

    # -- grammar -----------------------------------------------------------------------------------

    def start(self) -> Node:
        node = self.expr()
        if self.token.kind != EOF:
            extra = self.tokens[self.at + 1].kind == EOF
            self.unexpected("extraneous" if extra else "mismatched", EOF)
            raise _Stop
        return node

    def expr(self) -> Node:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.stopped(-1, f"expression recursion limit exceeded: {_MAX_DEPTH}")
        node = self.logical("'||'", "_||_")
        question = self.accept("'?'")
        if question is not None:
            first = self.logical("'||'", "_||_")
            self.expect("':'")
            second = self.expr()
            node = Call(question.offset, "_?_:_", None, [node, first, second])
        self.depth -= 1
        return node

    def logical(self, kind: str, function: str) -> Node:
        """A chain of ``||`` or ``&&``, made into a balanced tree."""

        def term() -> Node:
            return self.logical("'&&'", "_&&_") if kind == "'||'" else self.relation()

        terms = [term()]
        offsets: list[int] = []
        while (operator := self.accept(kind)) is not None:
            offsets.append(operator.offset)
            terms.append(term())
        if not offsets:
            return terms[0]
        return _balanced(function, terms, offsets, 0, len(offsets) - 1)

    def relation(self) -> Node:
        node = self.sum()
        while (function := _RELATIONS.get(self.token.kind)) is not None:
            offset = self.take().offset
            node = Call(offset, function, None, [node, self.sum()])
        return node

    def sum(self) -> Node:
        node = self.product()
        while (function := _SUMS.get(self.token.kind)) is not None:
            offset = self.take().offset
            node = Call(offset, function, None, [node, self.product()])
        return node

    def product(self) -> Node:
        node = self.unary()
        while (function := _PRODUCTS.get(self.token.kind)) is not None:
            offset = self.take().offset
            node = Call(offset, function, None, [node, self.unary()])
        return node

    def unary(self) -> Node:
        self.expect_operand()
        token = self.token
        if token.kind not in ("'!'", "'-'"):
            return self.member()
        following = self.tokens[self.at + 1].kind
        if token.kind == "'-'" and following in ("NUM_INT", "NUM_FLOAT"):
            # The sign of a number, which is part of the literal.
            return self.member()
        count = 0
        while self.token.kind == token.kind:
            self.take()
            count += 1
        if self.token.kind == EOF:
            self.unfinished(token)
        self.expect_operand()
        node = self.member()
        if count % 2 == 0:
            return node
        function = "!_" if token.kind == "'!'" else "-_"
        return Call(token.offset, function, None, [node])

    def unfinished(self, sign: Token) -> None:
        """Reports that nothing follows a sign, in the way of each."""
        if sign.kind == "'!'":
            self.unexpected("extraneous", "{" + ", ".join(_OPERANDS) + "}")
            raise _Stop
        message = "Syntax error: no viable alternative at input '-'"
        self.issues.append(Issue(self.token.offset, message))

    def member(self) -> Node:
        node = self.primary()
        while True:
            token = self.token
            if token.kind == "'.'":
                node = self.selection(node)
            elif token.kind == "'['":
                self.take()
                if self.token.kind != "'?'":
                    self.expect_operand(_INDEX_START)
                optional = self.accept("'?'") is not None
                index = self.inside("']'")
                self.expect("']'")
                node = Call(token.offset, "_[?_]" if optional else "_[_]", None, [node, index])
            else:
                return node

    def selection(self, node: Node) -> Node:
        dot = self.take()
        if self.accept("'?'") is not None:
            name = self.field_name(dot)
            field = Literal(self.tokens[self.at - 1].offset, name)
            return Call(dot.offset, "_?._", None, [node, field])
        escaped = self.token.kind == "ESC_IDENTIFIER"
        name = self.field_name(dot)
        opening = self.token
        if opening.kind == "'('" and not escaped:
            self.take()
            args = self.arguments()
            return self.call(opening.offset, name, node, args)
        return Select(dot.offset, node, name)

    def field_name(self, dot: Token) -> str:
        token = self.token
        if token.kind == "IDENTIFIER":
            return self.take().text
        if token.kind == "ESC_IDENTIFIER":
            return self.take().text[1:-1]
        if token.kind in ("'true'", "'false'", "'null'", "'in'"):
            self.unexpected("mismatched", "IDENTIFIER")
            raise _Stop
        shown = dot.text + ("" if token.kind == EOF else token.text)
        raise self.stopped(token.offset, f"Syntax error: no viable alternative at input '{shown}'")

    def arguments(self) -> list[Node]:
        if self.accept("')'") is not None:
            return []
        self.expect_operand(_ARGS_START)
        args = [self.inside("')'")]
        while self.accept("','") is not None:
            args.append(self.inside("')'"))
        self.expect("')'")
        return args

    def inside(self, closing: str) -> Node:
        """An expression in brackets."""
        self.brackets.append(closing)
        node = self.expr()
        self.brackets.pop()
        return node

    def primary(self) -> Node:
        token = self.token
        if token.kind == "'('":
            self.take()
            node = self.inside("')'")
            self.expect("')'")
            return node
        if token.kind == "'['":
            return self.list_literal()
        if token.kind == "'{'":
            self.take()
            return MapNode(token.offset, self.map_entries())
        if token.kind in ("'.'", "IDENTIFIER"):
            return self.name()
        return self.literal()

    def list_literal(self) -> Node:
        opening = self.take()
        elements: list[Node] = []
        optional: set[int] = set()
        while self.token.kind != "']'":
            if not elements:
                if self.accept("','") is not None:
                    break
                self.expect_operand(_LIST_START)
            if self.accept("'?'") is not None:
                optional.add(len(elements))
            elements.append(self.inside("']'"))
            if self.accept("','") is None or self.token.kind == "','":
                break
        two = self.tokens[self.at - 1].kind == "','"
        self.expect("']'", shown="']'" if two else _after_value("']'", "','"))
        return ListNode(opening.offset, elements, frozenset(optional))

    def map_entries(self) -> list[Entry]:
        entries: list[Entry] = []
        while self.token.kind != "'}'":
            if not entries:
                if self.accept("','") is not None:
                    break
                self.expect_operand(_MAP_START)
            optional = self.accept("'?'") is not None
            key = self.inside("'}'")
            colon = self.expect("':'")
            entries.append(Entry(colon.offset, key, self.inside("'}'"), optional))
            if self.accept("','") is None:
                break
        self.expect("'}'", shown=_after_value("'}'", "','"))
        return entries

    def name(self) -> Node:
        start = self.token
        leading = "." if self.accept("'.'") is not None else ""
        token = self.expect("IDENTIFIER")
        if self.token.kind == "'('":
            opening = self.take()
            args = self.arguments()
            if token.text in RESERVED:
                return self.fail(start.offset, f"reserved identifier: {token.text}")
            return self.call(opening.offset, leading + token.text, None, args)
        struct = self.struct(leading + token.text)
        if struct is not None:
            return struct
        if token.text in RESERVED:
            return self.fail(start.offset, f"reserved identifier: {token.text}")
        return Ident(token.offset, leading + token.text)

    def struct(self, name: str) -> Node | None:
        """A message, if names and dots lead to an opening brace."""
        at = self.at
        parts = [name]
        while self.tokens[at].kind == "'.'" and self.tokens[at + 1].kind == "IDENTIFIER":
            parts.append(self.tokens[at + 1].text)
            at += 2
        if self.tokens[at].kind != "'{'":
            return None
        self.at = at
        opening = self.take()
        fields: list[Entry] = []
        while self.token.kind != "'}'":
            if not fields and self.accept("','") is not None:
                break
            optional = self.accept("'?'") is not None
            field = self.struct_field()
            colon = self.expect("':'")
            key = Literal(field.offset, field.text.strip("`"))
            fields.append(Entry(colon.offset, key, self.inside("'}'"), optional))
            if self.accept("','") is None:
                break
        self.expect("'}'", shown="{'}', ','}")
        return Struct(opening.offset, ".".join(parts), fields)

    def struct_field(self) -> Token:
        escaped = self.accept("ESC_IDENTIFIER")
        shown = "{'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}"
        return escaped or self.expect("IDENTIFIER", shown=shown)

    def call(self, offset: int, function: str, target: Node | None, args: list[Node]) -> Node:
        expanded = macros.expand(offset, function, target, args)
        if expanded is None:
            return Call(offset, function, target, args)
        if isinstance(expanded, Issue):
            return self.fail(expanded.offset, expanded.message)
        return expanded

    # -- literals ----------------------------------------------------------------------------------

    def literal(self) -> Node:
        token = self.token
        sign = ""
        if token.kind == "'-'":
            self.take()
            sign = "-"
        number = self.token
        if number.kind == "NUM_INT":
            self.take()
            return self.integer(token.offset, sign, number.text)
        if number.kind == "NUM_FLOAT":
            self.take()
            value = float(sign + number.text)
            if value in (float("inf"), float("-inf")):
                return self.fail(token.offset, "invalid double literal")
            return Literal(token.offset, value)
        self.take()
        if token.kind == "NUM_UINT":
            value = literals.number(token.text[:-1])
            if value >= 1 << 64:
                return self.fail(token.offset, "invalid uint literal")
            return Literal(token.offset, UInt(value))
        if token.kind in ("STRING", "BYTES"):
            return self.text(token)
        constants: dict[str, Any] = {"'true'": True, "'false'": False, "'null'": None}
        return Literal(token.offset, constants[token.kind])

    def integer(self, offset: int, sign: str, text: str) -> Node:
        value = -literals.number(text) if sign else literals.number(text)
        if not -(1 << 63) <= value < 1 << 63:
            return self.fail(offset, "invalid int literal")
        return Literal(offset, value)

    def text(self, token: Token) -> Node:
        is_bytes = token.kind == "BYTES"
        try:
            value = literals.unescape(token.text[1:] if is_bytes else token.text, is_bytes=is_bytes)
        except ValueError as problem:
            return self.fail(token.offset, str(problem))
        return Literal(token.offset, value)


def _after_value(*closing: str) -> str:
    """What may come after a whole operand, as an error lists it."""
    return "{" + ", ".join(closing) + "}"


def _balanced(function: str, terms: list[Node], offsets: list[int], low: int, high: int) -> Node:
    middle = (low + high + 1) // 2
    left = terms[middle] if middle == low else _balanced(function, terms, offsets, low, middle - 1)
    right = (
        terms[middle + 1]
        if middle == high
        else _balanced(function, terms, offsets, middle + 1, high)
    )
    return Call(offsets[middle], function, None, [left, right])
