"""Faults of webhooks: what the API server says when they do not answer, or answer something else."""

import pytest

from pytest_kubesim.apimachinery.status import APIStatus

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"},
       "spec": {"containers": [{"name": "c", "image": "x.org/x"}]}}


def test_a_webhook_times_out_refuses_fails_and_answers_something_else(kubesim):
    asked = []

    @kubesim.webhook("pods", url="https://policy.example.com/", timeout=5, name="policy.example.com")
    def policy(request):
        asked.append(request)

    http = kubesim.client("httpx")

    def post():
        return http.post("/api/v1/namespaces/default/pods?dryRun=All", json=POD, timeout=60)

    assert post().status_code == 201
    f = kubesim.faults.webhook("policy.example.com")
    f.refuse()
    assert "connect: connection refused" in post().json()["message"]
    f.time_out()
    before = kubesim.clock.time
    assert "context deadline exceeded" in post().json()["message"]
    assert kubesim.clock.time - before == pytest.approx(5, abs=0.1)
    f.fail(503)
    assert "an error on the server (503)" in post().json()["message"]
    f.answer({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": "x", "allowed": True}})
    assert "expected response.uid" in post().json()["message"]
    assert post().status_code == 201
    assert len(asked) == 2


def test_a_webhook_is_called_and_its_answer_lost(kubesim):
    @kubesim.webhook("configmaps")
    def policy(request):
        return True

    kubesim.faults.webhook(policy.url.split("/")[2]).apply_but_drop_answer()
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    with pytest.raises(APIStatus, match="EOF"):
        kubesim.create(made)
    assert policy.calls == 1
    kubesim.create(made)
    assert policy.calls == 2
