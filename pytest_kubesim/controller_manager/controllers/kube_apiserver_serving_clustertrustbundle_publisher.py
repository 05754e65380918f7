"""The publisher of the serving CA: one ClusterTrustBundle by which the API server is trusted.

The law: its name holds a hash of its content; every other bundle of the same signer is deleted.
The certificate comes from the setting `root-ca-file`, as PEM text; without one nothing runs.

Follows `pkg/controller/certificates/clustertrustbundlepublisher/publisher.go`.
"""

from __future__ import annotations

import hashlib

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.client_go.resources import CLUSTERTRUSTBUNDLES
from pytest_kubesim.controller_manager import fields, root_ca
from pytest_kubesim.controller_manager.controller import Controller

SIGNER = "kubernetes.io/kube-apiserver-serving"
_KEY = "bundle"


class ClusterTrustBundlePublisherController(Controller):
    """Keeps the bundle of the API server's signer."""

    name = "kube-apiserver-serving-clustertrustbundle-publisher-controller"
    service_account = "kube-apiserver-serving-clustertrustbundle-publisher"

    def setup(self) -> None:
        """Listen to the signer's bundles."""
        self.bundle: str = self.context.setting("root-ca-file", root_ca.PLACEHOLDER)
        self.bundle_name = _name_of(self.bundle)
        self.bundles = self.watch(
            CLUSTERTRUSTBUNDLES,
            add=self._changed,
            update=lambda _old, new: self._changed(new),
            delete=self._changed,
        )
        if self.bundle:
            self.queue.add(_KEY)

    def _changed(self, bundle: meta.Object) -> None:
        if self.bundle and fields.spec(bundle).get("signerName") == SIGNER:
            self.queue.add(_KEY)

    async def reconcile(self, key: str) -> None:
        """Make the bundle what it should be, and the only one."""
        del key
        found = self.bundles.get(self.bundle_name)
        spec = {"signerName": SIGNER, "trustBundle": self.bundle}
        if found is None:
            made = {
                "kind": "ClusterTrustBundle",
                "apiVersion": CLUSTERTRUSTBUNDLES.api_version,
                "metadata": {"name": self.bundle_name},
                "spec": spec,
            }
            await self.client.create(CLUSTERTRUSTBUNDLES, "", made)
        elif fields.spec(found).get("trustBundle") != self.bundle:
            new = {**found, "spec": {**fields.spec(found), "trustBundle": self.bundle}}
            await self.client.update(CLUSTERTRUSTBUNDLES, "", new)
        refused: status.APIStatus | None = None
        for other in self.bundles.list():
            name = meta.name(other)
            if name == self.bundle_name or fields.spec(other).get("signerName") != SIGNER:
                continue
            try:
                await self.client.delete(CLUSTERTRUSTBUNDLES, "", name)
            except status.APIStatus as error:
                if not status.is_not_found(error):
                    refused = error
        if refused is not None:
            raise refused


def _name_of(bundle: str) -> str:
    digest = hashlib.sha256(bundle.encode()).hexdigest()[:24]
    return f"{SIGNER.replace('/', ':')}:{digest}"


CONTROLLER = ClusterTrustBundlePublisherController
