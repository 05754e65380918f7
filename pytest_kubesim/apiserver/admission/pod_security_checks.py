"""What the baseline standard forbids pods, and the words in which checks say so.

A check looks at a pod's metadata and spec and gives a reason and a detail, or None.

Functions of their input.  Follows `k8s.io/pod-security-admission/policy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from pytest_kubesim.apimachinery.golang import quote

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

Violation: TypeAlias = "tuple[str, str] | None"
"""Reason and detail; None where all is well."""
Check: TypeAlias = "Callable[[Object, Object], Violation]"
"""A check of a pod's metadata and spec."""

_APP_ARMOR_PREFIX = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_PREFIX = "container.seccomp.security.alpha.kubernetes.io/"
_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
SYSCTLS = {
    0: (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    ),
    27: ("net.ipv4.ip_local_reserved_ports",),
    29: (
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
    ),
    32: (
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    ),
    37: (
        "net.ipv4.tcp_slow_start_after_idle",
        "net.ipv4.tcp_notsent_lowat",
    ),
}
"""What may be set, by the minor version that first allowed it."""


# -- reading and wording -----------------------------------------------------------------------


def _containers(spec: Object) -> Iterator[Object]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or ()


def part_of(owner: Object, *fields: str) -> Object:
    """What lies in an object at some fields; an empty dict where nothing does."""
    for field in fields:
        owner = owner.get(field) or {}
    return owner


def context_of(owner: Object) -> Object:
    """The security context of a pod or a container."""
    return part_of(owner, "securityContext")


def offenders(spec: Object, offends: Callable[[Object], bool]) -> list[str]:
    """The names of the containers that offend."""
    return [each["name"] for each in _containers(spec) if offends(each)]


def plural(count: int, one: str, many: str) -> str:
    """One word or the other."""
    return one if count == 1 else many


def joined(items: Iterable[str]) -> str:
    """Items in quotes."""
    return ", ".join(f'"{item}"' for item in items)


def named(containers: list[str]) -> str:
    """Containers, in words."""
    return f"{plural(len(containers), 'container', 'containers')} {joined(containers)}"


def setters_of(spec: Object, offends: Callable[[Object], bool]) -> list[str]:
    """Who offends by a security context: the pod, and its containers."""
    found = ["pod"] if offends(context_of(spec)) else []
    containers = offenders(spec, lambda each: offends(context_of(each)))
    return [*found, named(containers)] if containers else found


# -- baseline ----------------------------------------------------------------------------------


def app_armor(metadata: Object, spec: Object) -> Violation:
    """AppArmor is not turned off."""
    values: set[str] = set()

    def offends(context: Object) -> bool:
        kind: str = part_of(context, "appArmorProfile").get("type") or ""
        if context.get("appArmorProfile") is None or kind in ("RuntimeDefault", "Localhost"):
            return False
        values.add(kind)
        return True

    setters = setters_of(spec, offends)
    annotations: dict[str, str] = metadata.get("annotations") or {}
    bad = sorted(
        f"{key}={quote(value)}"
        for key, value in annotations.items()
        if key.startswith(_APP_ARMOR_PREFIX)
        and value
        and value != "runtime/default"
        and not value.startswith("localhost/")
    )
    shown = [*sorted(values), *bad]
    if bad:
        setters.append(plural(len(bad), "annotation", "annotations"))
    if not setters:
        return None
    reason = plural(len(shown), "forbidden AppArmor profile", "forbidden AppArmor profiles")
    return reason, f"{' and '.join(setters)} must not set AppArmor profile type to {joined(shown)}"


def capabilities(metadata: Object, spec: Object) -> Violation:
    """Nothing beyond the default capabilities."""
    del metadata
    bad: set[str] = set()

    def offends(container: Object) -> bool:
        wanted = added(container)
        bad.update(name for name in wanted if name not in _CAPABILITIES)
        return any(name not in _CAPABILITIES for name in wanted)

    containers = offenders(spec, offends)
    if not containers:
        return None
    text = (
        f"{named(containers)} must not include {joined(sorted(bad))} in "
        "securityContext.capabilities.add"
    )
    return "non-default capabilities", text


def added(container: Object) -> list[str]:
    """The capabilities that a container asks for."""
    return part_of(container, "securityContext", "capabilities").get("add") or []


def host_namespaces(metadata: Object, spec: Object) -> Violation:
    """No namespaces of the host."""
    del metadata
    found = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    return ("host namespaces", ", ".join(found)) if found else None


def host_paths(metadata: Object, spec: Object) -> Violation:
    """No volumes from the host."""
    del metadata
    volumes: list[Object] = spec.get("volumes") or []
    found = [each["name"] for each in volumes if each.get("hostPath") is not None]
    if not found:
        return None
    return "hostPath volumes", f"{plural(len(found), 'volume', 'volumes')} {joined(found)}"


def host_ports(metadata: Object, spec: Object) -> Violation:
    """No ports of the host."""
    del metadata
    ports: set[str] = set()

    def offends(container: Object) -> bool:
        bad = [str(p["hostPort"]) for p in container.get("ports") or () if p.get("hostPort")]
        ports.update(bad)
        return bool(bad)

    containers = offenders(spec, offends)
    if not containers:
        return None
    uses = plural(len(containers), "uses", "use")
    what = plural(len(ports), "hostPort", "hostPorts")
    return "hostPort", f"{named(containers)} {uses} {what} {', '.join(sorted(ports))}"


def host_probes(metadata: Object, spec: Object) -> Violation:
    """No probes and hooks that call other hosts."""
    del metadata
    hosts: set[str] = set()

    def offends(container: Object) -> bool:
        handlers = [
            *(
                part_of(container, each)
                for each in ("livenessProbe", "readinessProbe", "startupProbe")
            ),
            *(part_of(container, "lifecycle", each) for each in ("postStart", "preStop")),
        ]
        bad: set[str] = set()
        for handler in handlers:
            for kind in ("httpGet", "tcpSocket"):
                bad.add(part_of(handler, kind).get("host") or "")
        bad.discard("")
        hosts.update(bad)
        return bool(bad)

    containers = sorted(offenders(spec, offends))
    if not containers:
        return None
    reason = "probe or lifecycle host"
    uses = plural(len(containers), "uses", "use")
    what = plural(len(hosts), reason, f"{reason}s")
    return reason, f"{named(containers)} {uses} {what} {joined(sorted(hosts))}"


def privileged(metadata: Object, spec: Object) -> Violation:
    """No privileged containers."""
    del metadata
    containers = offenders(spec, lambda each: bool(context_of(each).get("privileged")))
    if not containers:
        return None
    return "privileged", f"{named(containers)} must not set securityContext.privileged=true"


def proc_mount(metadata: Object, spec: Object) -> Violation:
    """A masked /proc."""
    del metadata
    kinds: set[str] = set()

    def offends(container: Object) -> bool:
        kind = context_of(container).get("procMount")
        if kind is None or kind == "Default":
            return False
        kinds.add(kind)
        return True

    containers = offenders(spec, offends)
    if not containers:
        return None
    return (
        "procMount",
        f"{named(containers)} must not set securityContext.procMount to {joined(sorted(kinds))}",
    )


def se_linux(extra: frozenset[str] = frozenset()) -> Check:
    """SELinux types for containers; `extra` ones besides."""
    allowed = {"", "container_t", "container_init_t", "container_kvm_t"} | extra

    def check(metadata: Object, spec: Object) -> Violation:
        del metadata
        kinds: set[str] = set()
        others: set[str] = set()

        def offends(context: Object) -> bool:
            options: Object = context.get("seLinuxOptions") or {}
            kind = options.get("type") or ""
            bad = {field for field in ("user", "role") if options.get(field)}
            others.update(bad)
            if kind not in allowed:
                kinds.add(kind)
            return bool(bad) or kind not in allowed

        setters = setters_of(spec, offends)
        if not setters:
            return None
        data: list[str] = []
        if kinds:
            data.append(f"{plural(len(kinds), 'type', 'types')} {joined(sorted(kinds))}")
        data += [f"{field} may not be set" for field in ("user", "role") if field in others]
        text = f"{' and '.join(setters)} set forbidden securityContext.seLinuxOptions: "
        return "seLinuxOptions", text + "; ".join(data)

    return check


def seccomp_annotations(metadata: Object, spec: Object) -> Violation:
    """Seccomp is not turned off by annotations."""
    annotations: dict[str, str] = metadata.get("annotations") or {}
    keys = [_SECCOMP_POD, *(f"{_SECCOMP_PREFIX}{each['name']}" for each in _containers(spec))]
    bad = {
        f"{key}={quote(annotations[key])}"
        for key in keys
        if key in annotations
        and annotations[key] not in ("runtime/default", "docker/default")
        and not annotations[key].startswith("localhost/")
    }
    if not bad:
        return None
    what = plural(len(bad), "annotation", "annotations")
    return "seccompProfile", f"forbidden {what} {', '.join(sorted(bad))}"


def seccomp(metadata: Object, spec: Object) -> Violation:
    """Seccomp is not turned off."""
    del metadata
    kinds: set[str] = set()

    def offends(context: Object) -> bool:
        kind: str = part_of(context, "seccompProfile").get("type") or ""
        if context.get("seccompProfile") is None or kind in ("Localhost", "RuntimeDefault"):
            return False
        kinds.add(kind)
        return True

    setters = setters_of(spec, offends)
    if not setters:
        return None
    text = (
        f"{' and '.join(setters)} must not set securityContext.seccompProfile.type to "
        f"{joined(sorted(kinds))}"
    )
    return "seccompProfile", text


def sysctls(minor: int) -> Check:
    """Safe sysctls of a minor version."""
    allowed = {name for since, names in SYSCTLS.items() if since <= minor for name in names}

    def check(metadata: Object, spec: Object) -> Violation:
        del metadata
        given: list[Object] = context_of(spec).get("sysctls") or []
        bad = [each["name"] for each in given if each["name"] not in allowed]
        return ("forbidden sysctls", ", ".join(bad)) if bad else None

    return check


def host_process(metadata: Object, spec: Object) -> Violation:
    """No processes of a Windows host."""
    del metadata

    def offends(context: Object) -> bool:
        return bool(part_of(context, "windowsOptions").get("hostProcess"))

    # Upstream looks at the containers first, but names the pod first.
    setters = setters_of(spec, offends)
    if not setters:
        return None
    text = "must not set securityContext.windowsOptions.hostProcess=true"
    return "hostProcess", f"{' and '.join(setters)} {text}"
