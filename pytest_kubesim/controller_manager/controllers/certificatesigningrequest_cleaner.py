"""The cleaner of certificate signing requests: what is answered or forgotten is deleted.

The law: every hour; an hour after a request was answered, a day after nobody answered, and when the
certificate has expired.

Follows `pkg/controller/certificates/cleaner/cleaner.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, timestamps
from pytest_kubesim.client_go.resources import CERTIFICATESIGNINGREQUESTS
from pytest_kubesim.controller_manager import certificate_requests as requests
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

PERIOD_NS = 3600 * NS
ANSWERED_NS = 3600 * NS
PENDING_NS = 24 * 3600 * NS


class CertificateSigningRequestCleanerController(Controller):
    """Deletes old requests."""

    name = "certificatesigningrequest-cleaner-controller"
    service_account = "certificate-controller"

    def setup(self) -> None:
        """Read requests."""
        self.requests = self.informer(CERTIFICATESIGNINGREQUESTS).store

    async def run(self) -> None:
        """Look every hour."""
        while True:
            for csr in self.requests.list():
                if self._is_over(csr):
                    await self._delete(csr)
            await self.kernel.sleep(PERIOD_NS, periodic=True)

    async def _delete(self, csr: Object) -> None:
        try:
            await self.client.delete(CERTIFICATESIGNINGREQUESTS, "", meta.name(csr))
        except RETRIABLE as error:
            # The next hour tries again.
            self.kernel.journal.record(
                "sync failed", self.name, key=meta.name(csr), error=str(error)
            )

    def _is_over(self, csr: Object) -> bool:
        conditions = fields.conditions(csr)
        if not conditions:
            return self._is_older(meta.creation_timestamp(csr), PENDING_NS)
        issued = bool(fields.status(csr).get("certificate"))
        for condition in conditions:
            since = condition.get("lastUpdateTime")
            if condition["type"] == "Approved":
                if self._is_older(since, ANSWERED_NS if issued else PENDING_NS):
                    return True
                if issued and self._has_expired(csr):
                    return True
            elif condition["type"] in {"Denied", "Failed"} and self._is_older(since, ANSWERED_NS):
                return True
        return False

    def _is_older(self, since: str | None, age_ns: int) -> bool:
        return bool(since) and self.now_ns() - timestamps.parse_time(since or "") > age_ns

    def _has_expired(self, csr: Object) -> bool:
        expires_ns = requests.expires_ns(csr)
        return expires_ns is not None and self.now_ns() > expires_ns


CONTROLLER = CertificateSigningRequestCleanerController
