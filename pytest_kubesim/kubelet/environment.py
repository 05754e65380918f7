"""A container's environment variables: literals, `$(NAME)`, ConfigMaps, Secrets, fields, services.

The law: what refers to something that is not there fails the creation of the container, with
upstream's words; variables of services are looked up only for programs that can see them.

Follows `makeEnvironmentVariables` in `pkg/kubelet/kubelet_pods.go`, `third_party/forked/golang/
expansion/expand.go` and `pkg/kubelet/envvars/envvars.go`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery import golang, quantity
from pytest_kubesim.cri.linux import files
from pytest_kubesim.cri.linux.process import decode
from pytest_kubesim.kubelet import env_file
from pytest_kubesim.kubelet.errors import StartError
from pytest_kubesim.kubelet.host import NOTHING

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cri.linux.files import FileSystem
    from pytest_kubesim.kubelet.references import References

CREATE_CONTAINER_CONFIG_ERROR = "CreateContainerConfigError"
_DEFAULTED = ("cpu", "memory", "ephemeral-storage")
"""What is limited by the pod, or else by the node, where a container does not say."""


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where NAME is known; `$$` is a dollar."""
    if "$" not in text:
        return text
    result: list[str] = []
    position = 0
    while position < len(text):
        char = text[position]
        following = text[position + 1 : position + 2]
        if char == "$" and following == "$":
            result.append("$")
            position += 2
        elif char == "$" and following == "(" and (end := text.find(")", position)) > 0:
            name = text[position + 2 : end]
            result.append(values.get(name, f"$({name})"))
            position = end + 1
        else:
            result.append(char)
            position += 1
    return "".join(result)


def missing_names(text: str, values: Mapping[str, str]) -> tuple[str, list[str]]:
    """The expanded text, and the names in it that have no value, sorted."""
    missing: set[str] = set()

    class _Lookup(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
            if not values.get(key):
                missing.add(key)
            return values.get(key, default)

    return expand(text, _Lookup()), sorted(missing)


async def make_environment(
    pod: Object,
    container: Object,
    references: References,
    allocatable: Mapping[str, str],
    pod_ip: str,
    host_ip: str,
    *,
    services: bool,
    folder: Callable[[str], FileSystem | None] | None = None,
) -> dict[str, str]:
    """The variables of a container.

    Parameters: `references`, where ConfigMaps and Secrets are found; `allocatable` of the node,
    which stands in for limits that are not set; `services`, whether to look services up; `folder`,
    gives what is in a volume of the pod.

    Raises: `StartError` (CreateContainerConfigError).
    """
    namespace = pod["metadata"]["namespace"]
    env = await service_environment(pod, references) if services else {}
    known = dict(env)
    for source in container.get("envFrom") or ():
        values = await _env_from(source, namespace, references)
        prefix = source.get("prefix") or ""
        known.update({prefix + k: v for k, v in values.items()})
    for variable in container.get("env") or ():
        text: str | None = variable.get("value") or ""
        origin = variable.get("valueFrom")
        if text:
            text = expand(text, known)
        elif origin and (ref := origin.get("fileKeyRef")) is not None:
            text = _from_file(pod, ref, None if folder is None else folder(ref["volumeName"]))
        elif origin:
            text = await _value_from(
                origin, pod, container, references, allocatable, pod_ip, host_ip
            )
        if text is not None:
            known[variable["name"]] = text
    return known


async def service_environment(
    pod: Object, references: References, until: str = "~"
) -> dict[str, str]:
    """The variables that announce services, those that were there at a time (RFC 3339)."""
    links = pod["spec"].get("enableServiceLinks", True)
    env: dict[str, str] = {}
    for service in await references.services(pod["metadata"]["namespace"], links=links):
        if (service["metadata"].get("creationTimestamp") or "") <= until:
            env.update(service_variables(service))
    return env


async def _env_from(source: Object, namespace: str, references: References) -> dict[str, str]:
    for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
        ref = source.get(field)
        if ref is None:
            continue
        found = await references.find(kind, namespace, ref.get("name") or "")
        if found is None:
            if ref.get("optional"):
                return {}
            raise _missing(kind, ref.get("name") or "")
        return data_of(found)
    return {}


async def _value_from(
    origin: Object,
    pod: Object,
    container: Object,
    references: References,
    allocatable: Mapping[str, str],
    pod_ip: str,
    host_ip: str,
) -> str | None:
    namespace = pod["metadata"]["namespace"]
    if (ref := origin.get("fieldRef")) is not None:
        return field_value(pod, ref.get("fieldPath") or "", pod_ip, host_ip)
    if (ref := origin.get("resourceFieldRef")) is not None:
        return resource_value(pod, container, ref, allocatable)
    for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        ref = origin.get(field)
        if ref is None:
            continue
        found = await references.find(kind, namespace, ref.get("name") or "")
        if found is None:
            if ref.get("optional"):
                return None
            raise _missing(kind, ref.get("name") or "")
        value = data_of(found).get(ref["key"])
        if value is None and not ref.get("optional"):
            raise StartError(
                CREATE_CONTAINER_CONFIG_ERROR,
                f"couldn't find key {ref['key']} in {kind} {namespace}/{ref.get('name') or ''}",
            )
        return value
    return ""


def _from_file(pod: Object, ref: Object, system: FileSystem | None) -> str | None:
    """A variable from a file of variables in a volume; None where it need not be there."""
    node = None if system is None else files.find(system.root, ref["path"])
    try:
        text = env_file.value_of(decode(node.read()), ref["key"]) if node is not None else None
    except env_file.MalformedLine:
        text = None
    if text is None:
        raise StartError(CREATE_CONTAINER_CONFIG_ERROR, "couldn't parse env file")
    if not text and not ref.get("optional"):
        folder = f"/var/lib/kubelet/pods/{pod['metadata']['uid']}/volumes/kubernetes.io~empty-dir"
        path = golang.quote(f"{folder}/{ref['volumeName']}/{ref['path']}")
        raise StartError(
            CREATE_CONTAINER_CONFIG_ERROR,
            f"environment variable key {golang.quote(ref['key'])} not found in file {path}",
        )
    return text or None


def _missing(kind: str, name: str) -> StartError:
    return StartError(CREATE_CONTAINER_CONFIG_ERROR, f'{kind.lower()} "{name}" not found')


def data_of(obj: Object) -> dict[str, str]:
    """The data of a ConfigMap or Secret as text."""
    data: dict[str, Any] = obj.get("data") or NOTHING
    if obj.get("kind") != "Secret":
        return dict(data)
    return {k: base64.b64decode(v or "").decode(errors="replace") for k, v in data.items()}


def field_value(pod: Object, path: str, pod_ip: str, host_ip: str) -> str:
    """What the downward API gives for a field path."""
    meta, spec = pod["metadata"], pod["spec"]
    simple = {
        "metadata.name": meta.get("name"),
        "metadata.namespace": meta.get("namespace"),
        "metadata.uid": meta.get("uid"),
        "spec.nodeName": spec.get("nodeName"),
        "spec.serviceAccountName": spec.get("serviceAccountName"),
        "status.hostIP": host_ip,
        "status.hostIPs": host_ip,
        "status.podIP": pod_ip,
        "status.podIPs": pod_ip,
    }
    if path in simple:
        return simple[path] or ""
    for field in ("labels", "annotations"):
        values: dict[str, str] = meta.get(field) or NOTHING
        if path == f"metadata.{field}":
            return "\n".join(f"{k}={golang.quote(v)}" for k, v in sorted(values.items()))
        if path.startswith(f"metadata.{field}['") and path.endswith("']"):
            return values.get(path[len(f"metadata.{field}['") : -2], "")
    return ""


def resource_value(
    pod: Object, container: Object, ref: Object, allocatable: Mapping[str, str]
) -> str:
    """What the downward API gives for a container's limits and requests."""
    name = ref.get("containerName")
    if name:
        parts = (*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ()))
        container = next((c for c in parts if c["name"] == name), container)
    side, _, resource = (ref.get("resource") or "").partition(".")
    resources = container.get("resources") or NOTHING
    amount = (resources.get(side) or NOTHING).get(resource)
    if side == "limits" and resource in _DEFAULTED and (
        amount is None or quantity.is_zero(amount)
    ):
        whole: Object = (pod["spec"].get("resources") or NOTHING).get("limits") or NOTHING
        amount = whole.get(resource) or allocatable.get(resource)
    if amount is None:
        amount = "0"
    divisor = ref.get("divisor") or "1"
    if quantity.is_zero(divisor):
        divisor = "1"
    if resource == "cpu":
        return str(-(-quantity.milli_value(amount) // quantity.milli_value(divisor)))
    return str(-(-quantity.value(amount) // quantity.value(divisor)))


def service_variables(service: Object) -> dict[str, str]:
    """The variables that announce a service, its first port and all of them."""
    spec = service["spec"]
    ports: list[Object] = spec.get("ports") or []
    if not ports:
        return {}
    prefix = service["metadata"]["name"].upper().replace("-", "_")
    ip = spec["clusterIP"]
    host = f"[{ip}]" if ":" in ip else ip
    env = {f"{prefix}_SERVICE_HOST": ip, f"{prefix}_SERVICE_PORT": str(ports[0]["port"])}
    for port in ports:
        if port.get("name"):
            name = port["name"].upper().replace("-", "_")
            env[f"{prefix}_SERVICE_PORT_{name}"] = str(port["port"])
    for position, port in enumerate(ports):
        protocol = port.get("protocol") or "TCP"
        url = f"{protocol.lower()}://{host}:{port['port']}"
        if position == 0:
            env[f"{prefix}_PORT"] = url
        stem = f"{prefix}_PORT_{port['port']}_{protocol}"
        env[stem] = url
        env[f"{stem}_PROTO"] = protocol.lower()
        env[f"{stem}_PORT"] = str(port["port"])
        env[f"{stem}_ADDR"] = ip
    return env
