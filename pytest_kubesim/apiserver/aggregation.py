"""APIServices of other servers: nobody else serves an API here, so their paths are unavailable.

Follows `kube-aggregator/pkg/apiserver/handler_proxy.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery.meta import GroupResource, get_path
from pytest_kubesim.wire import Response

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.server import APIServer

API_SERVICES = GroupResource("apiregistration.k8s.io", "apiservices")


def is_remote(obj: Object | None) -> bool:
    """Whether an APIService is another server's."""
    return obj is not None and get_path(obj, "spec", "service") is not None


def unavailable(server: APIServer, group: str, version: str) -> Response | None:
    """The answer of a path that another server would serve; None for all others."""
    found = server.reader.get(API_SERVICES, "", f"{version}.{group}")
    if found is None or not is_remote(found):
        return None
    headers = (("X-Content-Type-Options", "nosniff"),)
    return Response(503, None, b"service unavailable\n", "text/plain; charset=utf-8", headers)
