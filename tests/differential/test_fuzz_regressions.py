"""What the fuzz found, each as small as it gets: requests, and what Kubernetes answered.

A file of ``fuzz/`` holds cases by title.  Run as a program with ``KUBESIM_ORACLE`` set, this asks a
real control plane for the answers of those that have none yet.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fuzz_player as fuzz
import pytest
from transcript_player import World

FOLDER = Path(__file__).parent / "fuzz"
CASES: dict[str, dict[str, Any]] = {
    title: case
    for file in sorted(FOLDER.glob("*.json"))
    for title, case in json.loads(file.read_text()).items()
}


@pytest.fixture(scope="module")
def here() -> World:
    return fuzz.in_process()


@pytest.mark.parametrize("title", sorted(CASES))
def test_what_the_fuzz_found_is_answered_as_kubernetes_did(title: str, here: World) -> None:
    case = CASES[title]
    got = fuzz.answers(here, case, fuzz.names_of_a_case())
    for want, answer in zip(case["answers"], got, strict=True):
        assert not fuzz.differences(want, answer)


def record(kubeconfig: str) -> None:
    """Ask a real control plane for the answers that are missing."""
    side = fuzz.Real(kubeconfig)
    fuzz.prepare(side, fuzz.NAMESPACE)
    for file in sorted(FOLDER.glob("*.json")):
        cases = json.loads(file.read_text())
        for case in cases.values():
            if "answers" not in case:
                case["answers"] = fuzz.answers(side, case, fuzz.names_of_a_case())
        file.write_text(json.dumps(cases, indent=1, sort_keys=False) + "\n")


if __name__ == "__main__":
    import os

    record(os.environ["KUBESIM_ORACLE"])
