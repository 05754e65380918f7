"""Traffic between pods, through services and policies, seen through the fixture."""

import pytest

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.66.1"


def pod(name, image="busybox", *, labels=None, **container):
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": image, **container}]},
    }


def service(name, *ports, **spec):
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": list(ports), **spec},
    }


class Town:
    def __init__(self, kubesim):
        self.kubesim = kubesim
        self.count = 0
        kubesim.add_nodes(2)

    def servers(self, count=1):
        for number in range(count):
            self.kubesim.apply(pod(f"web-{number}", AGNHOST, args=["netexec"], labels={"app": "web"}, ports=[{"name": "http", "containerPort": 8080}]))
        self.kubesim.eventually("pods", {"status": {"phase": "Running"}}, count=count, labels={"app": "web"}, within="1m")
        self.kubesim.advance("3s")

    def says(self, script, **labels):
        self.count += 1
        name = f"client-{self.count}"
        self.kubesim.apply(pod(name, command=["sh", "-c", script], labels=labels))
        self.kubesim.eventually(f"pod/{name}", lambda p: p["status"].get("phase") in ("Failed", "Succeeded"), within="10m")
        node = self.kubesim.get(f"pod/{name}")["spec"]["nodeName"]
        runtime = self.kubesim.nodes[node].machine.runtime
        uid = self.kubesim.get(f"pod/{name}")["metadata"]["uid"]
        logs = runtime.pod_state(uid).containers[0].logs
        return "".join(line.text + ("" if line.partial else "\n") for line in logs)


@pytest.fixture
def town(kubesim):
    return Town(kubesim)


def test_a_service_spreads_connections_over_its_pods(town):
    town.servers(2)
    town.kubesim.apply(service("web", {"port": 80, "targetPort": "http"}))
    town.kubesim.advance("3s")
    output = town.says("for i in $(seq 20); do wget -qO- http://web/hostname; echo; done | sort | uniq -c | wc -l")
    assert output == "2\n"


def test_session_affinity_keeps_a_client_at_one_pod(town):
    town.servers(3)
    town.kubesim.apply(service("web", {"port": 80, "targetPort": 8080}, sessionAffinity="ClientIP"))
    town.kubesim.advance("3s")
    assert town.says("for i in $(seq 10); do wget -qO- http://web/hostname; echo; done | sort -u | wc -l") == "1\n"


def test_a_service_without_endpoints_refuses(town):
    town.kubesim.apply(service("web", {"port": 80}))
    town.kubesim.advance("3s")
    assert town.says("wget -qO- http://web/") == "wget: can't connect to remote host (web): Connection refused\n"


def test_a_node_port_is_one_of_a_node_s_loopback_too(town):
    town.servers(2)
    town.kubesim.apply(service("web", {"port": 80, "targetPort": 8080, "nodePort": 30080}, type="NodePort"))
    town.kubesim.advance("3s")
    script = "for i in $(seq 20); do wget -qO- http://127.0.0.1:30080/hostname; echo; done | sort | uniq -c | wc -l"
    host = pod("host", command=["sh", "-c", script])
    town.kubesim.apply({**host, "spec": {**host["spec"], "hostNetwork": True}})
    town.kubesim.eventually("pod/host", {"status": {"phase": "Succeeded"}}, within="1m")
    log = town.kubesim.client("httpx").get("/api/v1/namespaces/default/pods/host/log").text
    assert log == "2\n"
    assert "Connection refused" in town.says("wget -qO- http://127.0.0.1:30080/hostname")


def test_a_node_port_leads_to_a_pod_from_any_node(town):
    town.servers(1)
    town.kubesim.apply(service("web", {"port": 80, "targetPort": 8080, "nodePort": 30080}, type="NodePort"))
    town.kubesim.advance("3s")
    for node in town.kubesim.nodes.values():
        assert town.says(f"wget -qO- http://{node.spec.host_ip}:30080/hostname") == "web-0"


def test_names_of_services_and_pods_resolve(town):
    town.servers(1)
    town.kubesim.apply(
        service("web", {"port": 80, "targetPort": 8080, "name": "http"}),
        service("bare", {"port": 8080, "name": "http"}, clusterIP="None"),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "far"}, "spec": {"type": "ExternalName", "externalName": "foo.example.com"}},
    )
    town.kubesim.advance("3s")
    address = town.kubesim.get("service/web")["spec"]["clusterIP"]
    ip = town.kubesim.get("pod/web-0")["status"]["podIP"]
    output = town.says("for n in web web.default.svc.cluster.local bare nope far; do nslookup $n | grep -E '^Address: |canonical|find'; done")
    assert output == (
        f"Address: {address}\nAddress: {address}\nAddress: {ip}\n** server can't find nope: NXDOMAIN\n"
        "far.default.svc.cluster.local\tcanonical name = foo.example.com\n"
    )


def test_a_network_policy_lets_in_whom_it_selects(town):
    town.servers(1)
    ip = town.kubesim.get("pod/web-0")["status"]["podIP"]
    town.kubesim.apply({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "only-friends"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "web"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"friend": "yes"}}}], "ports": [{"port": "http"}]}],
        },
    })
    town.kubesim.advance("3s")
    script = f"wget -T 2 -qO- http://{ip}:8080/hostname"
    assert town.says(script, friend="yes") == "web-0"
    assert town.says(script) == "wget: download timed out\n"


def test_equal_seeds_give_equal_runs(kubesim_factory):
    digests = []
    for _ in range(2):
        cluster = kubesim_factory(seed=5)
        town = Town(cluster)
        town.servers(2)
        cluster.apply(service("web", {"port": 80, "targetPort": "http"}))
        cluster.advance("3s")
        town.says("for i in 1 2 3 4 5; do wget -qO- http://web/hostname; done; head -c 4 /dev/urandom | od -x")
        digests.append(cluster.journal.digest())
    assert digests[0] == digests[1]
