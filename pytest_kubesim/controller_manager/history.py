"""ControllerRevisions: the templates that a StatefulSet or DaemonSet has had.

The law (`pkg/controller/history/controller_history.go`): a revision holds a patch that replaces
`spec.template`; two are equal when these are; its name carries a hash of it, with a count against
collisions.  The newest has the highest number, and an old one that is used again is renumbered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pytest_kubesim.apimachinery import meta, names, status
from pytest_kubesim.apimachinery.golang import json_text
from pytest_kubesim.client_go.resources import CONTROLLERREVISIONS
from pytest_kubesim.controller_manager import fields, retry, semantic

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.labels import Selector
    from pytest_kubesim.apimachinery.meta import GroupVersionKind, Object
    from pytest_kubesim.client_go.rest import RESTClient
    from pytest_kubesim.client_go.store import Store

HASH_LABEL = "controller.kubernetes.io/hash"
INDEX = "controllerRevisionController"


def add_index(store: Store) -> None:
    """Index revisions by what controls them; those that nothing controls by their namespace."""
    store.add_indexer(INDEX, _index)


def _index(revision: Object) -> tuple[str]:
    reference = meta.controller_of(revision)
    namespace = meta.namespace(revision)
    if reference is None:
        return (namespace,)
    return (f"{namespace}/{reference['kind']}/{reference['name']}/{reference['uid']}",)


def patch_of(obj: Object) -> Object:
    """The patch that gives a set the template that `obj` has now."""
    return {"spec": {"template": _in_order({"$patch": "replace", **obj["spec"]["template"]})}}


def _in_order(value: Any) -> Any:
    """With the keys of all maps sorted: who looks for the current revision compares bytes."""
    if isinstance(value, dict):
        fields_ = cast("Object", value)
        return {key: _in_order(fields_[key]) for key in sorted(fields_)}
    if isinstance(value, list):
        return [_in_order(item) for item in cast("list[Any]", value)]
    return value


def template_of(revision: Object) -> Object:
    """The template that a revision holds."""
    template = dict(revision["data"]["spec"]["template"])
    template.pop("$patch", None)
    return template


def apply(obj: Object, revision: Object) -> Object:
    """The set with the template of a revision."""
    return {**obj, "spec": {**obj["spec"], "template": template_of(revision)}}


def equal(left: Object, right: Object) -> bool:
    """Whether two revisions hold the same template."""
    return semantic.equal(left.get("data"), right.get("data"))


def ordered(revisions: list[Object]) -> list[Object]:
    """Oldest first, by number, age and name."""
    return sorted(
        revisions,
        key=lambda r: (
            fields.number(r, "revision"),
            meta.creation_timestamp(r) or "",
            meta.name(r),
        ),
    )


def new_revision(
    parent: Object, kind: GroupVersionKind, number: int, collision_count: int | None
) -> Object:
    """A revision of the template that `parent` has now."""
    data = patch_of(parent)
    hash_ = names.controller_revision_hash(json_text(data), collision_count)
    annotations = meta.annotations(parent)
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": names.controller_revision_name(meta.name(parent), hash_),
            "namespace": meta.namespace(parent),
            "labels": {**meta.labels(parent["spec"]["template"]), HASH_LABEL: hash_},
            "annotations": dict(annotations),
            "ownerReferences": [meta.new_controller_ref(parent, kind)],
        },
        "data": data,
        "revision": number,
    }


class History:
    """The revisions of the sets of one kind.

    Parameters: `client` that writes; `store`, the informer's; `kind` of the sets.
    """

    __slots__ = ("_client", "_kind", "store")

    def __init__(self, client: RESTClient, store: Store, kind: GroupVersionKind) -> None:
        self._client = client
        self._kind = kind
        self.store = store
        add_index(store)

    def list(self, parent: Object, selector: Selector) -> list[Object]:
        """Revisions that match and are the parent's or nobody's."""
        namespace = meta.namespace(parent)
        key = f"{namespace}/{self._kind.kind}/{meta.name(parent)}/{meta.uid(parent)}"
        found = [*self.store.by_index(INDEX, key), *self.store.by_index(INDEX, namespace)]
        return [revision for revision in found if selector.matches(meta.labels(revision))]

    async def create(
        self, parent: Object, revision: Object, collision_count: int
    ) -> tuple[Object, int]:
        """Store a revision under a name that is free; gives the count it took, too."""
        namespace = meta.namespace(parent)
        raw = json_text(revision["data"])
        while True:
            hash_ = names.controller_revision_hash(raw, collision_count)
            name = names.controller_revision_name(meta.name(parent), hash_)
            named = meta.with_metadata(revision, name=name)
            try:
                created = await self._client.create(CONTROLLERREVISIONS, namespace, named)
                return created, collision_count
            except status.APIStatus as error:
                if not status.is_already_exists(error):
                    raise
            existing = await self._client.get(CONTROLLERREVISIONS, namespace, name)
            if equal(existing, revision):
                return existing, collision_count
            collision_count += 1

    async def renumber(self, revision: Object, number: int) -> Object:
        """Give a revision another number."""
        clone = revision
        namespace, name = meta.namespace(revision), meta.name(revision)

        async def update() -> Object:
            nonlocal clone
            if fields.number(clone, "revision") == number:
                return clone
            try:
                return await self._client.update(
                    CONTROLLERREVISIONS, namespace, {**clone, "revision": number}
                )
            except status.APIStatus:
                clone = self.store.get_by_name(namespace, name) or clone
                raise

        return await retry.on_conflict(self._client.process, retry.DEFAULT_BACKOFF, update)

    async def delete(self, revision: Object) -> None:
        """Delete a revision."""
        await self._client.delete(
            CONTROLLERREVISIONS, meta.namespace(revision), meta.name(revision)
        )

    async def adopt(self, parent: Object, revision: Object) -> Object:
        """Make `parent` the controller of a revision that has none."""
        patch = {
            "metadata": {
                "uid": meta.uid(revision),
                "ownerReferences": [meta.new_controller_ref(parent, self._kind)],
            }
        }
        return await self._client.patch(
            CONTROLLERREVISIONS, meta.namespace(parent), meta.name(revision), patch
        )


def next_number(revisions: list[Object]) -> int:
    """The number for a new revision after the ordered `revisions`."""
    return cast("int", revisions[-1]["revision"]) + 1 if revisions else 1
