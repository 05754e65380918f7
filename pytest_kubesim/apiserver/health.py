"""`/healthz`, `/livez`, `/readyz`: all checks, or one.

Follows `apiserver/pkg/server/healthz/healthz.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apiserver import responses
from pytest_kubesim.apiserver.storage.errors import EtcdError

if TYPE_CHECKING:
    from pytest_kubesim.apiserver.scope import RequestScope
    from pytest_kubesim.wire import Response

_HOOKS = (
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/storage-object-count-tracker-hook",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/peer-endpoint-reconciler-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/start-kube-apiserver-identity-lease-controller",
    "poststarthook/start-kube-apiserver-identity-lease-garbage-collector",
    "poststarthook/storage-readiness",
    "poststarthook/start-legacy-token-tracking-controller",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
)


def _checks(kind: str) -> tuple[str, ...]:
    if kind == "readyz":
        return ("ping", "log", "etcd", "etcd-readiness", "informer-sync", *_HOOKS, "shutdown")
    return ("ping", "log", "loopback-serving-certificate", "etcd", *_HOOKS)


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
    if name == "shutdown":
        return "process is shutting down" if scope.server.shutting_down else ""
    if name not in ("etcd", "etcd-readiness"):
        return ""
    try:
        await scope.server.etcd.get("/registry/health")
    except EtcdError as error:
        return str(error)
    return ""
