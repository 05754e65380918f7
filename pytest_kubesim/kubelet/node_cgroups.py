"""`/sys/fs/cgroup` of a node: slices by quality of service, in them pods, in them containers.

The law: folders are made up when somebody looks, from the pods that the runtime has.  Their names
are those of the systemd driver, which `kubeadm` sets.

Follows `pkg/kubelet/cm/{cgroup_manager_linux,pod_container_manager_linux}.go`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pytest_kubesim.cri import cgroup_files, cgroups
from pytest_kubesim.cri.cgroups import Settings
from pytest_kubesim.cri.linux.files import MadeUp, Node
from pytest_kubesim.cri.services import READY
from pytest_kubesim.kubelet import linux_resources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.cri.services import PodSandbox, PodState
    from pytest_kubesim.kubelet.host import Host

PLACE = "sys/fs/cgroup"
_SLICES = {"BestEffort": "kubepods-besteffort", "Burstable": "kubepods-burstable"}


def root(host: Host) -> Node:
    """The folder that a node shows at `/sys/fs/cgroup`."""
    return MadeUp(lambda: {
        **_files(Settings, lambda: _containers(host)),
        "kubepods.slice": MadeUp(partial(_kubepods, host)),
    })


def _kubepods(host: Host) -> dict[str, Node]:
    whole = linux_resources.of_all(host.node)
    return {
        **_files(lambda: whole, lambda: _containers(host)),
        **{f"{name}.slice": MadeUp(partial(_quality, host, kind, name))
           for kind, name in _SLICES.items()},
        **_pods(host, "Guaranteed", "kubepods"),
    }


def _quality(host: Host, kind: str, name: str) -> dict[str, Node]:
    pods = [sandbox.pod for sandbox, _ in _sandboxes(host, kind)]
    return {
        **_files(
            lambda: linux_resources.of_quality(host.node, kind, pods),
            lambda: [c for _, state in _sandboxes(host, kind) for c in state.containers],
        ),
        **_pods(host, kind, name),
    }


def _pods(host: Host, kind: str, prefix: str) -> dict[str, Node]:
    return {
        f"{prefix}-pod{sandbox.config.uid.replace('-', '_')}.slice": MadeUp(
            partial(_pod, host, sandbox, state)
        )
        for sandbox, state in _sandboxes(host, kind)
    }


def _pod(host: Host, sandbox: PodSandbox, state: PodState) -> dict[str, Node]:
    found = _files(
        lambda: linux_resources.of_pod(host.node, sandbox.pod), lambda: state.containers
    )
    for container in state.containers:
        if container.sandbox is sandbox and container.state == "running":
            inside = cgroup_files.entries(container.cgroup, partial(_only, container))
            found[f"cri-containerd-{container.id}.scope"] = MadeUp(lambda inside=inside: inside)
    pause = cgroup_files.entries(lambda: Settings(cpu_weight=1), lambda: ())
    found[f"cri-containerd-{sandbox.id}.scope"] = MadeUp(lambda: pause)
    return found


def _only(container: Container) -> list[Container]:
    return [container]


def _files(
    settings: Callable[[], Settings], containers: Callable[[], Sequence[Container]]
) -> dict[str, Node]:
    return cgroup_files.entries(settings, containers, leaf=False)


def _sandboxes(host: Host, kind: str) -> Iterator[tuple[PodSandbox, PodState]]:
    runtime = host.runtime
    for uid in runtime.pods():
        state = runtime.pod_state(uid)
        for sandbox in state.sandboxes:
            if sandbox.state == READY and sandbox.pod is not None and (
                not kind or cgroups.qos_class(sandbox.pod) == kind
            ):
                yield sandbox, state


def _containers(host: Host) -> list[Container]:
    return [c for _, state in _sandboxes(host, "") for c in state.containers]
