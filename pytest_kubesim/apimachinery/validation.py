"""Field errors: what is wrong with an object, where, and in which words.

A validator returns a list of ``FieldError`` and never raises; ``status.new_invalid`` turns the list
into the answer. The texts are upstream's to the letter, because clients and their tests read them.
The formats of names and values are in ``formats``, the rules of ``metadata`` in ``objectmeta``.

Follows ``apimachinery/pkg/util/validation/field/{path,errors}.go``, ``pkg/util/errors`` for how a
list is printed, and ``pkg/util/validation`` for the checks that need a path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import attrs

from pytest_kubesim.apimachinery import addresses, formats, golang

# -- where ---------------------------------------------------------------------------------------


_REMEMBERED = 64
"""How many of its fields a path remembers."""


class Path:
    """The way to a field: ``Path("spec").child("ports").index(0)`` prints ``spec.ports[0]``.

    Immutable; a path without names prints as ``<nil>``, as Go's nil ``*Path`` does.
    """

    __slots__ = ("_children", "_text")

    def __init__(self, *names: str) -> None:
        self._text = ".".join(names)
        self._children: dict[str, Path] = {}
        """Fields below that were asked for: most paths are, at every request."""

    def child(self, *names: str) -> Path:
        """The field below, and below that for every further name."""
        if len(names) == 1:
            found = self._children.get(names[0])
            if found is not None:
                return found
        made = Path(self._text, *names) if self._text else Path(*names)
        if len(names) == 1 and len(self._children) < _REMEMBERED:
            self._children[names[0]] = made
        return made

    def index(self, index: int) -> Path:
        """An element of the list."""
        return self.key(str(index))

    def key(self, key: str) -> Path:
        """An entry of the map."""
        return Path(f"{self._text}[{key}]")

    def __str__(self) -> str:
        return self._text or "<nil>"

    def __repr__(self) -> str:
        return f"Path({self._text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Path) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


NIL: Final = Path()
"""Go's nil path, which prints as ``<nil>``."""

# -- what ----------------------------------------------------------------------------------------

NOT_FOUND = "FieldValueNotFound"
REQUIRED = "FieldValueRequired"
DUPLICATE = "FieldValueDuplicate"
INVALID = "FieldValueInvalid"
NOT_SUPPORTED = "FieldValueNotSupported"
FORBIDDEN = "FieldValueForbidden"
TOO_LONG = "FieldValueTooLong"
TOO_MANY = "FieldValueTooMany"
TOO_FEW = "FieldValueTooFew"
INTERNAL = "InternalError"
TYPE_INVALID = "FieldValueTypeInvalid"
TOO_SHORT = "FieldValueTooShort"

_TITLES = {
    NOT_FOUND: "Not found",
    REQUIRED: "Required value",
    DUPLICATE: "Duplicate value",
    INVALID: "Invalid value",
    NOT_SUPPORTED: "Unsupported value",
    FORBIDDEN: "Forbidden",
    TOO_LONG: "Too long",
    TOO_MANY: "Too many",
    TOO_FEW: "Too few",
    INTERNAL: "Internal error",
    TYPE_INVALID: "Invalid value",
    TOO_SHORT: "Too short",
}
_WITHOUT_VALUE = frozenset({REQUIRED, FORBIDDEN, TOO_LONG, TOO_SHORT, INTERNAL})


class _Omitted:
    """The type of ``OMITTED``."""

    def __repr__(self) -> str:
        return "OMITTED"


OMITTED: Final = _Omitted()
"""A bad value that is not printed at all."""


@attrs.frozen
class Printed:
    """A bad value with its text given: for what is a struct in Go and prints in its own way."""

    text: str


@attrs.frozen
class FieldError:
    """One complaint about one field; ``str()`` is the line that users see."""

    type: str
    field: str
    bad_value: Any
    detail: str = ""
    declared: bool = attrs.field(default=False, eq=False)
    """By a rule that the API declares: such complaints come after those that are written out."""

    @property
    def body(self) -> str:
        """The complaint without the field: the message of a status cause."""
        text = _TITLES[self.type]
        if self.type not in _WITHOUT_VALUE and self.bad_value is not OMITTED:
            text = f"{text}: {_printed(self.bad_value)}"
        return f"{text}: {self.detail}" if self.detail else text

    def __str__(self) -> str:
        return f"{self.field}: {self.body}"

    def to_cause(self) -> dict[str, Any]:
        """The complaint as an entry of ``Status.details.causes``."""
        cause: dict[str, Any] = {"reason": self.type, "message": self.body}
        if self.field:
            cause["field"] = self.field
        return cause


ErrorList: TypeAlias = list[FieldError]


def _printed(value: Any) -> str:
    # Strings are printed with %q, numbers and booleans with %v, all else as JSON.
    if isinstance(value, str):
        return golang.quote(value)
    if isinstance(value, float):
        return golang.float_text(value)
    if isinstance(value, Printed):
        return value.text
    return golang.json_text(value)


def type_invalid(path: Path, value: Any, detail: str) -> FieldError:
    """The value has another type than the schema says."""
    return FieldError(TYPE_INVALID, str(path), value, detail)


def not_found(path: Path, value: Any) -> FieldError:
    """The value refers to something that is not there."""
    return FieldError(NOT_FOUND, str(path), value)


def required(path: Path, detail: str = "") -> FieldError:
    """The value is missing or empty."""
    return FieldError(REQUIRED, str(path), "", detail)


def duplicate(path: Path, value: Any) -> FieldError:
    """The value must be unique and is not."""
    return FieldError(DUPLICATE, str(path), value)


def invalid(path: Path, value: Any, detail: str) -> FieldError:
    """The value is malformed or out of bounds."""
    return FieldError(INVALID, str(path), value, detail)


def not_supported(path: Path, value: Any, supported: Iterable[str]) -> FieldError:
    """The value is none of an enumeration; ``supported`` is printed in the order given."""
    quoted = ", ".join(map(golang.quote, supported))
    return FieldError(
        NOT_SUPPORTED, str(path), value, f"supported values: {quoted}" if quoted else ""
    )


def forbidden(path: Path, detail: str) -> FieldError:
    """The value is well formed and not permitted here."""
    return FieldError(FORBIDDEN, str(path), "", detail)


def declared(errors: Iterable[FieldError]) -> list[FieldError]:
    """The complaints as those of declared rules."""
    return [attrs.evolve(error, declared=True) for error in errors]


def declared_last(errors: list[FieldError]) -> list[FieldError]:
    """Those of declared rules in the end; of a list as a whole before those of its entries."""
    last: list[FieldError] = []
    for error in errors:
        if not error.declared:
            continue
        at = len(last)
        if error.type == DUPLICATE:
            entries = error.field.rpartition("[")[0] + "["
            at = next(
                (
                    place
                    for place, other in enumerate(last)
                    if other.field.startswith(entries) and other.type != DUPLICATE
                ),
                at,
            )
        last.insert(at, error)
    return [error for error in errors if not error.declared] + last if last else errors


def too_long(path: Path, max_bytes: int) -> FieldError:
    """The value has more bytes than ``max_bytes``; a negative number is not printed."""
    return _too_long(path, max_bytes, "byte")


def too_long_characters(path: Path, max_characters: int) -> FieldError:
    """The value has more characters than allowed; a negative number is not printed."""
    return _too_long(path, max_characters, "character")


def _too_long(path: Path, limit: int, unit: str) -> FieldError:
    detail = "value is too long"
    if limit >= 0:
        detail = f"may not be more than {limit} {unit}{'' if limit == 1 else 's'}"
    return FieldError(TOO_LONG, str(path), "<value omitted>", detail)


def too_short(path: Path, value: Any, min_characters: int) -> FieldError:
    """The value has fewer characters than allowed; a negative number is not printed."""
    detail = "value is too short"
    if min_characters >= 0:
        detail = f"must be at least {min_characters} character{'' if min_characters == 1 else 's'}"
    return FieldError(TOO_SHORT, str(path), value, detail)


def too_many(path: Path, actual: int, maximum: int) -> FieldError:
    """The list has ``actual`` items; negative numbers are not printed."""
    detail = "has too many items"
    if maximum >= 0:
        detail = f"must have at most {maximum} item{'' if maximum == 1 else 's'}"
    return FieldError(TOO_MANY, str(path), actual if actual >= 0 else OMITTED, detail)


def too_few(path: Path, actual: int, minimum: int) -> FieldError:
    """The list has only ``actual`` items; a negative minimum is not printed."""
    detail = "has too few items"
    if minimum >= 0:
        detail = f"must have at least {minimum} item{'' if minimum == 1 else 's'}"
    return FieldError(TOO_FEW, str(path), actual, detail)


def internal_error(path: Path, problem: str) -> FieldError:
    """The check itself failed."""
    return FieldError(INTERNAL, str(path), problem, problem)


# -- many ----------------------------------------------------------------------------------------


def aggregate(errors: Iterable[object]) -> str:
    """How Go prints several errors: ``[a, b]`` without repetition, and a single one bare."""
    messages = list(dict.fromkeys(map(str, errors)))
    return messages[0] if len(messages) == 1 else f"[{', '.join(messages)}]"


def invalid_each(path: Path, value: Any, details: Iterable[str]) -> ErrorList:
    """An ``invalid`` for every message of a check in ``formats``."""
    return [invalid(path, value, detail) for detail in details]


# -- checks that need a path ---------------------------------------------------------------------

FIELD_IMMUTABLE = "field is immutable"
NOT_NEGATIVE = "must be greater than or equal to 0"


def validate_immutable_field(new: Any, old: Any, path: Path) -> ErrorList:
    """The field may not change; absent, ``null`` and empty count as equal, as in upstream."""
    if new == old or (not new and not old and type(new) in _EMPTY and type(old) in _EMPTY):
        return []
    return [invalid(path, new, FIELD_IMMUTABLE)]


_EMPTY = (type(None), dict, list)


def validate_nonnegative_field(value: int, path: Path) -> ErrorList:
    """The number may not be below zero."""
    return [invalid(path, value, NOT_NEGATIVE)] if value < 0 else []


def validate_fully_qualified_name(path: Path, name: str) -> ErrorList:
    """A DNS subdomain of three segments or more."""
    if not name:
        return [required(path)]
    if messages := formats.is_dns1123_subdomain(name):
        return [invalid(path, name, ",".join(messages))]
    if name.count(".") < 2:
        detail = "should be a domain with at least three segments separated by dots"
        return [invalid(path, name, detail)]
    return []


def validate_fully_qualified_domain_name(path: Path, name: str) -> ErrorList:
    """A DNS subdomain of two segments or more, each a label; a dot at the end is allowed."""
    if not name:
        return [required(path)]
    name = name.removesuffix(".")
    if messages := formats.is_dns1123_subdomain(name):
        return [invalid(path, name, ",".join(messages))]
    segments = name.split(".")
    if len(segments) < 2:
        detail = "should be a domain with at least two segments separated by dots"
        return [invalid(path, name, detail)]
    for segment in segments:
        if messages := formats.is_dns1123_label(segment):
            return [invalid(path, segment, ",".join(messages))]
    return []


def validate_domain_prefixed_path(path: Path, text: str) -> ErrorList:
    """``acme.io/foo/bar``: a DNS subdomain, a slash and an HTTP path."""
    if not text:
        return [required(path)]
    host, _, rest = text.partition("/")
    if not host or not rest:
        return [invalid(path, text, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    errors = invalid_each(path, host, formats.is_dns1123_subdomain(host))
    if message := formats.http_path_problem(rest):
        errors.append(invalid(path, rest, message))
    return errors


def validate_domain_prefixed_key(path: Path, key: str) -> ErrorList:
    """``acme.io/foo``: a qualified name with its prefix."""
    if not key:
        return [required(path)]
    if errors := invalid_each(path, key, formats.is_qualified_name(key)):
        return errors
    if "/" not in key:
        return [invalid(path, key, 'must be a domain-prefixed key (such as "acme.io/foo")')]
    return []


def validate_ip(path: Path, value: str) -> ErrorList:
    """An IP address in canonical form."""
    return invalid_each(path, value, addresses.is_valid_ip(value))


def validate_ip_for_legacy_field(
    path: Path, value: str, *, strict: bool = True, old: Sequence[str] = ()
) -> ErrorList:
    """An IP address in any form that fields older than the strict rule accept."""
    return (
        []
        if value in old
        else invalid_each(path, value, addresses.ip_problems(value, strict=strict))
    )


def validate_cidr(path: Path, value: str) -> ErrorList:
    """A CIDR in canonical form."""
    return invalid_each(path, value, addresses.is_valid_cidr(value))


def validate_cidr_for_legacy_field(
    path: Path, value: str, *, strict: bool = True, old: Sequence[str] = ()
) -> ErrorList:
    """A CIDR in any form that fields older than the strict rule accept."""
    if value in old:
        return []
    return invalid_each(path, value, addresses.cidr_problems(value, strict=strict))


def validate_interface_address(path: Path, value: str) -> ErrorList:
    """An address with its prefix length, in canonical form."""
    return invalid_each(path, value, addresses.is_valid_interface_address(value))
