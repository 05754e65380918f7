"""Paths that are not about objects: discovery, health, version, OpenAPI.

Follows `apiserver/pkg/server/routes` and `pkg/server/healthz`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver import (
    aggregation,
    discovery,
    health,
    negotiation,
    openapi,
    responses,
)
from pytest_kubesim.errors import NotSimulated

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Response

VERSION: Object = {
    "major": "1",
    "minor": "37",
    "emulationMajor": "1",
    "emulationMinor": "37",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "36",
    "gitVersion": "v1.37.2",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "go1.26.0",
    "compiler": "gc",
    "platform": "linux/amd64",
}

_HEALTH = ("healthz", "livez", "readyz")


async def serve(scope: RequestScope) -> Response:
    """Answer a request that is not about a resource.  Raises `APIStatus`."""
    path = scope.info.path
    parts = [part for part in path.split("/") if part]
    if scope.request.method not in ("GET", "HEAD"):
        if parts and parts[0] in ("api", "apis", "version"):
            raise status.new_generic_server_response(405, "", GroupResource("", ""), "", "")
        return responses.page_not_found()
    if not parts:
        return responses.Response(200, {"paths": discovery.paths(scope.server.catalog)})
    first = parts[0]
    if first == "apis" and len(parts) > 2:
        remote = aggregation.unavailable(scope.server, parts[1], parts[2])
        if remote is not None:
            return remote
    if first in ("api", "apis"):
        return discovery.serve(scope, parts)
    if first in _HEALTH:
        return await health.serve(scope, first, parts[1:])
    if first == "version" and len(parts) == 1:
        scope.output = negotiation.negotiate(scope.request.header("accept"), (negotiation.JSON,))
        # `WriteRawJSON` indents.
        return responses.Response(200, VERSION, json.dumps(VERSION, indent=2).encode())
    if first == "openapi":
        return openapi.serve(scope, parts[1:])
    if first == "metrics":
        raise NotSimulated("Metrics of the API server are not simulated.")
    return responses.page_not_found()
