"""OpenAPI documents of other API servers, put beside our own.

The law: of a server's document of version 2, the paths below its group versions are taken, and the
definitions that they need; a definition of a name that is taken by another gets a number.  Those of
version 3 are listed, and asked of the server itself.  What a server says is kept for a minute.

Follows `kube-aggregator/pkg/controllers/{openapi,openapiv3}/aggregator` and
`kube-openapi/pkg/aggregator/aggregator.go`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.apiserver import aggregated_proxy, aggregation, json_syntax
from pytest_kubesim.apiserver.aggregated_discovery import Unreadable, get
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.wire import UserInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.aggregation import Remote
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.server import APIServer

_AGGREGATOR = UserInfo("system:aggregator")
KEPT_NS = 60 * NS
HTTP_OK = 200
_PREFIX = "#/definitions/"


async def v3_paths(server: APIServer) -> dict[str, Object]:
    """The documents of version 3 that other servers have: what the index says, by path."""
    found: dict[str, Object] = {}
    for remote in _remotes(server):
        found |= (await _document(server, remote, "/openapi/v3")).get("paths") or {}
    return found


async def v3_document(scope: RequestScope, path: str) -> Any:
    """The answer for a document that another server has; None for all others."""
    for remote in _remotes(scope.server):
        index = await _document(scope.server, remote, "/openapi/v3")
        if path in (index.get("paths") or {}):
            return await aggregated_proxy.serve(scope, remote)
    return None


async def v2_with_others(server: APIServer, body: bytes) -> bytes:
    """The document of version 2 with what other servers add to it."""
    documents = [
        (remote, await _document(server, remote, "/openapi/v2")) for remote in _remotes(server)
    ]
    if not any(document for _, document in documents):
        return body
    merged = cast("Object", json.loads(body))
    for remote, document in documents:
        prefix = f"/apis/{remote.group}/{remote.version}"
        served: Object = document.get("paths") or {}
        paths: Object = {
            path: item
            for path, item in served.items()
            if path == prefix or path.startswith(f"{prefix}/")
        }
        _merge(merged, paths, document.get("definitions") or {})
    return json.dumps(merged, separators=(",", ":"), ensure_ascii=False).encode()


def _merge(merged: Object, paths: Object, definitions: Object) -> None:
    needed: dict[str, Any] = {}
    _need(paths, definitions, needed)
    known: Object = merged["definitions"]
    renamed: dict[str, str] = {}
    for name, definition in needed.items():
        number, free = 1, name
        while free in known and known[free] != definition:
            number += 1
            free = f"{name}_v{number}"
        renamed[name] = free
    for name, definition in needed.items():
        known[renamed[name]] = _renaming(definition, renamed)
    merged["paths"] |= {
        path: _renaming(item, renamed) for path, item in paths.items()
        if path not in merged["paths"]
    }


def _need(value: Any, definitions: Object, needed: dict[str, Any]) -> None:
    for name in _references(value):
        if name in definitions and name not in needed:
            needed[name] = definitions[name]
            _need(definitions[name], definitions, needed)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in cast("Object", value).items():
            if key == "$ref" and isinstance(each, str):
                yield each.removeprefix(_PREFIX)
            else:
                yield from _references(each)
    elif isinstance(value, list):
        for each in cast("list[Any]", value):
            yield from _references(each)


def _renaming(value: Any, renamed: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: _PREFIX + renamed.get(each.removeprefix(_PREFIX), each.removeprefix(_PREFIX))
            if key == "$ref" and isinstance(each, str)
            else _renaming(each, renamed)
            for key, each in cast("Object", value).items()
        }
    if isinstance(value, list):
        return [_renaming(each, renamed) for each in cast("list[Any]", value)]
    return value


def _remotes(server: APIServer) -> list[Remote]:
    found = aggregation.aggregation(server)
    if found is None:
        return []
    return [found.remotes[name] for name in sorted(found.remotes)]


async def _document(server: APIServer, remote: Remote, path: str) -> Object:
    """A document as it was at most a minute ago; {} where there never was one."""
    now_ns = server.kernel.now_ns
    since, document = remote.openapi.get(path, (-KEPT_NS, {}))
    if now_ns - since < KEPT_NS or not remote.available:
        return document
    try:
        answer = await get(server, remote, path, "application/json", _AGGREGATOR)
        if answer.status == HTTP_OK:
            found: Any = json_syntax.loads(answer.encoded())
            document = cast("Object", found) if isinstance(found, dict) else {}
    except (Unreadable, ValueError):
        pass
    remote.openapi[path] = (now_ns, document)
    return document
