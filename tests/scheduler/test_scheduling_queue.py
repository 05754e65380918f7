"""Where a pod waits, for how long, and what moves it."""

import pytest

from pytest_kubesim.scheduler import framework as fwk
from pytest_kubesim.scheduler.framework import ClusterEvent
from pytest_kubesim.scheduler.nominator import Nominator
from pytest_kubesim.scheduler.plugins.priority_sort import PrioritySort
from pytest_kubesim.scheduler.pod_info import PodInfo
from pytest_kubesim.scheduler.scheduling_queue import (
    ACTIVE,
    BACKOFF,
    UNSCHEDULABLE,
    QueueingPlugins,
    SchedulingQueue,
)
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.sim.process import Process

NODE_ADDED = ClusterEvent(fwk.NODE, fwk.ADD)
LABELLED = ClusterEvent(fwk.NODE, fwk.UPDATE_NODE_LABEL)


def pod(name, priority=0):
    return PodInfo({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"containers": [], "priority": priority, "schedulerName": "default-scheduler"},
    })


class Desk:
    def __init__(self):
        self.kernel = Kernel()
        self.process = Process(self.kernel, "scheduler")
        self.process.start()
        self.gated = set()
        self.helps = True
        plugins = QueueingPlugins(
            {"Gate": lambda p: fwk.unresolvable("gated") if p.name in self.gated else None},
            {"Fit": [fwk.on(fwk.NODE, fwk.ADD, lambda p, old, new: self.helps)], "Gate": []},
            PrioritySort().sort_key,
        )
        self.queue = SchedulingQueue(self.process, Nominator(), {"default-scheduler": plugins})

    def pop(self):
        return self.kernel.run_coroutine(self.queue.pop())

    def names(self, place):
        return [p.name for p in self.queue.pods(place)]

    def run(self, seconds):
        self.kernel.run(until_ns=self.kernel.now_ns + int(seconds * NS))

    def reject(self, info, *plugins):
        info.unschedulable_plugins = set(plugins)
        self.queue.add_unschedulable(info)


def test_priority_first_then_arrival():
    desk = Desk()
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
        desk.queue.add(pod(name, priority))
        desk.run(0.001)
    assert [desk.pop().pod.name for _ in range(4)] == ["b", "d", "a", "c"]


def test_a_rejected_pod_waits_for_an_event_that_helps():
    desk = Desk()
    desk.queue.add(pod("a"))
    desk.reject(desk.pop(), "Fit")
    assert desk.names(UNSCHEDULABLE) == ["a"]
    desk.queue.move_all(LABELLED, None, None)
    desk.helps = False
    desk.queue.move_all(NODE_ADDED, None, None)
    assert desk.names(UNSCHEDULABLE) == ["a"]
    desk.helps = True
    desk.run(3)
    desk.queue.move_all(NODE_ADDED, None, None)
    assert desk.names(ACTIVE) == ["a"]


def test_an_event_in_flight_counts():
    desk = Desk()
    desk.queue.add(pod("a"))
    info = desk.pop()
    desk.queue.move_all(NODE_ADDED, None, None)
    desk.reject(info, "Fit")
    assert desk.names(BACKOFF) == ["a"]


def test_a_pod_that_backs_off_is_taken_when_nothing_else_is_there():
    desk = Desk()
    desk.queue.add(pod("a"))
    info = desk.pop()
    desk.queue.move_all(NODE_ADDED, None, None)
    desk.reject(info, "Fit")
    desk.queue.add(pod("b"))
    assert [desk.pop().pod.name, desk.pop().pod.name] == ["b", "a"]


def test_a_mishap_is_tried_again_after_the_back_off_which_doubles():
    desk = Desk()
    desk.queue.add(pod("a"))
    tried = []
    for _ in range(6):
        info = desk.pop()
        tried.append((desk.kernel.now_ns - desk.kernel.start_ns) // NS)
        desk.reject(info)
    waits = [b - a for a, b in zip(tried, tried[1:], strict=False)]
    assert waits == [2, 3, 5, 9, 11]


def test_a_gated_pod_stays_out_until_it_is_updated():
    desk = Desk()
    desk.gated.add("a")
    desk.queue.add(pod("a"))
    assert desk.names(UNSCHEDULABLE) == ["a"]
    desk.queue.move_all(NODE_ADDED, None, None)
    assert desk.names(UNSCHEDULABLE) == ["a"]
    desk.gated.clear()
    desk.queue.activate(["a"])
    assert desk.names(ACTIVE) == ["a"]


def test_after_five_minutes_it_is_tried_anyway():
    desk = Desk()
    desk.queue.add(pod("a"))
    desk.reject(desk.pop(), "Fit")
    desk.run(299)
    assert desk.names(UNSCHEDULABLE) == ["a"]
    desk.run(32)
    assert desk.names(ACTIVE) == ["a"]


def test_a_pending_plugin_skips_the_back_off():
    desk = Desk()
    desk.queue.add(pod("a"))
    info = desk.pop()
    info.pending_plugins = {"Fit"}
    desk.queue.add_unschedulable(info)
    desk.queue.move_all(NODE_ADDED, None, None)
    assert desk.names(ACTIVE) == ["a"]


@pytest.mark.parametrize("place", [ACTIVE, UNSCHEDULABLE])
def test_a_deleted_pod_is_nowhere(place):
    desk = Desk()
    desk.queue.add(pod("a"))
    if place == UNSCHEDULABLE:
        desk.reject(desk.pop(), "Fit")
    desk.queue.delete("a")
    assert len(desk.queue) == 0
    desk.queue.add(pod("b"))
    assert desk.pop().pod.name == "b"


def test_an_idle_queue_has_no_timers():
    desk = Desk()
    desk.queue.add(pod("a"))
    desk.queue.done(desk.pop().pod.uid)
    desk.run(1)
    assert desk.kernel.timers(periodic=True) == []
