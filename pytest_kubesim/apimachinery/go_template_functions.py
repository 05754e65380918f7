"""The functions that templates may call, and how values print.

Follows `text/template/funcs.go`, Go's `fmt` for JSON values, and those functions of
`github.com/Masterminds/sprig/v3` that need neither a clock nor chance.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable
from typing import Any, cast

from pytest_kubesim.apimachinery.golang import quote


class TemplateError(Exception):
    """What Go refuses of a template, or of the data it is given."""


def truth(value: Any) -> bool:
    """Whether a value counts as true: not the zero value of its type, and not empty."""
    return bool(value)


def shown(value: Any) -> str:
    """A value as `{{ . }}` prints it."""
    if value is None:
        return "<no value>"
    return _go(value)


def _go(value: Any) -> str:
    """Go's `%v`."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    if isinstance(value, dict):
        pairs = sorted(cast("dict[str, Any]", value).items())
        return "map[" + " ".join(f"{key}:{_go(item)}" for key, item in pairs) + "]"
    if isinstance(value, list):
        return "[" + " ".join(_go(item) for item in cast("list[Any]", value)) + "]"
    return str(value)


_VERB = re.compile(r"%([-+0 #]*)(\d*)(?:\.(\d+))?([a-zA-Z%])")


def printf(template: str, *values: Any) -> str:
    """Go's `fmt.Sprintf`, for the verbs that JSON values have."""
    left = list(values)

    def one(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb == "%":
            return "%"
        if not left:
            return f"%!{verb}(MISSING)"
        value = left.pop(0)
        if verb == "q":
            text = quote(str(value))
        elif verb == "d":
            text = str(int(value))
        elif verb in "fg":
            digits = precision or "6"
            text = f"{float(value):.{digits}f}" if verb == "f" else f"{float(value):g}"
        elif verb in "xX":
            text = format(value, verb) if isinstance(value, int) else str(value).encode().hex()
        elif verb == "t":
            text = "true" if value else "false"
        else:
            text = _go(value)
        if "-" in flags:
            return text.ljust(int(width or 0))
        return text.rjust(int(width or 0), "0" if "0" in flags else " ")

    text = _VERB.sub(one, template)
    return text + (f"%!(EXTRA {', '.join(_go(value) for value in left)})" if left else "")


def _print(*values: Any) -> str:
    text = ""
    for position, value in enumerate(values):
        both = position and not isinstance(value, str) and not isinstance(values[position - 1], str)
        text += (" " if both else "") + _go(value)
    return text


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if value is None:
            raise TemplateError("error calling index: index of untyped nil")
        if isinstance(value, dict):
            value = cast("dict[str, Any]", value).get(key)
        elif not isinstance(key, int) or not 0 <= key < len(value):
            raise TemplateError(f"error calling index: index out of range: {key}")
        else:
            value = value[key]
    return value


def _equal(first: Any, *others: Any) -> bool:
    return any(
        first == other and isinstance(first, bool) is isinstance(other, bool) for other in others
    )


def _slice(value: Any, *bounds: int) -> Any:
    return value[slice(*bounds)] if len(bounds) > 1 else value[bounds[0] if bounds else 0 :]


def _int(value: Any) -> int:
    try:
        return int(float(value)) if not isinstance(value, int) else int(value)
    except (TypeError, ValueError):
        return 0


def _folded(operate: Callable[[int, int], int]) -> Callable[..., int]:
    def fold(*values: Any) -> int:
        result = _int(values[0])
        for value in values[1:]:
            result = operate(result, _int(value))
        return result

    return fold


def _quotient(a: int, b: int) -> int:
    return int(a / b)


def _dict(*pairs: Any) -> dict[str, Any]:
    return {str(pairs[at]): pairs[at + 1] if at + 1 < len(pairs) else "" for at in
            range(0, len(pairs), 2)}


def _indent(spaces: int, text: str) -> str:
    return "\n".join(" " * spaces + line for line in text.split("\n"))


def _coalesce(*values: Any) -> Any:
    return next((value for value in values if value), None)


def _joined(separator: str, values: Any) -> str:
    return separator.join(map(_go, cast("Iterable[Any]", values or ())))


def _to_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def _nindent(spaces: int, text: str) -> str:
    return "\n" + _indent(spaces, text)


def _get(mapping: dict[str, Any], key: str) -> Any:
    return mapping.get(key, "")


def _split(separator: str, text: str) -> list[str]:
    return text.split(separator)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _replace(old: str, new: str, text: str) -> str:
    return text.replace(old, new)


def _without_prefix(cut: str, text: str) -> str:
    return text.removeprefix(cut)


def _without_suffix(cut: str, text: str) -> str:
    return text.removesuffix(cut)


def _stripped(cut: str, text: str) -> str:
    return text.strip(cut)


def _has_prefix(part: str, text: str) -> bool:
    return text.startswith(part)


def _has_suffix(part: str, text: str) -> bool:
    return text.endswith(part)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    # Go's own; `and` and `or` are the interpreter's.
    "not": lambda value: not value,
    "len": len,
    "index": _index,
    "slice": _slice,
    "print": _print,
    "printf": printf,
    "println": lambda *values: " ".join(map(_go, values)) + "\n",
    "eq": _equal,
    "ne": lambda a, b: not _equal(a, b),
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    # sprig
    "default": lambda fallback, value=None: value or fallback,
    "empty": lambda value: not value,
    "coalesce": _coalesce,
    "ternary": lambda yes, no, test: yes if test else no,
    "quote": lambda *values: " ".join(quote(_go(v)) for v in values if v is not None),
    "squote": lambda *values: " ".join(f"'{_go(v)}'" for v in values if v is not None),
    "upper": str.upper,
    "lower": str.lower,
    "title": str.title,
    "trim": str.strip,
    "trimAll": _stripped,
    "trimPrefix": _without_prefix,
    "trimSuffix": _without_suffix,
    "replace": _replace,
    "contains": lambda part, text: part in text,
    "hasPrefix": _has_prefix,
    "hasSuffix": _has_suffix,
    "repeat": lambda times, text: text * times,
    "trunc": lambda size, text: text[:size] if size >= 0 else text[size:],
    "substr": lambda start, end, text: text[start:end],
    "indent": _indent,
    "nindent": _nindent,
    "toString": _go,
    "toJson": _to_json,
    "fromJson": json.loads,
    "int": _int,
    "int64": _int,
    "atoi": _int,
    "add": _folded(lambda a, b: a + b),
    "add1": lambda value: _int(value) + 1,
    "sub": _folded(lambda a, b: a - b),
    "mul": _folded(lambda a, b: a * b),
    "div": _folded(_quotient),
    "mod": _folded(lambda a, b: a - b * int(a / b)),
    "max": _folded(max),
    "min": _folded(min),
    "list": lambda *values: list(values),
    "dict": _dict,
    "get": _get,
    "hasKey": lambda mapping, key: key in mapping,
    "keys": lambda *mappings: sorted(key for mapping in mappings for key in mapping),
    "first": lambda values: values[0] if values else None,
    "last": lambda values: values[-1] if values else None,
    "has": lambda value, values: value in values,
    "append": lambda values, value: [*values, value],
    "join": _joined,
    "splitList": _split,
    "b64enc": _encoded,
    "b64dec": _decoded,
    "sha256sum": _sha256,
}
