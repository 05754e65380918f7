"""JSON patches (RFC 6902) in the dialect that Kubernetes speaks.

Where evanphx/json-patch v4 departs from the RFC, so does this: ``replace`` of a key that a map
lacks sets it, what stands before a path's first slash is ignored, indices count from the end when
negative, a ``test`` of something missing holds against ``null``, and numbers are compared as they
are written.

Nothing is mutated: the result shares with the document all that the patch leaves alone.

Follows ``gopkg.in/evanphx/json-patch.v4`` (``patch.go``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

from pytest_kubesim.apimachinery.golang import atoi, json_text, type_name

Operation: TypeAlias = dict[str, Any]

_MISSING = "missing value"
_TEST_FAILED = "test failed"
_INVALID_INDEX = "invalid index referenced"


class JSONPatchError(ValueError):
    """The patch does not apply; the text is the library's."""


def decode(patch: Any) -> list[Operation]:
    """The operations of a patch that was read as JSON.

    Raises ``JSONPatchError`` with the text of Go's decoder where it is no list of objects.
    """
    if patch is None:
        return []
    if not isinstance(patch, list):
        raise JSONPatchError(_wrong_type(patch, "jsonpatch.Patch"))
    operations = cast("list[Any]", patch)
    for operation in operations:
        if operation is not None and not isinstance(operation, dict):
            raise JSONPatchError(_wrong_type(operation, "jsonpatch.Operation"))
    return [cast("Operation", operation or {}) for operation in operations]


def _wrong_type(value: Any, wanted: str) -> str:
    named = {"[]interface {}": "array", "map[string]interface {}": "object"}
    found = type_name(value)
    found = named.get(found, "number" if found in {"int64", "float64"} else found)
    return f"json: cannot unmarshal {found} into Go value of type {wanted}"


def apply(document: Any, patch: Sequence[Operation], *, copy_limit_bytes: int = 0) -> Any:
    """The document after all operations.

    Args:
        document: An object or a list; it is not changed.
        patch: Operations as ``decode`` gives them.
        copy_limit_bytes: How much ``copy`` may add in all; 0 for no limit.

    Raises:
        JSONPatchError: An operation cannot be carried out, or a ``test`` failed.
    """
    copied = 0
    for operation in patch:
        kind = operation.get("op")
        kind = kind if isinstance(kind, str) else "unknown"
        if kind == "copy":
            document, size = _copy(document, operation)
            copied += size
            if 0 < copy_limit_bytes < copied:
                raise JSONPatchError(
                    "Unable to complete the copy, the accumulated size increase of copy is "
                    f"{copied}, exceeding the limit {copy_limit_bytes}"
                )
        elif kind in _OPERATIONS:
            document = _OPERATIONS[kind](document, operation)
        else:
            raise JSONPatchError(f"Unexpected kind: {kind}")
    return document


# -- operations ------------------------------------------------------------------------------------


def _add(document: Any, operation: Operation) -> Any:
    path = _text(operation, "path", "add operation failed to decode path: missing value")
    parents = _parents(document, path)
    if parents is None:
        raise JSONPatchError(
            f'add operation does not apply: doc is missing path: "{path}": {_MISSING}'
        )
    try:
        changed = _added(parents[-1], _key(path), operation.get("value"))
    except JSONPatchError as problem:
        raise JSONPatchError(f"error in add for path: '{path}': {problem}") from None
    return _rebuilt(parents, path, changed)


def _remove(document: Any, operation: Operation) -> Any:
    path = _text(operation, "path", "remove operation failed to decode path: missing value")
    parents = _parents(document, path)
    if parents is None:
        raise JSONPatchError(
            f'remove operation does not apply: doc is missing path: "{path}": {_MISSING}'
        )
    try:
        changed = _removed(parents[-1], _key(path))
    except JSONPatchError as problem:
        raise JSONPatchError(f"error in remove for path: '{path}': {problem}") from None
    return _rebuilt(parents, path, changed)


def _replace(document: Any, operation: Operation) -> Any:
    path = _text(
        operation,
        "path",
        "replace operation failed to decode path: operation missing path field: missing value",
    )
    if path == "":
        value = operation.get("value")
        if not isinstance(value, (dict, list)):
            # The library wraps a nil error here.
            raise JSONPatchError("replace operation value must be object or array: %!w(<nil>)")
        return cast("Any", value)
    parents = _parents(document, path)
    if parents is None:
        raise JSONPatchError(
            f"replace operation does not apply: doc is missing path: {path}: {_MISSING}"
        )
    container, key = parents[-1], _key(path)
    try:
        _get(container, key)
    except JSONPatchError:
        raise JSONPatchError(
            f"replace operation does not apply: doc is missing key: {path}: {_MISSING}"
        ) from None
    copy = container.copy()
    copy[_position(container, key)] = operation.get("value")
    return _rebuilt(parents, path, copy)


def _move(document: Any, operation: Operation) -> Any:
    source = _text(
        operation,
        "from",
        "move operation failed to decode from: operation, missing from field: missing value",
    )
    parents = _parents(document, source)
    if parents is None:
        raise JSONPatchError(
            f"move operation does not apply: doc is missing from path: {source}: {_MISSING}"
        )
    key = _key(source)
    try:
        value = _get(parents[-1], key)
        changed = _removed(parents[-1], key)
    except JSONPatchError as problem:
        raise JSONPatchError(f"error in move for path: '{key}': {problem}") from None
    document = _rebuilt(parents, source, changed)
    path = _text(
        operation,
        "path",
        "move operation failed to decode path: operation missing path field: missing value",
    )
    parents = _parents(document, path)
    if parents is None:
        raise JSONPatchError(
            f"move operation does not apply: doc is missing destination path: {path}: {_MISSING}"
        )
    try:
        changed = _added(parents[-1], _key(path), value)
    except JSONPatchError as problem:
        raise JSONPatchError(f"error in move for path: '{path}': {problem}") from None
    return _rebuilt(parents, path, changed)


def _copy(document: Any, operation: Operation) -> tuple[Any, int]:
    source = _text(
        operation,
        "from",
        "copy operation failed to decode from: operation, missing from field: missing value",
    )
    parents = _parents(document, source)
    if parents is None:
        raise JSONPatchError(
            f"copy operation does not apply: doc is missing from path: {source}: {_MISSING}"
        )
    try:
        value = _get(parents[-1], _key(source))
    except JSONPatchError as problem:
        raise JSONPatchError(f"error in copy for from: '{source}': {problem}") from None
    path = _text(operation, "path", "copy operation failed to decode path: missing value")
    parents = _parents(document, path)
    if parents is None:
        raise JSONPatchError(
            f"copy operation does not apply: doc is missing destination path: {path}: {_MISSING}"
        )
    try:
        changed = _added(parents[-1], _key(path), value)
    except JSONPatchError as problem:
        raise JSONPatchError(f"error while adding value during copy: {problem}") from None
    size = 0 if value is None else len(json_text(value).encode())
    return _rebuilt(parents, path, changed), size


def _test(document: Any, operation: Operation) -> Any:
    path = _text(
        operation,
        "path",
        "test operation failed to decode path: operation missing path field: missing value",
    )
    if path == "":
        value = document
    else:
        parents = _parents(document, path)
        if parents is None:
            raise JSONPatchError(
                f"test operation does not apply: is missing path: {path}: {_MISSING}"
            )
        try:
            value = _get(parents[-1], _key(path))
        except JSONPatchError as problem:
            raise JSONPatchError(f"error in test for path: '{path}': {problem}") from None
    if not _equal(value, operation.get("value")):
        raise JSONPatchError(f"testing value {path} failed: {_TEST_FAILED}")
    return document


_OPERATIONS: dict[str, Callable[[Any, Operation], Any]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "test": _test,
}


# -- paths -----------------------------------------------------------------------------------------


def _text(operation: Operation, field: str, problem: str) -> str:
    value = operation.get(field)
    if not isinstance(value, str):
        raise JSONPatchError(problem)
    return value


def _tokens(path: str) -> list[str]:
    # What stands before the first slash is ignored.
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _key(path: str) -> str:
    return _tokens(path)[-1]


def _parents(document: Any, path: str) -> list[Any] | None:
    """The containers from the document to the one that holds the last token, or ``None``."""
    tokens = _tokens(path)
    if not tokens:
        return None
    parents: list[Any] = [document]
    for token in tokens[:-1]:
        try:
            child = _get(parents[-1], token)
        except JSONPatchError:
            return None
        if not isinstance(child, (dict, list)):
            return None
        parents.append(child)
    return parents


def _rebuilt(parents: list[Any], path: str, changed: Any) -> Any:
    for parent, token in zip(parents[-2::-1], _tokens(path)[-2::-1], strict=True):
        copy: Any = parent.copy()
        copy[_position(parent, token)] = changed
        changed = copy
    return changed


def _position(container: Any, key: str) -> int | str:
    return _index(cast("list[Any]", container), key) if isinstance(container, list) else key


def _index(items: list[Any], key: str, size: int | None = None) -> int:
    limit = len(items) if size is None else size
    try:
        index = atoi(key)
    except ValueError as problem:
        raise JSONPatchError(str(problem)) from None
    if index >= limit or index < -limit:
        raise JSONPatchError(f"Unable to access invalid index: {index}: {_INVALID_INDEX}")
    return index + limit if index < 0 else index


def _get(container: Any, key: str) -> Any:
    if isinstance(container, list):
        items = cast("list[Any]", container)
        return items[_index(items, key)]
    return cast("dict[str, Any]", container).get(key)


def _added(container: Any, key: str, value: Any) -> Any:
    if isinstance(container, list):
        items = cast("list[Any]", container)
        if key == "-":
            return [*items, value]
        try:
            atoi(key)
        except ValueError as problem:
            raise JSONPatchError(
                f"value was not a proper array index: '{key}': {problem}"
            ) from None
        index = _index(items, key, len(items) + 1)
        return [*items[:index], value, *items[index:]]
    return {**cast("dict[str, Any]", container), key: value}


def _removed(container: Any, key: str) -> Any:
    if isinstance(container, list):
        items = cast("list[Any]", container)
        index = _index(items, key)
        return items[:index] + items[index + 1 :]
    mapping = cast("dict[str, Any]", container)
    if key not in mapping:
        raise JSONPatchError(f"Unable to remove nonexistent key: {key}: {_MISSING}")
    return {k: v for k, v in mapping.items() if k != key}


def _equal(left: Any, right: Any) -> bool:
    """Equality of JSON as written: ``1`` is neither ``1.0`` nor ``true``."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        a, b = cast("dict[str, Any]", left), cast("dict[str, Any]", right)
        return len(a) == len(b) and all(k in b and _equal(v, b[k]) for k, v in a.items())
    if isinstance(left, list):
        c, d = cast("list[Any]", left), cast("list[Any]", right)
        return len(c) == len(d) and all(map(_equal, c, d))
    return left == right
