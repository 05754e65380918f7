"""Strategic merge patches: lists by key, directives, and the errors of upstream."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery import schema, strategicdiff, strategicpatch
from pytest_kubesim.apimachinery.strategicpatch_values import StrategicPatchError

POD = schema.schema_for("", "v1", "Pod")
DEPLOYMENT = schema.schema_for("apps", "v1", "Deployment")


def _apply(document, patch, kind=POD):
    before, given_patch = copy.deepcopy(document), copy.deepcopy(patch)
    result = strategicpatch.apply(document, patch, kind)
    assert document == before
    assert patch == given_patch
    return result


def _containers(*names):
    return {"spec": {"containers": [{"name": name, "image": "i"} for name in names]}}


def _names(pod):
    return [container["name"] for container in pod["spec"]["containers"]]


def test_containers_are_merged_by_name_and_a_new_one_comes_first():
    patch = {"spec": {"containers": [{"name": "b", "image": "j"}, {"name": "c"}]}}
    result = _apply(_containers("a", "b"), patch)
    assert result["spec"]["containers"] == [
        {"name": "a", "image": "i"},
        {"name": "b", "image": "j"},
        {"name": "c"},
    ]
    assert _names(_apply(_containers("a", "b"), {"spec": {"containers": [{"name": "c"}]}})) == [
        "c",
        "a",
        "b",
    ]


def test_an_entry_is_deleted_by_its_key():
    patch = {"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}
    assert _names(_apply(_containers("a", "b"), patch)) == ["b"]
    assert _apply({"spec": {}}, patch) == {"spec": {"containers": []}}


def test_a_list_is_replaced_when_the_patch_says_so():
    patch = {"spec": {"containers": [{"$patch": "replace"}, {"name": "z"}]}}
    assert _names(_apply(_containers("a", "b"), patch)) == ["z"]


def test_maps_are_replaced_and_emptied():
    pod = {"metadata": {"labels": {"a": "1", "b": "2"}}}
    replace = {"metadata": {"labels": {"$patch": "replace", "c": "3"}}}
    assert _apply(pod, replace) == {"metadata": {"labels": {"c": "3"}}}
    assert _apply(pod, {"metadata": {"labels": {"$patch": "delete"}}}) == {
        "metadata": {"labels": {}}
    }
    assert _apply(pod, {"metadata": {"labels": {"a": None}}}) == {
        "metadata": {"labels": {"b": "2"}}
    }


def test_finalizers_are_joined_and_deleted_from():
    pod = {"metadata": {"finalizers": ["one", "two"]}}
    joined = _apply(pod, {"metadata": {"finalizers": ["three", "one"]}})
    assert joined["metadata"]["finalizers"] == ["three", "one", "two"]
    deleted = _apply(pod, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["one", "none"]}})
    assert deleted["metadata"]["finalizers"] == ["two"]


def test_an_order_is_established():
    patch = {
        "spec": {
            "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
            "containers": [{"name": "a", "image": "j"}],
        }
    }
    assert _names(_apply(_containers("a", "b"), patch)) == ["b", "a"]


def test_other_sources_of_a_volume_go_away_when_keys_are_retained():
    pod = {"spec": {"volumes": [{"name": "w", "configMap": {"name": "c"}}]}}
    volume = {"name": "w", "$retainKeys": ["name", "secret"], "secret": {"secretName": "s"}}
    assert _apply(pod, {"spec": {"volumes": [volume]}}) == {
        "spec": {"volumes": [{"name": "w", "secret": {"secretName": "s"}}]}
    }


def test_lists_without_a_key_are_replaced():
    pod = {"spec": {"tolerations": [{"key": "a"}]}}
    patch = {"spec": {"tolerations": [{"key": "b"}]}}
    assert _apply(pod, patch) == patch


@pytest.mark.parametrize(
    ("patch", "message", "code"),
    [
        (
            {"spec": {"containers": [{"image": "img:7"}]}},
            "map: map[image:img:7] does not contain declared merge key: name",
            500,
        ),
        (
            {"spec": {"$patch": "destroy"}},
            "unknown patch type: destroy in map: map[$patch:destroy]",
            500,
        ),
        (
            {
                "spec": {
                    "$setElementOrder/containers": [{"name": "two"}],
                    "containers": [{"name": "one", "image": "img:8"}],
                }
            },
            (
                "The order in patch list:\n[map[image:img:8 name:one]]\n doesn't match "
                "$setElementOrder list:\n[map[name:two]]\n"
            ),
            500,
        ),
        ({"spec": {"$retainKeys": "x"}}, "invalid patch format of retainKeys", 400),
        (
            {"spec": {"$setElementOrder/nope": []}},
            'unable to find api field in struct PodSpec for the json field "nope"',
            500,
        ),
    ],
)
def test_what_cannot_be_merged_is_refused_in_upstreams_words(patch, message, code):
    with pytest.raises(StrategicPatchError) as caught:
        _apply(_containers("one", "two"), patch)
    assert (str(caught.value), caught.value.code) == (message, code)


NAMES = st.lists(st.sampled_from("abcd"), unique=True, max_size=4)


def _pod(containers, finalizers, labels):
    return {
        "metadata": {"finalizers": finalizers, "labels": labels},
        "spec": {"containers": [{"name": n, "image": i} for n, i in containers.items()]},
    }


PODS = st.builds(
    _pod,
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["i", "j"])),
    st.lists(st.sampled_from("fgh"), unique=True).map(sorted),
    st.dictionaries(st.sampled_from("xy"), st.sampled_from("12")),
)


@given(PODS, PODS)
def test_a_difference_applied_gives_the_other(original, modified):
    patch = strategicdiff.create_two_way_merge_patch(original, modified, POD)
    assert _apply(original, patch) == modified


def test_a_difference_deletes_by_directive_and_tells_the_order():
    patch = strategicdiff.create_two_way_merge_patch(
        _containers("a", "b"), _containers("b", "c"), POD
    )
    assert patch == {
        "spec": {
            "$setElementOrder/containers": [{"name": "b"}, {"name": "c"}],
            "containers": [{"name": "c", "image": "i"}, {"name": "a", "$patch": "delete"}],
        }
    }


def test_a_difference_retains_the_keys_where_the_schema_asks_for_it():
    rolling = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    recreate = {"spec": {"strategy": {"type": "Recreate"}}}
    patch = strategicdiff.create_two_way_merge_patch(rolling, recreate, DEPLOYMENT)
    assert patch == {
        "spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate", "rollingUpdate": None}}
    }
    assert _apply(rolling, patch, DEPLOYMENT) == recreate


TYPES = st.lists(st.sampled_from("abcde"), unique=True)


@st.composite
def _ordered_patches(draw):
    """Conditions, and changes with the order of all: as clients compute them, and a little off."""
    before, order = draw(TYPES), draw(st.lists(st.sampled_from("abcdef"), max_size=6))
    changed = [name for name in order if draw(st.booleans())]
    if draw(st.booleans()):
        changed = draw(st.permutations(changed))
    conditions = [{"type": name, "status": "False", "reason": name} for name in before]
    changes = [
        {"type": name, "status": draw(st.sampled_from(("True", None)))} for name in changed
    ]
    if changes and draw(st.booleans()):
        changes[0] = {"type": changes[0]["type"], "$patch": "delete"}
    patch = {"$setElementOrder/conditions": [{"type": name} for name in order]}
    if changes or draw(st.booleans()):
        patch["conditions"] = changes
    return {"status": {"conditions": conditions}}, {"status": patch}


@given(_ordered_patches())
def test_the_short_way_through_an_ordered_list_leads_where_the_long_way_does(case):
    document, patch = case

    def outcome():
        try:
            return _apply(document, patch)
        except StrategicPatchError as error:
            return str(error)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(strategicpatch, "_merged_in_order", lambda *_: None)
        long_way = outcome()
    assert outcome() == long_way
