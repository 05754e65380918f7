"""A web application whose DNS provider fails."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("lightkube")

from webapp_operator import DNSError, Operator

CRD = Path(__file__).parent / "crd.yaml"
WEBAPP = {
    "apiVersion": "example.com/v1", "kind": "WebApp", "metadata": {"name": "shop"},
    "spec": {"image": "shop:1", "host": "shop.example.com"},
}


class DNS:
    """The provider outside: records, and a switch that makes it fail."""

    def __init__(self):
        self.records = set()
        self.down = False

    async def create(self, host):
        if self.down:
            raise DNSError("dns: timeout")
        self.records.add(host)

    async def delete(self, host):
        if self.down:
            raise DNSError("dns: timeout")
        self.records.discard(host)


@pytest.fixture
def dns():
    return DNS()


@pytest.fixture
def operator(kubesim, dns):
    kubesim.apply(CRD)
    return kubesim.run(Operator(dns).main, name="webapp-operator")


@pytest.mark.kubesim(nodes=2)
def test_an_application_becomes_ready(kubesim, operator, dns):
    kubesim.apply(WEBAPP)
    kubesim.eventually("webapp/shop", {"status": {"phase": "Ready"}}, within="1m")
    kubesim.eventually("deployment/shop", {"status": {"readyReplicas": 2}}, within="1m")
    kubesim.eventually("endpointslices", lambda s: len(s["endpoints"] or []) == 2, labels={"kubernetes.io/service-name": "shop"}, within="1m")
    assert dns.records == {"shop.example.com"}


@pytest.mark.kubesim(nodes=2)
def test_the_record_is_gone_before_the_application(kubesim, operator, dns):
    kubesim.apply(WEBAPP)
    kubesim.eventually("webapp/shop", {"status": {"phase": "Ready"}}, within="1m")
    dns.down = True
    kubesim.delete("webapp/shop")
    kubesim.eventually("webapp/shop", {"status": {"phase": "Degraded", "message": "dns: timeout"}}, within="1m")
    kubesim.stays("webapp/shop", {"metadata": {"finalizers": ["example.com/dns"]}}, during="1h")
    dns.down = False
    kubesim.eventually("webapps", count=0, within="1m")
    assert dns.records == set()
    kubesim.eventually("deployments", count=0, within="1m")
    assert operator.running


def test_a_lost_answer_does_no_harm(kubesim, operator, dns):
    lost = kubesim.faults.api(client="webapp-operator", verb="patch", resource="webapps").fail(409, times=2)
    kubesim.apply(WEBAPP)
    kubesim.eventually("webapp/shop", {"status": {"phase": "Ready"}}, within="1m")
    assert lost.struck == 2
