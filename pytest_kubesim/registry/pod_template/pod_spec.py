"""A whole pod spec, and the template around it.

Follows `ValidatePodSpec` and `ValidatePodTemplateSpec` of `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from typing import Any

from pytest_kubesim.apimachinery import formats, objectmeta
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.golang import quote
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry import parts
from pytest_kubesim.registry.pod_template import (
    annotations,
    containers,
    resources,
    scheduling,
    security_context,
    volumes,
)
from pytest_kubesim.registry.pod_template.options import PodOptions, containers_of
from pytest_kubesim.registry.pod_template.resources import validate_requirements
from pytest_kubesim.registry.strategies import EMPTY

RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PREEMPTION_POLICIES = ("PreemptLowerPriority", "Never")
_MAX_INT32 = 2**31 - 1


def validate_template(template: Object, path: Path, options: PodOptions) -> ErrorList:
    """A PodTemplateSpec."""
    metadata: Object = template.get("metadata") or {}
    spec: Object = template.get("spec") or {}
    found: dict[str, str] = metadata.get("annotations") or {}
    errors = objectmeta.validate_labels(metadata.get("labels"), path.child("labels"))
    where = path.child("annotations")
    if found:
        errors += objectmeta.validate_annotations(found, where)
        errors += annotations.validate_annotations(found, spec, where, options)
    errors += validate_pod_spec(spec, None, path.child("spec"), options)
    if found:
        errors += annotations.validate_agreement(found, spec, path.child("spec"))
    if spec.get("ephemeralContainers"):
        detail = "ephemeral containers not allowed in pod template"
        errors.append(field.forbidden(path.child("spec", "ephemeralContainers"), detail))
    return errors


def validate_pod_spec(
    spec: Object, metadata: Object | None, path: Path, options: PodOptions
) -> ErrorList:
    """A PodSpec; `metadata` is that of the Pod, None in a template."""
    get = spec.get
    errors: ErrorList = []
    grace = get("terminationGracePeriodSeconds")
    if grace is None:
        errors.append(field.required(path.child("terminationGracePeriodSeconds")))
    known: dict[str, Object] = {}
    if found := get("volumes"):
        known, problems = volumes.validate_volumes(found, metadata, path.child("volumes"), options)
        errors += problems
    claims: frozenset[str] = frozenset()
    if found := get("resourceClaims"):
        claims = frozenset(c["name"] for c in found if c.get("name"))
        errors += _resource_claims(found, metadata, path.child("resourceClaims"))
    around = containers.Surroundings(
        volumes=known,
        claims=claims,
        grace=grace,
        os=get("os"),
        restart_policy=get("restartPolicy") or "",
        host_users=get("hostUsers") is not False,
        options=options,
    )
    errors += _all_containers(spec, path, around)
    if get("resources") is not None:
        errors += resources.validate_pod_level(spec, claims, path, options)
    if get("hostNetwork"):
        errors += _host_network_ports(spec, path.child("containers"), options)
    errors += _policy(get("restartPolicy") or "", path.child("restartPolicy"), RESTART_POLICIES)
    errors += _policy(get("dnsPolicy") or "", path.child("dnsPolicy"), _DNS_POLICIES)
    if found := get("nodeSelector"):
        errors += objectmeta.validate_labels(found, path.child("nodeSelector"))
    if found := get("securityContext"):
        where = path.child("securityContext")
        errors += security_context.validate_pod_context(found, spec, where, options)
    errors += _placement(spec, path, options)
    errors += security_context.host_process(spec, path)
    if get("hostUsers") is False:
        errors += _host_users(spec, path, options)
    errors += _names(spec, path)
    errors += _rest(spec, path, options)
    return errors


def _all_containers(spec: Object, path: Path, around: containers.Surroundings) -> ErrorList:
    regular: list[Object] = spec.get("containers") or []
    errors = containers.validate_containers(regular, path.child("containers"), around)
    init: list[Object] = spec.get("initContainers") or []
    if init:
        where = path.child("initContainers")
        errors += containers.validate_init_containers(init, regular, where, around)
    if ephemeral := spec.get("ephemeralContainers"):
        where = path.child("ephemeralContainers")
        errors += containers.validate_ephemeral_containers(ephemeral, regular + init, where, around)
    return errors


def _policy(value: str, path: Path, allowed: tuple[str, ...]) -> ErrorList:
    if value in allowed:
        return []
    return [field.not_supported(path, value, allowed) if value else field.required(path)]


def _resource_claims(claims: list[Object], metadata: Object | None, path: Path) -> ErrorList:
    if annotations.MIRROR in ((metadata or EMPTY).get("annotations") or {}):
        detail = "static pods do not support resource claims"
        return [field.forbidden(Path("[]"), detail) for _ in claims]
    errors: ErrorList = []
    names: set[str] = set()
    for position, claim in enumerate(claims):
        where = path.index(position)
        name = claim.get("name") or ""
        if not name:
            errors.append(field.required(where.child("name")))
        elif name in names:
            errors.append(field.duplicate(where.child("name"), name))
        else:
            details = formats.is_dns1123_label(name)
            errors += field.invalid_each(where.child("name"), name, details)
            names.add(name)
        of, template = claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName")
        shown: Object = {
            "Name": name,
            "ResourceClaimName": of,
            "ResourceClaimTemplateName": template,
        }
        if of is not None and template is not None:
            detail = (
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            )
            errors.append(field.invalid(where, shown, detail))
        if of is None and template is None:
            detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            errors.append(field.invalid(where, shown, detail))
        for key, value in (("resourceClaimName", of), ("resourceClaimTemplateName", template)):
            if value is not None:
                details = formats.is_dns1123_subdomain(value)
                errors += field.invalid_each(where.child(key), value, details)
    return errors


def _host_network_ports(spec: Object, path: Path, options: PodOptions) -> ErrorList:
    errors: ErrorList = []
    for position, container in enumerate(spec.get("containers") or ()):
        for index, port in enumerate(parts.structs(container, "ports")):
            host, own = port.get("hostPort") or 0, port.get("containerPort") or 0
            if (options.is_pod or host) and host != own:
                where = path.index(position).child("ports").index(index).child("hostPort")
                detail = "must match `containerPort` when `hostNetwork` is true"
                errors.append(field.invalid(where, host, detail))
    return errors


def _placement(spec: Object, path: Path, options: PodOptions) -> ErrorList:
    get = spec.get
    errors: ErrorList = []
    if get("shareProcessNamespace") and get("hostPID"):
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(field.invalid(path.child("shareProcessNamespace"), True, detail))
    if found := get("affinity"):
        errors += scheduling.validate_affinity(found, path.child("affinity"), options)
    if get("dnsConfig") is not None or get("dnsPolicy") == "None":
        where = path.child("dnsConfig")
        errors += _dns_config(get("dnsConfig"), get("dnsPolicy") or "", where)
    for position, gate in enumerate(get("readinessGates") or ()):
        where = path.child("readinessGates").index(position).child("conditionType")
        name = gate.get("conditionType") or ""
        errors += field.invalid_each(where, name, formats.is_qualified_name(name))
    if found := get("schedulingGates"):
        errors += scheduling.validate_gates(found, path.child("schedulingGates"))
    if found := get("topologySpreadConstraints"):
        where = path.child("topologySpreadConstraints")
        errors += scheduling.validate_spread(found, where, options)
    return errors


def _dns_config(config: Object | None, policy: str, path: Path) -> ErrorList:
    if policy == "None":
        if config is None:
            return [field.required(path, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not config.get("nameservers"):
            detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [field.required(path.child("nameservers"), detail)]
    errors: ErrorList = []
    found: Object = config or {}
    servers: list[str] = found.get("nameservers") or []
    searches: list[str] = found.get("searches") or []
    where = path.child("nameservers")
    if len(servers) > 3:
        errors.append(field.invalid(where, servers, "must not have more than 3 nameservers"))
    for position, server in enumerate(servers):
        errors += field.validate_ip_for_legacy_field(where.index(position), server)
    where = path.child("searches")
    if len(searches) > 32:
        errors.append(field.invalid(where, searches, "must not have more than 32 search paths"))
    if len(" ".join(searches).encode()) > 2048:
        detail = "must not have more than 2048 characters (including spaces) in the search list"
        errors.append(field.invalid(where, searches, detail))
    for position, search in enumerate(searches):
        if search != ".":
            name = search.removesuffix(".")
            details = formats.is_dns1123_subdomain_with_underscore(name)
            errors += field.invalid_each(where.index(position), name, details)
    for position, option in enumerate(found.get("options") or ()):
        if not option.get("name"):
            at = path.child("options").index(position)
            errors.append(field.required(at, "must not be empty"))
    return errors


def _host_users(spec: Object, path: Path, options: PodOptions) -> ErrorList:
    detail = "when `hostUsers` is false"
    errors: ErrorList = []
    if spec.get("hostNetwork") and not options.allow_host_network_with_user_namespaces:
        errors.append(field.forbidden(path.child("hostNetwork"), detail))
    if spec.get("hostPID"):
        errors.append(field.forbidden(path.child("HostPID"), detail))
    if spec.get("hostIPC"):
        errors.append(field.forbidden(path.child("HostIPC"), detail))
    if not options.allow_user_namespaces_with_devices:
        errors += [
            field.forbidden(where.child("volumeDevices"), detail)
            for container, where in security_context.containers_with_paths(spec, path)
            if container.get("volumeDevices")
        ]
    return errors


def _names(spec: Object, path: Path) -> ErrorList:
    get = spec.get
    errors: ErrorList = []
    override = get("hostnameOverride")
    if override is not None:
        where = path.child("hostnameOverride")
        for key in ("setHostnameAsFQDN", "hostNetwork"):
            if get(key):
                detail = f"may not be specified when {key} is true"
                errors.append(field.forbidden(where, detail))
        if len(override.encode()) > 64:
            errors.append(field.too_long(where, 64))
        errors += field.invalid_each(where, override, formats.is_dns1123_subdomain(override))
    account = get("serviceAccountName") or ""
    if account:
        details = formats.is_dns1123_subdomain(account)
        errors += field.invalid_each(path.child("serviceAccountName"), account, details)
    deprecated = get("serviceAccount") or ""
    if deprecated != account:
        detail = f"must be the same as serviceAccountName: {quote(account)}"
        errors.append(field.invalid(path.child("deprecatedServiceAccount"), deprecated, detail))
    if node := get("nodeName"):
        details = formats.is_dns1123_subdomain(node)
        errors += field.invalid_each(path.child("nodeName"), node, details)
    deadline = get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _MAX_INT32:
        detail = formats.inclusive_range_error(1, _MAX_INT32)
        errors.append(field.invalid(path.child("activeDeadlineSeconds"), deadline, detail))
    for key in ("hostname", "subdomain"):
        if name := get(key):
            details = formats.is_dns1123_label(name)
            errors += field.invalid_each(path.child(key), name, details)
    return errors


def _rest(spec: Object, path: Path, options: PodOptions) -> ErrorList:
    get = spec.get
    errors: ErrorList = []
    if found := get("tolerations"):
        errors += scheduling.validate_tolerations(
            found,
            path.child("tolerations"),
            allow_comparison=options.allow_toleration_comparison,
        )
    for position, alias in enumerate(get("hostAliases") or ()):
        errors += _host_alias(alias, path.child("hostAliases").index(position))
    if name := get("priorityClassName"):
        details = formats.is_dns1123_subdomain(name)
        errors += field.invalid_each(path.child("priorityClassName"), name, details)
    name = get("runtimeClassName")
    if name is not None:
        details = formats.is_dns1123_subdomain(name)
        errors += field.invalid_each(path.child("runtimeClassName"), name, details)
    policy: Any = get("preemptionPolicy")
    if policy is not None:
        errors += _policy(policy, path.child("preemptionPolicy"), _PREEMPTION_POLICIES)
    if found := get("overhead"):
        where = path.child("overhead")
        errors += validate_requirements({"limits": found}, (), where, options)
    if get("os") is not None:
        errors += security_context.validate_os(spec, path)
    return errors + _file_keys(spec, path)


def _host_alias(alias: Object, path: Path) -> ErrorList:
    errors = field.validate_ip_for_legacy_field(path.child("ip"), alias.get("ip") or "")
    for position, name in enumerate(alias.get("hostnames") or ()):
        where = path.child("hostnames").index(position)
        errors += field.invalid_each(where, name, formats.is_dns1123_subdomain(name))
    return errors


def _file_keys(spec: Object, path: Path) -> ErrorList:
    if not any(
        (variable.get("valueFrom") or EMPTY).get("fileKeyRef") is not None
        for container in containers_of(spec)
        for variable in container.get("env") or ()
    ):
        return []
    errors: ErrorList = []
    known = {v.get("name") or "": v for v in spec.get("volumes") or ()}
    for container, where in security_context.containers_with_paths(spec, path):
        for position, variable in enumerate(container.get("env") or ()):
            reference = (variable.get("valueFrom") or EMPTY).get("fileKeyRef")
            if reference is None:
                continue
            name = reference.get("volumeName") or ""
            at = where.child("env").index(position).child("valueFrom", "fileKeyRef", "volumeName")
            if name not in known:
                errors.append(field.not_found(at, name))
            elif known[name].get("emptyDir") is None:
                detail = "referenced volume must be of type emptyDir"
                errors.append(field.invalid(at, name, detail))
    return errors
