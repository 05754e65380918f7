"""Semantic versions: ``semver("1.2.3")``.

Follows ``apiserver/pkg/cel/library/semverlib.go`` and ``blang/semver``.
"""

from __future__ import annotations

import re

import attrs

from pytest_kubesim.apimachinery.cel import types
from pytest_kubesim.apimachinery.cel.environment import Function, function, method, overload
from pytest_kubesim.apimachinery.cel.errors import CELError
from pytest_kubesim.apimachinery.cel.types import BOOL, INT, STRING
from pytest_kubesim.apimachinery.cel.values import UINT_MAX, Opaque
from pytest_kubesim.apimachinery.golang import quote

SEMVER = types.struct("kubernetes.Semver")
_ALPHANUMERIC = re.compile("[0-9A-Za-z-]*", re.ASCII)
_NUMERIC = re.compile("[0-9]*", re.ASCII)


@attrs.frozen
class Semver(Opaque):
    """A version; what follows a plus is kept and does not count."""

    cel_type = SEMVER
    major: int
    minor: int
    patch: int
    pre: tuple[str | int, ...]
    build: tuple[str, ...]

    def equals(self, other: object) -> bool:
        """Build metadata does not count."""
        return isinstance(other, Semver) and _compare(self, other) == 0


def _number(text: str, part: str) -> int:
    if not _NUMERIC.fullmatch(text):
        raise ValueError(f"Invalid character(s) found in {part} number {quote(text)}")
    if len(text) > 1 and text[0] == "0":
        raise ValueError(
            f"{part.capitalize()} number must not contain leading zeroes {quote(text)}"
        )
    return _parse_uint(text)


def _parse_uint(text: str) -> int:
    if not text:
        raise ValueError('strconv.ParseUint: parsing "": invalid syntax')
    if int(text) > UINT_MAX:
        raise ValueError(f"strconv.ParseUint: parsing {quote(text)}: value out of range")
    return int(text)


def _prerelease(text: str) -> str | int:
    if not text:
        raise ValueError("Prerelease is empty")
    if _NUMERIC.fullmatch(text):
        if len(text) > 1 and text[0] == "0":
            shown = quote(text)
            raise ValueError(f"Numeric PreRelease version must not contain leading zeroes {shown}")
        return _parse_uint(text)
    if not _ALPHANUMERIC.fullmatch(text):
        raise ValueError(f"Invalid character(s) found in prerelease {quote(text)}")
    return text


def _parse(text: str) -> Semver:
    if not text:
        raise ValueError("Version string empty")
    parts = text.split(".", 2)
    if len(parts) != 3:
        raise ValueError("No Major.Minor.Patch elements found")
    major, minor = _number(parts[0], "major"), _number(parts[1], "minor")
    rest, plus, build_text = parts[2].partition("+")
    rest, dash, pre_text = rest.partition("-")
    patch = _number(rest, "patch")
    pre = tuple(map(_prerelease, pre_text.split("."))) if dash else ()
    build = tuple(build_text.split(".")) if plus else ()
    for piece in build:
        if not piece:
            raise ValueError("Build meta data is empty")
        if not _ALPHANUMERIC.fullmatch(piece):
            raise ValueError(f"Invalid character(s) found in build meta data {quote(piece)}")
    return Semver(major, minor, patch, pre, build)


def _normalized(text: str) -> str:
    parts = text.removeprefix("v").split(".", 2)
    for at, part in enumerate(parts):
        if len(part) > 1:
            stripped = part.lstrip("0")
            parts[at] = stripped if stripped[:1] in set("0123456789") else "0" + stripped
    if len(parts) < 3:
        if "+" in parts[-1] or "-" in parts[-1]:
            raise ValueError("short version cannot contain PreRelease/Build meta data")
        parts += ["0"] * (3 - len(parts))
    return ".".join(parts)


def _semver(text: str, normalize: bool = False) -> Semver:
    try:
        return _parse(_normalized(text) if normalize else text)
    except ValueError as problem:
        raise CELError(str(problem)) from None


def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        _semver(text, normalize)
    except CELError:
        return False
    return True


def _compare(left: Semver, right: Semver) -> int:
    a, b = (left.major, left.minor, left.patch), (right.major, right.minor, right.patch)
    if a != b:
        return 1 if a > b else -1
    if not left.pre or not right.pre:
        return bool(right.pre) - bool(left.pre)
    first = [(isinstance(part, str), part) for part in left.pre]
    second = [(isinstance(part, str), part) for part in right.pre]
    return (first > second) - (first < second)


_PAIR = (SEMVER, SEMVER)

FUNCTIONS: tuple[Function, ...] = (
    function(
        "semver",
        overload("string_to_semver", (STRING,), SEMVER, _semver),
        overload("string_bool_to_semver", (STRING, BOOL), SEMVER, _semver),
    ),
    function(
        "isSemver",
        overload("is_semver_string", (STRING,), BOOL, _is_semver),
        overload("is_semver_string_bool", (STRING, BOOL), BOOL, _is_semver),
    ),
    function(
        "isGreaterThan",
        method("semver_is_greater_than", _PAIR, BOOL, lambda a, b: _compare(a, b) > 0),
    ),
    function(
        "isLessThan", method("semver_is_less_than", _PAIR, BOOL, lambda a, b: _compare(a, b) < 0)
    ),
    function("compareTo", method("semver_compare_to", _PAIR, INT, _compare)),
    function("major", method("semver_major", (SEMVER,), INT, lambda version: version.major)),
    function("minor", method("semver_minor", (SEMVER,), INT, lambda version: version.minor)),
    function("patch", method("semver_patch", (SEMVER,), INT, lambda version: version.patch)),
)
