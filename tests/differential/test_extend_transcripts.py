"""What a real Kubernetes answered of admission and the smaller groups, and how much is answered so.

`MATCHING` only goes up: a change that matches more steps raises the number with it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import transcript_player as play
from webhook_answers import play_with_webhook

EXTEND = Path(__file__).parent / "transcripts" / "extend"

MATCHING = {
    "admission-classes": 16,
    "admission-limits": 16,
    "admission-mutating-policy": 25,
    "admission-mutating-policy-patches": 78,
    "admission-nodes": 12,
    "admission-policy": 32,
    "admission-policy-expressions": 96,
    "admission-quotas": 44,
    "admission-webhook": 30,
    "builtin-admission": 30,
    "cel-objects": 24,
    "crd-ratchet": 16,
    "other-groups": 34,
    "pod-security": 23,
    "pod-security-checks": 152,
    "rbac-authz": 39,
    "rbac-grants": 52,
    "schemas-invalid": 33,
    "workload-validation": 34,
}
"""By scenario: how many steps match at least."""


@pytest.mark.parametrize("name", sorted(MATCHING))
def test_a_scenario_of_admission_is_answered_as_kubernetes_did(name: str) -> None:
    results = [found for _, found in play.play(EXTEND / f"{name}.yaml") if found is not None]
    assert sum(not found for found in results) >= MATCHING[name]


WITH_WEBHOOK = {
    "admission-webhook-answers": 88,
    "admission-webhook-live": 20,
    "crd-conversion": 24,
}


@pytest.mark.parametrize("name", sorted(WITH_WEBHOOK))
def test_a_webhook_is_asked_and_answers_as_with_kubernetes(name: str) -> None:
    results = [found for _, found in play_with_webhook(EXTEND / f"{name}.yaml")]
    assert sum(not found for found in results) >= WITH_WEBHOOK[name]
