"""Plays transcripts against a whole cluster in this process: controllers, scheduler, kubelets.

A scenario of profile `nodes` gets a kubelet for any Node object; those of profile `controllers`
play the kubelets themselves.  Waiting is virtual time, looked at ten times a second as the
recordings were.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import transcript_player as play
import yaml

from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig
from pytest_kubesim.wire import UserInfo

POLL = 0.1


class ClusterWorld(play.World):
    """A control plane with controllers and scheduler, and kubelets where `kubelets` says so."""

    def __init__(self, *, kubelets: bool) -> None:
        components = "all" if kubelets else "controllers"
        self.cluster = Cluster(
            ClusterConfig(components=components, instant=True, start_time=play.START)
        )
        if kubelets:
            self.cluster.nodes.manage_all()
        self.kernel = self.cluster.kernel
        self.server = self.cluster.server
        self.server.authenticators.tokens[play.TOKEN] = UserInfo("admin", ("system:masters",))

    def close(self) -> None:
        """End it."""
        self.cluster.close()


class ClusterPlayer(play.Player):
    """One run of one scenario in a whole cluster."""

    def run(self) -> list[dict[str, Any]]:
        """What every recorded step gave, in order; the default service account is waited for."""
        if self.scenario.get("namespace", True):
            ns = self.vars["ns"]
            body = {"metadata": {"name": ns}}
            self.world.call({"method": "POST", "path": "/api/v1/namespaces", "body": body})
            account = {"path": f"/api/v1/namespaces/{ns}/serviceaccounts/default"}
            for _ in range(100):
                if self.world.call(account)["status"] == 200:
                    break
                self.world.wait(POLL)
        return super().run()

    def step(self, step: dict[str, Any]) -> Any:
        """One step; None where nothing is recorded of it."""
        if "foreach" in step:
            self._foreach(step)
            return None
        return super().step(step)

    def _eventually(self, step: dict[str, Any]) -> Any:
        until = compile(step["until"], "until", "eval")
        left = float(step.get("timeout", self.scenario.get("timeout", 60)))
        settle = float(step.get("settle", 1.0))
        last: str | None = None
        quiet = 0.0
        while True:
            got = self.world.call(step["eventually"])
            names = {"body": got["body"], "status": got["status"]}
            try:
                held = eval(until, dict(play.NAMES), names)  # noqa: S307
            except (KeyError, IndexError, TypeError, AttributeError):
                held = False
            seen = "x" if step.get("loose") else json.dumps(got["body"], sort_keys=True)
            if not held:
                last = None
            elif seen != last:
                last, quiet = seen, 0.0
            if last is not None and quiet >= settle:
                self._save(step, got)
                if step.get("quiet"):
                    return None
                if not step.get("only"):
                    return got
                return {"status": got["status"], "only": self._pick(step, got["body"])}
            if left <= 0:
                return {"timeout": True, "status": got["status"], "body": got["body"]}
            self.world.wait(POLL)
            left -= POLL
            quiet += POLL

    def _save(self, step: dict[str, Any], got: dict[str, Any]) -> None:
        for var, path in [*(step.get("save") or {}).items(), *(step.get("mask") or {}).items()]:
            found = play.safe(got["body"], path)
            self.vars[var] = f"<missing {path}>" if found == "<absent>" else found
            if found != "<absent>" and var in step.get("mask", {}):
                self.masks[str(found)] = f"<{var}>"

    def _foreach(self, step: dict[str, Any]) -> None:
        """One request for each entry of a list, once there are `count`."""
        where = compile(step.get("where", "True"), "where", "eval")
        left = float(step.get("timeout", 30))
        while True:
            found = self.world.call(step["foreach"])["body"].get("items") or []
            found = [x for x in found if eval(where, dict(play.NAMES), {"item": x})]  # noqa: S307
            if len(found) == step.get("count", len(found)):
                break
            if left <= 0:
                raise ValueError(f"{step.get('id')}: {len(found)} items, not {step['count']}")
            self.world.wait(POLL)
            left -= POLL
        for number, item in enumerate(found[: step.get("first")], 1):
            self.vars |= {"item": item["metadata"]["name"], "n": str(number)}
            got = self.world.call(self.subst(copy.deepcopy(step["request"])))
            if got["status"] >= 300:
                raise ValueError(f"{step.get('id')}: {got}")
        self.vars.pop("item", None)
        self.vars.pop("n", None)


def play_cluster(file: Path, *, kubelets: bool | None = None) -> list[tuple[str, list[str] | None]]:
    """Every step of a scenario with its differences; None for a step that was left out.

    `kubelets`: whether Node objects get one; None: as the scenario's profile says.
    """
    scenario: dict[str, Any] = yaml.safe_load(file.read_text())
    by_profile = scenario.get("profile") == "nodes"
    world = ClusterWorld(kubelets=by_profile if kubelets is None else kubelets)
    try:
        player = ClusterPlayer(world, scenario, file.stem)
        return play.compare(file, player, player.run())
    finally:
        world.close()


if __name__ == "__main__":
    import os
    import sys
    import time

    for name in sys.argv[1:]:
        began = time.time()
        results = play_cluster(Path(name), kubelets=True if "KUBELETS" in os.environ else None)
        for step_name, differences in results:
            if differences:
                print(f"{Path(name).stem}: {step_name}")
                for line in differences[:6]:
                    print("   ", line)
        played = [d for _, d in results if d is not None]
        took = time.time() - began
        print(f"{Path(name).stem}: {sum(not d for d in played)} of {len(played)} in {took:.1f}s")
