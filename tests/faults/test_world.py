"""Faults of views, etcd, the network, nodes, containers, processes: each seen through the fixture."""

import pytest

from pytest_kubesim import UsageError, fault

READY = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}


def config_map(name="a", **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


def pod(name="app", **spec):
    container = {"name": "app", "image": "example.com/app:1"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": [container], **spec}}


def conditions(kubesim, node="node-1"):
    return {c["type"]: c for c in kubesim.get(f"node/{node}")["status"]["conditions"]}


# -- views -------------------------------------------------------------------------------------

PATH = "/api/v1/namespaces/default/configmaps"


def test_a_stale_view_serves_lists_and_watches_of_the_past_and_quorum_reads_of_now(kubesim):
    http = kubesim.client("httpx")
    kubesim.apply(config_map("a", n="1"))
    assert len(http.get(f"{PATH}?resourceVersion=0").json()["items"]) == 2  # kube-root-ca.crt too
    old = http.get(PATH).json()["metadata"]["resourceVersion"]
    armed = kubesim.faults.view(client="test", kind="ConfigMap").freeze()
    kubesim.apply(config_map("a", n="2"), config_map("b"))
    stale = http.get(f"{PATH}?resourceVersion=0").json()
    assert [o["metadata"]["name"] for o in stale["items"]] == ["a", "kube-root-ca.crt"]
    assert stale["items"][0]["data"] == {"n": "1"}
    assert stale["metadata"]["resourceVersion"] == old
    assert http.get(f"{PATH}/a?resourceVersion=0").json()["data"] == {"n": "1"}
    assert http.get(f"{PATH}/a").json()["data"] == {"n": "2"}
    assert len(http.get(PATH).json()["items"]) == 3
    new = http.get(PATH).json()["metadata"]["resourceVersion"]
    assert http.get(f"{PATH}?resourceVersion={new}", timeout=60).status_code == 504
    armed.disarm()
    assert len(http.get(f"{PATH}?resourceVersion=0").json()["items"]) == 3
    assert armed.struck


def test_a_view_that_nobody_has_looked_at_yet_freezes_too(kubesim):
    client = pytest.importorskip("kubernetes").client
    frozen = kubesim.faults.view(kind="Pod").freeze()
    kubesim.apply(pod())
    kubesim.advance("10s")
    core = client.CoreV1Api(kubesim.client("kubernetes"))
    assert core.list_namespaced_pod("default", resource_version="0").items == []
    assert frozen.struck
    frozen.disarm()
    kubesim.advance("1s")
    assert len(core.list_namespaced_pod("default", resource_version="0").items) == 1


def test_a_stale_view_is_that_of_one_client_and_thaws_event_by_event(kubesim):
    seen = {"one": [], "two": []}

    def watching(name):
        def operator():
            import json

            http = kubesim.client("httpx")
            with http.stream("GET", f"{PATH}?watch=true&resourceVersion=0", timeout=None) as answer:
                for line in answer.iter_lines():
                    event = json.loads(line)
                    if "n" in (event["object"].get("data") or {}):
                        seen[name].append(event["object"]["data"]["n"])
        return operator

    for name in seen:
        kubesim.run(watching(name), name=name)
    kubesim.apply(config_map(n="0"))
    kubesim.advance("1s")
    kubesim.faults.view(client="one").freeze(at="2s", until="10s")
    kubesim.advance("2s")
    kubesim.apply(config_map(n="1"))
    kubesim.apply(config_map(n="2"))
    kubesim.advance("1s")
    assert seen["one"][-1] == "0"
    assert seen["two"][-2:] == ["1", "2"]
    kubesim.advance("10s")
    assert seen["one"][-3:] == ["0", "1", "2"]


def test_a_view_that_froze_before_anybody_read_stays_at_that_moment(kubesim):
    kubesim.faults.view(client="stale", kind="configmaps").freeze()
    kubesim.create(config_map("later"))
    kubesim.list("configmaps")
    kubesim.advance("10s")
    seen = []

    def stale():
        from kubernetes import client, config

        config.load_incluster_config()
        core = client.CoreV1Api()
        for options in ({"resource_version": "0"}, {}):
            found = core.list_namespaced_config_map("default", **options).items
            seen.append("later" in {each.metadata.name for each in found})

    kubesim.run(stale, name="stale")
    kubesim.advance("1s")
    assert seen == [False, True]


@pytest.mark.kubesim(faults=[fault.operator("op").crash(at_write=1, restart_after="10s")])
def test_a_mark_crashes_an_operator_that_is_started_later(kubesim):
    def op():
        from kubernetes import client, config

        config.load_incluster_config()
        client.CoreV1Api().create_namespaced_config_map("default", {"metadata": {"generateName": "a-"}})

    kubesim.run(op, name="op")
    kubesim.advance("1m")
    assert len([each for each in kubesim.list("configmaps") if each["metadata"]["name"].startswith("a-")]) == 2


def test_a_whole_cache_is_kept_behind(kubesim):
    http = kubesim.client("httpx")
    kubesim.apply(config_map("a", n="1"))
    http.get(f"{PATH}?resourceVersion=0")
    with kubesim.faults.view(server="kube-apiserver-1", kind="cm").freeze():
        kubesim.apply(config_map("a", n="2"))
        assert http.get(f"{PATH}/a?resourceVersion=0").json()["data"] == {"n": "1"}
    assert http.get(f"{PATH}/a?resourceVersion=0").json()["data"] == {"n": "2"}


# -- etcd --------------------------------------------------------------------------------------


def test_etcd_is_slow_unavailable_or_full(kubesim):
    http = kubesim.client("httpx")
    with kubesim.faults.etcd().slow("2s"):
        before = kubesim.clock.time
        http.post(PATH, json=config_map("slow"), timeout=60)
        assert kubesim.clock.time - before == pytest.approx(2, abs=0.1)
    with kubesim.faults.etcd().unavailable():
        answer = http.get(f"{PATH}/slow")
        assert answer.status_code == 500
        assert "connection refused" in answer.json()["message"]
    with kubesim.faults.etcd().time_out(times=1):
        assert "etcdserver: request timed out" in http.get(f"{PATH}/slow").json()["message"]
        assert http.get(f"{PATH}/slow").status_code == 200
    with kubesim.faults.etcd().disk_full():
        answer = http.post(PATH, json=config_map("full"))
        assert answer.status_code == 500
        assert answer.json()["message"] == "etcdserver: mvcc: database space exceeded"
        assert http.get(f"{PATH}/slow").status_code == 200
    assert http.post(PATH, json=config_map("full")).status_code == 201


def test_early_compaction_expires_continue_tokens(kubesim):
    http = kubesim.client("httpx")
    kubesim.apply(config_map("a"), config_map("b"))
    token = http.get(f"{PATH}?limit=1").json()["metadata"]["continue"]
    kubesim.apply(config_map("c"))
    kubesim.faults.etcd().compact()
    assert http.get(f"{PATH}?limit=1&continue={token}").status_code == 410


def test_a_backup_of_etcd_is_restored(kubesim):
    kubesim.apply(config_map("a", n="1"))
    kubesim.faults.etcd().backup("before")
    kubesim.apply(config_map("a", n="2"), config_map("b"))
    kubesim.faults.etcd().restore("before")
    assert kubesim.get("configmap/a")["data"] == {"n": "1"}
    assert not [o for o in kubesim.list("configmaps", namespace="default") if o["metadata"]["name"] == "b"]


# -- processes ---------------------------------------------------------------------------------


def test_an_api_server_is_down_for_a_while(kubesim):
    import httpx

    http = kubesim.client("httpx")
    kubesim.faults.api_server("kube-apiserver-1").crash().for_("10s")
    with pytest.raises(httpx.ConnectError):
        http.get("/version")
    kubesim.advance("11s")
    assert http.get("/version").status_code == 200


def test_a_scheduler_is_paused(kubesim):
    kubesim.add_nodes(1)
    kubesim.settle()
    with kubesim.faults.process("kube-scheduler").pause():
        kubesim.apply(pod())
        kubesim.stays("pod/app", {"spec": {"nodeName": None}}, during="1m")
    kubesim.eventually("pod/app", {"status": {"phase": "Running"}}, within="30s")


@pytest.mark.parametrize(("moment", "written", "heard"), [("before", 1, 1), ("at", 2, 1), ("after", 2, 2)])
def test_an_operator_crashes_around_its_second_write(kubesim, moment, written, heard):
    told = []

    def operator():
        http = kubesim.client("httpx")
        for n in "abc":
            http.post(PATH, json=config_map(f"{n}-{len(told)}"))
            told.append(n)

    running = kubesim.run(operator, name="operator")
    kubesim.faults.operator("operator").crash(at_write=2, moment=moment)
    kubesim.advance("1s")
    assert not running.running
    made = [o for o in kubesim.list("configmaps", namespace="default") if o["metadata"]["name"][1] == "-"]
    assert (len(made), len(told)) == (written, heard)


def test_clocks_of_processes_are_skewed(kubesim):
    import time

    shown = []

    def operator():
        while True:
            shown.append(time.time())
            time.sleep(10)

    kubesim.run(operator, name="operator")
    kubesim.advance("5s")
    with kubesim.faults.operator("operator").skew_clock("1h"):
        kubesim.advance("10s")
    kubesim.advance("10s")
    assert [round(b - a) for a, b in zip(shown, shown[1:], strict=False)] == [3610, -3590]


# -- the network -------------------------------------------------------------------------------


def test_a_partition_makes_a_node_unknown_and_heals(kubesim):
    kubesim.add_nodes(2)
    kubesim.settle()
    kubesim.faults.partition("node-1", "control-plane").for_("90s")
    kubesim.eventually("node/node-1", {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}, within="2m")
    assert conditions(kubesim)["Ready"]["reason"] == "NodeStatusUnknown"
    kubesim.eventually("node/node-1", READY, within="2m")


def test_one_way_latency_and_loss_between_two_ends(kubesim):
    kubesim.apply(config_map())
    took = []

    def operator():
        http = kubesim.client("httpx")
        for _ in range(3):
            before = kubesim.clock.time
            http.get(f"{PATH}/a", timeout=None)
            took.append(round(kubesim.clock.time - before, 3))
            kubesim_sleep(10)

    from time import sleep as kubesim_sleep

    kubesim.run(operator, name="operator")
    f = kubesim.faults
    with f.latency("operator", "control-plane", "300ms"):
        kubesim.advance("5s")
    with f.partition("control-plane", "operator", one_way=True, until="14s"):
        kubesim.advance("10s")
    with f.loss("operator", "control-plane", 0.6):
        kubesim.advance("40s")
    assert took[0] == pytest.approx(0.9, abs=0.05)  # the connection, the request, the answer
    assert took[1] > 3
    assert took[2] > 0.2


# -- nodes -------------------------------------------------------------------------------------


def test_a_crashed_node_is_tainted_and_its_pods_are_evicted_after_their_toleration(kubesim):
    kubesim.add_nodes(2)
    kubesim.apply({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
        "serviceName": "db", "replicas": 1, "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "db", "image": "example.com/db:1"}]}}}})
    kubesim.eventually("pod/db-0", {"status": {"phase": "Running"}}, within="2m")
    bound = kubesim.get("pod/db-0")
    node, uid = bound["spec"]["nodeName"], bound["metadata"]["uid"]
    kubesim.faults.node(node).crash()
    kubesim.eventually(f"node/{node}", lambda o: "NoExecute" in [t["effect"] for t in o["spec"].get("taints", ())], within="2m")
    kubesim.eventually("pod/db-0", {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, within="1m")
    kubesim.eventually("pod/db-0", lambda o: o["metadata"].get("deletionTimestamp"), within="6m")
    # Nobody knows whether it still runs: there must not be a second one.
    kubesim.stays("pod/db-0", lambda o: o["metadata"]["uid"] == uid, during="30m")
    kubesim.patch(f"node/{node}", {"spec": {"taints": [
        *kubesim.get(f"node/{node}")["spec"]["taints"],
        {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}]}})
    kubesim.eventually("pod/db-0", lambda o: o["metadata"]["uid"] != uid and o["status"].get("phase") == "Running", within="10m")


def test_a_frozen_node_goes_on_when_it_is_thawed(kubesim):
    kubesim.add_nodes(1)
    kubesim.settle()
    kubesim.faults.node("node-1").freeze().for_("2m")
    kubesim.eventually("node/node-1", {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}, within="90s")
    kubesim.eventually("node/node-1", READY, within="2m")


def test_a_stopped_runtime_makes_its_node_not_ready_in_the_kubelet_s_words(kubesim):
    kubesim.add_nodes(1)
    kubesim.apply(pod())
    kubesim.eventually("pod/app", {"status": {"phase": "Running"}}, within="1m")
    with kubesim.faults.node("node-1").stop_runtime():
        kubesim.eventually("node/node-1", {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, within="1m")
        assert conditions(kubesim)["Ready"]["message"] == "container runtime is down"
        kubesim.advance("3m")
        message = conditions(kubesim)["Ready"]["message"]
        assert message.startswith("[container runtime is down, PLEG is not healthy: pleg was last seen active 3m")
        assert message.endswith("ago; threshold is 3m0s]")
    kubesim.eventually("node/node-1", READY, within="1m")
    assert kubesim.get("pod/app")["status"]["containerStatuses"][0]["restartCount"] == 0


def test_pressure_evicts_the_pod_that_uses_most_above_its_request_until_there_is_enough(kubesim):
    from pytest_kubesim.cri.programs import Program

    mi = 1024 * 1024
    kubesim.images.pods["big"] = Program(memory=300 * mi)
    kubesim.images.pods["modest"] = Program(memory=200 * mi)
    kubesim.images.pods["important"] = Program(memory=900 * mi)
    kubesim.add_nodes(1)
    kubesim.apply(
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1000},
        pod("big"), pod("important", priorityClassName="high"),
        pod("modest", containers=[{"name": "app", "image": "x.org/x", "resources": {"requests": {"memory": "250Mi"}}}]),
    )
    for name in ("big", "modest", "important"):
        kubesim.eventually(f"pod/{name}", {"status": {"phase": "Running"}}, within="1m")
    with kubesim.faults.node("node-1").pressure("memory", available="60Mi"):
        kubesim.eventually("pod/big", {"status": {"phase": "Failed"}}, within="1m")
        evicted = kubesim.get("pod/big")["status"]
        assert evicted["reason"] == "Evicted"
        assert evicted["message"] == (
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 60Mi. "
            "Container app was using 300Mi, request is 0, has larger consumption of memory. "
        )
        kubesim.eventually("node/node-1", {"spec": {"taints": [{"key": "node.kubernetes.io/memory-pressure"}]}}, within="1m")
        kubesim.advance("2m")
    for name in ("modest", "important"):
        assert kubesim.get(f"pod/{name}")["status"]["phase"] == "Running"
    kubesim.eventually("node/node-1", {"status": {"conditions": [{"type": "MemoryPressure", "status": "False"}]}}, within="6m")


@pytest.mark.parametrize(("kind", "condition", "resource"), [("disk", "DiskPressure", "ephemeral-storage"), ("pid", "PIDPressure", "pids")])
def test_pressure_that_lasts_evicts_one_pod_after_the_other(kubesim, kind, condition, resource):
    kubesim.add_nodes(1)
    kubesim.apply(pod("one"), pod("two"))
    for name in ("one", "two"):
        kubesim.eventually(f"pod/{name}", {"status": {"phase": "Running"}}, within="1m")
    kubesim.faults.node("node-1").pressure(kind).for_("1m")
    kubesim.eventually("pods", {"status": {"phase": "Failed"}}, count=1, within="30s")
    kubesim.eventually("pods", {"status": {"phase": "Failed"}}, count=2, within="30s")
    assert f"The node was low on resource: {resource}. " in kubesim.get("pod/one")["status"]["message"]
    assert conditions(kubesim)[condition]["status"] == "True"


# -- containers and images ---------------------------------------------------------------------


def test_containers_exit_run_out_of_memory_hang_and_fail_their_probes(kubesim):
    kubesim.add_nodes(1)
    probe = {"httpGet": {"port": 80}, "periodSeconds": 5, "failureThreshold": 1}
    kubesim.apply(pod(containers=[{"name": "app", "image": "example.com/app:1", "readinessProbe": probe, "livenessProbe": probe}]))
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    last = lambda: kubesim.get("pod/app")["status"]["containerStatuses"][0]["lastState"]["terminated"]  # noqa: E731
    kubesim.eventually("pod/app", ready, within="1m")
    f = kubesim.faults.container(pod="app")
    f.exit(3)
    kubesim.eventually("pod/app", {"status": {"containerStatuses": [{"name": "app", "restartCount": 1, "ready": True}]}}, within="1m")
    assert (last()["exitCode"], last()["reason"]) == (3, "Error")
    f.oom()
    kubesim.eventually("pod/app", {"status": {"containerStatuses": [{"name": "app", "restartCount": 2, "ready": True}]}}, within="2m")
    assert (last()["exitCode"], last()["reason"]) == (137, "OOMKilled")
    with f.fail_probe("readiness"):
        kubesim.eventually("pod/app", {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, within="20s")
    kubesim.eventually("pod/app", ready, within="20s")
    f.hang().for_("20s")
    kubesim.eventually("pod/app", {"status": {"containerStatuses": [{"name": "app", "restartCount": 3}]}}, within="3m")
    assert last()["exitCode"] == 137


def test_images_cannot_be_pulled_or_only_slowly_and_containers_start_slowly(kubesim):
    kubesim.add_nodes(1)
    kubesim.faults.image("example.com/*").pull_error("unreachable").for_("1m")
    kubesim.faults.container(pod="app").slow_start("2m")
    kubesim.apply(pod())
    kubesim.eventually("pod/app", {"status": {"containerStatuses": [{"name": "app", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}}, within="50s")
    kubesim.stays("pod/app", {"status": {"phase": "Pending"}}, during="2m")
    kubesim.eventually("pod/app", {"status": {"phase": "Running"}}, within="3m")
    kubesim.faults.image("other.com/*").slow_pull("3m")
    kubesim.apply(pod("slow", containers=[{"name": "c", "image": "other.com/x"}]))
    kubesim.stays("pod/slow", {"status": {"phase": "Pending"}}, during="170s")
    kubesim.eventually("pod/slow", {"status": {"phase": "Running"}}, within="1m")


@pytest.mark.kubesim(nodes=1, faults=[fault.container(pod="x").exit(at="1m")])
def test_a_container_fault_that_meets_nobody_is_told_as_never_struck(kubesim):
    kubesim.advance("2m")
    (armed,) = kubesim.faults.never_struck()
    assert armed.state == "over"
    kubesim.faults.armed.clear()


def test_a_fault_upon_a_trigger_that_turns_out_impossible_says_so_at_the_end(kubesim):
    armed = kubesim.faults.node("node-9").crash(at="1m")
    kubesim.advance("2m")
    assert "there is no node 'node-9'" in kubesim.faults.why_not(armed)
    kubesim.faults.armed.clear()
    with pytest.raises(UsageError):
        kubesim.faults.node("node-9").crash()


def test_a_manager_that_hears_of_no_leases_takes_no_node_for_lost(kubesim):
    kubesim.add_nodes(1)
    kubesim.advance("1m")
    kubesim.faults.api(client="kube-controller-manager").hold_events().for_("3m")
    kubesim.stays("node/node-1", READY, during="5m")


def test_a_node_that_was_frozen_says_soon_that_it_is_well(kubesim):
    kubesim.add_nodes(2)
    kubesim.advance("10s")
    kubesim.faults.node("node-2").freeze().for_("86s")
    kubesim.advance("60s")
    assert kubesim.get("node/node-2")["spec"]["taints"]
    kubesim.advance("50s")
    assert "taints" not in kubesim.get("node/node-2")["spec"]


def test_a_watch_that_is_cut_shows_nothing_twice(kubesim):
    kubesim.add_nodes(1)
    kubesim.advance("1m")
    runtime = kubesim.nodes["node-1"].machine.runtime
    ranges = [runtime._ipam]
    kubesim.faults.api(client="kubelet@node-1").cut_watch()
    kubesim.advance("10s")
    assert [runtime._ipam] == ranges
    assert runtime._ipam.cidr == kubesim.get("node/node-1")["spec"]["podCIDR"]
