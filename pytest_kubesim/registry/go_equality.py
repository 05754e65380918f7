"""Equality as `reflect.DeepEqual` has it: a list or map that is empty is not the same as none.

The law: what is stored knows no empty lists and maps, so only what was sent can have one.  Most
kinds compare semantically (`strategies.semantically_equal`); those that do not count a generation
each time that a client sends one.

Follows the strategies of upstream that call `reflect.DeepEqual`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.registry.strategies import semantically_equal

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.schema import Schema


def deeply_equal(
    schema: Schema | None, given: Object | None, new: Object, old: Object, key: str
) -> bool:
    """Whether a field of two objects is the same to Go.

    Parameters: `schema` of the kind; `given`, what the client sent (None: nothing to look at);
    `new` and `old`, as printed; `key` of the field.
    """
    if not semantically_equal(new.get(key), old.get(key)):
        return False
    field = None if schema is None else schema.child(key)
    return field is None or given is None or not _has_empty(field, given.get(key))


def _has_empty(schema: Schema, value: Any) -> bool:
    if not isinstance(value, list | dict):
        return False
    if not value:
        return schema.go.kind in ("slice", "map")
    if isinstance(value, list):
        item = schema.items
        entries = cast("list[Any]", value)
        return item is not None and any(_has_empty(item, entry) for entry in entries)
    for name, entry in cast("Object", value).items():
        below = schema.child(name)
        if below is not None and _has_empty(below, entry):
            return True
    return False
