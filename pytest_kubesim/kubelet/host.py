"""What every part of one kubelet shares: its process, its clock, its client, its recorder.

There is one for each start of a kubelet; nothing in it outlives a crash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.client_go.record import EventRecorder
from pytest_kubesim.kubelet.stages.casting import Casting

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.rest import RESTClient
    from pytest_kubesim.cri.runtime import Runtime
    from pytest_kubesim.kubelet.config import KubeletConfiguration, NodeSpec
    from pytest_kubesim.sim.process import Process

NORMAL, WARNING = "Normal", "Warning"

NOTHING: dict[str, Any] = {}
"""What is not there, read like a map; nobody writes into it."""


class Host:
    """The surroundings of a kubelet's parts.

    Parameters: `process` of the kubelet; its `client`; the node's `runtime`; the `node` and the
    `config`; `casting`, what stages play instead of it.
    """

    __slots__ = (
        "casting", "client", "config", "kernel", "node", "process", "recorder", "runtime",
        "start_ns",
    )

    def __init__(
        self,
        process: Process,
        client: RESTClient,
        runtime: Runtime,
        node: NodeSpec,
        config: KubeletConfiguration,
        casting: Casting | None = None,
    ) -> None:
        self.casting = casting or Casting()
        self.process = process
        self.kernel = process.kernel
        self.client = client
        self.runtime = runtime
        self.node = node
        self.config = config
        self.recorder = EventRecorder(client, "kubelet", node.name)
        self.start_ns = process.now_ns()

    def now_ns(self) -> int:
        """What the node's clock shows."""
        return self.process.now_ns()

    def now(self) -> str:
        """The same as RFC 3339 text."""
        return timestamps.format_time(self.process.now_ns())

    def event(
        self,
        about: Object,
        type_: str,
        reason: str,
        message: str,
        *,
        field_path: str = "",
        annotations: dict[str, str] | None = None,
    ) -> None:
        """Record an event, unless this kubelet is hollow."""
        if not self.config.hollow:
            self.recorder.event(
                about, type_, reason, message, field_path=field_path, annotations=annotations
            )

    def pod_event(self, pod: Object, type_: str, reason: str, message: str) -> None:
        """Record an event about a pod."""
        self.event(pod, type_, reason, message)

    def container_event(
        self, pod: Object, container: str, type_: str, reason: str, message: str
    ) -> None:
        """Record an event about a container of a pod."""
        self.event(
            pod, type_, reason, message, field_path=container_field_path(pod, container)
        )

    def jittered(self, duration_ns: int, *event: object) -> int:
        """A duration made up to half as long again (`wait.Jitter`)."""
        extra_ns = int(duration_ns * self.config.jitter)
        return duration_ns + self.kernel.rng.between_ns(
            0, extra_ns, "kubelet-jitter", self.node.name, *event
        )


def container_field_path(pod: Object, container: str) -> str:
    """The field of a pod's spec that holds a container: `spec.containers{name}`."""
    spec = pod["spec"]
    for field in ("containers", "initContainers", "ephemeralContainers"):
        for entry in spec.get(field) or ():
            if entry["name"] == container:
                return f"spec.{field}{{{container}}}"
    return f"implicitly required container {container}"


def full_name(pod: Object) -> str:
    """A pod as messages name it: `name_namespace(uid)`."""
    meta = pod["metadata"]
    return f"{meta['name']}_{meta['namespace']}({meta['uid']})"
