"""How an object of each built-in kind is made: what must be in it beside its name.

`MAKERS[group, kind](source, name)` gives what is merged into an object that has apiVersion, kind
and metadata; a kind that is not here needs nothing more.  Groups are upstream's.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.builders.provider import KubernetesProvider as Source

Maker = Callable[["Source", str], "Object"]

MAKERS: dict[tuple[str, str], Maker] = {}

RBAC = "rbac.authorization.k8s.io"


def _makes(group: str, *kinds: str) -> Callable[[Maker], Maker]:
    def register(maker: Maker) -> Maker:
        for kind in kinds:
            MAKERS[group, kind] = maker
        return maker

    return register


def container(source: Source) -> Object:
    """A container with an image, a port and requests."""
    made: Object = {
        "name": source.k8s_name()[:40].rstrip("-"),
        "image": source.k8s_image(),
        "resources": {"requests": {"cpu": source.k8s_cpu(), "memory": source.k8s_memory()}},
    }
    if source.random_int(0, 1):
        made["ports"] = [{"containerPort": source.k8s_port()}]
    if source.random_int(0, 1):
        made["env"] = [{"name": "MODE", "value": source.k8s_label_value()}]
    return made


def _template(source: Source, labels: dict[str, str], restart: str = "") -> Object:
    spec: Object = {"containers": [container(source)]}
    if restart:
        spec["restartPolicy"] = restart
    return {"metadata": {"labels": labels}, "spec": spec}


@_makes("", "Pod")
def _pod(source: Source, name: str) -> Object:
    del name
    count = source.random_int(1, 2)
    return {"spec": {"containers": [container(source) for _ in range(count)]}}


@_makes("", "PodTemplate")
def _pod_template(source: Source, name: str) -> Object:
    return {"template": _template(source, {"app": name})}


@_makes("", "ReplicationController")
def _replication_controller(source: Source, name: str) -> Object:
    labels = {"app": name}
    replicas = source.random_int(0, 5)
    return {
        "spec": {"replicas": replicas, "selector": labels, "template": _template(source, labels)}
    }


@_makes("apps", "Deployment", "ReplicaSet")
def _replicated(source: Source, name: str) -> Object:
    labels = {"app": name}
    return {
        "spec": {
            "replicas": source.random_int(0, 5),
            "selector": {"matchLabels": labels},
            "template": _template(source, labels),
        }
    }


@_makes("apps", "DaemonSet")
def _daemon_set(source: Source, name: str) -> Object:
    labels = {"app": name}
    return {"spec": {"selector": {"matchLabels": labels}, "template": _template(source, labels)}}


@_makes("apps", "StatefulSet")
def _stateful_set(source: Source, name: str) -> Object:
    labels = {"app": name}
    claim = {"metadata": {"name": "data"}, "spec": _claim_spec(source)}
    return {
        "spec": {
            "replicas": source.random_int(0, 3),
            "serviceName": name,
            "selector": {"matchLabels": labels},
            "template": _template(source, labels),
            "volumeClaimTemplates": [claim],
        }
    }


@_makes("apps", "ControllerRevision")
def _controller_revision(source: Source, name: str) -> Object:
    return {"data": {"spec": {"name": name}}, "revision": source.random_int(1, 99)}


@_makes("batch", "Job")
def _job(source: Source, name: str) -> Object:
    return {"spec": {"template": {"spec": _template(source, {"job": name}, "Never")["spec"]}}}


@_makes("batch", "CronJob")
def _cron_job(source: Source, name: str) -> Object:
    minute, hour = source.random_int(0, 59), source.random_int(0, 23)
    return {"spec": {"schedule": f"{minute} {hour} * * *", "jobTemplate": _job(source, name)}}


def _text(source: Source) -> dict[str, str]:
    return {f"key-{number}": source.k8s_label_value() for number in range(source.random_int(1, 3))}


@_makes("", "ConfigMap")
def _config_map(source: Source, name: str) -> Object:
    del name
    return {"data": _text(source)}


@_makes("", "Secret")
def _secret(source: Source, name: str) -> Object:
    del name
    data = {k: base64.b64encode(v.encode()).decode() for k, v in _text(source).items()}
    return {"type": "Opaque", "data": data}


@_makes("", "Service")
def _service(source: Source, name: str) -> Object:
    port = source.k8s_port()
    ports = [{"name": "main", "port": port, "targetPort": port, "protocol": "TCP"}]
    return {"spec": {"selector": {"app": name}, "ports": ports}}


@_makes("", "Endpoints")
def _endpoints(source: Source, name: str) -> Object:
    del name
    addresses = [{"ip": f"192.0.2.{source.random_int(1, 254)}"}]
    return {"subsets": [{"addresses": addresses, "ports": [{"port": source.k8s_port()}]}]}


@_makes("discovery.k8s.io", "EndpointSlice")
def _endpoint_slice(source: Source, name: str) -> Object:
    del name
    addresses = [f"192.0.2.{source.random_int(1, 254)}"]
    ports = [{"name": "main", "port": source.k8s_port()}]
    return {"addressType": "IPv4", "endpoints": [{"addresses": addresses}], "ports": ports}


def _involved(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": name}


@_makes("", "Event")
def _event(source: Source, name: str) -> Object:
    return {
        "involvedObject": _involved(name),
        "reason": "Made",
        "message": source.k8s_label_value(),
        "type": source.random_element(("Normal", "Warning")),
        "count": source.random_int(1, 9),
        "source": {"component": "fake"},
    }


@_makes("events.k8s.io", "Event")
def _event_v1(source: Source, name: str) -> Object:
    return {
        "eventTime": "2026-01-02T03:04:05.000006Z",
        "reportingController": "example.com/fake",
        "reportingInstance": "fake-0",
        "action": "Making",
        "reason": "Made",
        "regarding": _involved(name),
        "note": source.k8s_label_value(),
        "type": "Normal",
    }


@_makes("", "LimitRange")
def _limit_range(source: Source, name: str) -> Object:
    del name
    return {"spec": {"limits": [{"type": "Container", "max": {"cpu": source.k8s_cpu()}}]}}


@_makes("", "ResourceQuota")
def _resource_quota(source: Source, name: str) -> Object:
    del name
    return {"spec": {"hard": {"pods": str(source.random_int(100, 999))}}}


def _claim_spec(source: Source) -> Object:
    size = f"{source.random_int(1, 20)}Gi"
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}


@_makes("", "PersistentVolumeClaim")
def _claim(source: Source, name: str) -> Object:
    del name
    return {"spec": _claim_spec(source)}


@_makes("", "PersistentVolume")
def _volume(source: Source, name: str) -> Object:
    return {
        "spec": {
            "capacity": {"storage": f"{source.random_int(1, 20)}Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": f"/data/{name}"},
        }
    }


@_makes("autoscaling", "HorizontalPodAutoscaler")
def _autoscaler(source: Source, name: str) -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return {"spec": {"scaleTargetRef": target, "maxReplicas": source.random_int(1, 9)}}


@_makes("certificates.k8s.io", "CertificateSigningRequest")
def _signing_request(source: Source, name: str) -> Object:
    del source, name
    return {
        "spec": {
            "request": SIGNING_REQUEST,
            "signerName": "example.com/signer",
            "usages": ["digital signature", "client auth"],
        }
    }


@_makes("networking.k8s.io", "Ingress")
def _ingress(source: Source, name: str) -> Object:
    backend = {"service": {"name": name, "port": {"number": source.k8s_port()}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    return {"spec": {"rules": [{"host": source.k8s_subdomain(), "http": {"paths": paths}}]}}


@_makes("networking.k8s.io", "IngressClass")
def _ingress_class(source: Source, name: str) -> Object:
    del source, name
    return {"spec": {"controller": "example.com/ingress"}}


@_makes("networking.k8s.io", "NetworkPolicy")
def _network_policy(source: Source, name: str) -> Object:
    del source
    return {"spec": {"podSelector": {"matchLabels": {"app": name}}, "policyTypes": ["Ingress"]}}


@_makes("networking.k8s.io", "IPAddress")
def _ip_address(source: Source, name: str) -> Object:
    address = ".".join(str(source.random_int(1, 254)) for _ in range(4))
    parent = {"resource": "services", "namespace": "default", "name": name}
    return {"metadata": {"name": address}, "spec": {"parentRef": parent}}


@_makes("networking.k8s.io", "ServiceCIDR")
def _service_cidr(source: Source, name: str) -> Object:
    del name
    return {"spec": {"cidrs": [f"10.{source.random_int(100, 199)}.0.0/24"]}}


@_makes("policy", "PodDisruptionBudget")
def _disruption_budget(source: Source, name: str) -> Object:
    labels = {"matchLabels": {"app": name}}
    return {"spec": {"minAvailable": source.random_int(1, 3), "selector": labels}}


@_makes(RBAC, "Role", "ClusterRole")
def _role(source: Source, name: str) -> Object:
    del name
    verbs = source.random_elements(("get", "list", "watch", "create"), length=2, unique=True)
    return {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": list(verbs)}]}


@_makes(RBAC, "RoleBinding", "ClusterRoleBinding")
def _role_binding(source: Source, name: str) -> Object:
    del source
    subject = {"kind": "ServiceAccount", "name": name, "namespace": "default"}
    reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "view"}
    return {"subjects": [subject], "roleRef": reference}


@_makes("storage.k8s.io", "StorageClass")
def _storage_class(source: Source, name: str) -> Object:
    del name
    mode = source.random_element(("Immediate", "WaitForFirstConsumer"))
    return {"provisioner": "example.com/disk", "volumeBindingMode": mode}


@_makes("storage.k8s.io", "CSINode")
def _csi_node(source: Source, name: str) -> Object:
    del source
    return {"spec": {"drivers": [{"name": "disk.example.com", "nodeID": name}]}}


@_makes("storage.k8s.io", "CSIDriver")
def _csi_driver(source: Source, name: str) -> Object:
    del name
    return {"spec": {"attachRequired": bool(source.random_int(0, 1))}}


@_makes("storage.k8s.io", "CSIStorageCapacity")
def _csi_capacity(source: Source, name: str) -> Object:
    return {"storageClassName": name, "capacity": f"{source.random_int(1, 99)}Gi"}


@_makes("storage.k8s.io", "VolumeAttachment")
def _volume_attachment(source: Source, name: str) -> Object:
    del source
    volume = {"persistentVolumeName": name}
    return {"spec": {"attacher": "disk.example.com", "nodeName": name, "source": volume}}


@_makes("storage.k8s.io", "VolumeAttributesClass")
def _volume_attributes(source: Source, name: str) -> Object:
    del name
    return {"driverName": "disk.example.com", "parameters": {"iops": str(source.random_int(1, 9))}}


@_makes("scheduling.k8s.io", "PriorityClass")
def _priority_class(source: Source, name: str) -> Object:
    del name
    return {"value": source.random_int(1, 10_000)}


@_makes("coordination.k8s.io", "Lease")
def _lease(source: Source, name: str) -> Object:
    return {"spec": {"holderIdentity": name, "leaseDurationSeconds": source.random_int(5, 60)}}


@_makes("node.k8s.io", "RuntimeClass")
def _runtime_class(source: Source, name: str) -> Object:
    del source, name
    return {"handler": "runc"}


@_makes("apiextensions.k8s.io", "CustomResourceDefinition")
def _definition(source: Source, name: str) -> Object:
    kind = "".join(part.capitalize() for part in name.split("-"))
    plural = f"{kind.lower()}s"
    group = source.k8s_subdomain()
    spec = {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}}}
    schema = {"type": "object", "properties": {"spec": spec}}
    version: Object = {
        "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    return {
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {
                "plural": plural, "singular": kind.lower(), "kind": kind,
                "listKind": f"{kind}List",
            },
            "versions": [version],
        },
    }


@_makes("apiregistration.k8s.io", "APIService")
def _api_service(source: Source, name: str) -> Object:
    group = source.k8s_subdomain()
    service = {"namespace": "default", "name": name}
    return {
        "metadata": {"name": f"v1.{group}"},
        "spec": {
            "group": group, "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
            "insecureSkipTLSVerify": True, "service": service,
        },
    }


_RULES: list[Any] = [
    {
        "apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"],
        "resources": ["things"],
    }
]


@_makes(
    "admissionregistration.k8s.io",
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
)
def _webhooks(source: Source, name: str) -> Object:
    del name
    webhook = {
        "name": f"check.{source.k8s_subdomain()}",
        "clientConfig": {"url": "https://webhook.example.com/check"},
        "rules": _RULES,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "failurePolicy": "Ignore",
    }
    return {"webhooks": [webhook]}


@_makes("admissionregistration.k8s.io", "ValidatingAdmissionPolicy")
def _validating_policy(source: Source, name: str) -> Object:
    del name
    validation = {"expression": f"size(object.metadata.name) < {source.random_int(100, 250)}"}
    constraints = {"resourceRules": _RULES}
    return {"spec": {"matchConstraints": constraints, "validations": [validation]}}


@_makes("admissionregistration.k8s.io", "MutatingAdmissionPolicy")
def _mutating_policy(source: Source, name: str) -> Object:
    del source, name
    expression = "Object{metadata: Object.metadata{labels: {'made': 'up'}}}"
    mutation = {
        "patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression},
    }
    return {
        "spec": {
            "matchConstraints": {"resourceRules": _RULES},
            "reinvocationPolicy": "Never",
            "mutations": [mutation],
        }
    }


@_makes("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding")
def _validating_binding(source: Source, name: str) -> Object:
    del source
    return {"spec": {"policyName": name, "validationActions": ["Audit"]}}


@_makes("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding")
def _mutating_binding(source: Source, name: str) -> Object:
    del source
    return {"spec": {"policyName": name}}


@_makes("flowcontrol.apiserver.k8s.io", "FlowSchema")
def _flow_schema(source: Source, name: str) -> Object:
    del name
    return {
        "spec": {
            "priorityLevelConfiguration": {"name": "global-default"},
            "matchingPrecedence": source.random_int(1, 9999),
        }
    }


@_makes("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration")
def _priority_level(source: Source, name: str) -> Object:
    del name
    limited = {
        "nominalConcurrencyShares": source.random_int(1, 50), "limitResponse": {"type": "Reject"},
    }
    return {"spec": {"type": "Limited", "limited": limited}}


@_makes("", "Binding")
def _binding(source: Source, name: str) -> Object:
    del source
    return {"target": {"kind": "Node", "name": name}}


@_makes("certificates.k8s.io", "ClusterTrustBundle")
def _trust_bundle(source: Source, name: str) -> Object:
    del source, name
    return {"spec": {"trustBundle": TRUST_ANCHOR}}


@_makes("certificates.k8s.io", "PodCertificateRequest")
def _pod_certificate(source: Source, name: str) -> Object:
    def uid() -> str:
        return f"6ba7b810-9dad-41d1-80b4-{source.random_int(0, 2**40):012x}"

    return {
        "spec": {
            "signerName": "example.com/signer",
            "podName": name,
            "podUID": uid(),
            "serviceAccountName": "default",
            "serviceAccountUID": uid(),
            "nodeName": name,
            "nodeUID": uid(),
            "stubPKCS10Request": STUB_REQUEST,
        }
    }


@_makes("resource.k8s.io", "DeviceTaintRule")
def _device_taint(source: Source, name: str) -> Object:
    del name
    effect = source.random_element(("NoSchedule", "NoExecute"))
    return {"spec": {"taint": {"key": "example.com/broken", "effect": effect}}}


@_makes("resource.k8s.io", "ResourceSlice")
def _resource_slice(source: Source, name: str) -> Object:
    pool = {"name": name, "generation": source.random_int(1, 9), "resourceSliceCount": 1}
    return {"spec": {"driver": "device.example.com", "pool": pool, "allNodes": True}}


@_makes("storagemigration.k8s.io", "StorageVersionMigration")
def _storage_migration(source: Source, name: str) -> Object:
    del source, name
    return {"spec": {"resource": {"group": "", "resource": "configmaps"}}}


SIGNING_REQUEST = (
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlITU1IUUNBUUF3RWpFUU1BNEdBMVVFQXd3SGMy"
    "OXRaVzl1WlRCWk1CTUdCeXFHU000OUFnRUdDQ3FHU000OQpBd0VIQTBJQUJJcG54dy9wTFNrRlJaazJFQm5DU1hD"
    "V293MzM3TTBQZjlGK3BpUHBkUmw4MnRPWDVvUEY4VXhICjF3d2tkaU5keWxreFE4cDhrMWppWmpZbFRhYmhFL2Fn"
    "QURBS0JnZ3Foa2pPUFFRREFnTklBREJGQWlFQXlhdjYKcFdOYlAvNHV2bFRGb2VDN3Z5TTR3M3BjNkRaUXZGUXg1"
    "WHFoSlFzQ0lBZEtyRmozaEw4dnhPQWJBVXoxb2ZxeQpQekZOMkpzSWgrNEJucFFWV3MyNQotLS0tLUVORCBDRVJU"
    "SUZJQ0FURSBSRVFVRVNULS0tLS0K"
)
"""A PKCS#10 request in PEM, base64; its key is thrown away."""
STUB_REQUEST = (
    "MIG6MGICAQAwADBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABK5eGnuXvp2RvqD2GyANQkWTK1Rpi0eVtRWaiPEm"
    "cr6i70HsCOeInG1/3w3BJJL3TYaxE0Yah4f18q7Eb9bi7regADAKBggqhkjOPQQDAgNIADBFAiEA7ORBa9fJSYIp"
    "5LUMMXYAyC7xoEghvmIeSor7CdI2Jb8CIA5qb1tVM2zIrJcvYlGIfBmefhCelJUbprIBTFwBlNAa"
)
"""A PKCS#10 request without a subject in DER, base64."""
TRUST_ANCHOR = """\
-----BEGIN CERTIFICATE-----
MIIBITCByKADAgECAgEBMAoGCCqGSM49BAMCMA8xDTALBgNVBAMMBHJvb3QwIBcN
MjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMA8xDTALBgNVBAMMBHJvb3Qw
WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASuXhp7l76dkb6g9hsgDUJFkytUaYtH
lbUVmojxJnK+ou9B7AjniJxtf98NwSSS902GsRNGGoeH9fKuxG/W4u63oxMwETAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQD2jpyn2oFsz6wuRRmS
Ef41attt+08lELDyHEwmrURm5gIgA00G4okTHlk8gq0bGFhDru9QLBWqabxtoZ3p
L9joGu4=
-----END CERTIFICATE-----
"""
"""A certificate of an authority in PEM; its key is thrown away."""
