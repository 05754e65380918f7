"""A crash between two writes, found by trying seeds and brought back by one."""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("kubernetes")

from counter_operator import careful_main, main

NAMES = ("ann", "bob", "cleo", "dan")


def run(kubesim, operator_main):
    """Four want a number; the operator crashes at a write that the run's seed chooses."""
    kubesim.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "counter"}, "data": {"last": "0"}})
    operator = kubesim.run(operator_main, name="counter-operator")
    operator.crash(at_write=kubesim.random.randint(1, 8), restart_after="3s")
    for name in NAMES:
        labels = {"wants": "number"}
        kubesim.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}})
    kubesim.advance("1m")
    given = Counter(kubesim.get(f"configmap/{name}")["data"]["number"] for name in NAMES if "data" in kubesim.get(f"configmap/{name}"))
    return [number for number, times in given.items() if times > 1]


def test_some_seeds_show_the_bug_and_one_brings_it_back(kubesim_factory):
    bad = [seed for seed in range(6) if run(kubesim_factory(seed=seed), main)]
    assert bad, "no seed crashed between the two writes"
    assert run(kubesim_factory(seed=bad[0]), main), "the same seed, the same run"


def test_the_repaired_operator_never_gives_a_number_twice(kubesim_factory):
    for seed in range(6):
        assert run(kubesim_factory(seed=seed), careful_main) == []
