"""What deserves a warning in a pod spec though it is valid.

The law: `path` is that of the template; in a Pod it is the nil path, below which paths read
`spec...`.  Maps are walked in the order of their keys.

Follows `pkg/api/pod/warnings.go` and `pkg/api/node/util.go`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_kubesim.apimachinery import addresses, formats, quantity
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import NIL, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.pod_template import annotations as known
from pytest_kubesim.registry.pod_template import claims
from pytest_kubesim.registry.pod_template.overlaps import overlapping_paths
from pytest_kubesim.registry.pod_template.security_context import containers_with_paths
from pytest_kubesim.registry.strategies import EMPTY

NODE_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": (
        'deprecated since v1.17; use "topology.kubernetes.io/region" instead'
    ),
    "failure-domain.beta.kubernetes.io/zone": (
        'deprecated since v1.17; use "topology.kubernetes.io/zone" instead'
    ),
    "beta.kubernetes.io/instance-type": (
        'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead'
    ),
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": (
        "deprecated since v1.22; use Taints and Tolerations instead"
    ),
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}
"""Labels of nodes that are better not used any more, and why."""

_ANNOTATIONS = (
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        'non-functional in v1.16+; use the "priorityClassName" field instead',
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        'non-functional in v1.11+; use the "sysctls" field instead',
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        'non-functional in v1.11+; use the "sysctls" field instead',
    ),
)
_VOLUMES = (
    (
        "photonPersistentDisk",
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("ephemeral", "", ""),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
)
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def template_warnings(template: Object, path: Path) -> list[str]:
    """Warnings of a PodTemplateSpec."""
    return _warnings(template.get("spec") or {}, template.get("metadata") or {}, path)


def pod_warnings(pod: Object) -> list[str]:
    """Warnings of a Pod."""
    return _warnings(pod.get("spec") or {}, pod.get("metadata") or {}, NIL)


def _warnings(spec: Object, metadata: Object, path: Path) -> list[str]:
    at = path.child("spec")
    found: dict[str, str] = metadata.get("annotations") or {}
    out: list[str] = []
    out += _node_labels(spec, at)
    out += [
        f"{path.child('metadata', 'annotations').key(key)}: {message}"
        for key, message in _ANNOTATIONS
        if key in found
    ]
    volumes: list[Object] = spec.get("volumes") or []
    for position, volume in enumerate(volumes):
        out += _volume(volume, at.child("volumes").index(position))
    if volumes:
        out += overlapping_paths(volumes)
    out += _duplicates(spec, at)
    out += _fractions(spec.get("overhead"), at.child("overhead"))
    out += _containers(spec, found, path, at)
    out += _ports(spec, at)
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        where = at.child("terminationGracePeriodSeconds")
        out.append(f"{where}: must be >= 0; negative values are invalid and will be treated as 1")
    if affinity := spec.get("affinity"):
        out += _null_selectors(affinity, at.child("affinity"))
    for position, server in enumerate((spec.get("dnsConfig") or EMPTY).get("nameservers") or ()):
        where = at.child("dnsConfig", "nameservers").index(position)
        out += addresses.ip_warnings(where, server)
    for position, alias in enumerate(spec.get("hostAliases") or ()):
        where = at.child("hostAliases").index(position).child("ip")
        out += addresses.ip_warnings(where, alias.get("ip") or "")
    return out


def _node_labels(spec: Object, path: Path) -> list[str]:
    out = [
        f"{path.child('nodeSelector').key(key)}: {NODE_LABELS[key]}"
        for key in sorted(spec.get("nodeSelector") or ())
        if key in NODE_LABELS
    ]
    affinity: Object = (spec.get("affinity") or EMPTY).get("nodeAffinity") or {}
    required: Object = affinity.get(_REQUIRED) or {}
    where = path.child("affinity", "nodeAffinity")
    for position, term in enumerate(required.get("nodeSelectorTerms") or ()):
        at = where.child(_REQUIRED, "nodeSelectorTerms").index(position)
        out += node_selector_term_warnings(term, at, check_values=False)
    for position, term in enumerate(affinity.get(_PREFERRED) or ()):
        at = where.child(_PREFERRED).index(position).child("preference")
        preference = term.get("preference") or {}
        out += node_selector_term_warnings(preference, at, check_values=True)
    for position, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        at = path.child("topologySpreadConstraints").index(position)
        key = constraint.get("topologyKey") or ""
        if key in NODE_LABELS:
            out.append(f"{at.child('topologyKey')}: {key} is {NODE_LABELS[key]}")
        if constraint.get("labelSelector") is None:
            out.append(f"{at.child('labelSelector')}: {_MATCHES_NOTHING}")
    return out


_MATCHES_NOTHING = "a null labelSelector results in matching no pod"


def node_selector_term_warnings(term: Object, path: Path, *, check_values: bool) -> list[str]:
    """Deprecated labels in a term, and values that no label can have."""
    out: list[str] = []
    for position, expression in enumerate(term.get("matchExpressions") or ()):
        at = path.child("matchExpressions").index(position)
        key = expression.get("key") or ""
        if key in NODE_LABELS:
            out.append(f"{at.child('key')}: {key} is {NODE_LABELS[key]}")
        if check_values:
            out += [
                f"{at.child('values').index(index)}: {value} is invalid, {message}"
                for index, value in enumerate(parts.texts(expression, "values"))
                for message in formats.is_valid_label_value(value)
            ]
    return out


def _volume(volume: Object, path: Path) -> list[str]:
    out: list[str] = []
    for key, shown, message in _VOLUMES:
        source = volume.get(key)
        if source is None:
            continue
        if key != "ephemeral":
            out.append(f"{path.child(shown)}: {message}")
        elif source.get("volumeClaimTemplate") is not None:
            where = path.child("ephemeral", "volumeClaimTemplate", "spec")
            out += claims.spec_warnings(where, source["volumeClaimTemplate"].get("spec") or {})
    return out


def _duplicates(spec: Object, path: Path) -> list[str]:
    out: list[str] = []
    for key, name in (("hostAliases", "ip"), ("imagePullSecrets", "name")):
        seen: set[str] = set()
        for position, item in enumerate(spec.get(key) or ()):
            value = item.get(name) or ""
            if value in seen:
                where = path.child(key).index(position).child(name)
                out.append(f"{where}: duplicate {name} {quote(value)}")
            seen.add(value)
    for position, item in enumerate(spec.get("imagePullSecrets") or ()):
        if not item.get("name"):
            where = path.child("imagePullSecrets").index(position).child("name")
            out.append(f'{where}: invalid empty name ""')
    return out


def _fractions(amounts: Mapping[str, Any] | None, path: Path) -> list[str]:
    if not amounts:
        return []
    return [
        f"{path.key(name)}: fractional byte value {quote(quantity.canonical(amounts[name]))} "
        "is invalid, must be an integer"
        for name in ("memory", "ephemeral-storage")
        if name in amounts and quantity.milli_value(amounts[name]) % 1000
    ]


def _containers(spec: Object, found: Mapping[str, str], path: Path, at: Path) -> list[str]:
    out: list[str] = []
    context: Object = spec.get("securityContext") or {}
    where = path.child("metadata", "annotations")
    if context.get("seccompProfile") is None and known.SECCOMP_POD in found:
        out.append(f"{where.key(known.SECCOMP_POD)}: {_SECCOMP}")
    for container, place in containers_with_paths(spec, at):
        if found:
            out += _container_annotations(
                container, context, found, where, template=path is not NIL
            )
        resources: Object = container.get("resources") or {}
        limits: Object = resources.get("limits") or {}
        requests: Object = resources.get("requests") or {}
        for name in ("memory", "ephemeral-storage"):
            for key, amounts in (("limits", limits), ("requests", requests)):
                if name in amounts:
                    out += _fractions({name: amounts[name]}, place.child("resources", key))
        if len(container.get("env") or ()) > 1:
            out += _hidden_variables(container["env"], place.child("env"))
    return out


_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'


def _container_annotations(
    container: Object, pod_context: Object, found: Mapping[str, str], path: Path, *, template: bool
) -> Iterator[str]:
    context: Object = container.get("securityContext") or {}
    name = container.get("name") or ""
    key = f"{known.SECCOMP_CONTAINER}{name}"
    if context.get("seccompProfile") is None and key in found:
        yield f"{path.key(key)}: {_SECCOMP}"
    key = f"{known.APP_ARMOR}{name}"
    if template and context.get("appArmorProfile") is None and key in found:
        profile = pod_context.get("appArmorProfile")
        if profile is None or profile != known.app_armor_profile_of(found[key]):
            yield f"{path.key(key)}: {APP_ARMOR_DEPRECATED}"


APP_ARMOR_DEPRECATED = 'deprecated since v1.30; use the "appArmorProfile" field instead'


def _hidden_variables(env: list[Object], path: Path) -> list[str]:
    out: list[str] = []
    seen: set[str] = set()
    for position, variable in enumerate(env):
        name = variable.get("name") or ""
        if name not in seen:
            seen.add(name)
            continue
        reference, value = f"$({name})", variable.get("value") or ""
        if variable.get("valueFrom") is not None or value == reference or reference not in value:
            out.append(
                f"{path.index(position)}: hides previous definition of {quote(name)}, which may be "
                "dropped when using apply"
            )
    return out


def _port_text(port: Object) -> str:
    """`%+v` of a container port."""
    values = [
        f"{name}:{port.get(key) or zero}"
        for name, key, zero in (
            ("Name", "name", ""),
            ("HostPort", "hostPort", 0),
            ("ContainerPort", "containerPort", 0),
            ("Protocol", "protocol", ""),
            ("HostIP", "hostIP", ""),
        )
    ]
    return "{" + " ".join(values) + "}"


def _ports(spec: Object, path: Path) -> list[str]:
    out: list[str] = []
    all_ports = [
        (port, where.child("ports").index(position))
        for container, where in containers_with_paths(spec, path)
        for position, port in enumerate(container.get("ports") or ())
    ]
    if len(all_ports) < 2 and not (all_ports and all_ports[0][0].get("hostIP")):
        return out
    taken: dict[tuple[int, str], list[tuple[Object, Path]]] = {}
    for port, where in all_ports:
        address, host = port.get("hostIP") or "", port.get("hostPort") or 0
        if address and not host:
            out.append(f"{where}: hostIP set without hostPort: {_port_text(port)}")
        key = (port.get("containerPort") or 0, port.get("protocol") or "")
        for other, there in taken.get(key, ()):
            other_address, other_host = other.get("hostIP") or "", other.get("hostPort") or 0
            if address == other_address and host == other_host:
                out.append(f"{where}: duplicate port definition with {there}")
            elif not host or not other_host:
                out.append(f"{where}: overlapping port definition with {there}")
            elif host == other_host and (not address) != (not other_address):
                out.append(f"{where}: dangerously ambiguous port definition with {there}")
        taken.setdefault(key, []).append((port, where))
    names: dict[str, Path] = {}
    for port, where in all_ports:
        name = port.get("name") or ""
        if name and name in names:
            first = names[name]
            out.append(
                f"{where}: duplicate port name {quote(name)} with {first}, services and probes "
                f"that select ports by name will use {first}"
            )
        elif name:
            names[name] = where
    return out


def _null_selectors(affinity: Object, path: Path) -> list[str]:
    out: list[str] = []
    for key in ("podAffinity", "podAntiAffinity"):
        found: Object = affinity.get(key) or {}
        for position, term in enumerate(found.get(_REQUIRED) or ()):
            if term.get("labelSelector") is None:
                where = path.child(key, _REQUIRED).index(position).child("labelSelector")
                out.append(f"{where}: {_MATCHES_NOTHING}")
        for position, weighted in enumerate(found.get(_PREFERRED) or ()):
            if (weighted.get("podAffinityTerm") or EMPTY).get("labelSelector") is None:
                where = path.child(key, _PREFERRED).index(position)
                out.append(f"{where.child('podAffinityTerm', 'labelSelector')}: {_MATCHES_NOTHING}")
    return out
