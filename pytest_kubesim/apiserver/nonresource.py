"""Paths that are not about objects: discovery, health, version, OpenAPI.

Follows `apiserver/pkg/server/routes` and `pkg/server/healthz`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.apiserver import (
    aggregated_proxy,
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
    "goVersion": "go1.26.8",
    "compiler": "gc",
    "platform": "linux/amd64",
}

_HEALTH = ("healthz", "livez", "readyz")


async def serve(scope: RequestScope) -> Any:
    """Answer a request that is not about a resource.  Raises `APIStatus`."""
    path = scope.info.path
    parts = [part for part in path.split("/") if part]
    if aggregation.STATE in scope.server.state and len(parts) > 2 and parts[0] == "apis":
        remote = aggregation.remote_of(scope.server, parts[1], parts[2])
        if remote is not None:
            return await aggregated_proxy.serve(scope, remote)
    if scope.request.method not in ("GET", "HEAD"):
        if parts and parts[0] in ("api", "apis", "version"):
            raise status.new_generic_server_response(405, "", GroupResource("", ""), "", "")
        return responses.page_not_found()
    if not parts:
        return responses.Response(200, {"paths": discovery.paths(scope.server.catalog)})
    first = parts[0]
    if first in ("api", "apis"):
        return discovery.serve(scope, parts)
    if first in _HEALTH:
        return await health.serve(scope, first, parts[1:])
    if first == "version" and len(parts) == 1:
        scope.output = negotiation.negotiate(scope.request.header("accept"), (negotiation.JSON,))
        # `WriteRawJSON` indents.
        return responses.Response(200, VERSION, json.dumps(VERSION, indent=2).encode())
    if first == "openapi":
        return await openapi.serve(scope, parts[1:])
    if path in ISSUER_PATHS:
        return service_account_issuer(scope, path)
    if first == "metrics":
        raise NotSimulated("Metrics of the API server are not simulated.")
    return responses.page_not_found()


CONFIGURATION_PATH = "/.well-known/openid-configuration"
KEYS_PATH = "/openid/v1/jwks"
ISSUER_PATHS = frozenset({CONFIGURATION_PATH, KEYS_PATH})


def service_account_issuer(scope: RequestScope, path: str) -> Response:
    """Who issues service account tokens, and its keys (`pkg/routes/openidmetadata.go`).

    Where the keys are secret (in a process of its own nobody else can check tokens), and where the
    issuer is no URL, there is nothing to publish.
    """
    from pytest_kubesim.apiserver.bootstrap import ADVERTISE_ADDRESS, PORT

    authenticators = scope.server.authenticators
    signer, issuer = authenticators.signer, authenticators.issuers[0]
    if signer is None or not issuer.startswith("https://"):
        return responses.page_not_found()
    keys = signer.key_set()
    obj, content_type = keys, "application/jwk-set+json"
    if path == CONFIGURATION_PATH:
        content_type = "application/json"
        obj = {
            "issuer": issuer,
            "jwks_uri": f"https://{ADVERTISE_ADDRESS}:{PORT}{KEYS_PATH}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({key["alg"] for key in keys["keys"]}),
        }
    headers = (("cache-control", "public, max-age=3600"),)
    return responses.Response(200, obj, content_type=content_type, headers=headers)
