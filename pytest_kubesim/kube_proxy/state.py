"""What the services of a cluster are, as informers show them; they start when they are first asked.

The law: nothing is looked up before somebody connects; from then on the state is as old as the
informers' watches are late.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_kubesim.client_go.informer import SharedIndexInformer, SharedInformerFactory
from pytest_kubesim.client_go.resources import (
    ENDPOINTSLICES,
    NAMESPACES,
    NETWORKPOLICIES,
    NODES,
    PODS,
    SERVICES,
)

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.rest import RESTClient

SERVICE_NAME = "kubernetes.io/service-name"
NOTHING: dict[str, Any] = {}


class ClusterState:
    """Services, endpoint slices and policies, and pods and namespaces where policies need them.

    Parameters: `client`, makes the client with which they are watched.
    """

    def __init__(self, client: Callable[[], RESTClient]) -> None:
        self._make_client = client
        self._services: SharedIndexInformer | None = None
        self._slices: SharedIndexInformer | None = None
        self._policies: SharedIndexInformer | None = None
        self._pods: SharedIndexInformer | None = None
        self._namespaces: SharedIndexInformer | None = None
        self._nodes: SharedIndexInformer | None = None
        self._more: SharedInformerFactory | None = None

    async def ready(self) -> None:
        """Start, if that has not been done, and wait for the first lists."""
        if self._services is None:
            factory = SharedInformerFactory(self._make_client())
            self._services = factory.informer(SERVICES)
            self._slices = factory.informer(ENDPOINTSLICES)
            self._slices.store.add_indexer("service", _service_of)
            self._slices.store.add_indexer("address", _addresses_in)
            self._services.store.add_indexer("ip", _addresses_of)
            self._policies = factory.informer(NETWORKPOLICIES)
            self._policies.store.add_indexer("namespace", _namespace_of)
            factory.start()
        assert self._slices is not None
        assert self._policies is not None
        for informer in (self._services, self._slices, self._policies):
            await informer.synced.wait()

    async def ready_for_policies(self) -> bool:
        """Whether there are policies; what they need is there then."""
        await self.ready()
        assert self._policies is not None
        if not self._policies.store.list():
            return False
        if self._more is None:
            self._more = SharedInformerFactory(self._make_client())
            self._pods = self._more.informer(PODS)
            self._namespaces = self._more.informer(NAMESPACES)
            self._more.start()
        assert self._pods is not None
        assert self._namespaces is not None
        await self._pods.synced.wait()
        await self._namespaces.synced.wait()
        return True

    # -- looking things up --------------------------------------------------------------------

    def service(self, namespace: str, name: str) -> Object | None:
        """A service."""
        assert self._services is not None
        return self._services.store.get(f"{namespace}/{name}")

    def services(self) -> list[Object]:
        """All services."""
        assert self._services is not None
        return self._services.store.list()

    def services_at(self, address: str) -> list[Object]:
        """The services that an address belongs to."""
        assert self._services is not None
        return self._services.store.by_index("ip", address)

    def slices(self, service: Object) -> list[Object]:
        """The endpoint slices of a service."""
        assert self._slices is not None
        meta = service["metadata"]
        return self._slices.store.by_index("service", f"{meta['namespace']}/{meta['name']}")

    def endpoints_at(self, address: str) -> list[tuple[str, Object]]:
        """The endpoints with an address, each with `service.namespace`."""
        assert self._slices is not None
        found: list[tuple[str, Object]] = []
        for slice_ in self._slices.store.by_index("address", address):
            meta = slice_["metadata"]
            service = (meta.get("labels") or NOTHING).get(SERVICE_NAME)
            found += [
                (f"{service}.{meta['namespace']}", entry)
                for entry in slice_.get("endpoints") or ()
                if service and address in entry["addresses"]
            ]
        return found

    async def zone(self, node: str) -> str:
        """The zone of a node, as its label says."""
        if self._nodes is None:
            self._nodes = SharedIndexInformer(self._make_client(), NODES)
            self._nodes.start()
        await self._nodes.synced.wait()
        found = self._nodes.store.get(node) or NOTHING
        labels: dict[str, str] = (found.get("metadata") or NOTHING).get("labels") or NOTHING
        return labels.get("topology.kubernetes.io/zone") or ""

    def policies(self, namespace: str) -> list[Object]:
        """The network policies of a namespace."""
        assert self._policies is not None
        return self._policies.store.by_index("namespace", namespace)

    def pod(self, key: str) -> Object | None:
        """A pod by `namespace/name`."""
        return None if self._pods is None else self._pods.store.get(key)

    def namespace(self, name: str) -> Object | None:
        """A namespace."""
        return None if self._namespaces is None else self._namespaces.store.get(name)


def _service_of(slice_: Object) -> list[str]:
    meta = slice_["metadata"]
    name = (meta.get("labels") or NOTHING).get(SERVICE_NAME)
    return [f"{meta['namespace']}/{name}"] if name else []


def _addresses_in(slice_: Object) -> list[str]:
    entries: list[Object] = slice_.get("endpoints") or []
    return list(dict.fromkeys(a for entry in entries for a in entry.get("addresses") or ()))


def _addresses_of(service: Object) -> list[str]:
    spec = service["spec"]
    found = [ip for ip in spec.get("clusterIPs") or [spec.get("clusterIP")] if ip]
    found += spec.get("externalIPs") or ()
    status = (service.get("status") or NOTHING).get("loadBalancer") or NOTHING
    found += [entry["ip"] for entry in status.get("ingress") or () if entry.get("ip")]
    return [ip for ip in dict.fromkeys(found) if ip != "None"]


def _namespace_of(obj: Object) -> list[str]:
    return [obj["metadata"]["namespace"]]
