"""Every code block of the README runs."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
BASH = [text.strip() for language, text in BLOCKS if language == "bash"]


def name_of(block: str) -> str:
    found = re.search(r"def (test_\w+)", block)
    return found[1] if found else block[:30]


def test_all_blocks_are_of_a_kind_that_runs() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "bash"}


@pytest.mark.slow
@pytest.mark.parametrize("block", PYTHON, ids=name_of)
def test_the_tests_of_the_readme_pass(
    block: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The command `kubesim` of this environment, activated or not.
    monkeypatch.setenv("PATH", os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    if "kubernetes" in block:
        pytest.importorskip("kubernetes")
    pytester.makepyfile(block)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error::pytest_kubesim.NeverStruck")
    result.assert_outcomes(passed=len(re.findall(r"^def test_", block, re.MULTILINE)))


def test_the_first_two_commands_do_the_set_up_and_the_main_job() -> None:
    assert BASH[0] == "python -m pip install -e . && kubesim demo"
    assert BASH[1] == "python -m pip install -e '.[test]' && python -m pytest"


@pytest.mark.slow
def test_the_demo_shows_the_main_job() -> None:
    command = [sys.executable, "-m", "pytest_kubesim.cli", *shlex.split(BASH[0].split("&& kubesim ")[1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "[4/4] Healed: db-0 runs on node-" in done.stdout
    assert "operator restarts: 0" in done.stdout


@pytest.mark.slow
def test_serve_says_ready_and_ends_when_told(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    command = [sys.executable, "-m", "pytest_kubesim.cli", *shlex.split(BASH[2].removeprefix("kubesim "))]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) as serve:
        assert serve.stdout is not None
        assert re.fullmatch(r"READY https://127\.0\.0\.1:\d+\n", serve.stdout.readline())
        assert (tmp_path / "kubesim.kubeconfig").exists()
        serve.send_signal(signal.SIGTERM)
        assert serve.wait(timeout=30) == 0


def test_the_readme_lists_the_controllers_that_are_there_and_those_that_are_not() -> None:
    from pytest_kubesim.controller_manager.manager import NAMES, simulated

    there = [name.removesuffix("-controller") for name in simulated()]
    absent = [name.removesuffix("-controller") for name in NAMES if name not in simulated()]
    assert f"| controllers | {', '.join(there)} |" in README
    assert f"| controllers {', '.join(absent)} |" in README
