"""Who an API server is, and the Lease in which it says so.

Follows `apiserver/pkg/server/config.go` (`NewConfig`) and `pkg/controlplane/apiserver/server.go`.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

NAMESPACE = "kube-system"
DURATION_SECONDS = 3600
IDENTITY_LABEL = "apiserver.kubernetes.io/identity"
HOSTNAME_LABEL = "kubernetes.io/hostname"
ADDRESS_ANNOTATION = "kubernetes.io/peer-advertise-address"


def identity(host: str) -> str:
    """The identity of the API server on a host (`server.NewConfig`)."""
    data = b"".join(
        len(part).to_bytes(2, "big") + part for part in (host.encode(), b"kube-apiserver")
    )
    digest = hashlib.sha256(data).digest()[:16]
    return f"apiserver-{base64.b32encode(digest).decode().rstrip('=').lower()}"


def lease(host: str, holder: str, address: str, now: str) -> Object:
    """The Lease of the server on `host`, held by `holder`; others find the server at `address`."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": identity(host),
            "namespace": NAMESPACE,
            "labels": {IDENTITY_LABEL: "kube-apiserver", HOSTNAME_LABEL: host},
            "annotations": {ADDRESS_ANNOTATION: address},
        },
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": DURATION_SECONDS,
            "renewTime": now,
        },
    }
