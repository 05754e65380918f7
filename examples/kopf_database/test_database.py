"""The tests of the kopf operator: written as its author would."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("kopf")
pytest.importorskip("kubernetes")

import database_operator

CRD = Path(__file__).parent / "crd.yaml"
DATABASE = {
    "apiVersion": "example.com/v1", "kind": "Database", "metadata": {"name": "db"}, "spec": {"replicas": 3},
}


@pytest.mark.kubesim(nodes=3)
def test_heals_after_a_node_is_lost(kubesim):
    kubesim.apply(CRD)
    operator = kubesim.run(database_operator)
    kubesim.apply(DATABASE)
    kubesim.eventually("database/db", {"status": {"phase": "Ready"}}, within="2m")

    node = kubesim.get("pod/db-0")["spec"]["nodeName"]
    kubesim.faults.node(node).crash()
    kubesim.eventually("database/db", {"status": {"phase": "Progressing"}}, within="2m")
    kubesim.eventually("pods", {"status": {"phase": "Running"}}, count=3, labels={"app": "db"}, within="15m")
    kubesim.eventually("database/db", {"status": {"phase": "Ready"}}, within="15m")
    assert kubesim.get("pod/db-0")["spec"]["nodeName"] != node
    kubesim.stays("persistentvolumeclaim/data-db-0", {"metadata": {"deletionTimestamp": None}}, during="10m")
    assert operator.restarts == 0


@pytest.mark.kubesim(nodes=3)
def test_scales_and_is_deleted_with_all_it_owns(kubesim):
    kubesim.apply(CRD)
    kubesim.run(database_operator)
    kubesim.apply(DATABASE)
    kubesim.eventually("statefulset/db", {"status": {"readyReplicas": 3}}, within="2m")
    kubesim.patch("database/db", {"spec": {"replicas": 1}})
    kubesim.eventually("pods", count=1, labels={"app": "db"}, within="2m")
    kubesim.delete("database/db")
    kubesim.eventually("databases", count=0, within="1m")
    kubesim.eventually("pods", count=0, within="2m")


def test_an_invalid_database_is_refused(kubesim):
    kubesim.apply(CRD)
    with pytest.raises(Exception, match="should be greater than or equal to 1"):
        kubesim.apply({**DATABASE, "spec": {"replicas": 0}})
