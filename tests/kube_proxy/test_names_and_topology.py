"""Who answers for names, and whom a service's traffic prefers."""

import pytest

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.47"


class Town:
    """Clients that look names up, and servers that say who they are."""

    def __init__(self, kubesim):
        self.kubesim = kubesim

    def pod(self, name, *, labels=None, server=False, **spec):
        container = {"name": "c", "image": "busybox:1.36", "command": ["sleep", "99999"]}
        if server:
            container = {"name": "c", "image": AGNHOST, "args": ["netexec"], "ports": [{"name": "http", "containerPort": 8080}]}
        self.kubesim.apply({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}},
            "spec": {"containers": [container], **spec},
        })
        self.kubesim.eventually(f"pod/{name}", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, within="1m")

    def service(self, name, **spec):
        self.kubesim.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
        self.kubesim.advance("2s")

    def sh(self, script, name="client"):
        pod = self.kubesim.get(f"pod/{name}")
        runtime = self.kubesim.nodes[pod["spec"]["nodeName"]].machine.runtime
        run = runtime.pod_state(pod["metadata"]["uid"]).find("c")
        result = self.kubesim.kernel.run_coroutine(runtime.exec_sync(run, ("sh", "-c", script)))
        return result.stdout + result.stderr


@pytest.fixture
def town(kubesim):
    kubesim.add_nodes(1, zone="a")
    kubesim.add_nodes(2, zone="b")
    return Town(kubesim)


def test_only_the_cluster_s_server_knows_the_cluster(town):
    name = "kubernetes.default.svc.cluster.local"
    town.pod("client")
    town.pod("default", dnsPolicy="Default")
    town.pod("host", hostNetwork=True)
    town.pod("own", dnsPolicy="None", dnsConfig={"nameservers": ["1.1.1.1"]})
    assert "Address: 10.96.0.1\n" in town.sh(f"nslookup {name}")
    for other in ("default", "host"):
        assert f"** server can't find {name}: NXDOMAIN" in town.sh(f"nslookup {name}", other)
        assert "Address: 10.96.0.1\n" in town.sh(f"nslookup {name} 10.96.0.10", other)
    assert "connection timed out; no servers could be reached" in town.sh(f"nslookup {name}", "own")
    assert town.sh(f"wget -qO- http://{name}", "own") == f"wget: bad address '{name}'\n"


def test_addresses_have_names(town):
    town.pod("client")
    town.pod("db-0", labels={"app": "db"}, server=True, hostname="db-0", subdomain="db")
    town.pod("plain", labels={"app": "plain"}, server=True)
    town.service("db", selector={"app": "db"}, clusterIP="None", ports=[{"name": "http", "port": 8080}])
    town.service("plain", selector={"app": "plain"}, ports=[{"name": "http", "port": 80, "targetPort": 8080}])
    for ref, name in (("pod/db-0", "db-0.db.default"), ("service/plain", "plain.default"), ("pod/plain", "")):
        found = town.kubesim.get(ref)
        address = found["status"].get("podIP") or found["spec"]["clusterIP"]
        back = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
        text = f"{back}\tname = {name}.svc.cluster.local\n" if name else f"** server can't find {back}: NXDOMAIN"
        assert text in town.sh(f"nslookup {address}")
    address = town.kubesim.get("pod/plain")["status"]["podIP"]
    assert f"Address: {address}\n" in town.sh(f"nslookup {address.replace('.', '-')}.plain.default.svc.cluster.local")


def test_endpoints_share_the_weight_of_a_service_record(town):
    town.pod("client")
    for number in range(3):
        town.pod(f"db-{number}", labels={"app": "db"}, server=True, hostname=f"db-{number}", subdomain="db")
    town.service("db", selector={"app": "db"}, clusterIP="None", ports=[{"name": "http", "port": 8080}])
    answer = town.sh("nslookup -type=srv _http._tcp.db.default.svc.cluster.local")
    assert answer.count("service = 0 33 8080 db-") == 3


def test_who_may_not_reach_the_server_resolves_nothing(town):
    town.pod("client", labels={"app": "client"})
    policy = {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "none"},
        "spec": {"podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Egress"]},
    }
    town.kubesim.apply(policy)
    town.kubesim.advance("1s")
    assert "no servers could be reached" in town.sh("nslookup kubernetes.default")
    peer = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    rules = [{"to": [peer], "ports": [{"port": 53, "protocol": "UDP"}]}]
    town.kubesim.apply({**policy, "spec": {**policy["spec"], "egress": rules}})
    town.kubesim.advance("1s")
    assert "Address: 10.96.0.1\n" in town.sh("nslookup kubernetes.default")


@pytest.mark.parametrize(("wish", "where"), [
    ("PreferSameZone", {"node-2", "node-3"}), ("PreferSameNode", {"node-2"}), (None, {"node-1", "node-2", "node-3"}),
])
def test_traffic_prefers_what_is_near(town, wish, where):
    for number in (1, 2, 3):
        town.pod(f"web-{number}", labels={"app": "web"}, server=True, nodeName=f"node-{number}")
    town.pod("client", nodeName="node-2")
    town.service("web", selector={"app": "web"}, ports=[{"port": 80, "targetPort": 8080}],
                 **({"trafficDistribution": wish} if wish else {}))
    heard = town.sh("for i in $(seq 1 30); do wget -qO- http://web/hostname; echo; done").split()
    assert {host.replace("web", "node") for host in heard} == where


def test_a_load_balancer_takes_only_whom_it_may(town):
    town.pod("web", labels={"app": "web"}, server=True)
    town.pod("client")
    town.service("web", selector={"app": "web"}, type="LoadBalancer", ports=[{"port": 80, "targetPort": 8080}],
                 loadBalancerSourceRanges=["192.0.2.0/24"])
    given = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}}
    town.kubesim.patch("service/web", given, subresource="status")
    town.kubesim.advance("1s")
    assert town.sh("wget -qO- -T 2 http://203.0.113.7/hostname") == "wget: download timed out\n"
    assert town.sh("wget -qO- -T 2 http://web/hostname") == "web"
    town.kubesim.patch("service/web", {"spec": {"loadBalancerSourceRanges": ["10.244.0.0/16"]}})
    town.kubesim.advance("1s")
    assert town.sh("wget -qO- -T 2 http://203.0.113.7/hostname") == "web"
