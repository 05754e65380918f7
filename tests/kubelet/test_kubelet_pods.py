"""Pods on a node: how they start, run, crash and end."""

import pytest
from kubelet_world import World

from pytest_kubesim.cri.programs import crashes, exits, hangs_on_sigterm, oom, stops_slowly
from pytest_kubesim.kubelet.config import KubeletConfiguration


def states(statuses):
    return [next(iter(s["state"])) for s in statuses]


def test_a_pod_becomes_running_and_ready():
    world = World()
    world.pod()
    world.run(1)
    status = world.status()
    assert status["phase"] == "Running"
    assert [(c["type"], c["status"]) for c in status["conditions"]] == [
        ("PodReadyToStartContainers", "True"),
        ("Initialized", "True"),
        ("Ready", "True"),
        ("ContainersReady", "True"),
        ("PodScheduled", "True"),
    ]
    assert status["podIP"] == "10.244.1.2"
    assert status["hostIP"] == "172.18.0.3"
    assert status["observedGeneration"] == 1
    container = world.container()
    assert container["ready"]
    assert container["started"]
    assert container["restartCount"] == 0
    assert container["image"] == "docker.io/library/nginx:1"
    assert container["imageID"].startswith("docker.io/library/nginx@sha256:")
    assert container["containerID"].startswith("containerd://")
    assert world.events(name="web") == [
        'Normal Pulling Pulling image "nginx:1"',
        f'Normal Pulled Successfully pulled image "nginx:1" in 0s (0s including waiting). Image size: {world.machine.runtime.list_images()[0].size} bytes.',
        "Normal Created Container created",
        "Normal Started Container started",
    ]


def test_a_second_pod_finds_the_image_there():
    world = World()
    world.pod("one")
    world.run(1)
    world.pod("two")
    world.run(1)
    assert world.events("Pulled", "two") == [
        'Normal Pulled Container image "nginx:1" already present on machine and can be accessed by the pod'
    ]


def test_phases_are_reported_on_the_way_when_things_take_time():
    world = World(config=KubeletConfiguration())
    world.pod()
    world.run(0.05)
    assert world.status()["phase"] == "Pending"
    assert world.container()["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert world.condition("PodReadyToStartContainers")["message"] == "no pod sandbox exists"
    assert world.condition("Ready")["message"] == "containers with unready status: [c]"
    world.run(0.5)
    assert world.condition("PodReadyToStartContainers")["status"] == "True"
    world.run(6)
    assert world.status()["phase"] == "Running"


def test_a_job_pod_succeeds():
    world = World()
    world.images["nginx:1"] = exits(0, after="3s")
    world.pod(restartPolicy="Never")
    world.run(2)
    assert world.status()["phase"] == "Running"
    world.run(2)
    status = world.status()
    assert status["phase"] == "Succeeded"
    terminated = world.container()["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (0, "Completed")
    assert (terminated["startedAt"], terminated["finishedAt"]) == (
        "2026-01-01T00:00:00Z", "2026-01-01T00:00:03Z",
    )
    assert world.condition("Ready")["reason"] == "PodCompleted"
    assert status["podIP"] == "10.244.1.2"
    assert world.condition("PodReadyToStartContainers")["message"] == "pod sandbox is not ready"


def test_a_failed_pod_that_is_never_restarted():
    world = World()
    world.images["nginx:1"] = crashes(3)
    world.pod(restartPolicy="Never")
    world.run(1)
    assert world.status()["phase"] == "Failed"
    assert world.container()["state"]["terminated"]["exitCode"] == 3
    assert world.condition("ContainersReady")["reason"] == "PodFailed"


def test_crash_loop_backs_off_ten_seconds_doubling_to_five_minutes():
    world = World()
    world.images["nginx:1"] = crashes(1)
    world.pod()
    world.run(5)
    container = world.container()
    assert container["restartCount"] == 1
    # As upstream: the reason is told by the next sync, which is when the backoff is over.
    assert container["state"]["terminated"]["exitCode"] == 1
    assert container["lastState"]["terminated"]["exitCode"] == 1
    assert world.status()["phase"] == "Running"
    restarts, waiting = [], []
    for _ in range(1500):
        world.run(1)
        count = world.container()["restartCount"]
        if not restarts or restarts[-1][1] != count:
            restarts.append((world.time, count))
    for body in world.api.bodies:
        for one in ((body or {}).get("status") or {}).get("containerStatuses") or ():
            if one["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff":
                waiting.append(one["state"]["waiting"]["message"])
    gaps = [round(b[0] - a[0]) for a, b in zip(restarts[1:], restarts[2:], strict=False)]
    assert gaps[:5] == [20, 40, 80, 160, 300]
    uid = world.get()["metadata"]["uid"]
    assert waiting[0] == f"back-off 10s restarting failed container=c pod=web_default({uid})"
    assert "back-off 5m0s restarting" in waiting[-1]
    assert world.events("BackOff")[0].startswith(
        "Warning BackOff Back-off restarting failed container c in pod web_default("
    )


def test_an_out_of_memory_kill_says_so():
    world = World()
    world.images["nginx:1"] = oom("2s")
    world.pod(restartPolicy="Never")
    world.run(3)
    terminated = world.container()["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (137, "OOMKilled")


def test_on_failure_restarts_until_success():
    world = World()
    world.images["nginx:1"] = crashes(1, times=1)
    world.images.pods["web"] = crashes(1, times=1)
    world.pod(restartPolicy="OnFailure")
    world.run(1)
    assert world.container()["restartCount"] == 1
    assert world.status()["phase"] == "Running"


def test_graceful_deletion_ends_with_the_pod_gone():
    world = World()
    world.pod()
    world.run(1)
    world.delete()
    world.run(1)
    assert world.get() is None
    assert world.events("Killing") == ["Normal Killing Stopping container c"]
    assert ("DELETE", "/api/v1/namespaces/default/pods/web") in world.api.requests
    assert world.machine.runtime.pods() == []


def test_the_final_status_is_reported_before_the_pod_goes():
    world = World()
    world.images["nginx:1"] = stops_slowly("4s")
    world.pod()
    world.run(1)
    world.delete()
    world.run(3)
    assert world.status()["phase"] == "Running"
    world.run(2)
    assert world.get() is None
    patches = [
        body["status"]
        for (method, path), body in zip(world.api.requests, world.api.bodies, strict=True)
        if method == "PATCH" and path.endswith("pods/web/status")
    ]
    assert patches[-1].get("phase") == "Succeeded" or patches[-2].get("phase") == "Succeeded"


def test_sigterm_that_is_ignored_is_followed_by_sigkill():
    world = World()
    world.images["nginx:1"] = hangs_on_sigterm()
    world.pod(terminationGracePeriodSeconds=12)
    world.run(1)
    world.delete()
    world.run(11.5)
    assert world.get() is not None
    world.run(1)
    assert world.get() is None
    stopped = [e for e in world.kernel.journal.entries("container") if e.fields["what"] == "stopped"]
    assert stopped[0].fields["exit_code"] == 137


def test_pre_stop_comes_first_and_uses_up_grace():
    world = World()
    world.images["nginx:1"] = hangs_on_sigterm()
    world.pod(containers=[{
        "name": "c", "image": "nginx:1", "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
    }], terminationGracePeriodSeconds=8)
    world.run(1)
    world.delete()
    world.run(7.5)
    assert world.get() is not None
    world.run(1)
    assert world.get() is None


def test_a_shorter_grace_period_is_obeyed():
    world = World()
    world.images["nginx:1"] = hangs_on_sigterm()
    world.pod(terminationGracePeriodSeconds=300)
    world.run(1)
    world.delete()
    world.run(5)
    world.delete(grace=3)
    world.run(4)
    assert world.get() is None


def test_a_pod_removed_by_force_is_stopped_all_the_same():
    world = World()
    world.pod()
    world.run(1)
    world.api.remove("pods", "default/web")
    world.run(1)
    assert world.machine.runtime.pods() == []


def test_init_containers_run_one_after_the_other():
    world = World()
    world.images["first"] = exits(0, after="2s")
    world.images["second"] = exits(0, after="2s")
    world.pod(initContainers=[{"name": "a", "image": "first"}, {"name": "b", "image": "second"}])
    world.run(1)
    assert world.status()["phase"] == "Pending"
    assert states(world.status()["initContainerStatuses"]) == ["running", "waiting"]
    assert world.container()["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert world.condition("Initialized")["message"] == "containers with incomplete status: [a b]"
    world.run(2)
    assert states(world.status()["initContainerStatuses"]) == ["terminated", "running"]
    assert world.condition("Initialized")["message"] == "containers with incomplete status: [b]"
    world.run(2)
    assert world.status()["phase"] == "Running"
    assert world.condition("Initialized")["status"] == "True"
    assert [s["ready"] for s in world.status()["initContainerStatuses"]] == [True, True]


def test_a_failing_init_container_fails_a_pod_that_is_never_restarted():
    world = World()
    world.images["first"] = exits(7)
    world.pod(restartPolicy="Never", initContainers=[{"name": "a", "image": "first"}])
    world.run(1)
    assert world.status()["phase"] == "Failed"
    assert world.condition("Initialized")["reason"] == "ContainersNotInitialized"
    assert world.container()["state"] == {"waiting": {"reason": "PodInitializing"}}


def test_sidecars_start_first_and_stop_last():
    world = World()
    world.images["nginx:1"] = stops_slowly("3s")
    world.pod(initContainers=[
        {"name": "one", "image": "side:1", "restartPolicy": "Always"},
        {"name": "two", "image": "side:2", "restartPolicy": "Always"},
    ])
    world.run(1)
    assert world.status()["phase"] == "Running"
    assert all(s["ready"] and s["started"] for s in world.status()["initContainerStatuses"])
    world.delete()
    world.run(5)
    order = [
        (e.fields["what"], e.fields["container"]) for e in world.kernel.journal.entries("container")
    ]
    assert order == [
        ("started", "one"), ("started", "two"), ("started", "c"),
        ("stopped", "c"), ("stopped", "two"), ("stopped", "one"),
    ]
    assert world.get() is None


def test_a_pod_with_sidecars_succeeds_when_its_containers_have():
    world = World()
    world.images["nginx:1"] = exits(0, after="2s")
    world.pod(restartPolicy="Never", initContainers=[
        {"name": "one", "image": "side:1", "restartPolicy": "Always"},
    ])
    world.run(3)
    assert world.status()["phase"] == "Succeeded"
    assert "terminated" in world.status()["initContainerStatuses"][0]["state"]


def test_the_active_deadline_fails_a_pod():
    world = World()
    world.pod(activeDeadlineSeconds=20, restartPolicy="Never")
    world.run(19)
    assert world.status()["phase"] == "Running"
    world.run(2)
    status = world.status()
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")
    assert status["message"] == "Pod was active on the node longer than the specified deadline"


def test_a_changed_image_restarts_the_container():
    world = World()
    world.pod()
    world.run(1)
    pod = world.get()
    spec = {**pod["spec"], "containers": [{**pod["spec"]["containers"][0], "image": "nginx:2"}]}
    world.api.put("pods", {**pod, "spec": spec})
    world.run(1)
    assert world.container()["image"] == "docker.io/library/nginx:2"
    assert world.container()["restartCount"] == 1
    assert world.events("Killing") == ["Normal Killing Container c definition changed, will be restarted"]


def test_a_container_rule_restarts_on_an_exit_code_only():
    world = World()
    world.images["nginx:1"] = crashes(42, times=1)
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    world.pod(restartPolicy="Never", containers=[{
        "name": "c", "image": "nginx:1", "restartPolicy": "Never", "restartPolicyRules": rules,
    }])
    world.run(1)
    assert world.status()["phase"] == "Running"
    assert world.container()["restartCount"] == 1


def test_host_network_pods_have_the_nodes_address():
    world = World()
    world.pod(hostNetwork=True)
    world.run(1)
    assert world.status()["podIP"] == "172.18.0.3"


def test_a_failed_post_start_hook_kills_the_container():
    world = World()
    world.images["nginx:1"] = crashes(0, after="1h").having(exec=lambda c, command: 1)
    world.pod(restartPolicy="Never", containers=[{
        "name": "c", "image": "nginx:1", "lifecycle": {"postStart": {"exec": {"command": ["no"]}}},
    }])
    world.run(1)
    assert world.events("FailedPostStartHook") == ["Warning FailedPostStartHook PostStartHook failed"]
    assert world.events("Killing") == ["Normal Killing FailedPostStartHook"]


@pytest.mark.parametrize(("policy", "phase"), [("Always", "Running"), ("Never", "Failed")])
def test_a_node_that_reboots_starts_containers_again_if_it_may(policy, phase):
    world = World()
    world.pod(restartPolicy=policy)
    world.run(1)
    boot = world.node()["status"]["nodeInfo"]["bootID"]
    world.machine.crash()
    world.run(30)
    assert world.status()["phase"] == "Running"
    world.machine.start()
    world.run(15)
    assert world.status()["phase"] == phase
    assert world.node()["status"]["nodeInfo"]["bootID"] != boot
    if policy == "Always":
        container = world.container()
        assert container["restartCount"] == 1
        assert container["lastState"]["terminated"]["exitCode"] == 255
        assert world.events("SandboxChanged") == [
            "Normal SandboxChanged Pod sandbox changed, it will be killed and re-created."
        ]


def test_a_restarted_kubelet_takes_its_pods_up_again_without_touching_them():
    world = World()
    world.pod()
    world.pod("gone")
    world.run(1)
    before = world.container()["containerID"]
    world.machine.stop_kubelet()
    world.api.remove("pods", "default/gone")
    world.run(60)
    world.machine.start_kubelet()
    world.run(5)
    assert world.container()["containerID"] == before
    assert world.container()["ready"]
    assert world.container()["restartCount"] == 0
    assert len(world.machine.runtime.pods()) == 1


def test_what_somebody_else_writes_into_the_status_is_put_right():
    world = World()
    world.pod()
    world.run(1)
    pod = world.get()
    conditions = [
        {**c, "status": "False"} if c["type"] == "Ready" else c
        for c in [*pod["status"]["conditions"], {"type": "example.com/own", "status": "True"}]
    ]
    world.api.put("pods", {**pod, "status": {**pod["status"], "conditions": conditions}})
    world.run(11)
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("example.com/own")["status"] == "True"


def test_statuses_reach_the_server_when_it_is_back():
    world = World()
    world.pod()
    world.run(1)
    world.images["nginx:1"] = exits(0)
    world.api.down = True
    world.machine.runtime.pod_state(world.get()["metadata"]["uid"]).containers[0].exit(5)
    world.run(30)
    world.api.down = False
    world.run(15)
    assert world.container()["restartCount"] >= 1


def test_a_pod_that_has_ended_goes_as_soon_as_it_is_deleted():
    world = World()
    world.images["nginx:1"] = exits(0)
    world.pod(restartPolicy="Never")
    world.run(5)
    assert world.status()["phase"] == "Succeeded"
    world.delete()
    world.run(1)
    assert world.get() is None
    assert world.machine.runtime.pods() == []


def test_a_pod_that_had_ended_before_the_kubelet_started_goes_too():
    world = World()
    world.images["nginx:1"] = exits(0)
    world.pod(restartPolicy="Never")
    world.run(5)
    world.machine.stop_kubelet()
    world.delete()
    world.machine.start_kubelet()
    world.run(5)
    assert world.get() is None


def test_one_exit_may_restart_all_containers():
    world = World()
    world.images["nginx:1"] = crashes(42, after="5s", times=1)
    rules = [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]
    world.pod(restartPolicy="Never", containers=[
        {"name": "a", "image": "nginx:1", "restartPolicy": "Never", "restartPolicyRules": rules},
        {"name": "b", "image": "other:1"},
    ])
    world.run(4)
    first = [c["containerID"] for c in world.status()["containerStatuses"]]
    world.run(4)
    status = world.status()
    assert status["phase"] == "Running"
    assert [c["restartCount"] for c in status["containerStatuses"]] == [1, 1]
    assert all(new["containerID"] not in first for new in status["containerStatuses"])
    assert world.condition("AllContainersRestarting")["status"] == "False"


def test_a_frozen_node_goes_on_where_it_stood():
    world = World()
    world.pod()
    world.run(1)
    world.machine.pause()
    world.delete()
    world.run(60)
    assert world.get() is not None
    world.machine.resume()
    world.run(5)
    assert world.get() is None


def test_equal_runs_have_equal_journals():
    digests = []
    for _ in range(2):
        world = World(config=KubeletConfiguration())
        world.images["nginx:1"] = crashes(1, after="3s", times=2)
        for number in range(5):
            world.pod(f"web-{number}")
        world.run(120)
        digests.append(world.kernel.journal.digest())
    assert digests[0] == digests[1]
