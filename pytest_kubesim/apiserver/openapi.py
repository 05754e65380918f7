"""`/openapi/v2` and `/openapi/v3`: the published documents.

The built-in ones are data; those of custom resources are made of their definitions
(`apiextensions.openapi`).

Follows `kube-openapi/pkg/{handler,handler3}/handler.go`, and the aggregator, which sends the index
without a type of its own.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apiserver import negotiation, responses
from pytest_kubesim.data import openapi as documents

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.wire import Response


def serve(scope: RequestScope, rest: list[str]) -> Response:
    """Answer for `/openapi/...`."""
    version = scope.server.catalog.version
    if rest == ["v2"]:
        if not _takes_json(scope):
            return responses.text(406, "")
        body = _own_v2(scope.server) or documents.openapi_v2_bytes(version)
        return _document(body, _hash(body))
    if rest == ["v3"]:
        body = json.dumps(_index(scope.server), separators=(",", ":")).encode()
        return responses.Response(200, None, body, responses.TEXT, (("Etag", f'"{_hash(body)}"'),))
    if len(rest) > 1 and rest[0] == "v3":
        return _group_version(scope, "/".join(rest[1:]))
    return responses.page_not_found()


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
    body = own if own is not None else documents.openapi_v3_bytes(version, path)
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


def _index(server: APIServer) -> dict[str, Any]:
    found = dict(documents.openapi_v3_index(server.catalog.version)["paths"])
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
