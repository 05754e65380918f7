"""What validation lets pass because the object that is changed had it already.

Follows `PodValidationOptions` and `GetValidationOptionsFromPodSpecAndMeta` of
`pkg/api/pod/util.go`, with the feature gates as they are by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from pytest_kubesim.apimachinery import formats, metav1
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import NIL
from pytest_kubesim.registry.pod_template import resource_names
from pytest_kubesim.registry.strategies import EMPTY


@attrs.frozen(slots=True)
class PodOptions:
    """How strict to be with one pod spec."""

    is_pod: bool = False
    """It is the spec of a Pod, not that of a template."""
    allow_invalid_deletion_cost: bool = False
    allow_indivisible_huge_pages: bool = False
    allow_invalid_selector_values: bool = False
    """In label selectors of affinity terms."""
    allow_invalid_node_affinity_values: bool = False
    allow_invalid_spread_selector: bool = False
    legacy_match_label_keys: bool = False
    allow_nonlocal_token_path: bool = False
    allow_host_sysctls: bool = False
    allow_restart_container_for_init: bool = False
    allow_user_namespaces_with_devices: bool = False
    allow_host_network_with_user_namespaces: bool = False
    allow_toleration_comparison: bool = False
    allow_empty_image_reference: bool = False
    allow_sys_admin: bool = False


TEMPLATE = PodOptions()
POD = PodOptions(is_pod=True)


def containers_of(spec: Object) -> Iterator[Object]:
    """All containers of a spec, init containers first."""
    for key in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(key) or ()


def for_update(old_spec: Object | None, old_metadata: Object | None, *, is_pod: bool) -> PodOptions:
    """The options for what replaces a spec that is stored."""
    base = POD if is_pod else TEMPLATE
    if not old_spec:
        return base
    changes: dict[str, Any] = {}
    containers = list(containers_of(old_spec))
    for name, holds in (
        ("allow_indivisible_huge_pages", _indivisible(containers)),
        ("allow_invalid_selector_values", _bad_selectors(old_spec)),
        ("allow_invalid_node_affinity_values", _bad_node_affinity(old_spec)),
        ("allow_sys_admin", any(_sys_admin(c.get("securityContext")) for c in containers)),
        ("allow_nonlocal_token_path", _nonlocal_token(old_spec)),
        ("allow_empty_image_reference", _empty_image(old_spec)),
        ("allow_restart_container_for_init", _restarts_init(old_spec)),
        ("allow_toleration_comparison", _compares(old_spec)),
        ("allow_invalid_deletion_cost", _bad_cost(old_metadata)),
    ):
        if holds:
            changes[name] = True
    if constraints := old_spec.get("topologySpreadConstraints"):
        changes["allow_invalid_spread_selector"] = any(
            metav1.validate_label_selector(c.get("labelSelector"), NIL) for c in constraints
        )
        changes["legacy_match_label_keys"] = any(_keys_in_selector(c) for c in constraints)
    if old_spec.get("hostUsers") is False:
        changes["allow_user_namespaces_with_devices"] = any(
            c.get("volumeDevices") for c in containers
        )
        changes["allow_host_network_with_user_namespaces"] = bool(old_spec.get("hostNetwork"))
    sysctls = (old_spec.get("securityContext") or EMPTY).get("sysctls")
    if sysctls:
        changes["allow_host_sysctls"] = any(
            host_sysctl_problem(s.get("name") or "", old_spec) for s in sysctls
        )
    return attrs.evolve(base, **changes) if changes else base


def _indivisible(containers: list[Object]) -> bool:
    for container in containers:
        resources: Object = container.get("resources") or {}
        for key in ("limits", "requests"):
            for name, amount in (resources.get(key) or EMPTY).items():
                if resource_names.is_huge_page(name) and resource_names.huge_page_problem(
                    name, amount
                ):
                    return True
    return False


def _terms(spec: Object) -> Iterator[Object]:
    affinity: Object = spec.get("affinity") or {}
    for key in ("podAffinity", "podAntiAffinity"):
        found: Object = affinity.get(key) or {}
        yield from found.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        for weighted in found.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            yield weighted.get("podAffinityTerm") or {}


def _bad_selectors(spec: Object) -> bool:
    if not spec.get("affinity"):
        return False
    return any(
        metav1.validate_label_selector(term.get(key), NIL)
        for term in _terms(spec)
        for key in ("labelSelector", "namespaceSelector")
    )


def _bad_node_affinity(spec: Object) -> bool:
    affinity: Object = (spec.get("affinity") or EMPTY).get("nodeAffinity") or {}
    required: Object = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    return any(
        formats.is_valid_label_value(value)
        for term in required.get("nodeSelectorTerms") or ()
        for expression in term.get("matchExpressions") or ()
        for value in expression.get("values") or ()
    )


def _sys_admin(context: Object | None) -> bool:
    if not context or context.get("allowPrivilegeEscalation"):
        return False
    return "CAP_SYS_ADMIN" in ((context.get("capabilities") or EMPTY).get("add") or ())


def _nonlocal_token(spec: Object) -> bool:
    for volume in spec.get("volumes") or ():
        for source in (volume.get("projected") or EMPTY).get("sources") or ():
            path = (source.get("serviceAccountToken") or EMPTY).get("path") or ""
            if path.startswith(("/", "..")) or ".." in path.split("/"):
                return True
    return False


def _empty_image(spec: Object) -> bool:
    return any(
        volume.get("image") is not None and not volume["image"].get("reference")
        for volume in spec.get("volumes") or ()
    )


def _restarts_init(spec: Object) -> bool:
    return any(
        policy.get("restartPolicy") == "RestartContainer"
        for container in spec.get("initContainers") or ()
        if container.get("restartPolicy") != "Always"
        for policy in container.get("resizePolicy") or ()
    )


def _compares(spec: Object) -> bool:
    return any(t.get("operator") in ("Lt", "Gt") for t in spec.get("tolerations") or ())


def _keys_in_selector(constraint: Object) -> bool:
    keys: set[str] = {*(constraint.get("matchLabelKeys") or ())}
    if not keys:
        return False
    selector = constraint.get("labelSelector")
    if selector is None:
        return True
    labels: set[str] = {*(selector.get("matchLabels") or ())}
    for expression in selector.get("matchExpressions") or ():
        key = expression.get("key") or ""
        if key in keys and key in labels:
            return True
        labels.add(key)
    return False


def _bad_cost(metadata: Object | None) -> bool:
    return bool(deletion_cost_problem((metadata or EMPTY).get("annotations") or {}))


DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def deletion_cost_problem(annotations: Object) -> bool:
    """Whether the annotation with the deletion cost holds no 32-bit number."""
    value: str | None = annotations.get(DELETION_COST)
    if value is None:
        return False
    digits = value.removeprefix("-")
    if not digits.isascii() or not digits.isdigit():
        return True
    if len(value) > 1 and value[0] == "0":
        return True
    return not -(2**31) <= int(value) < 2**31


_IPC_SYSCTLS = frozenset({"kernel.sem"})
_IPC_PREFIXES = ("kernel.shm.", "kernel.msg.", "fs.mqueue.")


def host_sysctl_problem(name: str, spec: Object) -> str:
    """Why a sysctl may not be set in a pod that shares its host's namespaces."""
    dotted = _dotted(name)
    if spec.get("hostNetwork") and dotted.startswith("net."):
        return "may not be specified when 'hostNetwork' is true"
    if spec.get("hostIPC") and (dotted in _IPC_SYSCTLS or dotted.startswith(_IPC_PREFIXES)):
        return "may not be specified when 'hostIPC' is true"
    return ""


def _dotted(name: str) -> str:
    first = next((c for c in name if c in "./"), ".")
    if first == ".":
        return name
    return name.translate(str.maketrans("./", "/."))
