"""What a real Kubernetes answered of custom resources, and how much of it is answered alike.

`MATCHING` only goes up: a change that matches more steps raises the number with it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import transcript_player as play

EXTEND = Path(__file__).parent / "transcripts" / "extend"

MATCHING = {
    "crd-apply": 31,
    "crd-cel": 39,
    "crd-invalid": 38,
    "crd-lifecycle": 38,
    "crd-objects": 27,
    "crd-schema": 40,
    "crd-versions": 28,
}
"""By scenario: how many steps match at least."""


@pytest.mark.parametrize("name", sorted(MATCHING))
def test_a_scenario_of_custom_resources_is_answered_as_kubernetes_did(name: str) -> None:
    results = [found for _, found in play.play(EXTEND / f"{name}.yaml") if found is not None]
    assert sum(not found for found in results) >= MATCHING[name]
