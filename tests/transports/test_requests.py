"""requests (urllib3)."""

from __future__ import annotations

import json
import os

import pytest

requests = pytest.importorskip("requests")

PATH = "/api/v1/namespaces/default/configmaps"


def code_of(line):
    answer = json.loads(line)
    return answer.get("object", answer)["code"]


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_the_verbs(kubesim):
    session = kubesim.client("requests")
    assert session.post(PATH, json=config_map("a", x="1")).status_code == 201
    assert session.post(PATH, json=config_map("a")).status_code == 409
    assert session.head(PATH + "/a").text == ""
    merge = {"content-type": "application/merge-patch+json"}
    patched = session.patch(PATH + "/a", data=json.dumps({"data": {"y": "2"}}), headers=merge)
    assert patched.json()["data"] == {"x": "1", "y": "2"}
    assert session.delete(PATH + "/a").ok
    assert session.get(PATH + "/a").status_code == 404
    kubesim.faults.api(client="test", verb="get", resource="configmaps").fail(429, retry_after=3)
    assert session.get(PATH + "/a").headers["Retry-After"] == "3"


def test_a_watch_is_streamed(kubesim):
    kubesim.faults.api_server().restart()  # it knows of nothing that was before
    session = kubesim.client("requests")
    kubesim.create(config_map("a"))
    with session.get(PATH, params={"watch": "1", "timeoutSeconds": "30"}, stream=True) as stream:
        kinds = [json.loads(line)["type"] for line in stream.iter_lines()]
    assert kinds == ["ADDED"]
    assert 30 <= kubesim.clock.time < 31
    old = session.get(PATH, params={"watch": "1", "resourceVersion": "1"})
    assert code_of(old.text.splitlines()[0]) == 410


def test_the_address_of_a_pod_works_too(kubesim):
    host = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    with open(f"{folder}/token") as file:
        token = file.read()
    answer = requests.get(host + PATH, headers={"Authorization": f"Bearer {token}"}, verify=f"{folder}/ca.crt", timeout=5)
    assert answer.json()["kind"] == "ConfigMapList"
    assert requests.get(host + PATH, headers={"Authorization": "Bearer nonsense"}, verify=f"{folder}/ca.crt", timeout=5).status_code == 401


def test_a_read_times_out_in_virtual_time(kubesim):
    kubesim.faults.api(client="test", verb="get", resource="configmaps").delay("1h", times=None)
    with pytest.raises(requests.exceptions.ReadTimeout):
        kubesim.client("requests").get(PATH + "/a", timeout=20)
    assert kubesim.clock.time == 20


def test_another_host_is_left_alone(kubesim):
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get("http://127.0.0.1:9/", timeout=5)


def test_a_client_outlives_its_cluster_with_a_clear_error(kubesim_factory):
    first = kubesim_factory()
    session = first.client("requests")
    assert session.get(PATH).ok
    first.close()
    second = kubesim_factory()
    with pytest.raises(requests.exceptions.ConnectionError, match="its test is over"):
        session.get(PATH)
    assert second.client("requests").get(PATH).ok
