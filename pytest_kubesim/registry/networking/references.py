"""References to objects by group, kind or resource, and name.

Follows `pkg/apis/networking/validation/validation.go`.
"""

from __future__ import annotations

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path


def segment(reference: Object, key: str, path: Path) -> ErrorList:
    """A part that goes into a path; nothing is said of one that is missing."""
    value: str = reference.get(key) or ""
    if not value:
        return []
    return field.invalid_each(path.child(key), value, formats.is_valid_path_segment_name(value))


def api_group(reference: Object, path: Path) -> ErrorList:
    """The group, where one is named."""
    group = reference.get("apiGroup")
    if group is None:
        return []
    return field.invalid_each(path.child("apiGroup"), group, formats.is_dns1123_subdomain(group))


def missing(reference: Object, path: Path, *keys: str) -> ErrorList:
    """What must be there and is not."""
    return [field.required(path.child(key)) for key in keys if not reference.get(key)]


def typed_reference(reference: Object, path: Path) -> ErrorList:
    """A `TypedLocalObjectReference`."""
    errors = api_group(reference, path)
    for key in ("kind", "name"):
        errors += missing(reference, path, key) or segment(reference, key, path)
    return errors
