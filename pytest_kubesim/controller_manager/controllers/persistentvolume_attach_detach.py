"""The attach/detach controller: volumes are attached to the nodes whose pods need them.

The law: a volume of a CSI driver that wants it (its CSIDriver object does not deny it) gets a
VolumeAttachment for every node on which a pod that has not ended uses it, where the node's kubelet
leaves that to the controller; one that only a single node may have waits until it is detached
elsewhere.  It is detached when no pod needs it there and
the node's `volumesInUse` no longer names it, or the node has been ill for six minutes, or is out of
service.  What is attached is told in the node's `volumesAttached`.

Attaching itself is the driver's affair: its attacher writes `status.attached`.  It is waited for,
two minutes each time, before anything else is done about a volume on a node.

Follows `pkg/controller/volume/attachdetach` and `pkg/volume/csi/csi_attacher.go`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.client_go.resources import (
    CSIDRIVERS,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    VOLUMEATTACHMENTS,
)
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.controller_manager import fields, pod_claims, pods
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller, Result
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

MAX_WAIT_FOR_UNMOUNT_NS = 360 * NS
POPULATE_NS = 180 * NS
ATTACH_TIMEOUT_NS = 120 * NS
MANAGED = "volumes.kubernetes.io/controller-managed-attach-detach"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"

ATTACHED, FAILED = "SuccessfulAttachVolume", "FailedAttachVolume"
EXCLUSIVE = (
    "Volume is already exclusively attached to one node, waiting on detach before it can be "
    "attached to another node"
)
_SHARED = {"ReadOnlyMany", "ReadWriteMany"}


class _Attaching(NamedTuple):
    """Attaching that goes on: since when, and for which pods it was begun."""

    since_ns: int
    users: list[Object]


class PersistentVolumeAttachDetachController(Controller):
    """Attaches volumes."""

    name = "persistentvolume-attach-detach-controller"
    service_account = "attachdetach-controller"
    component = "attachdetach-controller"
    base_delay_ns = 500_000_000

    def setup(self) -> None:
        """Listen to pods, claims, volumes and attachments."""
        self.told: dict[str, str] = {}
        """What was last said of a key, so that it is said once."""
        self.unwanted_since: dict[str, int] = {}
        self.attaching: dict[str, _Attaching] = {}
        self.reported: dict[str, list[Object]] = {}
        """What nodes were last told, by uid: what is read of them may be older."""
        self.drivers = self.informer(CSIDRIVERS).store
        self.claims = self.watch(PERSISTENTVOLUMECLAIMS, update=self._claim_updated)
        self.volumes = self.informer(PERSISTENTVOLUMES).store
        self.nodes = self.watch(NODES, update=self._node_updated, delete=self._node_deleted)
        self.pods = self.watch(PODS, add=self._pod, update=self._pod_updated, delete=self._pod)
        pods.add_node_index(self.pods)
        pod_claims.add_claim_index(self.pods)
        self.attachments = self.watch(
            VOLUMEATTACHMENTS, add=self._attachment, update=self._attachment_updated,
            delete=self._attachment_deleted,
        )
        self.attachments.add_indexer("volume", lambda obj: (_volume_of(obj),))
        self.attachments.add_indexer("node", lambda obj: (obj["spec"]["nodeName"],))

    # -- handlers -----------------------------------------------------------------------------

    def _pod(self, pod: Object, delay_ns: int = 0) -> None:
        node = fields.text(fields.spec(pod), "nodeName")
        if node:
            for key in pod_claims.claim_keys(pod):
                claim = self.claims.get(key)
                if claim is not None:
                    self._enqueue(node, fields.text(fields.spec(claim), "volumeName"), delay_ns)

    def _pod_updated(self, _old: Object, pod: Object) -> None:
        self._pod(pod)

    def _claim_updated(self, old: Object, claim: Object) -> None:
        if fields.status(old).get("phase") != fields.status(claim).get("phase"):
            for pod in self.pods.by_index(pod_claims.CLAIM_INDEX, key_of(claim)):
                self._pod(pod)

    def _node_updated(self, old: Object, node: Object) -> None:
        if _is_managed(node) and not _is_managed(old):
            # Its pods are looked for only now and then.
            for pod in self.pods.by_index(pods.NODE_INDEX, meta.name(node)):
                self._pod(pod, POPULATE_NS)
        for attachment in self.attachments.by_index("node", meta.name(node)):
            self._attachment(attachment)

    def _node_deleted(self, node: Object) -> None:
        self.reported.pop(meta.uid(node), None)

    def _attachment(self, attachment: Object) -> None:
        self._enqueue(attachment["spec"]["nodeName"], _volume_of(attachment))

    def _attachment_updated(self, _old: Object, attachment: Object) -> None:
        self._attachment(attachment)

    def _attachment_deleted(self, attachment: Object) -> None:
        """Others may wait for the volume."""
        self._attachment(attachment)
        volume = self.volumes.get(_volume_of(attachment))
        reference = None if volume is None else fields.spec(volume).get("claimRef")
        if reference is not None:
            key = f"{reference['namespace']}/{reference['name']}"
            for pod in self.pods.by_index(pod_claims.CLAIM_INDEX, key):
                self._pod(pod)

    def _enqueue(self, node: str, volume: str, delay_ns: int = 0) -> None:
        if volume:
            self.queue.add_after(f"{node}|{volume}", delay_ns)

    # -- the sync -----------------------------------------------------------------------------

    async def reconcile(self, key: str) -> Result | None:
        """Attach one volume to one node, or detach it."""
        node, _, name = key.partition("|")
        volume = self.volumes.get(name)
        if volume is None or not self._must_attach(volume):
            return None
        attachment = self.attachments.get(_attachment_name(volume, node))
        users = self._users(volume, node)
        if attachment is None:
            self.attaching.pop(key, None)
            found = self.nodes.get(node)
            if users and found is not None and _is_managed(found):
                await self._attach(key, volume, node, users)
                self.unwanted_since.pop(key, None)
            return None
        left = await self._attached(key, volume, attachment, users)
        if users or left is not None:
            return left
        self.told.pop(key, None)
        return await self._detach(key, volume, attachment)

    def _must_attach(self, volume: Object) -> bool:
        source = fields.mapping(fields.spec(volume), "csi")
        if not source:
            return False
        driver = self.drivers.get(source["driver"])
        return driver is None or fields.spec(driver).get("attachRequired") is not False

    def _users(self, volume: Object, node: str = "") -> list[Object]:
        """The pods that use a volume on a node (or on any) and have not ended."""
        reference = fields.spec(volume).get("claimRef")
        if reference is None:
            return []
        key = f"{reference['namespace']}/{reference['name']}"
        return [
            pod
            for pod in self.pods.by_index(pod_claims.CLAIM_INDEX, key)
            if fields.spec(pod).get("nodeName")
            and (not node or fields.spec(pod)["nodeName"] == node)
            and not pod_claims.is_terminated(pod)
        ]

    async def _attach(self, key: str, volume: Object, node: str, users: list[Object]) -> None:
        name = meta.name(volume)
        elsewhere = [
            other["spec"]["nodeName"]
            for other in self.attachments.by_index("volume", name)
            if other["spec"]["nodeName"] != node
        ]
        if elsewhere and not _SHARED.intersection(fields.texts(fields.spec(volume), "accessModes")):
            holders = [p for p in self._users(volume) if fields.spec(p)["nodeName"] in elsewhere]
            shown = ", ".join(meta.name(pod) for pod in holders)
            why = f"Volume is already used by pod(s) {shown}" if holders else EXCLUSIVE
            message = f"Waiting for detach for volume {quote(name)} {why}"
            self._tell(key, users, "Warning", FAILED, message)
            return
        body = {
            "kind": "VolumeAttachment",
            "apiVersion": "storage.k8s.io/v1",
            "metadata": {"name": _attachment_name(volume, node)},
            "spec": {
                "attacher": fields.spec(volume)["csi"]["driver"],
                "nodeName": node,
                "source": {"persistentVolumeName": name},
            },
        }
        self.attaching[key] = _Attaching(self.kernel.now_ns, users)
        try:
            await self.client.create(VOLUMEATTACHMENTS, "", body)
        except status.APIStatus as error:
            if not status.is_already_exists(error):
                raise

    async def _attached(
        self, key: str, volume: Object, attachment: Object, users: list[Object]
    ) -> Result | None:
        """What has become of attaching, and when to look again while it goes on.

        Its pods may have ended meanwhile: it goes on all the same, for two minutes.
        """
        if users:
            self.unwanted_since.pop(key, None)
        begun = self.attaching.get(key)
        # Those that came later are not told.
        about = [] if begun is None else begun.users
        if not meta.deletion_timestamp(attachment):
            await self._follow(key, volume, attachment, about)
        state = fields.status(attachment)
        now_ns = self.kernel.now_ns
        if begun is None or state.get("attached") or state.get("attachError"):
            self.attaching.pop(key, None)
            if users and begun is not None and not state.get("attached"):
                self.attaching[key] = _Attaching(now_ns, users)
            return None
        left_ns = begun.since_ns + ATTACH_TIMEOUT_NS - now_ns
        if left_ns <= 0:
            source = fields.spec(volume)["csi"]
            self.told.pop(key, None)
            self._tell(
                key, about, "Warning", FAILED,
                f"AttachVolume.Attach failed for volume {quote(meta.name(volume))} : timed out "
                f"waiting for external-attacher of {source['driver']} CSI driver to attach volume "
                f"{source['volumeHandle']}",
            )
            if not users:
                self.attaching.pop(key)
                return None
            self.attaching[key] = _Attaching(now_ns, users)
            left_ns = ATTACH_TIMEOUT_NS
        return Result(left_ns, periodic=True)

    async def _follow(
        self, key: str, volume: Object, attachment: Object, users: list[Object]
    ) -> None:
        """Tell pods and the node what has become of an attachment."""
        state, name = fields.status(attachment), quote(meta.name(volume))
        failure = fields.text(fields.mapping(state, "attachError"), "message")
        if state.get("attached"):
            self._tell(
                key, users, "Normal", ATTACHED,
                f"AttachVolume.Attach succeeded for volume {name} ",
            )
            await self._report(attachment["spec"]["nodeName"], volume, attached=True)
        elif failure:
            self._tell(
                key, users, "Warning", FAILED,
                f"AttachVolume.Attach failed for volume {name} : {failure}",
            )

    def _tell(
        self, key: str, users: list[Object], type_: str, reason: str, message: str
    ) -> None:
        if self.told.get(key) != message:
            self.told[key] = message
            for pod in users:
                self.event(pod, type_, reason, message)

    async def _detach(self, key: str, volume: Object, attachment: Object) -> Result | None:
        if meta.deletion_timestamp(attachment):
            return None
        name = attachment["spec"]["nodeName"]
        node = self.nodes.get(name)
        now_ns = self.kernel.now_ns
        since_ns = self.unwanted_since.setdefault(key, now_ns)
        if node is not None and _unique_name(volume) in fields.texts(
            fields.status(node), "volumesInUse"
        ):
            out_of_service = any(
                taint["key"] == OUT_OF_SERVICE
                for taint in fields.objects(fields.spec(node), "taints")
            )
            left_ns = since_ns + MAX_WAIT_FOR_UNMOUNT_NS - now_ns
            if not out_of_service:
                if meta.is_condition_true(node, "Ready"):
                    return None
                if left_ns > 0:
                    return Result(left_ns)
        await self._report(name, volume, attached=False)
        self.unwanted_since.pop(key, None)
        try:
            await self.client.delete(VOLUMEATTACHMENTS, "", meta.name(attachment))
        except status.APIStatus as error:
            if not status.is_not_found(error):
                raise
        return None

    async def _report(self, name: str, volume: Object, *, attached: bool) -> None:
        """Bring a node's `volumesAttached` up to date."""
        node = self.nodes.get(name)
        if node is None:
            return
        unique = _unique_name(volume)
        uid = meta.uid(node)
        known = self.reported.get(uid)
        if known is None:
            known = fields.objects(fields.status(node), "volumesAttached")
        others = [entry for entry in known if entry["name"] != unique]
        if (len(others) < len(known)) == attached:
            return
        new = [*others, {"name": unique, "devicePath": ""}] if attached else others
        self.reported[uid] = new
        patch = {"status": {"volumesAttached": new or None}}
        try:
            await self.client.patch(NODES, "", name, patch, subresource="status")
        except RETRIABLE:
            self.reported.pop(uid, None)
            raise


def _is_managed(node: Object) -> bool:
    """Whether its kubelet leaves attaching to this controller."""
    return MANAGED in meta.annotations(node)


def _volume_of(attachment: Object) -> str:
    return fields.text(fields.mapping(attachment["spec"], "source"), "persistentVolumeName")


def _unique_name(volume: Object) -> str:
    source = fields.spec(volume)["csi"]
    return f"kubernetes.io/csi/{source['driver']}^{source['volumeHandle']}"


def _attachment_name(volume: Object, node: str) -> str:
    source = fields.spec(volume)["csi"]
    text = f"{source['volumeHandle']}{source['driver']}{node}"
    return f"csi-{hashlib.sha256(text.encode()).hexdigest()}"


CONTROLLER = PersistentVolumeAttachDetachController
