"""Aggregated API servers that are Python applications of the test."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_kubesim.errors import UsageError

GROUP = "wid.example.com"
ROOT = f"/apis/{GROUP}/v1"
DISCOVERY = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{GROUP}/v1",
    "resources": [
        {
            "name": "widgets",
            "singularName": "widget",
            "namespaced": True,
            "kind": "Widget",
            "verbs": ["get", "list", "watch", "create"],
            "shortNames": ["wg"],
        },
        {
            "name": "widgets/status",
            "singularName": "",
            "namespaced": True,
            "kind": "Widget",
            "verbs": ["get"],
        },
    ],
}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def widgets(request: Any) -> Any:
    if request.path == ROOT:
        return DISCOVERY
    if request.verb == "watch":
        return iter(
            {"type": "ADDED", "object": {"kind": "Widget", "metadata": {"name": f"w{i}"}}}
            for i in range(3)
        )
    if request.resource == "widgets":
        return {
            "kind": "Widget",
            "apiVersion": f"{GROUP}/v1",
            "metadata": {"name": request.name, "namespace": request.namespace},
            "headers": [list(pair) for pair in request.headers],
            "query": [list(pair) for pair in request.query],
            "sent": request.object,
        }
    return None


def http(kubesim: Any) -> Any:
    return kubesim.client("httpx")


def condition(kubesim: Any) -> tuple[str, str, str]:
    found = kubesim.get(f"apiservice/v1.{GROUP}")["status"]["conditions"][0]
    return found["status"], found["reason"], found["message"]


def test_a_function_stands_for_an_api_server(kubesim: Any) -> None:
    service = kubesim.api_service(f"v1.{GROUP}", widgets)
    assert condition(kubesim) == ("True", "Passed", "all checks passed")
    answer = http(kubesim).get(
        f"{ROOT}/namespaces/default/widgets/w?b=x%20y&a=1",
        headers={"X-Remote-User": "evil", "X-Remote-Extra-Foo": "evil", "X-Mine": "1"},
    )
    assert answer.status_code == 200
    said = answer.json()
    assert said["metadata"] == {"name": "w", "namespace": "default"}
    assert said["query"] == [["a", "1"], ["b", "x y"]]
    headers = dict(said["headers"])
    assert headers["x-mine"] == "1"
    assert headers["x-forwarded-uri"] == f"{ROOT}/namespaces/default/widgets/w"
    assert "authorization" not in headers
    assert headers["x-remote-user"] != "evil"
    assert "x-remote-extra-foo" not in headers
    assert "system:masters" in service.requests[-1].user.groups


def test_a_watch_comes_piece_by_piece(kubesim: Any) -> None:
    kubesim.api_service(f"v1.{GROUP}", widgets)
    text = http(kubesim).get(f"{ROOT}/widgets?watch=1").text
    assert [json.loads(line)["object"]["metadata"]["name"] for line in text.splitlines()] == [
        "w0",
        "w1",
        "w2",
    ]


def test_its_resources_are_in_both_forms_of_discovery(kubesim: Any) -> None:
    kubesim.api_service(f"v1.{GROUP}", widgets)
    client = http(kubesim)
    groups = client.get("/apis", headers={"Accept": AGGREGATED}).json()["items"]
    found = next(group for group in groups if group["metadata"]["name"] == GROUP)
    assert found["versions"] == [
        {
            "version": "v1",
            "resources": [
                {
                    "resource": "widgets",
                    "responseKind": {"group": "", "version": "", "kind": "Widget"},
                    "scope": "Namespaced",
                    "singularResource": "widget",
                    "verbs": ["get", "list", "watch", "create"],
                    "shortNames": ["wg"],
                    "subresources": [
                        {
                            "subresource": "status",
                            "responseKind": {"group": "", "version": "", "kind": "Widget"},
                            "verbs": ["get"],
                        }
                    ],
                }
            ],
            "freshness": "Current",
        }
    ]
    legacy = client.get("/apis").json()["groups"]
    assert legacy[-1]["name"] == GROUP
    assert client.get(f"/apis/{GROUP}").json()["preferredVersion"]["version"] == "v1"
    assert client.get(f"/apis/{GROUP}/v2").text == "404 page not found\n"


def test_a_high_priority_puts_a_group_before_ours(kubesim: Any) -> None:
    kubesim.api_service(f"v1.{GROUP}", widgets, group_priority_minimum=17_850)
    names = [group["name"] for group in http(kubesim).get("/apis").json()["groups"]]
    assert names.index("apiregistration.k8s.io") == 0
    assert names.index(GROUP) < names.index("apps")


def test_a_server_that_went_is_unavailable_after_a_while(kubesim: Any) -> None:
    service = kubesim.api_service(f"v1.{GROUP}", widgets)
    client = http(kubesim)
    service.remove()
    answer = client.get(f"{ROOT}/widgets/w")
    assert answer.status_code == 503
    assert answer.text.startswith("error trying to reach service: dial tcp")
    kubesim.advance("31s")
    status, reason, message = condition(kubesim)
    assert (status, reason) == ("False", "FailedDiscoveryCheck")
    assert message.startswith("failing or missing response from https://")
    assert client.get(f"{ROOT}/widgets/w").text == "service unavailable\n"
    groups = client.get("/apis", headers={"Accept": AGGREGATED}).json()["items"]
    found = next(group for group in groups if group["metadata"]["name"] == GROUP)
    assert found["versions"] == [{"version": "v1", "freshness": "Stale"}]


def test_redirects_are_not_passed_on(kubesim: Any) -> None:
    from pytest_kubesim.wire import Response

    def elsewhere(request: Any) -> Any:
        if request.path == ROOT:
            return DISCOVERY
        return Response(302, None, b"", headers=(("Location", "/api/v1/secrets"),))

    kubesim.api_service(f"v1.{GROUP}", elsewhere)
    answer = http(kubesim).get(f"{ROOT}/widgets/w")
    assert answer.status_code == 502
    assert answer.text == "the backend attempted to redirect this request, which is not permitted"


def test_a_failing_application_breaks_the_connection_off(kubesim: Any) -> None:
    def failing(request: Any) -> Any:
        if request.path == ROOT:
            return DISCOVERY
        raise ValueError("no")

    kubesim.api_service(f"v1.{GROUP}", failing)
    answer = http(kubesim).get(f"{ROOT}/widgets/w")
    assert (answer.status_code, answer.text) == (503, "error trying to reach service: EOF\n")


def test_a_wsgi_application_stands_for_an_api_server(kubesim: Any) -> None:
    def application(environ: Any, start_response: Any) -> Any:
        body = json.dumps(
            DISCOVERY
            if environ["PATH_INFO"] == ROOT
            else {"kind": "Widget", "user": environ["HTTP_X_REMOTE_USER"],
                  "sent": environ["wsgi.input"].read().decode()}
        ).encode()
        start_response("200 OK", [("Content-Type", "application/json"),
                                  ("Content-Length", str(len(body)))])
        return [body]

    kubesim.api_service(f"v1.{GROUP}", application)
    answer = http(kubesim).post(f"{ROOT}/namespaces/default/widgets", json={"a": 1})
    assert json.loads(answer.json()["sent"]) == {"a": 1}


def test_an_asgi_application_lives_on_virtual_time(kubesim: Any) -> None:
    import asyncio

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        message = await receive()
        if scope["path"] == ROOT:
            body = json.dumps(DISCOVERY).encode()
        else:
            await asyncio.sleep(3)
            body = b"late:" + message["body"]
        headers = [(b"content-type", b"application/json"),
                   (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    kubesim.api_service(f"v1.{GROUP}", application)
    before = kubesim.clock.time
    assert http(kubesim).post(f"{ROOT}/widgets", content=b"x").text == "late:x"
    assert 3 <= kubesim.clock.time - before < 4


def test_manifests_may_have_registered_it(kubesim: Any) -> None:
    kubesim.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api"},
         "spec": {"type": "ExternalName", "externalName": "api.example.com"}},
        {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
         "metadata": {"name": f"v1.{GROUP}"},
         "spec": {"group": GROUP, "version": "v1", "groupPriorityMinimum": 1000,
                  "versionPriority": 15, "insecureSkipTLSVerify": True,
                  "service": {"name": "api", "namespace": "default", "port": 8443}}},
    )
    kubesim.advance("1s")
    status, reason, message = condition(kubesim)
    assert (status, reason) == ("False", "FailedDiscoveryCheck")
    assert "dial tcp: lookup api.example.com: no such host" in message
    kubesim.api_service(f"v1.{GROUP}", widgets)
    kubesim.eventually(f"apiservice/v1.{GROUP}", lambda o: condition(kubesim)[0] == "True",
                       within="31s")


def test_what_is_no_answer_fails_the_test(kubesim: Any) -> None:
    with pytest.raises(UsageError, match="7 is no answer"):
        kubesim.api_service(f"v1.{GROUP}", lambda _request: 7)


def test_its_documents_are_merged_into_ours(kubesim: Any) -> None:
    model = {"type": "object", "properties": {"spec": {"type": "object"}}}
    v2 = {
        "swagger": "2.0",
        "paths": {
            f"{ROOT}/widgets": {"get": {"responses": {"200": {"schema": {
                "$ref": "#/definitions/com.example.wid.v1.Widget"}}}}},
            "/apis/apps/v1/deployments": {},
        },
        "definitions": {"com.example.wid.v1.Widget": model, "unused": {}},
    }

    def application(request: Any) -> Any:
        return {
            ROOT: DISCOVERY,
            "/openapi/v2": v2,
            "/openapi/v3": {"paths": {ROOT[1:]: {"serverRelativeURL": "/openapi/v3/x?hash=AB"}}},
            f"/openapi/v3{ROOT}": {"openapi": "3.0.0"},
        }.get(request.path)

    kubesim.api_service(f"v1.{GROUP}", application)
    client = http(kubesim)
    document = client.get("/openapi/v2").json()
    assert document["definitions"]["com.example.wid.v1.Widget"] == model
    assert "unused" not in document["definitions"]
    assert document["paths"]["/apis/apps/v1/deployments"] != {}
    index = client.get("/openapi/v3").json()["paths"]
    assert index[ROOT[1:]] == {"serverRelativeURL": "/openapi/v3/x?hash=AB"}
    assert client.get(f"/openapi/v3{ROOT}").json() == {"openapi": "3.0.0"}


def test_rights_are_decided_before_the_other_server_is_asked(kubesim: Any) -> None:
    service = kubesim.api_service(f"v1.{GROUP}", widgets)
    asked = len(service.requests)
    answer = http(kubesim).get(f"{ROOT}/widgets/w", headers={"Impersonate-User": "eve"})
    assert answer.status_code == 403
    assert len(service.requests) == asked


def test_unknown_options_are_refused(kubesim: Any) -> None:
    with pytest.raises(UsageError, match="unknown option 'port'"):
        kubesim.api_service(f"v1.{GROUP}", widgets, port=3)
    with pytest.raises(UsageError, match="version.group"):
        kubesim.api_service("metrics", widgets)
