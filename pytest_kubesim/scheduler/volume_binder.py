"""Which volumes a pod's claims get on which node, assumed first and then written.

The law: a claim or volume that was assumed counts in its assumed form until the informer brings
something newer.  Nothing is written before PreBind; then the volumes' (`claimRef`) and the claims'
(`selected-node`) updates are written, and binding waits until the volume controllers are done.

Follows `pkg/scheduler/framework/plugins/volumebinding/binder.go` and `util/assumecache`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery import labels as label_selectors
from pytest_kubesim.apimachinery import meta
from pytest_kubesim.client_go.resources import (
    CSIDRIVERS,
    CSISTORAGECAPACITIES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    STORAGECLASSES,
)
from pytest_kubesim.scheduler.node_selection import NOTHING
from pytest_kubesim.scheduler.pod_info import claim_name
from pytest_kubesim.scheduler.volumes import (
    WAIT_FOR_FIRST_CONSUMER,
    bind_to_claim,
    claim_class,
    find_matching_volume,
    is_fully_bound,
    reaches,
    requested_storage,
    topology_allows,
    volume_class,
    volume_limit,
)
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.tasks import Event

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.store import Store
    from pytest_kubesim.scheduler.framework import Handle
    from pytest_kubesim.scheduler.node_info import NodeInfo
    from pytest_kubesim.scheduler.pod_info import PodInfo

SELECTED_NODE = "volume.kubernetes.io/selected-node"
NO_PROVISIONER = "kubernetes.io/no-provisioner"

BIND_CONFLICT = "node(s) didn't find available persistent volumes to bind"
NODE_CONFLICT = "node(s) didn't match PersistentVolume's node affinity"
NOT_ENOUGH_SPACE = "node(s) did not have enough free storage"
PV_NOT_EXIST = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"

BIND_TIMEOUT_NS = 600 * NS


class BinderError(Exception):
    """A mishap in finding or binding volumes; its text is upstream's."""


@attrs.define(slots=True)
class PodVolumeClaims:
    """A pod's claims by what is to be done about them."""

    bound: list[Object] = attrs.field(factory=list[Any])
    delayed: list[Object] = attrs.field(factory=list[Any])
    immediate: list[Object] = attrs.field(factory=list[Any])


@attrs.define(slots=True)
class PodVolumes:
    """What a pod's claims would get on one node."""

    static: list[tuple[Object, Object]] = attrs.field(factory=list[Any])
    """Volumes with the claims they are to be bound to."""
    dynamic: list[Object] = attrs.field(factory=list[Any])
    """Claims for which a volume is to be made."""
    capacities: list[Object | None] = attrs.field(factory=list[Any])
    """For each of `dynamic` the storage capacity that was found, if any was asked for."""


class AssumeCache:
    """An informer's objects, with those assumed in place of their older forms."""

    __slots__ = ("_assumed", "_store")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._assumed: dict[str, tuple[str, Object]] = {}

    def get(self, key: str) -> Object | None:
        """The object, assumed or real."""
        real = self._store.get(key)
        assumed = self._assumed.get(key)
        if assumed is None:
            return real
        if real is None or meta.resource_version(real) != assumed[0]:
            del self._assumed[key]
            return real
        return assumed[1]

    def api(self, key: str) -> Object | None:
        """The object as the informer has it."""
        return self._store.get(key)

    def list(self) -> list[Object]:
        """All objects, assumed or real."""
        if not self._assumed:
            return self._store.list()
        found = (self.get(key) for key in self._store.keys())  # noqa: SIM118 - not a mapping
        return [obj for obj in found if obj is not None]

    def assume(self, key: str, obj: Object) -> None:
        """`obj` is what it will be, unless the informer says otherwise."""
        self._assumed[key] = (meta.resource_version(obj), obj)

    def restore(self, key: str) -> None:
        """The assumption was wrong."""
        self._assumed.pop(key, None)


class VolumeBinder:
    """Finds, assumes and binds the volumes of pods."""

    def __init__(self, handle: Handle, timeout_ns: int = BIND_TIMEOUT_NS) -> None:
        self._handle = handle
        self._timeout_ns = timeout_ns
        informers = handle.informers
        claims = informers.informer(PERSISTENTVOLUMECLAIMS)
        volumes = informers.informer(PERSISTENTVOLUMES)
        self.claims = AssumeCache(claims.store)
        self.volumes = AssumeCache(volumes.store)
        self.classes = informers.informer(STORAGECLASSES).store
        self._drivers = informers.informer(CSIDRIVERS).store
        self._capacities = informers.informer(CSISTORAGECAPACITIES).store
        self._changed = Event(handle.process.kernel)
        for informer in (claims, volumes):
            informer.add_event_handler(
                add=self._note, update=lambda _old, new: self._note(new), delete=self._note
            )

    def _note(self, _obj: Object) -> None:
        self._changed.set()
        self._changed.clear()

    # -- what a pod has and needs --------------------------------------------------------------

    def claims_of(self, pod: PodInfo) -> PodVolumeClaims:
        """The pod's claims, sorted by what is to be done."""
        found = PodVolumeClaims()
        for volume in pod.spec.get("volumes") or ():
            name = claim_name(pod.pod, volume)
            if not name:
                continue
            key = f"{pod.namespace}/{name}"
            claim = self.claims.get(key)
            if claim is None:
                raise BinderError(
                    f'error getting PVC "{key}": could not find v1.PersistentVolumeClaim "{key}"'
                )
            if is_fully_bound(claim):
                found.bound.append(claim)
            elif self._is_delayed(claim) and not claim["spec"].get("volumeName"):
                found.delayed.append(claim)
            else:
                found.immediate.append(claim)
        return found

    def _is_delayed(self, claim: Object) -> bool:
        class_name = claim_class(claim)
        storage_class = self.classes.get(class_name) if class_name else None
        if storage_class is None:
            return False
        return storage_class.get("volumeBindingMode") == WAIT_FOR_FIRST_CONSUMER

    def find(self, claims: PodVolumeClaims, node: NodeInfo) -> tuple[PodVolumes, list[str]]:
        """What the claims would get on `node`, and why they would not."""
        volumes = PodVolumes()
        reasons: list[str] = []
        exists = self._check_bound(claims.bound, node, reasons)
        matched = enough = True
        if claims.delayed:
            to_match: list[Object] = []
            to_provision: list[Object] = []
            for claim in claims.delayed:
                selected = meta.annotations(claim).get(SELECTED_NODE)
                if selected is None:
                    to_match.append(claim)
                elif selected != node.name:
                    return volumes, [*reasons, BIND_CONFLICT]
                else:
                    to_provision.append(claim)
            to_provision += self._match(to_match, node, volumes)
            matched, enough = self._check_provisions(to_provision, node, volumes)
        if not matched:
            reasons.append(BIND_CONFLICT)
        if not enough:
            reasons.append(NOT_ENOUGH_SPACE)
        if not exists:
            reasons.append(PV_NOT_EXIST)
        return volumes, reasons

    def _check_bound(self, claims: Sequence[Object], node: NodeInfo, reasons: list[str]) -> bool:
        for claim in claims:
            volume = self.volumes.get(claim["spec"]["volumeName"])
            if volume is None:
                return False
            if not reaches(volume, node.labels):
                reasons.append(NODE_CONFLICT)
                return True
        return True

    def _match(
        self, claims: list[Object], node: NodeInfo, volumes: PodVolumes
    ) -> list[Object]:
        chosen: set[str] = set()
        unmatched: list[Object] = []
        if not claims:
            return unmatched
        available = self.volumes.list()
        for claim in sorted(claims, key=requested_storage):
            wanted = claim_class(claim)
            candidates = [v for v in available if volume_class(v) == wanted]
            volume = find_matching_volume(claim, candidates, node, chosen)
            if volume is None:
                unmatched.append(claim)
            else:
                chosen.add(volume["metadata"]["name"])
                volumes.static.append((volume, claim))
        return unmatched

    def _check_provisions(
        self, claims: Sequence[Object], node: NodeInfo, volumes: PodVolumes
    ) -> tuple[bool, bool]:
        for claim in claims:
            class_name = claim_class(claim)
            if not class_name:
                raise BinderError(f'no class for claim "{meta.key_of(claim)}"')
            storage_class = self.classes.get(class_name)
            if storage_class is None:
                raise BinderError(f'failed to find storage class "{class_name}"')
            provisioner = storage_class.get("provisioner")
            if not provisioner or provisioner == NO_PROVISIONER:
                return False, True
            if not topology_allows(storage_class.get("allowedTopologies") or [], node.labels):
                return False, True
            enough, capacity = self._capacity(provisioner, claim, class_name, node)
            if not enough:
                return True, False
            volumes.dynamic.append(claim)
            volumes.capacities.append(capacity)
        return True, True

    def _capacity(
        self, provisioner: str, claim: Object, class_name: str, node: NodeInfo
    ) -> tuple[bool, Object | None]:
        size = requested_storage(claim)
        driver = self._drivers.get(provisioner)
        if not size or driver is None or not (driver.get("spec") or NOTHING).get("storageCapacity"):
            return True, None
        for capacity in self._capacities.list():
            if capacity.get("storageClassName") != class_name:
                continue
            limit = volume_limit(capacity)
            topology = capacity.get("nodeTopology")
            if limit is None or limit < size or topology is None:
                continue
            if label_selectors.from_label_selector(topology).matches(node.labels):
                return True, capacity
        return False, None

    # -- assuming ------------------------------------------------------------------------------

    def assume(self, pod: PodInfo, node_name: str, volumes: PodVolumes) -> bool:
        """Assume `volumes` for `pod`; True when everything is bound already."""
        if all(
            (claim := self.claims.get(key)) is not None and is_fully_bound(claim)
            for key in pod.claims
        ):
            return True
        static: list[tuple[Object, Object]] = []
        for volume, claim in volumes.static:
            prebound = bind_to_claim(volume, claim)
            if prebound is not volume:
                self.volumes.assume(volume["metadata"]["name"], prebound)
            static.append((prebound, claim))
        dynamic: list[Object] = []
        for claim in volumes.dynamic:
            annotations = {**meta.annotations(claim), SELECTED_NODE: node_name}
            selected = meta.with_metadata(claim, annotations=annotations)
            self.claims.assume(meta.key_of(claim), selected)
            dynamic.append(selected)
        volumes.static, volumes.dynamic = static, dynamic
        return False

    def revert(self, volumes: PodVolumes) -> None:
        """Take back what was assumed."""
        for volume, _ in volumes.static:
            self.volumes.restore(volume["metadata"]["name"])
        for claim in volumes.dynamic:
            self.claims.restore(meta.key_of(claim))

    # -- binding -------------------------------------------------------------------------------

    async def bind(self, pod: PodInfo, node: NodeInfo | None, volumes: PodVolumes) -> None:
        """Write what was assumed, and wait until it is true.  Raises `BinderError`."""
        client = self._handle.client
        kernel = self._handle.process.kernel
        try:
            for i, (volume, claim) in enumerate(volumes.static):
                written = await client.update(PERSISTENTVOLUMES, "", volume)
                volumes.static[i] = (written, claim)
            for i, claim in enumerate(volumes.dynamic):
                namespace = meta.namespace(claim)
                volumes.dynamic[i] = await client.update(PERSISTENTVOLUMECLAIMS, namespace, claim)
        except BaseException:
            self.revert(volumes)
            raise
        deadline_ns = kernel.now_ns + self._timeout_ns
        while not self._is_bound(pod, node, volumes):
            if kernel.now_ns >= deadline_ns or not await kernel.wait_any(
                self._changed.future(), timeout_ns=deadline_ns - kernel.now_ns
            ):
                raise BinderError("binding volumes: context deadline exceeded")

    def _is_bound(self, pod: PodInfo, node: NodeInfo | None, volumes: PodVolumes) -> bool:
        if node is None:
            raise BinderError(f'binding volumes: failed to get node "{pod.node_name}"')
        if self._handle.get_pod(pod.namespace, pod.name) is None:
            raise BinderError(
                f'binding volumes: pod does not exist any more: pod "{pod.name}" not found'
            )
        return all(
            self._static_bound(volume, claim, node) for volume, claim in volumes.static
        ) and all(self._dynamic_bound(claim, node) for claim in volumes.dynamic)

    def _static_bound(self, written: Object, claim: Object, node: NodeInfo) -> bool:
        name = written["metadata"]["name"]
        volume = self.volumes.api(name)
        current = self.claims.api(meta.key_of(claim))
        if volume is None or current is None:
            raise BinderError("binding volumes: failed to check binding: object not found")
        if _version(written) > _version(volume):
            return False
        self._demand_reach(volume, node)
        reference = volume["spec"].get("claimRef")
        if not reference or not reference.get("uid"):
            raise BinderError(f'binding volumes: ClaimRef got reset for pv "{name}"')
        return is_fully_bound(current)

    def _dynamic_bound(self, written: Object, node: NodeInfo) -> bool:
        claim = self.claims.api(meta.key_of(written))
        if claim is None:
            raise BinderError("binding volumes: failed to check provisioning pvc: not found")
        if _version(written) > _version(claim):
            return False
        name = claim["metadata"]["name"]
        annotations = claim["metadata"].get("annotations")
        if annotations is None:
            raise BinderError(f'binding volumes: selectedNode annotation reset for PVC "{name}"')
        if annotations.get(SELECTED_NODE) != node.name:
            raise BinderError(f'binding volumes: provisioning failed for PVC "{name}"')
        volume_name = claim["spec"].get("volumeName")
        if volume_name:
            volume = self.volumes.api(volume_name)
            if volume is None:
                return False
            self._demand_reach(volume, node)
        return is_fully_bound(claim)

    @staticmethod
    def _demand_reach(volume: Object, node: NodeInfo) -> None:
        if not reaches(volume, node.labels):
            name = volume["metadata"]["name"]
            raise BinderError(
                f'binding volumes: pv "{name}" node affinity doesn\'t match node "{node.name}": '
                "no matching NodeSelectorTerms"
            )


def _version(obj: Object) -> int:
    text = meta.resource_version(obj)
    return int(text) if text.isdigit() else 0
