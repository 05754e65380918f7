"""Objects as a Table, or as metadata alone.

A kind without columns of its own shows its name and when it was created.  Follows
`endpoints/handlers/response.go`, `registry/rest/table.go` and `pkg/printers/tablegenerator.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import metav1, status
from pytest_kubesim.apimachinery.meta import get_path
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.apiserver.known_kinds import package
from pytest_kubesim.apiserver.storage.watch import INITIAL_EVENTS_END
from pytest_kubesim.registry.columns import CREATED_DESCRIPTION, NAME_DESCRIPTION
from pytest_kubesim.registry.rest import Column, Printer
from pytest_kubesim.wire import WatchEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.scope import RequestScope


def _default_row(obj: Object, now_ns: int) -> list[Any]:
    del now_ns
    metadata: Object = obj.get("metadata") or {}
    return [metadata.get("name") or "", metadata.get("creationTimestamp")]


DEFAULT = Printer(
    columns=(
        Column("Name", "string", "name", NAME_DESCRIPTION),
        Column("Created At", "date", "", CREATED_DESCRIPTION),
    ),
    row=_default_row,
)


def transform(scope: RequestScope, obj: Object, printer: Printer | None = None) -> Object:
    """What the client asked to have the object turned into.  Raises `APIStatus` (400, 406).

    `printer` shows an object that is not of the kind that the path serves.
    """
    kind = scope.output.kind
    if kind == "PartialObjectMetadata":
        return _partial(scope, obj)
    if kind == "PartialObjectMetadataList":
        return _partial_list(scope, obj)
    return _table(scope, obj, headers=not _no_headers(scope), printer=printer)


def include_object(scope: RequestScope) -> str:
    """What the rows carry: `Metadata` (or nothing said), `Object`, `None`.  Raises (400)."""
    include = scope.param("includeObject")
    problems = metav1.validate_table_options(include)
    if problems:
        raise status.new_bad_request(f"Unable to convert to Table as requested: {problems[0]}")
    return include


def _no_headers(scope: RequestScope) -> bool:
    return scope.param("noHeaders") in ("true", "1")


def _table(
    scope: RequestScope, obj: Object, *, headers: bool, printer: Printer | None = None
) -> Object:
    include = include_object(scope)
    printer = printer or scope.served.printer or DEFAULT
    now_ns = scope.context.now_ns
    is_list = "items" in obj
    objects: list[Object] = obj["items"] if is_list else [obj]
    metadata: Object = obj.get("metadata") or {}
    kept = ("resourceVersion", "continue", "remainingItemCount")
    result: Object = {
        "kind": "Table",
        "apiVersion": scope.output.api_version,
        "metadata": {key: metadata[key] for key in kept if metadata.get(key)},
        "columnDefinitions": [_column(c) for c in printer.columns] if headers else None,
    }
    if is_list and printer.rows is not None:
        cells = printer.rows(objects, now_ns)
    else:
        cells = [printer.row(each, now_ns) for each in objects]
    result["rows"] = [
        {"cells": row, **_conditions(printer, each), "object": _included(scope, each, include)}
        for each, row in zip(objects, cells, strict=True)
    ]
    return result


def _conditions(printer: Printer, obj: Object) -> Object:
    found = printer.conditions(obj) if printer.conditions is not None else []
    return {"conditions": found} if found else {}


def _column(column: Column) -> Object:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    }


def _included(scope: RequestScope, obj: Object, include: str) -> Object | None:
    if include == "Object":
        return obj
    marked = get_path(obj, "metadata", "annotations", INITIAL_EVENTS_END)
    if include == "None" and marked != "true":
        return None
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": scope.output.api_version,
        "metadata": obj.get("metadata") or {},
    }


def _partial(scope: RequestScope, obj: Object) -> Object:
    if "items" in obj:
        kind = scope.served.list_kind
        shown = f"{package(scope.served.group)}.{kind}"
        if scope.served.custom:
            shown = "unstructured.UnstructuredList"
        message = (
            f"you requested PartialObjectMetadata, but the requested object is a list (*{shown})"
        )
        raise APIStatus(406, status.NOT_ACCEPTABLE, message)
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": scope.output.api_version,
        "metadata": obj.get("metadata") or {},
    }


def _partial_list(scope: RequestScope, obj: Object) -> Object:
    if "items" not in obj:
        kind = scope.served.kind
        shown = f"{package(scope.served.group)}.{kind}"
        if scope.served.custom:
            shown = "unstructured.Unstructured"
        message = (
            "you requested PartialObjectMetadataList, but the requested object is not a list "
            f"(*{shown})"
        )
        raise APIStatus(406, status.NOT_ACCEPTABLE, message)
    metadata: Object = obj.get("metadata") or {}
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": scope.output.api_version,
        "metadata": {k: v for k, v in metadata.items() if v},
        "items": [
            {
                "kind": "PartialObjectMetadata",
                "apiVersion": scope.output.api_version,
                "metadata": item.get("metadata") or {},
            }
            for item in obj["items"]
        ]
        or None,
    }


def event_transform(scope: RequestScope) -> Callable[[WatchEvent], WatchEvent] | None:
    """How the events of a watch are turned into what the client asked for; None: not at all.

    Only the first Table of a watch has its columns.
    """
    output = scope.output
    if not output.kind:
        return None
    if output.kind == "Table":
        include_object(scope)
    first = True

    def turned(event: WatchEvent) -> WatchEvent:
        nonlocal first
        if event.type == "ERROR":
            return event
        if output.kind == "Table":
            obj = _table(scope, event.object, headers=first)
            metadata: Object = event.object.get("metadata") or {}
            obj["metadata"] = {"resourceVersion": metadata.get("resourceVersion", "")}
            first = False
        else:
            obj = transform(scope, event.object)
        return WatchEvent(event.type, obj, event.revision)

    return turned
