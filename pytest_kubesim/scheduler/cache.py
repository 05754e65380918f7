"""The scheduler's picture of the nodes and of the pods on them, with what it assumes itself.

The law: a pod that was assumed stays on its node until the informer confirms or contradicts it, or
until the binding fails (`forget`).  A scheduling cycle never awaits, so the picture is its own
snapshot; what changed is written to a log, so that whoever computed something about the nodes has
to look only at those that changed since (`changed_since`).

Follows `pkg/scheduler/backend/cache/{cache,snapshot}.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.scheduler.node_info import NodeInfo
from pytest_kubesim.scheduler.node_selection import NOTHING
from pytest_kubesim.scheduler.node_tree import NodeTree, zone_key
from pytest_kubesim.scheduler.pod_info import PodInfo

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

_LOG_LIMIT = 8192

Change = tuple[NodeInfo, PodInfo | None, int]
"""A node that changed, and the pod that came (1) or went (-1), if that was it."""


class Cache:
    """Nodes and pods, assumed ones included."""

    def __init__(self) -> None:
        self.layout = 0
        """Grows when the order of the nodes, or a node's labels or taints, changed."""
        self.images_version = 0
        """Grows when a node's list of images changed."""
        self.image_nodes: dict[str, dict[str, None]] = {}
        """The names of the nodes that have an image, by its name."""
        self.image_sizes: dict[str, int] = {}
        """The size of an image in bytes, as the first of the nodes that have it said."""
        self.with_affinity: dict[str, NodeInfo] = {}
        """The nodes on which pods with inter-pod affinity are."""
        self.with_anti_affinity: dict[str, NodeInfo] = {}
        """The nodes on which pods with required anti-affinity are."""
        self.claim_users: dict[str, int] = {}
        """How many pods on nodes use a claim (`namespace/name`)."""
        self._infos: dict[str, NodeInfo] = {}
        self._tree = NodeTree()
        self._order: list[NodeInfo] | None = []
        self._pods: dict[str, PodInfo] = {}
        self._assumed: set[str] = set()
        self._log: list[Change] = []
        self._log_start = 0
        self._columns: dict[str, tuple[list[str | None], bool]] = {}
        self._columns_layout = -1

    # -- reading ------------------------------------------------------------------------------

    @property
    def nodes(self) -> list[NodeInfo]:
        """The nodes in the order in which they are looked at; not to be changed."""
        order = self._order
        if order is None:
            order = self._order = [self._infos[name] for name in self._tree.list()]
            for index, info in enumerate(order):
                info.index = index
        return order

    def label_column(self, key: str) -> tuple[list[str | None], bool]:
        """The nodes' values of a label, in the order of the nodes, and whether all have it."""
        nodes = self.nodes
        if self._columns_layout != self.layout:
            self._columns_layout = self.layout
            self._columns.clear()
        found = self._columns.get(key)
        if found is None:
            values = [node.labels.get(key) for node in nodes]
            found = self._columns[key] = values, None not in values
        return found

    @property
    def position(self) -> int:
        """Where the log of changes ends."""
        return self._log_start + len(self._log)

    def changed_since(self, position: int) -> list[Change] | None:
        """What changed since `position`, in order; None when that is too long ago to tell."""
        start = position - self._log_start
        return None if start < 0 else self._log[start:]

    def get(self, node_name: str) -> NodeInfo | None:
        """The node of that name."""
        info = self._infos.get(node_name)
        return info if info is not None and info.node is not None else None

    def pod(self, uid: str) -> PodInfo | None:
        """The pod of that uid, if it is on a node."""
        return self._pods.get(uid)

    def is_assumed(self, uid: str) -> bool:
        """Whether that pod is on its node only by assumption."""
        return uid in self._assumed

    # -- pods ---------------------------------------------------------------------------------

    def assume(self, pod: PodInfo) -> None:
        """`pod` is to be on its `node_name` from now on."""
        assert pod.uid not in self._pods, f"pod {pod.key} is in the cache, so can't be assumed"
        self._put(pod)
        self._assumed.add(pod.uid)

    def forget(self, uid: str) -> PodInfo | None:
        """The assumption was wrong; gives the pod, None if it was not assumed (any more)."""
        if uid not in self._assumed:
            return None
        return self._drop(uid)

    def add_pod(self, pod: Object) -> None:
        """The informer says that `pod` is on a node."""
        info = self._pods.get(pod["metadata"].get("uid", ""))
        if info is not None:
            self._assumed.discard(info.uid)
            self._replace(info, pod)
        else:
            self._put(PodInfo(pod))

    def update_pod(self, pod: Object) -> None:
        """The informer has a newer object of a pod on a node."""
        info = self._pods.get(pod["metadata"].get("uid", ""))
        if info is None:
            self._put(PodInfo(pod))
        else:
            self._replace(info, pod)

    def remove_pod(self, uid: str) -> PodInfo | None:
        """The informer says that the pod of that uid is gone."""
        return self._drop(uid)

    def _replace(self, info: PodInfo, pod: Object) -> None:
        if pod["spec"].get("nodeName") != info.node_name or not self._renew(info, pod):
            self._drop(info.uid)
            self._put(PodInfo(pod))

    @staticmethod
    def _renew(info: PodInfo, pod: Object) -> bool:
        return info.renew(pod)

    def _put(self, pod: PodInfo) -> None:
        info = self._infos.get(pod.node_name)
        if info is None:
            info = self._infos[pod.node_name] = NodeInfo(pod.node_name)
        info.add_pod(pod)
        self._pods[pod.uid] = pod
        if pod.has_affinity:
            self.with_affinity[info.name] = info
            if pod.anti_affinity_terms:
                self.with_anti_affinity[info.name] = info
        for claim in pod.claims:
            self.claim_users[claim] = self.claim_users.get(claim, 0) + 1
        self._changed(info, pod, 1)

    def _drop(self, uid: str) -> PodInfo | None:
        self._assumed.discard(uid)
        pod = self._pods.pop(uid, None)
        if pod is None:
            return None
        info = self._infos[pod.node_name]
        info.remove_pod(uid)
        if not info.pods_with_affinity:
            self.with_affinity.pop(info.name, None)
        if not info.pods_with_anti_affinity:
            self.with_anti_affinity.pop(info.name, None)
        for claim in pod.claims:
            left = self.claim_users.get(claim, 0) - 1
            if left > 0:
                self.claim_users[claim] = left
            else:
                self.claim_users.pop(claim, None)
        if info.node is None and not info.pods:
            del self._infos[info.name]
        self._changed(info, pod, -1)
        return pod

    # -- nodes --------------------------------------------------------------------------------

    def add_node(self, node: Object) -> None:
        """A node is there (or was made anew under its old name)."""
        name = node["metadata"]["name"]
        info = self._infos.get(name)
        if info is None:
            info = self._infos[name] = NodeInfo(name)
        elif info.node is not None:
            self.update_node(node)
            return
        info.set_node(node)
        self._tree.add(zone_key(info.labels), name)
        self._order = None
        self.layout += 1
        self._note_images(info, {})
        self._changed(info)

    def update_node(self, node: Object) -> None:
        """A node's object changed."""
        name = node["metadata"]["name"]
        info = self._infos.get(name)
        if info is None or info.node is None:
            self.add_node(node)
            return
        labels, images = info.labels, info.images
        old_spec, old_status = info.node.get("spec"), info.node.get("status") or NOTHING
        status = node.get("status") or NOTHING
        metadata = node["metadata"]
        if (
            node.get("spec") == old_spec
            and (metadata.get("labels") or NOTHING) == labels
            and status.get("allocatable") == old_status.get("allocatable")
            and status.get("images") == old_status.get("images")
            and status.get("declaredFeatures") == old_status.get("declaredFeatures")
        ):
            info.node = node
            return
        info.set_node(node)
        if info.labels != labels:
            old_zone, zone = zone_key(labels), zone_key(info.labels)
            if old_zone != zone:
                self._tree.remove(old_zone, name)
                self._tree.add(zone, name)
                self._order = None
            self.layout += 1
        if info.images != images:
            self._note_images(info, images)
        self._changed(info)

    def remove_node(self, name: str) -> None:
        """A node is gone; the pods on it stay until the informer says otherwise."""
        info = self._infos.get(name)
        if info is None or info.node is None:
            return
        self._tree.remove(zone_key(info.labels), name)
        images = info.images
        info.set_node(None)
        info.index = -1
        self._note_images(info, images)
        if not info.pods:
            del self._infos[name]
        self._order = None
        self.layout += 1
        self._changed(info)

    def _note_images(self, info: NodeInfo, old: dict[str, int]) -> None:
        if not old and not info.images:
            return
        # As upstream: what a node has is taken away and noted anew, so that the size is that of a
        # node that alone has the image, or else of the one that had it first.
        for image in old:
            nodes = self.image_nodes.get(image)
            if nodes is not None:
                nodes.pop(info.name, None)
                if not nodes:
                    del self.image_nodes[image], self.image_sizes[image]
        for image, size in info.images.items():
            self.image_sizes.setdefault(image, size)
            self.image_nodes.setdefault(image, {})[info.name] = None
        self.images_version += 1

    def _changed(self, info: NodeInfo, pod: PodInfo | None = None, delta: int = 0) -> None:
        self._log.append((info, pod, delta))
        if len(self._log) > _LOG_LIMIT:
            half = _LOG_LIMIT // 2
            del self._log[:half]
            self._log_start += half
