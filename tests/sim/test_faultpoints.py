from __future__ import annotations

from pytest_kubesim.sim.faultpoints import FaultPoints


def test_the_first_effect_wins_and_a_disarmed_fault_has_none() -> None:
    points = FaultPoints()
    assert points.consult("p", n=1) is None
    disarm = points.arm("p", lambda a: "first" if a["n"] == 1 else None)
    points.arm("p", lambda a: "second")
    assert [points.consult("p", n=n) for n in (1, 2)] == ["first", "second"]
    disarm()
    assert points.consult("p", n=1) == "second"
    assert points.armed("p")
    assert not points.armed("q")
