"""What a node says of itself, seen by clients."""

from __future__ import annotations

from pytest_kubesim.cluster.cluster import Cluster

FOO = "example.com/foo"


def test_extended_resources_that_a_node_was_given_stay_and_can_be_allocated(kubesim: Cluster) -> None:
    kubesim.add_nodes(1)
    kubesim.advance("5s")
    core = kubesim.client("kubernetes")
    from kubernetes import client

    patch = {"status": {"capacity": {FOO: "5"}}}
    client.CoreV1Api(core).patch_node_status("node-1", patch)
    kubesim.advance("5m")
    status = kubesim.get("node/node-1")["status"]
    assert (status["capacity"][FOO], status["allocatable"][FOO]) == ("5", "5")
    assert status["capacity"]["cpu"] == "4"
