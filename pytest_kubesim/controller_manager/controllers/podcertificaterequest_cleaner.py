"""The cleaner of pod certificate requests: a quarter of an hour after it was made, one is deleted.

The law: it looks every five minutes, whatever became of the request.

Follows `pkg/controller/certificates/cleaner/pcrcleaner.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, timestamps
from pytest_kubesim.apimachinery.status import is_not_found
from pytest_kubesim.client_go.resources import PODCERTIFICATEREQUESTS
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

PERIOD_NS = 5 * 60 * NS
AGE_NS = 15 * 60 * NS


class PodCertificateRequestCleanerController(Controller):
    """Deletes old requests."""

    name = "podcertificaterequest-cleaner-controller"
    service_account = "podcertificaterequestcleaner"

    def setup(self) -> None:
        """Read requests."""
        self.requests = self.informer(PODCERTIFICATEREQUESTS).store

    async def run(self) -> None:
        """Look every five minutes."""
        while True:
            for request in self.requests.list():
                made_ns = timestamps.parse_time(meta.creation_timestamp(request) or "")
                if self.now_ns() >= made_ns + AGE_NS:
                    await self._delete(request)
            await self.kernel.sleep(PERIOD_NS, periodic=True)

    async def _delete(self, request: Object) -> None:
        namespace, name = meta.namespace(request), meta.name(request)
        try:
            await self.client.delete(PODCERTIFICATEREQUESTS, namespace, name, uid=meta.uid(request))
        except RETRIABLE as error:
            if not is_not_found(error):
                # The next time tries again.
                self.kernel.journal.record(
                    "sync failed", self.name, key=key_of(request), error=str(error)
                )


CONTROLLER = PodCertificateRequestCleanerController
