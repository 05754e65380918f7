"""Values at dotted paths of a custom resource, as a definition names them.

Follows `apimachinery/pkg/apis/meta/v1/unstructured/helpers.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.apimachinery import golang

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

_ABSENT: Any = object()


def nested(obj: Object, path: str) -> tuple[Any, str]:
    """The value at a dotted path (`_ABSENT`: none), or what is in the way (`NestedFieldNoCopy`)."""
    value: Any = obj
    names = path.removeprefix(".").split(".")
    for index, name in enumerate(names):
        if value is None:
            return _ABSENT, ""
        if not isinstance(value, dict):
            shown = ".".join(names[: index + 1])
            return _ABSENT, _accessor_error(f".{shown}", value, "map[string]interface{}")
        fields = cast("Object", value)
        if name not in fields:
            return _ABSENT, ""
        value = fields[name]
    return value, ""


def is_absent(value: Any) -> bool:
    """Whether `nested` has found nothing."""
    return value is _ABSENT


def _accessor_error(path: str, value: Any, wanted: str) -> str:
    shown = path if path.startswith(".") else f".{path}"
    kind = "<nil>" if value is None else golang.type_name(value)
    return f"{shown} accessor error: {golang.plain(value)} is of the type {kind}, expected {wanted}"


def replicas_at(obj: Object, path: str) -> tuple[int | None, str]:
    """The whole number at a path (None: there is none), or what is wrong with it."""
    value, problem = nested(obj, path)
    if problem:
        return None, problem
    if value is _ABSENT:
        return None, ""
    if isinstance(value, bool) or not isinstance(value, int):
        return None, _accessor_error(path, value, "int64")
    return value, ""


def string_at(obj: Object, path: str) -> tuple[str, str]:
    """The string at a path, empty if there is none; or what is wrong with it."""
    value, problem = nested(obj, path)
    if problem or value is _ABSENT:
        return "", problem
    if isinstance(value, str):
        return value, ""
    return "", _accessor_error(path, value, "string")
