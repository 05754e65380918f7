"""What plugins and the scheduler say to each other: statuses, cycle state, events, hooks.

The law: a plugin is any object with a `name` and the hooks it cares for; the scheduler asks which
hooks are there.  A hook gives None for success, so that the common answer costs nothing.  Between
the snapshot and the end of a scheduling cycle nothing awaits: what a plugin sees does not move.

Follows `k8s.io/kube-scheduler/framework/{interface,cycle_state,types}.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import attrs

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.events import EventRecorder
    from pytest_kubesim.client_go.informer import SharedInformerFactory
    from pytest_kubesim.client_go.rest import RESTClient
    from pytest_kubesim.scheduler.cache import Cache
    from pytest_kubesim.scheduler.node_info import NodeInfo
    from pytest_kubesim.scheduler.nominator import Nominator
    from pytest_kubesim.scheduler.pod_info import PodInfo
    from pytest_kubesim.sim.process import Process

MAX_NODE_SCORE = 100

SUCCESS = 0
ERROR = 1
UNSCHEDULABLE = 2
UNSCHEDULABLE_AND_UNRESOLVABLE = 3
WAIT = 4
SKIP = 5
PENDING = 6

_REJECTED = frozenset({UNSCHEDULABLE, UNSCHEDULABLE_AND_UNRESOLVABLE, PENDING})
CODE_NAMES = (
    "Success",
    "Error",
    "Unschedulable",
    "UnschedulableAndUnresolvable",
    "Wait",
    "Skip",
    "Pending",
)


@attrs.frozen(slots=True)
class Status:
    """What a plugin answers when the answer is not plain success (that is None)."""

    code: int
    reasons: tuple[str, ...] = ()
    plugin: str = ""
    fit_error: FitError | None = None

    @property
    def rejected(self) -> bool:
        """Whether it says that the pod cannot be scheduled, as opposed to a mishap."""
        return self.code in _REJECTED

    @property
    def message(self) -> str:
        """The reasons in one line."""
        return ", ".join(self.reasons)

    def by(self, plugin: str) -> Status:
        """The same, said by `plugin`."""
        return self if self.plugin else Status(self.code, self.reasons, plugin, self.fit_error)


SKIPPED = Status(SKIP)


def unschedulable(*reasons: str) -> Status:
    """Preempting other pods may help."""
    return Status(UNSCHEDULABLE, reasons)


def unresolvable(*reasons: str) -> Status:
    """Preempting other pods cannot help."""
    return Status(UNSCHEDULABLE_AND_UNRESOLVABLE, reasons)


def error(*reasons: str) -> Status:
    """A mishap: it is tried again after a back-off."""
    return Status(ERROR, reasons)


class CycleState:
    """What plugins remember from one hook to the next within one pod's attempt."""

    __slots__ = ("data", "skip_filter", "skip_pre_bind", "skip_score")

    def __init__(self, data: dict[str, Any] | None = None) -> None:
        self.data: dict[str, Any] = {} if data is None else data
        self.skip_filter: set[str] = set()
        self.skip_score: set[str] = set()
        self.skip_pre_bind: set[str] = set()

    def clone(self) -> CycleState:
        """A copy for "what if": values with a `clone` method are cloned, others are shared."""
        copy = CycleState({
            key: value.clone() if hasattr(value, "clone") else value
            for key, value in self.data.items()
        })
        copy.skip_filter = self.skip_filter
        copy.skip_score = self.skip_score
        return copy


# -- cluster events --------------------------------------------------------------------------------

ADD = 1
DELETE = 1 << 1
UPDATE_NODE_ALLOCATABLE = 1 << 2
UPDATE_NODE_LABEL = 1 << 3
UPDATE_NODE_TAINT = 1 << 4
UPDATE_NODE_CONDITION = 1 << 5
UPDATE_NODE_ANNOTATION = 1 << 6
UPDATE_NODE_DECLARED_FEATURE = 1 << 7
UPDATE_POD_LABEL = 1 << 8
UPDATE_POD_SCALE_DOWN = 1 << 9
UPDATE_POD_TOLERATION = 1 << 10
UPDATE_POD_SCHEDULING_GATES_ELIMINATED = 1 << 11
UPDATE_POD_GENERATED_RESOURCE_CLAIM = 1 << 12
UPDATE_POD_SCALE_UP = 1 << 13
UPDATE_OTHER = 1 << 14
UPDATE = sum(1 << bit for bit in range(2, 15))
ALL = ADD | DELETE | UPDATE

WILD_CARD = "*"
POD = "Pod"
"""Any pod: assigned, unscheduled, or the target itself."""
ASSIGNED_POD = "AssignedPod"
UNSCHEDULED_POD = "UnscheduledPod"
TARGET_POD = "TargetPod"
NODE = "Node"
PERSISTENT_VOLUME = "PersistentVolume"
PERSISTENT_VOLUME_CLAIM = "PersistentVolumeClaim"
STORAGE_CLASS = "storage.k8s.io/StorageClass"
CSI_NODE = "storage.k8s.io/CSINode"
CSI_DRIVER = "storage.k8s.io/CSIDriver"
CSI_STORAGE_CAPACITY = "storage.k8s.io/CSIStorageCapacity"
VOLUME_ATTACHMENT = "storage.k8s.io/VolumeAttachment"
RESOURCE_CLAIM = "resource.k8s.io/ResourceClaim"
RESOURCE_SLICE = "resource.k8s.io/ResourceSlice"
DEVICE_CLASS = "resource.k8s.io/DeviceClass"


_PODS = frozenset({ASSIGNED_POD, UNSCHEDULED_POD, TARGET_POD})


@attrs.frozen(slots=True)
class ClusterEvent:
    """A change in the cluster that may make a pod schedulable."""

    resource: str
    action: int

    @property
    def wild(self) -> bool:
        """Whether it concerns every plugin."""
        return self.resource == WILD_CARD and self.action == ALL

    def covers(self, incoming: ClusterEvent) -> bool:
        """Whether a plugin that registered this wants to hear of `incoming`.

        A plain "update" is for those who registered all updates: had it been any of the special
        ones, it would have come as that.
        """
        return (
            (
                self.resource in {WILD_CARD, incoming.resource}
                or (self.resource == POD and incoming.resource in _PODS)
            )
            and self.action & incoming.action != 0
            and incoming.action <= self.action
        )


HintFn: TypeAlias = "Callable[[PodInfo, Object | None, Object | None], bool]"


@attrs.frozen(slots=True)
class ClusterEventWithHint:
    """What a plugin registers: an event, and a function that says whether it helps a pod.

    `hint(pod, old, new)`: True to try the pod again; no hint means always.
    """

    event: ClusterEvent
    hint: HintFn | None = None


def on(resource: str, action: int, hint: HintFn | None = None) -> ClusterEventWithHint:
    """A registration, shorter."""
    return ClusterEventWithHint(ClusterEvent(resource, action), hint)


# -- why a pod does not fit ------------------------------------------------------------------------


class NodeToStatus:
    """Why each node does not do, with one status for all that were not looked at."""

    __slots__ = ("absent", "statuses")

    def __init__(self, absent: Status | None = None) -> None:
        self.statuses: dict[str, Status] = {}
        self.absent = absent or Status(UNSCHEDULABLE_AND_UNRESOLVABLE)

    def get(self, node_name: str) -> Status:
        """The status of that node."""
        return self.statuses.get(node_name, self.absent)


@attrs.define(slots=True)
class Diagnosis:
    """What came out of a failed attempt."""

    node_to_status: NodeToStatus = attrs.field(factory=NodeToStatus)
    unschedulable_plugins: set[str] = attrs.field(factory=set[str])
    pending_plugins: set[str] = attrs.field(factory=set[str])
    pre_filter_message: str = ""
    post_filter_message: str = ""

    def add(self, status: Status) -> None:
        """Remember which plugin rejected the pod."""
        if status.plugin:
            if status.rejected:
                self.unschedulable_plugins.add(status.plugin)
            if status.code == PENDING:
                self.pending_plugins.add(status.plugin)


@attrs.frozen(slots=True)
class FitError:
    """A pod fits nowhere."""

    num_all_nodes: int
    diagnosis: Diagnosis

    def message(self) -> str:
        """`0/3 nodes are available: 1 Insufficient cpu, ... preemption: ...`."""
        text = f"0/{self.num_all_nodes} nodes are available:"
        diagnosis = self.diagnosis
        if diagnosis.pre_filter_message:
            text += f" {diagnosis.pre_filter_message}."
        else:
            reasons = self._histogram()
            if reasons:
                text += f" {', '.join(reasons)}."
        if diagnosis.post_filter_message:
            text += f" {diagnosis.post_filter_message}"
        return text

    def _histogram(self) -> list[str]:
        counts: dict[str, int] = {}
        nodes = self.diagnosis.node_to_status
        for status in nodes.statuses.values():
            for reason in status.reasons:
                counts[reason] = counts.get(reason, 0) + 1
        absent = self.num_all_nodes - len(nodes.statuses)
        if absent > 0:
            for reason in nodes.absent.reasons:
                counts[reason] = counts.get(reason, 0) + absent
        return sorted(f"{count} {reason}" for reason, count in counts.items())


@attrs.frozen(slots=True)
class NominatingInfo:
    """Which node a pod is promised from now on ("" takes the promise back)."""

    node_name: str


CLEAR_NOMINATION = NominatingInfo("")


# -- plugins ---------------------------------------------------------------------------------------


class Plugin(Protocol):
    """A plugin: a name, and any of the hooks below (looked up by name, all optional).

    ===================== ==========================================================================
    `attach(handle)`      once, before any other hook
    `events()`            the `ClusterEventWithHint`s that may help a pod this plugin rejected;
                          their resource may be one of a CRD: `databases.v1.example.com`
    `sign(pod)`           what of the pod its `filter` and `score` look at, hashable: with it their
                          answers depend on (signature, NodeInfo) alone and are remembered
    `pre_enqueue(pod)`    -> Status: not success keeps the pod out of the active queue
    `sort_key(queued)`    the order of the active queue (one plugin of a profile)
    `pre_filter(state, pod, nodes)`  -> (node names or None for all, Status)
    `add_pod`, `remove_pod(state, pod, other, node)`  keep the state true in "what if"
    `filter(state, pod, node)`       -> Status
    `post_filter(state, pod, statuses)`  -> (NominatingInfo or None, Status)
    `pre_score(state, pod, nodes)`   -> Status (SKIPPED leaves the plugin out)
    `score(state, pod, node)`        -> int, or `score_nodes(state, pod, nodes)` -> list of int
    `normalize(state, pod, nodes, scores)`  -> list of int from 0 to 100
    `reserve`, `unreserve(state, pod, node_name)`
    `permit(state, pod, node_name)`  -> (Status, timeout in ns)
    `pre_bind_pre_flight(state, pod, node_name)` -> Status: SKIPPED if `pre_bind` has nothing to do
    `async pre_bind`, `async bind(state, pod, node_name)` -> Status
    `post_bind(state, pod, node_name)`
    ===================== ==========================================================================
    """

    @property
    def name(self) -> str:
        """Upstream's name of the plugin."""
        ...


class Handle(Protocol):
    """What a plugin may ask of the scheduler that runs it."""

    process: Process
    client: RESTClient
    informers: SharedInformerFactory
    recorder: EventRecorder
    cache: Cache
    nominator: Nominator

    def get_pod(self, namespace: str, name: str) -> Object | None:
        """The pod as the informer has it."""
        ...

    def run_filters(self, state: CycleState, pod: PodInfo, node: NodeInfo) -> Status | None:
        """The profile's filters, with the pods that are nominated to the node."""
        ...

    def run_add_pod(
        self, state: CycleState, pod: PodInfo, other: PodInfo, node: NodeInfo
    ) -> Status | None:
        """The `add_pod` hooks."""
        ...

    def run_remove_pod(
        self, state: CycleState, pod: PodInfo, other: PodInfo, node: NodeInfo
    ) -> Status | None:
        """The `remove_pod` hooks."""
        ...

    def activate(self, pods: Iterable[PodInfo]) -> None:
        """Move `pods` to the active queue, back-off or not."""
        ...

    def waiting_pod(self, uid: str) -> WaitingPod | None:
        """The pod of that uid, if it waits for a permit."""
        ...

    def cancel_pre_bind(self, uid: str, cause: str) -> bool:
        """End what PreBind does for the pod of that uid; False if it is not there (any more)."""
        ...


class WaitingPod(Protocol):
    """A pod between Permit and PreBind."""

    def reject(self, plugin: str, message: str) -> bool:
        """Send it back to the queue; False if it no longer waits."""
        ...

    def preempt(self, plugin: str, message: str) -> bool:
        """Send it back to be tried again; False if it no longer waits."""
        ...

    def allow(self, plugin: str) -> None:
        """`plugin` lets it pass; it goes on when all that waited have."""
        ...


def default_normalize(scores: Sequence[int], *, reverse: bool) -> list[int]:
    """Scale to 0..100 by the largest score (`plugins/helper/normalize_score.go`)."""
    largest = max(scores, default=0)
    if largest == 0:
        return [MAX_NODE_SCORE] * len(scores) if reverse else list(scores)
    if reverse:
        return [MAX_NODE_SCORE - MAX_NODE_SCORE * score // largest for score in scores]
    return [MAX_NODE_SCORE * score // largest for score in scores]
