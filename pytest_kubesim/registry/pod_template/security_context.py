"""Security contexts of pods and containers, and what goes with an operating system.

The API server is one that runs with `--allow-privileged`, as they all do.

Follows `ValidateSecurityContext`, `validatePodSpecSecurityContext`, `validateLinux` and
`validateWindows` of `pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path
from pytest_kubesim.registry.pod_template.options import PodOptions, host_sysctl_problem
from pytest_kubesim.registry.pod_template.volume_sources import local_descending
from pytest_kubesim.registry.strategies import EMPTY

_PROC_MOUNTS = ("Default", "Unmasked")
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_SYSCTL_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = f"^({_SYSCTL_SEGMENT}[\\./])*{_SYSCTL_SEGMENT}$"
_match_sysctl = re.compile(_SYSCTL[:-1] + r"\Z").match


def containers_with_paths(spec: Object, path: Path) -> Iterator[tuple[Object, Path]]:
    """All containers and where they stand, init containers first."""
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for position, container in enumerate(spec.get(key) or ()):
            yield container, path.child(key).index(position)


def validate_container_context(
    context: Object, path: Path, *, host_users: bool, allow_sys_admin: bool
) -> ErrorList:
    """`securityContext` of a container."""
    errors: ErrorList = []
    get = context.get
    errors += _ids(context, path, ("runAsUser", "runAsGroup"))
    proc = get("procMount")
    if proc is not None:
        where = path.child("procMount")
        if proc not in _PROC_MOUNTS:
            errors.append(field.not_supported(where, proc, _PROC_MOUNTS))
        if host_users and proc == "Unmasked":
            detail = "`hostUsers` must be false to use `Unmasked`"
            errors.append(field.invalid(where, proc, detail))
    errors += seccomp_profile(get("seccompProfile"), path.child("seccompProfile"))
    if get("allowPrivilegeEscalation") is False:
        problem = "cannot set `allowPrivilegeEscalation` to false and "
        shown = field.Printed(_context_text(context))
        if get("privileged"):
            errors.append(field.invalid(path, shown, f"{problem}`privileged` to true"))
        for capability in (get("capabilities") or EMPTY).get("add") or ():
            if capability == "CAP_SYS_ADMIN" and not allow_sys_admin:
                detail = f"{problem}`capabilities.Add` CAP_SYS_ADMIN"
                errors.append(field.invalid(path, shown, detail))
    if windows := get("windowsOptions"):
        errors += windows_options(windows, path.child("windowsOptions"))
    return errors + app_armor_profile(get("appArmorProfile"), path.child("appArmorProfile"))


def _context_text(context: Object) -> str:
    from pytest_kubesim.registry.pod_template.go_structs import text_of

    return text_of("SecurityContext", context)


def _ids(context: Object, path: Path, names: tuple[str, ...]) -> ErrorList:
    errors: ErrorList = []
    for name in names:
        number = context.get(name)
        if number is not None and not 0 <= number < 2**31:
            details = formats.is_valid_user_id(number)
            errors += field.invalid_each(path.child(name), number, details)
    return errors


def validate_pod_context(
    context: Object, spec: Object, path: Path, options: PodOptions
) -> ErrorList:
    """`securityContext` of a pod."""
    errors = _ids(context, path, ("fsGroup", "runAsUser", "runAsGroup"))
    for position, gid in enumerate(context.get("supplementalGroups") or ()):
        where = path.child("supplementalGroups").index(position)
        errors += field.invalid_each(where, gid, formats.is_valid_group_id(gid))
    if sysctls := context.get("sysctls"):
        errors += _sysctls(sysctls, spec, path.child("sysctls"), options)
    errors += _one_of(context, path, "fsGroupChangePolicy", ("Always", "OnRootMismatch"))
    errors += seccomp_profile(context.get("seccompProfile"), path.child("seccompProfile"))
    if windows := context.get("windowsOptions"):
        errors += windows_options(windows, path.child("windowsOptions"))
    errors += app_armor_profile(context.get("appArmorProfile"), path.child("appArmorProfile"))
    errors += _one_of(context, path, "supplementalGroupsPolicy", ("Merge", "Strict"))
    return errors + _one_of(context, path, "seLinuxChangePolicy", ("MountOption", "Recursive"))


def _one_of(context: Object, path: Path, name: str, allowed: tuple[str, ...]) -> ErrorList:
    value = context.get(name)
    if value is None or value in allowed:
        return []
    return [field.not_supported(path.child(name), value, allowed)]


def _sysctls(sysctls: list[Object], spec: Object, path: Path, options: PodOptions) -> ErrorList:
    errors: ErrorList = []
    names: set[str] = set()
    for position, sysctl in enumerate(sysctls):
        where = path.index(position).child("name")
        name = sysctl.get("name") or ""
        if not name:
            errors.append(field.required(where))
        elif len(name.encode()) > 253 or not _match_sysctl(name):
            detail = f"must have at most 253 characters and match regex {_SYSCTL}"
            errors.append(field.invalid(where, name, detail))
        elif name in names:
            errors.append(field.duplicate(where, name))
        if not options.allow_host_sysctls and (problem := host_sysctl_problem(name, spec)):
            errors.append(field.invalid(where, name, problem))
        names.add(name)
    return errors


def seccomp_profile(profile: Object | None, path: Path) -> ErrorList:
    """A `seccompProfile`."""
    if profile is None:
        return []
    errors: ErrorList = []
    kind, local = profile.get("type") or "", profile.get("localhostProfile")
    if not kind:
        detail = "type is required when seccompProfile is set"
        errors.append(field.required(path.child("type"), detail))
    elif kind not in _PROFILES:
        errors.append(field.not_supported(path.child("type"), kind, _PROFILES))
    where = path.child("localhostProfile")
    if kind == "Localhost":
        if local is None:
            errors.append(field.required(where, "must be set when seccomp type is Localhost"))
        else:
            errors += local_descending(local, where)
    elif local is not None:
        shown = {"Type": kind, "LocalhostProfile": local}
        detail = "can only be set when seccomp type is Localhost"
        errors.append(field.invalid(where, _struct(shown), detail))
    return errors


def _struct(fields: Object) -> field.Printed:
    from pytest_kubesim.apimachinery.golang import json_text

    return field.Printed(json_text(fields, sort_keys=False))


def app_armor_profile(profile: Object | None, path: Path) -> ErrorList:
    """An `appArmorProfile`."""
    if profile is None:
        return []
    kind, local = profile.get("type") or "", profile.get("localhostProfile")
    where = path.child("localhostProfile")
    if kind == "Localhost":
        must = "must be set when AppArmor type is Localhost"
        if local is None:
            return [field.required(where, must)]
        errors: ErrorList = []
        if local.strip() != local:
            errors.append(field.invalid(where, local, "must not be padded with whitespace"))
        elif not local:
            errors.append(field.required(where, must))
        if len(local.encode()) > 4095:
            errors.append(field.too_long(where, 4095))
        return errors
    if kind in _PROFILES:
        if local is None:
            return []
        detail = "can only be set when AppArmor type is Localhost"
        return [field.invalid(where, local, detail)]
    if not kind:
        detail = "type is required when appArmorProfile is set"
        return [field.required(path.child("type"), detail)]
    return [field.not_supported(path.child("type"), kind, _PROFILES)]


# -- Windows -----------------------------------------------------------------------------------

_NETBIOS = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}').fullmatch
_DNS_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_DNS_DOMAIN = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*").fullmatch
_BAD_USER = re.compile(r'["/\\:;|=,+*?<>@\[\]]').search
_DOTS = re.compile(r"[. ]+").fullmatch
_CONTROL = re.compile(r"[\x00-\x1f\x7f]").search


def windows_options(options: Object, path: Path) -> ErrorList:
    """`windowsOptions` of a pod or a container."""
    errors: ErrorList = []
    name = options.get("gmsaCredentialSpecName")
    if name is not None:
        details = formats.is_dns1123_subdomain(name)
        errors += field.invalid_each(path.child("gmsaCredentialSpecName"), name, details)
    spec = options.get("gmsaCredentialSpec")
    if spec is not None:
        where = path.child("gmsaCredentialSpec")
        if not spec:
            detail = "gmsaCredentialSpec cannot be an empty string"
            errors.append(field.invalid(where, spec, detail))
        elif len(spec.encode()) > 64 * 1024:
            detail = "gmsaCredentialSpec size must be under 64 KiB"
            errors.append(field.invalid(where, spec, detail))
    account = options.get("runAsUserName")
    if account is not None:
        where = path.child("runAsUserName")
        errors += field.invalid_each(where, account, _account_problems(account))
    return errors


def _account_problems(account: str) -> list[str]:
    if not account:
        return ["runAsUserName cannot be an empty string"]
    if _CONTROL(account):
        return ["runAsUserName cannot contain control characters"]
    parts = account.split("\\")
    if len(parts) > 2:
        return ["runAsUserName cannot contain more than one backslash"]
    domain, user = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    problems: list[str] = []
    if len(domain.encode()) >= 256:
        problems.append("runAsUserName's Domain length must be under 256 characters")
    if len(parts) == 2 and not (_NETBIOS(domain) or _DNS_DOMAIN(domain)):
        problems.append("runAsUserName's Domain doesn't match the NetBios nor the DNS format")
    if not user:
        problems.append("runAsUserName's User cannot be empty")
    elif len(user.encode()) > 104:
        problems.append("runAsUserName's User length must not be longer than 104 characters")
    if _DOTS(user):
        problems.append("runAsUserName's User cannot contain only periods or spaces")
    if _BAD_USER(user):
        problems.append(
            "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"
        )
    return problems


def host_process(spec: Object, path: Path) -> ErrorList:
    """Windows HostProcess containers: all or none, and on the host's network."""
    pod_options: Object = (spec.get("securityContext") or EMPTY).get("windowsOptions") or {}
    of_pod = pod_options.get("hostProcess")
    errors: ErrorList = []
    count = total = 0
    for container, where in containers_with_paths(spec, path):
        total += 1
        options: Object = (container.get("securityContext") or EMPTY).get("windowsOptions") or {}
        own = options.get("hostProcess")
        if of_pod is not None and own is not None and own != of_pod:
            shown = "true" if of_pod else "false"
            detail = f"pod hostProcess value must be identical if both are specified, was {shown}"
            at = where.child("securityContext", "windowsOptions", "hostProcess")
            errors.append(field.invalid(at, own, detail))
        if own if own is not None else of_pod:
            count += 1
    if not count:
        return errors
    if count != total:
        detail = (
            "If pod contains any hostProcess containers then all containers must be HostProcess "
            "containers"
        )
        errors.append(field.invalid(path, "", detail))
    if not spec.get("hostNetwork"):
        detail = "hostNetwork must be true if pod contains any hostProcess containers"
        errors.append(field.invalid(path.child("hostNetwork"), False, detail))
    return errors


_NOT_WINDOWS_POD = (
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
)
_NOT_WINDOWS_CONTAINER = (
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
)
_NOT_FOR_WINDOWS = "cannot be set for a windows pod"
_NOT_FOR_LINUX = "windows options cannot be set for a linux pod"


def validate_os(spec: Object, path: Path) -> ErrorList:
    """`spec.os`, and that nothing of another system is asked for."""
    name = spec["os"].get("name") or ""
    if not name:
        return [field.required(path.child("os", "name"))]
    if name not in ("linux", "windows"):
        return [field.not_supported(path.child("os"), name, ("linux", "windows"))]
    return _windows(spec, path) if name == "windows" else _linux(spec, path)


def _linux(spec: Object, path: Path) -> ErrorList:
    errors: ErrorList = []
    holders = [(spec, path), *containers_with_paths(spec, path)]
    for holder, where in holders:
        if (holder.get("securityContext") or EMPTY).get("windowsOptions") is not None:
            at = where.child("securityContext", "windowsOptions")
            errors.append(field.forbidden(at, _NOT_FOR_LINUX))
    return errors


def _windows(spec: Object, path: Path) -> ErrorList:
    context: Object = spec.get("securityContext") or {}
    where = path.child("securityContext")
    errors = [
        field.forbidden(where.child(name), _NOT_FOR_WINDOWS)
        for name in _NOT_WINDOWS_POD
        if context.get(name) is not None
    ]
    errors += [
        field.forbidden(path.child(name), _NOT_FOR_WINDOWS)
        for name in ("hostUsers", "hostPID", "hostIPC", "shareProcessNamespace")
        if spec.get(name) is not None
    ]
    for container, at in containers_with_paths(spec, path):
        own: Object = container.get("securityContext") or {}
        errors += [
            field.forbidden(at.child("securityContext", name), _NOT_FOR_WINDOWS)
            for name in _NOT_WINDOWS_CONTAINER
            if own.get(name) is not None
        ]
    return errors
