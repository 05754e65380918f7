"""The columns of the Tables in which built-in kinds are shown, and how cells read.

The table of columns is `columns.json`, made by `generate_columns`.

Follows `pkg/printers/internalversion/printers.go`.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.registry.rest import Column, Printer

UNKNOWN = "<unknown>"
NONE = "<none>"

NAME_DESCRIPTION = (
    "Name must be unique within a namespace. Is required when creating resources, although some "
    "resources may allow a client to request the generation of an appropriate name automatically. "
    "Name is primarily intended for creation idempotence and configuration definition. Cannot be "
    "updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
CREATED_DESCRIPTION = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. "
    "It is not guaranteed to be set in happens-before order across separate operations. Clients "
    "may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the "
    "system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)


@functools.cache
def _table() -> dict[str, list[list[Any]]]:
    place = importlib.resources.files(str(__package__)).joinpath("columns.json")
    found: dict[str, list[list[Any]]] = json.loads(place.read_text(encoding="utf-8"))
    return found


@functools.cache
def columns(kind: str) -> tuple[Column, ...]:
    """The columns of a built-in kind, by the name of its internal type."""
    return tuple(Column(*row) for row in _table()[kind])


class _Columns:
    """The columns of a kind, read when a Table is first asked for: most tests want none."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __iter__(self) -> Iterator[Column]:
        return iter(columns(self._kind))

    def __len__(self) -> int:
        return len(columns(self._kind))

    def __getitem__(self, position: int) -> Column:
        return columns(self._kind)[position]


def printer(kind: str, row: Callable[[Object, int], list[Any]]) -> Printer:
    """The printer of a built-in kind."""
    return Printer(cast("tuple[Column, ...]", _Columns(kind)), row)


def age(obj: Object, now_ns: int) -> str:
    """How long ago the object was created."""
    return since(obj["metadata"].get("creationTimestamp"), now_ns)


def since(stamp: str | None, now_ns: int) -> str:
    """How long ago a time was (`translateTimestampSince`)."""
    if not stamp:
        return UNKNOWN
    micro = "." in stamp
    then = timestamps.parse_micro_time(stamp) if micro else timestamps.parse_time(stamp)
    return timestamps.human_duration(now_ns - then)


def labels_text(labels: Mapping[str, str] | None) -> str:
    """`a=b,c=d` with sorted keys, `<none>` for none (`labels.FormatLabels`)."""
    if not labels:
        return NONE
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels))


def layout_containers(containers: list[Object] | None) -> tuple[str, str]:
    """The names and the images of containers, each joined by commas."""
    found = containers or []
    return (
        ",".join(c.get("name") or "" for c in found),
        ",".join(c.get("image") or "" for c in found),
    )
