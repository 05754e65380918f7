"""Answers: an object in the form that was asked for, a refusal, a text.

The law: a list that is handed to an in-process client holds whole objects, shared with the store;
as bytes its items have no kind and apiVersion of their own, as Go prints the items of typed lists.

Follows `endpoints/handlers/response.go` and `responsewriters/writers.go`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from pytest_kubesim.apimachinery import protobuf
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apiserver import negotiation, table
from pytest_kubesim.apiserver.apiextensions.numbers import whole_numbers
from pytest_kubesim.wire import Response, to_json

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apimachinery.status import APIStatus
    from pytest_kubesim.apiserver.scope import RequestScope

TEXT = "text/plain; charset=utf-8"

_SAFE: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_SAFE):
    """Objects share what is equal in them; Go writes every part out."""

    def ignore_aliases(self, data: Any) -> bool:
        """Of every part."""
        del data
        return True


class CustomResponse(Response):
    """A custom resource, or a list of them: maps to Go, which print by sorted keys."""

    def encoded(self) -> bytes:
        """The body as bytes; encodes once."""
        if self.body is None:
            self.body = to_json(whole_numbers(self.obj), sort_keys=True)
        return self.body


class ListResponse(Response):
    """A list of objects of a built-in kind."""

    def encoded(self) -> bytes:
        """The body as bytes; encodes once."""
        if self.body is None:
            assert self.obj is not None
            self.body = to_json(without_item_kinds(self.obj))
        return self.body


def without_item_kinds(obj: Object) -> Object:
    """A list whose items do not repeat their kind and apiVersion."""
    items = [
        {key: value for key, value in item.items() if key not in ("kind", "apiVersion")}
        for item in obj["items"]
    ]
    return {**obj, "items": items}


def to_yaml(obj: Object) -> bytes:
    """YAML as `sigs.k8s.io/yaml` writes it: keys sorted, lists not indented."""
    text: str = yaml.dump(
        obj, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, width=2**31 - 1
    )
    return text.encode()


def warning_headers(warnings: list[str]) -> tuple[tuple[str, str], ...]:
    """A `Warning` header for each."""
    return tuple(("Warning", f"299 - {quote(text)}") for text in warnings)


def wants_pretty(scope: RequestScope) -> bool:
    """Whether the JSON is to be indented."""
    if scope.output.pretty:
        return True
    pretty = scope.param("pretty")
    if pretty:
        return pretty in ("1", "t", "T", "true", "TRUE", "True")
    return scope.request.header("user-agent").startswith(("curl", "Wget", "Mozilla/5.0"))


def answer(scope: RequestScope, code: int, obj: Object) -> Response:
    """The object in the form that was negotiated.  Raises `APIStatus` where there is none."""
    output = scope.output
    plain_list = "items" in obj and not output.kind and not scope.served.custom
    if output.kind and obj.get("kind") != "Status":
        obj = table.transform(scope, obj)
    elif scope.served.custom and obj.get("kind") != "Status" and is_plain_json(scope):
        headers = warning_headers(scope.warnings) if scope.warnings else ()
        return CustomResponse(code, obj, headers=headers)
    return _finished(scope, code, obj, is_list=plain_list)


def is_plain_json(scope: RequestScope) -> bool:
    """Whether the answer is JSON without indentation."""
    if scope.output.media_type != negotiation.JSON:
        return False
    return scope.request.user is not None or not wants_pretty(scope)


def written(scope: RequestScope, code: int, obj: Object) -> Response:
    """The object as it is, in the media type that was negotiated."""
    return _finished(scope, code, obj, is_list=False)


def _finished(scope: RequestScope, code: int, obj: Object, *, is_list: bool) -> Response:
    headers = warning_headers(scope.warnings) if scope.warnings else ()
    media = scope.output.media_type
    if media == negotiation.YAML:
        shown = without_item_kinds(obj) if is_list else obj
        return Response(code, obj, to_yaml(shown), negotiation.YAML, headers)
    if media == negotiation.PROTOBUF and scope.request.user is None:
        found = in_protobuf(obj)
        if found is not None:
            return Response(code, obj, found, negotiation.PROTOBUF, headers)
    response = (ListResponse if is_list else Response)(code, obj, headers=headers)
    if scope.request.user is None and wants_pretty(scope):
        shown = without_item_kinds(obj) if is_list else obj
        response.body = json.dumps(shown, indent=2, ensure_ascii=False).encode() + b"\n"
    return response


def in_protobuf(obj: Object) -> bytes | None:
    """The object as protobuf; None where it has no message, as a Table, and JSON is the answer."""
    try:
        return protobuf.encode(obj)
    except protobuf.ProtobufError:
        return None


def refusal(scope: RequestScope | None, error: APIStatus) -> Response:
    """The Status of a refusal."""
    headers: tuple[tuple[str, str], ...] = ()
    obj = error.to_object()
    if scope is not None and scope.warnings:
        headers = warning_headers(scope.warnings)
    if error.retry_after_seconds:
        headers = (*headers, ("Retry-After", str(error.retry_after_seconds)))
    code = error.code or 500
    media = negotiation.JSON
    if scope is not None:
        found = negotiation.output_for(scope.request.header("accept"), transforms=True)
        media = found.media_type if found is not None else media
    if media == negotiation.YAML:
        return Response(code, obj, to_yaml(obj), negotiation.YAML, headers)
    if media == negotiation.PROTOBUF:
        return Response(code, obj, protobuf.encode(obj), negotiation.PROTOBUF, headers)
    return Response(code, obj, headers=headers)


def text(code: int, body: str, content_type: str = TEXT) -> Response:
    """A plain text."""
    return Response(code, None, body.encode(), content_type)


def page_not_found() -> Response:
    """404 as Go's own HTTP server says it."""
    return Response(
        404, None, b"404 page not found\n", TEXT, (("X-Content-Type-Options", "nosniff"),)
    )
