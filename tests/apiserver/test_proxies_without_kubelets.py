"""What an API server answers that is asked to lead to nodes, pods and services where nothing runs."""

import pytest

NODES, HERE = "/api/v1/nodes", "/api/v1/namespaces/default"


def pod(name: str, node: str = "") -> dict:
    spec = {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]}
    return {"metadata": {"name": name}, "spec": {**spec, "nodeName": node} if node else spec}


@pytest.mark.kubesim(components="apiserver")
def test_nothing_is_reached_and_upstream_says_why(kubesim):
    http = kubesim.client("httpx")
    address = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}
    http.post(NODES, json={"metadata": {"name": "bare"}})
    http.post(NODES, json={"metadata": {"name": "here"}, "status": address})
    http.post(f"{HERE}/serviceaccounts", json={"metadata": {"name": "default"}})
    for each in (pod("waits"), pod("bound", "bare"), pod("lost", "gone")):
        assert http.post(f"{HERE}/pods", json=each).status_code == 201
    http.post(f"{HERE}/services", json={"metadata": {"name": "web"}, "spec": {"ports": [{"name": "http", "port": 80}]}})
    for path, code, message in (
        (f"{NODES}/nope/proxy/", 404, 'nodes "nope" not found'),
        (f"{NODES}/bare/proxy/healthz", 500, "no preferred addresses found; known addresses: []"),
        (f"{NODES}/here/proxy/healthz", 400, "address not allowed"),
        (f"{NODES}/https:here:1/proxy/", 400, "address not allowed"),
        (f"{NODES}/ftp:bare:1/proxy/", 400, 'invalid node request "ftp:bare:1"'),
        (f"{HERE}/pods/nope/proxy/", 404, 'pods "nope" not found'),
        (f"{HERE}/pods/waits/proxy/", 400, "address not allowed"),
        (f"{HERE}/pods/waits/exec?command=ls&stdout=1", 400, "pod waits does not have a host assigned"),
        (f"{HERE}/pods/bound/log", 500, "no preferred addresses found; known addresses: []"),
        (f"{HERE}/pods/lost/exec?command=ls&stdout=1", 404, None),
        (f"{HERE}/services/nope/proxy/", 503, 'no endpoints available for service "nope"'),
        (f"{HERE}/services/http:web:http/proxy/", 503, 'no endpoints available for service "web"'),
    ):
        answer = http.get(path)
        assert answer.status_code == code, path
        assert message is None or answer.json()["message"] == message
    assert http.get(f"{HERE}/pods/waits/log").status_code == 204
