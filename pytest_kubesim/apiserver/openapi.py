"""`/openapi/v2` and `/openapi/v3`: the published documents.

The built-in ones are data; those of custom resources are made of their definitions
(`apiextensions.openapi`).

Follows `kube-openapi/pkg/{handler,handler3}/handler.go`, and the aggregator, which sends the index
without a type of its own.
"""

from __future__ import annotations

import functools
import hashlib
import json
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import openapi_protobuf
from pytest_kubesim.apiserver import aggregated_openapi, aggregation, negotiation, responses
from pytest_kubesim.data import openapi as documents

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.wire import Response

V2_PROTOBUF = "com.github.proto-openapi.spec.v2.v1.0+protobuf"
V2_PROTOBUF_DEPRECATED = "com.github.proto-openapi.spec.v2@v1.0+protobuf"
"""What clients ask for; the answer is of the other type."""


async def serve(scope: RequestScope, rest: list[str]) -> Any:
    """Answer for `/openapi/...`."""
    if rest == ["v2"]:
        return await _v2(scope)
    if rest == ["v3"]:
        more = await aggregated_openapi.v3_paths(scope.server) if _others(scope) else {}
        body = json.dumps(_index(scope.server, more), separators=(",", ":")).encode()
        return responses.Response(200, None, body, responses.TEXT, (("Etag", f'"{_hash(body)}"'),))
    if len(rest) > 1 and rest[0] == "v3":
        if _others(scope):
            answer = await aggregated_openapi.v3_document(scope, "/".join(rest[1:]))
            if answer is not None:
                return answer
        return _group_version(scope, "/".join(rest[1:]))
    return responses.page_not_found()


def _others(scope: RequestScope) -> bool:
    """Whether other API servers stand beside this one."""
    return aggregation.STATE in scope.server.state


async def _v2(scope: RequestScope) -> Response:
    server = scope.server
    form = _v2_form(scope)
    if not form:
        return responses.text(406, "")
    body = _own_v2(server) or documents.openapi_v2_bytes(server.catalog.version)
    if _others(scope):
        body = await aggregated_openapi.v2_with_others(server, body)
    if form == "json":
        return _document(body, _hash(body))
    encoded = _protobuf(body)
    headers = (("Vary", "Accept"), ("Etag", f'"{_hash(encoded)}"'))
    return responses.Response(200, None, encoded, f"application/{V2_PROTOBUF}", headers)


@functools.lru_cache(2)
def _protobuf(document: bytes) -> bytes:
    return openapi_protobuf.encode(document)


def _v2_form(scope: RequestScope) -> str:
    for clause in negotiation.parse_accept(scope.request.header("accept") or "*/*"):
        if clause.type not in {"application", "*"}:
            continue
        if clause.subtype in {"json", "*"}:
            return "json"
        if clause.subtype in {V2_PROTOBUF, V2_PROTOBUF_DEPRECATED}:
            return "protobuf"
    return ""


def _own_v3(server: APIServer) -> dict[str, bytes]:
    """The documents of custom resources, which are built when they are first asked for."""
    if not server.catalog.custom():
        return {}
    from pytest_kubesim.apiserver.apiextensions.openapi import v3_documents

    return v3_documents(server)


def _own_v2(server: APIServer) -> bytes | None:
    if not server.catalog.custom():
        return None
    from pytest_kubesim.apiserver.apiextensions.openapi import v2_document

    return v2_document(server)


def _group_version(scope: RequestScope, path: str) -> Response:
    server = scope.server
    version = server.catalog.version
    own = _own_v3(server).get(path)
    body = own
    if body is None and server.catalog.built_in:
        body = documents.openapi_v3_bytes(version, path)
    if body is None:
        return responses.page_not_found()
    if not _takes_json(scope):
        return responses.text(406, "")
    etag = _hash(body) if own is not None else documents.openapi_v3_hash(version, path)
    wanted = scope.param("hash")
    if wanted and wanted != etag:
        location = f"/openapi/v3/{path}?hash={etag}"
        link = f'<a href="{location}">Moved Permanently</a>.\n\n'.encode()
        return responses.Response(
            301, None, link, "text/html; charset=utf-8", (("Location", location),)
        )
    return _document(body, etag, immutable=bool(wanted))


def _index(server: APIServer, more: dict[str, Any]) -> dict[str, Any]:
    found = dict(more)
    if server.catalog.built_in:
        found = {**documents.openapi_v3_index(server.catalog.version)["paths"], **more}
    for path, body in _own_v3(server).items():
        found[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={_hash(body)}"}
    return {"paths": {path: found[path] for path in sorted(found)}}


def _document(body: bytes, etag: str, *, immutable: bool = False) -> Response:
    headers: tuple[tuple[str, str], ...] = (("Vary", "Accept"), ("Etag", f'"{etag}"'))
    if immutable:
        headers = (*headers, ("Cache-Control", "public, immutable"))
    return responses.Response(200, None, body, negotiation.JSON, headers)


def _hash(body: bytes) -> str:
    return hashlib.sha512(body).hexdigest().upper()


def _takes_json(scope: RequestScope) -> bool:
    header = scope.request.header("accept") or "*/*"
    return any(
        clause.type in ("application", "*") and clause.subtype in ("json", "*")
        for clause in negotiation.parse_accept(header)
    )
