"""ConfigMaps, Secrets, claims and services that pods refer to, as the kubelet looks them up.

Upstream watches each ConfigMap and Secret that a pod names; here they are fetched when they are
needed.  `kube-root-ca.crt`, which every pod mounts, is fetched once for each namespace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.apimachinery import status as apistatus
from pytest_kubesim.client_go.resources import CONFIGMAPS, SECRETS, SERVICES

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import GroupVersionResource, Object
    from pytest_kubesim.kubelet.host import Host

ROOT_CA = "kube-root-ca.crt"

_RESOURCES = {"ConfigMap": CONFIGMAPS, "Secret": SECRETS}


class References:
    """Looks up what pods refer to."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._roots: dict[str, Object] = {}

    async def find(
        self, kind: str, namespace: str, name: str, *, fresh: bool = False
    ) -> Object | None:
        """A ConfigMap or Secret, or None where there is none; `fresh`: as it is now."""
        if name == ROOT_CA and namespace in self._roots and not fresh:
            return self._roots[namespace]
        found = await self.get(_RESOURCES[kind], namespace, name)
        if found is not None and name == ROOT_CA:
            self._roots[namespace] = found
        return found

    async def get(
        self, resource: GroupVersionResource, namespace: str, name: str
    ) -> Object | None:
        """Any object, or None where there is none."""
        try:
            return await self._host.client.get(resource, namespace, name)
        except apistatus.APIStatus as error:
            if apistatus.is_not_found(error):
                return None
            raise

    async def services(self, namespace: str, *, links: bool) -> list[Object]:
        """The services whose variables a pod of that namespace gets."""
        listed = await self._host.client.list(SERVICES, resource_version="0")
        chosen: dict[str, Object] = {}
        for service in listed.get("items") or ():
            meta = service["metadata"]
            if service["spec"].get("clusterIP") in (None, "", "None"):
                continue
            if meta["namespace"] == "default" and meta["name"] == "kubernetes":
                chosen.setdefault(meta["name"], service)
            elif meta["namespace"] == namespace and links:
                chosen[meta["name"]] = service
        return [chosen[name] for name in sorted(chosen)]
