"""What a real Kubernetes answered, this API server answers alike: every step of every scenario."""

from __future__ import annotations

from pathlib import Path

import pytest
import transcript_player as play

API = Path(__file__).parent / "transcripts" / "api"

NAMES = sorted(file.stem for file in API.glob("*.yaml") if not file.stem.startswith("kubectl"))
"""Those that run kubectl are played over the wire, by `test_kubectl`."""


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_is_answered_as_kubernetes_did(name: str) -> None:
    wrong = {step: found for step, found in play.play(API / f"{name}.yaml") if found}
    assert not wrong


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
