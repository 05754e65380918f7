"""What a pod refers to: the objects that its node must be able to read.

The law: what a pod refers to is fixed when it is made, but for ephemeral containers and the claims
that its status names, so the answer is remembered by those and by the pod's UID.

Follows `pkg/api/v1/pod/util.go` (`VisitPodSecretNames`, `VisitPodConfigmapNames`) and `AddPod` of
`plugin/pkg/auth/authorizer/node/graph.go`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.registry import parts

Reference: TypeAlias = tuple[str, str]
"""A resource and the name of an object of it in the pod's namespace."""

MIRROR = "kubernetes.io/config.mirror"
_MOST = 20_000


class PodReferences:
    """What the pods of one cluster refer to."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], frozenset[Reference]] = {}

    def of(self, pod: Object) -> frozenset[Reference]:
        """The objects that the pod refers to; none for a mirror pod, which gives no rights."""
        metadata: Object = pod["metadata"]
        spec, status = parts.spec(pod), parts.status(pod)
        key = (
            parts.text(metadata, "uid"),
            len(parts.structs(spec, "ephemeralContainers")),
            len(parts.structs(status, "resourceClaimStatuses")),
        )
        known = self._known
        found = known.get(key)
        if found is None:
            if len(known) >= _MOST:
                known.clear()
            mirror = MIRROR in parts.struct(metadata, "annotations")
            found = known[key] = frozenset(() if mirror else _references(pod))
        return found


def _references(pod: Object) -> Iterator[Reference]:
    spec = parts.spec(pod)
    if account := parts.text(spec, "serviceAccountName"):
        yield "serviceaccounts", account
    for secret in parts.structs(spec, "imagePullSecrets"):
        yield "secrets", parts.text(secret, "name")
    for key in ("containers", "initContainers", "ephemeralContainers"):
        for container in parts.structs(spec, key):
            yield from _of_container(container)
    for volume in parts.structs(spec, "volumes"):
        yield from _of_volume(volume, pod["metadata"]["name"])
    statuses = parts.structs(parts.status(pod), "resourceClaimStatuses")
    for claim in [*parts.structs(spec, "resourceClaims"), *statuses]:
        if name := parts.text(claim, "resourceClaimName"):
            yield "resourceclaims", name


def _of_container(container: Object) -> Iterator[Reference]:
    for source in parts.structs(container, "envFrom"):
        if "secretRef" in source:
            yield "secrets", parts.text(parts.struct(source, "secretRef"), "name")
        if "configMapRef" in source:
            yield "configmaps", parts.text(parts.struct(source, "configMapRef"), "name")
    for variable in parts.structs(container, "env"):
        source = parts.struct(variable, "valueFrom")
        if "secretKeyRef" in source:
            yield "secrets", parts.text(parts.struct(source, "secretKeyRef"), "name")
        if "configMapKeyRef" in source:
            yield "configmaps", parts.text(parts.struct(source, "configMapKeyRef"), "name")


def _of_volume(volume: Object, pod: str) -> Iterator[Reference]:
    if "persistentVolumeClaim" in volume:
        claim = parts.struct(volume, "persistentVolumeClaim")
        yield "persistentvolumeclaims", parts.text(claim, "claimName")
    if "ephemeral" in volume:
        yield "persistentvolumeclaims", f"{pod}-{parts.text(volume, 'name')}"
    if "secret" in volume:
        yield "secrets", parts.text(parts.struct(volume, "secret"), "secretName")
    if "configMap" in volume:
        yield "configmaps", parts.text(parts.struct(volume, "configMap"), "name")
    for source in parts.structs(parts.struct(volume, "projected"), "sources"):
        for key, resource in (("secret", "secrets"), ("configMap", "configmaps")):
            if key in source:
                yield resource, parts.text(parts.struct(source, key), "name")
    for key in _WITH_SECRETS:
        reference = parts.struct(parts.struct(volume, key), "secretRef")
        if name := parts.text(reference, "name"):
            yield "secrets", name
    if name := parts.text(parts.struct(volume, "azureFile"), "secretName"):
        yield "secrets", name
    publish = parts.struct(parts.struct(volume, "csi"), "nodePublishSecretRef")
    if name := parts.text(publish, "name"):
        yield "secrets", name


_WITH_SECRETS = ("cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos")
