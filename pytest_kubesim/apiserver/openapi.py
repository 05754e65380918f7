"""`/openapi/v2` and `/openapi/v3`: the published documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apiserver import responses
from pytest_kubesim.errors import NotSimulated

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Response


def serve(scope: RequestScope, rest: list[str]) -> Response:
    """Answer for `/openapi/...`."""
    del scope, rest
    raise NotSimulated("OpenAPI documents are not served yet.")


__all__ = ["responses", "serve"]
