"""Custom resources as tables: the name, and the columns that the definition asks for.

Follows `apiextensions-apiserver/pkg/registry/customresource/tableconvertor/tableconvertor.go` and
`pkg/apiserver/helpers.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_kubesim.apimachinery import jsonpath, timestamps
from pytest_kubesim.apimachinery.jsonpath import JSONPathError
from pytest_kubesim.apimachinery.meta import Object, get_path
from pytest_kubesim.registry.columns import CREATED_DESCRIPTION, NAME_DESCRIPTION, since
from pytest_kubesim.registry.rest import Column, Printer

_NAME = Column("Name", format="name", description=NAME_DESCRIPTION)
_AGE: Object = {
    "name": "Age",
    "type": "date",
    "description": CREATED_DESCRIPTION,
    "jsonPath": ".metadata.creationTimestamp",
}


def printer(version: Object) -> Printer:
    """How objects of a version of a definition are shown."""
    return _printer(version.get("additionalPrinterColumns") or [_AGE])


def _printer(definitions: Sequence[Object]) -> Printer:
    columns: list[Column] = [_NAME]
    cells: list[tuple[str, jsonpath.Template]] = []
    for each in definitions:
        path: str = each["jsonPath"]
        try:
            template = jsonpath.parse(f"{{{path}}}")
        except JSONPathError:
            # Upstream falls back to the columns that it could read.
            break
        shown = f"Custom resource definition column (in JSONPath format): {path}"
        columns.append(
            Column(
                each["name"],
                each.get("type") or "",
                each.get("format") or "",
                each.get("description") or shown,
                each.get("priority") or 0,
            )
        )
        cells.append((each.get("type") or "", template))

    def row(obj: Object, now_ns: int) -> list[Any]:
        name = get_path(obj, "metadata", "name") or ""
        return [name, *(_cell(type_, template, obj, now_ns) for type_, template in cells)]

    return Printer(tuple(columns), row)


def _cell(type_: str, template: jsonpath.Template, obj: Object, now_ns: int) -> Any:
    try:
        found = template.find(obj)
    except JSONPathError:
        return None
    if not found or not found[0]:
        return None
    value = found[0][0]
    if type_ == "string":
        return jsonpath.printed([value])
    return _typed(type_, value, now_ns)


def _typed(type_: str, value: Any, now_ns: int) -> Any:
    if type_ == "boolean":
        return value if isinstance(value, bool) else None
    if type_ == "date":
        return _age(value, now_ns) if isinstance(value, str) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if type_ == "integer":
        return int(value)
    return value if type_ == "number" else None


def _age(stamp: str, now_ns: int) -> str:
    if not stamp or stamp == "null":
        return "<unknown>"
    try:
        timestamps.parse_time(stamp)
    except ValueError:
        return "<invalid>"
    return since(stamp, now_ns)
