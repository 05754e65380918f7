"""What is printed under a failing test: seed, faults, timeline, the command that replays it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.cluster import timeline
from pytest_kubesim.config import parse_replay_token
from pytest_kubesim.sim import durations

if TYPE_CHECKING:
    from pytest_kubesim.cluster.cluster import Cluster

TIMELINE_LINES = 25


def failure(cluster: Cluster, command: str, token: str | None = None) -> str:
    """The section that is printed under a failing test.

    Parameters: `cluster`; `command` that replays it; `token`, the one that this run was replaying.
    """
    kernel = cluster.kernel
    elapsed = durations.text(kernel.elapsed_ns)
    lines = [f"seed {cluster.seed}, {elapsed} of virtual time, {len(cluster.journal)} entries"]
    if token is not None:
        lines.append(_replayed(cluster, token))
    for armed in cluster.faults.armed:
        struck = f"struck {armed.struck} times" if armed.struck else "never struck"
        lines.append(f"fault: {armed.fault!r} ({struck})")
    for operator in cluster.operators:
        state = operator.process.state
        lines.append(f"operator {operator.name}: {state}, {operator.restarts} restarts")
    lines.append("timeline:")
    entries = timeline.lines(cluster.journal, kernel.start_ns, TIMELINE_LINES)
    lines += [f"  {entry}" for entry in entries or ["nothing happened"]]
    for operator in cluster.operators:
        if operator.log:
            lines.append(f"log of {operator.name}:")
            lines += [f"  {line.text}" for line in operator.log[-15:]]
    if any(isinstance(operator.target, list | tuple) for operator in cluster.operators):
        lines.append(
            "commands run in the machine's own time: a replay brings back seed and faults, not "
            "what the commands did when"
        )
    lines += ["replay it with:", f"  {command}"]
    return "\n".join(lines)


def _replayed(cluster: Cluster, token: str) -> str:
    if cluster.journal.digest().startswith(parse_replay_token(token).digest):
        return "replayed: the same run as the one that printed the token"
    return (
        "replayed, and it took another way than the run that printed the token: the test, the "
        "operator or pytest-kubesim has changed since"
    )
