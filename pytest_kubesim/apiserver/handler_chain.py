"""The way of a request through the API server, on a page.

Follows `DefaultBuildHandlerChain` of `apiserver/pkg/server/config.go`, outermost first; what is
only there for metrics, traces and HTTP itself is left out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.apiserver.filters.authentication import with_authentication
from pytest_kubesim.apiserver.filters.authorization import with_authorization
from pytest_kubesim.apiserver.filters.impersonation import with_impersonation
from pytest_kubesim.apiserver.handlers.dispatch import dispatch

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Response, WatchStream

Filter: TypeAlias = "Callable[[RequestScope], Awaitable[Response | None]]"


async def with_audited_authentication(scope: RequestScope) -> Response | None:
    """Finds out who asks; those who audit are told whom it did not believe."""
    try:
        return await with_authentication(scope)
    except APIStatus as error:
        for auditor in scope.server.audit:
            auditor.not_believed(scope, error)
        raise


async def with_audit(scope: RequestScope) -> Response | None:
    """Tells those who audit of the request (`server.audit`)."""
    for auditor in scope.server.audit:
        auditor.received(scope)
    return None


async def with_priority_and_fairness(scope: RequestScope) -> Response | None:
    """Queues the request by its flow (`server.flow_control`)."""
    control = scope.server.flow_control
    return None if control is None else await control.admit(scope)


CHAIN: tuple[Filter, ...] = (
    with_audited_authentication,
    with_audit,
    with_impersonation,
    with_priority_and_fairness,
    with_authorization,
)
"""The filters, in the order in which they see a request; the handlers come last."""


async def serve(scope: RequestScope) -> Response | WatchStream:
    """Answer the request.  Raises `APIStatus` for every refusal."""
    for each in CHAIN:
        answer = await each(scope)
        if answer is not None:
            return answer
    return await dispatch(scope)
