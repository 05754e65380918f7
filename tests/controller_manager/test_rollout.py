"""The arithmetic of rollouts."""

from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.controller_manager import rollout


def deployment(replicas, surge=1, unavailable=1, annotations=None):
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {
        "metadata": {"name": "web", "annotations": annotations or {}},
        "spec": {
            "replicas": replicas,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {}},
        },
        "status": {},
    }


def replica_set(name, replicas, created="2026-01-01T00:00:00Z", **annotations):
    return {
        "metadata": {"name": name, "creationTimestamp": created, "annotations": annotations},
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"v": name}}}},
        "status": {},
    }


def test_surge_rounds_up_and_unavailable_rounds_down():
    assert rollout.resolve_fenceposts("25%", "25%", 10) == (3, 2)
    assert rollout.resolve_fenceposts("1%", "1%", 10) == (1, 0)


def test_something_may_always_be_missing():
    assert rollout.resolve_fenceposts(0, 0, 5) == (0, 1)
    assert rollout.resolve_fenceposts(None, None, 5) == (0, 1)


def test_no_more_may_be_missing_than_are_wanted():
    assert rollout.max_unavailable(deployment(2, unavailable=5)) == 2
    assert rollout.max_unavailable(deployment(0, unavailable=5)) == 0


def test_the_new_set_gets_what_room_there_is():
    new, old = replica_set("new", 1), replica_set("old", 3)
    assert rollout.new_set_replicas(deployment(4, surge=2), [old, new], new) == 3
    assert rollout.new_set_replicas(deployment(3, surge=1), [old, new], new) == 1


def test_a_template_is_found_again_whatever_its_hash():
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {}}
    hashed = {"metadata": {"labels": {"app": "web", "pod-template-hash": "x"}}, "spec": {}}
    assert rollout.equal_ignoring_hash(template, hashed)
    assert not rollout.equal_ignoring_hash(template, {**hashed, "spec": {"hostNetwork": True}})


def test_a_set_used_again_remembers_its_revisions():
    old = replica_set("a", 1, **{rollout.REVISION: "1", rollout.REVISION_HISTORY: ""})
    again = rollout.annotate_new_set(deployment(1), old, 3, exists=True)
    assert again["metadata"]["annotations"][rollout.REVISION] == "3"
    assert again["metadata"]["annotations"][rollout.REVISION_HISTORY] == "1"
    once_more = rollout.annotate_new_set(deployment(1), again, 5, exists=True)
    assert once_more["metadata"]["annotations"][rollout.REVISION_HISTORY] == "1,3"


def test_the_history_of_revisions_is_bounded():
    long = ",".join(str(n) for n in range(1000))[:1998]
    old = replica_set("a", 1, **{rollout.REVISION: "1000", rollout.REVISION_HISTORY: long})
    new = rollout.annotate_new_set(deployment(1), old, 1001, exists=True)
    history = new["metadata"]["annotations"][rollout.REVISION_HISTORY]
    assert len(history) <= rollout.MAX_REVISION_HISTORY_CHARS
    assert history.endswith(",1000")


def test_annotations_of_kubectl_are_not_copied():
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "x"}
    source = deployment(2, annotations=applied)
    new = rollout.annotate_new_set(source, replica_set("a", 0), 1, exists=False)
    assert new["metadata"]["annotations"] == {
        "note": "x",
        rollout.REVISION: "1",
        rollout.DESIRED_REPLICAS: "2",
        rollout.MAX_REPLICAS: "3",
    }


def test_the_last_revision_is_the_second_highest():
    sets = [replica_set(str(n), 0, **{rollout.REVISION: str(n)}) for n in (3, 1, 2)]
    assert rollout.last_revision(sets) == 2
    assert rollout.last_revision(sets[:1]) == 0


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=4), st.integers(1, 100), st.integers(0, 5)
)
def test_proportions_never_exceed_what_is_to_be_added(sizes, wanted, surge):
    target = deployment(wanted, surge=surge)
    before = sum(sizes)
    sets = [
        replica_set(str(n), size, **{rollout.MAX_REPLICAS: str(before)})
        for n, size in enumerate(sizes)
    ]
    to_add = wanted + surge - before
    added = 0
    for entry in rollout.by_size(sets, newer_first=to_add > 0):
        added += rollout.proportion(entry, target, to_add, added)
    assert min(0, to_add) <= added <= max(0, to_add)
