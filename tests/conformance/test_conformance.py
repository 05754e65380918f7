"""Kubernetes' own conformance suite: what is recorded as passing passes.

Needs the suite's binary: `KUBESIM_E2E=PATH/e2e.test python -m pytest tests/conformance -s` (and
`KUBESIM_KUBECTL`, where the `kubectl` of the path is not of that version).  It takes about an hour.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.skipif("KUBESIM_E2E" not in os.environ, reason="KUBESIM_E2E names no e2e.test")
def test_what_is_recorded_as_passing_passes() -> None:
    run = [sys.executable, str(HERE / "run.py"), "--e2e", os.environ["KUBESIM_E2E"]]
    if "KUBESIM_KUBECTL" in os.environ:
        run += ["--kubectl", os.environ["KUBESIM_KUBECTL"]]
    run += ["--", "--clock-scale", "2"]
    done = subprocess.run(run, check=False)  # noqa: S603 - our own script
    assert done.returncode == 0


def test_every_recorded_test_is_named_once() -> None:
    lines = (HERE / "passing.txt").read_text(encoding="utf-8").splitlines()
    assert lines == sorted(set(lines))
    assert all(line.startswith("[sig-") and "[Conformance]" in line for line in lines)
