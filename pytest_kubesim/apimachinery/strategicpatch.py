"""Strategic merge patches: lists merged by key as the schema says, and directives in the patch.

=====================================  =========================================================
``$patch: replace``                    the map, or the whole list, becomes what stands beside it
``$patch: delete``                     the map, or the list's entry with that key, goes away
``$deleteFromPrimitiveList/finalizers``  these values leave the list
``$setElementOrder/containers``        the order of the merged list
``$retainKeys``                        all other keys of the map go away
=====================================  =========================================================

Nothing is mutated: the result shares with the document, and with the patch, all it can.

Follows ``apimachinery/pkg/util/strategicpatch/patch.go`` as the API server calls it; making a patch
is in ``strategicdiff``.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from pytest_kubesim.apimachinery import golang
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.strategicpatch_values import (
    BAD_ELEMENT_ORDER,
    BAD_PRIMITIVE_LIST,
    BAD_RETAIN_KEYS,
    DELETE,
    DELETE_FROM_LIST,
    DIRECTIVE,
    DROPPED,
    MERGE,
    REPLACE,
    RETAIN_KEYS,
    RETAIN_KEYS_DIRECTIVE,
    SET_ELEMENT_ORDER,
    StrategicPatchError,
    as_list,
    as_map,
    contains,
    deduplicated,
    elements_are_maps,
    kind_of,
    list_key,
    no_merge_key,
    same,
    same_key,
    without_directives,
    without_nulls,
)


class Node(Protocol):
    """What this module asks of a schema; ``schema.Schema`` is one."""

    @property
    def type(self) -> str:
        """``"object"``, ``"array"`` or a scalar's type."""
        ...

    @property
    def name(self) -> str:
        """The OpenAPI name of a built-in struct."""
        ...

    @property
    def merge_key(self) -> str | None:
        """The key by which entries of this list are matched."""
        ...

    @property
    def patch_strategy(self) -> tuple[str, ...]:
        """``merge``, ``replace`` and ``retainKeys``."""
        ...

    @property
    def properties(self) -> Mapping[str, Node]:
        """The declared keys of this object."""
        ...

    def item(self) -> Node | None:
        """The schema of this list's entries."""
        ...


def apply(document: Object, patch: Object, schema: Node) -> Object:
    """The document with the patch merged into it.

    Args:
        document: The object in the version that the patch is written in.
        patch: The patch, read as JSON with its integers kept apart from floats.
        schema: The schema of the object's kind.

    Raises:
        StrategicPatchError: A directive is malformed, or a list cannot be merged.
    """
    return merge_map(document, patch, schema)


# -- the schema ------------------------------------------------------------------------------------


def lookup(schema: Node | None, key: str) -> Node:
    """The node below a key, which may be written in letters of any case as in Go's JSON."""
    properties: Mapping[str, Node] = schema.properties if schema is not None else {}
    if not properties:
        kind = "map" if schema is None or schema.type in {"object", ""} else schema.type
        raise StrategicPatchError(
            f"merging an object in json but data type is not struct, instead is: {kind}"
        )
    found = properties.get(key)
    if found is None:
        folded = key.casefold()
        found = next((node for k, node in properties.items() if k.casefold() == folded), None)
    if found is None:
        struct = schema.name.rpartition(".")[2] if schema is not None else ""
        raise StrategicPatchError(
            f"unable to find api field in struct {struct} for the json field {golang.quote(key)}"
        )
    return found


def lookup_list(schema: Node | None, key: str) -> tuple[Node, Node | None]:
    """The node of a list below a key, and the node of its entries."""
    found = lookup(schema, key)
    if found.type != "array":
        raise StrategicPatchError("expected slice or array type, but got: struct")
    item = found.item()
    if item is not None and item.type == "array":
        raise StrategicPatchError("unexpected slice of slice")
    return found, item


def strategy(node: Node) -> tuple[bool, str]:
    """Whether ``retainKeys`` is among the strategies, and the other one."""
    strategies = node.patch_strategy
    rest = [each for each in strategies if each != RETAIN_KEYS]
    if len(rest) > 1 or len(strategies) > 2:
        shown = golang.bracketed(strategies)
        raise StrategicPatchError(f"unexpected patch strategy: {shown}")
    return len(rest) < len(strategies), rest[0] if rest else ""


# -- maps ------------------------------------------------------------------------------------------


def merge_map(original: Object | None, patch: Object, schema: Node | None) -> Object:
    """One map with its patch merged into it; the map itself where that changes nothing."""
    if DIRECTIVE in patch:
        return _directed(patch)
    result = dict(original or {})
    rest = patch
    if any(key[:1] == "$" for key in patch):
        rest = _carry_out_directives(result, dict(patch), schema)
    for key, value in rest.items():
        if value is None:
            result.pop(key, None)
            continue
        before = result.get(key)
        if type(value) is str and type(before) is str:
            if value != before:
                result[key] = value
        elif before is not None and kind_of(before) == kind_of(value):
            merged = _merged(before, value, schema, key, deletes=False)
            if isinstance(merged, (dict, list)) or merged != before:
                result[key] = merged
        else:
            _put(result, key, value)
    return original if original is not None and _is_unchanged(result, original) else result


def _carry_out_directives(result: Object, rest: Object, schema: Node | None) -> Object:
    """Does to a map what the directives in its patch demand; the rest of the patch."""
    _retain_keys(result, rest)
    _set_element_orders(result, rest, schema)
    for key in [key for key in rest if key.startswith(DELETE_FROM_LIST)]:
        value = rest.pop(key)
        target = list_key(key, DELETE_FROM_LIST, BAD_PRIMITIVE_LIST)
        if value is None:
            result.pop(target, None)
        elif target in result and kind_of(result[target]) == kind_of(value):
            result[target] = _merged(result[target], value, schema, target, deletes=True)
    return rest


def _is_unchanged(result: Object, original: Object) -> bool:
    if len(result) != len(original):
        return False
    for key, value in result.items():
        if key not in original or value is not original[key]:
            return False
    return True


def _directed(patch: Object) -> Object:
    directive = patch[DIRECTIVE]
    if directive == REPLACE:
        return {key: value for key, value in patch.items() if key != DIRECTIVE}
    if directive == DELETE:
        return {}
    raise _unknown_directive(directive, patch)


def _unknown_directive(directive: Any, patch: Object) -> StrategicPatchError:
    shown = directive if isinstance(directive, str) else golang.plain(directive)
    return StrategicPatchError(f"unknown patch type: {shown} in map: {golang.plain(patch)}")


def _put(result: Object, key: str, value: Any) -> None:
    if type(value) is not str:
        value = without_directives(without_nulls(value))
    if value is DROPPED:
        result.pop(key, None)
    else:
        result[key] = value


def _merged(original: Any, value: Any, schema: Node | None, key: str, *, deletes: bool) -> Any:
    if isinstance(value, dict):
        node = lookup(schema, key)
        _, how = strategy(node)
        fields = cast("Object", value)
        return fields if how == REPLACE else merge_map(cast("Object", original), fields, node)
    if isinstance(value, list):
        node, item = lookup_list(schema, key)
        _, how = strategy(node)
        items = cast("list[Any]", value)
        if how != MERGE and not deletes:
            return items
        return _merge_list(cast("list[Any]", original), items, node.merge_key or "", item, deletes)
    return value


def _retain_keys(result: Object, patch: Object) -> None:
    if RETAIN_KEYS_DIRECTIVE not in patch:
        return
    kept = patch.pop(RETAIN_KEYS_DIRECTIVE)
    if not isinstance(kept, list):
        raise StrategicPatchError(BAD_RETAIN_KEYS)
    keys = cast("list[Any]", kept)
    for key, value in patch.items():
        listed = value is None or key.startswith((DELETE_FROM_LIST, SET_ELEMENT_ORDER))
        if not listed and key not in keys:
            raise StrategicPatchError(BAD_RETAIN_KEYS)
    for key in [key for key in result if key not in keys]:
        del result[key]


def _set_element_orders(result: Object, patch: Object, schema: Node | None) -> None:
    for directive in [key for key in patch if key.startswith(SET_ELEMENT_ORDER)]:
        order = as_list(patch.pop(directive))
        key = list_key(directive, SET_ELEMENT_ORDER, BAD_ELEMENT_ORDER)
        original = as_list(result[key]) if key in result else None
        changes = as_list(patch[key]) if key in patch else None
        node, item = lookup_list(schema, key)
        _, how = strategy(node)
        merge_key = node.merge_key or ""
        patch.pop(key, None)
        if original is not None and how == MERGE:
            ordered = _merged_in_order(original, changes or (), order, merge_key, item)
            if ordered is not None:
                if not _are_the_same(ordered, original):
                    result[key] = ordered
                continue
        _check_order(changes or [], order, merge_key)
        if original is None and changes is None:
            continue
        if changes is None:
            merged = original or []
        elif original is None:
            merged = cast("list[Any]", without_directives(changes))
        elif how == MERGE:
            merged = _merge_list(original, changes, merge_key, item, deletes=False)
        else:
            merged = changes
        ours, others = _partitioned(merged, order, merge_key)
        maps = elements_are_maps(original or [], changes or [])
        ordered = _ordered(ours, others, order, original or [], merge_key if maps else None)
        if original is None or not _are_the_same(ordered, original):
            result[key] = ordered


def _merged_in_order(
    original: list[Any],
    changes: Sequence[Any],
    order: list[Any],
    merge_key: str,
    item: Node | None,
) -> list[Any] | None:
    """A list merged where the patch demands a place for each of its entries; else None.

    So it is in what clients compute: keys that are text, each once, nothing deleted, and changes in
    the order that is demanded.
    """
    places = _places(order, merge_key) if merge_key and order and (original or changes) else None
    if places is None or len(places) != len(order):
        return None
    found: list[Any] = [None] * len(order)
    for entry in original:
        at = _place_of(entry, places, merge_key)
        if at is None or found[at] is not None:
            return None
        found[at] = entry
    last = -1
    for entry in changes:
        at = _place_of(entry, places, merge_key)
        if at is None or at <= last or DIRECTIVE in entry:
            return None
        last = at
        before = found[at]
        found[at] = entry if before is None else merge_map(before, entry, item)
    return found if None not in found else [entry for entry in found if entry is not None]


def _place_of(entry: Any, places: Mapping[str, int], merge_key: str) -> int | None:
    if type(entry) is not dict:
        return None
    wanted = cast("Object", entry).get(merge_key)
    return places.get(wanted) if type(wanted) is str else None


def _check_order(changes: list[Any], order: list[Any], merge_key: str) -> None:
    """The patch's entries must stand in the order that the patch demands."""
    if not order or not changes:
        return
    entries = _split_deleted(changes)[0] if merge_key else changes
    at = 0
    position = 0
    while at < len(entries) and position < len(order):
        if isinstance(entries[at], dict) and DIRECTIVE in entries[at]:
            at += 1
            continue
        if same_key(entries[at], order[position], merge_key):
            at += 1
        position += 1
    if at < len(entries) and position >= len(order):
        raise StrategicPatchError(
            f"The order in patch list:\n{golang.plain(changes)}\n doesn't match "
            f"{SET_ELEMENT_ORDER} list:\n{golang.plain(order)}\n"
        )


# -- lists -----------------------------------------------------------------------------------------


def _merge_list(
    original: list[Any], patch: list[Any], merge_key: str, item: Node | None, deletes: bool
) -> list[Any]:
    if not original and not patch:
        return original
    before = original
    maps = elements_are_maps(original, patch)
    if not maps:
        if deletes:
            return [value for value in original if not contains(patch, value)]
        merged = deduplicated([*original, *patch])
    else:
        if not merge_key:
            name = "struct" if item is not None and item.properties else "map"
            raise StrategicPatchError(f"cannot merge lists without merge key for {name}")
        original, patch = _special_elements(original, patch, merge_key)
        merged = _merge_maps(original, patch, merge_key, item)
    ours, others = _partitioned(merged, patch, merge_key)
    ordered = _ordered(ours, others, patch, original, merge_key if maps else None)
    return before if _are_the_same(ordered, before) else ordered


def _special_elements(
    original: list[Any], patch: list[Any], merge_key: str
) -> tuple[list[Any], list[Any]]:
    """Carries out the entries with a directive; what is left of the document and of the patch."""
    left: list[Any] = []
    replaces = False
    for entry in patch:
        directive = entry.get(DIRECTIVE)
        if DIRECTIVE not in entry:
            left.append(entry)
        elif directive == DELETE:
            if merge_key not in entry:
                raise no_merge_key(entry, merge_key)
            wanted = entry[merge_key]
            original = [e for e in original if not (merge_key in e and same(e[merge_key], wanted))]
        elif directive == REPLACE:
            replaces = True
        elif directive == MERGE:
            raise StrategicPatchError("merging lists cannot yet be specified in the patch")
        else:
            raise _unknown_directive(directive, entry)
    return (left, []) if replaces else (original, left)


def _merge_maps(
    original: list[Any], patch: list[Any], merge_key: str, item: Node | None
) -> list[Any]:
    merged = list(original)
    places = _places(merged, merge_key)
    for entry in patch:
        if merge_key not in entry:
            raise no_merge_key(entry, merge_key)
        wanted = entry[merge_key]
        if places is not None and type(wanted) is str:
            position = places.get(wanted)
        else:
            position = _find(merged, merge_key, wanted)
        if position is None:
            if places is not None and type(wanted) is str:
                places[wanted] = len(merged)
            merged.append(entry)
        else:
            merged[position] = merge_map(merged[position], entry, item)
    return merged


def _places(items: list[Any], merge_key: str) -> dict[str, int] | None:
    """Where each key stands first, if all entries are maps whose keys are text: else None.

    Nearly all lists are such; in others entries are looked for one by one.
    """
    found: dict[str, int] = {}
    for position, entry in enumerate(items):
        if type(entry) is not dict:
            return None
        value = cast("Object", entry).get(merge_key)
        if type(value) is not str:
            return None
        found.setdefault(value, position)
    return found


def _are_the_same(left: list[Any], right: list[Any]) -> bool:
    return len(left) == len(right) and all(map(operator.is_, left, right))


def _find(items: list[Any], merge_key: str, value: Any) -> int | None:
    for position, entry in enumerate(items):
        if not isinstance(entry, dict):
            raise StrategicPatchError(f"value for key {position} is not a map")
        fields = cast("Object", entry)
        if merge_key in fields and same(fields[merge_key], value):
            return position
    return None


def _partitioned(
    merged: list[Any], order: list[Any], merge_key: str
) -> tuple[list[Any], list[Any]]:
    """The entries that ``order`` mentions, and the others."""
    ours: list[Any] = []
    others: list[Any] = []
    places = _places(order, merge_key) if merge_key else None
    for value in merged:
        if not merge_key:
            mentioned = contains(order, value)
        else:
            fields = as_map(value)
            if merge_key not in fields:
                raise no_merge_key(fields, merge_key)
            wanted = fields[merge_key]
            if places is not None and type(wanted) is str:
                mentioned = wanted in places
            else:
                mentioned = _find(order, merge_key, wanted) is not None
        (ours if mentioned else others).append(value)
    return ours, others


def _ordered(
    ours: list[Any],
    others: list[Any],
    order: list[Any],
    server_order: list[Any],
    merge_key: str | None,
) -> list[Any]:
    """The patch's entries in its order, between them the server's where they stood before."""
    ours = sort_like(ours, order, merge_key)
    others = sort_like(others, server_order, merge_key)
    if not others or not ours:
        return others + ours
    result: list[Any] = []
    i = j = 0
    while i < len(others) and j < len(ours):
        left = _index(server_order, others[i], merge_key)
        right = _index(server_order, ours[j], merge_key)
        if 0 <= left < right:
            result.append(others[i])
            i += 1
        else:
            result.append(ours[j])
            j += 1
    return result + others[i:] + ours[j:]


def sort_like(items: list[Any], order: list[Any], merge_key: str | None) -> list[Any]:
    """The items in the order of others; entries that delete come last. No key: scalars."""
    deleted: list[Any] = []
    if merge_key is not None:
        for entry in (*items, *order):
            if merge_key not in as_map(entry):
                raise no_merge_key(entry, merge_key)
        items, deleted = _split_deleted(items)
    places = _places(order, merge_key) if merge_key is not None else None
    if places is None:
        positions = [_index(order, item, merge_key) for item in items]
    else:
        wanted = [item.get(merge_key) for item in items]
        positions = [places.get(each, -1) if type(each) is str else -1 for each in wanted]
    pairs = list(zip(positions, items, strict=True))
    if -1 not in positions:
        pairs.sort(key=lambda pair: pair[0])
    else:
        _sort_as_go(pairs)
    return [*(item for _, item in pairs), *deleted]


def _sort_as_go(pairs: list[tuple[int, Any]]) -> None:
    """Go's insertion sort, whose outcome upstream's inconsistent comparison makes visible.

    What ``order`` does not mention counts as less than everything before it.
    """
    for end in range(1, len(pairs)):
        at = end
        while at > 0 and (
            min(pairs[at][0], pairs[at - 1][0]) < 0 or pairs[at][0] < pairs[at - 1][0]
        ):
            pairs[at], pairs[at - 1] = pairs[at - 1], pairs[at]
            at -= 1


def _split_deleted(items: list[Any]) -> tuple[list[Any], list[Any]]:
    kept: list[Any] = []
    deleted: list[Any] = []
    for entry in items:
        (deleted if as_map(entry).get(DIRECTIVE) == DELETE else kept).append(entry)
    return kept, deleted


def _index(items: list[Any], value: Any, merge_key: str | None) -> int:
    wanted = value.get(merge_key) if merge_key is not None else value
    for position, entry in enumerate(items):
        if same(entry.get(merge_key) if merge_key is not None else entry, wanted):
            return position
    return -1
