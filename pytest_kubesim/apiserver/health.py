"""`/healthz`, `/livez`, `/readyz`: all checks, or one.

Follows `apiserver/pkg/server/healthz/healthz.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apiserver import responses
from pytest_kubesim.etcd.messages import EtcdError

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Response

_HOOKS = (
    "start-apiserver-admission-initializer",
    "generic-apiserver-start-informers",
    "priority-and-fairness-config-consumer",
    "priority-and-fairness-filter",
    "storage-object-count-tracker-hook",
    "start-apiextensions-informers",
    "start-apiextensions-controllers",
    "crd-informer-synced",
    "start-system-namespaces-controller",
    "start-cluster-authentication-info-controller",
    "start-kube-apiserver-identity-lease-controller",
    "start-kube-apiserver-identity-lease-garbage-collector",
    "start-legacy-token-tracking-controller",
    "start-service-ip-repair-controllers",
    "rbac/bootstrap-roles",
    "scheduling/bootstrap-system-priority-classes",
    "priority-and-fairness-config-producer",
    "bootstrap-controller",
    "start-kubernetes-service-cidr-controller",
    "aggregator-reload-proxy-client-cert",
    "start-kube-aggregator-informers",
    "apiservice-status-local-available-controller",
    "apiservice-status-remote-available-controller",
    "apiservice-registration-controller",
    "apiservice-discovery-controller",
    "kube-apiserver-autoregistration",
    "autoregister-completion",
    "apiservice-openapi-controller",
    "apiservice-openapiv3-controller",
)


def _checks(kind: str) -> list[str]:
    hooks = [f"poststarthook/{hook}" for hook in _HOOKS]
    if kind == "readyz":
        return ["ping", "log", "etcd", "etcd-readiness", "informer-sync", *hooks, "shutdown"]
    return ["ping", "log", "etcd", *hooks]


async def serve(scope: RequestScope, kind: str, rest: list[str]) -> Response:
    """Answer for all checks of `kind`, or for the one that `rest` names."""
    checks = _checks(kind)
    if rest:
        name = "/".join(rest)
        if name not in checks:
            return responses.page_not_found()
        problem = await _problem(scope, name)
        if problem:
            return responses.text(500, f"internal server error: {problem}\n")
        return responses.text(200, "ok")
    excluded = set(scope.params("exclude"))
    lines: list[str] = []
    failed: list[str] = []
    for name in checks:
        if name in excluded:
            excluded.discard(name)
            lines.append(f"[+]{name} excluded: ok\n")
        elif await _problem(scope, name):
            failed.append(name)
            lines.append(f"[-]{name} failed: reason withheld\n")
        else:
            lines.append(f"[+]{name} ok\n")
    if excluded:
        names = ",".join(f'"{name}"' for name in sorted(excluded))
        lines.append(f"warn: some health checks cannot be excluded: no matches for {names}\n")
    body = "".join(lines)
    if failed:
        return responses.text(500, f"{body}{kind} check failed\n")
    if any(key == "verbose" for key, _ in scope.request.query):
        return responses.text(200, f"{body}{kind} check passed\n")
    return responses.text(200, "ok")


async def _problem(scope: RequestScope, name: str) -> str:
    if name not in ("etcd", "etcd-readiness"):
        return ""
    try:
        await scope.server.etcd.get("/registry/health")
    except EtcdError as error:
        return str(error)
    return ""
