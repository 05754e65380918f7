"""What a list or a watch selects: by label, by field, by namespace, by name.

Follows `storage.SelectionPredicate` and `Store.ListPredicate`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import fields, status
from pytest_kubesim.apimachinery.formats import name_is_dns_label
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.options import ListOptions
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.store import Store

_NAMESPACES = GroupResource("", "namespaces")
_JOBS = GroupResource("batch", "jobs")
_METADATA_FIELDS = ("metadata.name", "metadata.namespace")


@attrs.frozen
class Selection:
    """What is selected.

    `prefix` is the part of etcd to look at (a key, where `name` is given), `matches` decides of one
    object (None: all), `trigger` is the index in which a watcher waits.
    """

    prefix: str
    name: str
    matches: Callable[[Object], bool] | None
    trigger: tuple[str, str]


def check_fields(scope: RequestScope, options: ListOptions) -> None:
    """Raises `APIStatus` (400) for a field that cannot be selected by."""
    if options.field_selector.empty:
        return
    known = (*_METADATA_FIELDS, *scope.served.strategy.selectable)
    if scope.served.group_resource == _NAMESPACES:
        known = known[:1] + known[2:]

    def known_only(field: str, value: str) -> tuple[str, str]:
        if field not in known:
            raise ValueError(_unknown(scope, field))
        return field, value

    try:
        options.field_selector.transform(known_only)
    except ValueError as error:
        raise status.new_bad_request(str(error)) from None


def _unknown(scope: RequestScope, field: str) -> str:
    resource = scope.served
    if resource.group_resource == _JOBS:
        return f"field label {quote(field)} not supported for Job"
    if resource.custom or resource.strategy.selectable:
        return f"field label not supported: {field}"
    return (
        f'{quote(field)} is not a known field selector: only "metadata.name", "metadata.namespace"'
    )


def with_name(scope: RequestScope, options: ListOptions) -> ListOptions:
    """The options of a list or watch of one object by its path.  Raises `APIStatus` (400)."""
    name = scope.info.name if scope.info.legacy_watch else ""
    if not name:
        return options
    selector = options.field_selector
    if selector.empty:
        return attrs.evolve(options, field_selector=fields.equal("metadata.name", name))
    if selector.requires_exact_match("metadata.name") != name:
        raise status.new_bad_request("fieldSelector metadata.name doesn't match requested name")
    return options


def select(store: Store, namespace: str, options: ListOptions) -> Selection:
    """What those options select in a namespace (all, if it is empty)."""
    resource, selector = store.resource, options.field_selector
    if not namespace and resource.namespaced and not selector.empty:
        only = selector.requires_exact_match("metadata.namespace")
        if only and not name_is_dns_label(only):
            namespace = only
    name = "" if selector.empty else selector.requires_exact_match("metadata.name") or ""
    prefix = f"{resource.storage_prefix}/"
    if resource.namespaced and namespace:
        prefix = f"{prefix}{namespace}/"
    single = bool(name) and (bool(namespace) or not resource.namespaced)
    return Selection(
        f"{prefix}{name}" if single else prefix,
        name if single else "",
        _matcher(store, options),
        _trigger(store, namespace, name, options),
    )


def _trigger(store: Store, namespace: str, name: str, options: ListOptions) -> tuple[str, str]:
    if name:
        if namespace or not store.resource.namespaced:
            return "key", f"{namespace}/{name}"
        return "name", name
    field = store.cacher.trigger_field
    if field and not namespace and not options.field_selector.empty:
        value = options.field_selector.requires_exact_match(field)
        if value is not None:
            return "trigger", value
    return ("namespace", namespace) if namespace else ("", "")


def _matcher(store: Store, options: ListOptions) -> Callable[[Object], bool] | None:
    by_label = None if options.label_selector.empty else options.label_selector
    by_field = None if options.field_selector.empty else options.field_selector
    if by_field is None:
        if by_label is None:
            return None
        return lambda obj: by_label.matches(obj["metadata"].get("labels"))
    if by_label is None and (indexed := _indexed(store, by_field)) is not None:
        return indexed
    selectable = store.strategy.selectable_fields

    def matches(obj: Object) -> bool:
        metadata = obj["metadata"]
        if by_label is not None and not by_label.matches(metadata.get("labels")):
            return False
        found = selectable(obj)
        return by_field.matches(
            {
                **found,
                "metadata.name": metadata.get("name") or "",
                "metadata.namespace": metadata.get("namespace") or "",
            }
        )

    return matches


def _indexed(store: Store, selector: fields.Selector) -> Callable[[Object], bool] | None:
    """Who selects by the field of the cache's index alone: its reader says it all."""
    read, field = store.cacher.trigger, store.cacher.trigger_field
    if read is None or len(selector.requirements) != 1:
        return None
    value = selector.requires_exact_match(field)
    return None if value is None else lambda obj: read(obj) == value
