"""Objects of a definition: what the server makes of them."""

from __future__ import annotations

from typing import Any

from crd_world import WIDGETS, World, version, widget

STATUS = {"subresources": {"status": {}}}
SCALE: dict[str, Any] = {
    "subresources": {
        "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.ready"}
    }
}


def test_unknown_fields_are_dropped_and_defaults_filled_in(world: World) -> None:
    world.define()
    answer = world.ask("POST", WIDGETS, widget(spec={"size": 1, "weight": 3}))
    assert answer.status == 201
    assert world.get(f"{WIDGETS}/a")["spec"] == {"size": 1, "colour": "red"}
    assert ("Warning", '299 - "unknown field \\"spec.weight\\""') in answer.headers


def test_a_strict_client_is_refused_unknown_fields(world: World) -> None:
    world.define()
    obj = widget(spec={"weight": 3})
    answer = world.ask("POST", WIDGETS, obj, fieldValidation="Strict")
    assert answer.status == 400
    assert answer.obj is not None
    assert answer.obj["message"].endswith('strict decoding error: unknown field "spec.weight"')


def test_what_breaks_the_schema_is_refused(world: World) -> None:
    world.define()
    answer = world.ask("POST", WIDGETS, widget(spec={"size": -1}))
    assert answer.status == 422
    assert answer.obj is not None
    assert answer.obj["details"]["causes"][0]["field"] == "spec.size"


def test_all_but_the_metadata_raises_the_generation(world: World) -> None:
    world.define()
    world.ask("POST", WIDGETS, widget(spec={"size": 1}))
    merge = "merge-patch+json"
    world.ask("PATCH", f"{WIDGETS}/a", {"metadata": {"labels": {"x": "y"}}}, kind=merge)
    assert world.get(f"{WIDGETS}/a")["metadata"]["generation"] == 1
    world.ask("PATCH", f"{WIDGETS}/a", {"spec": {"size": 2}}, kind=merge)
    assert world.get(f"{WIDGETS}/a")["metadata"]["generation"] == 2


def test_status_and_spec_are_written_apart(world: World) -> None:
    world.define(version(**STATUS))
    world.ask("POST", WIDGETS, widget(spec={"size": 1}, status={"ready": 9}))
    assert "status" not in world.get(f"{WIDGETS}/a")
    patch = {"status": {"ready": 1}, "spec": {"size": 7}, "metadata": {"labels": {"x": "y"}}}
    world.ask("PATCH", f"{WIDGETS}/a/status", patch, kind="merge-patch+json")
    found = world.get(f"{WIDGETS}/a")
    assert found["status"] == {"ready": 1}
    assert found["spec"]["size"] == 1
    assert "labels" not in found["metadata"]
    assert found["metadata"]["generation"] == 1


def test_without_the_subresource_there_is_no_status_to_ask(world: World) -> None:
    world.define()
    world.ask("POST", WIDGETS, widget())
    answer = world.ask("GET", f"{WIDGETS}/a/status")
    assert answer.status == 404
    assert answer.obj is not None
    assert answer.obj["reason"] == "NotFound"


def test_the_scale_is_where_the_definition_says(world: World) -> None:
    world.define(version(**SCALE))
    world.ask("POST", WIDGETS, widget(spec={"size": 1}))
    world.ask("PATCH", f"{WIDGETS}/a/scale", {"spec": {"replicas": 4}}, kind="merge-patch+json")
    assert world.get(f"{WIDGETS}/a")["spec"]["size"] == 4
    assert world.get(f"{WIDGETS}/a/scale")["spec"] == {"replicas": 4}


def test_a_scale_without_replicas_is_an_internal_error(world: World) -> None:
    world.define(version(**SCALE))
    world.ask("POST", WIDGETS, widget(spec={}))
    answer = world.ask("GET", f"{WIDGETS}/a/scale")
    assert answer.status == 500


def test_an_object_is_served_in_every_version_and_stored_in_one(world: World) -> None:
    world.define(version(), version("v2"))
    world.ask("POST", WIDGETS.replace("v1", "v2"), widget(api_version="example.com/v2"))
    assert world.get(f"{WIDGETS}/a")["apiVersion"] == "example.com/v1"
    assert world.get(f"{WIDGETS.replace('v1', 'v2')}/a")["apiVersion"] == "example.com/v2"
    stored = world.member.store.latest("/registry/example.com/widgets/default/a")
    assert stored is not None
    assert stored.value["apiVersion"] == "example.com/v1"


def test_a_deprecated_version_warns(world: World) -> None:
    world.define(version("v1beta1", deprecated=True, storage=False), version())
    answer = world.ask("GET", WIDGETS.replace("v1", "v1beta1"))
    warning = "example.com/v1beta1 Widget is deprecated; use example.com/v1 Widget"
    assert ("Warning", f'299 - "{warning}"') in answer.headers


def test_fields_that_the_definition_names_can_be_selected_by(world: World) -> None:
    world.define(version(selectableFields=[{"jsonPath": ".spec.colour"}]))
    world.ask("POST", WIDGETS, widget("a", spec={"colour": "blue"}))
    world.ask("POST", WIDGETS, widget("b"))
    answer = world.ask("GET", WIDGETS, fieldSelector="spec.colour=blue")
    assert answer.obj is not None
    assert [item["metadata"]["name"] for item in answer.obj["items"]] == ["a"]
    assert world.ask("GET", WIDGETS, fieldSelector="spec.size=1").status == 400


def test_applied_fields_are_owned_one_by_one(world: World) -> None:
    world.define()
    for manager, spec in (("one", {"size": 1}), ("two", {"colour": "blue"})):
        world.ask(
            "PATCH",
            f"{WIDGETS}/a",
            widget(spec=spec),
            kind="apply-patch+yaml",
            fieldManager=manager,
            force="true",
        )
    assert world.get(f"{WIDGETS}/a")["spec"] == {"size": 1, "colour": "blue"}
    answer = world.ask(
        "PATCH",
        f"{WIDGETS}/a",
        widget(spec={"size": 2}),
        kind="apply-patch+yaml",
        fieldManager="two",
    )
    assert answer.status == 409


def test_a_watch_tells_of_objects(world: World) -> None:
    world.define()
    stream = world.open("GET", WIDGETS, watch="true")
    world.ask("POST", WIDGETS, widget())
    world.ask("DELETE", f"{WIDGETS}/a")
    types = [stream.next_nowait().type for _ in range(2)]
    assert types == ["ADDED", "DELETED"]


def test_whole_floats_are_integers(world: World) -> None:
    world.define()
    world.ask("POST", WIDGETS, widget(spec={"size": 3.0}))
    size = world.get(f"{WIDGETS}/a")["spec"]["size"]
    assert (size, type(size)) == (3, int)


def test_openapi_tells_of_the_kind(world: World) -> None:
    import json

    world.define()
    answer = world.ask("GET", "/openapi/v3/apis/example.com/v1")
    document = json.loads(answer.encoded())
    model = document["components"]["schemas"]["com.example.v1.Widget"]
    assert set(model["properties"]) == {"apiVersion", "kind", "metadata", "spec", "status"}


WEBHOOK: dict[str, Any] = {
    "strategy": "Webhook",
    "webhook": {
        "clientConfig": {"url": "https://hook.example.com/convert"},
        "conversionReviewVersions": ["v1"],
    },
}


def _with_webhook(world: World) -> None:
    from crd_world import DEFINITIONS, definition

    crd = definition(version(), version("v2"))
    crd["spec"]["conversion"] = WEBHOOK
    assert world.ask("POST", DEFINITIONS, crd).status == 201


def test_conversion_by_a_webhook_that_is_not_there_fails(world: World) -> None:
    _with_webhook(world)
    world.ask("POST", WIDGETS, widget())
    assert world.ask("GET", f"{WIDGETS}/a").status == 200
    answer = world.ask("GET", f"{WIDGETS.replace('v1', 'v2')}/a")
    assert answer.status == 500
    assert "dial tcp: lookup hook.example.com: no such host" in answer.obj["message"]


def test_a_webhook_converts_between_versions(world: World) -> None:
    def hook(config: dict[str, Any], review: dict[str, Any]) -> dict[str, Any]:
        assert config == WEBHOOK["webhook"]["clientConfig"]
        request = review["request"]
        converted = [
            {**obj, "apiVersion": request["desiredAPIVersion"], "spec": {"colour": "green"}}
            for obj in request["objects"]
        ]
        response = {"uid": request["uid"], "result": {"status": "Success"}}
        return {**review, "response": {**response, "convertedObjects": converted}}

    world.server.conversion_webhook = hook
    _with_webhook(world)
    world.ask("POST", WIDGETS, widget(spec={"size": 1}))
    assert world.get(f"{WIDGETS.replace('v1', 'v2')}/a")["spec"] == {"colour": "green"}


def test_a_webhook_that_changes_the_name_is_refused(world: World) -> None:
    def hook(config: dict[str, Any], review: dict[str, Any]) -> dict[str, Any]:
        del config
        request = review["request"]
        renamed = {
            **request["objects"][0],
            "apiVersion": request["desiredAPIVersion"],
            "metadata": {"name": "other"},
        }
        response = {"uid": request["uid"], "result": {"status": "Success"}}
        return {**review, "response": {**response, "convertedObjects": [renamed]}}

    world.server.conversion_webhook = hook
    _with_webhook(world)
    answer = world.ask("POST", WIDGETS.replace("v1", "v2"), widget(api_version="example.com/v2"))
    assert answer.status == 500
    assert answer.obj is not None
    assert answer.obj["message"].endswith("must have the same name: a != other")
