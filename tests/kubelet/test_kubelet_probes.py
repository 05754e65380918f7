"""Startup, liveness and readiness probes, and what they cost."""

import pytest
from kubelet_world import World

from pytest_kubesim.cri.programs import ProbeResult, runs_forever, serves, timed_out

HTTP = {"httpGet": {"path": "/healthz", "port": 8080}}


def probed(**probes):
    return [{"name": "c", "image": "app:1", "ports": [{"name": "web", "containerPort": 8080}], **probes}]


def test_a_pod_is_ready_when_its_readiness_probe_says_so():
    world = World()
    world.images["app:1"] = serves(8080, ready_after="12s")
    world.pod(containers=probed(readinessProbe={**HTTP, "periodSeconds": 5}))
    world.run(11)
    assert world.status()["phase"] == "Running"
    assert world.condition("Ready")["status"] == "False"
    assert world.container()["started"]
    assert not world.container()["ready"]
    assert world.events("Unhealthy") == [
        'Warning Unhealthy Readiness probe failed: Get "http://10.244.1.2:8080/healthz": dial tcp 10.244.1.2:8080: connect: connection refused x3'
    ]
    world.run(5)
    assert world.condition("Ready")["status"] == "True"
    assert world.container()["ready"]


def test_steady_probes_cost_nothing():
    world = World()
    world.images["app:1"] = serves()
    probe = {"tcpSocket": {"port": "web"}, "periodSeconds": 1}
    world.pod(containers=probed(readinessProbe=probe, livenessProbe=probe))
    world.run(60)
    assert world.condition("Ready")["status"] == "True"
    before, events = len(world.api.requests), world.kernel.events
    world.run(9)
    assert len(world.api.requests) - before <= 1
    assert world.kernel.events - events < 10


def test_a_failing_liveness_probe_restarts_the_container():
    world = World()
    well = {"ok": True}
    world.images["app:1"] = runs_forever().having(probe=lambda c, p: 200 if well["ok"] else 500)
    world.pod(containers=probed(livenessProbe={**HTTP, "periodSeconds": 10, "failureThreshold": 3}))
    world.run(60)
    assert world.container()["restartCount"] == 0
    well["ok"] = False
    world.run(25)
    assert world.container()["restartCount"] == 0
    world.run(6)
    assert world.container()["restartCount"] == 1
    assert world.container()["lastState"]["terminated"]["exitCode"] == 143
    assert world.events("Killing") == [
        "Normal Killing Container c failed liveness probe, will be restarted"
    ]
    assert world.events("Unhealthy") == [
        "Warning Unhealthy Liveness probe failed: HTTP probe failed with statuscode: 500 x3"
    ]


def test_liveness_and_readiness_wait_for_the_startup_probe():
    world = World()
    world.images["app:1"] = serves(ready_after="25s")
    world.pod(containers=probed(
        startupProbe={**HTTP, "periodSeconds": 10, "failureThreshold": 30},
        livenessProbe={**HTTP, "periodSeconds": 1, "failureThreshold": 1},
        readinessProbe={**HTTP, "periodSeconds": 1},
    ))
    world.run(20)
    assert not world.container()["started"]
    assert not world.container()["ready"]
    assert world.container()["restartCount"] == 0
    world.run(15)
    assert world.container()["started"]
    assert world.container()["ready"]
    assert all(e.startswith("Warning Unhealthy Startup probe failed") for e in world.events("Unhealthy"))


def test_a_failed_startup_probe_kills():
    world = World()
    world.images["app:1"] = serves(ready_after="1h")
    world.pod(containers=probed(startupProbe={**HTTP, "periodSeconds": 5, "failureThreshold": 2}))
    world.run(12)
    assert world.container()["restartCount"] == 1
    assert world.events("Killing") == [
        "Normal Killing Container c failed startup probe, will be restarted"
    ]


def test_initial_delay_and_success_threshold_are_kept():
    world = World()
    world.images["app:1"] = serves()
    world.pod(containers=probed(readinessProbe={
        **HTTP, "initialDelaySeconds": 20, "periodSeconds": 10, "successThreshold": 2,
    }))
    world.run(25)
    assert not world.container()["ready"]
    world.run(10)
    assert world.container()["ready"]


def test_exec_probes_ask_the_programs_hook():
    world = World()
    seen = []

    def exec_(container, command):
        seen.append(command)
        return 0 if len(seen) > 1 else 1

    world.images["app:1"] = runs_forever().having(exec=exec_)
    world.pod(containers=probed(readinessProbe={
        "exec": {"command": ["pg_isready", "-q"]}, "periodSeconds": 3,
    }))
    world.run(5)
    assert world.container()["ready"]
    assert seen[0] == ("pg_isready", "-q")


def test_a_probe_that_is_overridden_from_outside_fails_at_the_next_tick():
    world = World()
    world.images["app:1"] = serves()
    world.pod(containers=probed(readinessProbe={**HTTP, "periodSeconds": 5, "failureThreshold": 2}))
    world.run(60)
    run = world.machine.runtime.pod_state(world.get()["metadata"]["uid"]).find("c")
    run.probe_override = timed_out
    run.changed()
    world.run(11)
    assert not world.container()["ready"]
    assert world.condition("Ready")["message"] == "containers with unready status: [c]"
    run.probe_override = lambda probe: ProbeResult(True)
    run.changed()
    world.run(6)
    assert world.container()["ready"]


def test_readiness_gates_keep_a_pod_from_being_ready():
    world = World()
    world.pod(readinessGates=[{"conditionType": "example.com/gate"}])
    world.run(1)
    assert world.condition("ContainersReady")["status"] == "True"
    assert world.condition("Ready")["message"] == (
        'corresponding condition of pod readiness gate "example.com/gate" does not exist.'
    )
    pod = world.get()
    gate = {"type": "example.com/gate", "status": "True"}
    status = {**pod["status"], "conditions": [*pod["status"]["conditions"], gate]}
    world.api.put("pods", {**pod, "status": status})
    world.run(1)
    assert world.condition("Ready")["status"] == "True"


def test_readiness_is_still_probed_while_a_pod_terminates():
    world = World()
    world.images["app:1"] = runs_forever().having(probe=lambda c, p: True)
    world.pod(containers=[{
        **probed(readinessProbe={**HTTP, "periodSeconds": 2})[0],
        "lifecycle": {"preStop": {"sleep": {"seconds": 10}}},
    }])
    world.run(5)
    world.delete()
    world.run(5)
    assert world.container()["ready"]
    world.run(10)
    assert world.get() is None


AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.47"


@pytest.mark.parametrize(("image", "probe", "ready", "told"), [
    (
        "busybox", {"exec": {"command": ["nope"]}}, False,
        "Unhealthy Readiness probe errored and resulted in unknown state: rpc error: code = Unknown desc = failed to exec in container",
    ),
    ("busybox", {"exec": {"command": ["sleep", "9"]}}, False, 'Unhealthy Readiness probe failed: command timed out: "sleep 9" timed out after 1s'),
    ("busybox", {"grpc": {"port": 5000}}, False, 'Unhealthy Readiness probe failed: timeout: failed to connect service "10.'),
    ("your-own:1", {"httpGet": {"port": "nope"}}, False, 'Unhealthy Readiness probe errored and resulted in unknown state: port "nope" not found'),
    ("your-own:1", {"tcpSocket": {"port": "web"}}, True, ""),
    (
        AGNHOST, {"httpGet": {"port": "web", "path": "/redirect?location=http://example.com/"}}, True,
        "ProbeWarning Readiness probe warning: Probe terminated redirects, Response body: ",
    ),
    (AGNHOST, {"httpGet": {"port": "web", "path": "/redirect?location=/hostname"}}, True, ""),
])
def test_probes_fail_err_or_warn_in_upstream_s_words(kubesim, image, probe, ready, told):
    kubesim.add_nodes(1)
    container = {"name": "c", "image": image, "ports": [{"name": "web", "containerPort": 8080}],
                 "readinessProbe": {**probe, "periodSeconds": 2}}
    container |= {"busybox": {"command": ["sleep", "9999"]}, AGNHOST: {"args": ["netexec"]}}.get(image, {})
    kubesim.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}})
    kubesim.eventually("pod/p", {"status": {"phase": "Running"}}, within="1m")
    kubesim.advance("10s")
    assert kubesim.get("pod/p")["status"]["containerStatuses"][0]["ready"] is ready
    events = [f"{e['reason']} {e['message']}" for e in kubesim.list("events") if e["reason"] in ("Unhealthy", "ProbeWarning")]
    assert [event.startswith(told) for event in events] == ([True] if told else [])


def test_what_cannot_be_asked_kills_nothing(kubesim):
    kubesim.add_nodes(1)
    container = {"name": "c", "image": "busybox", "command": ["sleep", "9999"],
                 "livenessProbe": {"exec": {"command": ["nope"]}, "periodSeconds": 2, "failureThreshold": 1}}
    kubesim.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}})
    kubesim.eventually("pod/p", {"status": {"phase": "Running"}}, within="1m")
    kubesim.stays("pod/p", {"status": {"containerStatuses": [{"name": "c", "restartCount": 0}]}}, during="2m")
