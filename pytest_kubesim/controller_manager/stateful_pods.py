"""What pods of a StatefulSet are called, which claims are theirs, and whose the claims are.

Pure functions.  Follows `pkg/controller/statefulset/stateful_set_utils.go`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import meta
from pytest_kubesim.apimachinery.meta import GroupVersionKind
from pytest_kubesim.controller_manager import fields, pods
from pytest_kubesim.controller_manager.pod_control import pod_from_template

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

KIND = GroupVersionKind("apps", "v1", "StatefulSet")
POD_KIND = GroupVersionKind("", "v1", "Pod")

REVISION_LABEL = "controller-revision-hash"
POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"

RETAIN, DELETE = "Retain", "Delete"

_POD_NAME = re.compile(r"(.*)-([0-9]+)$", re.DOTALL)
_MAX_INT32 = 2**31 - 1


def parent_and_ordinal(pod: Object) -> tuple[str, int]:
    """The set's name and the ordinal that a pod's name says; ("", -1) if it says none."""
    return _parent_and_ordinal(pod["metadata"]["name"])


@lru_cache(maxsize=16_384)
def _parent_and_ordinal(name: str) -> tuple[str, int]:
    match = _POD_NAME.match(name)
    if match is None:
        return "", -1
    ordinal = int(match[2])
    return match[1], ordinal if ordinal <= _MAX_INT32 else -1


def ordinal_of(pod: Object) -> int:
    """The ordinal that a pod's name says, or -1."""
    return parent_and_ordinal(pod)[1]


def replicas(stateful_set: Object) -> int:
    """`spec.replicas`."""
    return fields.number(stateful_set["spec"], "replicas")


def start_ordinal(stateful_set: Object) -> int:
    """The first ordinal."""
    return fields.number(fields.mapping(stateful_set["spec"], "ordinals"), "start")


def in_range(pod: Object, stateful_set: Object) -> bool:
    """Whether the set wants a pod of that ordinal."""
    start = start_ordinal(stateful_set)
    return start <= ordinal_of(pod) < start + replicas(stateful_set)


def pod_name(stateful_set: Object, ordinal: int) -> str:
    """What the pod of an ordinal is called."""
    return f"{meta.name(stateful_set)}-{ordinal}"


def is_member(stateful_set: Object, pod: Object) -> bool:
    """Whether the pod's name is one the set would give."""
    return parent_and_ordinal(pod)[0] == meta.name(stateful_set)


def claim_name(stateful_set: Object, template: Object, ordinal: int) -> str:
    """What the claim of a template and an ordinal is called."""
    return f"{meta.name(template)}-{meta.name(stateful_set)}-{ordinal}"


def claim_templates(stateful_set: Object) -> list[Object]:
    """`spec.volumeClaimTemplates`."""
    return fields.objects(stateful_set["spec"], "volumeClaimTemplates")


def revision_of(pod: Object) -> str:
    """The revision that its label says."""
    return meta.labels(pod).get(REVISION_LABEL, "")


def identity_matches(stateful_set: Object, pod: Object) -> bool:
    """Whether name, namespace and the label of the name are as they should be."""
    parent, ordinal = parent_and_ordinal(pod)
    return (
        ordinal >= 0
        and parent == meta.name(stateful_set)
        and meta.name(pod) == pod_name(stateful_set, ordinal)
        and meta.namespace(pod) == meta.namespace(stateful_set)
        and meta.labels(pod).get(POD_NAME_LABEL, "") == meta.name(pod)
    )


def storage_matches(stateful_set: Object, pod: Object) -> bool:
    """Whether the pod mounts the claims that are its own."""
    ordinal = ordinal_of(pod)
    if ordinal < 0:
        return False
    volumes = {v["name"]: v for v in fields.objects(pod["spec"], "volumes")}
    for template in claim_templates(stateful_set):
        volume = volumes.get(meta.name(template), {})
        claim = fields.mapping(volume, "persistentVolumeClaim").get("claimName")
        if claim != claim_name(stateful_set, template, ordinal):
            return False
    return True


def claims_of(stateful_set: Object, pod: Object) -> dict[str, Object]:
    """The claims of a pod, by the name of their template."""
    ordinal = ordinal_of(pod)
    matched = fields.strings(fields.mapping(stateful_set["spec"], "selector"), "matchLabels")
    return {
        meta.name(template): {
            **template,
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                **template["metadata"],
                "name": claim_name(stateful_set, template, ordinal),
                "namespace": meta.namespace(stateful_set),
                "labels": {**meta.labels(template), **matched},
            },
        }
        for template in claim_templates(stateful_set)
    }


def with_storage(stateful_set: Object, pod: Object) -> Object:
    """The pod with its claims as volumes, in front of those it has besides."""
    claims = claims_of(stateful_set, pod)
    volumes: list[Object] = [
        {"name": name, "persistentVolumeClaim": {"claimName": meta.name(claim)}}
        for name, claim in claims.items()
    ]
    volumes += [v for v in fields.objects(pod["spec"], "volumes") if v["name"] not in claims]
    if not volumes:
        return pod
    return {**pod, "spec": {**pod["spec"], "volumes": volumes}}


def with_identity(stateful_set: Object, pod: Object) -> Object:
    """The pod with the name, namespace and labels of its ordinal."""
    ordinal = ordinal_of(pod)
    name = pod_name(stateful_set, ordinal)
    labels = {**meta.labels(pod), POD_NAME_LABEL: name, POD_INDEX_LABEL: str(ordinal)}
    return meta.with_metadata(
        pod, name=name, namespace=meta.namespace(stateful_set), labels=labels
    )


def new_pod(stateful_set: Object, ordinal: int, revision: str) -> Object:
    """The pod of an ordinal, of the template that the set has."""
    reference = meta.new_controller_ref(stateful_set, KIND)
    pod = pod_from_template(stateful_set["spec"]["template"], stateful_set, reference)
    pod = meta.with_metadata(pod, name=pod_name(stateful_set, ordinal))
    pod = with_identity(stateful_set, pod)
    identity: dict[str, Any] = {"hostname": meta.name(pod)}
    service = fields.text(stateful_set["spec"], "serviceName")
    spec = {**pod["spec"], **identity}
    if service:
        spec["subdomain"] = service
    else:
        spec.pop("subdomain", None)
    pod = with_storage(stateful_set, {**pod, "spec": spec})
    return meta.with_metadata(pod, labels={**meta.labels(pod), REVISION_LABEL: revision})


def new_versioned_pod(
    current_set: Object, update_set: Object, current: str, update: str, ordinal: int
) -> Object:
    """The pod of an ordinal, of the current revision below the partition, else of the update's."""
    strategy = fields.mapping(current_set["spec"], "updateStrategy")
    start = start_ordinal(current_set)
    rolling = strategy.get("rollingUpdate")
    if rolling is not None:
        old = ordinal < start + fields.number(rolling, "partition")
    else:
        count = fields.number(fields.status(current_set), "currentReplicas")
        old = strategy.get("type") == "RollingUpdate" and ordinal < start + count
    if old:
        return new_pod(current_set, ordinal, current)
    return new_pod(update_set, ordinal, update)


# -- a pod's state -------------------------------------------------------------------------------


def is_created(pod: Object) -> bool:
    """Whether the API server has it."""
    return pods.phase(pod) != ""


def is_running_and_ready(pod: Object) -> bool:
    """Whether it runs and is ready."""
    return pods.phase(pod) == "Running" and pods.is_ready(pod)


def is_deleting(pod: Object) -> bool:
    """Whether it is being deleted."""
    return meta.deletion_timestamp(pod) is not None


def is_unavailable(pod: Object, min_ready_seconds: int, now_ns: int) -> bool:
    """Whether it is not available, or will soon not be."""
    return is_deleting(pod) or not pods.is_available(pod, min_ready_seconds, now_ns)


def is_steady(stateful_set: Object, pod: Object) -> bool:
    """Whether it is there as its ordinal and the set's claims want it, and cannot lack claims."""
    lacks_claims = pods.phase(pod) == "Pending" and bool(claim_templates(stateful_set))
    return (
        is_created(pod)
        and not pods.is_terminal(pod)
        and not lacks_claims
        and identity_matches(stateful_set, pod)
        and storage_matches(stateful_set, pod)
    )


# -- whose a claim is ----------------------------------------------------------------------------


def retention_policy(stateful_set: Object) -> tuple[str, str]:
    """What becomes of claims when the set is deleted, and when it is scaled down."""
    policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy")
    if policy is None:
        return RETAIN, RETAIN
    return policy.get("whenDeleted", ""), policy.get("whenScaled", "")


def _refers(reference: Object, obj: Object, kind: GroupVersionKind) -> bool:
    return (
        reference["apiVersion"] == kind.api_version
        and reference["kind"] == kind.kind
        and reference["name"] == meta.name(obj)
    )


def _owned(claim: Object, owner: Object) -> bool:
    uid = meta.uid(owner)
    return any(reference["uid"] == uid for reference in meta.owner_references(claim))


def has_stale_owner(claim: Object, obj: Object, kind: GroupVersionKind) -> bool:
    """Whether the claim belongs to an earlier object of the same name."""
    for reference in meta.owner_references(claim):
        if _refers(reference, obj, kind):
            return reference["uid"] != meta.uid(obj)
    return False


def has_unexpected_controller(claim: Object, stateful_set: Object, pod: Object) -> bool:
    """Whether somebody else controls the claim, so that the policy cannot be kept."""
    if retention_policy(stateful_set) == (RETAIN, RETAIN):
        return False
    for reference in meta.owner_references(claim):
        for obj, kind in ((stateful_set, KIND), (pod, POD_KIND)):
            if _refers(reference, obj, kind):
                if reference["uid"] != meta.uid(obj):
                    return True
                break
        else:
            if reference.get("controller"):
                return True
    return False


def is_claim_owner_up_to_date(claim: Object, stateful_set: Object, pod: Object) -> bool:
    """Whether the claim's owners are what the retention policy says."""
    if has_stale_owner(claim, stateful_set, KIND) or has_stale_owner(claim, pod, POD_KIND):
        return True
    by_set, by_pod = _owned(claim, stateful_set), _owned(claim, pod)
    if has_unexpected_controller(claim, stateful_set, pod):
        return not by_set and not by_pod
    ours = (meta.uid(stateful_set), meta.uid(pod))
    for reference in meta.owner_references(claim):
        if reference["uid"] in ours and not reference.get("controller"):
            return False
    return (by_set, by_pod) == _wanted_owners(stateful_set, pod)


def _wanted_owners(stateful_set: Object, pod: Object) -> tuple[bool, bool]:
    """Whether the set and whether the pod should control the pod's claims."""
    when_deleted, when_scaled = retention_policy(stateful_set)
    if when_scaled == DELETE:
        condemned = not in_range(pod, stateful_set)
        return when_deleted == DELETE and not condemned, condemned
    return when_scaled == RETAIN and when_deleted == DELETE, False


def with_claim_owners(claim: Object, stateful_set: Object, pod: Object) -> Object:
    """The claim with the owners that the retention policy says."""
    references = [
        reference
        for reference in meta.owner_references(claim)
        if not _refers(reference, stateful_set, KIND) and not _refers(reference, pod, POD_KIND)
    ]
    if not has_unexpected_controller(claim, stateful_set, pod):
        by_set, by_pod = _wanted_owners(stateful_set, pod)
        if by_pod:
            references = _with_controller(references, pod, POD_KIND)
        if by_set:
            references = _with_controller(references, stateful_set, KIND)
    return meta.with_metadata(claim, ownerReferences=references)


def _with_controller(
    references: list[Object], owner: Object, kind: GroupVersionKind
) -> list[Object]:
    if any(reference["uid"] == meta.uid(owner) for reference in references):
        return references
    return [*references, meta.new_controller_ref(owner, kind)]
