from __future__ import annotations

from pytest_kubesim.cluster import timeline
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.kernel import Kernel


def lines(*entries: tuple[str, str, dict], every_ns: int = NS) -> list[str]:
    kernel = Kernel()
    for number, (kind, actor, fields) in enumerate(entries):
        kernel.call_later(number * every_ns, lambda k=kind, a=actor, f=fields: kernel.journal.record(k, a, **f))
    kernel.run()
    return timeline.lines(kernel.journal, kernel.start_ns)


def request(verb: str, resource: str, code: int = 200, **more: str) -> dict:
    return {"verb": verb, "resource": resource, "namespace": "default", "name": "a", "code": code, **more}


def test_reads_and_heartbeats_are_left_out_and_failures_are_not() -> None:
    found = lines(
        ("request", "op", request("get", "pods")),
        ("request", "op", request("get", "pods", 404)),
        ("request", "op", request("list", "pods", 500, message="broken")),
        ("request", "kubelet@n", request("update", "leases")),
        ("request", "kubelet@n", request("patch", "nodes/status")),
        ("request", "op", request("update", "pods", 409, message="conflict")),
    )
    assert [" ".join(line.split()) for line in found] == [
        "+2s op list pods default/a -> 500 broken", "+5s op update pods default/a -> 409 conflict",
    ]


def test_repeats_are_one_line() -> None:
    found = lines(*[("request", "op", request("patch", "pods"))] * 4, ("log", "op", {"text": "x"}))
    assert [" ".join(line.split()) for line in found] == [
        "+3s op patch pods default/a (4 times since +0s)", "+4s op log text=x",
    ]
