"""A definition's spec in its internal form: what all versions have alike stands above them.

Errors name the fields of that form, so that with one version they read `spec.validation...`.

Follows `apiextensions-apiserver/pkg/apis/apiextensions/v1/conversion.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.registry.strategies import semantically_equal

_HOISTED = (
    ("subresources", "subresources"),
    ("schema", "validation"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
    ("selectableFields", "selectableFields"),
)
"""The field of a version, and the field of the spec to which it moves."""

_VERSION_FIELDS = (
    ("Name", "name", ""),
    ("Served", "served", False),
    ("Storage", "storage", False),
    ("Deprecated", "deprecated", False),
    ("DeprecationWarning", "deprecationWarning", None),
    ("Schema", "schema", None),
    ("Subresources", "subresources", None),
    ("AdditionalPrinterColumns", "additionalPrinterColumns", None),
    ("SelectableFields", "selectableFields", None),
)


def hoisted(spec: Object) -> Object:
    """The spec with `version`, and with what is equal in all versions moved up."""
    versions: list[Object] = spec.get("versions") or []
    if not versions:
        return spec
    found: Object = {**spec, "version": versions[0].get("name") or ""}
    below = [dict(version) for version in versions]
    for name, target in _HOISTED:
        first = versions[0].get(name)
        if not all(semantically_equal(version.get(name), first) for version in versions):
            continue
        if first is not None:
            found[target] = first
        for version in below:
            version.pop(name, None)
    found["versions"] = below
    return found


def shown(versions: list[Object] | None) -> list[Any] | None:
    """Versions as an error shows them: by the names of Go's fields."""
    if not versions:
        return versions
    return [
        {go: version.get(name, zero) for go, name, zero in _VERSION_FIELDS} for version in versions
    ]
