"""YAML bodies: read as Go reads them, refused in the words of Go's parser.

The law: only the first document of a text counts; dates stay text; a repeated key is noticed and
the last one counts.  libyaml and its port to Go say the same of what is wrong; the line is the
port's own.

Follows `sigs.k8s.io/yaml` and `go.yaml.in/yaml/v2/decode.go` (`parser.fail`).
"""

from __future__ import annotations

import base64
import math
import re
from typing import Any, cast

import yaml
from yaml.composer import ComposerError
from yaml.scanner import ScannerError

from pytest_kubesim.apimachinery.golang import quote

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value")
"""What other readers of YAML make more of than text."""
_BOOL = "tag:yaml.org,2002:bool"
_ONE_LETTER = re.compile(r"[yYnN]\Z")
"""Booleans to Go as well."""
_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_NUMBERS = (
    (
        _INT,
        re.compile(r"[-+]?(0[bB][01_]+|0[oO][0-7_]+|0[xX][0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)\Z"),
    ),
    (
        _FLOAT,
        re.compile(
            r"([-+]\.[0-9_]+|\.[0-9]+|[-+]?[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?\Z"
            r"|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z"
        ),
    ),
)
"""Numbers: no sexagesimal ones, exponents without a point."""
_ALIAS = re.compile(r"\*([A-Za-z0-9_-]+)")


class _Loader(_Base):
    """YAML as `sigs.k8s.io/yaml` reads it."""

    repeated: list[str]

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            value = self.construct_object(value_node, deep=True)
            if not isinstance(key, str):
                key = _json_key(key, value)
            if key in found:
                line = key_node.start_mark.line + 1
                self.repeated.append(f'line {line}: key "{key}" already set in map')
            found[key] = value
        del deep
        return found


def _json_key(key: Any, value: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    if key is None:
        shown = quote(value) if isinstance(value, str) else str(value)
        raise ValueError(f"unsupported map key of type: %!s(<nil>), key: <nil>, value: {shown}")
    return str(key)


def _mapping(loader: Any, node: Any) -> Any:
    return loader.construct_mapping(node, deep=True)


def _bool(loader: Any, node: Any) -> bool:
    return str(loader.construct_scalar(node)).lower() in ("y", "yes", "true", "on")


def _int(loader: Any, node: Any) -> int | float:
    """As `strconv.ParseInt` reads it in base 0."""
    text = str(loader.construct_scalar(node)).replace("_", "")
    digits = text.lstrip("+-")
    base = 8 if digits[:1] == "0" and digits.isdigit() else 0
    value = int(digits, base)
    value = -value if text[0] == "-" else value
    return value if -(1 << 63) <= value < 1 << 64 else float(value)


def _float(loader: Any, node: Any) -> int | float | str:
    """On its way through JSON a whole number loses its point; one that is too large stays text."""
    written = str(loader.construct_scalar(node))
    text = written.replace("_", "").lower()
    value = float(text.replace(".inf", "inf").replace(".nan", "nan"))
    if not math.isfinite(value):
        if text[-1].isdigit():
            return written
        shown = "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
        raise ValueError(f"json: unsupported value: {shown}")
    return int(value) if abs(value) < _PRINTED_IN_FULL and value.is_integer() else value


def _binary(loader: Any, node: Any) -> str:
    """The text that is written in base64."""
    return base64.b64decode(loader.construct_scalar(node)).decode("utf-8", "replace")


def _of_another_tag(loader: Any, node: Any) -> Any:
    """A tag that nobody knows means nothing."""
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


_PRINTED_IN_FULL = 1e21
"""What is smaller has no exponent in Go's JSON."""


def _make_loader() -> Any:
    resolvers = {
        first: [(tag, pattern) for tag, pattern in found if tag not in (*_TEXT, _INT, _FLOAT)]
        for first, found in _Loader.yaml_implicit_resolvers.items()
    }
    for first, tags in resolvers.items():
        if first and first in "yYnN":
            tags.insert(0, (_BOOL, _ONE_LETTER))
    for first in "-+0123456789.":
        resolvers.setdefault(first, []).extend(_NUMBERS)
    _Loader.yaml_implicit_resolvers = resolvers
    _Loader.add_constructor(_BOOL, _bool)
    _Loader.add_constructor("tag:yaml.org,2002:binary", _binary)
    _Loader.add_constructor(None, _of_another_tag)
    _Loader.add_constructor(_INT, _int)
    _Loader.add_constructor(_FLOAT, _float)
    _Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
    return _Loader


_LOADER = _make_loader()


def loads(body: bytes) -> tuple[Any, list[str]]:
    """The value of a YAML text, and the keys that are set twice in it.

    Raises `ValueError` with the text of Go's parser.
    """
    loader = _LOADER(body)
    repeated: list[str] = []
    loader.repeated = repeated
    try:
        value = loader.get_data() if loader.check_data() else None
    except yaml.YAMLError as error:
        raise ValueError(f"yaml: {problem(error, body)}") from None
    finally:
        loader.dispose()
    return value, repeated


def documents(text: str) -> list[Any]:
    """The values of a text's documents, as kubectl reads a file: the last of equal keys counts.

    Raises `ValueError` for what JSON has no word for, and what PyYAML raises for the rest.
    """
    loader = _LOADER(text)
    loader.repeated = []
    found: list[Any] = []
    try:
        while loader.check_data():
            found.append(loader.get_data())
    finally:
        loader.dispose()
    return found


def unmarshal_errors(repeated: list[str]) -> str:
    """What the strict reader says of keys that are set twice."""
    return _ERRORS + "\n  ".join(repeated)


def warnings_of(problem: str) -> list[str]:
    """The same as warnings: one for each key.  Other complaints stay as they are."""
    if not problem.startswith(_ERRORS):
        return [problem]
    return problem.removeprefix(_ERRORS).split("\n  ")


_ERRORS = "yaml: unmarshal errors:\n  "


def problem(error: Any, body: bytes) -> str:
    """A YAML error in the words of Go's parser."""
    mark, text = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
    if isinstance(error, ComposerError) and mark is not None:
        line, column = cast("tuple[int, int]", (mark.line, mark.column))
        alias = _ALIAS.search(body.decode("utf-8", "replace").splitlines()[line], column)
        return f"unknown anchor '{alias[1] if alias else ''}' referenced"
    line = cast("int", mark.line) if mark is not None else 0
    if line:
        # Errors of the scanner count from one, those of the parser from zero.
        line += isinstance(error, ScannerError)
    elif (context := getattr(error, "context_mark", None)) is not None:
        line = context.line
    return f"line {line}: {text}" if line else str(text)
