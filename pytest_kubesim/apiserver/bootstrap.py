"""What a control plane contains before anybody has asked it for anything.

System namespaces, the `kubernetes` service, priority classes, flow schemas, RBAC policy, local
APIServices: as a default kube-apiserver 1.37 leaves them when it has started, in the order in which
it writes them (`data/v1_37/bootstrap.json.z`, recorded from one).

The law: what is bootstrapped depends on the version and the start time alone, not on the seed, so
the store of one cluster can be the beginning of the next: all but the first share it.
"""

from __future__ import annotations

import functools
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, cast

import msgspec

from pytest_kubesim.apimachinery.meta import parse_api_version
from pytest_kubesim.apimachinery.timestamps import format_micro_time, format_time
from pytest_kubesim.apiserver import identity
from pytest_kubesim.data import load
from pytest_kubesim.etcd.member import Member
from pytest_kubesim.etcd.messages import PutRequest
from pytest_kubesim.registry.generic import storage_prefix

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.etcd.member import MemberSnapshot
    from pytest_kubesim.registry.generic import Catalog

ADVERTISE_ADDRESS = "172.18.0.2"
"""Where the API server says that it can be reached inside the cluster."""
PORT = 6443
HOST = "control-plane"
"""The host of an API server that is alone."""

IDENTITY_KEY = f"/registry/leases/{identity.NAMESPACE}/{identity.identity(HOST)}"
"""Where the Lease of an API server that is alone lies in etcd."""

_FILE = "bootstrap.json.z"
_MANAGER = "kube-apiserver"


@functools.cache
def _recorded(version: str) -> str:
    return load.read_bytes(version, _FILE).decode()


def objects(version: str, start_ns: int) -> list[Object]:
    """The objects of a fresh control plane that started at `start_ns`, in the order of writing."""
    now = format_time(start_ns)
    text = _recorded(version).replace("<now>", now).replace("<today>", now[:10])
    found = cast("list[Object]", msgspec.json.decode(text.encode()))
    return [*found, *_endpoints(now), _identity_lease(start_ns, now)]


def advertise_address(number: int) -> str:
    """The address of the API server of that number, from 1 on: beyond those of nodes."""
    return ADVERTISE_ADDRESS if number == 1 else f"172.18.255.{number}"


def _identity_lease(start_ns: int, now: str) -> Object:
    """The Lease of an API server that is alone."""
    key = identity.identity(HOST)
    found = identity.lease(
        HOST, f"{key}_{_uid(key)}", f"{ADVERTISE_ADDRESS}:{PORT}", format_micro_time(start_ns)
    )
    metadata: Object = {
        "name": key,
        "namespace": identity.NAMESPACE,
        "uid": "",
        "resourceVersion": "",
        "creationTimestamp": now,
        "labels": found["metadata"]["labels"],
        "annotations": found["metadata"]["annotations"],
        "managedFields": [_managed("coordination.k8s.io/v1", now, _LEASE_FIELDS)],
    }
    return {"kind": "Lease", "apiVersion": found["apiVersion"], "metadata": metadata,
            "spec": found["spec"]}


def _endpoints(now: str) -> list[Object]:
    """How the `kubernetes` service finds the API server (`reconcilers/lease.go`)."""
    ports = [{"name": "https", "port": PORT, "protocol": "TCP"}]
    metadata: Object = {
        "name": "kubernetes",
        "namespace": "default",
        "uid": "",
        "resourceVersion": "",
        "creationTimestamp": now,
    }
    skip = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    labels = {"kubernetes.io/service-name": "kubernetes"}
    return [
        {
            "kind": "Endpoints",
            "apiVersion": "v1",
            "metadata": {
                **metadata,
                "labels": skip,
                "managedFields": [_managed("v1", now, _ENDPOINTS_FIELDS)],
            },
            "subsets": [{"addresses": [{"ip": ADVERTISE_ADDRESS}], "ports": ports}],
        },
        {
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {
                **metadata,
                "generation": 1,
                "labels": labels,
                "managedFields": [_managed("discovery.k8s.io/v1", now, _SLICE_FIELDS)],
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [ADVERTISE_ADDRESS], "conditions": {"ready": True}}],
            "ports": ports,
        },
    ]


_ENDPOINTS_FIELDS: Object = {
    "f:metadata": {
        "f:labels": {".": {}, "f:endpointslice.kubernetes.io/skip-mirror": {}},
    },
    "f:subsets": {},
}
_LEASE_FIELDS: Object = {
    "f:metadata": {
        "f:annotations": {".": {}, f"f:{identity.ADDRESS_ANNOTATION}": {}},
        "f:labels": {
            ".": {},
            f"f:{identity.IDENTITY_LABEL}": {},
            f"f:{identity.HOSTNAME_LABEL}": {},
        },
    },
    "f:spec": {"f:holderIdentity": {}, "f:leaseDurationSeconds": {}, "f:renewTime": {}},
}
_SLICE_FIELDS: Object = {
    "f:addressType": {},
    "f:endpoints": {},
    "f:metadata": {"f:labels": {".": {}, "f:kubernetes.io/service-name": {}}},
    "f:ports": {},
}


def _managed(api_version: str, now: str, fields: Object) -> Object:
    return {
        "manager": _MANAGER,
        "operation": "Update",
        "apiVersion": api_version,
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }


def _uid(key: str) -> str:
    bits = int.from_bytes(blake2b(key.encode(), digest_size=16).digest(), "big")
    bits = bits & ~(0xF << 76) | 0x4 << 76
    bits = bits & ~(0x3 << 62) | 0x2 << 62
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_snapshots: dict[tuple[str, int], MemberSnapshot] = {}


def snapshot(catalog: Catalog, start_ns: int) -> MemberSnapshot:
    """The store of a fresh control plane; made once for each version and start time."""
    key = (catalog.version, start_ns)
    found = _snapshots.get(key)
    if found is None:
        member = Member(clock=lambda: start_ns)
        for obj in objects(catalog.version, start_ns):
            member.apply(PutRequest(*_stored(obj)))
        found = _snapshots[key] = member.snapshot()
    return found


def _stored(obj: Object) -> tuple[str, Any]:
    # Not by the catalog, which would read the files of all these kinds.
    prefix = storage_prefix(parse_api_version(obj["apiVersion"]).group, _PLURALS[obj["kind"]])
    metadata: Object = obj["metadata"]
    namespace = metadata.get("namespace")
    key = (
        f"{prefix}/{namespace}/{metadata['name']}" if namespace else f"{prefix}/{metadata['name']}"
    )
    return key, {**obj, "metadata": {**metadata, "uid": _uid(key)}}


_PLURALS = {
    "APIService": "apiservices",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "ConfigMap": "configmaps",
    "EndpointSlice": "endpointslices",
    "Endpoints": "endpoints",
    "FlowSchema": "flowschemas",
    "IPAddress": "ipaddresses",
    "Lease": "leases",
    "Namespace": "namespaces",
    "PriorityClass": "priorityclasses",
    "PriorityLevelConfiguration": "prioritylevelconfigurations",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "Service": "services",
    "ServiceCIDR": "servicecidrs",
}
"""The resources of the kinds above, by name: the catalog need not build them all to find them."""
