"""Label selectors: ``app=web,tier in (front,back),!legacy``, parsed once and matched often.

A selector is immutable; selectors that only demand values (by far the most) are compiled to a
tuple of pairs, the others to a tuple of small functions.

Follows ``apimachinery/pkg/labels/selector.go`` and ``pkg/apis/meta/v1/helpers.go``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias, cast

import attrs

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.golang import parse_int, quote
from pytest_kubesim.apimachinery.meta import Object

IN = "in"
NOT_IN = "notin"
EQUALS = "="
DOUBLE_EQUALS = "=="
NOT_EQUALS = "!="
GREATER_THAN = "gt"
LESS_THAN = "lt"
EXISTS = "exists"
DOES_NOT_EXIST = "!"

_BINARY = (IN, NOT_IN, EQUALS, DOUBLE_EQUALS, NOT_EQUALS, GREATER_THAN, LESS_THAN)
_PRINTED = {
    EQUALS: "=",
    DOUBLE_EQUALS: "==",
    NOT_EQUALS: "!=",
    GREATER_THAN: ">",
    LESS_THAN: "<",
}

_Test: TypeAlias = Callable[[Mapping[str, str]], bool]


@attrs.frozen
class Requirement:
    """One condition on one key; made by ``new_requirement``, which checks it."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels fulfil it."""
        return _compiled(self)(labels)

    def __str__(self) -> str:
        if self.operator == EXISTS:
            return self.key
        if self.operator == DOES_NOT_EXIST:
            return f"!{self.key}"
        values = ",".join(sorted(self.values))
        if self.operator in {IN, NOT_IN}:
            return f"{self.key} {self.operator} ({values})"
        return f"{self.key}{_PRINTED[self.operator]}{values}"


def new_requirement(
    key: str, operator: str, values: Sequence[str] | None, path: field.Path = field.NIL
) -> Requirement:
    """A checked requirement; raises ``ValueError`` with all complaints as Go prints them."""
    errors: field.ErrorList = []
    if messages := formats.is_qualified_name(key):
        errors.append(field.invalid(path.child("key"), key, "; ".join(messages)))
    given = values or ()
    value_path = path.child("values")
    if (problem := _count_problem(operator, len(given))) is not None:
        shown = None if values is None else list(values)
        errors.append(field.invalid(value_path, shown, problem))
    if operator in {GREATER_THAN, LESS_THAN}:
        for position, value in enumerate(given):
            if _number(value) is None:
                detail = "for 'Gt', 'Lt' operators, the value must be an integer"
                errors.append(field.invalid(value_path.index(position), value, detail))
    elif operator not in {*_BINARY, EXISTS, DOES_NOT_EXIST}:
        supported = (*_BINARY, EXISTS, DOES_NOT_EXIST)
        errors.append(field.not_supported(path.child("operator"), operator, supported))
    for position, value in enumerate(given):
        if messages := formats.is_valid_label_value(value):
            where = value_path.index(position).key(key)
            errors.append(field.invalid(where, value, "; ".join(messages)))
    if errors:
        raise ValueError(field.aggregate(errors))
    return Requirement(key, operator, tuple(given))


def _count_problem(operator: str, count: int) -> str | None:
    if operator in {IN, NOT_IN} and count == 0:
        return "for 'in', 'notin' operators, values set can't be empty"
    if operator in {EQUALS, DOUBLE_EQUALS, NOT_EQUALS} and count != 1:
        return "exact-match compatibility requires one single value"
    if operator in {EXISTS, DOES_NOT_EXIST} and count != 0:
        return "values set must be empty for exists and does not exist"
    if operator in {GREATER_THAN, LESS_THAN} and count != 1:
        return "for 'Gt', 'Lt' operators, exactly one value is required"
    return None


def _number(text: str) -> int | None:
    try:
        return parse_int(text)
    except ValueError:
        return None


def _compiled(requirement: Requirement) -> _Test:
    key, operator = requirement.key, requirement.operator
    values = frozenset(requirement.values)
    if operator in {IN, EQUALS, DOUBLE_EQUALS}:
        return lambda labels: labels.get(key) in values
    if operator in {NOT_IN, NOT_EQUALS}:
        return lambda labels: labels.get(key) not in values
    if operator == EXISTS:
        return lambda labels: key in labels
    if operator == DOES_NOT_EXIST:
        return lambda labels: key not in labels
    limit = _number(requirement.values[0])
    assert limit is not None

    def compare(labels: Mapping[str, str]) -> bool:
        number = _number(labels.get(key, ""))
        if number is None:
            return False
        return number > limit if operator == GREATER_THAN else number < limit

    return compare


class Selector:
    """All of its requirements must hold; ``nothing()`` never does. ``str()`` is canonical."""

    __slots__ = ("_pairs", "_tests", "requirements", "selects")

    def __init__(self, requirements: Iterable[Requirement] = (), *, selects: bool = True) -> None:
        ordered = tuple(sorted(requirements, key=lambda requirement: requirement.key))
        self.requirements: Final = ordered
        self.selects: Final = selects
        self._pairs = tuple(
            (r.key, r.values[0])
            for r in ordered
            if r.operator in {IN, EQUALS, DOUBLE_EQUALS} and len(r.values) == 1
        )
        self._tests = tuple(
            _compiled(r)
            for r in ordered
            if r.operator not in {IN, EQUALS, DOUBLE_EQUALS} or len(r.values) != 1
        )

    @property
    def empty(self) -> bool:
        """Whether everything matches."""
        return self.selects and not self.requirements

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        """Whether the labels fulfil every requirement; ``None`` stands for no labels."""
        if not self.selects:
            return False
        given: Mapping[str, str] = labels or {}
        for key, value in self._pairs:
            if given.get(key) != value:
                return False
        return all(test(given) for test in self._tests) if self._tests else True

    def add(self, *requirements: Requirement) -> Selector:
        """The selector that demands these too; ``nothing()`` stays what it is."""
        return Selector((*self.requirements, *requirements)) if self.selects else self

    def requires_exact_match(self, label: str) -> str | None:
        """The value that the label must have, or ``None`` where it is not pinned."""
        for requirement in self.requirements:
            if requirement.key == label:
                pinned = requirement.operator in {EQUALS, DOUBLE_EQUALS, IN}
                return requirement.values[0] if pinned and len(requirement.values) == 1 else None
        return None

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    def __repr__(self) -> str:
        return f"Selector({str(self)!r})" if self.selects else "nothing()"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Selector):
            return NotImplemented
        return (other.selects, other.requirements) == (self.selects, self.requirements)

    def __hash__(self) -> int:
        return hash((self.selects, self.requirements))


_EVERYTHING = Selector()
_NOTHING = Selector(selects=False)


def everything() -> Selector:
    """The selector that matches all, labelled or not."""
    return _EVERYTHING


def nothing() -> Selector:
    """The selector that matches none."""
    return _NOTHING


def from_set(labels: Mapping[str, str] | None) -> Selector:
    """The selector that demands these labels, unchecked; no labels match everything."""
    if not labels:
        return _EVERYTHING
    return _from_pairs(tuple(labels.items()))


@lru_cache(maxsize=4096)
def _from_pairs(pairs: tuple[tuple[str, str], ...]) -> Selector:
    return Selector(Requirement(key, EQUALS, (value,)) for key, value in pairs)


_OPERATORS = {"In": IN, "NotIn": NOT_IN, "Exists": EXISTS, "DoesNotExist": DOES_NOT_EXIST}


def from_label_selector(selector: Object | None) -> Selector:
    """The selector of a ``LabelSelector``: ``None`` matches nothing, an empty one everything.

    Raises ``ValueError`` with upstream's text for one that is malformed.
    """
    if selector is None:
        return _NOTHING
    pairs = cast("dict[str, str]", selector.get("matchLabels") or {})
    expressions = cast("list[dict[str, Any]]", selector.get("matchExpressions") or [])
    if not pairs and not expressions:
        return _EVERYTHING
    requirements = list(_checked_pairs(tuple(pairs.items())))
    if not expressions:
        return _from_pairs(tuple(pairs.items()))
    for expression in expressions:
        operator = expression.get("operator") or ""
        if operator not in _OPERATORS:
            raise ValueError(f"{quote(operator)} is not a valid label selector operator")
        key = expression.get("key") or ""
        values = expression.get("values") or None
        requirements.append(new_requirement(key, _OPERATORS[operator], values))
    return Selector(requirements)


@lru_cache(maxsize=4096)
def _checked_pairs(pairs: tuple[tuple[str, str], ...]) -> tuple[Requirement, ...]:
    return tuple(new_requirement(key, EQUALS, [value]) for key, value in pairs)


def format_label_selector(selector: Object | None) -> str:
    """How kubectl prints a ``LabelSelector``: ``<none>`` if empty, ``<error>`` if malformed."""
    try:
        return str(from_label_selector(selector)) or "<none>"
    except ValueError:
        return "<error>"


# -- parsing ---------------------------------------------------------------------------------------

_SPECIAL = frozenset("=!(),><")
_SPACE = frozenset(" \t\r\n")
_END = ""
_TOKENS = frozenset({")", ",", "!", "==", "=", ">", "in", "<", "!=", "notin", "(", _END})
_OPERATOR_TOKENS = {
    "in": IN,
    "notin": NOT_IN,
    "=": EQUALS,
    "==": DOUBLE_EQUALS,
    "!=": NOT_EQUALS,
    ">": GREATER_THAN,
    "<": LESS_THAN,
}


def printed(selector: Object | None) -> str:
    """A `*LabelSelector` as Go prints it (`%+v`)."""
    if selector is None:
        return "nil"
    pairs: dict[str, str] = selector.get("matchLabels") or {}
    matched = "".join(f"{key}: {pairs[key]}," for key in sorted(pairs))
    entries: list[Object] = selector.get("matchExpressions") or []
    expressions = "".join(
        f"LabelSelectorRequirement{{Key:{entry['key']},Operator:{entry['operator']},"
        f"Values:[{' '.join(entry.get('values') or ())}],}},"
        for entry in entries
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{matched}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )


@lru_cache(maxsize=1024)
def parse(text: str) -> Selector:
    """Reads a selector; raises ``ValueError`` with upstream's text for one that is malformed."""
    requirements = _Parser(text).parse()
    return Selector(requirements) if requirements else _EVERYTHING


_EXPRESSIONS = {operator: name for name, operator in _OPERATORS.items()}


def as_label_selector(text: str) -> Object:
    """The ``LabelSelector`` that says what a selector says (`ParseToLabelSelector`).

    Raises ``ValueError`` with upstream's text where none does.
    """
    try:
        requirements = parse(text).requirements
    except ValueError as error:
        raise ValueError(f'couldn\'t parse the selector string "{text}": {error}') from None
    pairs: dict[str, str] = {}
    expressions: list[Object] = []
    for each in requirements:
        if each.operator in {EQUALS, DOUBLE_EQUALS}:
            pairs[each.key] = each.values[0]
        elif each.operator in {GREATER_THAN, LESS_THAN}:
            raise ValueError(f"{quote(each.operator)} isn't supported in label selectors")
        elif each.operator not in _EXPRESSIONS:
            raise ValueError(f"{quote(each.operator)} is not a valid label selector operator")
        else:
            operator = _EXPRESSIONS[each.operator]
            expressions.append({"key": each.key, "operator": operator, "values": [*each.values]})
    return {"matchLabels": pairs, "matchExpressions": expressions}


def _lex(text: str) -> list[str]:
    # A NUL byte ends the text, as it does for upstream's lexer.
    text = text.partition("\0")[0]
    tokens: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character in _SPACE:
            position += 1
        elif character in _SPECIAL:
            token = text[position : position + 2]
            token = token if token in {"==", "!="} else character
            tokens.append(token)
            position += len(token)
        else:
            start = position
            while position < len(text) and text[position] not in _SPECIAL | _SPACE:
                position += 1
            tokens.append(text[start:position])
    return [*tokens, _END]


def _is_identifier(token: str) -> bool:
    # Where values may stand, "in" and "notin" are ordinary words.
    return token not in _TOKENS or token in {"in", "notin"}


class _Parser:
    """Upstream's recursive descent over the tokens of one selector."""

    def __init__(self, text: str) -> None:
        self._tokens = _lex(text)
        self._position = 0

    def _peek(self) -> str:
        return self._tokens[self._position]

    def _next(self) -> str:
        self._position += 1
        return self._tokens[self._position - 1]

    def parse(self) -> list[Requirement]:
        requirements: list[Requirement] = []
        while True:
            token = self._peek()
            if token == _END:
                return requirements
            if not _is_identifier(token) and token != "!":
                raise ValueError(f"found '{token}', expected: !, identifier, or 'end of string'")
            try:
                requirements.append(self._requirement())
            except ValueError as problem:
                raise ValueError(f"unable to parse requirement: {problem}") from None
            separator = self._next()
            if separator == _END:
                return requirements
            if separator != ",":
                raise ValueError(f"found '{separator}', expected: ',' or 'end of string'")
            following = self._peek()
            if not _is_identifier(following) and following != "!":
                raise ValueError(f"found '{following}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        operator = ""
        key = self._next()
        if key == "!":
            operator = DOES_NOT_EXIST
            key = self._next()
        if not _is_identifier(key):
            raise ValueError(f"found '{key}', expected: identifier")
        if messages := formats.is_qualified_name(key):
            raise ValueError(str(field.invalid(field.NIL, key, "; ".join(messages))))
        if not operator and self._peek() in {_END, ","}:
            operator = EXISTS
        if operator:
            return new_requirement(key, operator, [])
        token = self._next()
        if token not in _OPERATOR_TOKENS:
            raise ValueError(f"found '{token}', expected: {', '.join(_BINARY)}")
        operator = _OPERATOR_TOKENS[token]
        values = self._values() if operator in {IN, NOT_IN} else self._exact_value()
        return new_requirement(key, operator, sorted(values))

    def _exact_value(self) -> set[str]:
        if self._peek() in {_END, ","}:
            return {""}
        token = self._next()
        if not _is_identifier(token):
            raise ValueError(f"found '{token}', expected: identifier")
        return {token}

    def _values(self) -> set[str]:
        token = self._next()
        if token != "(":
            raise ValueError(f"found '{token}' expected: '('")
        first = self._peek()
        if first == ")":
            self._next()
            return {""}
        if not _is_identifier(first) and first != ",":
            raise ValueError(f"found '{first}', expected: ',', ')' or identifier")
        values = self._identifiers()
        if self._next() != ")":
            raise ValueError(f"found '{first}', expected: ')'")
        return values

    def _identifiers(self) -> set[str]:
        values: set[str] = set()
        while True:
            token = self._next()
            following = self._peek() if token != _END else _END
            if _is_identifier(token):
                values.add(token)
                if following == ")":
                    return values
                if following != ",":
                    raise ValueError(f"found '{following}', expected: ',' or ')'")
            elif token == ",":
                if not values or following in {")", ","}:
                    values.add("")
                if following == ")":
                    return values
            else:
                raise ValueError(f"found '{token}', expected: ',', or identifier")
