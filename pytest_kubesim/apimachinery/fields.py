"""Field selectors: ``metadata.name=web,status.phase!=Running``.

Which fields a kind offers is the registry's business; here a field is any text before the operator.
Commas, equal signs and backslashes in values are escaped with a backslash.

Follows ``apimachinery/pkg/fields/selector.go``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

EQUALS = "="
NOT_EQUALS = "!="


class Requirement(NamedTuple):
    """One term: the field, ``=`` or ``!=``, and the value without escapes."""

    field: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.field}{self.operator}{escape(self.value)}"


class Selector:
    """All of its requirements must hold. Immutable, hashable; ``str()`` is the canonical form."""

    __slots__ = ("requirements",)

    def __init__(self, requirements: tuple[Requirement, ...] = ()) -> None:
        self.requirements: Final = requirements

    @property
    def empty(self) -> bool:
        """Whether everything matches."""
        return not self.requirements

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Whether the fields fulfil every requirement; a field not given counts as empty."""
        for field, operator, value in self.requirements:
            if (fields.get(field, "") == value) is (operator == NOT_EQUALS):
                return False
        return True

    def requires_exact_match(self, field: str) -> str | None:
        """The value that the field must have, or ``None`` where it is not pinned."""
        for requirement in self.requirements:
            if requirement.field == field and requirement.operator == EQUALS:
                return requirement.value
        return None

    def transform(self, function: Callable[[str, str], tuple[str, str]]) -> Selector:
        """The selector with every field and value converted; what becomes empty drops out."""
        terms: list[Requirement] = []
        for field, operator, value in self.requirements:
            new_field, new_value = function(field, value)
            if new_field or new_value:
                terms.append(Requirement(new_field, operator, new_value))
        return Selector(tuple(terms))

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    def __repr__(self) -> str:
        return f"Selector({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Selector) and other.requirements == self.requirements

    def __hash__(self) -> int:
        return hash(self.requirements)


_EVERYTHING = Selector()


def everything() -> Selector:
    """The selector that matches all."""
    return _EVERYTHING


def equal(field: str, value: str) -> Selector:
    """The selector of one field with one value."""
    return Selector((Requirement(field, EQUALS, value),))


def escape(value: str) -> str:
    """A value as it must be written in a selector."""
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def unescape(value: str) -> str:
    """The value that is meant; raises ``ValueError`` with upstream's text for a wrong escape."""
    if not any(character in value for character in "\\,="):
        return value
    result: list[str] = []
    characters = iter(value)
    for character in characters:
        if character == "\\":
            escaped = next(characters, "")
            if escaped not in {"\\", ",", "="}:
                problem = f"invalid escape sequence: \\{escaped}"
                raise ValueError(f"invalid field selector: {problem}")
            result.append(escaped)
        elif character in ",=":
            # Upstream prints the rune as a number.
            problem = f"unescaped character in value: {ord(character)}"
            raise ValueError(f"invalid field selector: {problem}")
        else:
            result.append(character)
    return "".join(result)


@lru_cache(maxsize=1024)
def parse(text: str) -> Selector:
    """Reads a selector; raises ``ValueError`` with upstream's text for one that is malformed."""
    requirements: list[Requirement] = []
    for term in sorted(_terms(text)):
        if not term:
            continue
        requirement = _requirement(text, term)
        # A term without field and value drops out, as upstream's Transform drops it.
        if requirement.field or requirement.value:
            requirements.append(requirement)
    return Selector(tuple(requirements))


def _terms(text: str) -> list[str]:
    terms: list[str] = []
    start = 0
    escaped = False
    for position, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ",":
            terms.append(text[start:position])
            start = position + 1
    return [*terms, text[start:]]


def _requirement(text: str, term: str) -> Requirement:
    for position in range(len(term)):
        for operator in ("!=", "==", "="):
            if term.startswith(operator, position):
                value = unescape(term[position + len(operator) :])
                kind = NOT_EQUALS if operator == "!=" else EQUALS
                return Requirement(term[:position], kind, value)
    raise ValueError(f"invalid selector: '{text}'; can't understand '{term}'")
