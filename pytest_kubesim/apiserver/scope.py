"""One request on its way through the API server: what is known of it so far.

Follows `RequestScope` and the values that upstream keeps in a request's context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.apiserver import negotiation
from pytest_kubesim.registry.rest import Context
from pytest_kubesim.wire import UserInfo

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.priority_and_fairness import Flow
    from pytest_kubesim.apiserver.request_info import RequestInfo
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.registry.rest import Resource
    from pytest_kubesim.wire import Request

NOBODY = UserInfo("")


@attrs.define(slots=True, eq=False)
class RequestScope:
    """A request, whom it comes from, what it is about, and what is to be said back."""

    server: APIServer
    request: Request
    info: RequestInfo
    user: UserInfo = NOBODY
    resource: Resource | None = None
    namespace: str = ""
    name: str = ""
    output: negotiation.Output = negotiation.PLAIN
    warnings: list[str] = attrs.field(factory=list[str])
    audit: dict[str, str] = attrs.field(factory=dict[str, str])
    """Audit annotations, as plugins leave them."""
    constraint: str = ""
    """The right by which somebody is impersonated, where it is one of the newer ones."""
    sent: Object | None = None
    """The object that the client sent, as it was decoded."""
    flow: Flow | None = None
    """To which flow it belongs."""
    seated: bool = False
    """Whether it has taken a seat of its priority level."""
    _context: Context | None = None

    @property
    def served(self) -> Resource:
        """The resource; only where the request is about one."""
        assert self.resource is not None
        return self.resource

    @property
    def subresource(self) -> str:
        """The subresource, or empty."""
        return self.info.subresource

    def warn(self, text: str) -> None:
        """Add a `Warning` header to the answer, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def param(self, name: str, default: str = "") -> str:
        """The first query parameter of that name."""
        for key, value in self.request.query:
            if key == name:
                return value
        return default

    def params(self, name: str) -> list[str]:
        """All query parameters of that name."""
        return [value for key, value in self.request.query if key == name]

    @property
    def context(self) -> Context:
        """What the hooks of a kind may know of this request."""
        found = self._context
        if found is None:
            server = self.server
            now_ns = server.process.now_ns()
            found = self._context = Context(
                now=timestamps.format_time(now_ns),
                now_ns=now_ns,
                user=self.user,
                rng=server.kernel.rng,
                reader=server.reader,
                namespace=self.namespace,
                name=self.name,
                verb=self.info.verb,
                subresource=self.info.subresource,
                warnings=self.warnings,
                state=server.state,
            )
        return found

    def context_for(self, options: dict[str, Any], field_manager: str) -> Context:
        """The same with the options of a write."""
        context = self.context
        context.options = options
        context.dry_run = bool(options.get("dryRun"))
        context.field_manager = field_manager
        return context
