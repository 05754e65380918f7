"""What the benchmarks share: a clock that the simulation does not turn, and lines that say ratios.

Run them with `python -m pytest tests/bench -s`; they are no part of the normal run.  Medians are what
to compare; a budget that is missed is printed, never asserted.

The same work against a real control plane: set `KUBESIM_ORACLE` to the path of a kubeconfig that
leads to a kube-apiserver (for the cluster of many pods: one with controllers, scheduler and kwok);
the ratios are printed then.
"""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

# In a list, where the switch of clocks does not look for it.
_CLOCK = [time.perf_counter]

real_time = pytest.mark.benchmark(timer=lambda: _CLOCK[0]())
"""The mark of a benchmark that runs while a cluster holds the clocks."""

ORACLE = os.environ.get("KUBESIM_ORACLE", "")

needs_oracle = pytest.mark.skipif(not ORACLE, reason="KUBESIM_ORACLE names no kubeconfig")


def now() -> float:
    """Seconds of real time."""
    return _CLOCK[0]()


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    gc.collect()
    start = now()
    work()
    return now() - start


def say(what: str, measured: str, budget: str) -> None:
    """A line beside the table of pytest-benchmark."""
    sys.stdout.write(f"\n  {what}: {measured} (budget: {budget})\n")


def in_new_processes(code: str, *arguments: str, rounds: int = 5) -> list[list[float]]:
    """The numbers that `code` prints on its last line, in processes of their own."""
    found: list[list[float]] = []
    for _ in range(rounds):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
        )
        found.append([float(number) for number in done.stdout.splitlines()[-1].split()])
    return found


def medians(rows: list[list[float]]) -> list[float]:
    """The median of each column."""
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def deployment(name: str, replicas: int) -> dict[str, Any]:
    """A Deployment of small pods."""
    labels = {"app": name}
    container = {
        "name": "c",
        "image": "nginx",
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
