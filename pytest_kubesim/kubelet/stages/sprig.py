"""The functions of sprig that `go_template_functions` leaves to those who have a clock and chance.

The law: what a template draws follows from the event that is given and how many draws came before
it in that template.  What makes keys, certificates and passwords is not there.

Follows `github.com/Masterminds/sprig/v3`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import posixpath
import re
import zlib
from collections.abc import Callable, Iterable
from typing import Any, cast

from pytest_kubesim.apimachinery import go_regexp, timestamps
from pytest_kubesim.apimachinery.go_template_functions import TemplateError, shown
from pytest_kubesim.cri.applets.dates import strftime
from pytest_kubesim.sim.clock import NS

Draw = Callable[[int], int]
"""A number below a bound, another one at each call."""

_DIGITS = "0123456789"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ASCII = "".join(map(chr, range(32, 127)))


class Moment(int):
    """A time, in nanoseconds."""

    def __str__(self) -> str:
        return date("2006-01-02 15:04:05 -0700 MST", self)


def _text(function: Callable[[str], Any]) -> Callable[[str], Any]:
    """A function of a text, so that its type is known."""
    return function


def _texts(function: Callable[[str, str], Any]) -> Callable[[str, str], Any]:
    return function


def _list(function: Callable[[list[Any]], Any]) -> Callable[[list[Any]], Any]:
    return function


def _any(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return function


# -- time ------------------------------------------------------------------------------------

_LAYOUT = re.compile(
    r"2006|01|02|03|04|05|06|15|January|Jan|Monday|Mon|MST|Z07:00|-07:00|-0700|PM|[.,](?:0+|9+)|1|2|3"
    r"|4|5|_2"
)
_SPELLED = {
    "2006": "%Y", "06": "%y", "01": "%m", "January": "%B", "Jan": "%b", "02": "%d", "Monday": "%A",
    "Mon": "%a", "15": "%H", "03": "%I", "04": "%M", "05": "%S", "PM": "%p",
}
_FIXED = {"MST": "UTC", "Z07:00": "Z", "-07:00": "+00:00", "-0700": "+0000"}
_BARE = {"1": "%m", "2": "%d", "3": "%I", "4": "%M", "5": "%S", "_2": "%d"}


def _ns(moment: Any, now_ns: int) -> int:
    if isinstance(moment, Moment):
        return moment
    return moment * NS if isinstance(moment, int) else now_ns


def date(layout: str, moment: int) -> str:
    """A time as Go's layout says it, in UTC."""

    def one(match: re.Match[str]) -> str:
        text = match.group()
        if text in _FIXED:
            return _FIXED[text]
        if text[0] in ".,":
            digits = f"{moment % NS:09d}"[: len(text) - 1]
            kept = text[0] + digits
            return kept if text[1] == "0" else kept.rstrip("0").rstrip(".,")
        if text in _BARE:
            number = strftime(_BARE[text], moment).lstrip("0") or "0"
            return number.rjust(2) if text == "_2" else number
        return strftime(_SPELLED[text], moment)

    return _LAYOUT.sub(one, layout)


def _modified(text: str, moment: Any, now_ns: int) -> Moment:
    negative = text.startswith("-")
    try:
        change = timestamps.parse_duration(text.lstrip("+-"))
    except ValueError:
        change = 0
    return Moment(_ns(moment, now_ns) + (-change if negative else change))


def _times(now_ns: int) -> dict[str, Callable[..., Any]]:
    def in_zone(layout: str, moment: Any, _zone: str = "") -> str:
        return date(layout, _ns(moment, now_ns))

    def modify(text: str, moment: Any) -> Moment:
        return _modified(text, moment, now_ns)

    def ago(moment: Any) -> str:
        passed_ns = now_ns - _ns(moment, now_ns)
        return timestamps.format_duration((passed_ns + NS // 2) // NS * NS)

    def parsed(layout: str, text: str) -> Moment:
        del layout
        return Moment(timestamps.parse_time(text if "T" in text else f"{text}T00:00:00Z"))

    return {
        "now": lambda: Moment(now_ns),
        "date": in_zone,
        "dateInZone": in_zone,
        "date_in_zone": in_zone,
        "htmlDate": _any(lambda moment: in_zone("2006-01-02", moment)),
        "dateModify": modify,
        "date_modify": modify,
        "mustDateModify": modify,
        "ago": ago,
        "unixEpoch": _any(lambda moment: str(_ns(moment, now_ns) // NS)),
        "toDate": parsed,
        "mustToDate": parsed,
        "duration": _any(lambda seconds: timestamps.format_duration(int(seconds) * NS)),
    }


# -- chance ----------------------------------------------------------------------------------


def _chances(draw: Draw) -> dict[str, Callable[..., Any]]:
    def text_of(letters: str) -> Callable[[int], str]:
        return lambda count: "".join(letters[draw(len(letters))] for _ in range(count))

    def uuid() -> str:
        number = draw(1 << 128) & ~(0xF << 76) | 4 << 76
        text = f"{number & ~(3 << 62) | 2 << 62:032x}"
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    def between(low: int, high: int) -> int:
        return low + draw(high - low)

    def shuffled(text: str) -> str:
        left = list(text)
        return "".join(left.pop(draw(len(left))) for _ in range(len(text)))

    return {
        "randAlphaNum": text_of(_LETTERS + _DIGITS),
        "randAlpha": text_of(_LETTERS),
        "randNumeric": text_of(_DIGITS),
        "randAscii": text_of(_ASCII),
        "randInt": between,
        "uuidv4": uuid,
        "shuffle": shuffled,
    }


# -- texts -----------------------------------------------------------------------------------


def _words(text: str) -> list[str]:
    spaced = re.sub(r"([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\3 \2", text)
    return re.findall(r"[^\s_\-]+", spaced)


def _camel(text: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[\s_\-]+", text))


def _abbreviated(width: int, text: str) -> str:
    return text if width < 4 or len(text) <= width else text[: width - 3] + "..."


def _numbered(pieces: list[str]) -> dict[str, str]:
    return {f"_{number}": piece for number, piece in enumerate(pieces)}


def _expanded(pattern: str, text: str, by: str) -> str:
    """`regexReplaceAll`: `$1` and `${1}` in the replacement."""
    template = re.sub(r"\$\{(\w+)\}|\$(\w+)", r"\\g<\1\2>", by.replace("\\", r"\\"))
    return go_regexp.compile(pattern).sub(template, text)


def _found(pattern: str, text: str, count: int) -> list[str]:
    every = [match.group() for match in go_regexp.compile(pattern).finditer(text)]
    return every if count < 0 else every[:count]


def _first_found(pattern: str, text: str) -> str:
    match = go_regexp.compile(pattern).search(text)
    return "" if match is None else match.group()


def _pieces(pattern: str, text: str, count: int) -> list[str]:
    if count == 0:
        return []
    return go_regexp.compile(pattern).split(text, maxsplit=0 if count < 0 else count - 1)


def _joined_up(*values: Any) -> str:
    return " ".join(shown(value) for value in values if value is not None)


def _plural(one: str, many: str, count: int) -> str:
    return one if count == 1 else many


def _split_off(mark: str, count: int, text: str) -> dict[str, str]:
    return _numbered(text.split(mark, count - 1))


def _literally(pattern: str, text: str, by: str) -> str:
    return go_regexp.compile(pattern).sub(lambda _: by, text)


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


_TEXTS: dict[str, Callable[..., Any]] = {
    "abbrev": _abbreviated,
    "nospace": _text(lambda text: re.sub(r"\s", "", text)),
    "initials": _text(lambda text: "".join(word[0] for word in text.split())),
    "untitle": _text(lambda text: " ".join(w[:1].lower() + w[1:] for w in text.split(" "))),
    "swapcase": str.swapcase,
    "snakecase": _text(lambda text: "_".join(word.lower() for word in _words(text))),
    "kebabcase": _text(lambda text: "-".join(word.lower() for word in _words(text))),
    "camelcase": _camel,
    "cat": _joined_up,
    "plural": _plural,
    "trimall": _texts(lambda cut, text: text.strip(cut)),
    "split": _texts(lambda mark, text: _numbered(text.split(mark))),
    "splitn": _split_off,
    "toStrings": _list(lambda values: [shown(value) for value in values]),
    "sortAlpha": _list(lambda values: sorted(shown(value) for value in values)),
    "sha1sum": _sha1,
    "sha512sum": _text(lambda text: hashlib.sha512(text.encode()).hexdigest()),
    "adler32sum": _text(lambda text: str(zlib.adler32(text.encode()))),
    "b32enc": _text(lambda text: base64.b32encode(text.encode()).decode()),
    "b32dec": _text(lambda text: base64.b32decode(text).decode()),
    "regexMatch": _texts(lambda p, text: go_regexp.compile(p).search(text) is not None),
    "regexFind": _first_found,
    "regexFindAll": _found,
    "regexReplaceAll": _expanded,
    "regexReplaceAllLiteral": _literally,
    "regexSplit": _pieces,
    "regexQuoteMeta": _text(lambda text: re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)),
    "toPrettyJson": _any(lambda value: json.dumps(value, indent=2, sort_keys=True)),
    "toRawJson": _any(
        lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    ),
    "base": _text(lambda path: posixpath.basename(path.rstrip("/")) or "/"),
    "dir": _text(lambda path: posixpath.dirname(path) or "."),
    "clean": posixpath.normpath,
    "ext": _text(lambda path: posixpath.splitext(path)[1]),
    "isAbs": posixpath.isabs,
    "env": _text(lambda _name: ""),
    "expandenv": _text(lambda text: re.sub(r"\$\{?\w+\}?", "", text)),
}


# -- numbers, lists, maps --------------------------------------------------------------------


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def _rounded(value: Any, places: int, up_from: float = 0.5) -> float:
    moved = _float(value) * 10**places
    whole = math.ceil(moved) if math.modf(moved)[0] >= up_from else math.floor(moved)
    return whole / 10**places


def _until(start: int, stop: int, step: int) -> list[int]:
    return list(range(start, stop, step)) if step and (stop < start) == (step < 0) else []


def _counted(*bounds: int) -> str:
    """`seq`: as the command, on one line."""
    first, step, last = {
        1: (1, 1, *bounds), 2: (bounds[0], 1, bounds[-1]), 3: bounds,
    }.get(len(bounds), (1, 1, 0))
    if len(bounds) < 3 and last < first:
        step = -1
    return " ".join(map(str, range(first, last + (1 if step > 0 else -1), step)))


def _unique(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _set(mapping: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    mapping[key] = value
    return mapping


def _unset(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    mapping.pop(key, None)
    return mapping


def _merged(target: dict[str, Any], *sources: dict[str, Any], over: bool = False) -> dict[str, Any]:
    for source in sources:
        for key, value in source.items():
            mine = target.get(key)
            if isinstance(mine, dict) and isinstance(value, dict):
                _merged(cast("dict[str, Any]", mine), cast("dict[str, Any]", value), over=over)
            elif over or not mine:
                target[key] = value
    return target


def _dug(*keys_and_default: Any) -> Any:
    *keys, default, value = keys_and_default
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return default
        value = cast("dict[str, Any]", value)[key]
    return value


def _kind(value: Any) -> str:
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "bool"), (int, "int64"), (float, "float64"), (str, "string"), (list, "slice"),
        (dict, "map"),
    )
    return next((name for type_, name in kinds if isinstance(value, type_)), "invalid")


def _type(value: Any) -> str:
    return {"slice": "[]interface {}", "map": "map[string]interface {}", "invalid": "<nil>"}.get(
        _kind(value), _kind(value)
    )


def _failed(message: str) -> Any:
    raise TemplateError(message)


def _chunked(size: int, values: list[Any]) -> list[list[Any]]:
    return [values[at : at + size] for at in range(0, len(values), size)]


def _sum(*values: Any) -> float:
    return math.fsum(map(_float, values))


def _difference(first: Any, *rest: Any) -> float:
    return _float(first) - math.fsum(map(_float, rest))


def _product(*values: Any) -> float:
    return math.prod(map(_float, values))


def _greatest(*values: Any) -> float:
    return max(map(_float, values))


def _least(*values: Any) -> float:
    return min(map(_float, values))


def _biggest(*values: Any) -> int:
    return max(map(int, values))


def _without(values: list[Any], *gone: Any) -> list[Any]:
    return [value for value in values if value not in gone]


def _concatenated(*lists: list[Any]) -> list[Any]:
    return [value for each in lists for value in each]


def _prepended(values: list[Any], value: Any) -> list[Any]:
    return [value, *values]


def _tuple(*values: Any) -> list[Any]:
    return list(values)


def _all(*values: Any) -> bool:
    return all(values)


def _some(*values: Any) -> bool:
    return any(values)


def _plucked(key: str, *maps: dict[str, Any]) -> list[Any]:
    return [each[key] for each in maps if key in each]


def _picked(mapping: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: mapping[key] for key in keys if key in mapping}


def _omitted(mapping: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key not in keys}


def _merged_over(target: dict[str, Any], *sources: dict[str, Any]) -> dict[str, Any]:
    return _merged(target, *sources, over=True)


def _values(*maps: dict[str, Any]) -> list[Any]:
    return [value for each in maps for value in each.values()]


def _is_kind(kind: str, value: Any) -> bool:
    return _kind(value) == kind


def _is_type(name: str, value: Any) -> bool:
    return _type(value) == name


def _equal(one: Any, other: Any) -> bool:
    return one == other


def _up_to(count: int) -> list[int]:
    return _until(0, count, -1 if count < 0 else 1)


_VALUES: dict[str, Callable[..., Any]] = {
    "float64": _float, "ceil": _any(lambda value: float(math.ceil(_float(value)))),
    "floor": _any(lambda value: float(math.floor(_float(value)))), "round": _rounded,
    "addf": _sum, "subf": _difference, "mulf": _product, "maxf": _greatest, "minf": _least,
    "biggest": _biggest, "until": _up_to, "untilStep": _until, "seq": _counted,
    "toDecimal": _any(lambda value: int(str(value), 8)),
    "rest": _list(lambda values: values[1:]), "initial": _list(lambda values: values[:-1]),
    "reverse": _list(lambda values: values[::-1]), "uniq": _unique, "without": _without,
    "concat": _concatenated, "prepend": _prepended,
    "compact": _list(lambda values: [value for value in values if value]), "chunk": _chunked,
    "tuple": _tuple, "all": _all, "any": _some, "set": _set, "unset": _unset, "pluck": _plucked,
    "pick": _picked, "omit": _omitted, "merge": _merged, "mergeOverwrite": _merged_over,
    "values": _values, "dig": _dug, "deepCopy": _any(lambda value: json.loads(json.dumps(value))),
    "deepEqual": _equal, "kindOf": _kind, "kindIs": _is_kind, "typeOf": _type,
    "typeIs": _is_type, "typeIsLike": _is_type, "fail": _failed,
}
_MUST = (
    "append", "chunk", "compact", "deepCopy", "first", "fromJson", "has", "initial", "last",
    "merge", "mergeOverwrite", "prepend", "regexFind", "regexFindAll", "regexMatch",
    "regexReplaceAll",
    "regexReplaceAllLiteral", "regexSplit", "rest", "reverse", "toJson", "toPrettyJson",
    "toRawJson", "uniq", "without",
)


def functions(
    now_ns: int, draw: Draw, known: dict[str, Callable[..., Any]]
) -> dict[str, Callable[..., Any]]:
    """The functions, at a moment; `known` are the others, some of which get a second name."""
    made = {**_TEXTS, **_VALUES, **_times(now_ns), **_chances(draw)}
    every = {**known, **made}
    must = {f"must{name[0].upper()}{name[1:]}": every[name] for name in _MUST if name in every}
    return {**made, **must}
