"""The kubelet of one node: a process that registers the node and runs the pods bound to it.

The law: what is in memory dies with the process; a kubelet that is started again learns what runs
from the runtime and what should run from the API server.

Follows `pkg/kubelet/kubelet.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_kubesim.client_go.informer import SharedInformerFactory
from pytest_kubesim.client_go.resources import NODES, PODS
from pytest_kubesim.cri import cgroups
from pytest_kubesim.cri.container import RUNNING
from pytest_kubesim.kubelet import admission, pod_conditions, preemption, usage
from pytest_kubesim.kubelet.allocation import Allocations, Checkpoint
from pytest_kubesim.kubelet.config import KubeletConfiguration, NodeSpec
from pytest_kubesim.kubelet.eviction_manager import EvictionManager
from pytest_kubesim.kubelet.hand_placed import HandPlaced
from pytest_kubesim.kubelet.host import NOTHING, WARNING, Host
from pytest_kubesim.kubelet.image_manager import ImageManager
from pytest_kubesim.kubelet.kuberuntime import MINIMUM_GRACE_SECONDS, KubeRuntime
from pytest_kubesim.kubelet.node_lease import NodeLease
from pytest_kubesim.kubelet.node_shutdown import NodeShutdown
from pytest_kubesim.kubelet.node_status import NodeStatus
from pytest_kubesim.kubelet.pleg import Pleg
from pytest_kubesim.kubelet.pod_status import StatusGenerator
from pytest_kubesim.kubelet.pod_workers import Parts, PodWorkers
from pytest_kubesim.kubelet.prober import Prober
from pytest_kubesim.kubelet.reason_cache import ReasonCache
from pytest_kubesim.kubelet.references import References
from pytest_kubesim.kubelet.server import KubeletServer
from pytest_kubesim.kubelet.static_pods import StaticPods
from pytest_kubesim.kubelet.status_manager import StatusManager
from pytest_kubesim.kubelet.volume_contents import VolumeContents
from pytest_kubesim.kubelet.volume_manager import VolumeManager
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.process import Process

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.rest import RESTClient
    from pytest_kubesim.cri.runtime import Runtime
    from pytest_kubesim.kubelet.stages.casting import Casting
    from pytest_kubesim.sim.kernel import Kernel

ClientFactory = Callable[[Process], "RESTClient"]
"""Makes a client for a kubelet's process, with the identity `system:node:<name>`."""


class Kubelet:
    """A node's kubelet.

    Parameters: `kernel`; `node`, what the node is like; `client`, which makes the client for its
    process; `runtime` of the node; `config`; `adopt`, to run a Node object that somebody else made
    and to change nothing of it but its status; `casting`, what stages play instead.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        node: NodeSpec,
        client: ClientFactory,
        runtime: Runtime,
        config: KubeletConfiguration | None = None,
        adopt: bool = False,
        casting: Casting | None = None,
    ) -> None:
        self.casting = casting
        self.kernel = kernel
        self.node = node
        self.runtime = runtime
        self.config = config or KubeletConfiguration()
        self.adopt = adopt
        self.process = Process(kernel, f"kubelet@{node.name}", self._main, host=node.name)
        self.pressures: dict[str, int | None] = {}
        """`MemoryPressure`, `DiskPressure`, `PIDPressure`: the host's, with what is left; they
        outlive the kubelet."""
        self.manifests: dict[str, Object] = {}
        """Static pods: the manifests in a folder of the node, which outlive the kubelet."""
        self.allocations: Checkpoint = {}
        """What pods were allocated: a file of the node, which outlives the kubelet."""
        self._client = client
        self.active: ActiveKubelet | None = None
        """The running one; None before it has started."""

    async def _main(self, process: Process) -> None:
        client = self._client(process)
        host = Host(process, client, self.runtime, self.node, self.config, self.casting)
        self.active = ActiveKubelet(self, host)
        await self.active.run()

    def start(self) -> None:
        """Start the kubelet (again)."""
        self.process.start()

    def stop(self) -> None:
        """Stop the kubelet; containers go on."""
        self.process.stop()

    def set_pressure(
        self, pressure: str, present: bool = True, *, available: int | None = None
    ) -> None:
        """The host comes under a pressure, or is relieved of it.

        `available`, what is left, in units of the resource: evicted pods give back what they used,
        until the threshold is met.  None: what pods give back is used up by others.
        """
        self.pressures.pop(pressure, None)
        if present:
            self.pressures[pressure] = available
        if self.active is not None and self.process.alive:
            self.active.eviction.look()

    @property
    def server(self) -> KubeletServer:
        """What the API server talks to; only while the kubelet runs."""
        assert self.active is not None, "the kubelet does not run"
        return self.active.server


class ActiveKubelet:
    """One start of a kubelet, and all it holds in memory."""

    def __init__(self, kubelet: Kubelet, host: Host) -> None:
        self._host = self.host = host
        self._adopt = kubelet.adopt
        self.informers = SharedInformerFactory(host.client)
        self.eviction = EvictionManager(
            host, kubelet.pressures, self._pressure_changed, self._evict,
            self._active_pods,
        )
        self.node_status = NodeStatus(host, self.eviction.under, adopt=kubelet.adopt)
        self.lease = NodeLease(host, lambda: self.node_status.node)
        self.allocations = Allocations(
            host, kubelet.allocations, self._active_pods, self._fits, self._allocated
        )
        references = References(host)
        reasons = ReasonCache()
        self.prober = Prober(host, self._probe_result)
        self.statuses = StatusManager(host, self._could_run)
        self.prober.statuses = self.statuses
        images = ImageManager(host)
        contents = VolumeContents(host, references)
        runtime = KubeRuntime(
            host, images, references, reasons, self.prober, self._sandbox_ready, contents
        )
        self.workers = PodWorkers(host, Parts(
            self.statuses,
            StatusGenerator(host, self.prober, reasons, self.allocations),
            runtime,
            self.prober,
            VolumeManager(host, references, contents),
            images,
            reasons,
            self._relist,
            self._notice,
            self.allocations,
        ))
        self.shutdown = NodeShutdown(host, self.workers, self._shutting_down)
        self.static = StaticPods(
            host, kubelet.manifests, lambda: self.node_status.node, self.statuses, self._take,
            self._remove_static,
        )
        self.pleg = Pleg(host, self._container_changed, self.prober.notify)
        self.hand_placed = HandPlaced(host, self._take)
        self.server = KubeletServer(
            host, self.workers, self.statuses, lambda: usage.of_node(self)
        )
        self._images = 0
        self._waiting: dict[str, Object] = {}
        """Critical pods for which others have to end first, by uid."""

    async def run(self) -> None:
        """Register, then watch pods and the node until the process ends."""
        host = self._host
        await self.node_status.register()
        if host.config.network_ready_after_ns:
            host.process.call_later(
                host.config.network_ready_after_ns, self.node_status.network_ready
            )
        self._take_pod_cidr(self.node_status.node or NOTHING)
        self.lease.start()
        self.pleg.start()
        self.eviction.start()
        host.runtime.on_silence[:] = [self.node_status.runtime_heard]
        host.casting.on_taken[host.node.name] = self._hand_over
        selector = f"metadata.name={host.node.name}"
        nodes = self.informers.informer(NODES, field_selector=selector)
        nodes.add_event_handler(
            add=self._node_changed, update=lambda _, node: self._node_changed(node)
        )
        pods = self.informers.informer(
            PODS, field_selector=f"spec.nodeName={host.node.name}"
        )
        pods.add_event_handler(
            add=self._pod_added, update=self._pod_updated, delete=self._pod_deleted
        )
        self.informers.start()
        await pods.synced.wait()
        self.static.look()
        self._kill_orphans({pod["metadata"]["uid"] for pod in pods.store.list()})
        await host.kernel.future()

    # -- the node -----------------------------------------------------------------------------

    def _node_changed(self, node: Object) -> None:
        self._take_pod_cidr(node)
        self.node_status.observe(node)

    def _take_pod_cidr(self, node: Object) -> None:
        # Until a controller gives the node a range, the runtime has one of its own.
        cidr = (node.get("spec") or NOTHING).get("podCIDR")
        if cidr:
            self._host.runtime.update_runtime_config(cidr)

    def _pressure_changed(self) -> None:
        self.node_status.changed()

    # -- pods ---------------------------------------------------------------------------------

    def _remove_static(self, uid: str) -> None:
        self.workers.remove_pod(uid)

    def _pod_added(self, pod: Object) -> None:
        if self.static.is_mirror(pod):
            self.static.shown(pod)
            return
        if not self._host.casting.takes_pod(pod) and not self.hand_placed.added(pod):
            self._take(pod)

    def _hand_over(self, uid: str) -> None:
        """Stages play the pod from now on."""
        self.hand_placed.deleted(uid)
        if self.workers.abandon(uid):
            self._host.process.spawn(self._kill_orphan(uid), name=f"handed over {uid}")

    def _take(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        self.statuses.observe(pod)
        status: Object = pod.get("status") or NOTHING
        if (
            uid not in self.workers.workers
            and not pod["metadata"].get("deletionTimestamp")
            and status.get("phase") not in pod_conditions.TERMINAL
        ):
            if uid in self._waiting:
                self._waiting[uid] = pod
                return
            rejection = self._admit(pod)
            if rejection is not None:
                rejection = self._make_room(pod, rejection)
                if rejection is not None:
                    self._reject(pod, rejection)
                return
            self.allocations.admitted(pod)
            self.eviction.admitted(pod)
        self.workers.update_pod(self.allocations.applied(pod))
        self.allocations.started(pod)

    def _make_room(self, pod: Object, rejection: admission.Rejection) -> admission.Rejection | None:
        """End others so that a critical pod can be admitted; why that cannot be."""
        node = self.node_status.node
        if not preemption.is_critical(pod) or not rejection.reason.startswith("OutOf"):
            return rejection
        assert node is not None
        others = self.workers.active_pods()
        allocatable: dict[str, str] = (node.get("status") or NOTHING).get("allocatable") or {}
        needs = preemption.missing(self.allocations.applied(pod), allocatable, others)
        try:
            going = preemption.to_preempt(pod, others, needs)
        except preemption.NoRoom as problem:
            return admission.Rejection(
                "UnexpectedAdmissionError",
                "Unexpected error while attempting to recover from admission failure: preemption: "
                f"error finding a set of pods to preempt: {problem}",
            )
        for other in going:
            self._preempt(other)
        uid = pod["metadata"]["uid"]
        self._waiting[uid] = pod
        uids = [other["metadata"]["uid"] for other in going]
        self._host.process.spawn(self._admit_after(uid, uids), name=f"preemption for {uid}")
        return None

    def _preempt(self, pod: Object) -> None:
        self._host.pod_event(pod, WARNING, preemption.REASON, preemption.MESSAGE)
        condition: Object = {
            "type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet",
            "message": preemption.CONDITION_MESSAGE,
        }
        if generation := pod["metadata"].get("generation"):
            condition["observedGeneration"] = generation
        self.workers.kill_pod(pod["metadata"]["uid"], status={
            "phase": pod_conditions.FAILED, "reason": preemption.REASON,
            "message": preemption.MESSAGE, "conditions": [condition],
        })

    async def _admit_after(self, uid: str, going: list[str]) -> None:
        while any(map(self.workers.could_have_running_containers, going)):
            await self._host.kernel.sleep(NS // 10)
        pod = self._waiting.pop(uid, None)
        if pod is not None:
            self._take(pod)

    def _fits(self, pod: Object, others: list[Object]) -> admission.Rejection | None:
        """Why a pod that runs here cannot have what it asks for."""
        node = self.node_status.node
        assert node is not None
        return admission.admit(pod, node, others)

    def _allocated(self, pod: Object) -> None:
        """The pod was allocated something else, or something else is to be said of it."""
        if pod["metadata"]["uid"] in self.workers.workers:
            self.workers.update_pod(self.allocations.applied(pod))

    def _pod_updated(self, old: Object, pod: Object) -> None:
        before, meta = old["metadata"], pod["metadata"]
        if self.static.is_mirror(pod):
            self.static.shown(pod)
            return
        if before["uid"] != meta["uid"]:
            self._pod_deleted(old)
            self._pod_added(pod)
            return
        if self._host.casting.takes_pod(pod) or self.hand_placed.updated(pod):
            return
        self.statuses.observe(pod)
        if meta["uid"] in self._waiting:
            self._waiting[meta["uid"]] = pod
            return
        if self._same_wish(old, pod):
            worker = self.workers.workers.get(meta["uid"])
            if worker is not None:
                worker.pod = self.allocations.applied(pod)
                self.prober.update_pod(pod)
                if pod["spec"].get("readinessGates") and old.get("status") != pod.get("status"):
                    self.workers.sync(meta["uid"])
            return
        self.allocations.changed(old, pod)
        status: Object = pod.get("status") or NOTHING
        known = meta["uid"] in self.workers.workers
        if known or meta.get("deletionTimestamp") or status.get("phase") != pod_conditions.FAILED:
            self.workers.update_pod(self.allocations.applied(pod))

    @staticmethod
    def _same_wish(old: Object, pod: Object) -> bool:
        """Whether only what the kubelet itself reports differs (`podsDifferSemantically`)."""
        before, meta = old["metadata"], pod["metadata"]
        return (
            all(
                before.get(field) == meta.get(field)
                for field in (
                    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations",
                )
            )
            and (old["spec"] is pod["spec"] or old["spec"] == pod["spec"])
        )

    def _pod_deleted(self, pod: Object) -> None:
        if self.static.is_mirror(pod):
            self.static.gone(pod)
            return
        uid = pod["metadata"]["uid"]
        self._waiting.pop(uid, None)
        if not self.hand_placed.deleted(uid):
            self.workers.remove_pod(uid)

    def _shutting_down(self) -> None:
        self.node_status.shutting_down()

    def _admit(self, pod: Object) -> admission.Rejection | None:
        pressed = self.shutdown.admit() or self.eviction.admit(pod)
        if pressed is not None:
            return pressed
        node = self.node_status.node
        assert node is not None
        return admission.admit(self.allocations.applied(pod), node, self.workers.active_pods())

    def _reject(self, pod: Object, rejection: admission.Rejection) -> None:
        self._host.pod_event(pod, WARNING, rejection.reason, rejection.message)
        self.statuses.set_pod_status(pod, {
            "phase": pod_conditions.FAILED,
            "qosClass": cgroups.qos_class(pod),
            "reason": rejection.reason,
            "message": f"Pod was rejected: {rejection.message}",
        })

    def _active_pods(self) -> list[Object]:
        return self.workers.active_pods()

    def _evict(self, uid: str, grace_seconds: int, status: Object) -> None:
        self.workers.kill_pod(uid, grace_seconds=grace_seconds, status=status)

    # -- what the parts tell each other -------------------------------------------------------

    def _could_run(self, uid: str) -> bool:
        return self.workers.could_have_running_containers(uid)

    def _probe_result(self, uid: str, kind: str, result: bool) -> None:
        self.workers.probe_result(uid, kind, result)

    def _sandbox_ready(self, pod: Object) -> None:
        condition: Object = {"type": "PodReadyToStartContainers", "status": "True"}
        if generation := pod["metadata"].get("generation"):
            condition["observedGeneration"] = generation
        self.statuses.set_condition(pod, condition)

    def _relist(self, uid: str) -> None:
        self.pleg.request_relist(uid)

    def _notice(self, uid: str, since_ns: int) -> None:
        self.pleg.notice(uid, since_ns)

    def _container_changed(self, uid: str) -> None:
        self.workers.sync(uid, probes=True)
        images = len(self._host.runtime.list_images())
        if images != self._images:
            self._images = images
            self.node_status.changed(background=True)

    # -- after a restart ----------------------------------------------------------------------

    def _kill_orphans(self, known: set[str]) -> None:
        """Pods that run and that the API server does not know."""
        for uid in self._host.runtime.pods():
            if uid not in known and uid not in self.workers.workers:
                self._host.process.spawn(self._kill_orphan(uid), name=f"orphan {uid}")

    async def _kill_orphan(self, uid: str) -> None:
        runtime = self._host.runtime
        state = runtime.pod_state(uid)
        for run in state.containers:
            if run.state == RUNNING:
                await runtime.stop_container(run, MINIMUM_GRACE_SECONDS * NS)
        for sandbox in state.sandboxes:
            await runtime.stop_pod_sandbox(sandbox)
        runtime.remove_pod(uid)
