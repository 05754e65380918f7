"""Who owns whom: the graph that the garbage collector works on.

The law: a node is an object by its UID, real once an informer has shown it and *virtual* while it
is only known from references to it.  The graph changes with what informers show (and with virtual
deletions: the API server knows no such owner), at a cost of the references that changed.  It
deletes nothing; it says which nodes to look at::

    an owner goes                            its dependents are looked at
    a dependent goes, or blocks no longer    an owner that waits for its dependents is
    a deletion begins with `orphan`          the owner's dependents are to be orphaned
    ... with `foregroundDeletion`            its dependents, then the owner itself, are looked at
    a reference to what was never seen       the virtual owner is looked at: does it exist?

Follows `pkg/controller/garbagecollector/{graph,graph_builder,uid_cache}.go`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from pytest_kubesim.apimachinery.meta import finalizers, owner_references

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object

ORPHAN_FINALIZER = "orphan"
FOREGROUND_FINALIZER = "foregroundDeletion"

CACHE_SIZE = 500


class Identity(NamedTuple):
    """An object by its coordinates and UID; ordered as upstream orders alternatives."""

    kind: str
    api_version: str
    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return (
            f"[{self.api_version}/{self.kind}, namespace: {self.namespace}, "
            f"name: {self.name}, uid: {self.uid}]"
        )


def identity_of(obj: Object, api_version: str, kind: str) -> Identity:
    """Who an observed object is."""
    metadata = obj["metadata"]
    return Identity(
        kind, api_version, metadata.get("namespace") or "", metadata["name"], metadata["uid"]
    )


def identity_from_reference(reference: Object, namespace: str) -> Identity:
    """Who an owner is, by a reference from `namespace`."""
    return Identity(
        reference["kind"], reference["apiVersion"], namespace, reference["name"], reference["uid"]
    )


def matches(reference: Object, identity: Identity) -> bool:
    """Whether a reference has the kind, name and UID of `identity`."""
    return (
        reference["uid"] == identity.uid
        and reference["name"] == identity.name
        and reference["kind"] == identity.kind
        and reference["apiVersion"] == identity.api_version
    )


class Node:
    """An object in the graph."""

    __slots__ = (
        "being_deleted",
        "deleting_dependents",
        "dependents",
        "identity",
        "owners",
        "virtual",
    )

    def __init__(self, identity: Identity, owners: list[Object], *, virtual: bool = False) -> None:
        self.identity = identity
        self.owners = owners
        self.dependents: dict[Node, None] = {}
        self.virtual = virtual
        self.being_deleted = False
        self.deleting_dependents = False

    def __str__(self) -> str:
        return str(self.identity)

    def copy(self, identity: Identity) -> Node:
        """A node like this one under another identity."""
        node = Node(identity, self.owners, virtual=self.virtual)
        node.dependents = dict(self.dependents)
        node.being_deleted = self.being_deleted
        node.deleting_dependents = self.deleting_dependents
        return node

    def blocking_dependents(self) -> list[Node]:
        """The dependents that forbid its deletion."""
        uid = self.identity.uid
        return [
            dependent
            for dependent in self.dependents
            for owner in dependent.owners
            if owner["uid"] == uid and owner.get("blockOwnerDeletion")
        ]


class AbsentOwners:
    """The owners that the API server did not know, the last 500 of them."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[Identity, None] = {}

    def add(self, identity: Identity) -> None:
        """Remember that there is none."""
        self._found.pop(identity, None)
        self._found[identity] = None
        if len(self._found) > CACHE_SIZE:
            del self._found[next(iter(self._found))]

    def __contains__(self, identity: Identity) -> bool:
        if identity not in self._found:
            return False
        del self._found[identity]
        self._found[identity] = None
        return True


class Graph:
    """Objects and their owners.

    Parameters: what is called with a node that is to be looked at (`attempt_to_delete`, and
    `attempt_again` after a back-off), whose dependents are to be orphaned (`attempt_to_orphan`), or
    that names an owner which lives in another namespace (`invalid_namespace`, with the UID).
    """

    def __init__(
        self,
        *,
        attempt_to_delete: Callable[[Node], object],
        attempt_again: Callable[[Node], object],
        attempt_to_orphan: Callable[[Node], object],
        invalid_namespace: Callable[[Node, str], object],
    ) -> None:
        self.nodes: dict[str, Node] = {}
        self.absent = AbsentOwners()
        self._attempt_to_delete = attempt_to_delete
        self._attempt_again = attempt_again
        self._attempt_to_orphan = attempt_to_orphan
        self._invalid_namespace = invalid_namespace

    # -- what informers show ------------------------------------------------------------------

    def observed(self, api_version: str, kind: str, old: Object | None, obj: Object) -> None:
        """An object was added or changed; `old` is what the informer had before."""
        metadata = obj["metadata"]
        node = self.nodes.get(metadata["uid"])
        owners = owner_references(obj)
        deleted = metadata.get("deletionTimestamp") is not None
        if node is None:
            node = Node(identity_of(obj, api_version, kind), owners)
            node.being_deleted = deleted
            node.deleting_dependents = deleted and FOREGROUND_FINALIZER in finalizers(obj)
            self.nodes[node.identity.uid] = node
            self._add_to_owners(node, owners)
        else:
            if node.virtual:
                node = self._now_real(node, identity_of(obj, api_version, kind))
            if node.owners != owners:
                self._change_owners(node, owners)
            if deleted:
                node.being_deleted = True
        if deleted:
            self._transitions(old, obj, node)

    def deleted(self, api_version: str, kind: str, obj: Object) -> None:
        """An object is gone."""
        node = self.nodes.get(obj["metadata"]["uid"])
        if node is None:
            return
        identity = identity_of(obj, api_version, kind)
        if node.virtual:
            node = self._now_real(node, identity)
        self._remove(node, identity)

    def virtual_delete(self, identity: Identity) -> None:
        """The API server knows no object with these coordinates."""
        node = self.nodes.get(identity.uid)
        if node is None:
            return
        if node.virtual:
            matching, others = partition(node.dependents, identity)
            if others:
                # Some dependents know the owner under other coordinates: try those.
                self._look_at_dependents_of_absent(matching, identity)
                if node.identity == identity:
                    alternative = alternate_identity(others, identity)
                    if alternative is not None:
                        node = node.copy(alternative)
                        self.nodes[identity.uid] = node
                        self._attempt_again(node)
                return
        elif node.identity != identity:
            matching, _others = partition(node.dependents, identity)
            self._look_at_dependents_of_absent(matching, identity)
            return
        self._remove(node, identity)

    # -- inside -------------------------------------------------------------------------------

    def _now_real(self, node: Node, identity: Identity) -> Node:
        if identity != node.identity:
            _matching, invalid = partition(node.dependents, identity)
            for dependent in invalid:
                if identity.namespace and dependent.identity.namespace != identity.namespace:
                    self._invalid_namespace(dependent, identity.uid)
                self._attempt_to_delete(dependent)
            node = node.copy(identity)
            self.nodes[identity.uid] = node
        node.virtual = False
        return node

    def _remove(self, node: Node, identity: Identity) -> None:
        self.nodes.pop(node.identity.uid, None)
        self._remove_from_owners(node, node.owners)
        if node.dependents:
            self.absent.add(identity)
        for dependent in list(node.dependents):
            self._attempt_to_delete(dependent)
        for reference in node.owners:
            owner = self.nodes.get(reference["uid"])
            if owner is not None and owner.deleting_dependents:
                self._attempt_to_delete(owner)

    def _look_at_dependents_of_absent(self, matching: list[Node], identity: Identity) -> None:
        if matching:
            self.absent.add(identity)
            for dependent in matching:
                self._attempt_to_delete(dependent)

    def _add_to_owners(self, node: Node, owners: Iterable[Object]) -> None:
        doubtful = False
        for reference in owners:
            owner = self.nodes.get(reference["uid"])
            if owner is None:
                identity = identity_from_reference(reference, node.identity.namespace)
                owner = self.nodes[identity.uid] = Node(identity, [], virtual=True)
                owner.dependents[node] = None
                self._attempt_to_delete(owner)
                continue
            owner.dependents[node] = None
            if not doubtful:
                doubtful = self._is_doubtful(node, reference, owner)
        if doubtful:
            self._attempt_to_delete(node)

    def _is_doubtful(self, node: Node, reference: Object, owner: Node) -> bool:
        namespace = owner.identity.namespace
        if namespace and namespace != node.identity.namespace:
            if not owner.virtual:
                self._invalid_namespace(node, owner.identity.uid)
            return True
        if not matches(reference, owner.identity):
            return True
        # A virtual owner without a namespace may be a namespaced kind that a cluster-scoped object
        # names by mistake.
        return not namespace and bool(node.identity.namespace) and owner.virtual

    def _remove_from_owners(self, node: Node, owners: Iterable[Object]) -> None:
        for reference in owners:
            owner = self.nodes.get(reference["uid"])
            if owner is not None:
                owner.dependents.pop(node, None)

    def _change_owners(self, node: Node, owners: list[Object]) -> None:
        before = {reference["uid"]: reference for reference in node.owners}
        after = {reference["uid"]: reference for reference in owners}
        removed = [reference for uid, reference in before.items() if uid not in after]
        for reference in removed:
            if reference.get("blockOwnerDeletion"):
                self._look_at_uid(reference["uid"])
        for uid, reference in after.items():
            was = before.get(uid)
            if was and was.get("blockOwnerDeletion") and not reference.get("blockOwnerDeletion"):
                self._look_at_uid(uid)
        node.owners = owners
        self._add_to_owners(node, [r for uid, r in after.items() if uid not in before])
        self._remove_from_owners(node, removed)

    def _look_at_uid(self, uid: str) -> None:
        node = self.nodes.get(uid)
        if node is not None:
            self._attempt_to_delete(node)

    def _transitions(self, old: Object | None, obj: Object, node: Node) -> None:
        if _begins(old, obj, ORPHAN_FINALIZER):
            self._attempt_to_orphan(node)
        elif _begins(old, obj, FOREGROUND_FINALIZER):
            node.deleting_dependents = True
            for dependent in list(node.dependents):
                self._attempt_to_delete(dependent)
            self._attempt_to_delete(node)


def _begins(old: Object | None, obj: Object, finalizer: str) -> bool:
    """Whether its deletion with that finalizer began with this change."""
    if finalizer not in finalizers(obj):
        return False
    if old is None or not old["metadata"].get("deletionTimestamp"):
        return True
    return finalizer not in finalizers(old)


def partition(
    dependents: Iterable[Node], identity: Identity
) -> tuple[list[Node], list[Node]]:
    """Those that refer to an owner by exactly this identity, and those that refer otherwise.

    One with several references to the same UID may be in both.
    """
    matching: list[Node] = []
    others: list[Node] = []
    for dependent in dependents:
        if identity.namespace and identity.namespace != dependent.identity.namespace:
            others.append(dependent)
            continue
        found = [
            matches(reference, identity)
            for reference in dependent.owners
            if reference["uid"] == identity.uid
        ]
        if any(found):
            matching.append(dependent)
        if not all(found):
            others.append(dependent)
    return matching, others


def alternate_identity(dependents: Iterable[Node], absent: Identity) -> Identity | None:
    """Under which other identity dependents know an owner that is absent under this one.

    The first that follows `absent` in order, else the first of all; None if there is none.
    """
    found: set[Identity] = set()
    for dependent in dependents:
        namespace = dependent.identity.namespace
        for reference in dependent.owners:
            if reference["uid"] != absent.uid:
                continue
            if matches(reference, absent) and absent.namespace in ("", namespace):
                continue
            candidate = identity_from_reference(reference, namespace)
            if (
                not absent.namespace
                and candidate.api_version == absent.api_version
                and candidate.kind == absent.kind
            ):
                candidate = candidate._replace(namespace="")
            if candidate != absent:
                found.add(candidate)
    ordered = sorted(found)
    return next((candidate for candidate in ordered if candidate > absent), None) or (
        ordered[0] if ordered else None
    )
