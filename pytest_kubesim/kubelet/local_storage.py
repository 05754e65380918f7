"""How much of a node's disk, and how many processes, its pods take; and who may not take so much.

The law: a container takes what it wrote beside its image, its log (five files of ten mebibytes at
most), and what its program says; a pod besides takes what is in its volumes on the node's disk.
What lies in memory is none of it.

Follows `pkg/kubelet/server/stats` and `localStorageEviction` of
`pkg/kubelet/eviction/{eviction_manager,helpers}.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.cri import cgroups
from pytest_kubesim.cri.container import RUNNING
from pytest_kubesim.cri.software.executes import Executes
from pytest_kubesim.cri.software.rootfs import build
from pytest_kubesim.kubelet.host import NOTHING
from pytest_kubesim.kubelet.restart_policy import is_sidecar

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.container import Container
    from pytest_kubesim.cri.runtime import Runtime

STORAGE = "ephemeral-storage"
LOGS_LIMIT = 5 * 10 * 1024 * 1024
"""`containerLogMaxFiles` times `containerLogMaxSize`."""

BLOCK = 4096

_image_bytes: dict[str, int] = {}


def container_bytes(run: Container) -> int:
    """What a container takes of the disk."""
    program = run.program
    said = program.disk() if callable(program.disk) else program.disk
    taken = min(run.log_bytes, LOGS_LIMIT) + (0 if said is None else cgroups.bytes_of(said))
    if run.system is not None and isinstance(program, Executes):
        own = program.software
        if own.name not in _image_bytes:
            _image_bytes[own.name] = build(own, 0).used()
        written: int = run.system.mounts.all[0].filesystem.used()
        taken += max(0, written - _image_bytes[own.name])
    return -(-taken // BLOCK) * BLOCK


def processes(run: Container) -> int:
    """How many processes run in a container."""
    return 1 if run.system is None else max(1, len(run.system.processes))


def pod_bytes(pod: Object, runtime: Runtime) -> int:
    """What a pod takes of the disk, its volumes included."""
    uid = pod["metadata"]["uid"]
    taken = sum(map(container_bytes, runtime.pod_state(uid).containers))
    for volume in pod["spec"].get("volumes") or ():
        folder = volume.get("emptyDir")
        if "configMap" in volume or (folder is not None and folder.get("medium") != "Memory"):
            taken += volume_bytes(pod, volume["name"], runtime)
    return taken


def volume_bytes(pod: Object, name: str, runtime: Runtime) -> int:
    """What is in a volume of a pod."""
    made = runtime.volumes.get((pod["metadata"]["uid"], name))
    return 0 if made is None else made.used()


# -- limits ----------------------------------------------------------------------------------


def is_limited(pod: Object) -> bool:
    """Whether a pod may take only so much of the disk."""
    spec = pod["spec"]
    return any(
        (volume.get("emptyDir") or NOTHING).get("sizeLimit") for volume in spec.get("volumes") or ()
    ) or any(
        STORAGE in ((container.get("resources") or NOTHING).get("limits") or NOTHING)
        for field in ("containers", "initContainers")
        for container in spec.get(field) or ()
    )


def excess(pod: Object, runtime: Runtime) -> str:
    """Which limit a pod exceeds, as its eviction says it; empty for none."""
    for volume in pod["spec"].get("volumes") or ():
        source: Object = volume.get("emptyDir") or NOTHING
        limit: str | None = source.get("sizeLimit")
        if not limit or source.get("medium") == "Memory" or quantity.sign(limit) <= 0:
            continue
        if volume_bytes(pod, volume["name"], runtime) > quantity.value(limit):
            return f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{limit}". '
    limit = cgroups.pod_limits(pod).get(STORAGE)
    if limit is not None and pod_bytes(pod, runtime) > quantity.value(limit):
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "
    return _container_excess(pod, runtime)


def _container_excess(pod: Object, runtime: Runtime) -> str:
    spec, state = pod["spec"], runtime.pod_state(pod["metadata"]["uid"])
    sidecars = filter(is_sidecar, spec.get("initContainers") or ())
    for container in (*spec["containers"], *sidecars):
        limits: Object = (container.get("resources") or NOTHING).get("limits") or NOTHING
        limit, run = limits.get(STORAGE), state.find(container["name"])
        if not limit or run is None or run.state != RUNNING or not quantity.value(limit):
            continue
        if container_bytes(run) > quantity.value(limit):
            name = container["name"]
            return f'Container {name} exceeded its local ephemeral storage limit "{limit}". '
    return ""
