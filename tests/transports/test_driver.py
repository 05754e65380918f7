"""Opening and closing the doors: what is in place while a cluster is there, and nothing afterwards."""

from __future__ import annotations

import asyncio
import builtins
import datetime  # noqa: ICN001 - under this name, too
import os
import queue
import socket
import ssl
import threading
import time
from datetime import datetime as by_name
from time import sleep as sleep_by_name

import pytest

from pytest_kubesim.errors import UsageError


def surroundings():
    return (
        time.time, time.sleep, time.monotonic, datetime.datetime, by_name, sleep_by_name, builtins.open, builtins.print,
        os.stat, os.environ.get("KUBECONFIG"), os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("NO_PROXY"),
        socket.getaddrinfo, socket.socket.connect, ssl.SSLContext.wrap_socket, ssl.SSLContext.wrap_bio,
        threading.Lock, threading.RLock, threading.Thread.start, queue.SimpleQueue,
    )


def test_nothing_is_left_behind(kubesim_factory):
    before = surroundings()
    first = kubesim_factory()
    during = surroundings()
    assert all(b is not d for b, d in zip(before, during))
    second = kubesim_factory()
    second.close()
    assert surroundings() == during
    first.close()
    assert surroundings() == before


def test_clocks_under_any_name_are_virtual(kubesim):
    assert by_name.now() == datetime.datetime(2026, 1, 1)
    assert datetime.datetime.now(datetime.timezone.utc).isoformat() == "2026-01-01T00:00:00+00:00"
    assert datetime.date.today() == datetime.date(2026, 1, 1)
    sleep_by_name(86_400)
    assert by_name.now().day == 2
    assert time.time() == 1767225600 + 86_400


def test_two_clusters_have_each_their_address_and_clock(kubesim_factory):
    first, second = kubesim_factory(), kubesim_factory()
    first.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "only-here"}})
    assert first.client("requests").get("/api/v1/namespaces/only-here").status_code == 200
    assert second.client("requests").get("/api/v1/namespaces/only-here").status_code == 404
    first.advance("1h")
    assert (first.clock.time, second.clock.time) == (3600, 0)
    assert first.kubeconfig != second.kubeconfig


def test_operators_of_two_clusters_reach_each_their_own(kubesim_factory):
    kubernetes = pytest.importorskip("kubernetes")
    clusters = [kubesim_factory(), kubesim_factory()]

    def operator():
        kubernetes.config.load_incluster_config()
        kubernetes.client.CoreV1Api().create_namespace({"metadata": {"name": "mine"}})

    for number, cluster in enumerate(clusters):
        cluster.run(operator)
        cluster.advance("1s")
        assert [bool(c.list("namespaces", fields="metadata.name=mine")) for c in clusters] == [True, number == 1]


def test_an_unknown_library_is_told_the_others(kubesim):
    with pytest.raises(UsageError, match="the libraries are 'kubernetes', 'kubernetes_asyncio', 'kr8s'"):
        kubesim.client("pykube")


async def _main():
    pass


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (7, "cannot be run"),
        (os, "cannot be run|no kopf handlers"),
        (lambda cluster: None, "needs the argument 'cluster'"),
    ],
)
def test_what_cannot_be_run_is_told(kubesim, target, message):
    with pytest.raises(UsageError, match=message):
        kubesim.run(target)


def test_a_coroutine_instead_of_its_function_is_told(kubesim):
    with pytest.raises(UsageError, match="not what calling it returns"):
        kubesim.run(_main())


def test_an_operator_is_the_service_account_that_it_is_given(kubesim):
    namespaces = []

    def operator():
        with open("/var/run/secrets/kubernetes.io/serviceaccount/namespace") as file:
            namespaces.append(file.read())
        kubesim.client("requests").post(
            "/apis/authentication.k8s.io/v1/selfsubjectreviews", json={"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        )

    kubesim.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "keeper", "namespace": "shop"}},
    )
    kubesim.run(operator, service_account="shop/keeper", name="keeper")
    kubesim.advance("1s")
    assert namespaces == ["shop"]
    with pytest.raises(FileNotFoundError):
        open("/var/run/secrets/kubernetes.io/serviceaccount/nothing")


def test_what_an_operator_says_is_in_its_log(kubesim):
    import logging

    def operator():
        print("printed", 1, sep="-")
        logging.getLogger("mine").info("logged %s", 2)
        logging.getLogger("urllib3").info("chatter")

    running = kubesim.run(operator)
    kubesim.advance("1s")
    print("by the test")
    assert running.log.text == "printed-1\nlogged 2"


def test_a_server_that_is_down_refuses(kubesim):
    requests = pytest.importorskip("requests")
    session = kubesim.client("requests")
    kubesim.server.process.crash()
    with pytest.raises(requests.exceptions.ConnectionError, match="refused"):
        session.get("/api")


def test_a_cut_network_holds_a_request_until_it_heals(kubesim):
    answers = []

    def operator():
        answers.append((kubesim.client("requests").get("/api").status_code, kubesim.clock.time))

    kubesim.network.cut("op", "control-plane")
    kubesim.run(operator, name="op")
    kubesim.advance("1m")
    assert answers == []
    kubesim.network.heal("op", "control-plane")
    kubesim.advance("1s")
    assert answers == [(200, 60)]



@pytest.fixture
async def early():
    """Set up before the cluster of its test, on the loop of its test."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0.01)
    yield loop
    await asyncio.sleep(0.01)


async def test_async_fixtures_that_come_before_the_cluster_share_its_loop(early, kubesim):
    assert asyncio.get_running_loop() is early
    started = early.time()
    await asyncio.sleep(3600)
    assert early.time() - started == pytest.approx(3600)
    assert kubesim.clock.time == pytest.approx(3600)


async def test_loops_of_other_tests_are_real(early):
    assert type(early).__module__.startswith("asyncio")
