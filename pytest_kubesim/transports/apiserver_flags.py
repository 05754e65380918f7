"""The command line of kube-apiserver 1.37: which flags there are, and what they mean here.

Law: what kube-apiserver takes is taken, what it refuses is refused in its words.  A flag whose
effect is not simulated is named on the error output, never silently accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from pytest_kubesim.errors import UsageError


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


HONOURED = _names(
    """
    anonymous-auth api-audiences authorization-mode bind-address cert-dir client-ca-file
    disable-admission-plugins disable-http2-serving enable-admission-plugins etcd-servers help
    secure-port service-account-issuer service-account-key-file service-account-signing-key-file
    service-cluster-ip-range tls-cert-file tls-private-key-file token-auth-file version
    """
)
"""What does here what it does there."""

INWARD = _names(
    """
    advertise-address allow-privileged audit-log-batch-buffer-size audit-log-batch-max-size
    audit-log-batch-max-wait audit-log-batch-throttle-burst audit-log-batch-throttle-enable
    audit-log-batch-throttle-qps contention-profiling debug-socket-path delete-collection-workers
    enable-garbage-collector enable-logs-handler enable-priority-and-fairness
    endpoint-reconciler-type etcd-cafile etcd-certfile etcd-compaction-interval
    etcd-count-metric-poll-period etcd-db-metric-poll-interval etcd-healthcheck-timeout etcd-keyfile
    etcd-prefix etcd-readycheck-timeout etcd-servers-overrides goaway-chance
    http2-max-streams-per-connection kubelet-certificate-authority kubelet-client-certificate
    kubelet-client-key kubelet-preferred-address-types kubelet-timeout lease-reuse-duration-seconds
    livez-grace-period log-flush-frequency log-json-info-buffer-size log-json-split-stream
    log-text-info-buffer-size log-text-split-stream logging-format max-mutating-requests-inflight
    max-requests-inflight permit-address-sharing permit-port-sharing profiling
    proxy-client-cert-file proxy-client-key-file service-account-lookup shutdown-delay-duration
    shutdown-send-retry-after
    shutdown-watch-termination-grace-period storage-backend storage-initialization-timeout
    storage-media-type tls-cipher-suites tls-curve-preferences tls-min-version v vmodule watch-cache
    watch-cache-sizes
    """
)
"""What steers load, logs, storage and the like: nothing of it can be seen through the API here."""

NOT_SIMULATED = _names(
    """
    admission-control admission-control-config-file aggregator-reject-forwarding-redirect
    allow-metric-labels allow-metric-labels-manifest audit-log-compress audit-log-format
    audit-log-maxage audit-log-maxbackup audit-log-maxsize audit-log-mode audit-log-path
    audit-log-truncate-enabled audit-log-truncate-max-batch-size audit-log-truncate-max-event-size
    audit-log-version audit-policy-file audit-webhook-batch-buffer-size
    audit-webhook-batch-max-size audit-webhook-batch-max-wait audit-webhook-batch-throttle-burst
    audit-webhook-batch-throttle-enable audit-webhook-batch-throttle-qps audit-webhook-config-file
    audit-webhook-initial-backoff audit-webhook-mode audit-webhook-truncate-enabled
    audit-webhook-truncate-max-batch-size audit-webhook-truncate-max-event-size
    audit-webhook-version authentication-config authentication-token-webhook-cache-ttl
    authentication-token-webhook-config-file authentication-token-webhook-version
    authorization-config authorization-policy-file authorization-webhook-cache-authorized-ttl
    authorization-webhook-cache-unauthorized-ttl authorization-webhook-config-file
    authorization-webhook-version coordinated-leadership-lease-duration
    coordinated-leadership-renew-deadline coordinated-leadership-retry-period cors-allowed-origins
    default-not-ready-toleration-seconds default-unreachable-toleration-seconds disabled-metrics
    egress-selector-config-file emulated-version emulation-forward-compatible
    enable-aggregator-routing enable-bootstrap-token-auth encryption-provider-config
    encryption-provider-config-automatic-reload event-ttl external-hostname feature-gates
    kubernetes-service-node-port max-connection-bytes-per-sec min-compatibility-version
    min-request-timeout oidc-ca-file oidc-client-id oidc-groups-claim oidc-groups-prefix
    oidc-issuer-url oidc-required-claim oidc-signing-algs oidc-username-claim oidc-username-prefix
    peer-advertise-ip peer-advertise-port peer-ca-file request-timeout requestheader-allowed-names
    requestheader-client-ca-file requestheader-extra-headers-prefix requestheader-group-headers
    requestheader-uid-headers requestheader-username-headers runtime-config
    runtime-config-emulation-forward-compatible service-account-extend-token-expiration
    service-account-jwks-uri service-account-max-token-expiration service-account-signing-endpoint
    service-node-port-range show-hidden-metrics-for-version strict-transport-security-directives
    tls-sni-cert-key tracing-config-file
    """
)
"""What is taken, and said to have no effect."""

ALL = HONOURED | INWARD | NOT_SIMULATED

_SWITCHES = _names(
    """
    aggregator-reject-forwarding-redirect allow-privileged anonymous-auth
    audit-log-batch-throttle-enable audit-log-compress audit-log-truncate-enabled
    audit-webhook-batch-throttle-enable audit-webhook-truncate-enabled contention-profiling
    disable-http2-serving emulation-forward-compatible enable-aggregator-routing
    enable-bootstrap-token-auth enable-garbage-collector enable-logs-handler
    enable-priority-and-fairness encryption-provider-config-automatic-reload help
    log-json-split-stream log-text-split-stream permit-address-sharing permit-port-sharing profiling
    runtime-config-emulation-forward-compatible service-account-extend-token-expiration
    service-account-lookup shutdown-send-retry-after version watch-cache
    """
)
"""Flags that need no value."""

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})


@attrs.frozen(slots=True)
class Flags:
    """A command line: the values of each flag, in order."""

    values: Mapping[str, tuple[str, ...]]

    def last(self, name: str, default: str = "") -> str:
        """The value that counts of a flag that takes one."""
        found = self.values.get(name)
        return found[-1] if found else default

    def all(self, name: str) -> tuple[str, ...]:
        """The values of a flag that may be given several times, commas split."""
        found = self.values.get(name, ())
        return tuple(part for value in found for part in value.split(",") if part)

    def on(self, name: str, default: bool = False) -> bool:
        """Whether a switch is on."""
        return self.last(name, "true" if default else "false") in _TRUE

    def without_effect(self) -> list[str]:
        """The flags that were given and mean nothing here."""
        return sorted(set(self.values) & NOT_SIMULATED)


def parse(arguments: Sequence[str]) -> Flags:
    """Read a command line as pflag does.

    Raises: `UsageError`, in the words of kube-apiserver.
    """
    values: dict[str, list[str]] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "-h":
            word = "--help"
        if word.startswith("-v") and not word.startswith("--"):
            word = "--v=" + word[2:].removeprefix("=") if len(word) > 2 else "--v"
        if not word.startswith("--"):
            raise UsageError(f'unknown command "{word}" for "kube-apiserver"')
        name, given, value = word[2:].partition("=")
        if name not in ALL:
            raise UsageError(f"unknown flag: --{name}")
        if not given:
            if name in _SWITCHES:
                value = "true"
            elif rest:
                value = rest.pop(0)
            else:
                raise UsageError(f"flag needs an argument: --{name}")
        values.setdefault(name, []).append(value)
    return Flags({name: tuple(found) for name, found in values.items()})


VERSION = "Kubernetes v1.37.2"


def told(flags: Flags) -> str:
    """What is to be said instead of serving: the help, or the version; "": serve."""
    if flags.on("help"):
        return text()
    return f"{VERSION}\n" if flags.on("version") else ""


def text() -> str:
    """The help: one flag a line, as those look for them who ask what a version can do."""
    lines = ["The Kubernetes API server, simulated.", "", "Usage:", "  kube-apiserver [flags]", ""]
    for title, names in (
        ("Flags:", HONOURED),
        ("Taken, without an effect that could be seen:", INWARD),
        ("Taken, and not simulated:", NOT_SIMULATED),
    ):
        lines += [title, "", *(f"      --{name}" for name in sorted(names)), ""]
    return "\n".join(lines)
