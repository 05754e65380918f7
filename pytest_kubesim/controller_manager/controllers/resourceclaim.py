"""The resource claim controller: pods get the claims that templates describe; claims lose old pods.

The law: a pod's claim is made once, and its name is written into the pod's status.  A pod that has
ended, or is gone, is taken from the pods for which a claim is reserved; a claim that nobody needs
any more loses its allocation, and goes if it was made for a pod.

Claims of pod groups are not made.

Follows `pkg/controller/resourceclaim/controller.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import GroupResource, GroupVersionResource
from pytest_kubesim.client_go.resources import PODS
from pytest_kubesim.client_go.store import key_of
from pytest_kubesim.controller_manager import fields, pods
from pytest_kubesim.controller_manager.controller import RETRIABLE, Controller, SyncError
from pytest_kubesim.registry.resource.allocations import FINALIZER

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

CLAIMS = GroupVersionResource("resource.k8s.io", "v1", "resourceclaims")
TEMPLATES = GroupVersionResource("resource.k8s.io", "v1", "resourceclaimtemplates")

ANNOTATION = "resource.kubernetes.io/pod-claim-name"
FIELD_MANAGER = "ResourceClaimController"
LONGEST_BASE = 57

FAILED = "FailedResourceClaimCreation"

_TEMPLATE_INDEX = "pod-resource-claim-template"
_CLAIM_INDEX = "pod-resource-claim"
_OWNER_INDEX = "claim-pod-owner"
_CLAIM, _POD = "claim:", "pod:"


def _pod_claims(pod: Object) -> list[Object]:
    return fields.objects(fields.spec(pod), "resourceClaims")


def _made_names(pod: Object) -> dict[str, str | None]:
    """The claims that were made for a pod: by its own name for each; None: none was needed."""
    return {
        entry["name"]: entry.get("resourceClaimName")
        for entry in fields.objects(fields.status(pod), "resourceClaimStatuses")
    }


def _claim_names(pod: Object) -> list[str]:
    made = _made_names(pod)
    names = [
        entry.get("resourceClaimName") or made.get(entry["name"]) for entry in _pod_claims(pod)
    ]
    extended = fields.mapping(fields.status(pod), "extendedResourceClaimStatus")
    names.append(extended.get("resourceClaimName"))
    return [name for name in names if name]


def _by_claim(pod: Object) -> list[str]:
    return [f"{meta.namespace(pod)}/{name}" for name in _claim_names(pod)]


def _by_template(pod: Object) -> list[str]:
    return [
        f"{meta.namespace(pod)}/{entry['resourceClaimTemplateName']}"
        for entry in _pod_claims(pod)
        if entry.get("resourceClaimTemplateName")
    ]


def _by_owner(claim: Object) -> list[str]:
    owner = meta.controller_of(claim)
    return [owner["uid"]] if owner is not None and owner["kind"] == "Pod" else []


def _is_done(pod: Object) -> bool:
    """Whether a pod will never run (again)."""
    return pods.is_terminal(pod) or bool(
        meta.deletion_timestamp(pod) and not fields.spec(pod).get("nodeName")
    )


class ResourceClaimController(Controller):
    """Makes resource claims, and lets them go."""

    name = "resourceclaim-controller"
    service_account = "resource-claim-controller"
    component = "resource_claim"
    workers: ClassVar[int] = 50

    def setup(self) -> None:
        """Listen to pods, claims and templates."""
        self.deleted: dict[str, None] = {}
        """UIDs of pods that were seen to go."""
        self.claims = self.watch(
            CLAIMS, add=self._claim, update=self._claim_updated, delete=self._claim_deleted
        )
        self.claims.add_indexer(_OWNER_INDEX, _by_owner)
        self.templates = self.watch(TEMPLATES, add=self._template)
        self.pods = self.watch(
            PODS, add=self._pod, update=self._pod_updated, delete=self._pod_deleted
        )
        self.pods.add_indexer(_TEMPLATE_INDEX, _by_template)
        self.pods.add_indexer(_CLAIM_INDEX, _by_claim)

    # -- handlers -----------------------------------------------------------------------------

    def _pod(self, pod: Object) -> None:
        if not _pod_claims(pod) and not fields.status(pod).get("extendedResourceClaimStatus"):
            return
        if _is_done(pod):
            self._enqueue_claims_of(pod)
        elif not meta.deletion_timestamp(pod):
            self.queue.add(_POD + key_of(pod))

    def _pod_updated(self, _old: Object, pod: Object) -> None:
        self._pod(pod)

    def _pod_deleted(self, pod: Object) -> None:
        names = _claim_names(pod)
        if names:
            self.deleted[meta.uid(pod)] = None
            if len(self.deleted) > 500:
                del self.deleted[next(iter(self.deleted))]
            self._enqueue_claims_of(pod)

    def _enqueue_claims_of(self, pod: Object) -> None:
        for key in _by_claim(pod):
            self.queue.add(_CLAIM + key)

    def _claim(self, claim: Object) -> None:
        self.queue.add(_CLAIM + key_of(claim))
        self._claim_deleted(claim)

    def _claim_updated(self, _old: Object, claim: Object) -> None:
        self._claim(claim)

    def _claim_deleted(self, claim: Object) -> None:
        for pod in self.pods.by_index(_CLAIM_INDEX, key_of(claim)):
            self._pod(pod)

    def _template(self, template: Object) -> None:
        for pod in self.pods.by_index(_TEMPLATE_INDEX, key_of(template)):
            self._pod(pod)

    async def reconcile(self, key: str) -> None:
        """Sync a pod's claims, or one claim."""
        if key.startswith(_POD):
            pod = self.pods.get(key.removeprefix(_POD))
            if pod is not None and not meta.deletion_timestamp(pod) and not _is_done(pod):
                await self._sync_pod(pod)
        else:
            claim = self.claims.get(key.removeprefix(_CLAIM))
            if claim is not None:
                await self._sync_claim(claim)

    # -- pods ---------------------------------------------------------------------------------

    async def _sync_pod(self, pod: Object) -> None:
        made: dict[str, str] = {}
        for entry in _pod_claims(pod):
            try:
                name = await self._claim_for(pod, entry)
            except RETRIABLE as error:
                message = f"PodResourceClaim {entry['name']}: {error}"
                self.event(pod, "Warning", FAILED, message)
                raise SyncError(f"pod {key_of(pod)}, {message}") from None
            if name:
                made[entry["name"]] = name
        if made:
            await self._tell(pod, made)
        if fields.spec(pod).get("nodeName"):
            await self._reserve(pod)

    async def _claim_for(self, pod: Object, entry: Object) -> str:
        """The name of the claim that was made for a pod just now, or was found; else empty."""
        namespace = meta.namespace(pod)
        template_name = entry.get("resourceClaimTemplateName")
        if not template_name:
            return ""
        known = _made_names(pod)
        if entry["name"] in known:
            name = known[entry["name"]]
            if name is None:
                return ""
            present = self.claims.get_by_name(namespace, name)
            if present is not None and meta.is_controlled_by(present, pod):
                return ""
        for claim in self.claims.by_index(_OWNER_INDEX, meta.uid(pod)):
            if meta.annotations(claim).get(ANNOTATION) == entry["name"]:
                return meta.name(claim)
        template = self.templates.get_by_name(namespace, template_name)
        if template is None:
            missing = status.new_not_found(
                GroupResource("resource.k8s.io", "resourceclaimtemplate"), template_name
            )
            raise SyncError(f"resource claim template {quote(template_name)}: {missing}")
        try:
            claim = await self.client.create(CLAIMS, namespace, _from(template, pod, entry["name"]))
        except RETRIABLE as error:
            raise SyncError(f"create ResourceClaim : {error}") from None
        if self.claims.get(key_of(claim)) is None:
            self.claims.put(claim)
        return meta.name(claim)

    async def _tell(self, pod: Object, made: dict[str, str]) -> None:
        merged = {name: claim for name, claim in _made_names(pod).items() if claim}
        merged.update(made)
        namespace, name = meta.namespace(pod), meta.name(pod)
        statuses = [
            {"name": entry, "resourceClaimName": merged[entry]} for entry in sorted(merged)
        ]
        patch = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace},
            "status": {"resourceClaimStatuses": statuses},
        }
        try:
            await self.client.patch(
                PODS, namespace, name, patch, patch_type="apply", subresource="status",
                field_manager=FIELD_MANAGER, force=True,
            )
        except RETRIABLE as error:
            raise SyncError(
                f"update pod {namespace}/{name} ResourceClaimStatuses: {error}"
            ) from None

    async def _reserve(self, pod: Object) -> None:
        """Reserve what is allocated for a pod that got its node without the scheduler."""
        for name in _claim_names(pod):
            claim = self.claims.get_by_name(meta.namespace(pod), name)
            if claim is None:
                return
            state = fields.status(claim)
            reserved = fields.objects(state, "reservedFor")
            if (
                state.get("allocation") is None
                or any(entry.get("uid") == meta.uid(pod) for entry in reserved)
                or len(reserved) >= 256
            ):
                continue
            consumer = {"resource": "pods", "name": meta.name(pod), "uid": meta.uid(pod)}
            await self._update(meta.with_status(claim, reservedFor=[*reserved, consumer]), "status")

    async def _update(self, claim: Object, subresource: str = "") -> Object:
        return await self.client.update(
            CLAIMS, meta.namespace(claim), claim, subresource=subresource
        )

    # -- claims -------------------------------------------------------------------------------

    async def _sync_claim(self, claim: Object) -> None:
        reserved = fields.objects(fields.status(claim), "reservedFor")
        remaining = [entry for entry in reserved if await self._is_needed(claim, entry)]
        held = FINALIZER in meta.finalizers(claim)
        changed = claim
        if len(remaining) < len(reserved):
            changed = meta.with_status(claim, reservedFor=remaining or None)
            if not remaining and held:
                changed = meta.with_status(changed, allocation=None)
            changed = await self._update(changed, "status")
            if held and fields.status(changed).get("allocation") is None:
                await self._release(changed)
        elif held and meta.deletion_timestamp(claim) and not remaining:
            if fields.status(claim).get("allocation") is not None:
                changed = await self._update(meta.with_status(claim, allocation=None), "status")
            await self._release(changed)
        if not remaining:
            await self._delete_if_done(claim)

    async def _release(self, claim: Object) -> None:
        kept = [name for name in meta.finalizers(claim) if name != FINALIZER]
        await self._update(meta.with_metadata(claim, finalizers=kept or None))

    async def _is_needed(self, claim: Object, entry: Object) -> bool:
        if entry.get("apiGroup") or entry.get("resource") != "pods":
            return True
        uid, namespace = entry.get("uid", ""), meta.namespace(claim)
        if uid in self.deleted:
            return False
        pod = self.pods.get_by_name(namespace, entry["name"])
        if pod is None:
            try:
                pod = await self.client.get(PODS, namespace, entry["name"])
            except status.APIStatus as error:
                if not status.is_not_found(error):
                    raise
                return False
            return meta.uid(pod) == uid
        return meta.uid(pod) == uid and not _is_done(pod)

    async def _delete_if_done(self, claim: Object) -> None:
        owner = meta.controller_of(claim)
        if owner is None or owner["kind"] != "Pod" or owner["apiVersion"] != "v1":
            return
        pod = self.pods.get_by_name(meta.namespace(claim), owner["name"])
        if pod is not None and (meta.uid(pod) != owner["uid"] or _is_done(pod)):
            try:
                await self.client.delete(CLAIMS, meta.namespace(claim), meta.name(claim))
            except status.APIStatus as error:
                raise SyncError(
                    f"delete unused generated claim {key_of(claim)}: {error}"
                ) from None


def _from(template: Object, pod: Object, name: str) -> Object:
    """The claim that a template describes, for a pod's claim of that name."""
    spec = fields.spec(template)
    given = fields.mapping(spec, "metadata")
    pod_name = meta.name(pod)
    base = f"{pod_name}-{name}-"
    if len(base) > LONGEST_BASE:
        length = len(base)
        shortened = pod_name[: len(pod_name) * LONGEST_BASE // length]
        base = f"{shortened}-{name[: len(name) * LONGEST_BASE // length]}"
    metadata: Object = {
        "generateName": base,
        "ownerReferences": [{
            "apiVersion": "v1", "kind": "Pod", "name": pod_name, "uid": meta.uid(pod),
            "controller": True,
        }],
        "annotations": {**fields.strings(given, "annotations"), ANNOTATION: name},
    }
    if given.get("labels"):
        metadata["labels"] = given["labels"]
    return {
        "kind": "ResourceClaim",
        "apiVersion": "resource.k8s.io/v1",
        "metadata": metadata,
        "spec": fields.spec(spec),
    }


CONTROLLER = ResourceClaimController
