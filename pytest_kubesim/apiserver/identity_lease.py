"""The Lease by which an API server says who it is: `kube-system/apiserver-<hash of its host>`.

It is renewed every ten seconds, goes when the server is stopped in an orderly way, and is deleted
by any server an hour after a crashed one renewed it last.

Follows `pkg/controlplane/apiserver/server.go`, `component-helpers/apimachinery/lease/controller.go`
and `pkg/controlplane/controller/apiserverleasegc/gc_controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status
from pytest_kubesim.apimachinery.meta import GroupResource, labels
from pytest_kubesim.apimachinery.timestamps import format_micro_time, parse_micro_time
from pytest_kubesim.apiserver import loopback
from pytest_kubesim.apiserver.identity import IDENTITY_LABEL, NAMESPACE, identity, lease
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.server import APIServer

INTERVAL_NS = 10 * NS
JITTER_PERCENT = 4
GC_INTERVAL_NS = 3600 * NS

_PATH = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
_LEASES = GroupResource("coordination.k8s.io", "leases")


class IdentityLease:
    """The Lease of one API server, and its part in clearing away those of others.

    Parameters: `server`; `address`, with port; `known`: whether the Lease is there when it first
    starts; `renewed`: whether it is renewed while the server runs.  One that is alone on virtual
    time need not: nobody could clear its Lease away, and a month would be 260,000 writes.
    """

    def __init__(
        self, server: APIServer, address: str, *, known: bool = False, renewed: bool = True
    ) -> None:
        self._renewed = renewed
        self._server = server
        self._address = address
        self._known = known
        self._stopped = False
        self._renewals = 0
        self._path = f"{_PATH}/{identity(server.host)}"
        server.on_start.append(self._start)
        server.on_stop.append(self._stop)

    def _start(self, server: APIServer) -> None:
        known, self._known, self._stopped = self._known, False, False
        for name, work in (
            ("identity lease", self._run(known=known)),
            ("identity lease gc", self._collect()),
        ):
            server.kernel.spawn(
                work, name=f"{server.process.name}/{name}",
                process=server.process, daemon=True, eager=True,
            )

    async def _run(self, *, known: bool) -> None:
        server = self._server
        holder = f"{identity(server.host)}_{server.draw_uid(self._path)}"
        if not known:
            await self._tried("DELETE")
        while not self._stopped:
            if not known:
                await self._renew(holder)
            if not self._renewed:
                return
            known = False
            self._renewals += 1
            extra_ns = server.kernel.rng.between_ns(
                0, INTERVAL_NS * JITTER_PERCENT // 100, "lease", server.process.name, self._renewals
            )
            await server.kernel.sleep(INTERVAL_NS + extra_ns, periodic=True)

    async def _renew(self, holder: str) -> None:
        server = self._server
        now = format_micro_time(server.process.now_ns())
        there = server.reader.get(_LEASES, NAMESPACE, identity(server.host))
        if there is None:
            await self._tried("POST", lease(server.host, holder, self._address, now))
        else:
            spec: Object = {**there["spec"], "renewTime": now}
            await self._tried("PUT", {**there, "spec": spec})

    async def _stop(self) -> None:
        self._stopped = True
        await self._tried("DELETE")

    async def _tried(self, method: str, obj: Object | None = None) -> None:
        path = _PATH if method == "POST" else self._path
        try:
            await loopback.send(self._server, method, path, obj)
        except status.APIStatus:
            # Upstream logs it; in ten seconds it tries again.
            return

    # -- what crashed servers left ------------------------------------------------------------

    async def _collect(self) -> None:
        server = self._server
        while True:
            await server.kernel.sleep(GC_INTERVAL_NS, periodic=True)
            for each in server.reader.list(_LEASES, NAMESPACE) if self._renewed else ():
                if labels(each).get(IDENTITY_LABEL) == "kube-apiserver" and self._expired(each):
                    path = f"{_PATH}/{each['metadata']['name']}"
                    try:
                        await loopback.send(server, "DELETE", path)
                    except status.APIStatus:
                        continue

    def _expired(self, found: Object) -> bool:
        spec: Object = found.get("spec") or {}
        if not spec.get("renewTime"):
            return True
        ends_ns = parse_micro_time(spec["renewTime"])
        ends_ns += (spec.get("leaseDurationSeconds") or 0) * NS
        return ends_ns < self._server.process.now_ns()
