"""Static pods: what a node runs by manifests of its own, and the mirror pods that show them.

The law: a static pod lives and dies with its manifest, whatever the API server says; there it is
shown by a *mirror* pod of the same name, made anew when somebody deletes it, with the status of
the static pod.  Manifests lie on the node's disk: a kubelet that starts again finds them.

Follows `pkg/kubelet/config/{common,file}.go`, `pkg/kubelet/pod/mirror_client.go` and
`tryReconcileMirrorPods` of `pkg/kubelet/kubelet.go`.  Its UID is a hash of the manifest, though
not upstream's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.apimachinery.golang import json_text
from pytest_kubesim.client_go.resources import PODS
from pytest_kubesim.registry.pod_template import defaults
from pytest_kubesim.wire import ConnectionLost

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.host import Host
    from pytest_kubesim.kubelet.status_manager import StatusManager
    from pytest_kubesim.sim.kernel import Timer

CONFIG_HASH = "kubernetes.io/config.hash"
CONFIG_MIRROR = "kubernetes.io/config.mirror"
CONFIG_SOURCE = "kubernetes.io/config.source"
CONFIG_SEEN = "kubernetes.io/config.seen"
RETRY_NS = 10_000_000_000


class StaticPods:
    """The static pods of one start of a kubelet.

    Parameters: `host`; `manifests` by name, the folder on the node's disk; `node`, gives the Node;
    `statuses`; `take(pod)` and `remove(uid)`, which run and end a pod.
    """

    def __init__(
        self,
        host: Host,
        manifests: dict[str, Object],
        node: Callable[[], Object | None],
        statuses: StatusManager,
        take: Callable[[Object], object],
        remove: Callable[[str], object],
    ) -> None:
        self._host = host
        self._manifests = manifests
        self._node = node
        self._statuses = statuses
        self._take = take
        self._remove = remove
        self._pods: dict[str, Object] = {}
        self._mirrors: dict[str, Object] = {}
        self._busy: set[str] = set()
        self._retry: Timer | None = None
        self._looked = False

    # -- manifests ----------------------------------------------------------------------------

    def look(self) -> None:
        """Make what runs agree with the manifests (the folder is watched)."""
        wanted = {
            f"{meta.namespace(pod)}/{meta.name(pod)}": pod
            for pod in map(self._prepared, self._manifests.values())
        }
        for key, pod in list(self._pods.items()):
            if key not in wanted or meta.uid(wanted[key]) != meta.uid(pod):
                del self._pods[key]
                self._statuses.mirrors.pop(meta.uid(pod), None)
                self._remove(meta.uid(pod))
                self._reconcile(key)
        first, self._looked = not self._looked, True
        if first:
            # What mirrors there are from before is known only now to be without a pod.
            for key in list(self._mirrors):
                self._reconcile(key)
        for key, pod in wanted.items():
            if key not in self._pods:
                self._pods[key] = pod
                self._statuses.mirrors[meta.uid(pod)] = ""
                self._take(pod)
                known = self._mirrors.get(key)
                if known is not None:
                    self.shown(known)
                self._reconcile(key)

    def _prepared(self, manifest: Object) -> Object:
        host = self._host
        metadata: Object = manifest.get("metadata") or {}
        text = f"{json_text(manifest)}host:{host.node.name}"
        uid = hashlib.sha256(text.encode()).hexdigest()[:32]
        annotations: dict[str, str] = {
            **(metadata.get("annotations") or {}),
            CONFIG_HASH: uid,
            CONFIG_SEEN: host.now(),
            CONFIG_SOURCE: "file",
        }
        old: Object = manifest["spec"]
        bearing = {"operator": "Exists", "effect": "NoExecute"}
        spec = {
            **old,
            "nodeName": host.node.name,
            "tolerations": [*(old.get("tolerations") or ()), bearing],
        }
        pod = defaults.pod({**manifest, "spec": spec})
        return {
            **pod,
            "metadata": {
                **metadata,
                "name": f"{metadata['name']}-{host.node.name.lower()}",
                "namespace": metadata.get("namespace") or "default",
                "uid": uid,
                "annotations": annotations,
                "resourceVersion": "0",
            },
            "status": {"phase": "Pending"},
        }

    # -- mirrors ------------------------------------------------------------------------------

    def is_mirror(self, pod: Object) -> bool:
        """Whether a pod is but the picture of a static one."""
        return CONFIG_MIRROR in meta.annotations(pod)

    def shown(self, mirror: Object) -> None:
        """The API server shows a mirror pod like this."""
        key = meta.key_of(mirror)
        self._mirrors[key] = mirror
        pod = self._pods.get(key)
        if pod is not None and self._is_of(mirror, pod):
            uid = meta.uid(pod)
            fresh = self._statuses.mirrors.get(uid) != meta.uid(mirror)
            self._statuses.mirrors[uid] = meta.uid(mirror)
            # The status is the static pod's, under its own UID.
            picture = {**mirror["metadata"], "uid": uid}
            self._statuses.observe({**mirror, "metadata": picture})
            if fresh:
                self._statuses.send(uid)
        self._reconcile(key)

    def gone(self, mirror: Object) -> None:
        """A mirror pod has been deleted."""
        key = meta.key_of(mirror)
        self._mirrors.pop(key, None)
        self._reconcile(key)

    @staticmethod
    def _is_of(mirror: Object, pod: Object) -> bool:
        return not meta.deletion_timestamp(mirror) and (
            meta.annotations(mirror)[CONFIG_MIRROR] == meta.annotations(pod)[CONFIG_HASH]
        )

    def _reconcile(self, key: str) -> None:
        if self._looked and key not in self._busy:
            self._busy.add(key)
            self._host.process.spawn(self._work(key), name=f"mirror pod {key}")

    async def _work(self, key: str) -> None:
        """`tryReconcileMirrorPods`."""
        client = self._host.client
        try:
            mirror, pod = self._mirrors.get(key), self._pods.get(key)
            if mirror is not None and (pod is None or not self._is_of(mirror, pod)):
                namespace, name = meta.split_key(key)
                await client.delete(
                    PODS, namespace, name, grace_period_seconds=0, uid=meta.uid(mirror)
                )
                self._mirrors.pop(key, None)
                mirror = None
            node = self._node()
            if mirror is None and pod is not None and node is not None:
                await client.create(PODS, meta.namespace(pod), self._mirror_of(pod, node))
        except (status.APIStatus, ConnectionLost) as error:
            if not status.is_already_exists(error) and not status.is_not_found(error):
                self._later()
        finally:
            self._busy.discard(key)

    @staticmethod
    def _mirror_of(pod: Object, node: Object) -> Object:
        annotations = meta.annotations(pod)
        owner = {
            "apiVersion": "v1", "kind": "Node", "name": meta.name(node), "uid": meta.uid(node),
            "controller": True,
        }
        metadata = {
            key: value
            for key, value in pod["metadata"].items()
            if key not in ("uid", "resourceVersion")
        }
        mirrored = {**annotations, CONFIG_MIRROR: annotations[CONFIG_HASH]}
        return {
            **pod,
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**metadata, "annotations": mirrored, "ownerReferences": [owner]},
        }

    def _later(self) -> None:
        if self._retry is None:
            self._retry = self._host.process.call_later(
                RETRY_NS, self._again, periodic=True, label="kubelet: mirror pods"
            )

    def _again(self) -> None:
        self._retry = None
        for key in dict.fromkeys((*self._pods, *self._mirrors)):
            self._reconcile(key)
