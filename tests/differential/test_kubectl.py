"""What kubectl printed against a real Kubernetes, and how much of it it prints alike here.

`MATCHING` only goes up: a change that matches more steps raises the number with it.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from pathlib import Path

import pytest
import served
import transcript_player as play
import yaml

API = Path(__file__).parent / "transcripts" / "api"

MATCHING = {
    "kubectl-basic": 43,
    "kubectl-extras": 39,
    "kubectl-more": 212,
}
"""By scenario: how many steps match at least."""

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.skipif(served.kubectl() is None, reason=served.NO_KUBECTL),
]


class ServedWorld:
    """A served API server, as the player sees it: over real sockets, on real time."""

    def __init__(self, server: served.Served) -> None:
        self.server = server

    def wait(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.05))

    def call(self, req):
        headers = {"Accept": "application/json", **(req.get("headers") or {})}
        method, path = req.get("method", "GET"), req["path"]
        status, body = self.server.ask(method, path, req.get("body"), headers=headers)
        if isinstance(body, str) and body.startswith("{"):
            body = json.loads(body)
        return {"status": status, "type": "application/json", "body": play.order_managers(body)}


class KubectlPlayer(play.Player):
    """Runs kubectl where the scenario says so."""

    def step(self, step):
        if "kubectl" not in step:
            return super().step(step)
        server = self.world.server
        command = [
            served.kubectl(),
            f"--server={server.url}",
            "--insecure-skip-tls-verify=true",
            f"--token={served.TOKEN}",
            f"--namespace={self.vars['ns']}",
            "--cache-dir",
            str(server.folder / f"cache-{time.monotonic_ns()}"),
            *shlex.split(step["kubectl"]),
        ]
        ran = subprocess.run(
            command,
            input=step.get("stdin", ""),
            capture_output=True,
            text=True,
            timeout=60,
            env={"KUBECONFIG": "/dev/null", "PATH": "/usr/bin:/bin", "HOME": str(server.folder)},
        )
        out = columns(ran.stdout)
        return {
            "exit": ran.returncode,
            "stdout": out[: step.get("head", len(out))],
            "stderr": columns(ran.stderr),
        }


def columns(text: str) -> list[str]:
    """Lines, with the padding between columns made even."""
    import re

    return [re.sub(r" {2,}", "  ", line.rstrip()) for line in text.splitlines()]


@pytest.fixture(scope="module")
def server():
    server = served.Served("--components", "apiserver", "--instant")
    yield server
    complaints = server.stderr()
    assert server.stop() == 0
    assert not complaints


@pytest.mark.parametrize("name", sorted(MATCHING))
def test_kubectl_prints_what_it_prints_against_kubernetes(server, name):
    file = API / f"{name}.yaml"
    player = KubectlPlayer(ServedWorld(server), yaml.safe_load(file.read_text()), name)
    found = play.compare(file, player, player.run())
    wrong = {step: differences for step, differences in found if differences}
    assert len(found) - len(wrong) >= MATCHING[name], wrong
