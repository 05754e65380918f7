"""The string formats that a CRD's schema may demand.

The law: a format is looked up without its dashes; one that is not listed is ignored, not refused.

Follows ``kube-openapi/pkg/validation/strfmt`` and
``apiextensions-apiserver/pkg/apiserver/validation/formats.go``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from email.errors import MessageError
from email.headerregistry import Address

from pytest_kubesim.apimachinery import go_regexp, go_url, timestamps
from pytest_kubesim.apimachinery.addresses import parse_cidr_sloppy, parse_ip_sloppy

_HOSTNAME = (
    r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}]"
    r"(([a-zA-Z0-9-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$"
)
_CREDIT_CARD = re.compile(
    r"(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}"
    r"|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})"
)
_BASE64 = re.compile(
    "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})"
)
_BYTE_RANGE = r"\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*"
_SHORT_NAME = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DURATION = re.compile(r"(\d+)\s*([A-Za-zµ]+)", re.ASCII)
_UNITS = {
    ("ns", "nano"): 1,
    ("us", "µs", "micro"): 1_000,
    ("ms", "milli"): 1_000_000,
    ("s", "sec"): 1_000_000_000,
    ("m", "min"): 60_000_000_000,
    ("h", "hr", "hour"): 3_600_000_000_000,
    ("d", "day"): 86_400_000_000_000,
    ("w", "wk", "week"): 604_800_000_000_000,
}
_TIME = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))")
_MAC = re.compile(
    r"(?:[0-9a-f]{2}(?P<s>[:-])(?:[0-9a-f]{2}(?P=s)){4}[0-9a-f]{2}"
    r"|(?:[0-9a-f]{2}:){7}[0-9a-f]{2}|(?:[0-9a-f]{2}-){7}[0-9a-f]{2}"
    r"|(?:[0-9a-f]{2}:){19}[0-9a-f]{2}|(?:[0-9a-f]{2}-){19}[0-9a-f]{2}"
    r"|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}|(?:[0-9a-f]{4}\.){3}[0-9a-f]{4}"
    r"|(?:[0-9a-f]{4}\.){9}[0-9a-f]{4})",
    re.IGNORECASE,
)


def _pattern(pattern: str, flags: int = re.ASCII) -> Callable[[str], bool]:
    compiled = re.compile(pattern, flags)
    return lambda text: compiled.fullmatch(text) is not None


def _uuid(version: str = "[0-9a-f]", variant: str = "[0-9a-f]") -> Callable[[str], bool]:
    return _pattern(
        f"[0-9a-f]{{8}}-?[0-9a-f]{{4}}-?{version}[0-9a-f]{{3}}-?{variant}[0-9a-f]{{3}}-?"
        "[0-9a-f]{12}",
        re.ASCII | re.IGNORECASE,
    )


def is_uri(text: str) -> bool:
    """A URI as ``net/url.ParseRequestURI`` takes it."""
    try:
        go_url.parse_request_uri(text)
    except go_url.URLError:
        return False
    return True


def is_email(text: str) -> bool:
    """An address as ``net/mail.ParseAddress`` takes it, with or without a name."""
    named = re.fullmatch(r'\s*("(?:[^"\\]|\\.)*"|[^<>"@,]*)\s*<([^<>]+)>\s*', text)
    try:
        address = Address(addr_spec=(named.group(2) if named else text).strip())
    except (MessageError, ValueError, IndexError):
        return False
    return bool(address.username and address.domain)


def is_hostname(text: str) -> bool:
    """A host name, after RFC 1034; symbols and letters of all scripts are let through."""
    if not go_regexp.matches(_HOSTNAME, text):
        return False
    parts = text.split(".")
    return len(text.encode()) <= 255 and all(len(part.encode()) <= 63 for part in parts)


def is_ipv4(text: str) -> bool:
    """An IPv4 address, or one of IPv6 written with dots."""
    return parse_ip_sloppy(text) is not None and "." in text


def is_ipv6(text: str) -> bool:
    """An IPv6 address."""
    return parse_ip_sloppy(text) is not None and ":" in text


def is_credit_card(text: str) -> bool:
    """A card number with a right check digit; what is no digit is skipped."""
    digits = re.sub("[^0-9]+", "", text)
    if not _CREDIT_CARD.fullmatch(digits):
        return False
    total = 0
    for index, char in enumerate(reversed(digits)):
        number = int(char) * (2 if index % 2 else 1)
        total += number % 10 + 1 if number >= 10 else number
    return total % 10 == 0


def is_isbn10(text: str) -> bool:
    """A ten-digit ISBN with a right check digit."""
    plain = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch("[0-9]{9}X|[0-9]{10}", plain):
        return False
    total = sum((i + 1) * int(plain[i]) for i in range(9))
    return (total + 10 * (10 if plain[9] == "X" else int(plain[9]))) % 11 == 0


def is_isbn13(text: str) -> bool:
    """A thirteen-digit ISBN with a right check digit."""
    plain = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch("[0-9]{13}", plain):
        return False
    total = sum((1, 3)[i % 2] * int(plain[i]) for i in range(12))
    return int(plain[12]) == (10 - total % 10) % 10


def is_date(text: str) -> bool:
    """A full date of RFC 3339."""
    try:
        timestamps.parse_time(f"{text}T00:00:00Z")
    except ValueError:
        return False
    return re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) is not None


def is_date_time(text: str) -> bool:
    """A date and time of RFC 3339, in capitals or not."""
    parts = text.lower().split("t")
    if len(text) < 4 or len(parts) < 2 or not is_date(parts[0]):
        return False
    found = _TIME.fullmatch(parts[1])
    if found is None:
        return False
    return found.group(1) <= "23" and found.group(2) <= "59" and found.group(3) <= "59"


def parse_duration(text: str) -> int:
    """Nanoseconds of a duration as Go writes it, or in words: ``3 days``. Raises ``ValueError``."""
    try:
        return timestamps.parse_duration(text)
    except ValueError:
        pass
    total, found = 0, False
    for count, unit in _DURATION.findall(text):
        name = unit.lower()
        for variants, unit_ns in _UNITS.items():
            matches = sum(name == variant for variant in variants[:-1])
            matches += name.startswith(variants[-1])
            total += matches * int(count) * unit_ns
            found = found or matches > 0
    if not found:
        raise ValueError(f"unable to parse {text} as duration")
    return total


def is_duration(text: str) -> bool:
    """A duration as Go writes it, or in words such as ``3 days``."""
    try:
        parse_duration(text)
    except ValueError:
        return False
    return True


_FORMATS: Mapping[str, Callable[[str], bool]] = {
    "bsonobjectid": _pattern("[0-9a-fA-F]{24}"),
    "uri": is_uri,
    "email": is_email,
    "hostname": is_hostname,
    "ipv4": is_ipv4,
    "ipv6": is_ipv6,
    "cidr": lambda text: parse_cidr_sloppy(text) is not None,
    "mac": lambda text: _MAC.fullmatch(text) is not None,
    "uuid": _uuid(),
    "uuid3": _uuid("3"),
    "uuid4": _uuid("4", "[89ab]"),
    "uuid5": _uuid("5", "[89ab]"),
    "isbn": lambda text: is_isbn10(text) or is_isbn13(text),
    "isbn10": is_isbn10,
    "isbn13": is_isbn13,
    "creditcard": is_credit_card,
    "ssn": lambda text: (
        len(text) == 11 and re.fullmatch(r"\d{3}[- ]?\d{2}[- ]?\d{4}", text, re.ASCII) is not None
    ),
    "hexcolor": _pattern("#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _pattern(rf"rgb\({_BYTE_RANGE},{_BYTE_RANGE},{_BYTE_RANGE}\)"),
    "byte": lambda text: _BASE64.fullmatch(text) is not None,
    "password": lambda _: True,
    "date": is_date,
    "duration": is_duration,
    "datetime": is_date_time,
    "k8sshortname": lambda text: len(text) <= 63 and re.fullmatch(_SHORT_NAME, text) is not None,
    "k8slongname": lambda text: (
        len(text) <= 253 and re.fullmatch(rf"{_SHORT_NAME}(\.{_SHORT_NAME})*", text) is not None
    ),
}


def checker(name: str) -> Callable[[str], bool] | None:
    """What tells whether a text has the format of that name; None if the format is not known."""
    return _FORMATS.get(name.replace("-", ""))


def effective(types: tuple[str, ...], name: str) -> str:
    """The format that counts for a schema of those types; empty if it is ignored."""
    if not name:
        return ""
    kind = types[0] if len(types) == 1 else ""
    if kind in ("", "string"):
        return name if name.replace("-", "") in _FORMATS else ""
    if kind == "integer":
        return name if name in ("int32", "int64") else ""
    if kind == "number":
        return name if name in ("float", "double") else ""
    return ""
