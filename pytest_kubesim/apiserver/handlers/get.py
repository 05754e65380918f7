"""GET of one object.

Follows `apiserver/pkg/endpoints/handlers/get.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apiserver import responses
from pytest_kubesim.apiserver.options import to_bool

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Response


async def get(scope: RequestScope) -> Response:
    """Read an object.  Raises `APIStatus`."""
    version = ""
    if scope.request.query:
        export = scope.params("export")
        if export and to_bool(export[0]):
            raise status.new_bad_request(
                "the export parameter, deprecated since v1.14, is no longer supported"
            )
        version = scope.param("resourceVersion")
    store = scope.server.store(scope.served)
    obj = store.served(await store.get(scope, scope.name, version))
    return responses.answer(scope, 200, obj)
