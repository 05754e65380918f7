"""Probes and lifecycle hooks.

Follows `validateProbe`, `validateHandler` and `validateLifecycle` of
`pkg/apis/core/validation/validation.go`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytest_kubesim.apimachinery import formats
from pytest_kubesim.apimachinery import validation as field
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.validation import ErrorList, Path

_PROBE_NUMBERS = (
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
)
_SECOND = "may not specify more than 1 handler type"
_SIGNALS = (
     "SIGABRT", "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCLD", "SIGCONT", "SIGFPE", "SIGHUP",
     "SIGILL", "SIGINT", "SIGIO", "SIGIOT", "SIGKILL", "SIGPIPE", "SIGPOLL", "SIGPROF",
     "SIGPWR", "SIGQUIT", "SIGSEGV", "SIGSTKFLT", "SIGSTOP", "SIGSYS", "SIGTERM", "SIGTRAP",
     "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGWINCH",
     "SIGXCPU", "SIGXFSZ", "SIGRTMIN", "SIGRTMAX",
)  # fmt: skip
_LINUX_SIGNALS = sorted(
    {
        *_SIGNALS,
        *(f"SIGRTMIN+{number}" for number in range(1, 16)),
        *(f"SIGRTMAX-{number}" for number in range(1, 15)),
    }
)
_WINDOWS_SIGNALS = ("SIGKILL", "SIGTERM")


def validate_probes(container: Object, grace: int | None, path: Path) -> ErrorList:
    """The three probes of a container."""
    errors: ErrorList = []
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if probe is None:
            continue
        where = path.child(name)
        errors += _probe(probe, grace, where)
        if name == "readinessProbe":
            seconds = probe.get("terminationGracePeriodSeconds")
            if seconds is not None:
                detail = "must not be set for readinessProbes"
                at = where.child("terminationGracePeriodSeconds")
                errors.append(field.invalid(at, seconds, detail))
        elif (threshold := probe.get("successThreshold") or 0) != 1:
            errors.append(field.invalid(where.child("successThreshold"), threshold, "must be 1"))
    return errors


def _probe(probe: Object, grace: int | None, path: Path) -> ErrorList:
    errors = _handler(probe, _PROBE_HANDLERS, grace, path)
    for name in _PROBE_NUMBERS:
        number = probe.get(name)
        if number is not None and number < 0:
            errors.append(field.invalid(path.child(name), number, field.NOT_NEGATIVE))
    seconds = probe.get("terminationGracePeriodSeconds")
    if seconds is not None and seconds <= 0:
        where = path.child("terminationGracePeriodSeconds")
        errors.append(field.invalid(where, seconds, "must be greater than 0"))
    return errors


def validate_lifecycle(
    lifecycle: Object, grace: int | None, path: Path, os: Object | None
) -> ErrorList:
    """The hooks of a container."""
    errors: ErrorList = []
    for name in ("postStart", "preStop"):
        hook = lifecycle.get(name)
        if hook is not None:
            errors += _handler(hook, _HOOK_HANDLERS, grace, path.child(name))
    signal = lifecycle.get("stopSignal")
    if signal is not None:
        errors += _stop_signal(signal, path.child("stopSignal"), os)
    return errors


def _stop_signal(signal: str, path: Path, os: Object | None) -> ErrorList:
    if os is None:
        detail = "may not be set for containers with empty `spec.os.name`"
        return [field.forbidden(path, detail)]
    known = {"windows": _WINDOWS_SIGNALS, "linux": _LINUX_SIGNALS}.get(os.get("name") or "")
    if known is None or signal in known:
        return []
    return [field.not_supported(path, signal, known)]


_Action = Callable[[Object, "int | None", Path], ErrorList]


def _handler(
    holder: Object, actions: tuple[tuple[str, _Action], ...], grace: int | None, path: Path
) -> ErrorList:
    errors: ErrorList = []
    found = False
    for name, check in actions:
        action = holder.get(name)
        if action is None:
            continue
        if found:
            errors.append(field.forbidden(path.child(name), _SECOND))
        else:
            found = True
            errors += check(action, grace, path.child(name))
    if not found:
        errors.append(field.required(path, "must specify a handler type"))
    return errors


def _exec(action: Object, grace: int | None, path: Path) -> ErrorList:
    del grace
    return [] if action.get("command") else [field.required(path.child("command"))]


def port_or_name(port: Any, path: Path) -> ErrorList:
    """A port by number or by name."""
    if isinstance(port, str):
        return field.invalid_each(path, port, formats.is_valid_port_name(port))
    number = port or 0
    if 1 <= number <= 65535:
        return []
    return field.invalid_each(path, number, formats.is_valid_port_num(number))


def _http_get(action: Object, grace: int | None, path: Path) -> ErrorList:
    del grace
    errors: ErrorList = []
    if not action.get("path"):
        errors.append(field.required(path.child("path")))
    errors += port_or_name(action.get("port"), path.child("port"))
    scheme = action.get("scheme") or ""
    if scheme not in ("HTTP", "HTTPS"):
        errors.append(field.not_supported(path.child("scheme"), scheme, ("HTTP", "HTTPS")))
    for header in action.get("httpHeaders") or ():
        name = header.get("name") or ""
        details = formats.is_http_header_name(name)
        errors += field.invalid_each(path.child("httpHeaders"), name, details)
    protocol = action.get("protocol")
    if protocol is None:
        return errors
    where = path.child("protocol")
    if protocol not in ("HTTP1", "HTTP2"):
        errors.append(field.not_supported(where, protocol, ("HTTP1", "HTTP2")))
    elif protocol == "HTTP2" and scheme != "HTTP":
        errors.append(field.invalid(where, protocol, "is only supported with HTTP (H2C)"))
    elif protocol == "HTTP2" and action.get("host"):
        detail = 'must be empty when `protocol` is "HTTP2"'
        errors.append(field.invalid(path.child("host"), action["host"], detail))
    return errors


def _tcp_socket(action: Object, grace: int | None, path: Path) -> ErrorList:
    del grace
    return port_or_name(action.get("port"), path.child("port"))


def _grpc(action: Object, grace: int | None, path: Path) -> ErrorList:
    del grace
    errors = port_or_name(action.get("port"), path.child("port"))
    mode = action.get("mode")
    if mode is not None and mode not in ("Plaintext", "TLS"):
        errors.append(field.not_supported(path.child("mode"), mode, ("Plaintext", "TLS")))
    return errors


def _sleep(action: Object, grace: int | None, path: Path) -> ErrorList:
    seconds = action.get("seconds") or 0
    if grace is None or 0 <= seconds <= grace:
        return []
    detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
    return [field.invalid(path, seconds, detail)]


_PROBE_HANDLERS: tuple[tuple[str, _Action], ...] = (
    ("exec", _exec),
    ("httpGet", _http_get),
    ("tcpSocket", _tcp_socket),
    ("grpc", _grpc),
)
_HOOK_HANDLERS: tuple[tuple[str, _Action], ...] = (
    ("exec", _exec),
    ("httpGet", _http_get),
    ("tcpSocket", _tcp_socket),
    ("sleep", _sleep),
)
