"""A watch may begin with the first revision of a fresh cluster: its API server has seen everything."""

import json

import pytest


def watched(kubesim, path, revision):
    http = kubesim.client("httpx")
    events = []
    query = {"watch": "1", "resourceVersion": revision, "timeoutSeconds": "1"}
    with http.stream("GET", path, params=query) as answer:
        for line in answer.iter_lines():
            event = json.loads(line)
            metadata = event["object"].get("metadata", {})
            events.append((event["type"], metadata.get("name"), int(metadata.get("resourceVersion") or 0)))
    return events


@pytest.mark.kubesim(components="apiserver")
def test_a_watch_from_the_first_revision_tells_all_that_was_made(kubesim):
    events = watched(kubesim, "/api/v1/namespaces", "1")
    assert [event[:2] for event in events] == [
        ("ADDED", "kube-system"), ("ADDED", "kube-public"), ("ADDED", "default"), ("ADDED", "kube-node-lease"),
    ]
    assert watched(kubesim, "/api/v1/namespaces", str(events[1][2])) == events[2:]
    assert watched(kubesim, "/apis/apps/v1/deployments", "1") == []


def test_what_comes_later_follows_what_was_there(kubesim):
    kubesim.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
    kubesim.delete("namespace/shop")
    kubesim.advance("1m")
    events = watched(kubesim, "/api/v1/namespaces", "1")
    revisions = [revision for *_, revision in events]
    assert revisions == sorted(set(revisions))
    assert [kind for kind, name, _ in events if name == "shop"] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
    assert ("ADDED", "kube-system") in {event[:2] for event in events}


def test_an_hour_later_it_still_does_though_etcd_has_forgotten(kubesim):
    kubesim.advance("1h")
    assert kubesim.server.etcd.member.store.compacted > 1
    assert watched(kubesim, "/api/v1/namespaces", "1")[0][0] == "ADDED"


def test_an_api_server_that_was_started_again_knows_only_what_came_after(kubesim):
    kubesim.faults.api_server().crash(restart_after="1s")
    kubesim.advance("2s")
    assert watched(kubesim, "/apis/apps/v1/deployments", "1") == [("ERROR", None, 0)]
