"""What a node is like, and how its kubelet is set up.

`KubeletConfiguration` holds upstream's defaults (`apis/config/v1beta1/defaults.go`) and the times
that are the simulator's; `instant()` sets the latter to nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from pytest_kubesim.apimachinery import formats, quantity
from pytest_kubesim.cri import flavours
from pytest_kubesim.cri.runtime import RuntimeConfiguration
from pytest_kubesim.errors import UsageError
from pytest_kubesim.sim.clock import NS

VERSION = "v1.37.2"


@attrs.frozen(slots=True, kw_only=True)
class KubeletConfiguration:
    """Periods and latencies of a kubelet, in nanoseconds unless the name says otherwise."""

    runtime: RuntimeConfiguration = attrs.field(factory=RuntimeConfiguration)
    node_status_update_ns: int = 10 * NS
    node_status_report_ns: int = 300 * NS
    lease_duration_seconds: int = 40
    pleg_relist_ns: int = 1 * NS
    """Changes of containers are noticed at the next tick of this period; 0: at once."""
    status_retry_ns: int = 10 * NS
    back_off_period_ns: int = 10 * NS
    resync_ns: int = 60 * NS
    jitter: float = 0.5
    """Retries of a pod's sync wait up to this much longer."""
    crash_loop_initial_ns: int = 10 * NS
    crash_loop_max_ns: int = 300 * NS
    crash_loop_reset_ns: int = 600 * NS
    image_back_off_initial_ns: int = 10 * NS
    image_back_off_max_ns: int = 300 * NS
    volume_retry_initial_ns: int = NS // 2
    volume_retry_max_ns: int = 122 * NS
    volume_timeout_ns: int = 123 * NS
    network_ready_after_ns: int = 0
    """How long the CNI plugin is not initialised after the start of a node."""
    serialize_image_pulls: bool = True
    lease_jitter: float = 0.04
    hollow: bool = False
    """Containers run, and nothing is told of them but what pods are: no events, `PodScheduled` as
    the scheduler wrote it, nothing of a pod that is only being created, and a pod that is to go
    says no more until it is gone."""

    @classmethod
    def instant(cls) -> KubeletConfiguration:
        """Nothing takes any time but what Kubernetes itself waits for."""
        return cls(runtime=RuntimeConfiguration.instant(), pleg_relist_ns=0, jitter=0.0)

    def as_hollow(self) -> KubeletConfiguration:
        """The same of a hollow kubelet: as with kwok, a pod runs as soon as it is heard of."""
        return attrs.evolve(
            self, hollow=True, runtime=RuntimeConfiguration.instant(), pleg_relist_ns=0
        )


def _name(instance: object, attribute: Any, value: str) -> None:
    del instance, attribute
    problems = formats.is_dns1123_subdomain(value)
    if problems:
        raise UsageError(
            f"{value!r} cannot be the name of a node: {problems[0]}.",
            "Choose another name, such as 'node-1'.",
        )


def _quantity(instance: object, attribute: Any, value: str) -> None:
    del instance
    try:
        fits = quantity.sign(value) >= 0
    except ValueError:
        fits = False
    if not fits:
        raise UsageError(
            f"{attribute.name}={value!r} of a node is not an amount.",
            "Write a quantity, such as '4', '500m' or '16Gi'.",
        )


def _amount(value: str | float) -> str:
    return str(value)


def _taint(value: str | Mapping[str, str]) -> dict[str, str]:
    if isinstance(value, str):
        left, colon, effect = value.rpartition(":")
        key, equals, val = left.partition("=")
        taint = {"key": key, "effect": effect}
        if equals:
            taint["value"] = val
        if not colon or not key:
            taint["effect"] = ""
    else:
        taint = dict(value)
    if taint.get("effect") not in ("NoSchedule", "PreferNoSchedule", "NoExecute"):
        raise UsageError(
            f"{value!r} is not a taint.",
            "Write 'key=value:NoSchedule', or a dict with key, value and effect"
            " (NoSchedule, PreferNoSchedule or NoExecute).",
        )
    return taint


def _taints(values: Sequence[str | Mapping[str, str]]) -> tuple[dict[str, str], ...]:
    if isinstance(values, str):
        values = [values]
    return tuple(_taint(value) for value in values)


@attrs.frozen(slots=True, kw_only=True)
class NodeSpec:
    """A node as its owner describes it.

    Parameters: `name`; `index`, its number in the cluster, from which its addresses follow; `cpu`,
    `memory`, `pods` and `ephemeral_storage` that it has; `labels` and `taints` (`key=value:Effect`
    or dicts) beside the kubelet's own; `zone` and `region`; `runtime`, `containerd`, `cri-o` or
    `docker`; `ip` of the host; `pod_cidr` until the control plane gives it one.
    """

    name: str = attrs.field(validator=_name)
    index: int = 1
    cpu: str = attrs.field(default="4", converter=_amount, validator=_quantity)
    memory: str = attrs.field(default="16Gi", converter=_amount, validator=_quantity)
    pods: str = attrs.field(default="110", converter=_amount, validator=_quantity)
    ephemeral_storage: str = attrs.field(
        default="100Gi", converter=_amount, validator=_quantity
    )
    extended: Mapping[str, str] = attrs.field(factory=dict[str, str])
    labels: Mapping[str, str] = attrs.field(factory=dict[str, str])
    taints: tuple[dict[str, str], ...] = attrs.field(default=(), converter=_taints)
    zone: str = ""
    region: str = ""
    runtime: str = attrs.field(default="containerd")
    ip: str = ""
    pod_cidr: str = ""
    os_image: str = "Debian GNU/Linux 12 (bookworm)"
    kernel_version: str = "6.8.0-85-generic"
    architecture: str = "amd64"
    provider_id: str = ""

    def __attrs_post_init__(self) -> None:
        flavours.flavour(self.runtime)
        for key, value in self.labels.items():
            problems = formats.is_qualified_name(key) or formats.is_valid_label_value(value)
            if problems:
                raise UsageError(
                    f"{key}={value!r} cannot be a label of node {self.name!r}: {problems[0]}.",
                    "Choose a valid key and value.",
                )

    @property
    def host_ip(self) -> str:
        """Its address: given, or by its number in 172.18.0.0/16."""
        if self.ip:
            return self.ip
        return str(ipaddress.IPv4Address("172.18.0.2") + self.index)

    @property
    def default_pod_cidr(self) -> str:
        """Where its pods' addresses come from: given, or by its number in 10.244.0.0/14 and on."""
        if self.pod_cidr:
            return self.pod_cidr
        return f"10.{244 + self.index // 256 % 12}.{self.index % 256}.0/24"

    @property
    def capacity(self) -> dict[str, str]:
        """What the node has."""
        return {
            "cpu": self.cpu,
            "ephemeral-storage": self.ephemeral_storage,
            "hugepages-1Gi": "0",
            "hugepages-2Mi": "0",
            "memory": self.memory,
            "pods": self.pods,
            **self.extended,
        }
