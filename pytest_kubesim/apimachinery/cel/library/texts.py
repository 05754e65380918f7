"""Kubernetes' functions on texts: URLs, regular expressions, named formats, keys of JSON patches.

Follows ``apiserver/pkg/cel/library/{urls,regex,format,jsonpatch}.go``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from pytest_kubesim.apimachinery import formats, go_regexp, go_url
from pytest_kubesim.apimachinery.cel import types
from pytest_kubesim.apimachinery.cel.environment import Function, function, method, overload
from pytest_kubesim.apimachinery.cel.errors import CELError
from pytest_kubesim.apimachinery.cel.types import BOOL, INT, STRING
from pytest_kubesim.apimachinery.cel.values import NONE, Opaque, Optional
from pytest_kubesim.apimachinery.structural import strfmt

URL = types.struct("kubernetes.URL")
FORMAT = types.struct("kubernetes.NamedFormat")
_STRINGS = types.list_of(STRING)


@attrs.frozen
class ParsedURL(Opaque):
    """A URL taken apart, and as it was written."""

    cel_type = URL
    text: str
    parts: go_url.URL

    def equals(self, other: object) -> bool:
        """URLs are equal as they are written."""
        return isinstance(other, ParsedURL) and self.parts == other.parts


def _url(text: str) -> ParsedURL:
    try:
        go_url.parse_request_uri(text)
        return ParsedURL(text, go_url.parse(text))
    except go_url.URLError as problem:
        shown = f"URL parse error during conversion from string: {problem}"
        raise CELError(shown) from None


def _is_url(text: str) -> bool:
    try:
        go_url.parse_request_uri(text)
    except go_url.URLError:
        return False
    return True


def _compiled(pattern: str) -> Any:
    try:
        return go_regexp.compile(pattern)
    except go_regexp.RegexpError as problem:
        raise CELError(f"Illegal regex: {problem}") from None


def _find(text: str, pattern: str) -> str:
    found = _compiled(pattern).search(text)
    return found.group() if found else ""


def _find_all(text: str, pattern: str, count: int = -1) -> list[str]:
    found: list[str] = []
    end = -1
    for match in _compiled(pattern).finditer(text):
        if 0 <= count <= len(found):
            break
        # Go finds no empty match right after another.
        if match.start() != match.end() or match.start() != end:
            found.append(match.group())
        end = match.end()
    return found


Check = Callable[[str], list[str]]


@attrs.frozen
class NamedFormat(Opaque):
    """A format that texts may have."""

    cel_type = FORMAT
    name: str
    check: Check
    regex_size: int
    """How long the regular expression is that costs are estimated by."""

    def equals(self, other: object) -> bool:
        """Formats are equal by their names."""
        return isinstance(other, NamedFormat) and self.name == other.name


def _uri(text: str) -> list[str]:
    try:
        go_url.parse_request_uri(text)
    except go_url.URLError as problem:
        return [str(problem)]
    return []


def _strfmt(name: str, problem: str) -> Check:
    check = strfmt.checker(name)
    assert check is not None, name
    return lambda text: [] if check(text) else [problem]


_FORMATS: dict[str, NamedFormat] = {
    "dns1123Label": NamedFormat("DNS1123Label", formats.name_is_dns_label, 30),
    "dns1123Subdomain": NamedFormat("DNS1123Subdomain", formats.name_is_dns_subdomain, 60),
    "dns1035Label": NamedFormat("DNS1035Label", formats.name_is_dns1035_label, 30),
    "qualifiedName": NamedFormat("QualifiedName", formats.is_qualified_name, 60),
    "dns1123LabelPrefix": NamedFormat(
        "DNS1123LabelPrefix", lambda text: formats.name_is_dns_label(text, prefix=True), 30
    ),
    "dns1123SubdomainPrefix": NamedFormat(
        "DNS1123SubdomainPrefix", lambda text: formats.name_is_dns_subdomain(text, prefix=True), 60
    ),
    "dns1035LabelPrefix": NamedFormat(
        "DNS1035LabelPrefix", lambda text: formats.name_is_dns1035_label(text, prefix=True), 30
    ),
    "labelValue": NamedFormat("LabelValue", formats.is_valid_label_value, 40),
    "uri": NamedFormat("URI", _uri, 1103),
    "uuid": NamedFormat("uuid", _strfmt("uuid", "does not match the UUID format"), 70),
    "byte": NamedFormat("byte", _strfmt("byte", "invalid base64"), 84),
    "date": NamedFormat("date", _strfmt("date", "invalid date"), 71),
    "datetime": NamedFormat("datetime", _strfmt("datetime", "invalid datetime"), 71),
}


def _named(name: str) -> Optional:
    found = _FORMATS.get(name)
    return NONE if found is None else Optional(found)


def _validate(format_: NamedFormat, text: str) -> Optional:
    problems = format_.check(text)
    return Optional(problems) if problems else NONE


def _constant(name: str) -> Function:
    found = _FORMATS[name]
    return function(f"format.{name}", overload(f"format.{name}", (), FORMAT, lambda: found))


def _escape_key(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _part(
    name: str, id_: str, run: Callable[[ParsedURL], Any], result: types.Type = STRING
) -> Function:
    return function(name, method(id_, (URL,), result, run))


FUNCTIONS: tuple[Function, ...] = (
    function("url", overload("string_to_url", (STRING,), URL, _url)),
    _part("getScheme", "url_get_scheme", lambda url: url.parts.scheme),
    _part("getHost", "url_get_host", lambda url: url.parts.host),
    _part("getHostname", "url_get_hostname", lambda url: url.parts.hostname),
    _part("getPort", "url_get_port", lambda url: url.parts.port),
    _part("getEscapedPath", "url_get_escaped_path", lambda url: url.parts.escaped_path),
    _part("getQuery", "url_get_query", lambda url: url.parts.query, types.map_of(STRING, _STRINGS)),
    function("isURL", overload("is_url_string", (STRING,), BOOL, _is_url)),
    function("find", method("string_find_string", (STRING, STRING), STRING, _find)),
    function(
        "findAll",
        method("string_find_all_string", (STRING, STRING), _STRINGS, _find_all),
        method("string_find_all_string_int", (STRING, STRING, INT), _STRINGS, _find_all),
    ),
    function(
        "validate",
        method("format-validate", (FORMAT, STRING), types.optional(_STRINGS), _validate),
    ),
    function("format.named", overload("format-named", (STRING,), types.optional(FORMAT), _named)),
    *map(_constant, _FORMATS),
)
JSON_PATCH: tuple[Function, ...] = (
    function(
        "jsonpatch.escapeKey",
        overload("string_jsonpatch_escapeKey_string", (STRING,), STRING, _escape_key),
    ),
)
"""Only policies that change objects may use it."""
