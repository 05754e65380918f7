"""What the server serves: its resources, and which resource a kind is.

The law: one request each for `/api` and `/apis` (aggregated discovery) brings everything.  A mapper
asks when it is first used and again at the first use in a new period of 30 seconds, as
kube-controller-manager resets its own; in between a kind that came later is not known.

Follows `client-go/discovery/discovery_client.go`, `client-go/restmapper` and
`apimachinery/pkg/api/meta/restmapper.go`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery.meta import GroupVersionResource, parse_api_version
from pytest_kubesim.sim.clock import NS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.rest import RESTClient

RESET_PERIOD_NS = 30 * NS

_ACCEPT = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


class NoMatch(Exception):
    """No resource is known for a kind."""


@attrs.frozen(slots=True)
class APIResource:
    """A resource in one version, as discovery tells it."""

    gvr: GroupVersionResource
    kind: str
    namespaced: bool
    verbs: tuple[str, ...]
    singular: str = ""

    def supports(self, *verbs: str) -> bool:
        """Whether it has all of these verbs."""
        return all(verb in self.verbs for verb in verbs)

    @property
    def api_version(self) -> str:
        """`apiVersion` of its objects."""
        return self.gvr.api_version


class GroupDiscoveryFailed(Exception):
    """Of some group versions it is not known what they serve (`ErrGroupDiscoveryFailed`).

    `versions` are those, as `group/version`.
    """

    def __init__(self, versions: Iterable[str]) -> None:
        self.versions = sorted(versions)
        told = ", ".join(f"{each}: stale GroupVersion discovery: {each}" for each in self.versions)
        super().__init__(f"unable to retrieve the complete list of server APIs: {told}")


async def server_resources(client: RESTClient) -> list[APIResource]:
    """Every resource in every version; groups in the server's order, preferred versions first."""
    found, _failure = await known_resources(client)
    return found


async def known_resources(
    client: RESTClient,
) -> tuple[list[APIResource], GroupDiscoveryFailed | None]:
    """The same, and what of it could not be read: an aggregated server that does not answer."""
    found: list[APIResource] = []
    stale: list[str] = []
    for path in ("/api", "/apis"):
        document = await client.raw("GET", path, accept=_ACCEPT)
        for group in document.get("items") or ():
            name: str = group["metadata"].get("name", "")
            for version in group["versions"]:
                if version.get("freshness") == "Stale":
                    stale.append(f"{name}/{version['version']}")
                found.extend(_resources(name, version))
    return found, GroupDiscoveryFailed(stale) if stale else None


async def versions_of_group(client: RESTClient, group: str) -> list[str]:
    """The versions in which a group is served, the preferred one first; none: no such group."""
    document = await client.raw("GET", "/apis", accept=_ACCEPT)
    for entry in document.get("items") or ():
        if entry["metadata"].get("name") == group:
            return [version["version"] for version in entry["versions"]]
    return []


def _resources(group: str, version: Object) -> Iterable[APIResource]:
    resources: list[Object] = version.get("resources") or []
    for resource in resources:
        response: Object = resource.get("responseKind") or {}
        kind: str = response.get("kind", "")
        if kind:
            yield APIResource(
                GroupVersionResource(group, version["version"], resource["resource"]),
                kind,
                resource["scope"] == "Namespaced",
                tuple(resource["verbs"]),
                resource.get("singularResource", ""),
            )


def preferred(resources: Iterable[APIResource]) -> list[APIResource]:
    """Each resource once, in its group's first version that has it."""
    first: dict[tuple[str, str], APIResource] = {}
    for resource in resources:
        first.setdefault((resource.gvr.group, resource.gvr.resource), resource)
    return list(first.values())


class RESTMapper:
    """Which resource a kind is, as one process believes.

    Parameters: `client` that asks.
    """

    def __init__(self, client: RESTClient) -> None:
        self._client = client
        self._start_ns = client.process.kernel.now_ns
        self._period = -1
        self._kinds: dict[tuple[str, str, str], APIResource] = {}

    def reset(self) -> None:
        """Ask anew at the next use."""
        self._period = -1

    def fill(self, resources: Iterable[APIResource]) -> None:
        """Take what somebody else has just discovered."""
        self._period = self._now_period()
        self._kinds = {}
        for resource in resources:
            gvr = resource.gvr
            self._kinds.setdefault((gvr.group, gvr.version, resource.kind), resource)

    async def mapping(self, api_version: str, kind: str) -> APIResource:
        """The resource of a kind in that version, or (no version given) in its first one.

        Raises `NoMatch` if there is none, and what the server or the way to it refuses.
        """
        if self._period != self._now_period():
            self.fill(await server_resources(self._client))
        try:
            group, version = parse_api_version(api_version)
        except ValueError as error:
            raise NoMatch(str(error)) from None
        found = self._kinds.get((group, version, kind))
        if found is None and not version:
            found = self._first_of(group, kind)
        if found is None:
            raise NoMatch(f'no matches for kind "{kind}" in version "{api_version}"')
        return found

    async def mapping_of_group(self, group: str, kind: str) -> APIResource:
        """The resource of a kind in its group's first version that has it.  Raises `NoMatch`."""
        if self._period != self._now_period():
            self.fill(await server_resources(self._client))
        found = self._first_of(group, kind)
        if found is None:
            raise NoMatch(f'no matches for kind "{kind}" in group "{group}"')
        return found

    async def kinds_of(self, gvr: GroupVersionResource) -> list[APIResource]:
        """What a resource's name can mean in that version: of any group if it names none."""
        if self._period != self._now_period():
            self.fill(await server_resources(self._client))
        wanted = gvr.resource.lower()
        return [
            resource
            for (group, version, _kind), resource in self._kinds.items()
            if version == gvr.version
            and wanted in (resource.gvr.resource, resource.singular)
            and gvr.group in ("", group)
        ]

    def _first_of(self, group: str, kind: str) -> APIResource | None:
        for (its_group, _version, its_kind), resource in self._kinds.items():
            if (its_group, its_kind) == (group, kind):
                return resource
        return None

    def _now_period(self) -> int:
        return (self._client.process.kernel.now_ns - self._start_ns) // RESET_PERIOD_NS
