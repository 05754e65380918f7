"""Equal runs are equal: operators with threads, executors and sets of tasks, under any hash seed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("kopf")

SCENARIO = """
import asyncio, time
import kopf, kubernetes
from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig
from pytest_kubesim.transports.driver import Driver

registry = kopf.OperatorRegistry()

@kopf.on.create("", "v1", "configmaps", registry=registry)
def made(name, logger, **_):
    time.sleep(1)
    kubernetes.client.CoreV1Api().create_namespaced_secret("default", {"metadata": {"name": name}})
    logger.info("made %s", name)

@kopf.timer("", "v1", "secrets", interval=7, registry=registry)
async def tick(**_):
    await asyncio.wait([asyncio.ensure_future(asyncio.sleep(n % 3)) for n in range(9)])

@kopf.daemon("", "v1", "secrets", registry=registry)
def watch(stopped, **_):
    while not stopped:
        stopped.wait(11)

cluster = Cluster(ClusterConfig(components="apiserver", seed=5), doors=Driver.shared())
operator = cluster.run(registry, name="operator", replicas=2)
for number in range(4):
    cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"x{number}"}})
cluster.advance("20s")
operator.crash()
cluster.advance("10s")
operator.restart()
cluster.advance("20s")
print(len(cluster.journal), cluster.journal.digest())
cluster.close()
"""


@pytest.mark.slow
def test_two_replicas_of_a_kopf_operator_leave_the_same_journal_in_every_process():
    running = [
        subprocess.Popen([sys.executable, "-c", SCENARIO], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    ]
    answers = [process.communicate()[0] for process in running]
    assert answers[0] == answers[1]
    assert int(answers[0].split()[0]) > 100
