"""A patched document with its keys in the order in which the patching library prints them.

Errors show the whole document.  What a patch went through is a Go map by then, which prints sorted;
what it left alone stays as it was encoded; what it brought along stays as it was sent, except in
merge patches, which look through all of it for nulls.

Follows `gopkg.in/evanphx/json-patch.v4` (`lazyNode`, `mergeDocs`, `pruneNils`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.apimachinery import jsonpatch, mergepatch

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.schema import Schema

_Path = tuple[str, ...]


def json_patched(schema: Schema | None, live: Object, operations: Sequence[Object]) -> Any:
    """The document after a JSON patch that has been applied to `live` before."""
    document = jsonpatch.apply(_encoded(schema, live), operations)
    opened: set[_Path] = {()}
    for operation in operations:
        for field in ("from", "path"):
            path = operation.get(field)
            if isinstance(path, str):
                _open(opened, path, closes=field == "path" and operation.get("op") != "test")
    return _as_opened(document, (), opened)


def merged(schema: Schema | None, live: Object, patch: Object) -> Any:
    """The document after a merge patch."""
    before = _encoded(schema, live)
    return _merged(mergepatch.apply(before, patch), before, patch)


def _encoded(schema: Schema | None, value: Any) -> Any:
    """A printed object with the keys of its maps sorted, as Go encodes them."""
    if isinstance(value, list):
        item = None if schema is None else schema.items
        return [_encoded(item, each) for each in cast("list[Any]", value)]
    if not isinstance(value, dict) or (schema is not None and schema.go.kind == "raw"):
        return cast("Any", value)
    fields = cast("Object", value)
    is_struct = schema is not None and schema.go.kind == "struct"
    keys = list(fields) if is_struct else sorted(fields)
    return {k: _encoded(None if schema is None else schema.child(k), fields[k]) for k in keys}


def _open(opened: set[_Path], path: str, *, closes: bool) -> None:
    tokens = tuple(t.replace("~1", "/").replace("~0", "~") for t in path.split("/")[1:])
    if closes:
        for known in [each for each in opened if each[: len(tokens)] == tokens and each]:
            opened.discard(known)
    opened.update(tokens[:count] for count in range(len(tokens)))


def _as_opened(value: Any, path: _Path, opened: set[_Path]) -> Any:
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [_as_opened(each, (*path, str(i)), opened) for i, each in enumerate(items)]
    if not isinstance(value, dict):
        return value
    fields = cast("Object", value)
    keys = sorted(fields) if path in opened else list(fields)
    return {key: _as_opened(fields[key], (*path, key), opened) for key in keys}


def _merged(value: Any, before: Any, patch: Any) -> Any:
    if isinstance(patch, dict) and isinstance(before, dict) and isinstance(value, dict):
        fields, changes = cast("Object", value), cast("Object", patch)
        old = cast("Object", before)
        return {
            key: _merged(fields[key], old.get(key), changes[key]) if key in changes else fields[key]
            for key in sorted(fields)
        }
    return value if isinstance(before, dict) else in_order(value)


def in_order(value: Any) -> Any:
    """The value with the keys of its maps sorted, as Go encodes them."""
    if isinstance(value, list):
        return [in_order(each) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        fields = cast("Object", value)
        return {key: in_order(fields[key]) for key in sorted(fields)}
    return value
