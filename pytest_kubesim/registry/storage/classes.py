"""What classes of storage share: names of provisioners, and parameters for them.

Follows `pkg/apis/storage/validation/validation.go`.
"""

from __future__ import annotations

from collections.abc import Mapping

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.validation import ErrorList, Path

MAX_PARAMETERS = 512
MAX_PARAMETER_BYTES = 256 * 1024
PARAMETERS = Path("parameters")


def provisioner(name: str, path: Path) -> ErrorList:
    """The form of a provisioner's name; nothing is said of one that is missing."""
    if not name:
        return []
    return field.invalid_each(path, name.lower(), formats.is_qualified_name(name.lower()))


def parameters(given: Mapping[str, str], *, allow_empty: bool) -> ErrorList:
    """Not too many, not too large."""
    if len(given) > MAX_PARAMETERS:
        return [field.too_long(PARAMETERS, MAX_PARAMETERS)]
    errors: ErrorList = []
    if "" in given:
        errors.append(field.invalid(PARAMETERS, "", "field can not be empty."))
    if bytes_of(given) > MAX_PARAMETER_BYTES:
        errors.append(field.too_long(PARAMETERS, MAX_PARAMETER_BYTES))
    if not given and not allow_empty:
        errors.append(field.required(PARAMETERS, "must contain at least one key/value pair"))
    return errors


def bytes_of(given: Mapping[str, str]) -> int:
    """The size of all keys and values."""
    return sum(len(key.encode()) + len(value.encode()) for key, value in given.items())
