"""What a run leaves in files: journals, and with `--kubesim-report` a page for each test.

In the folder there is, for each cluster of a test, `<test>.html` (the page), `<test>.journal.jsonl`
and `<test>.json` (seed, digest, faults, outcome); `index.html` lists the tests.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_kubesim.cluster import timeline
from pytest_kubesim.report.page import page
from pytest_kubesim.sim import durations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.report.recording import Recording


def write_journal(cluster: Cluster, file: str) -> None:
    """Write the journal, a line of canonical JSON an entry."""
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        for line in cluster.journal.lines():
            out.write(line + b"\n")


def write(
    clusters: Sequence[tuple[Cluster, Recording]],
    directory: str,
    *,
    test: str,
    outcome: str,
    problem: str,
    replay: Sequence[str],
) -> None:
    """Write what a test leaves into `directory`.

    Parameters: `clusters` of the test with their recordings; `test`, its node id; `outcome`, as
    pytest calls it; `problem`, the text of its failure; `replay`, a command for each cluster.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in test)[:180]
    for number, ((cluster, recording), command) in enumerate(zip(clusters, replay, strict=True), 1):
        base = stem if len(clusters) == 1 else f"{stem}-{number}"
        write_journal(cluster, str(folder / f"{base}.journal.jsonl"))
        about = {"test": test, "outcome": outcome, "problem": problem, "replay": command}
        (folder / f"{base}.html").write_text(page(cluster, recording, **about), encoding="utf-8")
        summary = {
            **about,
            "seed": cluster.seed,
            "digest": cluster.journal.digest(),
            "elapsed": durations.text(cluster.kernel.elapsed_ns),
            "faults": [repr(armed.fault) for armed in cluster.faults.armed],
            "timeline": timeline.lines(cluster.journal, cluster.kernel.start_ns, 10_000),
        }
        text = json.dumps(summary, indent=2)
        (folder / f"{base}.json").write_text(text, encoding="utf-8")


def write_index(directory: str) -> None:
    """Write `index.html`: a line for every page in the folder, the failed ones first."""
    folder = Path(directory)
    if not folder.is_dir():
        return
    found: list[tuple[str, dict[str, Any]]] = []
    for file in sorted(folder.glob("*.json")):
        summary = json.loads(file.read_text(encoding="utf-8"))
        if (folder / f"{file.stem}.html").exists():
            found.append((file.stem, summary))
    found.sort(key=lambda each: each[1]["outcome"] != "failed")
    rows = "\n".join(_row(stem, summary) for stem, summary in found)
    (folder / "index.html").write_text(_INDEX.replace("__ROWS__", rows), encoding="utf-8")


def _row(stem: str, summary: dict[str, Any]) -> str:
    cells = (
        f'<b class="{html.escape(summary["outcome"])}">{html.escape(summary["outcome"])}</b>',
        f'<a href="{html.escape(stem, quote=True)}.html">{html.escape(summary["test"])}</a>',
        html.escape(summary["elapsed"]),
        str(summary["seed"]),
        "<br>".join(html.escape(fault) for fault in summary["faults"]),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


_INDEX = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>pytest-kubesim</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; font: 14px/1.5 system-ui, sans-serif }
body { margin: 2rem } td, th { padding: .3rem 1rem .3rem 0; text-align: left; vertical-align: top }
.failed { color: #c33 } .passed { color: #2a8a4a }
</style>
<h1>pytest-kubesim</h1>
<table><tr><th><th>test<th>virtual time<th>seed<th>faults</tr>
__ROWS__
</table></html>
"""
