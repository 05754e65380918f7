"""NodeDeclaredFeatures: a pod that needs a young feature goes where the kubelet declares it.

Follows `pkg/scheduler/framework/plugins/nodedeclaredfeatures/nodedeclaredfeatures.go` and
`component-helpers/nodedeclaredfeatures/features` (`InferForScheduling`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.node_selection import NOTHING

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.scheduler.framework import ClusterEventWithHint, CycleState, Status
    from pytest_kubesim.scheduler.node_info import NodeInfo
    from pytest_kubesim.scheduler.pod_info import PodInfo

REASON = "node(s) didn't match Pod's required features"
RESTART_ALL = "RestartAllContainersOnContainerExits"
USER_NAMESPACE_ON_HOST = "UserNamespacesHostNetworkSupport"
BIND_MOUNT_OPTIONS = "VolumeBindMountOptions"
_REJECTED = fwk.unresolvable(REASON)
_STATE = "NodeDeclaredFeatures"
_NONE: frozenset[str] = frozenset()


class NodeDeclaredFeatures:
    """The plugin."""

    name = "NodeDeclaredFeatures"

    def pre_filter(
        self, state: CycleState, pod: PodInfo, nodes: Sequence[NodeInfo]
    ) -> tuple[set[str] | None, Status | None]:
        """Skip a pod that any kubelet can run."""
        required = required_features(pod.spec)
        if not required:
            return None, fwk.SKIPPED
        state.data[_STATE] = required
        return None, None

    def filter(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """Reject a node that lacks one."""
        required: frozenset[str] = state.data[_STATE]
        return None if required.issubset(_declared(node.node)) else _REJECTED

    def events(self) -> list[ClusterEventWithHint]:
        """A node comes or declares something else; the pod needs something else."""
        return [
            fwk.on(fwk.NODE, fwk.ADD | fwk.UPDATE_NODE_DECLARED_FEATURE, self._node_helps),
            fwk.on(fwk.TARGET_POD, fwk.UPDATE, self._pod_helps),
        ]

    @staticmethod
    def _node_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del pod
        return old is None or _declared(old) != _declared(new)

    @staticmethod
    def _pod_helps(pod: PodInfo, old: Object | None, new: Object | None) -> bool:
        del pod
        if old is None or new is None:
            return True
        return required_features(old["spec"]) != required_features(new["spec"])


def _declared(node: Object | None) -> list[str]:
    return ((node or NOTHING).get("status") or NOTHING).get("declaredFeatures") or []


def required_features(spec: Object) -> frozenset[str]:
    """The features that a kubelet must declare to run pods of this spec."""
    found: set[str] = set()
    if spec.get("hostNetwork") and spec.get("hostUsers") is False:
        found.add(USER_NAMESPACE_ON_HOST)
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        containers: list[dict[str, Any]] = spec.get(kind) or []
        for container in containers:
            rules: list[Object] = container.get("restartPolicyRules") or []
            if kind != "ephemeralContainers" and any(
                rule.get("action") == "RestartAllContainers" for rule in rules
            ):
                found.add(RESTART_ALL)
            mounts: list[Object] = container.get("volumeMounts") or []
            if any(mount.get("bindMountOptions") for mount in mounts):
                found.add(BIND_MOUNT_OPTIONS)
    return frozenset(found) if found else _NONE
