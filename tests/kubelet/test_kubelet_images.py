"""Images: policies, failures, backoff, the runtimes' own words."""

import pytest
from kubelet_world import World

from pytest_kubesim.kubelet.config import KubeletConfiguration


def test_a_missing_image_backs_off():
    world = World()
    world.images.missing("nope:1")
    world.pod(containers=[{"name": "c", "image": "nope:1"}])
    world.run(1)
    text = (
        'rpc error: code = NotFound desc = failed to pull and unpack image "docker.io/library/nope:1": '
        'failed to resolve reference "docker.io/library/nope:1": docker.io/library/nope:1: not found'
    )
    assert world.events(name="web") == [
        'Normal Pulling Pulling image "nope:1"',
        f'Warning Failed Failed to pull image "nope:1": {text}',
        "Warning Failed Error: ErrImagePull",
        'Normal BackOff Back-off pulling image "nope:1"',
        "Warning Failed Error: ImagePullBackOff",
    ]
    assert world.container()["state"]["waiting"] == {"reason": "ErrImagePull", "message": text}
    world.run(10)
    assert world.container()["state"]["waiting"] == {
        "reason": "ImagePullBackOff",
        "message": f'Back-off pulling image "nope:1": ErrImagePull: {text}',
    }
    assert world.status()["phase"] == "Pending"
    world.images.available("nope:1")
    world.run(300)
    assert world.status()["phase"] == "Running"


def test_never_means_never():
    world = World()
    world.pod(containers=[{"name": "c", "image": "x:1", "imagePullPolicy": "Never"}])
    world.run(12)
    assert world.container()["state"]["waiting"] == {
        "reason": "ErrImageNeverPull",
        "message": 'Container image "x:1" is not present with pull policy of Never',
    }


def test_pulls_are_timed_in_the_event_and_done_one_after_the_other():
    world = World(config=KubeletConfiguration())
    world.images.slow("big:1", "10s")
    world.images.slow("small:1", "2s")
    world.pod("one", containers=[{"name": "c", "image": "big:1"}])
    world.run(1)
    world.pod("two", containers=[{"name": "c", "image": "small:1"}])
    world.run(30)
    assert 'Successfully pulled image "big:1" in 10s (10s including waiting)' in world.events("Pulled", "one")[0]
    event = world.events("Pulled", "two")[0]
    assert 'image "small:1" in 2s (' in event
    assert float(event.split("(")[1].split("s including")[0]) > 10


@pytest.mark.parametrize(("runtime", "prefix", "image", "version"), [
    ("containerd", "containerd://", "docker.io/library/nginx:1", "containerd://2.2.1"),
    ("cri-o", "cri-o://", "docker.io/library/nginx:1", "cri-o://1.37.0"),
    ("docker", "docker://", "nginx:1", "docker://29.1.3"),
])
def test_runtimes_differ_as_the_real_ones_do(runtime, prefix, image, version):
    world = World(runtime=runtime)
    world.pod()
    world.run(1)
    assert world.container()["containerID"].startswith(prefix)
    assert world.container()["image"] == image
    assert world.node()["status"]["nodeInfo"]["containerRuntimeVersion"] == version


def test_images_appear_in_the_nodes_status():
    world = World()
    world.pod()
    world.run(11)
    (image,) = world.node()["status"]["images"]
    assert image["names"][1] == "docker.io/library/nginx:1"


def test_secrets_that_are_not_there_are_named_when_a_pull_fails(kubesim):
    kubesim.add_nodes(1)
    kubesim.images.pull_error("private:*", "denied")
    kubesim.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "known"}, "stringData": {"a": "b"}})
    for name, image in (("private", "private:1"), ("public", "public:1")):
        kubesim.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "imagePullSecrets": [{"name": "known"}, {"name": "lost"}, {"name": "gone"}],
            "containers": [{"name": "c", "image": image}],
        }})
    kubesim.advance("10s")
    told = [(e["involvedObject"]["name"], e["message"]) for e in kubesim.list("events") if e["reason"] == "FailedToRetrieveImagePullSecret"]
    assert told == [(
        "private", "Unable to retrieve some image pull secrets (lost, gone); attempting to pull the image may not succeed.",
    )]
