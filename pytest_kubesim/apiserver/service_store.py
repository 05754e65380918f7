"""The registry of services: a store that also keeps the objects of their addresses.

Follows `pkg/registry/core/service/storage/storage.go` (`beginCreate` and its like).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pytest_kubesim.apiserver import cluster_ips, node_ports
from pytest_kubesim.apiserver.node_ports import Collided
from pytest_kubesim.apiserver.store import Store
from pytest_kubesim.registry.core.service_allocation import COLLISIONS, all_node_ports

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.apiserver.server import APIServer
    from pytest_kubesim.apiserver.storage.etcd3 import Preconditions
    from pytest_kubesim.apiserver.store import Produce, Validate
    from pytest_kubesim.registry.rest import Strategy


T = TypeVar("T")


class _Claims:
    """The addresses claimed on the way to the store, given back where it ends elsewhere."""

    def __init__(self, server: APIServer, scope: RequestScope, validate: Validate | None) -> None:
        self.server = server
        self.scope = scope
        self._validate = validate
        self.new: Object | None = None
        self.old: Object | None = None
        self.ports: frozenset[int] = frozenset()

    async def validate(self, obj: Object, old: Object | None) -> None:
        """Claim what the service has been given; then admission may look at it."""
        if not self.scope.context.dry_run:
            await self.undo()
            self.new, self.old = obj, old
            try:
                await cluster_ips.claim(self.server, obj, old)
            except Collided:
                self.new = None
                raise
            self.ports = _ports(obj) - _ports(old)
            try:
                await node_ports.claim(self.server, self.ports)
            except Collided:
                self.ports = frozenset()
                await self.undo()
                raise
        if self._validate is not None:
            await self._validate(obj, old)

    async def undo(self) -> None:
        """Give back what was claimed."""
        new, self.new = self.new, None
        ports, self.ports = self.ports, frozenset[int]()
        if new is not None:
            await cluster_ips.release(self.server, new, self.old)
            await node_ports.release(self.server, ports)

    async def settle(self) -> None:
        """The service is stored: give up what it has no more."""
        if self.old is not None and self.new is not None:
            await cluster_ips.release(self.server, self.old, self.new)
            await node_ports.release(self.server, _ports(self.old) - _ports(self.new))


def _ports(service: Object | None) -> frozenset[int]:
    return frozenset(all_node_ports((service or {}).get("spec") or {}))


class ServiceStore(Store):
    """The store of services."""

    async def create(
        self,
        scope: RequestScope,
        obj: Object,
        *,
        strategy: Strategy | None = None,
        validate: Validate | None = None,
    ) -> Object:
        """Store a new service, its addresses first.  Raises `APIStatus`."""
        create = super().create

        async def attempt() -> Object:
            claims = _Claims(self.server, scope, validate)
            try:
                return await create(scope, obj, strategy=strategy, validate=claims.validate)
            except Exception:
                await claims.undo()
                raise

        return await self._until_agreed(attempt)

    async def update(
        self,
        scope: RequestScope,
        name: str,
        produce: Produce,
        *,
        strategy: Strategy | None = None,
        validate: Validate | None = None,
        preconditions: Preconditions | None = None,
        force_allow_create: bool = False,
    ) -> tuple[Object, bool]:
        """Change a service and the addresses that it has.  Raises `APIStatus`."""
        change = super().update

        async def attempt() -> tuple[Object, bool]:
            claims = _Claims(self.server, scope, validate)
            try:
                found = await change(
                    scope,
                    name,
                    produce,
                    strategy=strategy,
                    validate=claims.validate,
                    preconditions=preconditions,
                    force_allow_create=force_allow_create,
                )
            except Exception:
                await claims.undo()
                raise
            await claims.settle()
            return found

        return await self._until_agreed(attempt)

    async def _until_agreed(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt` gives, made again with what others were faster to have."""
        known: dict[tuple[str, int | str], None] = {}
        state = self.server.state
        while True:
            try:
                state[COLLISIONS] = known
                return await attempt()
            except Collided as collided:
                known.update(dict.fromkeys(("ip", ip) for ip in sorted(collided.ips)))
                known.update(dict.fromkeys(("port", port) for port in sorted(collided.ports)))
            finally:
                state.pop(COLLISIONS, None)

    async def _delete_emptied(
        self,
        scope: RequestScope,
        name: str,
        key: str,
        obj: Object,
        preconditions: Preconditions | None,
    ) -> tuple[Object, bool]:
        found = await super()._delete_emptied(scope, name, key, obj, preconditions)
        if not scope.context.dry_run:
            await self._freed(obj)
        return found

    async def delete(
        self,
        scope: RequestScope,
        name: str,
        options: dict[str, Any],
        validate: Callable[[Object], Awaitable[None]] | None = None,
    ) -> tuple[Object, bool]:
        """Delete a service; its addresses go after it.  Raises `APIStatus`."""
        obj, gone = await super().delete(scope, name, options, validate)
        if gone and not options.get("dryRun"):
            await self._freed(obj)
        return obj, gone

    async def _freed(self, service: Object) -> None:
        """The service is gone: so is what it had."""
        await cluster_ips.release(self.server, service)
        await node_ports.release(self.server, _ports(service))
