"""Which pods go first."""

import random

from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery import timestamps
from pytest_kubesim.controller_manager import pod_ranking

NOW = timestamps.parse_time("2026-01-02T00:00:00Z")


def pod(name, *, node="n", phase="Running", ready="2026-01-01T00:00:00Z", cost=None, restarts=0,
        created="2026-01-01T00:00:00Z"):
    conditions = []
    if ready:
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": ready}]
    annotations = {} if cost is None else {pod_ranking.POD_DELETION_COST: cost}
    statuses = [{"name": "c", "restartCount": restarts}]
    return {
        "metadata": {"name": name, "uid": name, "annotations": annotations,
                     "creationTimestamp": created},
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "conditions": conditions, "containerStatuses": statuses},
    }


def first(*candidates, related=()):
    return pod_ranking.first_to_go(candidates, related, 1, NOW)[0]["metadata"]["name"]


def test_pods_without_a_node_go_first():
    assert first(pod("a"), pod("b", node="")) == "b"


def test_pending_pods_go_before_running_ones():
    assert first(pod("a"), pod("b", phase="Pending", ready="")) == "b"


def test_pods_that_are_not_ready_go_before_ready_ones_whatever_their_cost():
    assert first(pod("a", cost="-100"), pod("b", ready="", cost="1000")) == "b"


def test_the_lower_cost_goes_first():
    assert first(pod("a", cost="5"), pod("b", cost="-5"), pod("c")) == "b"


def test_a_cost_that_is_no_number_counts_as_none():
    assert pod_ranking.deletion_cost(pod("a", cost="high")) == 0
    assert pod_ranking.deletion_cost(pod("a", cost="+3")) == 0
    assert pod_ranking.deletion_cost(pod("a", cost="3")) == 3


def test_pods_that_share_a_node_with_relatives_go_first():
    crowd = [pod("x", node="n2"), pod("y", node="n2")]
    assert first(pod("a", node="n1"), pod("b", node="n2"), related=crowd) == "b"


def test_younger_pods_go_first_on_a_logarithmic_scale():
    young, old = "2026-01-01T23:59:00Z", "2026-01-01T00:00:00Z"
    assert first(pod("a", created=old, ready=old), pod("b", created=young, ready=young)) == "b"


def test_ages_of_the_same_magnitude_are_decided_by_uid():
    one, other = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
    assert first(pod("b", ready=other, created=other), pod("a", ready=one, created=one)) == "a"


def test_pods_restarted_more_often_go_first():
    assert first(pod("a"), pod("b", restarts=3)) == "b"


@given(st.randoms(use_true_random=False), st.integers(0, 6))
def test_the_order_does_not_depend_on_the_order_of_the_candidates(rng: random.Random, count):
    several = [
        pod(str(n), node="n" if n % 3 else "", ready="2026-01-01T00:00:00Z" if n % 2 else "",
            cost=str(n % 2))
        for n in range(6)
    ]
    shuffled = list(several)
    rng.shuffle(shuffled)
    mine = pod_ranking.first_to_go(several, several, count, NOW)
    other = pod_ranking.first_to_go(shuffled, several, count, NOW)
    if count < 6:
        heads = [pod_ranking._Facts(p, {}, NOW).head for p in mine]
        assert heads == [pod_ranking._Facts(p, {}, NOW).head for p in other]
