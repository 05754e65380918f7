"""What a request is about, read off its method and path.

::

    GET  /api/v1/namespaces/a/pods/p/log      get, pods/log "p" in namespace "a" of "" v1
    GET  /apis/apps/v1/deployments            list, deployments of apps v1, everywhere
    GET  /apis/apps                           not about a resource

Follows `apiserver/pkg/endpoints/request/requestinfo.go`.
"""

from __future__ import annotations

import functools
from urllib.parse import unquote

import attrs

from pytest_kubesim.apimachinery.meta import GroupResource

_METHODS = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_SPECIAL = frozenset({"proxy", "watch"})
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


@attrs.frozen
class RequestInfo:
    """The facts; for what is not about a resource only `path` and `verb`."""

    path: str
    verb: str
    is_resource: bool = False
    api_prefix: str = ""
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    parts: tuple[str, ...] = ()
    """The path from the resource on."""
    legacy_watch: bool = False
    """Asked for through `/watch/` in the path."""

    @property
    def group_resource(self) -> GroupResource:
        """Group and resource: how messages name it."""
        return GroupResource(self.group, self.resource)


@functools.lru_cache(8192)
def resolve(method: str, path: str, query: tuple[tuple[str, str], ...] = ()) -> RequestInfo:
    """The facts of a request; the path is not yet decoded.

    Raises `ValueError` where a path through `/watch/` breaks off.
    """
    info = _resolve(method, path)
    if info.is_resource and not info.name and info.verb == "get":
        verb = "list"
        name = ""
        for key, value in query:
            if key == "watch" and value.lower() not in ("false", "0"):
                verb = "watch"
            elif key == "fieldSelector" and "metadata.name=" in value:
                name = _selected_name(value)
        return attrs.evolve(info, verb=verb, name=name)
    return info


def _selected_name(selector: str) -> str:
    """The name that a field selector demands: authorization takes it for the request's."""
    for term in selector.split(","):
        field, _, value = term.replace("==", "=").partition("=")
        if field == "metadata.name" and not field.endswith("!"):
            return value
    return ""


@functools.lru_cache(8192)
def _resolve(method: str, path: str) -> RequestInfo:
    # As Go does: an escaped slash is one.
    parts = unquote(path).strip("/").split("/") if path.strip("/") else []
    verb = method.lower()
    if len(parts) < 3 or parts[0] not in ("api", "apis"):
        return RequestInfo(path, verb)
    prefix, parts = parts[0], parts[1:]
    group = ""
    if prefix == "apis":
        if len(parts) < 3:
            return RequestInfo(path, verb)
        group, parts = parts[0], parts[1:]
    version, parts = parts[0], parts[1:]
    verb = _METHODS.get(method, "")
    legacy = False
    if parts[0] in _SPECIAL:
        if len(parts) < 2:
            raise ValueError(f"unable to determine kind and namespace from url, {path}")
        verb, parts = parts[0], parts[1:]
        legacy = verb == "watch"
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        if len(parts) > 2 and parts[2] not in _NAMESPACE_SUBRESOURCES:
            parts = parts[2:]
    subresource = parts[2] if len(parts) >= 3 and verb != "proxy" and not legacy else ""
    name = parts[1] if len(parts) >= 2 else ""
    if verb == "delete" and not name:
        verb = "deletecollection"
    return RequestInfo(
        path,
        verb,
        True,
        prefix,
        group,
        version,
        namespace,
        parts[0],
        subresource,
        name,
        tuple(parts),
        legacy,
    )
