"""Containers: regular, init, sidecar, ephemeral.

Follows `validateContainers`, `validateInitContainers` and `validateEphemeralContainers` of
`pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

import attrs

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry.pod_template import environment, handlers, resources
from pytest_kubesim.registry.pod_template.options import PodOptions
from pytest_kubesim.registry.pod_template.security_context import validate_container_context
from pytest_kubesim.registry.pod_template.volumes import pull_policy

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_NOT_FOR_INIT = "may not be set for init containers without restartPolicy=Always"
_NOT_FOR_EPHEMERAL = "cannot be set for an Ephemeral Container"


@attrs.frozen(slots=True)
class Surroundings:
    """What containers are checked against."""

    volumes: dict[str, Object]
    """The well-formed volumes by name."""
    claims: frozenset[str]
    """Names of `spec.resourceClaims`."""
    grace: int | None
    os: Object | None
    restart_policy: str
    host_users: bool
    options: PodOptions


def validate_containers(containers: list[Object], path: Path, around: Surroundings) -> ErrorList:
    """`spec.containers`."""
    if not containers:
        return [field.required(path)]
    errors: ErrorList = []
    names: set[str] = set()
    for position, container in enumerate(containers):
        where = path.index(position)
        errors += _common(container, where, around)
        name = container.get("name") or ""
        if name in names:
            errors.append(field.duplicate(where.child("name"), name))
        names.add(name)
        errors += _running(container, where, around)
        if "restartPolicy" in container or "restartPolicyRules" in container:
            errors += _restart_policy(container, where)
    return errors + _host_port_conflicts(containers, path)


def _running(container: Object, path: Path, around: Surroundings) -> ErrorList:
    """What only containers have that keep running."""
    errors: ErrorList = []
    lifecycle = container.get("lifecycle")
    if lifecycle is not None:
        where = path.child("lifecycle")
        errors += handlers.validate_lifecycle(lifecycle, around.grace, where, around.os)
    return errors + handlers.validate_probes(container, around.grace, path)


def validate_init_containers(
    containers: list[Object], regular: list[Object], path: Path, around: Surroundings
) -> ErrorList:
    """`spec.initContainers`."""
    errors: ErrorList = []
    names = {container.get("name") or "" for container in regular}
    for position, container in enumerate(containers):
        where = path.index(position)
        errors += _common(container, where, around)
        policy = container.get("restartPolicy")
        if policy is not None:
            errors += _restart_policy(container, where)
        elif container.get("restartPolicyRules"):
            detail = "must specify restartPolicy when restart rules are used"
            errors.append(field.required(where.child("restartPolicy"), detail))
        name = container.get("name") or ""
        if name in names:
            errors.append(field.duplicate(where.child("name"), name))
        elif name:
            names.add(name)
        errors += _host_port_conflicts([container], path)
        if policy == "Always":
            errors += _running(container, where, around)
        else:
            errors += [
                field.forbidden(where.child(key), _NOT_FOR_INIT)
                for key in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
                if container.get(key) is not None
            ]
            if not around.options.allow_restart_container_for_init:
                errors += _init_resize_policy(container, where)
    return errors


def _init_resize_policy(container: Object, path: Path) -> ErrorList:
    detail = "must not be set to 'RestartContainer' for non-sidecar initContainers"
    return [
        field.invalid(
            path.child("resizePolicy").index(position).child("restartPolicy"),
            "RestartContainer",
            detail,
        )
        for position, policy in enumerate(container.get("resizePolicy") or ())
        if policy.get("restartPolicy") == "RestartContainer"
    ]


_EPHEMERAL_FORBIDDEN = (
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
)


_POINTERS = frozenset({"livenessProbe", "readinessProbe", "startupProbe", "lifecycle"})
"""An empty one of these is there to Go."""


def validate_ephemeral_containers(
    containers: list[Object], others: list[Object], path: Path, around: Surroundings
) -> ErrorList:
    """`spec.ephemeralContainers`; `others` are all containers that are not."""
    errors: ErrorList = []
    other_names = {container.get("name") or "" for container in others}
    names = set(other_names)
    for position, container in enumerate(containers):
        where = path.index(position)
        errors += _common(container, where, around)
        errors += only_for_pods(container, where)
        name = container.get("name") or ""
        if name in names:
            errors.append(field.duplicate(where.child("name"), name))
        names.add(name)
        target = container.get("targetContainerName")
        if target and target not in other_names:
            errors.append(field.not_found(where.child("targetContainerName"), target))
        errors += [
            field.forbidden(where.child(key), _NOT_FOR_EPHEMERAL)
            for key in _EPHEMERAL_FORBIDDEN
            if container.get(key) not in (None, {}, [])
            or (key in _POINTERS and container.get(key) is not None)
        ]
        for index, mount in enumerate(container.get("volumeMounts") or ()):
            errors += [
                field.forbidden(
                    where.child("volumeMounts").index(index).child(key), _NOT_FOR_EPHEMERAL
                )
                for key in ("subPath", "subPathExpr")
                if mount.get(key)
            ]
    return errors


def only_for_pods(container: Object, path: Path) -> ErrorList:
    """What is checked in pods and let pass in templates."""
    image: str = container.get("image") or ""
    if image == image.strip():
        return []
    detail = "must not have leading or trailing whitespace"
    return [field.invalid(path.child("image"), image, detail)]


def _common(container: Object, path: Path, around: Surroundings) -> ErrorList:
    errors: ErrorList = []
    get = container.get
    name = get("name") or ""
    if not name:
        errors.append(field.required(path.child("name")))
    elif details := formats.is_dns1123_label(name):
        errors += field.invalid_each(path.child("name"), name, details)
    if not get("image"):
        errors.append(field.required(path.child("image")))
    policy = get("terminationMessagePolicy") or ""
    if policy not in _MESSAGE_POLICIES:
        where = path.child("terminationMessagePolicy")
        errors.append(
            field.not_supported(where, policy, _MESSAGE_POLICIES)
            if policy
            else field.required(where)
        )
    if found := get("ports"):
        errors += _ports(found, path.child("ports"))
    if found := get("env"):
        errors += environment.validate_env(found, path.child("env"))
    if found := get("envFrom"):
        errors += environment.validate_env_from(found, path.child("envFrom"))
    if get("volumeMounts"):
        where = path.child("volumeMounts")
        errors += environment.validate_mounts(container, around.volumes, where)
    if get("volumeDevices"):
        where = path.child("volumeDevices")
        errors += environment.validate_devices(container, around.volumes, where)
    errors += pull_policy(get("imagePullPolicy") or "", path.child("imagePullPolicy"))
    if found := get("resources"):
        where = path.child("resources")
        errors += resources.validate_requirements(found, around.claims, where, around.options)
    if found := get("resizePolicy"):
        errors += _resize_policy(found, path.child("resizePolicy"), around.restart_policy)
    if found := get("securityContext"):
        where = path.child("securityContext")
        errors += validate_container_context(
            found,
            where,
            host_users=around.host_users,
            allow_sys_admin=around.options.allow_sys_admin,
        )
    return errors


def _ports(ports: list[Object], path: Path) -> ErrorList:
    errors: ErrorList = []
    names: set[str] = set()
    # Upstream's inner loop over complaints about a name moves the index of the port with it.
    for position, port in enumerate(ports):
        name, number = port.get("name") or "", port.get("containerPort") or 0
        if name:
            if details := formats.is_valid_port_name(name):
                errors += field.invalid_each(path.index(position).child("name"), name, details)
            elif name in names:
                errors.append(field.duplicate(path.index(position).child("name"), name))
            else:
                names.add(name)
        if not number:
            errors.append(field.required(path.index(position).child("containerPort")))
        elif not 1 <= number <= 65535:
            where = path.index(position).child("containerPort")
            errors += field.invalid_each(where, number, formats.is_valid_port_num(number))
        host = port.get("hostPort") or 0
        if host and not 1 <= host <= 65535:
            where = path.index(position).child("hostPort")
            errors += field.invalid_each(where, host, formats.is_valid_port_num(host))
        protocol = port.get("protocol") or ""
        if protocol not in _PROTOCOLS:
            where = path.index(position).child("protocol")
            errors.append(
                field.not_supported(where, protocol, _PROTOCOLS)
                if protocol
                else field.required(where)
            )
    return errors


def _host_port_conflicts(containers: list[Object], path: Path) -> ErrorList:
    errors: ErrorList = []
    taken: set[str] = set()
    for position, container in enumerate(containers):
        for index, port in enumerate(container.get("ports") or ()):
            number = port.get("hostPort")
            if not number:
                continue
            key = f"{port.get('protocol') or ''}/{port.get('hostIP') or ''}/{number}"
            if key in taken:
                where = path.index(position).child("ports").index(index).child("hostPort")
                errors.append(field.duplicate(where, key))
            taken.add(key)
    return errors


_RESIZE_POLICIES = ("NotRequired", "RestartContainer")


def _resize_policy(policies: list[Object], path: Path, pod_restart_policy: str) -> ErrorList:
    errors: ErrorList = []
    seen: set[str] = set()
    for position, each in enumerate(policies):
        resource, policy = each.get("resourceName") or "", each.get("restartPolicy") or ""
        if resource in seen:
            errors.append(field.duplicate(path.index(position), resource))
        seen.add(resource)
        if not resource:
            errors.append(field.required(path))
        elif resource not in ("cpu", "memory"):
            errors.append(field.not_supported(path, resource, ("cpu", "memory")))
        if not policy:
            errors.append(field.required(path))
        elif policy not in _RESIZE_POLICIES:
            errors.append(field.not_supported(path, policy, _RESIZE_POLICIES))
        if pod_restart_policy == "Never" and policy != "NotRequired":
            detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'"
            errors.append(field.invalid(path, policy, detail))
    return errors


_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_RULE_ACTIONS = ("Restart", "RestartAllContainers")
_RULE_OPERATORS = ("In", "NotIn")


def _restart_policy(container: Object, path: Path) -> ErrorList:
    policy = container.get("restartPolicy")
    rules: list[Object] = container.get("restartPolicyRules") or []
    where = path.child("restartPolicy")
    errors: ErrorList = []
    if policy is None:
        if not rules:
            return []
        detail = "must specify restartPolicy when restart rules are used"
        errors.append(field.required(where, detail))
    elif policy not in _RESTART_POLICIES:
        errors.append(field.not_supported(where, policy, _RESTART_POLICIES))
    if len(rules) > 20:
        errors.append(field.too_many(path.child("restartPolicyRules"), len(rules), 20))
    for position, rule in enumerate(rules):
        errors += _restart_rule(rule, path.child("restartPolicyRules").index(position))
    return errors


def _restart_rule(rule: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    action, codes = rule.get("action") or "", rule.get("exitCodes")
    if action not in _RULE_ACTIONS:
        errors.append(field.not_supported(path.child("action"), action, _RULE_ACTIONS))
    where = path.child("exitCodes")
    if codes is None:
        errors.append(field.required(where, "must be specified"))
        return errors
    operator, values = codes.get("operator") or "", codes.get("values") or ()
    if operator not in _RULE_OPERATORS:
        errors.append(field.not_supported(where.child("operator"), operator, _RULE_OPERATORS))
    if len(values) > 255:
        errors.append(field.too_many(where.child("values"), len(values), 255))
    return errors
