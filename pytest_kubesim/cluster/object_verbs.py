"""The verbs of `kubesim`: apply, create, get, list, patch, delete, as kubectl means them.

Each is a request that goes through the API server as any client's does, by the admin `test` with
the field manager `kubesim`.  What comes back is the test's own copy.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import msgspec

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.cluster import manifests
from pytest_kubesim.cluster.references import Names, Reference
from pytest_kubesim.errors import UsageError
from pytest_kubesim.faults import wording
from pytest_kubesim.kubelet.stages import definition
from pytest_kubesim.sim import durations
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.durations import Duration

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.client_go.rest import RESTClient
    from pytest_kubesim.cluster.control_plane import ControlPlane

FIELD_MANAGER = "kubesim"


@wording.answering("kubesim", "apply", "create", "get", "list", "patch", "delete")
class ObjectVerbs:
    """What a test does with objects; `Cluster` is one of these."""

    control_plane: ControlPlane

    @property
    def names(self) -> Names:
        """The names of what is served at present."""
        raise NotImplementedError

    def perform(self, coro: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end, and what falls due meanwhile."""
        raise NotImplementedError

    def eventually(self, ref_or_callable: Any, match: Any = None, *, within: Duration) -> Any:
        """Run until it holds."""
        raise NotImplementedError

    @cached_property
    def _client(self) -> RESTClient:
        return self.control_plane.admin("test", FIELD_MANAGER)

    def apply(self, *manifests_: Any, namespace: str | None = None, force: bool = False) -> Any:
        """Server-side apply by the manager `kubesim`, in order.

        Parameters: files, folders, YAML text, dicts, objects of any client library; `namespace` for
        those that name none; `force` takes over fields that others own.
        Returns: the object applied, or a list where there were several.
        Raises: `ManifestError` for what is no manifest, `APIStatus` for what the server refuses.
        """

        async def apply(resource: Any, where: str, obj: Object) -> Object:
            name = obj.get("metadata", {}).get("name")
            if not name:
                raise UsageError(
                    f"apply: a {obj['kind']} without metadata.name cannot be applied; use create() "
                    "for generateName"
                )
            return await self._client.patch(
                resource.gvr, where, name, obj, patch_type="apply", field_manager=FIELD_MANAGER,
                force=force,
            )

        return self._each(manifests_, namespace, apply)

    def create(self, *manifests_: Any, namespace: str | None = None) -> Any:
        """POST each object; arguments and result as `apply`.

        Raises: `APIStatus` (409 AlreadyExists where one is there).
        """

        async def create(resource: Any, where: str, obj: Object) -> Object:
            return await self._client.create(
                resource.gvr, where, obj, field_manager=FIELD_MANAGER
            )

        return self._each(manifests_, namespace, create)

    def _each(
        self,
        given: tuple[Any, ...],
        namespace: str | None,
        act: Callable[[Any, str, Object], Coroutine[Any, Any, Object]],
    ) -> Any:
        done: list[Object] = []
        for manifest in manifests.load(*given):
            obj = cast("Object", self.copy(manifest))
            resource = self._resource_of(obj)
            metadata = obj.setdefault("metadata", {})
            where = ""
            if resource.namespaced:
                where = metadata.get("namespace") or namespace or "default"
                metadata["namespace"] = where
            stored = self.perform(act(resource, where, obj))
            if resource.plural == "customresourcedefinitions":
                self._await_established(stored)
            done.append(self.copy(stored))
        return done[0] if len(done) == 1 else done

    def _resource_of(self, obj: Object) -> Any:
        gvk = meta.gvk(obj)
        resource = self.control_plane.catalog.by_kind(gvk)
        if resource is None and gvk == definition.KIND:
            # Stages are behaviour: who brings some need not bring their definition.
            self.apply(definition.definition())
            resource = self.control_plane.catalog.by_kind(gvk)
        if resource is None:
            raise UsageError(
                f"the cluster serves no kind {gvk.kind!r} in {obj['apiVersion']!r}; apply its "
                "CustomResourceDefinition first, or correct apiVersion and kind"
            )
        return resource

    def _await_established(self, crd: Object) -> None:
        name = crd["metadata"]["name"]
        self.eventually(
            f"customresourcedefinitions.apiextensions.k8s.io/{name}",
            {"status": {"conditions": [{"type": "Established", "status": "True"}]}},
            within="30s",
        )

    def get(self, ref: str, namespace: str | None = None) -> Object:
        """The object that `ref` (`"deployment/web"`) means.

        Raises: `APIStatus` (404 NotFound) when it is not there.
        """
        reference = self.names.parse(ref)
        if reference.name is None:
            raise UsageError(f"get: {ref!r} names no object; write {ref}/NAME, or use list()")
        resource = reference.resource
        where = self._where(reference, namespace)
        return self.copy(self.perform(self._client.get(resource.gvr, where, reference.name)))

    def list(
        self,
        ref: str,
        namespace: str | None = None,
        labels: dict[str, str] | str | None = None,
        fields: dict[str, str] | str | None = None,
    ) -> list[Object]:
        """The objects of a resource, of all namespaces or of one, that the selectors choose."""
        reference = self.names.parse(ref)
        if reference.name is not None:
            raise UsageError(f"list: {ref!r} names one object; use get(), or leave the name out")
        answer = self.perform(
            self._client.list(
                reference.resource.gvr,
                namespace or "",
                label_selector=_selector("labels", labels),
                field_selector=_selector("fields", fields),
            )
        )
        kind, version = reference.resource.kind, reference.resource.api_version
        items: list[Object] = answer.get("items") or []
        return [
            {"apiVersion": version, "kind": kind, **self.copy(item)}
            for item in items
        ]

    def patch(
        self,
        ref: str,
        patch: Any,
        *,
        type: str = "merge",
        namespace: str | None = None,
        subresource: str = "",
    ) -> Object:
        """PATCH an object; `type` is `merge` (the default), `strategic` or `json`."""
        if type not in ("merge", "strategic", "json"):
            raise UsageError(
                f"patch: type={type!r}: the types are 'merge', 'strategic' and 'json'; for apply "
                "there is apply()"
            )
        reference = self.names.parse(ref)
        if reference.name is None:
            raise UsageError(f"patch: {ref!r} names no object; write {ref}/NAME")
        return self.copy(
            self.perform(
                self._client.patch(
                    reference.resource.gvr,
                    self._where(reference, namespace),
                    reference.name,
                    patch,
                    patch_type=type,
                    subresource=subresource,
                    field_manager=FIELD_MANAGER,
                )
            )
        )

    def delete(
        self,
        ref: str,
        *,
        namespace: str | None = None,
        labels: dict[str, str] | str | None = None,
        grace_period: Duration | None = None,
        cascade: str = "background",
        missing_ok: bool = False,
        wait: bool = False,
    ) -> None:
        """DELETE an object (`"deployment/web"`), or all that `labels` choose (`"pods"`).

        Parameters: `grace_period`, virtual; `cascade`, `background`, `foreground` or `orphan`;
        `missing_ok`, nothing to delete is no error; `wait`, let time pass until it is gone.
        """
        policies = {"background": "Background", "foreground": "Foreground", "orphan": "Orphan"}
        if cascade not in policies:
            raise UsageError(f"delete: cascade={cascade!r}: give one of {', '.join(policies)}")
        reference = self.names.parse(ref)
        where = self._where(reference, namespace)
        gvr = reference.resource.gvr
        seconds = None
        if grace_period is not None:
            seconds = durations.to_ns(grace_period, "grace_period") // NS
        found = [reference.name] if reference.name else []
        if reference.name is None:
            listed = self.list(ref, namespace=where or None, labels=labels)
            found = [o["metadata"]["name"] for o in listed]
        for name in found:
            try:
                self.perform(
                    self._client.delete(
                        gvr, where, name, grace_period_seconds=seconds,
                        propagation_policy=policies[cascade],
                    )
                )
            except status.APIStatus as error:
                if not (missing_ok and status.is_not_found(error)):
                    raise
            if wait:
                self.eventually(
                    lambda name=name: not self.read(
                        Reference(reference.resource, name), namespace=where
                    ),
                    within="10m",
                )

    def _where(self, reference: Reference, namespace: str | None) -> str:
        return (namespace or "default") if reference.resource.namespaced else ""

    def read(self, reference: Reference, namespace: str | None = None) -> list[Object]:
        """The objects of a reference as they are stored now: no request, immutable, shared."""
        resource = reference.resource
        if reference.name is None:
            return self.control_plane.read_all(resource, namespace or "")
        found = self.control_plane.read(
            resource, self._where(reference, namespace), reference.name
        )
        return [] if found is None else [found]

    @staticmethod
    def copy(obj: Any) -> Any:
        """A copy that the test may change."""
        return msgspec.to_builtins(obj)


def _selector(option: str, selector: dict[str, str] | str | None) -> str:
    if isinstance(selector, dict):
        return ",".join(f"{k}={v}" for k, v in selector.items())
    if selector is not None and not isinstance(selector, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(
            f"list: {option}={selector!r}: give a dict, or a selector as kubectl takes it, such as "
            "'a=b,c!=d'"
        )
    return selector or ""
