"""The checks of OpenAPI that look at one value alone: types, enums, texts, numbers.

Follows ``kube-openapi/pkg/validation/validate/{type,validator,values}.go`` and
``pkg/validation/errors/schema.go``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from pytest_kubesim.apimachinery import go_regexp, golang, validation
from pytest_kubesim.apimachinery.structural import strfmt
from pytest_kubesim.apimachinery.structural.correlation import Correlation
from pytest_kubesim.apimachinery.validation import FieldError, Path


@attrs.frozen
class Problem:
    """What a check found: upstream's message, and what becomes of it as a field error."""

    message: str
    kind: str = "plain"
    """``plain`` for an error without a field, else what is wrong with the field."""
    name: str = ""
    value: Any = None
    limit: int = -1
    allowed: tuple[Any, ...] = ()

    def to_field_error(self, path: Path) -> FieldError:
        """The error below a path, in the words of the field errors."""
        if self.kind == "plain":
            return validation.invalid(path, "", self.message)
        if self.name and self.name != ".":
            path = path.child(self.name.removeprefix("."))
        if self.kind == "required":
            return validation.required(path)
        if self.kind == "enum":
            values = (v if isinstance(v, str) else golang.json_text(v) for v in self.allowed)
            return validation.not_supported(path, self.value, values)
        if self.kind == "too long":
            return validation.too_long(path, self.limit)
        if self.kind == "too many":
            return validation.too_many(path, self.value, self.limit)
        value = "" if self.value is None else self.value
        if self.kind == "type":
            return validation.type_invalid(path, value, self.message)
        return validation.invalid(path, value, self.message)


Problems: TypeAlias = list[Problem]
Check: TypeAlias = Callable[[Any, str, Problems, "Correlation | None"], int]
"""Looks at a value at a path, appends what is wrong, and returns how much was found right."""


# -- types and enums -------------------------------------------------------------------------------


def _json_type(value: Any) -> tuple[str, str]:
    """The JSON type of a value and the format that Go's type of it has."""
    if isinstance(value, bool):
        return "boolean", ""
    if isinstance(value, str):
        return "string", ""
    if isinstance(value, int):
        return "integer", "int64"
    if isinstance(value, float):
        return "number", "float64"
    return ("object" if isinstance(value, dict) else "array"), ""


def _type_problem(path: str, wanted: str, found: str) -> Problem:
    message = f"{path} in body must be of type {wanted}: {golang.quote(found)}"
    return Problem(message, "type", path, found)


def type_check(types: tuple[str, ...], format_: str, *, nullable: bool) -> Check:
    """The value is of one of the types; null where that is allowed."""
    wanted = ",".join(types)
    numeric = "number" in types or "integer" in types

    def check(value: Any, path: str, problems: Problems, _corr: Correlation | None) -> int:
        if value is None:
            if types and not nullable and "null" not in types:
                problems.append(_type_problem(path, wanted, "null"))
                return 0
            return 1
        kind, native = _json_type(value)
        fits = (
            kind in types
            or (kind == "number" and "integer" in types and is_json_integer(value))
            or (kind == "integer" and "number" in types)
        )
        if fits:
            return 1
        textual = kind in ("string", "array")
        if format_ and not textual and native != format_:
            problems.append(_type_problem(path, format_, native))
            return 0
        if format_ and textual and not numeric:
            return 1
        problems.append(_type_problem(path, wanted, kind))
        return 0

    return check


def is_json_integer(number: float) -> bool:
    """Whether a float is a whole number, within upstream's tolerance."""
    if math.isnan(number) or math.isinf(number) or abs(number) > 2**53 - 1:
        return False
    if number == math.trunc(number):
        return True
    if number < 0:
        return False
    whole = float(math.trunc(number))
    gap = abs(number - whole)
    if number == 0 or whole == 0:
        return False
    return gap / (abs(number) + abs(whole)) < 1e-9


def enum_check(allowed: tuple[Any, ...]) -> Check:
    """The value is one of those allowed; none allowed means all."""

    def check(value: Any, path: str, problems: Problems, _corr: Correlation | None) -> int:
        if allowed and not any(_enum_equal(value, item) for item in allowed):
            shown = golang.bracketed(allowed)
            message = f"{path} in body should be one of {shown}"
            problems.append(Problem(message, "enum", path, value, allowed=allowed))
        return 0

    return check


def _enum_equal(value: Any, allowed: Any) -> bool:
    """Go's comparison: the value is converted to the type of what is allowed, if it can be."""
    if value is None or allowed is None:
        return False
    if isinstance(value, bool) or isinstance(allowed, bool):
        return value is allowed
    if isinstance(value, (int, float)):
        if isinstance(allowed, int):
            return math.trunc(value) == allowed
        if isinstance(allowed, str):
            # An integer converts to the text of its code point.
            return isinstance(value, int) and 0 <= value < 0x110000 and chr(value) == allowed
    return bool(value == allowed)


# -- strings ---------------------------------------------------------------------------------------


def string_check(source: Mapping[str, Any]) -> Check:
    """The length of a text and the pattern it matches; the first that fails is told."""
    longest = source.get("maxLength")
    shortest = source.get("minLength")
    pattern = source.get("pattern") or ""

    def check(value: Any, path: str, problems: Problems, _corr: Correlation | None) -> int:
        if longest is not None and len(value) > longest:
            message = f"{path} in body should be at most {longest} chars long"
            problems.append(Problem(message, "too long", path, value, longest))
        elif shortest is not None and len(value) < shortest:
            message = f"{path} in body should be at least {shortest} chars long"
            problems.append(Problem(message, "invalid", path, value))
        elif pattern and (shown := _unmatched(pattern, value)) is not None:
            message = f"{path} in body should match '{shown}'"
            problems.append(Problem(message, "invalid", path, value))
        return 0

    return check


def _unmatched(pattern: str, value: str) -> str | None:
    """The pattern as the message shows it if the value does not match, else None."""
    try:
        return None if go_regexp.matches(pattern, value) else pattern
    except go_regexp.RegexpError as problem:
        return f"{pattern}, but pattern is invalid: {problem}"


def format_check(format_: str) -> Check | None:
    """The format of a text; None where there is none to check."""
    is_valid = strfmt.checker(format_) if format_ else None
    if is_valid is None:
        return None

    def check(value: Any, path: str, problems: Problems, _corr: Correlation | None) -> int:
        if not is_valid(value):
            problems.append(_type_problem(path, format_, value))
        return 0

    return check


# -- numbers ---------------------------------------------------------------------------------------


def number_check(source: Mapping[str, Any], types: tuple[str, ...], format_: str) -> Check:
    """The range of a number's type, its bounds and its factor."""
    kind = types[0] if len(types) == 1 and types[0] in ("integer", "number") else ""
    format_ = format_ if kind else ""
    factor = source.get("multipleOf")
    highest = source.get("maximum")
    lowest = source.get("minimum")
    below = bool(source.get("exclusiveMaximum"))
    above = bool(source.get("exclusiveMinimum"))

    def check(value: Any, path: str, problems: Problems, _corr: Correlation | None) -> int:
        _in_range(value, kind, format_, "Checked", path, problems)
        if factor is not None:
            fits = _in_range(float(factor), kind, format_, "MultipleOf", path, problems)
            problem = _multiple(value if fits else float(value), factor, path)
            if problem is not None:
                problems.append(problem)
        if highest is not None:
            fits = _in_range(float(highest), kind, format_, "Maximum boundary", path, problems)
            _bound(
                value if fits else float(value), highest, path, problems, strict=below, high=True
            )
        if lowest is not None:
            fits = _in_range(float(lowest), kind, format_, "Minimum boundary", path, problems)
            _bound(
                value if fits else float(value), lowest, path, problems, strict=above, high=False
            )
        return 1

    return check


def _in_range(
    value: float, kind: str, format_: str, prefix: str, path: str, problems: Problems
) -> bool:
    """Whether a number fits the type, as upstream finds out by reading its decimal text."""
    if kind == "integer":
        bits = 31 if format_ == "int32" else 63
        fits = value == math.trunc(value) and -(1 << bits) <= value < (1 << bits)
    else:
        fits = format_ != "float" or abs(value) <= 3.4028235677973366e38
    if not fits:
        shown = f"with format {format_}" if format_ else "(default format)"
        problems.append(Problem(f"{prefix} value must be of type {kind} {shown} in {path}"))
    return fits


def _multiple(value: float, factor: float, path: str) -> Problem | None:
    if isinstance(value, int):
        whole = math.trunc(factor)
        if whole <= 0:
            return _factor_problem(whole, path)
        wrong = value % whole != 0
        factor = whole
    else:
        factor = float(factor)
        if factor <= 0:
            return _factor_problem(factor, path)
        wrong = not is_json_integer(1 / factor * value if factor < 1 else value / factor)
    if not wrong:
        return None
    message = f"{path} in body should be a multiple of {golang.plain(factor)}"
    return Problem(message, "invalid", path, value)


def _factor_problem(factor: float, path: str) -> Problem:
    message = f"factor MultipleOf declared for {path} must be positive: {golang.plain(factor)}"
    return Problem(message, "invalid", path, factor)


def _bound(
    value: float, bound: float, path: str, problems: Problems, *, strict: bool, high: bool
) -> None:
    bound = math.trunc(bound) if isinstance(value, int) else float(bound)
    if high:
        wrong = value >= bound if strict else value > bound
        words = "less than" if strict else "less than or equal to"
    else:
        wrong = value <= bound if strict else value < bound
        words = "greater than" if strict else "greater than or equal to"
    if wrong:
        message = f"{path} in body should be {words} {golang.plain(bound)}"
        problems.append(Problem(message, "invalid", path, value))
