"""What a real Kubernetes answered, and how much of it this API server answers alike.

`MATCHING` only goes up: a change that matches more steps raises the number with it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import transcript_player as play

API = Path(__file__).parent / "transcripts" / "api"

MATCHING = {
    "configmap-basics": 10,
    "crud-errors": 43,
    "defaulting": 16,
    "deletion": 33,
    "kubectl-extras": 0,
    "lists-pagination": 35,
    "patch-json": 31,
    "patch-merge": 26,
    "patch-strategic": 31,
    "server-side-apply": 32,
    "subresources": 41,
    "tables-discovery": 29,
    "validation": 25,
    "watch": 20,
}
"""By scenario: how many steps match at least (those that run kubectl are not played here)."""


@pytest.mark.parametrize("name", sorted(MATCHING))
def test_a_scenario_is_answered_as_kubernetes_did(name: str) -> None:
    results = [found for _, found in play.play(API / f"{name}.yaml") if found is not None]
    assert sum(not found for found in results) >= MATCHING[name]


def test_equal_runs_have_equal_journals() -> None:
    digests: set[str] = set()
    for _ in range(2):
        world = play.World()
        player = play.Player(world, _scenario("watch"), "watch")
        player.run()
        digests.add(world.kernel.journal.digest())
    assert len(digests) == 1


def _scenario(name: str) -> dict[str, object]:
    import yaml

    found: dict[str, object] = yaml.safe_load((API / f"{name}.yaml").read_text())
    return found
