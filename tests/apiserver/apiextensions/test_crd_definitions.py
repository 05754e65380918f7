"""A definition from creation to deletion."""

from __future__ import annotations

from typing import Any

from crd_world import DEFINITIONS, WIDGETS, World, definition, version, widget

CRD = f"{DEFINITIONS}/widgets.example.com"


def test_a_definition_is_established_at_the_instant_of_its_creation(world: World) -> None:
    before_ns = world.kernel.now_ns
    world.define()
    assert world.conditions() == {"NamesAccepted": "True", "Established": "True"}
    assert world.kernel.now_ns == before_ns
    assert world.ask("GET", WIDGETS).status == 200


def test_a_server_without_definitions_has_no_controllers_of_them(world: World) -> None:
    assert world.server.state.get("apiextensions") is None


def test_a_restarted_server_serves_what_is_in_etcd(world: World) -> None:
    world.define()
    world.ask("POST", WIDGETS, widget(spec={"size": 1}))
    world.server.process.crash()
    world.server.start()
    assert world.get(f"{WIDGETS}/a")["spec"] == {"size": 1, "colour": "red"}


def test_the_names_of_another_definition_are_not_accepted(world: World) -> None:
    world.define()
    world.define(plural="gadgets", shortNames=["gd"])
    assert world.conditions("gadgets.example.com") == {
        "NamesAccepted": "False",
        "Established": "False",
    }
    assert world.ask("GET", WIDGETS.replace("widgets", "gadgets")).status == 404


def test_names_that_become_free_are_taken(world: World) -> None:
    world.define()
    world.define(plural="gadgets")
    world.ask("DELETE", CRD)
    world.wait(6)
    assert world.conditions("gadgets.example.com")["Established"] == "True"


def test_a_definition_takes_its_objects_with_it(world: World) -> None:
    world.define()
    world.ask("POST", WIDGETS, widget())
    marked = world.ask("DELETE", CRD).obj
    assert marked is not None
    assert marked["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    world.wait(6)
    assert world.ask("GET", CRD).status == 404
    gone = world.ask("GET", WIDGETS)
    assert (gone.status, gone.body) == (404, b"404 page not found\n")


def test_an_object_with_a_finalizer_holds_its_definition(world: World) -> None:
    world.define()
    world.ask("POST", WIDGETS, widget() | {"metadata": {"name": "a", "finalizers": ["x.io/y"]}})
    world.ask("DELETE", CRD)
    world.wait(20)
    assert world.conditions()["Terminating"] == "True"
    refused = world.ask("POST", WIDGETS, widget("b"))
    assert refused.status == 403
    world.ask("PATCH", f"{WIDGETS}/a", {"metadata": {"finalizers": None}}, kind="merge-patch+json")
    world.wait(6)
    assert world.ask("GET", CRD).status == 404


def test_a_watch_ends_when_the_resource_is_no_longer_served(world: World) -> None:
    world.define()
    stream = world.open("GET", WIDGETS, watch="true")
    world.ask("DELETE", CRD)
    world.wait(8)
    assert stream.closed


def test_a_watch_of_a_resource_that_changes_is_cut_off(world: World) -> None:
    world.define()
    stream = world.open("GET", WIDGETS, watch="true")
    patch = {"spec": {"names": {"shortNames": ["wd"]}}}
    world.ask("PATCH", CRD, patch, kind="merge-patch+json")
    world.wait(2)
    assert stream.closed


def test_the_spec_raises_the_generation_and_the_status_does_not(world: World) -> None:
    world.define()
    assert world.get(CRD)["metadata"]["generation"] == 1
    patch = {"spec": {"names": {"shortNames": ["wd"]}}}
    world.ask("PATCH", CRD, patch, kind="merge-patch+json")
    assert world.get(CRD)["metadata"]["generation"] == 2


def test_a_new_storage_version_is_remembered_among_those_stored(world: World) -> None:
    world.define()
    crd: dict[str, Any] = world.get(CRD)
    versions = [version(storage=False), version("v2", storage=True)]
    world.ask("PUT", CRD, {**crd, "spec": {**crd["spec"], "versions": versions}})
    assert world.get(CRD)["status"]["storedVersions"] == ["v1", "v2"]


def test_with_one_version_errors_name_the_fields_above_it(world: World) -> None:
    answer = world.define(version(schema={"openAPIV3Schema": {"type": "array"}}))
    assert answer.status == 422
    assert answer.obj is not None
    fields = [cause["field"] for cause in answer.obj["details"]["causes"]]
    assert "spec.validation.openAPIV3Schema.type" in fields


def test_a_group_of_the_community_wants_an_approval(world: World) -> None:
    crd = definition()
    crd["metadata"]["name"] = "widgets.x.k8s.io"
    crd["spec"]["group"] = "x.k8s.io"
    assert world.ask("POST", DEFINITIONS, crd).status == 422
    crd["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved, a test"}
    assert world.ask("POST", DEFINITIONS, crd).status == 201
    assert world.conditions("widgets.x.k8s.io")["KubernetesAPIApprovalPolicyConformant"] == "False"


def test_formats_that_nobody_checks_are_warned_of(world: World) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "format": "colour"}}}
    answer = world.define(version(schema={"openAPIV3Schema": schema}))
    assert ("Warning", '299 - "unrecognized format \\"colour\\""') in answer.headers


def test_a_definition_whose_storage_version_is_not_served_goes_too(world: World) -> None:
    world.define(version(served=False), version("v2"))
    path = WIDGETS.replace("v1", "v2")
    assert world.ask("POST", path, widget(api_version="example.com/v2")).status == 201
    world.ask("DELETE", CRD)
    world.wait(6)
    assert world.ask("GET", CRD).status == 404
    assert world.member.store.latest("/registry/example.com/widgets/default/a") is None


def test_dependencies_are_refused_even_where_there_are_none(world: World) -> None:
    schema = {
        "type": "object", "dependencies": {},
        "properties": {"a": {"type": "array", "items": {"type": "string", "dependencies": {}}}},
    }
    answer = world.ask("POST", DEFINITIONS, definition(version(schema={"openAPIV3Schema": schema})))
    assert answer.status == 422
    assert answer.obj is not None
    assert [(cause["field"], cause["message"]) for cause in answer.obj["details"]["causes"]] == [
        (f"spec.validation.openAPIV3Schema.{where}", "Forbidden: dependencies is not supported")
        for where in ("dependencies", "properties[a].items.dependencies")
    ]


def test_dependencies_that_are_null_are_none(world: World) -> None:
    schema = {"type": "object", "dependencies": None, "patternProperties": {}, "definitions": {}}
    answer = world.ask("POST", DEFINITIONS, definition(version(schema={"openAPIV3Schema": schema})))
    assert answer.status == 201
    assert answer.obj is not None
    assert answer.obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == {"type": "object"}
