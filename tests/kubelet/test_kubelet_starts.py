"""Containers that cannot be started, and what is said of them."""

import pytest
from kubelet_world import World

from pytest_kubesim.cri import images

EXEC = 'exec: "/nope": stat /nope: no such file or directory'
RUNC = (
    "failed to create shim task: OCI runtime create failed: runc create failed: unable to start "
    f"container process: error during container init: {EXEC}"
)


def kubectl_pod(name, **container):
    spec = {"containers": [{"name": "c", "image": "busybox:1.36", "command": ["sleep", "9999"], **container}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize(("runtime", "last", "why"), [
    ("containerd", (128, "StartError", f"failed to create containerd task: {RUNC}"), f"failed to create containerd task: {RUNC}"),
    (
        "docker", (127, "ContainerCannotRun", f"failed to create task for container: {RUNC}"),
        f'failed to start container "{{id}}": Error response from daemon: failed to create task for container: {RUNC}',
    ),
])
def test_a_command_that_is_not_there_ends_before_it_starts(kubesim, runtime, last, why):
    kubesim.add_nodes(1, runtime=runtime)
    kubesim.apply(kubectl_pod("p", command=["/nope"]))
    pod = kubesim.eventually("pod/p", lambda pod: any(
        "waiting" in one["state"] and one["lastState"] for one in pod["status"].get("containerStatuses", ())
    ), within="10s")
    status = pod["status"]["containerStatuses"][0]
    ended = status["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == last
    assert status["state"]["waiting"] == {
        "reason": "RunContainerError", "message": why.format(id=status["containerID"].partition("://")[2]),
    }
    kubesim.eventually("pod/p", {"status": {"containerStatuses": [
        {"name": "c", "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
    ]}}, within="20s")


def test_cri_o_makes_no_container_of_it(kubesim):
    kubesim.add_nodes(1, runtime="cri-o")
    kubesim.apply(kubectl_pod("p", command=["/nope"]))
    kubesim.eventually("pod/p", {"status": {"containerStatuses": [{"name": "c", "restartCount": 0, "state": {"waiting": {
        "reason": "CreateContainerError",
        "message": "container create failed: executable file `/nope` not found: No such file or directory",
    }}}]}}, within="10s")


@pytest.mark.parametrize(("image", "context", "why"), [
    ("busybox", {}, "container has runAsNonRoot and image will run as root"),
    ("busybox", {"runAsUser": 0}, "container's runAsUser breaks non-root policy"),
    ("busybox", {"runAsUser": 1}, ""),
    ("your-own:1", {}, ""),
])
def test_run_as_non_root_is_verified(kubesim, image, context, why):
    kubesim.add_nodes(1)
    kubesim.apply(kubectl_pod("p", image=image, securityContext={"runAsNonRoot": True, **context}))
    if not why:
        kubesim.eventually("pod/p", {"status": {"phase": "Running"}}, within="30s")
        return
    uid = kubesim.get("pod/p")["metadata"]["uid"]
    waiting = {"reason": "CreateContainerConfigError", "message": f'{why} (pod: "p_default({uid})", container: c)'}
    kubesim.eventually(
        "pod/p", {"status": {"containerStatuses": [{"name": "c", "state": {"waiting": waiting}}]}}, within="10s"
    )


@pytest.mark.parametrize(("image", "problem"), [
    ("nginx", ""),
    ("reg:5000/x/y_z:1.2-3", ""),
    ("UPPER.io/x", ""),
    (f"nginx:1@sha256:{'a' * 64}", ""),
    ("Nginx:1", "invalid reference format: repository name (library/Nginx) must be lowercase"),
    ("reg/UP:1", "invalid reference format: repository name (reg/UP) must be lowercase"),
    ("a b", "invalid reference format"),
    ("nginx:", "invalid reference format"),
    ("nginx@sha256:zz", "invalid reference format"),
    ("x//y", "invalid reference format"),
    ("a" * 64, f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings"),
])
def test_names_of_images_are_checked_as_references(image, problem):
    assert images.problem_of(image) == problem


def test_a_failed_start_is_told_with_the_next_look_at_the_sandbox():
    world = World()
    world.images.missing("nope:1")
    world.pod(containers=[{"name": "c", "image": "nope:1"}])
    world.run(2)
    assert world.container()["state"]["waiting"]["reason"] == "ErrImagePull"
    world.run(16)
    assert world.container()["state"]["waiting"]["reason"] == "ImagePullBackOff"


def test_a_termination_message_is_the_end_of_the_file(kubesim):
    kubesim.add_nodes(1)
    script = "yes aaaaaaaaa | head -c 9000 > /dev/termination-log; echo END >> /dev/termination-log; exit 1"
    one = kubectl_pod("p", command=["sh", "-c", script])["spec"]["containers"][0]
    others = [{"name": f"c{n}", "image": "x:1"} for n in range(5)]
    for name, containers in (("alone", [one]), ("crowded", [one, *others])):
        kubesim.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
                       "spec": {"restartPolicy": "Never", "containers": containers}})
        pod = kubesim.eventually(f"pod/{name}", lambda pod: "terminated" in (
            pod["status"].get("containerStatuses") or [{"state": {}}]
        )[0]["state"], within="30s")
        message = pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"]
        if name == "alone":
            assert len(message) == 4096
            assert message.endswith("a\nEND\n")
        else:
            assert len(message) == 12 * 1024 // 6
