"""The graph of owners, by itself."""

from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.controller_manager.object_graph import (
    AbsentOwners,
    Graph,
    Identity,
    alternate_identity,
    partition,
)

KINDS = ("ConfigMap", "Secret")


class Listener:
    def __init__(self):
        self.looked_at, self.again, self.orphaned, self.invalid = [], [], [], []
        self.graph = Graph(
            attempt_to_delete=self.looked_at.append,
            attempt_again=self.again.append,
            attempt_to_orphan=self.orphaned.append,
            invalid_namespace=lambda node, uid: self.invalid.append((node.identity.name, uid)),
        )


def obj(uid, *owners, namespace="ns", **metadata):
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": owner} for owner in owners
    ]
    return {
        "metadata": {
            "name": uid, "uid": uid, "namespace": namespace, "ownerReferences": references,
            **metadata,
        }
    }


def names(nodes):
    return [node.identity.name for node in nodes]


def test_an_owner_that_was_never_seen_is_looked_at():
    at = Listener()
    at.graph.observed("v1", "ConfigMap", None, obj("child", "owner"))
    assert names(at.looked_at) == ["owner"]
    assert at.graph.nodes["owner"].virtual
    at.graph.observed("v1", "ConfigMap", None, obj("owner"))
    assert not at.graph.nodes["owner"].virtual


def test_dependents_of_what_goes_are_looked_at_and_its_absence_is_remembered():
    at = Listener()
    at.graph.observed("v1", "ConfigMap", None, obj("owner"))
    at.graph.observed("v1", "ConfigMap", None, obj("child", "owner"))
    assert at.looked_at == []
    at.graph.deleted("v1", "ConfigMap", obj("owner"))
    assert names(at.looked_at) == ["child"]
    assert Identity("ConfigMap", "v1", "ns", "owner", "owner") in at.graph.absent


def test_a_change_that_does_not_touch_references_costs_nothing():
    at = Listener()
    old, new = obj("a", "owner"), obj("a", "owner", labels={"x": "y"})
    at.graph.observed("v1", "ConfigMap", None, old)
    at.looked_at.clear()
    at.graph.observed("v1", "ConfigMap", old, new)
    assert at.looked_at == []


def test_a_reference_that_blocks_no_longer_lets_the_owner_be_looked_at():
    at = Listener()
    at.graph.observed("v1", "ConfigMap", None, obj("owner"))
    blocking = obj("child", "owner")
    blocking["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = True
    at.graph.observed("v1", "ConfigMap", None, blocking)
    assert names(at.graph.nodes["owner"].blocking_dependents()) == ["child"]
    at.graph.observed("v1", "ConfigMap", blocking, obj("child", "owner"))
    assert names(at.looked_at) == ["owner"]


def test_an_owner_seen_in_another_namespace_is_reported():
    at = Listener()
    at.graph.observed("v1", "ConfigMap", None, obj("owner"))
    at.graph.observed("v1", "ConfigMap", None, obj("far", "owner", namespace="other"))
    assert at.invalid == [("far", "owner")]
    assert names(at.looked_at) == ["far"]


def test_a_virtual_owner_is_tried_under_the_other_names_that_dependents_give_it():
    at = Listener()
    at.graph.observed("v1", "ConfigMap", None, obj("one", "owner"))
    other = obj("two", "owner")
    other["metadata"]["ownerReferences"][0]["kind"] = "Secret"
    at.graph.observed("v1", "ConfigMap", None, other)
    absent = at.graph.nodes["owner"].identity
    at.graph.virtual_delete(absent)
    assert at.graph.nodes["owner"].identity.kind == "Secret"
    assert [node.identity.kind for node in at.again] == ["Secret"]
    assert absent in at.graph.absent


def test_the_alternative_is_the_next_in_order():
    identity = Identity("B", "v1", "ns", "o", "o")
    at = Listener()
    for kind in ("A", "B", "C"):
        child = obj(f"child-{kind}", "o")
        child["metadata"]["ownerReferences"][0]["kind"] = kind
        at.graph.observed("v1", "ConfigMap", None, child)
    dependents = at.graph.nodes["o"].dependents
    assert alternate_identity(dependents, identity).kind == "C"
    matching, others = partition(dependents, identity)
    assert (names(matching), names(others)) == (["child-B"], ["child-A", "child-C"])


def test_only_so_many_absent_owners_are_remembered():
    absent = AbsentOwners()
    identities = [Identity("K", "v1", "", str(number), str(number)) for number in range(600)]
    for identity in identities:
        absent.add(identity)
    assert identities[0] not in absent
    assert identities[-1] in absent
    assert len(absent._found) == 500


STEPS = st.lists(
    st.tuples(
        st.sampled_from("abcde"),
        st.one_of(st.none(), st.lists(st.sampled_from("abcde"), max_size=3, unique=True)),
    ),
    max_size=30,
)


@given(STEPS)
def test_the_graph_always_is_what_the_present_objects_make_it(steps):
    """However they came: every real node has its references, every reference its owner."""
    at = Listener()
    present = {}
    for uid, owners in steps:
        if owners is None:
            if uid in present:
                at.graph.deleted("v1", "ConfigMap", present.pop(uid))
        else:
            new = obj(uid, *owners)
            at.graph.observed("v1", "ConfigMap", present.get(uid), new)
            present[uid] = new
    real = {uid for uid, node in at.graph.nodes.items() if not node.virtual}
    assert real == set(present)
    for uid, found in present.items():
        owners = {entry["uid"] for entry in found["metadata"]["ownerReferences"]}
        for owner, node in at.graph.nodes.items():
            held = {dependent.identity.uid for dependent in node.dependents}
            assert (uid in held) == (owner in owners)
