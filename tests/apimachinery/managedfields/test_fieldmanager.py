"""Server-side apply and the tracking of updates, as their callers see it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pytest_kubesim.apimachinery import fieldpath
from pytest_kubesim.apimachinery.managedfields import fieldmanager, scale
from pytest_kubesim.apimachinery.managedfields.updater import MissingVersion, Versioned
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.schema import from_structural, schema_for
from pytest_kubesim.apimachinery.status import APIStatus

NOW = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T00:01:00Z"
DEPLOYMENT = schema_for("apps", "v1", "Deployment")
CONFIG_MAP = schema_for("", "v1", "ConfigMap")
APP = from_structural(
    {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "size": {"type": "integer"},
                    "mode": {"type": "string", "default": "soft"},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "atom": {
                        "type": "object",
                        "x-kubernetes-map-type": "atomic",
                        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                    },
                    "ports": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["port", "protocol"],
                        "items": {
                            "type": "object",
                            "properties": {
                                "port": {"type": "integer"},
                                "protocol": {"type": "string", "default": "TCP"},
                                "name": {"type": "string"},
                            },
                        },
                    },
                    "tags": {
                        "type": "array",
                        "items": {"type": "string"},
                        "x-kubernetes-list-type": "set",
                    },
                    "plain": {"type": "array", "items": {"type": "string"}},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            },
            "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
        },
    }
)


def app(**spec: Any) -> Object:
    return {
        "apiVersion": "example.com/v1",
        "kind": "App",
        "metadata": {"name": "a"},
        "spec": spec,
    }


def apply_app(live: Object | None, applied: Object, manager: str, **more: Any) -> Object:
    options: dict[str, Any] = {"force": False, "now": NOW, **more}
    return fieldmanager.apply(
        live,
        applied,
        schema=APP,
        manager=manager,
        api_version="example.com/v1",
        kind="App",
        **options,
    )


def update_app(live: Object | None, new: Object, manager: str, **more: Any) -> Object:
    options: dict[str, Any] = {"now": NOW, **more}
    return fieldmanager.update(
        live, new, schema=APP, manager=manager, api_version="example.com/v1", **options
    )


def config_map(**data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}


def apply_map(live: Object | None, applied: Object, manager: str, **more: Any) -> Object:
    options: dict[str, Any] = {"force": False, "now": NOW, **more}
    return fieldmanager.apply(
        live,
        applied,
        schema=CONFIG_MAP,
        manager=manager,
        api_version="v1",
        kind="ConfigMap",
        **options,
    )


def owners(obj: Object) -> dict[str, Any]:
    return {e["manager"]: e["fieldsV1"] for e in obj["metadata"].get("managedFields", [])}


# -- apply ---------------------------------------------------------------------------------------


def test_apply_owns_what_it_mentions_and_items_by_their_keys() -> None:
    ports = [{"port": 80, "name": "http"}]
    obj = apply_app(None, app(size=1, ports=ports, tags=["r", "g"], atom={"a": "1"}), "one")
    assert obj["metadata"]["managedFields"] == [
        {
            "manager": "one",
            "operation": "Apply",
            "apiVersion": "example.com/v1",
            "time": NOW,
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:spec": {
                    "f:atom": {},
                    "f:ports": {
                        'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}}
                    },
                    "f:size": {},
                    "f:tags": {'v:"g"': {}, 'v:"r"': {}},
                }
            },
        }
    ]


def test_an_empty_map_is_owned_and_an_empty_list_is_not() -> None:
    assert owners(apply_app(None, app(), "one")) == {"one": {"f:spec": {}}}
    assert owners(apply_app(None, app(tags=[], size=1), "one")) == {
        "one": {"f:spec": {"f:size": {}}}
    }


def test_applying_what_is_there_shares_it_without_a_time() -> None:
    first = apply_app(None, app(size=1, tags=["r", "g"]), "one")
    both = apply_app(first, app(size=1, tags=["r"]), "three", now=LATER)
    entry = both["metadata"]["managedFields"][0]
    assert entry["manager"] == "three"
    assert "time" not in entry
    assert both["spec"] == first["spec"]


def test_conflicts_name_each_field_members_before_what_is_below() -> None:
    live = apply_app(
        None, app(size=1, plain=["p"], labels={"x": "1"}, ports=[{"port": 80, "name": "h"}]), "one"
    )
    change = app(size=2, plain=["q"], labels={"x": "2"}, ports=[{"port": 80, "name": "i"}])
    with pytest.raises(APIStatus) as refused:
        apply_app(live, change, "two")
    assert refused.value.message == (
        'Apply failed with 4 conflicts: conflicts with "one":\n'
        "- .spec.plain\n- .spec.size\n- .spec.labels.x\n"
        '- .spec.ports[port=80,protocol="TCP"].name'
    )
    assert (refused.value.code, refused.value.reason) == (409, "Conflict")
    assert refused.value.causes[1] == {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "one"',
        "field": ".spec.size",
    }


def test_one_conflict_is_told_in_one_line_with_the_version_of_an_updater() -> None:
    live = update_app(None, app(size=1), "hand", subresource="scale")
    with pytest.raises(APIStatus) as refused:
        apply_app(live, app(size=2), "two")
    assert refused.value.message == (
        'Apply failed with 1 conflict: conflict with "hand" with subresource "scale" '
        "using example.com/v1: .spec.size"
    )


def test_force_takes_fields_over() -> None:
    live = apply_app(None, app(size=1, labels={"x": "1"}), "one")
    taken = apply_app(live, app(size=2), "two", force=True)
    assert taken["spec"] == {"size": 2, "labels": {"x": "1"}}
    assert owners(taken) == {
        "one": {"f:spec": {"f:labels": {"f:x": {}}}},
        "two": {"f:spec": {"f:size": {}}},
    }


def test_what_the_applier_leaves_out_goes_unless_another_owns_it() -> None:
    live = apply_app(None, app(size=1, tags=["r", "g"], ports=[{"port": 80}]), "one")
    live = apply_app(live, app(tags=["r"]), "two")
    left = apply_app(live, app(size=1), "one")
    assert left["spec"] == {"size": 1, "tags": ["r"]}
    assert owners(left)["one"] == {"f:spec": {"f:size": {}}}


def test_applying_nothing_gives_everything_up() -> None:
    live = apply_map(None, config_map(a="1", b="2"), "one")
    live = apply_map(live, config_map(b="2"), "two")
    nothing = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    left = apply_map(live, nothing, "one")
    assert left["data"] == {"b": "2"}
    assert list(owners(left)) == ["two"]


def test_what_was_there_before_the_first_apply_has_an_owner_of_its_own() -> None:
    live = config_map(k="text")
    with pytest.raises(APIStatus, match="before-first-apply") as refused:
        apply_map(live, config_map(k="other"), "one")
    assert refused.value.message == (
        'Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .data.k'
    )
    applied = apply_map(live, config_map(m="n"), "one", subresource="")
    assert owners(applied) == {
        "before-first-apply": {"f:data": {".": {}, "f:k": {}}},
        "one": {"f:data": {"f:m": {}}},
    }


def test_list_items_keep_the_order_of_the_applied_among_those_of_others() -> None:
    live = apply_app(None, app(tags=["a", "b", "c"]), "one")
    both = apply_app(live, app(tags=["c", "x", "a"]), "two")
    assert both["spec"]["tags"] == ["b", "c", "x", "a"]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"colour": 1}, ".spec.colour: field not declared in schema"),
        ({"size": "1"}, ".spec.size: expected numeric (int or float), got string"),
        (
            {"mode": 1},
            ".spec.mode: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (
            {"ports": [{"port": 1}, {"port": 1}]},
            '.spec.ports: duplicate entries for key [port=1,protocol="TCP"]',
        ),
        ({"tags": ["x", "x"]}, '.spec.tags: duplicate entries for key [="x"]'),
        ({"labels": ["x"]}, ".spec.labels: expected map, got &{[x]}"),
    ],
)
def test_what_does_not_fit_the_schema_is_a_bare_500(spec: Object, problem: str) -> None:
    with pytest.raises(APIStatus) as refused:
        apply_app(None, app(**spec), "one")
    assert refused.value.to_object() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"failed to create typed patch object (/a; example.com/v1, Kind=App): {problem}",
        "code": 500,
    }


def test_another_kind_and_managed_fields_in_the_body_are_bad_requests() -> None:
    with pytest.raises(APIStatus, match="invalid object type: /, Kind="):
        apply_app(None, {"metadata": {"name": "a"}}, "one")
    body = {**app(), "metadata": {"name": "a", "managedFields": []}}
    with pytest.raises(APIStatus, match=r"metadata\.managedFields must be nil"):
        apply_app(None, body, "one")


def test_kubectl_takes_over_what_it_applied_on_the_clients_side() -> None:
    key = fieldmanager.LAST_APPLIED_ANNOTATION
    text = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"1"}}'
    created = config_map(a="1", b="1")
    created = {**created, "metadata": {"name": "c", "annotations": {key: text}}}
    live = fieldmanager.update(
        None,
        created,
        schema=CONFIG_MAP,
        manager="kubectl-client-side-apply",
        api_version="v1",
        now=NOW,
    )
    taken = apply_map(live, config_map(a="2"), "kubectl")
    assert taken["data"] == {"a": "2", "b": "1"}
    assert taken["metadata"]["annotations"][key].startswith('{"apiVersion":"v1","data":{"a":"2"}')
    with pytest.raises(APIStatus, match="1 conflict"):
        apply_map(live, config_map(a="2", b="2"), "kubectl")


# -- update --------------------------------------------------------------------------------------


def test_create_owns_what_go_would_not_have_printed_anyway() -> None:
    new: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "labels": {"a": "b"}},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "resources": {}, "env": [{"name": "A"}]}]},
            },
        },
        "status": {},
    }
    created = fieldmanager.update(
        None, new, schema=DEPLOYMENT, manager="m", api_version="apps/v1", now=NOW
    )
    assert owners(created)["m"] == {
        "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"c"}': {
                            ".": {},
                            "f:env": {".": {}, 'k:{"name":"A"}': {".": {}, "f:name": {}}},
                            "f:name": {},
                            "f:resources": {},
                        }
                    }
                },
            },
        },
    }


def test_a_created_custom_resource_owns_its_spec_as_well() -> None:
    assert owners(update_app(None, app(size=1), "m")) == {"m": {"f:spec": {".": {}, "f:size": {}}}}


def test_an_update_takes_what_it_changes_from_appliers() -> None:
    live = apply_app(None, app(size=1, mode="soft"), "one")
    new = {**live, "spec": {"size": 2, "mode": "soft"}}
    updated = update_app(live, new, "hand")
    assert owners(updated) == {
        "one": {"f:spec": {"f:mode": {}}},
        "hand": {"f:spec": {"f:size": {}}},
    }


def test_nothing_changed_changes_no_time() -> None:
    live = update_app(None, app(size=1), "hand")
    same = update_app(live, copy.deepcopy(live), "hand", now=LATER)
    assert same == live


def test_clients_that_drop_managed_fields_do_not_lose_them_but_resetting_does() -> None:
    live = update_app(None, app(size=1), "hand")
    live = {**live, "metadata": {**live["metadata"], "uid": "u"}}
    without = {**live, "metadata": {"name": "a", "uid": "u"}}
    assert owners(update_app(live, without, "x")) == owners(live)
    for reset in ([], [{}]):
        new = {**live, "metadata": {"name": "a", "uid": "u", "managedFields": reset}}
        assert owners(update_app(live, new, "x")) == {}


def test_an_object_without_managed_fields_stays_untracked_until_applied() -> None:
    live = {**app(size=1), "metadata": {"name": "a", "uid": "u"}}
    assert owners(update_app(live, {**live, "spec": {"size": 2}}, "x")) == {}


def test_reset_fields_are_never_owned() -> None:
    resets = {"example.com/v1": fieldpath.excluding(fieldpath.of_fields("status"))}
    new = {**app(size=1), "status": {"phase": "p"}}
    assert owners(update_app(None, new, "m", reset_fields=resets)) == {
        "m": {"f:spec": {".": {}, "f:size": {}}}
    }
    applied = apply_app(None, new, "m", reset_fields=resets)
    assert owners(applied) == {"m": {"f:spec": {"f:size": {}}}}


def test_more_than_ten_updaters_are_merged_into_ancient_changes() -> None:
    obj = update_app(None, app(labels={}), "m00")
    for i in range(1, 13):
        labels = {**obj["spec"]["labels"], f"l{i}": "x"}
        now = f"2026-01-01T00:00:{i:02d}Z"
        obj = update_app(obj, {**obj, "spec": {"labels": labels}}, f"m{i:02d}", now=now)
    found = owners(obj)
    assert len(found) == 10
    assert found["ancient-changes"]["f:spec"]["f:labels"].keys() == {".", "f:l1", "f:l2", "f:l3"}
    assert [e["manager"] for e in obj["metadata"]["managedFields"]][0] == "ancient-changes"


def test_entries_are_ordered_appliers_first_then_by_time_and_name() -> None:
    obj = update_app(None, app(size=1), "u", now=NOW)
    obj = apply_app(obj, app(mode="m"), "z", now=LATER)
    obj = apply_app(obj, app(tags=["t"]), "a", now=LATER)
    obj = apply_app(obj, app(plain=["t"]), "y", now=NOW)
    assert [e["manager"] for e in obj["metadata"]["managedFields"]] == ["y", "a", "z", "u"]


def test_objects_that_do_not_fit_keep_the_managed_fields_of_the_live_one() -> None:
    live = update_app(None, app(size=1), "hand")
    wrong = update_app(live, {**live, "spec": {"size": "x"}}, "other")
    assert owners(wrong) == owners(live)


# -- versions ------------------------------------------------------------------------------------

OLD = from_structural(
    {"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "count": {"type": "integer"}, "mode": {"type": "string"}}}}}
)  # fmt: skip


def to_version(obj: Object, version: str) -> Versioned:
    spec = dict(obj.get("spec") or {})
    if version == "example.com/v1beta1":
        if "size" in spec:
            spec["count"] = spec.pop("size")
        return fieldmanager.versioned(OLD, {**obj, "apiVersion": version, "spec": spec})
    if version == "example.com/v1":
        if "count" in spec:
            spec["size"] = spec.pop("count")
        return fieldmanager.versioned(APP, {**obj, "apiVersion": version, "spec": spec})
    raise MissingVersion(version)


def test_managers_of_other_versions_are_compared_in_theirs_and_unknown_versions_dropped() -> None:
    live = fieldmanager.apply(
        None,
        {**app(count=1, mode="m"), "apiVersion": "example.com/v1beta1"},
        schema=OLD,
        manager="one",
        force=False,
        api_version="example.com/v1beta1",
        kind="App",
        now=NOW,
    )
    gone = {**live["metadata"]["managedFields"][0], "manager": "x", "apiVersion": "example.com/v0"}
    metadata = {"name": "a", "managedFields": [*live["metadata"]["managedFields"], gone]}
    live = {**to_version(live, "example.com/v1").value, "metadata": metadata}
    with pytest.raises(APIStatus) as refused:
        apply_app(live, app(size=2), "two", convert=to_version)
    assert refused.value.message.endswith('conflict with "one": .spec.count')
    moved = apply_app(live, app(size=1), "one", convert=to_version)
    assert moved["spec"] == {"size": 1}
    assert [e["apiVersion"] for e in moved["metadata"]["managedFields"]] == ["example.com/v1"]


def test_what_no_longer_fits_the_version_of_the_last_apply_is_a_500() -> None:
    live = fieldmanager.apply(
        None,
        {**app(mode="m"), "apiVersion": "example.com/v1beta1"},
        schema=OLD,
        manager="one",
        force=False,
        api_version="example.com/v1beta1",
        kind="App",
        now=NOW,
    )
    live = {**live, "apiVersion": "example.com/v1"}
    with pytest.raises(APIStatus) as refused:
        apply_app(live, app(mode="m", tags=["x"]), "one", convert=to_version)
    assert refused.value.message == (
        "failed to prune fields: failed to convert merged object to last applied version: "
        ".spec.tags: field not declared in schema"
    )


def test_what_became_atomic_is_owned_as_a_whole() -> None:
    live = apply_app(None, app(free={"a": {"b": 1}}, labels={"x": "1"}), "one")
    source = copy.deepcopy(dict(APP.source or {}))
    source["properties"]["spec"]["properties"]["labels"]["x-kubernetes-map-type"] = "atomic"
    now_atomic = from_structural(source)
    new = {**live, "spec": {**live["spec"], "size": 1}}
    updated = fieldmanager.update(
        live, new, schema=now_atomic, manager="m", api_version="example.com/v1", now=NOW
    )
    assert owners(updated)["one"] == {
        "f:spec": {"f:free": {"f:a": {".": {}, "f:b": {}}}, "f:labels": {}}
    }


# -- scale ---------------------------------------------------------------------------------------


def entry(manager: str, operation: str, fields: Any, **more: str) -> Object:
    return {
        "manager": manager,
        "operation": operation,
        "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": fields},
        **more,
    }


def test_a_scale_takes_the_replicas_of_its_parent() -> None:
    mappings = {"apps/v1": scale.REPLICAS}
    parent = [entry("test", "Apply", {"f:replicas": {}, "f:selector": {}})]
    assert scale.to_subresource(parent, mappings) == [
        entry("test", "Apply", {"f:replicas": {}}, apiVersion="autoscaling/v1")
    ]
    scaled = [
        entry(
            "hpa",
            "Update",
            {"f:replicas": {}},
            apiVersion="autoscaling/v1",
            subresource="scale",
            time=NOW,
        )
    ]
    assert scale.to_parent(parent, scaled, api_version="apps/v1", mappings=mappings) == [
        entry("test", "Apply", {"f:selector": {}}),
        entry("hpa", "Update", {"f:replicas": {}}, subresource="scale"),
    ]


# -- laws ----------------------------------------------------------------------------------------

LABELS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["1", "2"]), max_size=3)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "size": st.integers(0, 2),
        "labels": LABELS,
        "atom": st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"), max_size=2),
        "tags": st.lists(st.sampled_from("rgb"), unique=True, min_size=1, max_size=3),
        "ports": st.lists(
            st.fixed_dictionaries(
                {"port": st.integers(80, 82)}, optional={"name": st.sampled_from("pq")}
            ),
            unique_by=lambda item: item["port"],
            min_size=1,
            max_size=3,
        ),
        "free": st.dictionaries(st.sampled_from("ab"), LABELS, max_size=2),
    },
)


@settings(deadline=None)
@given(SPECS, SPECS)
def test_applying_twice_is_applying_once(first: Object, second: Object) -> None:
    live = apply_app(None, app(**first), "one")
    once = apply_app(live, app(**second), "two", force=True)
    assert apply_app(once, app(**second), "two", now=LATER) == once


@settings(deadline=None)
@given(SPECS, SPECS)
def test_disjoint_applies_commute(left: Object, right: Object) -> None:
    mine = {k: v for k, v in left.items() if k in ("size", "labels", "atom")}
    yours = {k: v for k, v in right.items() if k in ("tags", "ports", "free")}
    assume(mine and yours)
    ours = apply_app(apply_app(None, app(**mine), "one"), app(**yours), "two")
    theirs = apply_app(apply_app(None, app(**yours), "two"), app(**mine), "one")
    assert ours["spec"] == theirs["spec"]
    assert owners(ours) == owners(theirs)


@settings(deadline=None)
@given(SPECS, SPECS, SPECS)
def test_inputs_are_never_changed(first: Object, second: Object, third: Object) -> None:
    live = apply_app(None, app(**first), "one")
    before = copy.deepcopy((live, second, third))
    applied = apply_app(live, app(**second), "two", force=True)
    middle = copy.deepcopy(applied)
    update_app(applied, {**applied, "spec": third}, "three")
    assert (live, second, third) == before
    assert applied == middle


@settings(deadline=None)
@given(SPECS)
def test_giving_up_what_nobody_else_owns_leaves_nothing(spec: Object) -> None:
    live = apply_app(None, app(**spec), "one")
    bare = {"apiVersion": "example.com/v1", "kind": "App", "metadata": {"name": "a"}}
    left = apply_app(live, bare, "one")
    assert not left.get("spec")
    assert owners(left) == {}
