"""The remote control of a served cluster: what a test in another language can say."""

from __future__ import annotations

import base64
import gzip
import json
import threading
import time

import pytest
import served
import yaml

from pytest_kubesim.errors import UsageError
from pytest_kubesim.transports import control_openapi, fault_language

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
ROOT = "/kubesim/v1"
AGENT = {"User-Agent": "manager/v1 (linux/amd64)"}


# -- faults as text --------------------------------------------------------------------------------


def test_a_fault_is_a_chain_of_calls_with_literal_arguments():
    links = fault_language.from_text("kubesim.faults.api(client='m', verb=('get', 'list')).fail(409, times=2)")
    assert links == [("api", (), {"client": "m", "verb": ("get", "list")}), ("fail", (409,), {"times": 2})]


def test_the_parts_of_a_fault_say_the_same_as_its_text():
    parts = {"target": "api", "match": {"verb": ["get", "list"]}, "effect": "fail", "options": {"code": 409}}
    assert fault_language.from_parts(parts) == [
        ("api", (), {"verb": ("get", "list")}), ("fail", (), {"code": 409}),
    ]


@pytest.mark.parametrize(
    "text",
    ["", "1 +", "open('x')", "kubesim.faults", "kubesim.faults.api(client=open('x')).reset()", "__import__('os').faults.x()",
     "kubesim.faults.api().reset()()"],
)
def test_what_is_no_chain_on_kubesim_faults_is_refused(text):
    with pytest.raises(UsageError, match="faults"):
        fault_language.from_text(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kubesim.faults.api().explode()", "there is no 'explode'; there are"),
        ("kubesim.faults._arm_api(1)", "there is no '_arm_api'"),
        ("kubesim.faults.api(color='red').reset()", "unknown option 'color'; the options are client="),
        ("kubesim.faults.api()", "say what happens"),
        ("kubesim.faults.api().fail(200)", "does not fail with 200"),
        ("kubesim.faults.clear()", "there is no 'clear'"),
    ],
)
def test_names_and_arguments_that_there_are_not_are_refused_with_those_there_are(kubesim, text, told):
    with pytest.raises(UsageError) as refused:
        fault_language.arm(kubesim.faults, fault_language.from_text(text))
    assert told in str(refused.value)


def test_what_a_fault_prints_arms_it_again(kubesim):
    armed = kubesim.faults.api(client="manager", verb="write").fail(409, times=None, after=2)
    again = fault_language.arm(kubesim.faults, fault_language.from_text(repr(armed.fault)))
    assert again is not armed
    assert again.fault == armed.fault
    kubesim.faults.armed.clear()


# -- over the wire ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    server = served.Served("--components", "controllers", "--instant")
    yield server
    complaints = server.stderr()
    assert server.stop() == 0
    assert not complaints


@pytest.fixture(autouse=True)
def clean(request):
    yield
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        server.ask("DELETE", f"{ROOT}/faults")
        server.ask("POST", f"{ROOT}/clock/freeze", {"frozen": False})


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


pytestmark: list[pytest.MarkDecorator] = []
slow = pytest.mark.slow


@slow
def test_only_masters_may_use_it_and_anybody_may_read_its_description(server):
    assert server.ask("GET", f"{ROOT}/faults", token=None)[0] == 401
    assert server.ask("GET", f"{ROOT}/faults", token="wrong")[0] == 401
    status, token = server.ask(
        "POST", "/api/v1/namespaces/kube-system/serviceaccounts/default/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"},
    )
    if status == 201:
        assert server.ask("GET", f"{ROOT}/clock", token=token["status"]["token"])[0] == 403
    status, document = server.ask("GET", f"{ROOT}/openapi.json", token=None)
    assert (status, document["openapi"]) == (200, "3.0.3")


@slow
def test_the_description_has_every_path_and_method(server):
    _, index = server.ask("GET", ROOT)
    assert {ROOT + path for path in control_openapi.document()["paths"]} == set(index["paths"])
    assert server.ask("PATCH", f"{ROOT}/faults", {})[0] == 405
    assert server.ask("GET", f"{ROOT}/nowhere")[0] == 404


@slow
def test_the_answer_to_an_operators_next_update_is_dropped(server):
    server.ask("POST", CONFIG_MAPS, config_map("dropped", a="1"))
    status, fault = server.ask(
        "POST", f"{ROOT}/faults", {"fault": "kubesim.faults.api(client='manager', verb='update').apply_but_drop_answer()"}
    )
    assert (status, fault["armed"], fault["struck"]) == (201, True, 0)
    server.ask("PUT", f"{CONFIG_MAPS}/dropped", config_map("dropped", a="2"))  # somebody else
    with pytest.raises(ConnectionError):
        server.ask("PUT", f"{CONFIG_MAPS}/dropped", config_map("dropped", a="3"), headers=AGENT)
    _, fault = server.ask("GET", f"{ROOT}/faults/{fault['id']}")
    assert (fault["armed"], fault["struck"]) == (False, 1)
    assert server.ask("GET", f"{CONFIG_MAPS}/dropped")[1]["data"] == {"a": "3"}
    assert server.ask("PUT", f"{CONFIG_MAPS}/dropped", config_map("dropped", a="4"), headers=AGENT)[0] == 200


@slow
def test_faults_are_listed_and_ended(server):
    parts = {"target": "api", "match": {"client": "manager"}, "effect": "fail", "options": {"code": 500, "times": None}}
    _, fault = server.ask("POST", f"{ROOT}/faults", parts)
    assert server.ask("GET", CONFIG_MAPS, headers=AGENT)[0] == 500
    assert server.ask("GET", f"{ROOT}/faults")[1]["items"][-1]["struck"] == 1
    assert server.ask("DELETE", f"{ROOT}/faults/{fault['id']}")[1]["armed"] is False
    assert server.ask("GET", CONFIG_MAPS, headers=AGENT)[0] == 200
    assert server.ask("GET", f"{ROOT}/faults/999")[0] == 404
    status, refusal = server.ask("POST", f"{ROOT}/faults", {"fault": "kubesim.faults.api().explode()"})
    assert (status, refusal["reason"]) == (400, "BadRequest")


@slow
def test_hours_passes_at_once_and_what_falls_due_has_run(server):
    job = {
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "hourly"},
        "spec": {"schedule": "0 * * * *", "jobTemplate": {"spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}},
    }
    assert server.ask("POST", "/apis/batch/v1/namespaces/default/cronjobs", job)[0] == 201
    _, before = server.ask("GET", f"{ROOT}/clock")
    began = time.monotonic()
    status, after = server.ask("POST", f"{ROOT}/clock/advance", {"duration": "2h"})
    assert status == 200
    assert after["elapsedSeconds"] - before["elapsedSeconds"] >= 7200
    assert time.monotonic() - began < 60
    _, jobs = server.ask("GET", "/apis/batch/v1/namespaces/default/jobs")
    assert len(jobs["items"]) == 2
    server.ask("DELETE", "/apis/batch/v1/namespaces/default/cronjobs/hourly?propagationPolicy=Background")
    assert server.ask("POST", f"{ROOT}/clock/advance", {"duration": "soon"})[0] == 400


@slow
def test_a_frozen_clock_stands_and_watches_go_on(server):
    _, clock = server.ask("POST", f"{ROOT}/clock/freeze", {})
    assert clock["frozen"] is True
    time.sleep(0.05)
    assert server.ask("GET", f"{ROOT}/clock")[1]["now"] == clock["now"]
    server.ask("POST", CONFIG_MAPS, config_map("in-the-ice"))
    connection = server.connect(timeout=5)
    connection.request(
        "GET", f"{CONFIG_MAPS}?watch=1&fieldSelector=metadata.name%3Din-the-ice",
        headers={"Authorization": f"Bearer {served.TOKEN}"},
    )
    watch = connection.getresponse()
    assert json.loads(watch.readline())["type"] == "ADDED"
    server.ask("DELETE", f"{CONFIG_MAPS}/in-the-ice")
    assert json.loads(watch.readline())["type"] == "DELETED"
    connection.close()
    _, later = server.ask("POST", f"{ROOT}/clock/advance", {"duration": "90s"})
    assert later["elapsedSeconds"] == pytest.approx(clock["elapsedSeconds"] + 90)
    assert server.ask("POST", f"{ROOT}/clock/freeze", {"frozen": False})[1]["frozen"] is False


@slow
def test_the_clock_goes_faster(server):
    status, clock = server.ask("POST", f"{ROOT}/clock/scale", {"scale": 1000})
    assert (status, clock["scale"]) == (200, 1000)
    time.sleep(0.1)
    assert server.ask("GET", f"{ROOT}/clock")[1]["elapsedSeconds"] > clock["elapsedSeconds"] + 50
    assert server.ask("POST", f"{ROOT}/clock/scale", {"scale": 0})[0] == 400
    server.ask("POST", f"{ROOT}/clock/scale", {"scale": 1})


@slow
def test_settle_waits_for_controllers_and_for_clients_outside(server):
    deployment = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}},
    }
    server.ask("POST", "/apis/apps/v1/namespaces/default/deployments", deployment)

    def slowly():
        for number in range(4):
            time.sleep(0.1)
            server.ask("POST", CONFIG_MAPS, config_map(f"outside-{number}"))

    client = threading.Thread(target=slowly)
    client.start()
    status, said = server.ask("POST", f"{ROOT}/settle", {"timeout": "30m"}, timeout=60)
    assert status == 200, said.get("message")
    assert not client.is_alive()
    assert len(server.ask("GET", "/api/v1/namespaces/default/pods?labelSelector=app%3Dweb")[1]["items"]) == 3


@slow
def test_the_journal_tells_who_asked_for_what_and_goes_on_where_it_ended(server):
    _, page = server.ask("GET", f"{ROOT}/journal?limit=1000000")
    server.ask("GET", f"{CONFIG_MAPS}/nobody", headers=AGENT)
    _, page = server.ask("GET", f"{ROOT}/journal?since={page['next']}&kind=request&actor=manager")
    assert [(e["actor"], e["fields"]["verb"], e["fields"]["code"]) for e in page["items"]] == [("manager", "get", 404)]
    assert server.ask("GET", f"{ROOT}/journal?since={page['next']}&actor=manager")[1]["items"] == []
    for limit in ("-1", "0", "many"):
        code, refused = server.ask("GET", f"{ROOT}/journal?limit={limit}")
        assert (code, refused["message"]) == (400, f"limit={limit!r}: give a whole number from 1 on")


@slow
def test_a_snapshot_brings_back_what_was_there_and_nothing_else(server):
    server.ask("POST", CONFIG_MAPS, config_map("kept", a="1"))
    status, taken = server.ask("PUT", f"{ROOT}/snapshots/clean")
    assert (status, taken["name"]) == (201, "clean")
    server.ask("PUT", f"{CONFIG_MAPS}/kept", config_map("kept", a="2"))
    server.ask("POST", CONFIG_MAPS, config_map("new"))
    assert server.ask("POST", f"{ROOT}/snapshots/clean/restore")[0] == 200
    assert server.ask("GET", f"{CONFIG_MAPS}/kept")[1]["data"] == {"a": "1"}
    assert server.ask("GET", f"{CONFIG_MAPS}/new")[0] == 404
    assert server.ask("GET", f"{ROOT}/snapshots")[1]["items"] == ["clean"]
    assert server.ask("POST", f"{ROOT}/snapshots/none/restore")[0] == 404
    _, backup = server.ask("GET", f"{ROOT}/snapshot")
    server.ask("DELETE", f"{CONFIG_MAPS}/kept")
    body = gzip.compress(json.dumps(backup).encode())
    status, restored = server.ask("PUT", f"{ROOT}/snapshot", body, headers={"Content-Encoding": "gzip"})
    assert status == 200
    assert restored["changes"] >= 1
    assert server.ask("GET", f"{CONFIG_MAPS}/kept")[0] == 200
    assert server.ask("PUT", f"{ROOT}/snapshot", {"keys": []})[0] == 400


@slow
def test_a_client_certificate_of_the_admin_is_enough(server):
    import http.client

    user = yaml.safe_load(server.kubeconfig.read_text())["users"][0]["user"]
    pem = server.folder / "admin.pem"
    pem.write_bytes(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
    context = server.context()
    context.load_cert_chain(pem)
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=10)
    connection.request("GET", f"{ROOT}/clock")
    assert connection.getresponse().status == 200
    connection.close()
