"""`kubesim.audit`: the audit events of a test, as a list.

    log = kubesim.audit("RequestResponse")
    ...
    [event] = log.of(verb="delete", resource="pods")

Law: it tells what happened from when it was asked for until the test ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apiserver.audit import COMPLETE, LEVELS, Auditor
from pytest_kubesim.cluster import manifests
from pytest_kubesim.errors import UsageError, suggestion
from pytest_kubesim.faults import wording

if TYPE_CHECKING:
    from pytest_kubesim.cluster.cluster import Cluster


@wording.answering("audit log", "of")
class AuditLog(list[Object]):
    """Events (`audit.k8s.io/v1`), oldest first."""

    def __init__(self, cluster: Cluster, policy: Any) -> None:
        super().__init__()
        ready = isinstance(policy, dict) or policy in LEVELS
        if isinstance(policy, str) and policy.isalpha() and not ready:
            raise UsageError(
                f"audit: there is no level {policy!r};",
                f"{suggestion(policy, LEVELS)}the levels are {', '.join(LEVELS)}; or give a policy",
            )
        auditor = Auditor(policy if ready else manifests.load(policy)[0], self.append)
        for server in cluster.control_plane.servers:
            server.audit.append(auditor)

    def of(
        self,
        *,
        user: str | None = None,
        verb: str | None = None,
        resource: str | None = None,
        namespace: str | None = None,
        name: str | None = None,
        code: int | None = None,
        stage: str = COMPLETE,
    ) -> list[Object]:
        """The events that are meant; what is None is not looked at."""
        return [
            event
            for event in self
            if event["stage"] == stage
            and (user is None or event["user"].get("username") == user)
            and (verb is None or event["verb"] == verb)
            and (code is None or event.get("responseStatus", {}).get("code") == code)
            and _refers(event.get("objectRef") or {}, resource, namespace, name)
        ]


def _refers(
    reference: Object, resource: str | None, namespace: str | None, name: str | None
) -> bool:
    wanted = (("resource", resource), ("namespace", namespace), ("name", name))
    return all(value is None or (reference.get(key) or "") == value for key, value in wanted)
