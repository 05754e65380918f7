"""The root CA publisher: every namespace has the ConfigMap by which pods trust the API server.

The certificate comes from the setting `root-ca-file`, as PEM text.

Follows `pkg/controller/certificates/rootcacertpublisher/publisher.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.client_go.resources import CONFIGMAPS, NAMESPACES
from pytest_kubesim.controller_manager import fields, root_ca
from pytest_kubesim.controller_manager.controller import Controller, is_namespace_terminating

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

NAME = "kube-root-ca.crt"
DESCRIPTION_ANNOTATION = "kubernetes.io/description"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal "
    "endpoints such as the internal service IP or kubernetes.default.svc. No other usage is "
    "guaranteed across distributions of Kubernetes clusters."
)


class RootCACertificatePublisherController(Controller):
    """Keeps `kube-root-ca.crt`."""

    name = "root-ca-certificate-publisher-controller"
    service_account = "root-ca-cert-publisher"
    workers: ClassVar[int] = 1

    def setup(self) -> None:
        """Listen to namespaces, and to the ConfigMap where it changes or goes."""
        self.root_ca: str = self.context.setting("root-ca-file", root_ca.PLACEHOLDER)
        self.config_maps = self.watch(
            CONFIGMAPS, update=self._config_map_updated, delete=self._config_map_changed
        )
        self.watch(NAMESPACES, add=self.enqueue, update=self._namespace_updated)

    def _config_map_changed(self, config_map: Object) -> None:
        if meta.name(config_map) == NAME:
            self.queue.add(meta.namespace(config_map))

    def _config_map_updated(self, _old: Object, new: Object) -> None:
        self._config_map_changed(new)

    def _namespace_updated(self, _old: Object, new: Object) -> None:
        if fields.status(new).get("phase") == "Active":
            self.enqueue(new)

    async def reconcile(self, key: str) -> None:
        """Make the ConfigMap of one namespace what it should be."""
        found = self.config_maps.get_by_name(key, NAME)
        data = {"ca.crt": self.root_ca}
        if found is None:
            config_map = {
                "kind": "ConfigMap",
                "apiVersion": "v1",
                "metadata": {"name": NAME, "annotations": {DESCRIPTION_ANNOTATION: DESCRIPTION}},
                "data": data,
            }
            try:
                await self.client.create(CONFIGMAPS, key, config_map)
            except status.APIStatus as error:
                if not status.is_not_found(error) and not is_namespace_terminating(error):
                    raise
            return
        annotations = meta.annotations(found)
        if found.get("data") == data and annotations.get(DESCRIPTION_ANNOTATION):
            return
        new = meta.with_metadata(
            found, annotations={**annotations, DESCRIPTION_ANNOTATION: DESCRIPTION}
        )
        await self.client.update(CONFIGMAPS, key, {**new, "data": data})


CONTROLLER = RootCACertificatePublisherController
