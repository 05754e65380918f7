"""The forms that names and values must have, and what upstream says when they have not.

Each ``is_*`` takes a value and returns the list of complaints, empty when all is well: Go's
convention, kept because callers turn every complaint into a field error of its own. Lengths count
bytes, as in Go.

Addresses are in ``addresses``.

Follows ``apimachinery/pkg/util/validation/validation.go`` and ``pkg/api/validate/content``.
"""

from __future__ import annotations

import re
from functools import lru_cache

DNS1123_LABEL_MAX_LENGTH = 63
DNS1123_SUBDOMAIN_MAX_LENGTH = 253
DNS1035_LABEL_MAX_LENGTH = 63
LABEL_VALUE_MAX_LENGTH = 63

# -- texts ---------------------------------------------------------------------------------------


def max_len_error(length: int) -> str:
    """Too long, in characters as most checks say."""
    return f"must be no more than {length} characters"


def max_bytes_error(length: int) -> str:
    """Too long, in bytes as the checks of labels say."""
    return f"must be no more than {length} bytes"


def empty_error() -> str:
    """Nothing where something must be."""
    return "must be non-empty"


def inclusive_range_error(lowest: int, highest: int) -> str:
    """Out of bounds."""
    return f"must be between {lowest} and {highest}, inclusive"


def regex_error(message: str, pattern: str, *examples: str) -> str:
    """Does not match, with examples of what does."""
    if not examples:
        return f"{message} (regex used for validation is '{pattern}')"
    # Upstream puts the comma after the quote of each example, and "or" between: kept to the letter.
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {shown}regex used for validation is '{pattern}')"


def _length(value: str) -> int:
    return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))


# -- DNS -----------------------------------------------------------------------------------------

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_MESSAGE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_SUBDOMAIN = _LABEL + "(\\." + _LABEL + ")*"
_SUBDOMAIN_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character"
)
_CASELESS_MESSAGE = (
    "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_UNDERSCORED_LABEL = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_UNDERSCORED = _UNDERSCORED_LABEL + "(\\." + _UNDERSCORED_LABEL + ")*"
_UNDERSCORED_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' "
    "or '.', and must start and end with an alphanumeric character"
)
_DNS1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_DNS1035_MESSAGE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
    "start with an alphabetic character, and end with an alphanumeric character"
)
_WILDCARD = "\\*\\." + _SUBDOMAIN
_WILDCARD_MESSAGE = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which "
    "must consist of lower case alphanumeric characters, '-' or '.' and end with an "
    "alphanumeric character"
)

_match_label = re.compile(_LABEL).fullmatch
_match_subdomain = re.compile(_SUBDOMAIN).fullmatch
_match_caseless = re.compile(_SUBDOMAIN, re.IGNORECASE | re.ASCII).fullmatch
_match_underscored = re.compile(_UNDERSCORED).fullmatch
_match_dns1035 = re.compile(_DNS1035).fullmatch
_match_wildcard = re.compile(_WILDCARD).fullmatch


def is_dns1123_label(value: str) -> list[str]:
    """A name of a namespace: letters, digits and dashes."""
    errors = _too_long(value, DNS1123_LABEL_MAX_LENGTH)
    if not _match_label(value):
        if _match_subdomain(value):
            errors.append("must not contain dots")
        else:
            errors.append(regex_error(_LABEL_MESSAGE, _LABEL, "my-name", "123-abc"))
    return errors


def is_dns1123_subdomain(value: str) -> list[str]:
    """A name of most objects: labels with dots between."""
    errors = _too_long(value, DNS1123_SUBDOMAIN_MAX_LENGTH)
    if not _match_subdomain(value):
        errors.append(regex_error(_SUBDOMAIN_MESSAGE, _SUBDOMAIN, "example.com"))
    return errors


def is_dns1123_subdomain_caseless(value: str) -> list[str]:
    """A subdomain in letters of any case, whose length is told in bytes."""
    errors: list[str] = []
    if _length(value) > DNS1123_SUBDOMAIN_MAX_LENGTH:
        errors.append(max_bytes_error(DNS1123_SUBDOMAIN_MAX_LENGTH))
    if not _match_caseless(value):
        errors.append(regex_error(_CASELESS_MESSAGE, _SUBDOMAIN, "Example.com"))
    return errors


def is_dns1123_subdomain_with_underscore(value: str) -> list[str]:
    """A subdomain whose labels may hold underscores."""
    errors = _too_long(value, DNS1123_SUBDOMAIN_MAX_LENGTH)
    if not _match_underscored(value):
        errors.append(regex_error(_UNDERSCORED_MESSAGE, _UNDERSCORED, "example.com"))
    return errors


def is_dns1035_label(value: str) -> list[str]:
    """A label that begins with a letter: a name of a Service."""
    errors = _too_long(value, DNS1035_LABEL_MAX_LENGTH)
    if not _match_dns1035(value):
        errors.append(regex_error(_DNS1035_MESSAGE, _DNS1035, "my-name", "abc-123"))
    return errors


def is_wildcard_dns1123_subdomain(value: str) -> list[str]:
    """``*.example.com``: a host of an Ingress."""
    errors = _too_long(value, DNS1123_SUBDOMAIN_MAX_LENGTH)
    if not _match_wildcard(value):
        errors.append(regex_error(_WILDCARD_MESSAGE, _WILDCARD, "*.example.com"))
    return errors


def _too_long(value: str, limit: int) -> list[str]:
    return [max_len_error(limit)] if _length(value) > limit else []


# -- names of objects ----------------------------------------------------------------------------


def name_is_dns_subdomain(name: str, *, prefix: bool = False) -> list[str]:
    """A name, or a ``generateName`` when ``prefix``, that must become a subdomain."""
    return is_dns1123_subdomain(mask_trailing_dash(name) if prefix else name)


def name_is_dns_label(name: str, *, prefix: bool = False) -> list[str]:
    """A name, or a ``generateName`` when ``prefix``, that must become a label."""
    return is_dns1123_label(mask_trailing_dash(name) if prefix else name)


def name_is_dns1035_label(name: str, *, prefix: bool = False) -> list[str]:
    """A name, or a ``generateName`` when ``prefix``, that must become a DNS-1035 label."""
    return is_dns1035_label(mask_trailing_dash(name) if prefix else name)


def is_valid_path_segment_name(name: str, *, prefix: bool = False) -> list[str]:
    """A name that may stand in a URL: what RBAC objects and the like must have.

    A prefix may still be ``.`` or ``..`` (``pkg/api/validation/path/name.go``).
    """
    if not prefix and name in {".", ".."}:
        return [f"may not be '{name}'"]
    return [f"may not contain '{character}'" for character in ("/", "%") if character in name]


def mask_trailing_dash(name: str) -> str:
    """A prefix made checkable: its last two characters, if the last is a dash, become ``a``."""
    return name[:-2] + "a" if len(name) > 1 and name.endswith("-") else name


# -- labels --------------------------------------------------------------------------------------

_KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_KEY_MESSAGE = (
    "must consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_VALUE = f"({_KEY})?"
_VALUE_MESSAGE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character"
)
_match_key = re.compile(_KEY).fullmatch
_match_value = re.compile(_VALUE).fullmatch


def is_qualified_name(value: str) -> list[str]:
    """A key of a label or an annotation: a name with an optional ``prefix/``."""
    return list(_qualified_name(value))


@lru_cache(maxsize=4096)
def _qualified_name(value: str) -> tuple[str, ...]:
    parts = value.split("/")
    if len(parts) > 2:
        complaint = regex_error(_KEY_MESSAGE, _KEY, "MyName", "my.name", "123-abc")
        return (
            (
                f"a valid label key {complaint} with an optional DNS subdomain prefix and '/' "
                "(e.g. 'example.com/MyName')"
            ),
        )
    name = parts[-1]
    errors: list[str] = []
    if len(parts) == 2:
        prefix = parts[0]
        if not prefix:
            errors.append(f"prefix part {empty_error()}")
        else:
            if _length(prefix) > DNS1123_SUBDOMAIN_MAX_LENGTH:
                errors.append(f"prefix part {max_bytes_error(DNS1123_SUBDOMAIN_MAX_LENGTH)}")
            if not _match_subdomain(prefix):
                complaint = regex_error(_SUBDOMAIN_MESSAGE, _SUBDOMAIN, "example.com")
                errors.append(f"prefix part {complaint}")
    if not name:
        errors.append(f"name part {empty_error()}")
    elif _length(name) > 63:
        errors.append(f"name part {max_bytes_error(63)}")
    if not _match_key(name):
        complaint = regex_error(_KEY_MESSAGE, _KEY, "MyName", "my.name", "123-abc")
        errors.append(f"name part {complaint}")
    return tuple(errors)


def is_prefixed_label_key(value: str) -> list[str]:
    """A qualified name that must have its prefix."""
    if errors := is_qualified_name(value):
        return errors
    return [] if "/" in value else ["must include a prefix (e.g. 'example.com/key')"]


def is_valid_label_value(value: str) -> list[str]:
    """A value of a label; may be empty."""
    errors: list[str] = []
    if _length(value) > LABEL_VALUE_MAX_LENGTH:
        errors.append(max_bytes_error(LABEL_VALUE_MAX_LENGTH))
    if not _match_value(value):
        errors.append(regex_error(_VALUE_MESSAGE, _VALUE, "MyValue", "my_value", "12345"))
    return errors


# -- keys and identifiers ------------------------------------------------------------------------

_match_identifier = re.compile("[A-Za-z_][A-Za-z0-9_]*").fullmatch
_match_http_path = re.compile(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+").fullmatch
_match_header = re.compile("[-A-Za-z0-9]+").fullmatch
_match_env = re.compile("[-._a-zA-Z][-._a-zA-Z0-9]*").fullmatch
_match_config_key = re.compile("[-._a-zA-Z0-9]+").fullmatch
_match_percent = re.compile("[0-9]+%").fullmatch
_match_condition_reason = re.compile("[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?").fullmatch


def is_c_identifier(value: str) -> list[str]:
    """A name in C."""
    if _match_identifier(value):
        return []
    message = (
        "a valid C identifier must start with alphabetic character or '_', "
        "followed by a string of alphanumeric characters or '_'"
    )
    return [regex_error(message, "[A-Za-z_][A-Za-z0-9_]*", "my_name", "MY_NAME", "MyName")]


def is_env_var_name(value: str) -> list[str]:
    """A name of an environment variable by the old, strict rule."""
    errors: list[str] = []
    if not _match_env(value):
        message = (
            "a valid environment variable name must consist of alphabetic characters, digits, "
            "'_', '-', or '.', and must not start with a digit"
        )
        pattern = "[-._a-zA-Z][-._a-zA-Z0-9]*"
        examples = ("my.env-name", "MY_ENV.NAME", "MyEnvName1")
        errors.append(regex_error(message, pattern, *examples))
    return errors + _changes_directory(value)


def is_relaxed_env_var_name(value: str) -> list[str]:
    """A name of an environment variable by the rule in force: printable ASCII without ``=``."""
    if not value:
        return [f"environment variable name {empty_error()}"]
    if value.isascii() and value.isprintable() and "=" not in value:
        return []
    message = (
        "a valid environment variable name must consist only of printable ASCII characters "
        "other than '='"
    )
    return [message]


def is_config_map_key(value: str) -> list[str]:
    """A key of a ConfigMap or a Secret."""
    errors = _too_long(value, DNS1123_SUBDOMAIN_MAX_LENGTH)
    if not _match_config_key(value):
        message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        examples = ("key.name", "KEY_NAME", "key-name")
        errors.append(regex_error(message, "[-._a-zA-Z0-9]+", *examples))
    return errors + _changes_directory(value)


def _changes_directory(value: str) -> list[str]:
    if value in {".", ".."}:
        return [f"must not be '{value}'"]
    return ["must not start with '..'"] if value.startswith("..") else []


def is_http_header_name(value: str) -> list[str]:
    """A name of an HTTP header."""
    if _match_header(value):
        return []
    message = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [regex_error(message, "[-A-Za-z0-9]+", "X-Header-Name")]


def http_path_problem(value: str) -> str | None:
    """What is wrong with the path of a URL, or ``None``."""
    if _match_http_path(value):
        return None
    return regex_error("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")


def is_valid_percent(value: str) -> list[str]:
    """``25%``."""
    if _match_percent(value):
        return []
    message = "a valid percent string must be a numeric string followed by an ending '%'"
    return [regex_error(message, "[0-9]+%", "1%", "93%")]


def is_valid_condition_reason(value: str) -> list[str]:
    """The ``reason`` of a condition; its length is checked elsewhere."""
    if _match_condition_reason(value):
        return []
    message = (
        "a condition reason must start with alphabetic character, optionally followed by a "
        "string of alphanumeric characters or '_,:', and must end with an alphanumeric character "
        "or '_'"
    )
    examples = ("my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB")
    return [regex_error(message, "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", *examples)]


# -- numbers -------------------------------------------------------------------------------------


def is_in_range(value: int, lowest: int, highest: int) -> list[str]:
    """Within bounds, both included."""
    return [] if lowest <= value <= highest else [inclusive_range_error(lowest, highest)]


def is_valid_port_num(port: int) -> list[str]:
    """A port that one can listen on."""
    return is_in_range(port, 1, 65535)


def is_valid_user_id(uid: int) -> list[str]:
    """A numeric user."""
    return is_in_range(uid, 0, 2**31 - 1)


def is_valid_group_id(gid: int) -> list[str]:
    """A numeric group."""
    return is_in_range(gid, 0, 2**31 - 1)


_match_port_name = re.compile("[-a-z0-9]+").fullmatch
_letter = re.compile("[a-z]").search


def is_valid_port_name(port: str) -> list[str]:
    """An IANA service name: what a container calls its port."""
    errors = _too_long(port, 15)
    if not _match_port_name(port):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not _letter(port):
        errors.append("must contain at least one letter (a-z)")
    if "--" in port:
        errors.append("must not contain consecutive hyphens")
    if port.startswith("-") or port.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return errors
