"""What is in a pod's volumes: trees of files, made when a container looks at them.

The law: a volume of data from the API is written as upstream's atomic writer does: files in a
directory with a time stamp, `..data` that leads to it, a link for each name.  It is written anew
when the pod is synced, and some time after its source has changed.  Contents live as long as the
pod (on the node), or as the disk behind a persistent volume.

Follows `pkg/volume/{configmap,secret,downwardapi,projected,emptydir,hostpath}`, `volume_linux.go`
(ownership) and `util/atomic_writer.go`.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import quantity
from pytest_kubesim.client_go.resources import (
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    SERVICEACCOUNTS,
)
from pytest_kubesim.cri.applets.dates import strftime
from pytest_kubesim.cri.linux import files
from pytest_kubesim.cri.linux.files import DIRECTORY, FILE, LINK, FileSystem, Node
from pytest_kubesim.cri.software.executes import Executes
from pytest_kubesim.cri.software.rootfs import build
from pytest_kubesim.kubelet import host_files, node_cgroups
from pytest_kubesim.kubelet.environment import field_value, resource_value
from pytest_kubesim.kubelet.errors import ContentProblem
from pytest_kubesim.kubelet.host import NOTHING, WARNING
from pytest_kubesim.kubelet.pod_certificates import PodCertificates
from pytest_kubesim.kubelet.references import ROOT_CA
from pytest_kubesim.kubelet.trust_anchors import trust_anchors
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.kubelet.host import Host
    from pytest_kubesim.kubelet.references import References

UPDATED = ("configMap", "secret", "downwardAPI", "projected")
"""The kinds of volumes whose contents follow their source."""
DEFAULT_MODE = 0o644
TOKEN_SECONDS = 3_600
DATA, TIME_FORMAT = "..data", "..%Y_%m_%d_%H_%M_%S."


@attrs.frozen(slots=True)
class Entry:
    """A file to be: its content, mode and owner."""

    data: bytes
    mode: int
    user: int | None = None


class VolumeContents:
    """The contents of the volumes of one kubelet's pods."""

    def __init__(self, host: Host, references: References) -> None:
        self._host = host
        self._references = references
        self.certificates = PodCertificates(host, references)
        self._tokens: dict[tuple[str, str, str], tuple[str, int]] = {}
        self._frozen: dict[tuple[str, str, str], Object] = {}
        """Immutable sources, by pod's uid, kind and name: nobody looks whether they change."""
        self._followed: dict[str, Object] = {}
        """Pods whose volumes are kept up to date, by uid."""

    async def get(self, pod: Object, volume: Object, pod_ip: str) -> FileSystem:
        """The contents of a volume, made where they are not there yet."""
        key = (pod["metadata"]["uid"], volume["name"])
        made = self._host.runtime.volumes.get(key)
        if made is None:
            made = await self._make(pod, volume)
            if any(kind in volume for kind in UPDATED):
                await self._write(pod, volume, made, pod_ip)
                self._follow(pod, pod_ip)
            self._host.runtime.volumes[key] = made
        return made

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._followed.pop(uid, None)
        self.certificates.forget(uid)
        for known in (self._tokens, self._frozen):
            for key in [key for key in known if key[0] == uid]:
                del known[key]

    # -- keeping them up to date --------------------------------------------------------------

    def _follow(self, pod: Object, pod_ip: str) -> None:
        uid = pod["metadata"]["uid"]
        if uid not in self._followed:
            self._followed[uid] = pod
            self._later(uid, pod_ip)

    def _later(self, uid: str, pod_ip: str) -> None:
        host = self._host
        delay_ns = host.jittered(host.config.resync_ns, uid, "volumes", host.now_ns())
        host.process.call_later(
            delay_ns, self._due, uid, pod_ip, periodic=True, label="kubelet: contents of volumes"
        )

    def _due(self, uid: str, pod_ip: str) -> None:
        if uid in self._followed:
            self._host.process.spawn(
                self._again(uid, pod_ip), name="contents of volumes", daemon=True
            )

    async def _again(self, uid: str, pod_ip: str) -> None:
        await self.refresh(self._followed[uid], pod_ip)
        if uid in self._followed:
            self._later(uid, pod_ip)

    def followed(self, uid: str) -> bool:
        """Whether the pod's volumes are kept up to date."""
        return uid in self._followed

    async def refresh(self, pod: Object, pod_ip: str) -> None:
        """Write what has changed."""
        uid = pod["metadata"]["uid"]
        self._followed[uid] = pod
        for volume in pod["spec"].get("volumes") or ():
            made = self._host.runtime.volumes.get((uid, volume["name"]))
            if made is not None and any(kind in volume for kind in UPDATED):
                try:
                    await self._write(pod, volume, made, pod_ip)
                except ContentProblem as problem:
                    # What is there stays until the source is there again.
                    self._host.pod_event(
                        pod, WARNING, "FailedMount",
                        f'MountVolume.SetUp failed for volume "{volume["name"]}" : {problem}',
                    )

    # -- making them --------------------------------------------------------------------------

    async def _make(self, pod: Object, volume: Object) -> FileSystem:
        now_ns = self._host.now_ns()
        group = (pod["spec"].get("securityContext") or NOTHING).get("fsGroup")
        if (source := volume.get("emptyDir")) is not None:
            memory = source.get("medium") == "Memory"
            made = FileSystem("tmpfs" if memory else "ext4", mode=0o777, now_ns=now_ns)
            if memory and (limit := source.get("sizeLimit")):
                made.whole_size = quantity.value(limit)
            own(made.root, group, read_only=False)
            return made
        if any(kind in volume for kind in UPDATED):
            kind = "ext4" if "configMap" in volume else "tmpfs"
            return FileSystem(kind, mode=0o777, now_ns=now_ns)
        if (source := volume.get("hostPath")) is not None:
            return self.host_path(source)
        if "persistentVolumeClaim" in volume or "ephemeral" in volume:
            return await self._disk(pod, volume, group)
        if (source := volume.get("image")) is not None:
            return self._image(source.get("reference") or "")
        return FileSystem("ext4", mode=0o755, now_ns=now_ns)

    def _image(self, reference: str) -> FileSystem:
        program = self._host.runtime.images.software(reference)
        now_ns = self._host.now_ns()
        if isinstance(program, Executes):
            return build(program.software, now_ns)
        return FileSystem("overlay", now_ns=now_ns)

    def host_path(self, source: Object) -> FileSystem:
        """A path of the node, made where it may be.

        Raises: `ContentProblem` where it is not what it should be.
        """
        return self._host_path(source["path"], source.get("type") or "")

    def _host_path(self, path: str, kind: str) -> FileSystem:
        runtime = self._host.runtime
        if runtime.host_files is None:
            runtime.host_files = host_files.build(
                self._host.node.name, self._host.now_ns(), runtime.flavour.socket
            )
            files.put(runtime.host_files.root, node_cgroups.PLACE, node_cgroups.root(self._host))
        node = host_files.find(runtime.host_files.root, path, kind, self._host.now_ns())
        return _part(runtime.host_files, node)

    async def _disk(self, pod: Object, volume: Object, group: int | None) -> FileSystem:
        namespace = pod["metadata"]["namespace"]
        source = volume.get("persistentVolumeClaim")
        claim_name = (
            source["claimName"] if source else f"{pod['metadata']['name']}-{volume['name']}"
        )
        claim = await self._references.get(PERSISTENTVOLUMECLAIMS, namespace, claim_name)
        name = ((claim or NOTHING).get("spec") or NOTHING).get("volumeName") or ""
        found = await self._references.get(PERSISTENTVOLUMES, "", name) if name else None
        spec: Object = (found or NOTHING).get("spec") or NOTHING
        for field in ("hostPath", "local"):
            if (local := spec.get(field)) is not None:
                return self._host_path(local["path"], "DirectoryOrCreate")
        disks = self._host.runtime.disks
        uid = found["metadata"]["uid"] if found is not None else f"{namespace}/{claim_name}"
        disk = disks.get(uid)
        if disk is None:
            disk = disks[uid] = FileSystem(
                "ext4", mode=0o755, source=f"/dev/disk/{name or claim_name}",
                now_ns=self._host.now_ns(),
            )
        size = (spec.get("capacity") or NOTHING).get("storage")
        disk.whole_size = quantity.value(size) if size else None
        own(disk.root, group, read_only=False)
        return disk

    # -- data from the API --------------------------------------------------------------------

    async def _write(self, pod: Object, volume: Object, made: FileSystem, pod_ip: str) -> None:
        entries = await self._entries(pod, volume, pod_ip)
        group = (pod["spec"].get("securityContext") or NOTHING).get("fsGroup")
        if entries == current(made):
            return
        write(made, entries, self._host.now_ns())
        own(made.root, group, read_only=True)

    async def _entries(self, pod: Object, volume: Object, pod_ip: str) -> dict[str, Entry]:
        if (source := volume.get("configMap")) is not None:
            return await self._keys("ConfigMap", pod, source.get("name") or "", source, source)
        if (source := volume.get("secret")) is not None:
            return await self._keys("Secret", pod, source.get("secretName") or "", source, source)
        if (source := volume.get("downwardAPI")) is not None:
            return self._downward(pod, source, source, pod_ip)
        entries: dict[str, Entry] = {}
        source = volume["projected"]
        for number, part in enumerate(source.get("sources") or ()):
            for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
                if (ref := part.get(field)) is not None:
                    entries |= await self._keys(kind, pod, ref.get("name") or "", ref, source)
            if (ref := part.get("downwardAPI")) is not None:
                entries |= self._downward(pod, ref, source, pod_ip)
            if (ref := part.get("serviceAccountToken")) is not None:
                token = await self._token(pod, f"{volume['name']}/{number}", ref)
                entries[ref["path"]] = _credential(pod, source, ref, token.encode())
            if (ref := part.get("clusterTrustBundle")) is not None:
                anchors = await trust_anchors(self._host, self._references, ref)
                entries[ref["path"]] = _credential(pod, source, ref, anchors)
            if (ref := part.get("podCertificate")) is not None:
                key, chain = await self.certificates.get(pod, volume["name"], number, ref)
                for field, data in (
                    ("credentialBundlePath", key + chain),
                    ("keyPath", key),
                    ("certificateChainPath", chain),
                ):
                    if path := ref.get(field):
                        entries[path] = _credential(pod, source, ref, data)
        return entries

    async def _keys(
        self, kind: str, pod: Object, name: str, source: Object, defaults: Object
    ) -> dict[str, Entry]:
        meta = pod["metadata"]
        key = (meta["uid"], kind, name)
        found = self._frozen.get(key)
        if found is None:
            found = await self._references.find(kind, meta["namespace"], name, fresh=True)
            if found is not None and found.get("immutable"):
                self._frozen[key] = found
        optional = bool(source.get("optional"))
        if found is None:
            if not optional:
                raise ContentProblem(f'{kind.lower()} "{name}" not found')
            found = {"kind": kind}
        data = bytes_of(kind, found)
        mode = defaults.get("defaultMode")
        mode = DEFAULT_MODE if mode is None else mode
        user = defaults.get("defaultUser")
        items: list[Object] | None = source.get("items")
        if not items:
            return {key: Entry(data[key], mode, user) for key in sorted(data)}
        entries: dict[str, Entry] = {}
        for item in items:
            content = data.get(item["key"])
            if content is None:
                if optional:
                    continue
                words = "secret key" if kind == "Secret" else "config key"
                prefix = "" if kind == "Secret" else "configmap "
                raise ContentProblem(f"{prefix}references non-existent {words}: {item['key']}")
            own_mode = item.get("mode")
            entries[item["path"]] = Entry(
                content, mode if own_mode is None else own_mode, item.get("user", user)
            )
        return entries

    def _downward(
        self, pod: Object, source: Object, defaults: Object, pod_ip: str
    ) -> dict[str, Entry]:
        mode = defaults.get("defaultMode")
        mode = DEFAULT_MODE if mode is None else mode
        entries: dict[str, Entry] = {}
        for item in source.get("items") or ():
            if (ref := item.get("fieldRef")) is not None:
                text = field_value(pod, ref.get("fieldPath") or "", pod_ip, self._host.node.host_ip)
            else:
                text = resource_value(
                    pod, NOTHING, item.get("resourceFieldRef") or NOTHING,
                    self._host.node.capacity,
                )
            own_mode = item.get("mode")
            entries[item["path"]] = Entry(
                text.encode(), mode if own_mode is None else own_mode,
                item.get("user", defaults.get("defaultUser")),
            )
        return entries

    async def _token(self, pod: Object, where: str, ref: Object) -> str:
        meta, host = pod["metadata"], self._host
        seconds = ref.get("expirationSeconds") or TOKEN_SECONDS
        audience = ref.get("audience") or ""
        key = (meta["uid"], where, f"{audience}/{seconds}")
        found = self._tokens.get(key)
        if found is not None and host.now_ns() < found[1]:
            return found[0]
        spec: Object = {
            "expirationSeconds": seconds,
            "boundObjectRef": {
                "apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"],
            },
        }
        if audience:
            spec["audiences"] = [audience]
        answer = await host.client.create(
            SERVICEACCOUNTS, meta["namespace"],
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
            name=pod["spec"].get("serviceAccountName") or "default", subresource="token",
        )
        token: str = answer["status"]["token"]
        # Upstream asks for another one when four fifths of its time, or a day, have passed.
        age_ns = min(seconds * 4 // 5, 86_400) * NS
        self._tokens[key] = (token, host.now_ns() + age_ns)
        return token


def follows_others(pod: Object, container: Object) -> bool:
    """Whether a container mounts what follows objects of its pod's author: ConfigMaps, Secrets, its
    labels; the credentials that every pod has are nobody's.
    """
    mounted = {mount["name"] for mount in container.get("volumeMounts") or ()}
    return any(
        volume["name"] in mounted
        and ("projected" not in volume or not _is_access(volume["projected"]))
        for volume in pod["spec"].get("volumes") or ()
        if any(kind in volume for kind in UPDATED)
    )


def _is_access(projected: Object) -> bool:
    """Whether it is what the API server puts into every pod (`kube-api-access`)."""
    return all(
        "serviceAccountToken" in source
        or (source.get("configMap") or NOTHING).get("name") == ROOT_CA
        or [item["path"] for item in (source.get("downwardAPI") or NOTHING).get("items") or ()]
        == ["namespace"]
        for source in projected.get("sources") or ()
    )


def _part(system: FileSystem, root: Node) -> FileSystem:
    """A file system whose root is a part of another one."""
    made = FileSystem(system.kind, source=system.source)
    made.root = root
    return made


def bytes_of(kind: str, obj: Object) -> dict[str, bytes]:
    """The data of a ConfigMap or a Secret."""
    data: dict[str, Any] = obj.get("data") or NOTHING
    if kind == "Secret":
        return {key: base64.b64decode(value or "") for key, value in data.items()}
    found = {key: str(value).encode() for key, value in data.items()}
    for key, value in (obj.get("binaryData") or NOTHING).items():
        found[key] = base64.b64decode(value or "")
    return found


def _credential(pod: Object, source: Object, ref: Object, data: bytes) -> Entry:
    """A token or certificate, readable by its user only where there is one."""
    user = ref.get("user", source.get("defaultUser"))
    if user is None:
        user = _common_user(pod)
    mode = source.get("defaultMode")
    mode = DEFAULT_MODE if mode is None else mode
    context = pod["spec"].get("securityContext") or NOTHING
    if user is not None or context.get("fsGroup") is not None:
        mode = 0o600
    return Entry(data, mode, user)


def _common_user(pod: Object) -> int | None:
    """The user as whom all containers run, if the pod says it of all (`FsUserFrom`)."""
    spec = pod["spec"]
    own = (spec.get("securityContext") or NOTHING).get("runAsUser")
    found: set[Any] = set()
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            found.add((container.get("securityContext") or NOTHING).get("runAsUser", own))
    only = next(iter(found)) if len(found) == 1 else None
    return only if isinstance(only, int) else None


# -- the atomic writer -----------------------------------------------------------------------


def write(made: FileSystem, entries: dict[str, Entry], now_ns: int) -> None:
    """Replace what is in a volume, at one instant."""
    root = made.root
    name = strftime(TIME_FORMAT, now_ns) + str(now_ns % NS)
    while name in root.entries:
        name += "0"
    folder = files.directory(0o755, mtime_ns=now_ns)
    for path, entry in entries.items():
        node = files.regular(entry.data, entry.mode, mtime_ns=now_ns, uid=entry.user or 0)
        files.put(folder, path, node)
    old = root.entries.get(DATA)
    root.entries[name] = folder
    root.entries[DATA] = files.link(name, mtime_ns=now_ns)
    if old is not None:
        root.entries.pop(old.target, None)
    tops = {path.split("/", 1)[0] for path in entries}
    for top in list(root.entries):
        if not top.startswith("..") and top not in tops:
            del root.entries[top]
    for top in sorted(tops):
        if top not in root.entries:
            root.entries[top] = files.link(f"{DATA}/{top}", mtime_ns=now_ns)
    root.mtime_ns = now_ns


def current(made: FileSystem) -> dict[str, Entry] | None:
    """What was written last; None before."""
    data = made.root.entries.get(DATA)
    if data is None:
        return None
    folder = made.root.entries[data.target]
    written = {
        path[1:]: Entry(node.read(), node.mode & 0o7777, node.uid or None)
        for path, node in files.walk(folder)
        if node.kind == FILE
    }
    return {path: written[path] for path in sorted(written)}


def own(root: Node, group: int | None, *, read_only: bool) -> None:
    """Give files to a pod's fsGroup (`SetVolumeOwnership`)."""
    if group is None:
        return
    for _, node in files.walk(root):
        node.gid = group
        if node.kind == LINK:
            continue
        node.mode |= 0o440 if read_only else 0o660
        if node.kind == DIRECTORY:
            node.mode |= 0o2110

