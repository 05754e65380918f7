"""Volumes: a pod starts when all of them are there.

What matters here is what they wait for: a ConfigMap, a Secret or one of their keys, a claim that
is bound; what is in them is `volume_contents`'.  A failed setup is told in an event and tried
again, after half a second doubling to two minutes; a claim that is not bound fails the sync of the
pod.

Follows `pkg/kubelet/volumemanager`, `pkg/volume/{configmap,secret,projected}` and
`pkg/volume/util/operationexecutor/operation_generator.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import golang
from pytest_kubesim.client_go.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES
from pytest_kubesim.kubelet.errors import ContentProblem, SyncError
from pytest_kubesim.kubelet.host import NOTHING, WARNING
from pytest_kubesim.kubelet.trust_anchors import trust_anchors

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.host import Host
    from pytest_kubesim.kubelet.references import References
    from pytest_kubesim.kubelet.volume_contents import VolumeContents
    from pytest_kubesim.sim.tasks import Event

FAILED_MOUNT = "FailedMount"
_PROTECTION = "kubernetes.io/pvc-protection"
_NO_WAIT = frozenset({
    "emptyDir", "hostPath", "downwardAPI", "nfs", "iscsi", "image", "csi", "gitRepo", "fc",
})


class _Unprocessed(Exception):
    """A claim behind a volume cannot be used (yet)."""


class VolumeManager:
    """Mounts pods' volumes for one kubelet."""

    def __init__(self, host: Host, references: References, contents: VolumeContents) -> None:
        self._host = host
        self._contents = contents
        self._references = references
        self._retries: dict[str, int] = {}

    async def wait_for_attach_and_mount(self, pod: Object, stop: Event) -> bool:
        """Wait until the pod's volumes are mounted.  False: `stop` came first.

        Raises: `SyncError` when a claim is not usable or it takes too long.
        """
        volumes = pod["spec"].get("volumes")
        if not volumes or self._host.config.hollow:
            return True
        host, uid = self._host, pod["metadata"]["uid"]
        if self._contents.followed(uid):
            sandbox = host.runtime.pod_state(uid).active_sandbox
            await self._contents.refresh(pod, sandbox.ip if sandbox is not None else "")
        deadline_ns = host.now_ns() + host.config.volume_timeout_ns
        unmounted = [
            v for v in volumes
            if not _NO_WAIT.intersection(v) or (v.get("hostPath") or NOTHING).get("type")
        ]
        while True:
            unmounted = await self._mount(pod, unmounted)
            if not unmounted:
                self._retries.pop(uid, None)
                return True
            delay_ns = self._retries.get(uid) or host.config.volume_retry_initial_ns
            self._retries[uid] = min(delay_ns * 2, host.config.volume_retry_max_ns)
            remaining_ns = deadline_ns - host.now_ns()
            expired = delay_ns > remaining_ns
            await host.kernel.wait_any(
                stop.future(), timeout_ns=min(delay_ns, remaining_ns), periodic=True
            )
            if stop.is_set():
                return False
            if expired:
                raise SyncError(_problem(unmounted, (), "context deadline exceeded"))

    async def _mount(self, pod: Object, volumes: list[Object]) -> list[Object]:
        """Try to mount; the volumes for which that failed."""
        failed: list[Object] = []
        unprocessed: list[Object] = []
        problems: list[str] = []
        for volume in volumes:
            try:
                problem = await self._set_up(pod, volume)
            except _Unprocessed as error:
                unprocessed.append(volume)
                problems.append(str(error))
                continue
            if problem:
                failed.append(volume)
                self._host.pod_event(
                    pod, WARNING, FAILED_MOUNT,
                    f'MountVolume.SetUp failed for volume "{volume["name"]}" : {problem}',
                )
        if unprocessed:
            message = _problem([*failed, *unprocessed], unprocessed, "; ".join(problems))
            self._host.pod_event(
                pod, WARNING, FAILED_MOUNT, f"Unable to attach or mount volumes: {message}"
            )
            raise SyncError(message)
        return failed

    async def _set_up(self, pod: Object, volume: Object) -> str:
        namespace = pod["metadata"]["namespace"]
        if (source := volume.get("configMap")) is not None:
            return await self._keys("ConfigMap", namespace, source, source.get("name") or "")
        if (source := volume.get("secret")) is not None:
            return await self._keys("Secret", namespace, source, source.get("secretName") or "")
        if (source := volume.get("hostPath")) is not None:
            try:
                self._contents.host_path(source)
            except ContentProblem as wrong:
                return str(wrong)
            return ""
        if (source := volume.get("projected")) is not None:
            for number, part in enumerate(source.get("sources") or ()):
                for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
                    ref = part.get(field)
                    if ref is not None:
                        problem = await self._keys(kind, namespace, ref, ref.get("name") or "")
                        if problem:
                            return problem
                try:
                    if (ref := part.get("clusterTrustBundle")) is not None:
                        await trust_anchors(self._host, self._references, ref)
                    if (ref := part.get("podCertificate")) is not None:
                        await self._contents.certificates.get(pod, volume["name"], number, ref)
                except ContentProblem as missing:
                    return str(missing)
            return ""
        if (source := volume.get("persistentVolumeClaim")) is not None:
            await self._claim(pod, source["claimName"])
        elif volume.get("ephemeral") is not None:
            await self._claim(
                pod, f"{pod['metadata']['name']}-{volume['name']}", ephemeral=True
            )
        return ""

    async def _keys(self, kind: str, namespace: str, source: Object, name: str) -> str:
        found = await self._references.find(kind, namespace, name)
        optional = bool(source.get("optional"))
        if found is None:
            return "" if optional else f'{kind.lower()} "{name}" not found'
        data = {**(found.get("data") or NOTHING), **(found.get("binaryData") or NOTHING)}
        for item in source.get("items") or ():
            if item["key"] not in data and not optional:
                if kind == "Secret":
                    return f"references non-existent secret key: {item['key']}"
                return f"configmap references non-existent config key: {item['key']}"
        return ""

    async def _claim(self, pod: Object, name: str, *, ephemeral: bool = False) -> None:
        namespace = pod["metadata"]["namespace"]
        about = f"error processing PVC {namespace}/{name}: "
        claim = await self._references.get(PERSISTENTVOLUMECLAIMS, namespace, name)
        if claim is None:
            raise _Unprocessed(
                f"{about}failed to fetch PVC from API server: "
                f'persistentvolumeclaims "{name}" not found'
            )
        meta = claim["metadata"]
        if ephemeral and not any(
            o.get("controller") and o.get("uid") == pod["metadata"]["uid"]
            for o in meta.get("ownerReferences") or ()
        ):
            raise _Unprocessed(
                f"PVC {namespace}/{name} was not created for pod "
                f"{namespace}/{pod['metadata']['name']} (pod is not owner)"
            )
        if meta.get("deletionTimestamp") and _PROTECTION not in (meta.get("finalizers") or ()):
            raise _Unprocessed(f"{about}PVC is being deleted")
        if (claim.get("status") or NOTHING).get("phase") != "Bound":
            raise _Unprocessed(f"{about}PVC is not bound")
        volume_name = claim["spec"].get("volumeName")
        if not volume_name:
            raise _Unprocessed(f"{about}PVC has empty pvc.Spec.VolumeName")
        volume = await self._references.get(PERSISTENTVOLUMES, "", volume_name)
        if volume is None:
            raise _Unprocessed(
                f"{about}failed to fetch PV {volume_name} from API server: "
                f'persistentvolumes "{volume_name}" not found'
            )
        ref = volume["spec"].get("claimRef")
        if ref is None:
            raise _Unprocessed(
                f"{about}found PV object {volume_name} but it has a nil pv.Spec.ClaimRef "
                "indicating it is not yet bound to the claim"
            )
        if ref.get("uid") != meta["uid"]:
            raise _Unprocessed(
                f"{about}found PV object {volume_name} but its pv.Spec.ClaimRef.UID "
                f"{ref.get('uid') or ''} does not point to claim.UID {meta['uid']}"
            )

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._retries.pop(uid, None)
        self._contents.forget(uid)


def _problem(unmounted: list[Object], unprocessed: list[Object] | tuple[()], why: str) -> str:
    names = golang.bracketed(sorted(volume["name"] for volume in unmounted))
    failed = golang.bracketed(sorted(volume["name"] for volume in unprocessed))
    return (
        f"unmounted volumes={names}, unattached volumes=[], failed to process volumes={failed}: "
        f"{why}"
    )
