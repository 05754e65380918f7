"""The signing controller: approved requests for certificates get their certificate.

The authority comes from the settings `cluster-signing-cert-file` and `cluster-signing-key-file`, as
PEM text; without them it is one of the cluster's own, as installers make it.

Follows `pkg/controller/certificates/signer/signer.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.client_go.resources import CERTIFICATESIGNINGREQUESTS
from pytest_kubesim.controller_manager import certificate_requests as requests
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller, SyncError
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

DURATION_NS = 365 * 24 * 3600 * NS
SHORTEST_NS = 600 * NS


class CertificateSigningRequestSigningController(Controller):
    """Signs certificates."""

    name = "certificatesigningrequest-signing-controller"
    service_account = "certificate-controller"
    workers: ClassVar[int] = 5
    base_delay_ns: ClassVar[int] = 200_000_000

    def setup(self) -> None:
        """Listen to requests."""
        setting = self.context.setting
        self.ttl_ns: int = setting("cluster-signing-duration", DURATION_NS)
        self._files: tuple[str, str] = (
            setting("cluster-signing-cert-file", ""), setting("cluster-signing-key-file", ""),
        )
        self._authority: requests.Authority | None = None
        self.requests = self.watch(
            CERTIFICATESIGNINGREQUESTS, add=self.enqueue, update=self.enqueue_new
        )

    def _get_authority(self) -> requests.Authority:
        if self._authority is None:
            if all(self._files):
                self._authority = requests.load_authority(*self._files)
            else:
                secret = self.kernel.rng.below(1 << 62, "certificate authority") + 1
                self._authority = requests.make_authority(secret, self.kernel.start_ns)
        return self._authority

    def _ttl_of(self, csr: Object) -> int:
        seconds = fields.spec(csr).get("expirationSeconds")
        if seconds is None:
            return self.ttl_ns
        return min(max(seconds * NS, SHORTEST_NS), self.ttl_ns)

    async def reconcile(self, key: str) -> None:
        """Sign one request."""
        csr = self.requests.get(key)
        if csr is None or fields.status(csr).get("certificate"):
            return
        types = {condition["type"] for condition in fields.conditions(csr)}
        if "Approved" not in types or "Denied" in types or meta.is_condition_true(csr, "Failed"):
            return
        signer = fields.spec(csr)["signerName"]
        usages = fields.texts(fields.spec(csr), "usages")
        if signer not in {
            requests.KUBELET_CLIENT, requests.KUBELET_SERVING, requests.API_SERVER_CLIENT,
            requests.LEGACY_UNKNOWN,
        }:
            return
        request = requests.parse(csr)
        if signer == requests.KUBELET_CLIENT:
            problem = requests.kubelet_client_problem(request, usages)
        elif signer == requests.KUBELET_SERVING:
            problem = requests.kubelet_serving_problem(request, usages)
        elif signer == requests.API_SERVER_CLIENT:
            problem = requests.client_usages_problem(usages)
        else:
            problem = ""
        if problem:
            await self._refuse(csr, problem)
            return
        serial = self.kernel.rng.below(1 << 62, "certificate", meta.uid(csr)) + 1
        certificate = self._get_authority().sign(
            request, usages, self._ttl_of(csr), self.now_ns(), serial
        )
        try:
            await self._update(meta.with_status(csr, certificate=certificate))
        except RETRIABLE as error:
            raise SyncError(f"error updating signature for csr: {error}") from None

    async def _refuse(self, csr: Object, problem: str) -> None:
        failed = {
            "type": "Failed",
            "status": "True",
            "reason": "SignerValidationFailure",
            "message": problem,
            "lastUpdateTime": self.now(),
        }
        conditions = [*fields.conditions(csr), failed]
        try:
            await self._update(meta.with_status(csr, conditions=conditions))
        except RETRIABLE as error:
            raise SyncError(f"error adding failure condition for csr: {error}") from None

    async def _update(self, csr: Object) -> None:
        await self.client.update(CERTIFICATESIGNINGREQUESTS, "", csr, subresource="status")


CONTROLLER = CertificateSigningRequestSigningController
