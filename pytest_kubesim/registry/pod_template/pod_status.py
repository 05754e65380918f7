"""The status of a Pod, as kubelets and controllers write it.

Follows `ValidatePodStatusUpdate` of `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_kubesim.apimachinery import addresses, formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.golang import json_text
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry.pod_template.options import PodOptions
from pytest_kubesim.registry.pod_template.pods import annotation_updates
from pytest_kubesim.registry.strategies import EMPTY

_STATUS = Path("status")
_SYSTEM_CONDITIONS = frozenset({"PodScheduled", "Ready", "Initialized"})
_NOT_NEGATIVE = "must be a non-negative integer"
_REVIVED = "may not be transitioned to non-terminated state"
_HEALTHS = ("Healthy", "Unhealthy", "Unknown")


def validate_status_update(
    pod: Object, old: Object, options: Callable[[], PodOptions]
) -> ErrorList:
    """A change through `/status`; the specs are equal by then."""
    new: Object = pod.get("status") or {}
    before: Object = old.get("status") or {}
    errors: ErrorList = []
    if pod["metadata"].get("annotations") != old["metadata"].get("annotations"):
        errors += annotation_updates(pod, old, options())
    if new == before:
        return errors
    errors += _conditions(new.get("conditions") or [])
    errors += _nomination(new, before, old["spec"])
    generation = new.get("observedGeneration") or 0
    if generation < 0:
        errors.append(field.invalid(_STATUS.child("observedGeneration"), generation, _NOT_NEGATIVE))
    quality, old_quality = new.get("qosClass") or "", before.get("qosClass") or ""
    if quality != old_quality:
        errors.append(field.invalid(_STATUS.child("qosClass"), quality, field.FIELD_IMMUTABLE))
    spec: Object = old["spec"]
    for key, containers in (
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
    ):
        errors += _transitions(new, before, key, containers, spec)
    errors += _ephemeral_transitions(new, before)
    errors += _claims(new, spec)
    errors += _addresses(new, before, "podIPs", "podIP", needs_both=True)
    errors += _addresses(new, before, "hostIPs", "hostIP", needs_both=False)
    for key in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        errors += _users(new.get(key) or [], _STATUS.child(key), spec)
    for key, containers in (
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
    ):
        errors += _allocated(new.get(key) or [], _STATUS.child(key), spec.get(containers) or [])
    for position, status in enumerate(new.get("ephemeralContainerStatuses") or ()):
        if status.get("allocatedResourcesStatus"):
            where = _STATUS.child("ephemeralContainerStatuses").index(position)
            detail = "must not be specified in container status"
            errors.append(field.forbidden(where.child("allocatedResourcesStatus"), detail))
    return errors


def _conditions(conditions: list[Object]) -> ErrorList:
    errors: ErrorList = []
    for position, condition in enumerate(conditions):
        generation = condition.get("observedGeneration") or 0
        if generation < 0:
            at = _STATUS.child("conditions").index(position).child("observedGeneration")
            errors.append(field.invalid(at, generation, _NOT_NEGATIVE))
        kind = condition.get("type") or ""
        if kind not in _SYSTEM_CONDITIONS and (details := formats.is_qualified_name(kind)):
            where = _STATUS.child("conditions").index(position).child("Type")
            errors += field.invalid_each(where, kind, details)
    return errors


def _nomination(new: Object, before: Object, spec: Object) -> ErrorList:
    node = new.get("nominatedNodeName") or ""
    if not node or node == (before.get("nominatedNodeName") or ""):
        return []
    where = _STATUS.child("nominatedNodeName")
    errors = field.invalid_each(where, node, formats.is_dns1123_subdomain(node))
    if spec.get("nodeName"):
        detail = "may not be set on pods that are already bound to a node"
        errors.append(field.forbidden(where, detail))
    return errors


# -- containers --------------------------------------------------------------------------------


def _transitions(new: Object, before: Object, key: str, containers: str, spec: Object) -> ErrorList:
    errors: ErrorList = []
    statuses: list[Object] = new.get(key) or []
    if not before.get(key) or _all_may_restart(spec):
        return []
    for position, old in enumerate(before[key]):
        terminated = (old.get("state") or EMPTY).get("terminated")
        if terminated is None:
            continue
        for status in statuses:
            if status.get("name") != old.get("name"):
                continue
            if (status.get("state") or EMPTY).get("terminated") is not None:
                continue
            container = next(
                (c for c in spec.get(containers) or () if c.get("name") == old.get("name")), None
            )
            if container is None or not _restarts(container, spec, terminated.get("exitCode") or 0):
                where = _STATUS.child(key).index(position).child("state")
                errors.append(field.forbidden(where, _REVIVED))
            break
    return errors


def _all_may_restart(spec: Object) -> bool:
    """Whether a rule may restart all containers of the pod (`AllContainersCouldRestart`)."""
    return any(
        rule.get("action") == "RestartAllContainers"
        for key in ("initContainers", "containers")
        for container in spec.get(key) or ()
        for rule in container.get("restartPolicyRules") or ()
    )


def _restarts(container: Object, spec: Object, exit_code: int) -> bool:
    """Whether a container runs again after that exit (`ContainerShouldRestart`)."""
    for rule in container.get("restartPolicyRules") or ():
        codes: Any = rule.get("exitCodes") or {}
        values = codes.get("values") or ()
        if (exit_code in values) == (codes.get("operator") == "In") and rule.get("action"):
            return True
    policy = container.get("restartPolicy") or spec.get("restartPolicy")
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def _ephemeral_transitions(new: Object, before: Object) -> ErrorList:
    key = "ephemeralContainerStatuses"
    if not before.get(key):
        return []
    statuses = {s.get("name"): s for s in new.get(key) or ()}
    return [
        field.forbidden(_STATUS.child(key).index(position).child("state"), _REVIVED)
        for position, old in enumerate(before.get(key) or ())
        if (old.get("state") or EMPTY).get("terminated") is not None
        and old.get("name") in statuses
        and (statuses[old.get("name")].get("state") or EMPTY).get("terminated") is None
    ]


def _users(statuses: list[Object], path: Path, spec: Object) -> ErrorList:
    errors: ErrorList = []
    if not statuses:
        return errors
    system = (spec.get("os") or EMPTY).get("name") or "linux"
    for position, status in enumerate(statuses):
        linux = (status.get("user") or EMPTY).get("linux")
        if linux is None:
            continue
        where = path.index(position).child("user", "linux")
        if system == "windows":
            errors.append(field.forbidden(where, "cannot be set for a windows pod"))
            continue
        uid, gid = linux.get("uid") or 0, linux.get("gid") or 0
        if not 0 <= uid < 2**32:
            detail = f"must be between 0 and {2**32 - 1}, inclusive"
            errors.append(field.invalid(where.child("uid"), uid, detail))
        errors += field.invalid_each(where.child("gid"), gid, formats.is_valid_group_id(gid))
        for index, group in enumerate(linux.get("supplementalGroups") or ()):
            at = where.child("supplementalGroups").index(index)
            errors += field.invalid_each(at, group, formats.is_valid_group_id(group))
    return errors


def _allocated(statuses: list[Object], path: Path, containers: list[Object]) -> ErrorList:
    errors: ErrorList = []
    known = {c.get("name"): c for c in containers}
    for position, status in enumerate(statuses):
        if not status.get("allocatedResourcesStatus"):
            continue
        where = path.index(position).child("allocatedResourcesStatus")
        for index, allocated in enumerate(status["allocatedResourcesStatus"]):
            container = known.get(status.get("name"))
            if container is not None:
                errors += _allocated_name(
                    allocated.get("name") or "", container, where.index(index)
                )
            errors += _healths(
                allocated.get("resources") or [], where.index(index).child("resources")
            )
    return errors


def _allocated_name(name: str, container: Object, path: Path) -> ErrorList:
    resources: Object = container.get("resources") or {}
    if name.startswith("claim:"):
        claims = {
            f"claim:{c.get('name')}" + (f"/{c['request']}" if c.get("request") else "")
            for c in resources.get("claims") or ()
        }
        found = name in claims
        detail = (
            "must match one of the container's resource claims as "
            "'claim:<claimName>/<requestName>' when "
            "container.resources.claims[*].request is set or 'claim:<claimName>' when it is empty"
        )
    else:
        found = name in (resources.get("requests") or {})
        detail = "must match one of the container's resource requests"
    return [] if found else [field.invalid(path.child("name"), name, detail)]


def _healths(resources: list[Object], path: Path) -> ErrorList:
    errors: ErrorList = []
    seen: set[str] = set()
    for position, resource in enumerate(resources):
        where = path.index(position)
        health, name = resource.get("health") or "", resource.get("resourceID") or ""
        if health not in _HEALTHS:
            errors.append(field.not_supported(where.child("health"), health, _HEALTHS))
        if name in seen:
            errors.append(field.duplicate(where.child("resourceID"), name))
        seen.add(name)
    return errors


# -- claims, addresses -------------------------------------------------------------------------


def _claims(status: Object, spec: Object) -> ErrorList:
    errors: ErrorList = []
    if not status.get("resourceClaimStatuses"):
        return errors
    known = {c.get("name") for c in spec.get("resourceClaims") or ()}
    seen: set[str] = set()
    for position, claim in enumerate(status.get("resourceClaimStatuses") or ()):
        where = _STATUS.child("resourceClaimStatuses").index(position)
        name = claim.get("name") or ""
        if name not in known:
            detail = "must match the name of an entry in `spec.resourceClaims`"
            errors.append(field.invalid(where.child("name"), name, detail))
        if name in seen:
            errors.append(field.duplicate(where.child("name"), name))
        seen.add(name)
        of = claim.get("resourceClaimName")
        if of is not None:
            details = formats.is_dns1123_subdomain(of)
            errors += field.invalid_each(where.child("resourceClaimName"), of, details)
    return errors


def _addresses(new: Object, before: Object, many: str, one: str, *, needs_both: bool) -> ErrorList:
    entries: list[Object] = new.get(many) or []
    address: str = new.get(one) or ""
    where = _STATUS.child(many)
    if new.get(many) == before.get(many) and address == (before.get(one) or ""):
        return []
    errors: ErrorList = []
    found = [entry.get("ip") or "" for entry in entries]
    first: ErrorList = []
    if entries and found[0] != address and (address or not needs_both):
        detail = f"must be equal to `{one}`"
        first.append(field.invalid(where.index(0).child("ip"), found[0], detail))
    if not needs_both:
        errors += first
    known = [entry.get("ip") or "" for entry in before.get(many) or ()]
    for position, each in enumerate(found):
        errors += field.validate_ip_for_legacy_field(where.index(position), each, old=known)
    if len(found) > 1 and not is_dual_stack(found):
        detail = "may specify no more than one IP for each IP family"
        errors.append(field.invalid(where, _shown(found), detail))
    if needs_both:
        if bool(address) != bool(entries):
            detail = "podIP and podIPs must either both be set or both be unset"
            errors.append(field.invalid(where, _shown(found), detail))
        errors += first
    return errors


def _shown(found: list[str]) -> field.Printed:
    return field.Printed(json_text([{"IP": each} for each in found] or None))


def is_dual_stack(found: list[str]) -> bool:
    """Whether the addresses are one of each family."""
    families = [getattr(addresses.parse_ip_sloppy(each), "version", 0) for each in found]
    return len(found) == 2 and set(families) == {4, 6}
