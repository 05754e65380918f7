"""What a pod spec says where it says nothing.

The law: functions take JSON as a client sent it (null means absent) and return new dicts; what
needs no default is shared with what came in.

Follows `SetDefaults_*` of `pkg/apis/core/v1/defaults.go` and `zz_generated.defaults.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.registry.pod_template.images import default_pull_policy
from pytest_kubesim.registry.pod_template.resource_names import rounded
from pytest_kubesim.registry.strategies import EMPTY

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_FILE_MODE = 0o644


def pod(obj: Object) -> Object:
    """A Pod with its defaults (`SetObjectDefaults_Pod`)."""
    spec: Object = dict(obj.get("spec") or {})
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        spec["terminationGracePeriodSeconds"] = 1
    for key in ("containers", "initContainers"):
        if containers := spec.get(key):
            spec[key] = [_requests_from_limits(c) if c else c for c in containers]
    if spec.get("enableServiceLinks") is None:
        spec["enableServiceLinks"] = True
    if spec.get("hostNetwork"):
        for key in ("containers", "initContainers"):
            if containers := spec.get(key):
                spec[key] = [_with_host_ports(c) if c else c for c in containers]
    out: Object = {**obj, "spec": pod_spec(spec)}
    if status := obj.get("status"):
        out["status"] = pod_status(status)
    return out


def _requests_from_limits(container: Object) -> Object:
    resources: Object = container.get("resources") or {}
    limits: Object | None = resources.get("limits")
    if limits is None:
        return container
    requests: Object = resources.get("requests") or {}
    return {**container, "resources": {**resources, "requests": {**limits, **requests}}}


def _with_host_ports(container: Object) -> Object:
    ports: list[Object] | None = container.get("ports")
    if not ports:
        return container
    return {
        **container,
        "ports": [
            port
            if not port or port.get("hostPort")
            else {**port, "hostPort": port.get("containerPort")}
            for port in ports
        ],
    }


def pod_status(status: Object) -> Object:
    """A pod's status: podIP and podIPs say the same; amounts are rounded."""
    out: Object = dict(status)
    address: str = status.get("podIP") or ""
    addresses: list[Object] = status.get("podIPs") or []
    first: str = (addresses[0] or EMPTY).get("ip") or "" if addresses else ""
    if address and address != first:
        out["podIPs"] = [{"ip": address}]
    elif addresses and not address:
        out["podIP"] = first
    for key in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        if statuses := status.get(key):
            out[key] = [_container_status(each) if each else each for each in statuses]
    if status.get("allocatedResources"):
        out["allocatedResources"] = rounded(status["allocatedResources"])
    if status.get("resources"):
        out["resources"] = _resources(status["resources"])
    return out


def _container_status(status: Object) -> Object:
    out = status
    if status.get("allocatedResources"):
        out = {**out, "allocatedResources": rounded(status["allocatedResources"])}
    if status.get("resources"):
        out = {**out, "resources": _resources(status["resources"])}
    return out


def pod_template(template: Object | None) -> Object:
    """A PodTemplateSpec with its defaults."""
    found: Object = template or {}
    return {**found, "spec": pod_spec(found.get("spec") or {})}


def pod_spec(spec: Object) -> Object:
    """A PodSpec with the defaults that it has everywhere."""
    out: Object = dict(spec)
    account = out.get("serviceAccountName") or out.get("serviceAccount")
    if account:
        out["serviceAccountName"] = out["serviceAccount"] = account
    if not out.get("dnsPolicy"):
        out["dnsPolicy"] = "ClusterFirst"
    if not out.get("restartPolicy"):
        out["restartPolicy"] = "Always"
    if out.get("securityContext") is None:
        out["securityContext"] = {}
    if out.get("terminationGracePeriodSeconds") is None:
        out["terminationGracePeriodSeconds"] = 30
    if not out.get("schedulerName"):
        out["schedulerName"] = "default-scheduler"
    if volumes := out.get("volumes"):
        out["volumes"] = [volume(each or {}) for each in volumes]
    for key in _CONTAINERS:
        if containers := out.get(key):
            out[key] = [container(each or {}) for each in containers]
    if out.get("overhead"):
        out["overhead"] = rounded(out["overhead"])
    if out.get("resources"):
        out["resources"] = _resources(out["resources"])
    return out


# -- containers --------------------------------------------------------------------------------


def container(spec: Object) -> Object:
    """A container, of whichever kind."""
    out: Object = dict(spec)
    if not out.get("imagePullPolicy"):
        out["imagePullPolicy"] = default_pull_policy(out.get("image") or "")
    if not out.get("terminationMessagePath"):
        out["terminationMessagePath"] = "/dev/termination-log"
    if not out.get("terminationMessagePolicy"):
        out["terminationMessagePolicy"] = "File"
    if ports := out.get("ports"):
        out["ports"] = [
            port if port and port.get("protocol") else {**(port or {}), "protocol": "TCP"}
            for port in ports
        ]
    if env := out.get("env"):
        out["env"] = [_env(each) if each and each.get("valueFrom") else each for each in env]
    if out.get("resources"):
        out["resources"] = _resources(out["resources"])
    for key in _PROBES:
        if (found := out.get(key)) is not None:
            out[key] = _probe(found)
    if lifecycle := out.get("lifecycle"):
        out["lifecycle"] = _lifecycle(lifecycle)
    return out


def _env(variable: Object) -> Object:
    source: Object = variable["valueFrom"]
    reference = source.get("fieldRef")
    if reference is not None and not reference.get("apiVersion"):
        source = {**source, "fieldRef": {**reference, "apiVersion": "v1"}}
    file = source.get("fileKeyRef")
    if file is not None and file.get("optional") is None:
        source = {**source, "fileKeyRef": {**file, "optional": False}}
    return variable if source is variable["valueFrom"] else {**variable, "valueFrom": source}


def _resources(resources: Object) -> Object:
    limits, requests = resources.get("limits"), resources.get("requests")
    new_limits, new_requests = rounded(limits), rounded(requests)
    if new_limits is limits and new_requests is requests:
        return resources
    return {**resources, "limits": new_limits, "requests": new_requests}


def _probe(probe: Object) -> Object:
    out: Object = dict(probe)
    for key, number in _PROBE_NUMBERS:
        if not out.get(key):
            out[key] = number
    if (get := out.get("httpGet")) is not None:
        out["httpGet"] = _http_get(get)
    if (grpc := out.get("grpc")) is not None and grpc.get("service") is None:
        out["grpc"] = {**grpc, "service": ""}
    return out


_PROBE_NUMBERS = (
    ("timeoutSeconds", 1),
    ("periodSeconds", 10),
    ("successThreshold", 1),
    ("failureThreshold", 3),
)


def _http_get(action: Object) -> Object:
    return {
        **action,
        "path": action.get("path") or "/",
        "scheme": action.get("scheme") or "HTTP",
    }


def _lifecycle(lifecycle: Object) -> Object:
    out: Object = dict(lifecycle)
    for key in ("postStart", "preStop"):
        hook = out.get(key)
        if hook and hook.get("httpGet") is not None:
            out[key] = {**hook, "httpGet": _http_get(hook["httpGet"])}
    return out


# -- volumes -----------------------------------------------------------------------------------


def volume(spec: Object) -> Object:
    """A volume: an emptyDir where no source is given, and the defaults of its source."""
    sources = [key for key, value in spec.items() if key != "name" and value is not None]
    if not sources:
        return {**spec, "emptyDir": {}}
    out = spec
    for key in sources:
        make = _SOURCES.get(key)
        if make is not None:
            out = {**out, key: make(spec[key])}
    return out


def _host_path(source: Object) -> Object:
    return source if source.get("type") is not None else {**source, "type": ""}


def _with_mode(source: Object) -> Object:
    return (
        source if source.get("defaultMode") is not None else {**source, "defaultMode": _FILE_MODE}
    )


def _filled(**defaults: Any) -> Callable[[Object], Object]:
    def fill(source: Object) -> Object:
        missing = {k: v for k, v in defaults.items() if source.get(k) in (None, "")}
        return {**source, **missing} if missing else source

    return fill


def _downward(source: Object) -> Object:
    out = _with_mode(source)
    return _downward_items(out)


def _downward_items(source: Object) -> Object:
    items: list[Object] | None = source.get("items")
    if not items:
        return source
    return {**source, "items": [_env_like(item) if item else item for item in items]}


def _env_like(item: Object) -> Object:
    reference = item.get("fieldRef")
    if reference is None or reference.get("apiVersion"):
        return item
    return {**item, "fieldRef": {**reference, "apiVersion": "v1"}}


def _projected(source: Object) -> Object:
    out = _with_mode(source)
    sources: list[Object] | None = out.get("sources")
    if not sources:
        return out
    return {**out, "sources": [_projection(each) if each else each for each in sources]}


def _projection(source: Object) -> Object:
    out = source
    if source.get("downwardAPI"):
        out = {**out, "downwardAPI": _downward_items(source["downwardAPI"])}
    token = source.get("serviceAccountToken")
    if token is not None and token.get("expirationSeconds") is None:
        out = {**out, "serviceAccountToken": {**token, "expirationSeconds": 3600}}
    return out


def _image(source: Object) -> Object:
    if source.get("pullPolicy"):
        return source
    return {**source, "pullPolicy": default_pull_policy(source.get("reference") or "")}


def claim_spec(spec: Object | None) -> Object:
    """A PersistentVolumeClaimSpec, of a claim or of a template of one."""
    out: Object = dict(spec or {})
    if out.get("volumeMode") is None:
        out["volumeMode"] = "Filesystem"
    if out.get("resources"):
        out["resources"] = _resources(out["resources"])
    return out


def _ephemeral(source: Object) -> Object:
    template = source.get("volumeClaimTemplate")
    if template is None:
        return source
    return {
        **source,
        "volumeClaimTemplate": {**template, "spec": claim_spec(template.get("spec"))},
    }


def _azure_disk(source: Object) -> Object:
    missing = {k: v for k, v in _AZURE_DISK.items() if source.get(k) is None}
    return {**source, **missing} if missing else source


_AZURE_DISK = {"cachingMode": "ReadWrite", "fsType": "ext4", "readOnly": False, "kind": "Shared"}

_SHARED_SOURCES: dict[str, Callable[[Object], Object]] = {
    "hostPath": _host_path,
    "iscsi": _filled(iscsiInterface="default"),
    "rbd": _filled(pool="rbd", user="admin", keyring="/etc/ceph/keyring"),
    "azureDisk": _azure_disk,
    "scaleIO": _filled(storageMode="ThinProvisioned", fsType="xfs"),
}
_SOURCES: dict[str, Callable[[Object], Object]] = {
    **_SHARED_SOURCES,
    "secret": _with_mode,
    "configMap": _with_mode,
    "downwardAPI": _downward,
    "projected": _projected,
    "ephemeral": _ephemeral,
    "image": _image,
}


def persistent_volume_source(spec: Object) -> Object:
    """The source in a PersistentVolumeSpec with its defaults."""
    out = spec
    for key, make in _SHARED_SOURCES.items():
        if spec.get(key) is not None:
            out = {**out, key: make(spec[key])}
    return out
