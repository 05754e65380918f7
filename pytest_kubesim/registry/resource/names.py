"""What things are called in resource.k8s.io, and the lists they stand in.

Follows `pkg/apis/resource/validation/validation.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pytest_kubesim.apimachinery import formats, golang, objectmeta
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.pod_template.volume_sources import csi_driver_name

EFFECTS = ("NoExecute", "NoSchedule", "None")
OPERATORS = ("Equal", "Exists")
MAX_ID = 32
MAX_POOL_NAME = 253
MAX_DRIVER_NAME = 63
SELECTORS = 32
Check = Callable[[Any, Path], ErrorList]

driver = csi_driver_name


def declared_driver(name: str, path: Path) -> ErrorList:
    """The driver of a device that is configured or allocated: by declared rules."""
    if not name:
        return field.declared([field.required(path)])
    errors = field.invalid_each(path, name, formats.is_dns1123_subdomain_caseless(name))
    if len(name) > MAX_DRIVER_NAME:
        errors.append(field.too_long_characters(path, MAX_DRIVER_NAME))
    return field.declared(errors)


def declared_pool(name: str, path: Path) -> ErrorList:
    """The pool of a device that is allocated."""
    if not name:
        return field.declared([field.required(path)])
    errors: ErrorList = []
    if len(name) > MAX_POOL_NAME:
        errors.append(field.too_long_characters(path, MAX_POOL_NAME))
    for position, part in enumerate(name.split("/")):
        if not part:
            errors.append(field.invalid(path, name, f"segment {position}: must not be empty"))
            continue
        details = formats.is_dns1123_subdomain(part)
        errors += [field.invalid(path, part, f"segment {position}: {text}") for text in details]
    return field.declared(errors)


def short(name: str, path: Path) -> ErrorList:
    """The name of a request, a device or a counter: a label of DNS."""
    return field.invalid_each(path, name, formats.is_dns1123_label(name))


def long(name: str, path: Path) -> ErrorList:
    """The name of a class."""
    return field.invalid_each(path, name, formats.is_dns1123_subdomain(name))


def pool(name: str, path: Path) -> ErrorList:
    """Subdomains with slashes between."""
    if not name:
        return [field.required(path)]
    errors: ErrorList = []
    if len(name.encode()) > MAX_POOL_NAME:
        errors.append(field.too_long(path, MAX_POOL_NAME))
    for part in name.split("/"):
        errors += field.invalid_each(path, part, formats.is_dns1123_subdomain(part))
    return errors


def identifier(name: str, path: Path) -> ErrorList:
    """The name of an attribute without its domain."""
    errors: ErrorList = [field.too_long(path, MAX_ID)] if len(name.encode()) > MAX_ID else []
    return errors + field.invalid_each(path, name, formats.is_c_identifier(name))


def qualified(name: str, path: Path) -> ErrorList:
    """The name of an attribute or a capacity, with or without a domain."""
    domain, slash, last = name.partition("/")
    if not slash:
        return identifier(name, path)
    if "/" in last:
        return []
    errors = driver(domain, path) if domain else []
    if not domain:
        errors.append(field.invalid(path, "", "the domain must not be empty"))
    if not last:
        return [*errors, field.invalid(path, "", "the name must not be empty")]
    return errors + identifier(last, path)


def fully_qualified(name: str, path: Path) -> ErrorList:
    """The same with a domain."""
    errors = qualified(name, path)
    if "/" not in name:
        detail = "a fully qualified name must be a domain and a name separated by a slash"
        errors.append(field.invalid(path, name, detail))
    return errors


def each(items: Sequence[Any], limit: int, check: Check, path: Path) -> ErrorList:
    """A list of at most so many items (`validateSlice`)."""
    if len(items) > limit:
        return [field.too_many(path, len(items), limit)]
    errors: ErrorList = []
    for position, item in enumerate(items):
        errors += check(item, path.index(position))
    return errors


def unique(
    items: Sequence[Any],
    limit: int,
    check: Check,
    path: Path,
    key: Callable[[Any], Any] = str,
    *,
    declared: bool = True,
    whole: bool = True,
) -> ErrorList:
    """The same of items that differ in their key (`validateSet`).

    `declared`: by a rule that is; `whole`: such complaints show the entry and not its key.
    """
    errors = each(items, limit, check, path)
    if len(items) > limit:
        return errors
    seen: set[str] = set()
    for position, item in enumerate(items):
        name = key(item)
        if name in seen:
            shown = name
            if declared and whole and isinstance(item, dict):
                shown = field.Printed(golang.json_text(item, sort_keys=False))
            twice = [field.duplicate(path.index(position), shown)]
            errors += field.declared(twice) if declared else twice
        seen.add(name)
    return errors


def named(item: Object) -> str:
    """The key of most lists."""
    return parts.text(item, "name")


def _label_value(value: str, path: Path) -> ErrorList:
    return field.invalid_each(path, value, formats.is_valid_label_value(value))


def taint(given: Object, before: Object | None, path: Path) -> ErrorList:
    """`validateDeviceTaint`."""
    errors = objectmeta.validate_label_name(parts.text(given, "key"), path.child("key"))
    if value := parts.text(given, "value"):
        errors += _label_value(value, path.child("value"))
    effect = parts.text(given, "effect")
    if before is not None and effect == parts.text(before, "effect"):
        return errors
    where = path.child("effect")
    if not effect:
        errors += field.declared([field.required(where)])
    elif effect not in EFFECTS:
        errors += field.declared([field.not_supported(where, effect, EFFECTS)])
    return errors


def toleration(given: Object, path: Path) -> ErrorList:
    """`validateDeviceToleration`."""
    errors: ErrorList = []
    if key := parts.text(given, "key"):
        errors += field.declared(objectmeta.validate_label_name(key, path.child("key")))
    operator, value = parts.text(given, "operator"), parts.text(given, "value")
    where = path.child("value")
    if operator == "Exists" and value:
        errors.append(field.invalid(where, value, "must be empty for operator `Exists`"))
    elif operator == "Equal":
        errors += _label_value(value, where)
    elif not operator:
        errors.append(field.required(path.child("operator")))
    elif operator not in OPERATORS:
        wrong = field.not_supported(path.child("operator"), operator, OPERATORS)
        errors += field.declared([wrong])
    effect = parts.text(given, "effect")
    if effect and effect not in EFFECTS:
        errors += field.declared([field.not_supported(path.child("effect"), effect, EFFECTS)])
    return errors
