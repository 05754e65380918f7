"""agnhost's servers: what they answer, and what they use."""

import json

from shell_world import Box

from pytest_kubesim.cri import cgroups

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.66"
CONSUMER = "registry.k8s.io/e2e-test-images/resource-consumer:1.13"


def serving(*args, env=None, image=AGNHOST):
    box = Box()
    container = box.start(image=image, args=args, **({"env": env} if env else {}))
    box.run(1)
    return box, container


def ask(box, script):
    return box.sh(script, 5, image=AGNHOST)


def logged(container):
    return [line.text for line in container.logs if line.stream == "stdout"]


def test_the_fake_git_server_says_that_it_is_one():
    box, server = serving("fake-gitserver")
    assert ask(box, f"wget -qO- http://{server.pod_ip}:8000/x")[0] == "I am a fake git server"


def test_audit_events_are_written_one_a_line():
    box, server = serving("audit-proxy")
    events = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": [
        {"level": "Metadata", "auditID": "1", "stage": "ResponseComplete", "verb": "get"}]}
    post = f"wget -qO- --post-data='{json.dumps(events)}' http://{server.pod_ip}:8080/"
    assert ask(box, post) == ("", 0)
    assert logged(server) == [
        ('{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1",'
        '"stage":"ResponseComplete","verb":"get"}')
    ]
    output, code = ask(box, f"wget -qO- --post-data=x http://{server.pod_ip}:8080/")
    assert (code, "500" in output) == (1, True)


def test_connections_are_reset():
    box, server = serving("tcp-reset", "--port=81")
    output, code = ask(box, f"wget -qO- http://{server.pod_ip}:81/")
    assert (code, output) == (1, "wget: error getting response: Connection reset by peer\n")


def test_chunks_come_in_intervals():
    env = {
        "BIND_ADDRESS": "0.0.0.0", "BIND_PORT": "80", "EXPECTED_CLIENT_DATA": "abc", "CHUNKS": "3",
        "CHUNK_SIZE": "2", "CHUNK_INTERVAL": "500",
    }
    box, server = serving("port-forward-tester", env=env)
    assert ask(box, f"printf abc | nc {server.pod_ip} 80")[0] == "xxxxxx"
    box.run(1)
    assert server.exit_code == 0
    assert logged(server) == [
        "Accepted client connection", "Received expected client data", "Shutting down connection",
        "Done",
    ]


def test_who_asks_is_seen_by_its_own_address():
    box, server = serving("no-snat-test", env={"POD_IP": "1.2.3.4", "NODE_IP": "5.6.7.8"})
    seen, _ = ask(box, f"wget -qO- http://{server.pod_ip}:8080/whoami; echo; hostname -i")
    where, own = seen.split()
    assert where.rpartition(":")[0] == own
    checked, _ = ask(box,
        f"curl -s 'http://{server.pod_ip}:8080/checknosnat?ips={server.pod_ip}:8080'"
    )
    assert checked == (
        f'Returned ip "{server.pod_ip}" != my Pod ip "1.2.3.4" or my Node ip "5.6.7.8" - SNAT to '
        "unexpected ip (possible SNAT through unexpected interface on the way into another node)"
    )


def test_a_registry_leads_from_tag_to_blob():
    box, server = serving("fake-registry-server")
    root = f"http://{server.pod_ip}:5000/v2"
    index = json.loads(ask(box, f"curl -sL {root}/pause/manifests/testing")[0])
    digest = index["manifests"][0]["digest"]
    manifest = json.loads(ask(box, f"curl -s {root}/pause/manifests/{digest}")[0])
    layer = manifest["layers"][0]["digest"]
    assert ask(box, f"curl -s {root}/pause/blobs/{layer}")[0] == "the layer of pause:testing"
    assert "404" in ask(box, f"curl -s {root}/pause/manifests/none")[0]


def test_a_private_registry_wants_a_password():
    box, server = serving("fake-registry-server", "--private", "--port", "5001")
    root = f"http://{server.pod_ip}:5001/v2/"
    code = "curl -s -o /dev/null -w '%{http_code} '"
    assert ask(box, f"{code} {root}; {code} -u user:password {root}")[0] == "401 200 "


def test_a_consumer_uses_what_it_is_told_for_as_long_as_it_is_told():
    box, server = serving(image=CONSUMER)
    root = f"http://{server.pod_ip}:8080"
    said, _ = ask(box,
        f"wget -qO- --post-data='millicores=300&durationSec=30' {root}/ConsumeCPU;"
        f"wget -qO- --post-data='megabytes=100&durationSec=30' {root}/ConsumeMem;"
        f"wget -qO- --post-data='metric=qps&delta=2&durationSec=30' {root}/BumpMetric;"
        f"wget -qO- {root}/metrics"
    )
    assert said == (
        "ConsumeCPU\n300 millicores\n30 durationSec\nConsumeMem\n100 megabytes\n30 durationSec\n"
        "BumpMetric\nqps metric\n2 delta\n30 durationSec\n"
        "# HELP qps info message.\n# TYPE qps gauge\nqps 2.000000\n"
    )
    assert cgroups.usage([server]) == {"cpu_milli": 301, "memory": (8 + 100) << 20}
    box.run(31)
    assert cgroups.usage([server]) == {"cpu_milli": 1, "memory": 8 << 20}


def test_stress_takes_memory_step_by_step():
    box, container = serving(
        "stress", "--cpus", "2", "--mem-total", "100Mi", "--mem-alloc-size", "10Mi",
        "--mem-alloc-sleep", "1s",
    )
    assert cgroups.usage([container])["cpu_milli"] == 2001
    box.run(4)
    assert 40 << 20 < cgroups.usage([container])["memory"] < 70 << 20
    box.run(20)
    assert cgroups.usage([container])["memory"] == 108 << 20


def test_external_metrics_are_what_they_were_set_to():
    box, server = serving("external-metrics")
    root = f"https://{server.pod_ip}:6443"
    wanted = f"curl -sk '{root}/apis/external.metrics.k8s.io/v1beta1/namespaces/n/queue'"
    assert ask(box, wanted)[0] == "no metric name called queue\n"
    said, _ = ask(box, f"curl -sk '{root}/create/queue?value=7&labels=a=b'; {wanted}")
    created, listed = map(json.loads, said.splitlines())
    assert created == {
        "status": "created", "metric": "queue", "labels": {"a": "b"}, "value": 7, "failing": False,
    }
    assert [(i["metricName"], i["metricLabels"], i["value"]) for i in listed["items"]] == [
        ("queue", {"a": "b"}, "7"),
    ]
    assert ask(box, f"curl -sk '{root}/fail/queue?fail=true&labels=a=b'; {wanted}")[0].endswith(
        "metric queue is configured to fail\n"
    )


def test_netstat_shows_who_listens_in_the_pod():
    box, server = serving("porter", env={"SERVE_PORT_81": "a", "SERVE_UDP_PORT_53": "b"})
    result = box.do(box.runtime.exec_sync(server, ("sh", "-c", "netstat -na | grep -v Recv")))
    assert result.stdout == (
        "Active Internet connections (servers and established)\n"
        "tcp        0      0 :::81                   :::*                    LISTEN      \n"
        "udp        0      0 :::53                   :::*                                \n"
    )


def test_df_counts_in_the_units_it_is_told():
    box = Box()
    lines = box.sh("df -k / | tail -1; df -m / | tail -1; df -h / | tail -1; df -h / | head -1")[0]
    assert [line.split()[1] for line in lines.splitlines()] == [
        "104857600", "102400", "100.0G", "Size",
    ]


def test_stress_beyond_the_limit_is_killed():
    box = Box()
    container = box.start(
        image=AGNHOST, args=("stress", "--mem-total", "100Mi", "--mem-alloc-size", "1Mi"),
        memory_limit=64 << 20,
    )
    box.run(2)
    assert (container.exit_code, container.reason) == (137, "OOMKilled")
