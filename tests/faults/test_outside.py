"""Clients outside, on sockets, are told apart as those inside: by user agent, user and account."""

import pytest
import served

PATH = "/api/v1/namespaces/default/configmaps"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


@pytest.fixture(scope="module")
def cluster():
    found = served.Served("--components", "apiserver")
    yield found
    found.stop()


def arm(cluster, text):
    status, body = cluster.ask("POST", "/kubesim/v1/faults", {"fault": f"kubesim.faults.{text}"})
    assert status < 300, body


def test_outside_clients_are_told_apart(cluster):
    cluster.ask("POST", ACCOUNTS, {"metadata": {"name": "op"}})
    token = cluster.ask("POST", f"{ACCOUNTS}/op/token", {"spec": {}})[1]["status"]["token"]

    def code(agent, **options):
        return cluster.ask("GET", PATH, headers={"User-Agent": agent}, **options)[0]

    arm(cluster, "api(client='manager', resource='configmaps').fail(503)")
    assert [code("kubectl/v1.37"), code("manager/v2 (linux/amd64)"), code("manager/v2")] == [200, 503, 200]
    arm(cluster, "api(service_account='default/op').fail(409, times=None)")
    assert [code("manager/v2"), code("manager/v2", token=token)] == [200, 409]
    arm(cluster, "api(client='late').hold_answer().for_('1s')")
    assert code("late/1") == 200


def test_a_stale_view_outside(cluster):
    def names(query):
        body = cluster.ask("GET", f"{PATH}{query}", headers={"User-Agent": "stale/1"})[1]
        return [o["metadata"]["name"] for o in body["items"]]

    names("?resourceVersion=0")
    arm(cluster, "view(client='stale', kind='ConfigMap').freeze()")
    cluster.ask("POST", PATH, {"metadata": {"name": "new"}})
    assert "new" not in names("?resourceVersion=0")
    assert "new" in names("")
    cluster.ask("DELETE", "/kubesim/v1/faults")
    assert "new" in names("?resourceVersion=0")
