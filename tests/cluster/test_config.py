from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim import config
from pytest_kubesim.errors import ReplayError, UsageError

HERE = "@pytest.mark.kubesim"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"node": 3}, "unknown option 'node'; did you mean 'nodes'.*the options are nodes, seed"),
        ({"nodes": -1}, "nodes=-1: give a whole number"),
        ({"nodes": "3"}, "nodes='3'"),
        ({"version": "1.20"}, r"version='1.20': the valid values are 1\.37"),
        ({"components": "some"}, "the valid values are apiserver, controllers, all"),
        ({"container_runtime": "rkt"}, "containerd, cri-o, docker"),
        ({"start_time": datetime(2026, 1, 1)}, "an aware datetime"),
        ({"seed": "x"}, "a seed is a whole number"),
    ],
)
def test_a_wrong_option_lists_the_right_ones(options: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        config.merge(config.ClusterConfig(), options, HERE)


@given(st.integers(), st.text("0123456789abcdef", min_size=32, max_size=32))
def test_a_replay_token_reads_back(seed: int, digest: str) -> None:
    found = config.parse_replay_token(config.replay_token(seed, digest))
    assert (found.seed, found.digest) == (seed, digest[:12])


@pytest.mark.parametrize("token", ["", "7", "k1-7-0123456789ab", "k1-7-0123456789ab-0000"])
def test_a_wrong_token_is_refused(token: str) -> None:
    with pytest.raises(ReplayError, match="not a replay token"):
        config.parse_replay_token(token)
