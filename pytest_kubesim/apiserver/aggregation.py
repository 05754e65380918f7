"""APIServices of other servers: which there are, and where they stand among the groups.

The law: a path below `/apis/<group>/<version>` belongs to whom the APIService of that name says.
Where no APIService has a service, this costs one look into a table.

Follows `kube-aggregator/pkg/apiserver/{apiserver,handler_apis}.go` and
`pkg/apis/apiregistration/v1/helper/helpers.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from pytest_kubesim.apimachinery.meta import GroupResource, get_path
from pytest_kubesim.registry.generic import version_priority

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.apiserver.server import APIServer

API_SERVICES = GroupResource("apiregistration.k8s.io", "apiservices")
AVAILABLE = "Available"
STATE = "aggregation"
CUSTOM_PRIORITY = 1000
"""Of groups of custom resources, which have no APIService here."""


@attrs.define(slots=True, eq=False)
class Remote:
    """An APIService of another server, and what is known of that server."""

    obj: Object
    entry: Object | None = None
    """What the aggregated discovery says of the group version."""
    openapi: dict[str, Any] = attrs.field(factory=dict[str, Any])
    """The documents of that server, and when they were read."""
    failures: int = 0
    """How often in a row that server has failed a check."""

    @property
    def name(self) -> str:
        """`version.group`."""
        return self.obj["metadata"]["name"]

    @property
    def group(self) -> str:
        """The API group."""
        return self.obj["spec"].get("group") or ""

    @property
    def version(self) -> str:
        """The version."""
        return self.obj["spec"].get("version") or ""

    @property
    def available(self) -> bool:
        """Whether its condition says so."""
        conditions: list[Object] = get_path(self.obj, "status", "conditions") or []
        return any(c["type"] == AVAILABLE and c["status"] == "True" for c in conditions)


@attrs.define(slots=True, eq=False)
class Aggregation:
    """The APIServices of other servers, by name."""

    remotes: dict[str, Remote] = attrs.field(factory=dict[str, Remote])

    def of_group(self, group: str) -> list[Remote]:
        """Those of a group, the preferred version first."""
        found = [each for each in self.remotes.values() if each.group == group]
        return sorted(found, key=_version_order)


def is_remote(obj: Object | None) -> bool:
    """Whether an APIService is another server's."""
    return obj is not None and get_path(obj, "spec", "service") is not None


def aggregation(server: APIServer) -> Aggregation | None:
    """The APIServices of other servers; None: there has been none."""
    return server.state.get(STATE)


def remote_of(server: APIServer, group: str, version: str) -> Remote | None:
    """Who serves a group version, where that is another server."""
    found: Aggregation | None = server.state.get(STATE)
    return None if found is None else found.remotes.get(f"{version}.{group}")


def is_known(server: APIServer, remote: Remote) -> bool:
    """Whether an APIService is still there."""
    found = aggregation(server)
    return found is not None and found.remotes.get(remote.name) is remote


def _version_order(remote: Remote) -> tuple[Any, ...]:
    spec: Object = remote.obj["spec"]
    return (-(spec.get("versionPriority") or 0), version_priority(remote.version))


def ordered(server: APIServer, groups: list[str]) -> list[str]:
    """Groups as discovery lists them, with those of other servers: by priority, then by name."""
    found = aggregation(server)
    if found is None or not found.remotes:
        return groups
    priorities: dict[str, int] = {"apiregistration.k8s.io": 20_001}
    for obj in server.reader.list(API_SERVICES):
        spec: Object = obj["spec"]
        group, priority = spec.get("group") or "", spec.get("groupPriorityMinimum") or 0
        if priorities.get(group, 0) < priority:
            priorities[group] = priority
    more = [each.group for each in found.remotes.values()]
    known = list(dict.fromkeys([*groups, *more]))
    return sorted(known, key=lambda group: (-priorities.get(group, CUSTOM_PRIORITY), group))
