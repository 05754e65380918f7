from __future__ import annotations

from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.sim.network import Network


def test_without_latency_and_cuts_a_message_does_not_suspend() -> None:
    kernel = Kernel()
    task = kernel.spawn(Network(kernel).transit("a", "b"), name="t", eager=True)
    assert task.done()


def test_a_message_into_a_partition_arrives_when_it_has_healed() -> None:
    kernel = Kernel()
    network = Network(kernel)
    network.cut("a", "b")
    task = kernel.spawn(network.transit("a", "b"), name="t")
    back = kernel.spawn(network.transit("b", "a"), name="t")
    kernel.run(until_ns=kernel.now_ns + NS)
    assert (task.done(), back.done()) == (False, True)
    network.heal("a", "b")
    kernel.run()
    assert task.done()


def test_two_cuts_need_two_heals() -> None:
    kernel = Kernel()
    network = Network(kernel)
    network.cut("a", "*")
    network.cut("a", "*")
    network.heal("a", "*")
    assert not network.reachable("a", "b")
    network.heal("a", "*")
    assert network.reachable("a", "b")


def test_latency_is_drawn_between_its_bounds() -> None:
    kernel = Kernel()
    network = Network(kernel, (10, 20))
    kernel.run_coroutine(network.transit("a", "b"))
    assert 10 <= kernel.elapsed_ns <= 20
