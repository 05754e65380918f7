"""Plugins of users: peers of the built-in ones at every extension point."""

import pytest
from scheduler_world import World

from pytest_kubesim.apimachinery.meta import GroupVersionResource
from pytest_kubesim.errors import UsageError
from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.profile import Profile


class Recorder:
    name = "Recorder"

    def __init__(self):
        self.calls = []

    def attach(self, handle):
        self.handle = handle

    def pre_enqueue(self, pod):
        self.calls.append("pre_enqueue")

    def pre_filter(self, state, pod, nodes):
        self.calls.append("pre_filter")
        return None, None

    def filter(self, state, pod, node):
        self.calls.append(f"filter {node.name}")
        return fwk.unresolvable("not this one") if node.name == "node-0" else None

    def pre_score(self, state, pod, nodes):
        self.calls.append("pre_score")

    def score(self, state, pod, node):
        self.calls.append(f"score {node.name}")
        return 100 if node.name == "node-2" else 0

    def reserve(self, state, pod, node_name):
        self.calls.append(f"reserve {node_name}")

    def unreserve(self, state, pod, node_name):
        self.calls.append(f"unreserve {node_name}")

    def permit(self, state, pod, node_name):
        self.calls.append("permit")
        return None, 0

    async def pre_bind(self, state, pod, node_name):
        self.calls.append("pre_bind")

    def post_bind(self, state, pod, node_name):
        self.calls.append("post_bind")


def test_every_extension_point_is_called_in_order():
    plugin = Recorder()
    world = World(profiles=[Profile(plugins=[plugin], weights={"Recorder": 1000})]).nodes(3).start()
    world.pod("p")
    world.run()
    assert world.where("p") == "node-2"
    assert plugin.calls == [
        "pre_enqueue", "pre_filter", "filter node-0", "filter node-1", "filter node-2", "pre_score",
        "score node-1", "score node-2", "reserve node-2", "permit", "pre_bind", "post_bind",
    ]


def test_a_permit_can_be_waited_for_and_refused():
    class Gate:
        name = "Gate"

        def attach(self, handle):
            self.handle = handle

        def permit(self, state, pod, node_name):
            return fwk.Status(fwk.WAIT), 10 * 10**9

    gate = Gate()
    world = World(profiles=[Profile(plugins=[gate])]).nodes(1).start()
    first, second = world.pod("first"), world.pod("second")
    world.run(1)
    assert world.where("first") is None
    gate.handle.waiting_pod(first["metadata"]["uid"]).allow("Gate")
    world.run()
    assert world.where("first") == "node-0"
    world.run(10)
    assert world.where(second["metadata"]["name"]) is None
    assert world.why("second") == "0/1 nodes are available: 1 rejected due to timeout after waiting 10s at plugin Gate."


def test_two_profiles_share_the_nodes():
    first = Profile(plugins=[Recorder])
    second = Profile(scheduler_name="second", disabled={"NodeResourcesFit"})
    world = World(profiles=[first, second]).nodes(2, cpu="1").start()
    world.pod("strict", cpu="5")
    world.pod("loose", cpu="5", schedulerName="second")
    world.run()
    assert world.where("strict") is None
    assert world.where("loose")


def test_a_signed_plugin_is_asked_once_for_pods_alike():
    class Signed:
        name = "Signed"
        asked = 0

        def sign(self, pod):
            return pod.labels.get("app")

        def filter(self, state, pod, node):
            Signed.asked += 1
            return None if pod.labels.get("app") == node.labels.get("app") else fwk.unresolvable("no")

    world = World(profiles=[Profile(plugins=[Signed], disabled={
        "VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone", "PodTopologySpread", "InterPodAffinity"})])
    for i in range(4):
        world.node(f"n{i}", labels={"app": "x" if i % 2 else "y"})
    world.start()
    for i in range(6):
        world.pod(f"p{i}", labels={"app": "x"})
    world.run()
    assert {node for _, node in world.api.bindings} == {"n1", "n3"}
    assert Signed.asked < 4 * 6


def test_profiles_that_cannot_be_meant_are_refused():
    with pytest.raises(UsageError, match="no default scheduler plugin is called Nope"):
        Profile(disabled={"Nope"}).build()
    with pytest.raises(UsageError, match="NodeName is there twice"):
        Profile(plugins=[type("P", (), {"name": "NodeName"})]).build()


def test_a_profile_reports_under_its_own_name():
    world = World(profiles=[Profile(), Profile(scheduler_name="second")]).nodes(1).start()
    world.pod("first")
    world.pod("other", schedulerName="second")
    world.run()
    assert {
        (event["regarding"]["name"], event["reportingController"])
        for event in world.api.objects["events"].values()
    } == {("first", "default-scheduler"), ("other", "second")}


def test_a_pod_that_waits_for_a_permit_is_preempted_and_tried_again():
    class Gate:
        name = "Gate"

        def permit(self, state, pod, node_name):
            return (fwk.Status(fwk.WAIT), 100 * 10**9) if pod.priority < 5 else (None, 0)

    world = World(profiles=[Profile(plugins=[Gate])]).nodes(1, cpu="1").start()
    world.pod("low", cpu="800m", priority=1)
    world.run(1)
    world.pod("vip", cpu="800m", priority=9)
    world.run(3)
    assert world.where("vip") == "node-0"
    assert "waiting on permit for pod: preempted" in [n for _, _, n in world.events("FailedScheduling")]


def test_a_plugin_may_wait_for_objects_of_a_crd():
    class Licensed:
        name = "Licensed"

        def attach(self, handle):
            self.store = handle.informers.informer(GroupVersionResource("example.com", "v1", "licenses")).store

        def filter(self, state, pod, node):
            return None if self.store.list() else fwk.unresolvable("no license")

        def events(self):
            return [fwk.on("licenses.v1.example.com", fwk.ADD)]

    world = World(profiles=[Profile(plugins=[Licensed])]).nodes(1).start()
    world.pod("p")
    world.run(5)
    assert world.why("p").startswith("0/1 nodes are available: 1 no license.")
    world.api.put("licenses", {"metadata": {"name": "l", "namespace": "default"}})
    world.run(5)
    assert world.where("p") == "node-0"


def test_a_pod_event_is_for_any_pod():
    event = fwk.ClusterEvent(fwk.POD, fwk.ADD | fwk.DELETE)
    for resource in (fwk.ASSIGNED_POD, fwk.UNSCHEDULED_POD, fwk.TARGET_POD):
        assert event.covers(fwk.ClusterEvent(resource, fwk.ADD))
    assert not event.covers(fwk.ClusterEvent(fwk.NODE, fwk.ADD))
