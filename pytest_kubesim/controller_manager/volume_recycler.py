"""Volumes that are emptied before somebody else gets them: a pod does it.

The law: the pod is watched until it has ended; what is said of it is said of the volume too.  It is
deleted whatever came of it, and where one of its name is left over, that is deleted and the volume
waits for the next try.

Follows `pkg/volume/util/recyclerclient/recycler_client.go`, `pkg/volume/plugins.go` and `Recycle`
of `pkg/volume/{hostpath,nfs}`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import meta, quantity, status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.client_go.resources import EVENTS, PODS
from pytest_kubesim.controller_manager import fields
from pytest_kubesim.controller_manager.controller import RETRIABLE, SyncError
from pytest_kubesim.sim.tasks import Queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_kubesim.apimachinery.meta import GroupVersionResource, Object
    from pytest_kubesim.client_go.rest import RemoteWatch, RESTClient
    from pytest_kubesim.wire import WatchEvent

NAMESPACE = "default"
IMAGE = "registry.k8s.io/build-image/debian-base:bookworm-v1.0.6"
SCRUB = (
    'test -e /scrub && find /scrub -mindepth 1 -delete && test -z "$(ls -A /scrub)" || exit 1'
)
TIMEOUTS = {"hostPath": (60, 30), "nfs": (300, 30)}
"""By the source of a volume: for how many seconds a pod may run at least, and for each Gi."""
_GI = 2**30


async def recycle(
    client: RESTClient, volume: Object, tell: Callable[[str, str], None]
) -> None:
    """Empty a volume.  `tell(type, message)` hears what is said of the pod.

    Raises: `RETRIABLE`, if it was not emptied.
    """
    pod = _pod(volume)
    name = meta.name(pod)
    watches = [
        await client.watch(
            gvr, NAMESPACE, resource_version="", field_selector=f"{field}={name}",
            allow_bookmarks=False,
        )
        for gvr, field in ((PODS, "metadata.name"), (EVENTS, "involvedObject.name"))
    ]
    try:
        await _create(client, pod)
        failure = await _ended(client, name, watches, tell)
    finally:
        for watch in watches:
            watch.close()
    try:
        await client.delete(PODS, NAMESPACE, name)
    except RETRIABLE as error:
        if not failure and not status.is_not_found(error):
            raise SyncError(f"failed to delete recycler pod: {error}") from None
    if failure:
        raise SyncError(f"failed to recycle volume: {failure}")


def _pod(volume: Object) -> Object:
    spec = fields.spec(volume)
    source = "hostPath" if "hostPath" in spec else "nfs"
    kept = {"hostPath": ("path",), "nfs": ("server", "path")}[source]
    least, more = TIMEOUTS[source]
    size = quantity.value(fields.mapping(spec, "capacity").get("storage") or "0")
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": f"recycler-for-{meta.name(volume)}", "namespace": NAMESPACE},
        "spec": {
            "activeDeadlineSeconds": max(size // _GI * more, least),
            "restartPolicy": "Never",
            "volumes": [{"name": "vol", source: {key: spec[source][key] for key in kept}}],
            "containers": [
                {
                    "name": "pv-recycler",
                    "image": IMAGE,
                    "command": ["/bin/sh"],
                    "args": ["-c", SCRUB],
                    "volumeMounts": [{"name": "vol", "mountPath": "/scrub"}],
                }
            ],
        },
    }


async def _create(client: RESTClient, pod: Object) -> None:
    name = meta.name(pod)
    try:
        await client.create(PODS, NAMESPACE, pod)
    except status.APIStatus as error:
        if not status.is_already_exists(error):
            raise SyncError(f"unexpected error creating recycler pod:  {error}") from None
        try:
            await client.delete(PODS, NAMESPACE, name)
        except RETRIABLE as problem:
            raise SyncError(
                f"failed to delete old recycler pod {NAMESPACE}/{name}: {problem}"
            ) from None
        raise SyncError("old recycler pod found, will retry later") from None


async def _ended(
    client: RESTClient, name: str, watches: list[RemoteWatch], tell: Callable[[str, str], None]
) -> str:
    """Why the pod failed; empty if it succeeded (`waitForPod`)."""
    seen: Queue[tuple[GroupVersionResource, WatchEvent | None]] = Queue(client.process.kernel)

    async def forward(gvr: GroupVersionResource, watch: RemoteWatch) -> None:
        try:
            while events := await watch.next():
                for event in events:
                    seen.put((gvr, event))
        except RETRIABLE:
            pass
        seen.put((gvr, None))

    tasks = [
        client.process.spawn(forward(gvr, watch), name=f"{name} {gvr.resource}", daemon=True)
        for gvr, watch in zip((PODS, EVENTS), watches, strict=True)
    ]
    closed = 0
    try:
        while closed < len(watches):
            gvr, event = await seen.get()
            if event is None:
                closed += 1
            elif gvr == EVENTS:
                if event.type == "ADDED":
                    tell(event.object.get("type", ""), event.object.get("message", ""))
            elif (outcome := _outcome(event)) is not None:
                return outcome
        return f"recycler pod {quote(name)} watch channel had been closed"
    finally:
        for task in tasks:
            task.cancel()


def _outcome(event: WatchEvent) -> str | None:
    if event.type == "DELETED":
        return "recycler pod was deleted"
    if event.type == "ERROR":
        return "recycler pod watcher failed"
    state = fields.status(event.object)
    if state.get("phase") == "Failed":
        return state.get("message") or "pod failed, pod.Status.Message unknown"
    return "" if state.get("phase") == "Succeeded" else None
