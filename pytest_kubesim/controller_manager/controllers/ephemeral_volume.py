"""The ephemeral volume controller: pods get the claims that their volumes describe.

Follows `pkg/controller/volume/ephemeral/controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.client_go.resources import PERSISTENTVOLUMECLAIMS, PODS
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.controller_manager import fields, pod_claims
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller, SyncError

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

_POD = meta.GroupVersionKind("", "v1", "Pod")


class EphemeralVolumeController(Controller):
    """Makes claims for pods."""

    name = "ephemeral-volume-controller"
    service_account = "ephemeral-volume-controller"
    component = "ephemeral_volume"
    workers: ClassVar[int] = 5
    workers_flag = "concurrent-ephemeralvolume-syncs"

    def setup(self) -> None:
        """Listen to pods, and to claims that go."""
        self.pods = self.watch(PODS, add=self._pod)
        pod_claims.add_claim_index(self.pods)
        self.claims = self.watch(PERSISTENTVOLUMECLAIMS, delete=self._claim_deleted)

    def _pod(self, pod: Object) -> None:
        if not meta.deletion_timestamp(pod) and any(
            volume.get("ephemeral") is not None for volume in pod_claims.volumes(pod)
        ):
            self.enqueue(pod)

    def _claim_deleted(self, claim: Object) -> None:
        for pod in self.pods.by_index(pod_claims.CLAIM_INDEX, key_of(claim)):
            self._pod(pod)

    async def reconcile(self, key: str) -> None:
        """Make the claims of one pod."""
        pod = self.pods.get(key)
        if pod is None or meta.deletion_timestamp(pod):
            return
        for volume in pod_claims.volumes(pod):
            if volume.get("ephemeral") is None:
                continue
            try:
                await self._make(pod, volume)
            except RETRIABLE as error:
                about = f"ephemeral volume {volume['name']}: {error}"
                self.event(pod, "Warning", "FailedBinding", about)
                raise SyncError(f"pod {key}, {about}") from None

    async def _make(self, pod: Object, volume: Object) -> None:
        namespace, name = meta.namespace(pod), pod_claims.ephemeral_claim_name(pod, volume)
        claim = self.claims.get_by_name(namespace, name)
        if claim is not None:
            problem = pod_claims.why_not_made_for(pod, claim)
            if problem:
                raise SyncError(problem)
            return
        template = fields.mapping(volume["ephemeral"], "volumeClaimTemplate")
        given = fields.mapping(template, "metadata")
        metadata = {
            "name": name,
            "annotations": given.get("annotations"),
            "labels": given.get("labels"),
            "ownerReferences": [meta.new_controller_ref(pod, _POD)],
        }
        body = {
            "kind": "PersistentVolumeClaim",
            "apiVersion": "v1",
            "metadata": {key: value for key, value in metadata.items() if value},
            "spec": fields.spec(template),
        }
        try:
            await self.client.create(PERSISTENTVOLUMECLAIMS, namespace, body)
        except RETRIABLE as error:
            raise SyncError(f"create PVC {name}: {error}") from None


CONTROLLER = EphemeralVolumeController
