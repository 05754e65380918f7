"""Where faults strike requests: the points `apiserver.request` and `apiserver.answer`.

The first is consulted before a request is looked at and answers with an effect (`effects`); the
second is told of every answer, with its `code`, before the client is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apiserver import effects
from pytest_kubesim.wire import ConnectionLost, Response

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Request, WatchStream

REQUEST, ANSWER = "apiserver.request", "apiserver.answer"

_RESET = "read: connection reset by peer"


def attributes(scope: RequestScope) -> dict[str, Any]:
    """What is known of a request and of who asks, before authentication has looked at it."""
    request, info = scope.request, scope.info
    return {
        "client": request.client,
        "user": _user(scope, request),
        "user_agent": request.header("user-agent"),
        "host": request.host,
        "server": scope.server.process.name,
        "verb": info.verb,
        "group": info.group,
        "resource": info.resource,
        "subresource": info.subresource,
        "namespace": info.namespace,
        "name": info.name,
        "path": info.path,
    }


def _user(scope: RequestScope, request: Request) -> str:
    if scope.user.name:
        return scope.user.name
    if request.user is not None:
        return request.user.name
    scheme, _, token = request.header("authorization").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        found = scope.server.authenticators.user_of(token.strip())
        return "" if found is None else found.name
    return "" if request.certificate is None else request.certificate.name


async def strike(scope: RequestScope) -> Any:
    """What a fault does before the request is looked at; what it leaves for afterwards.

    Raises: `ConnectionLost` where the request does not come through.
    """
    server = scope.server
    assert server.faultpoints is not None
    effect = server.faultpoints.consult(REQUEST, **attributes(scope))
    while isinstance(effect, effects.Delay):
        await server.kernel.sleep(effect.delay_ns)
        if not server.process.running:
            await server.running()
        effect = effect.then
    if isinstance(effect, effects.Refuse):
        raise ConnectionLost("refused", "connect: connection refused")
    if isinstance(effect, effects.Reset):
        raise ConnectionLost("reset", _RESET)
    return effect


def answered(scope: RequestScope, answer: Response | WatchStream) -> None:
    """Tell those who wait for an answer of that kind."""
    faultpoints = scope.server.faultpoints
    if faultpoints is not None and faultpoints.armed(ANSWER):
        faultpoints.consult(ANSWER, code=answer.status, **attributes(scope))


async def strike_back(
    scope: RequestScope, effect: Any, answer: Response | WatchStream
) -> None:
    """What a fault does to the answer.  Raises: `ConnectionLost` where it does not arrive."""
    if isinstance(effect, effects.Drop):
        if not isinstance(answer, Response):
            answer.close()
        raise ConnectionLost("reset", _RESET)
    if isinstance(effect, effects.Hold):
        await effect.until
        if not scope.server.process.running:
            raise ConnectionLost("reset", _RESET)
