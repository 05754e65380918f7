"""Go's URLs: what ``net/url`` accepts, says of the rest, and takes apart.

The law: ``parse`` and ``parse_request_uri`` either return a ``URL`` or raise ``URLError`` with the
text that Go's ``url.Error`` prints. Parts are kept decoded, as Go keeps them.

Follows ``net/url/url.go``.
"""

from __future__ import annotations

import re
import string
from urllib.parse import quote, unquote_to_bytes

import attrs

from pytest_kubesim.apimachinery import golang
from pytest_kubesim.apimachinery.addresses import parse_ip_sloppy

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*\Z")
_UNRESERVED = string.ascii_letters + string.digits + "-_.~"
_PATH_SAFE = "$&+,/:;=@"
_HOST_SAFE = "!$&'()*+,;=:[]<>\""


class URLError(ValueError):
    """Go's ``url.Error``: ``parse "x": problem``."""

    def __init__(self, raw: str, problem: str) -> None:
        super().__init__(f"parse {golang.quote(raw)}: {problem}")
        self.problem = problem


@attrs.frozen
class URL:
    """A URL taken apart; parts that are not there are empty."""

    scheme: str = ""
    opaque: str = ""
    user: str | None = None
    """User information as written, decoded; None where there is no ``@``."""
    host: str = ""
    path: str = ""
    raw_path: str = ""
    raw_query: str = ""
    fragment: str = ""
    force_query: bool = False
    omit_host: bool = False

    @property
    def hostname(self) -> str:
        """The host without its port and without brackets."""
        host = self.host
        colon = _port_colon(host)
        if colon >= 0:
            host = host[:colon]
        return host[1:-1] if host.startswith("[") and host.endswith("]") else host

    @property
    def port(self) -> str:
        """The port, without its colon."""
        colon = _port_colon(self.host)
        return self.host[colon + 1 :] if colon >= 0 else ""

    @property
    def escaped_path(self) -> str:
        """The path as it is written in a URL."""
        if self.raw_path and _valid_encoded(self.raw_path) and _decoded(self.raw_path) == self.path:
            return self.raw_path
        return "*" if self.path == "*" else quote(self.path, safe=_PATH_SAFE)

    @property
    def query(self) -> dict[str, list[str]]:
        """The query's values by key, malformed pairs left out."""
        found: dict[str, list[str]] = {}
        for pair in self.raw_query.split("&"):
            if not pair or ";" in pair:
                continue
            key, _, value = pair.partition("=")
            try:
                name = _unescape(key.replace("+", " "), "query")
                text = _unescape(value.replace("+", " "), "query")
            except ValueError:
                continue
            found.setdefault(name, []).append(text)
        return found

    def __str__(self) -> str:
        text = f"{self.scheme}:" if self.scheme else ""
        if self.opaque:
            text += self.opaque
        else:
            text += self._hierarchy()
        if self.force_query or self.raw_query:
            text += f"?{self.raw_query}"
        if self.fragment:
            text += "#" + quote(self.fragment, safe="$&+,/:;=?@!()*'")
        return text

    def _hierarchy(self) -> str:
        text = ""
        if self.scheme or self.host or self.user is not None:
            if not (self.omit_host and not self.host and self.user is None):
                if self.host or self.path or self.user is not None:
                    text += "//"
                if self.user is not None:
                    text += f"{self.user}@"
                text += quote(self.host, safe=_HOST_SAFE)
        path = self.escaped_path
        if path and not path.startswith("/") and self.host:
            text += "/"
        if not text and ":" in path.partition("/")[0] and not self.scheme:
            text += "./"
        return text + path


def _port_colon(host: str) -> int:
    colon = host.rfind(":")
    if colon < 0 or not re.fullmatch("[0-9]*", host[colon + 1 :], re.ASCII):
        return -1
    return colon


def parse(raw: str) -> URL:
    """A URL or a relative reference. Raises ``URLError``."""
    before, hash_, fragment = raw.partition("#")
    url = _parse(before, raw, via_request=False)
    if not hash_:
        return url
    try:
        return attrs.evolve(url, fragment=_unescape(fragment, "fragment"))
    except ValueError as problem:
        raise URLError(raw, str(problem)) from problem


def parse_request_uri(raw: str) -> URL:
    """An absolute URL or an absolute path, as in a request. Raises ``URLError``."""
    return _parse(raw, raw, via_request=True)


def _parse(raw: str, shown: str, *, via_request: bool) -> URL:
    try:
        return _taken_apart(raw, via_request=via_request)
    except URLError:
        raise
    except ValueError as problem:
        raise URLError(shown, str(problem)) from problem


def _taken_apart(raw: str, *, via_request: bool) -> URL:
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in raw):
        raise ValueError("net/url: invalid control character in URL")
    if not raw and via_request:
        raise ValueError("empty url")
    if raw == "*":
        return URL(path="*")
    scheme, rest = _scheme(raw)
    scheme = scheme.lower()
    force_query = rest.endswith("?") and rest.count("?") == 1
    if force_query:
        rest, raw_query = rest[:-1], ""
    else:
        rest, _, raw_query = rest.partition("?")
    if not rest.startswith("/"):
        if scheme:
            return URL(scheme=scheme, opaque=rest, raw_query=raw_query, force_query=force_query)
        if via_request:
            raise ValueError("invalid URI for request")
        if ":" in rest.partition("/")[0]:
            raise ValueError("first path segment in URL cannot contain colon")
    user: str | None = None
    host = ""
    omit_host = False
    if (scheme or (not via_request and not rest.startswith("///"))) and rest.startswith("//"):
        authority, slash, tail = rest[2:].partition("/")
        rest = slash + tail
        user, host = _authority(authority)
    elif scheme and rest.startswith("/"):
        omit_host = True
    path = _unescape(rest, "path")
    raw_path = "" if quote(path, safe=_PATH_SAFE) == rest else rest
    return URL(
        scheme=scheme,
        user=user,
        host=host,
        path=path,
        raw_path=raw_path,
        raw_query=raw_query,
        force_query=force_query,
        omit_host=omit_host,
    )


def _scheme(raw: str) -> tuple[str, str]:
    for index, char in enumerate(raw):
        if char in string.ascii_letters:
            continue
        if char in string.digits or char in "+-.":
            if index == 0:
                return "", raw
            continue
        if char == ":":
            if index == 0:
                raise ValueError("missing protocol scheme")
            return raw[:index], raw[index + 1 :]
        return "", raw
    return "", raw


def _authority(authority: str) -> tuple[str | None, str]:
    info, at, host = authority.rpartition("@")
    host = _host(host if at else authority)
    if not at:
        return None, host
    if not all(c in _UNRESERVED + ":" + "!$&'()*+,;=%@" for c in info):
        raise ValueError("net/url: invalid userinfo")
    _unescape(info, "userinfo")
    return info, host


def _host(host: str) -> str:
    opening = host.rfind("[")
    if opening > 0:
        raise ValueError("invalid IP-literal")
    if opening == 0:
        closing = host.rfind("]")
        if closing < 0:
            raise ValueError("missing ']' in host")
        port = host[closing + 1 :]
        if port and not re.fullmatch(":[0-9]*", port, re.ASCII):
            raise ValueError(f"invalid port {golang.quote(port)} after host")
        literal = host[1:closing]
        zone = literal.find("%25")
        address = literal[:zone] if zone >= 0 else literal
        unescaped = _unescape(address, "host")
        if zone >= 0:
            unescaped += "%" + _unescape(literal[zone + 3 :], "zone")
        if ":" not in unescaped or parse_ip_sloppy(unescaped.partition("%")[0]) is None:
            raise ValueError("invalid host: " + _address_problem(unescaped))
        return f"[{unescaped}]{port}"
    colon = host.rfind(":")
    if colon >= 0 and not re.fullmatch(":[0-9]*", host[colon:], re.ASCII):
        raise ValueError(f"invalid port {golang.quote(host[colon:])} after host")
    return _unescape(host, "host")


def _address_problem(text: str) -> str:
    return f"ParseAddr({golang.quote(text)}): unexpected character (at {golang.quote(text)})"


_HEX = frozenset("0123456789abcdefABCDEF")


def _unescape(text: str, mode: str) -> str:
    if "%" not in text and mode != "host":
        return text
    index = 0
    while index < len(text):
        char = text[index]
        if char == "%":
            if not (len(text) - index >= 3 and set(text[index + 1 : index + 3]) <= _HEX):
                raise ValueError(f"invalid URL escape {golang.quote(text[index : index + 3])}")
            code = text[index : index + 3]
            if mode == "host" and int(code[1], 16) < 8 and code != "%25":
                raise ValueError(f"invalid URL escape {golang.quote(code)}")
            index += 3
            continue
        if mode in ("host", "zone") and ord(char) < 0x80 and char not in _UNRESERVED + _HOST_SAFE:
            raise ValueError(f"invalid character {golang.quote(char)} in host name")
        index += 1
    return _decoded(text)


def _decoded(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace") if "%" in text else text


def _valid_encoded(text: str) -> bool:
    return all(ord(c) < 0x80 and (c in _UNRESERVED + "!$&'()*+,;=:@[]%/") for c in text)
