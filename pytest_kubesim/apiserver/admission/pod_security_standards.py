"""The Pod Security Standards: which checks a level has at a version.

A check of the restricted level takes the place of the baseline check that it names.  Checks run in
the order of their names, baseline before restricted.

Functions of their input.  Follows `k8s.io/pod-security-admission/policy`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apiserver.admission import pod_security_checks as checks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.admission.pod_security_checks import Check, Violation

PRIVILEGED, BASELINE, RESTRICTED = "privileged", "baseline", "restricted"
LATEST = 1_000_000
"""The minor version that stands for the latest."""
NEWEST = 37
"""The last minor version that changed a check: later ones are checked as it is."""

_VOLUMES = (
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
)
_RESTRICTED_VOLUMES = (
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
)


def violations(level: str, minor: int, metadata: Object, spec: Object) -> list[tuple[str, str]]:
    """Why a pod is not of a level at a minor version, reasons with details."""
    if level == PRIVILEGED:
        return []
    found = (check(metadata, spec) for check in _checks(level, min(minor, NEWEST)))
    return [violation for violation in found if violation is not None]


@attrs.frozen
class _Versioned:
    name: str
    level: str
    since: int
    check: Check
    overrides: str = ""


@functools.lru_cache(128)
def _checks(level: str, minor: int) -> tuple[Check, ...]:
    known: dict[str, _Versioned] = {}
    for each in CHECKS:
        if each.since <= minor and (each.level == BASELINE or level == RESTRICTED):
            known[each.name] = each
    overridden = {each.overrides for each in known.values()}
    ordered = sorted(known.values(), key=lambda each: (each.level != BASELINE, each.name))
    return tuple(each.check for each in ordered if each.name not in overridden)


def _is_windows(spec: Object) -> bool:
    return checks.part_of(spec, "os").get("name") == "windows"


def _except_windows(check: Check) -> Check:
    return lambda metadata, spec: None if _is_windows(spec) else check(metadata, spec)


def _except_user_namespaces(check: Check) -> Check:
    return lambda metadata, spec: None if spec.get("hostUsers") is False else check(metadata, spec)


# -- restricted --------------------------------------------------------------------------------


def _escalation(metadata: Object, spec: Object) -> Violation:
    del metadata
    field = "allowPrivilegeEscalation"
    containers = checks.offenders(
        spec, lambda each: checks.context_of(each).get(field) is not False
    )
    if not containers:
        return None
    return f"{field} != false", f"{checks.named(containers)} must set securityContext.{field}=false"


def _dropped(metadata: Object, spec: Object) -> Violation:
    del metadata
    bad: set[str] = set()

    def keeps(container: Object) -> bool:
        capabilities = checks.part_of(container, "securityContext", "capabilities")
        return "ALL" not in (capabilities.get("drop") or ())

    def adds(container: Object) -> bool:
        names = [name for name in checks.added(container) if name != "NET_BIND_SERVICE"]
        bad.update(names)
        return bool(names)

    details: list[str] = []
    if missing := checks.offenders(spec, keeps):
        text = 'must set securityContext.capabilities.drop=["ALL"]'
        details.append(f"{checks.named(missing)} {text}")
    if adding := checks.offenders(spec, adds):
        details.append(
            f"{checks.named(adding)} must not include {checks.joined(sorted(bad))} in "
            "securityContext.capabilities.add"
        )
    return ("unrestricted capabilities", "; ".join(details)) if details else None


def _volume_types(metadata: Object, spec: Object) -> Violation:
    del metadata
    volumes: list[str] = []
    kinds: set[str] = set()
    for each in spec.get("volumes") or ():
        if any(each.get(kind) is not None for kind in _VOLUMES):
            continue
        volumes.append(each["name"])
        found = [kind for kind in _RESTRICTED_VOLUMES if each.get(kind) is not None]
        kinds.add(found[0] if found else "unknown")
    if not volumes:
        return None
    what = checks.plural(len(kinds), "restricted volume type", "restricted volume types")
    text = (
        f"{checks.plural(len(volumes), 'volume', 'volumes')} {checks.joined(volumes)} "
        f"{checks.plural(len(volumes), 'uses', 'use')} {what} {checks.joined(sorted(kinds))}"
    )
    return "restricted volume types", text


def _non_root(metadata: Object, spec: Object) -> Violation:
    del metadata
    field, reason = "runAsNonRoot", "runAsNonRoot != true"
    setters = checks.setters_of(spec, lambda context: context.get(field) is False)
    if setters:
        return reason, f"{' and '.join(setters)} must not set securityContext.{field}=false"
    if checks.context_of(spec).get(field):
        return None
    containers = checks.offenders(spec, lambda each: checks.context_of(each).get(field) is None)
    if not containers:
        return None
    return reason, f"pod or {checks.named(containers)} must set securityContext.{field}=true"


def _user(metadata: Object, spec: Object) -> Violation:
    del metadata
    setters = checks.setters_of(spec, lambda context: context.get("runAsUser") == 0)
    return ("runAsUser=0", f"{' and '.join(setters)} must not set runAsUser=0") if setters else None


def _seccomp_required(metadata: Object, spec: Object) -> Violation:
    explicit = checks.seccomp(metadata, spec)
    if explicit is not None or checks.context_of(spec).get("seccompProfile") is not None:
        return explicit
    containers = checks.offenders(
        spec, lambda each: checks.context_of(each).get("seccompProfile") is None
    )
    if not containers:
        return None
    text = (
        f"pod or {checks.named(containers)} must set securityContext.seccompProfile.type to "
        '"RuntimeDefault" or "Localhost"'
    )
    return "seccompProfile", text


def _table() -> Iterator[_Versioned]:
    def row(
        name: str, since: int, check: Check, level: str = BASELINE, over: str = ""
    ) -> _Versioned:
        return _Versioned(name, level, since, check, over)

    yield row("appArmorProfile", 0, checks.app_armor)
    yield row("capabilities_baseline", 0, checks.capabilities)
    yield row("hostNamespaces", 0, checks.host_namespaces)
    yield row("hostPathVolumes", 0, checks.host_paths)
    yield row("hostPorts", 0, checks.host_ports)
    yield row("hostProbesAndHostLifecycle", 34, checks.host_probes)
    yield row("privileged", 0, checks.privileged)
    yield row("procMount", 0, checks.proc_mount)
    yield row("procMount", 35, _except_user_namespaces(checks.proc_mount))
    yield row("seLinuxOptions", 0, checks.se_linux())
    yield row("seLinuxOptions", 31, checks.se_linux(frozenset({"container_engine_t"})))
    yield row("seccompProfile_baseline", 0, checks.seccomp_annotations)
    yield row("seccompProfile_baseline", 19, checks.seccomp)
    for since in checks.SYSCTLS:
        yield row("sysctls", since, checks.sysctls(since))
    yield row("windowsHostProcess", 0, checks.host_process)
    yield row("allowPrivilegeEscalation", 8, _escalation, RESTRICTED)
    yield row("allowPrivilegeEscalation", 25, _except_windows(_escalation), RESTRICTED)
    over = "capabilities_baseline"
    yield row("capabilities_restricted", 22, _dropped, RESTRICTED, over)
    yield row("capabilities_restricted", 25, _except_windows(_dropped), RESTRICTED, over)
    yield row("procMount_restricted", 35, checks.proc_mount, RESTRICTED, "procMount")
    yield row("restrictedVolumes", 0, _volume_types, RESTRICTED, "hostPathVolumes")
    yield row("runAsNonRoot", 0, _non_root, RESTRICTED)
    yield row("runAsNonRoot", 35, _except_user_namespaces(_non_root), RESTRICTED)
    yield row("runAsUser", 23, _user, RESTRICTED)
    yield row("runAsUser", 35, _except_user_namespaces(_user), RESTRICTED)
    over = "seccompProfile_baseline"
    yield row("seccompProfile_restricted", 19, _seccomp_required, RESTRICTED, over)
    yield row("seccompProfile_restricted", 25, _except_windows(_seccomp_required), RESTRICTED, over)


CHECKS = tuple(_table())
"""All checks; of several of one name the last that is old enough counts."""
