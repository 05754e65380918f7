"""The page of a run: one file that needs nothing but a browser.

`data` gathers what there is to see as plain JSON; `page.html` beside this file draws it.  Times are
milliseconds since the start of the cluster; events, lanes and writes refer to each other by index.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

import msgspec

from pytest_kubesim.cluster import timeline
from pytest_kubesim.report.differences import differences
from pytest_kubesim.report.lanes import Lanes
from pytest_kubesim.sim import durations

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.meta import Object
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.report.recording import Recording, Write
    from pytest_kubesim.sim.journal import Entry

LIMIT = 20_000
"""How many events a page shows, the newest."""

POD_LANES = 80
_LONGEST = 400
_PODS = "/registry/pods/"


def page(cluster: Cluster, recording: Recording, **about: Any) -> str:
    """The page as HTML.

    Parameters: `cluster` and its `recording`; `about` the run: `test`, `outcome`, `problem`,
    `replay` (a command).
    """
    template = resources.files("pytest_kubesim.report").joinpath("page.html").read_text("utf-8")
    text = msgspec.json.encode(data(cluster, recording, **about)).decode()
    return template.replace("__DATA__", text.replace("</", "<\\/"))


def data(cluster: Cluster, recording: Recording, **about: Any) -> dict[str, Any]:
    """What the page shows."""
    lanes = Lanes(cluster)
    start_ns = cluster.kernel.start_ns
    interesting = [entry for entry in cluster.journal if timeline.interesting(entry)]
    shown = interesting[-LIMIT:]
    placed = [(entry, lanes.of(entry.actor)) for entry in shown]
    bars = list(_pod_bars(recording.writes, start_ns, cluster.kernel.now_ns))
    deliveries = [(each, lanes.of(each.client)) for each in recording.deliveries]
    for name, _ in bars:
        lanes.of_pod(*name.split("/", 1))
    ordered = lanes.in_order()
    number = {lane: index for index, lane in enumerate(ordered)}
    causes = _causes(shown)
    return {
        **about,
        "seed": cluster.seed,
        "digest": cluster.journal.digest(),
        "start": cluster.kernel.start_ns // 1_000_000,
        "elapsed": _ms(cluster.kernel.now_ns, start_ns),
        "elapsedText": durations.text(cluster.kernel.elapsed_ns),
        "leftOut": len(cluster.journal) - len(shown),
        "faults": [
            {"code": repr(armed.fault), "struck": armed.struck} for armed in cluster.faults.armed
        ],
        "lanes": [{"name": lane.name, "group": lane.group} for lane in ordered],
        "events": [_event(entry, number[lane], start_ns) for entry, lane in placed],
        "writes": [_write(write, causes, start_ns) for write in recording.writes],
        "deliveries": [
            [_ms(each.time_ns, start_ns), number[lane], each.revision, each.type]
            for each, lane in deliveries
        ],
        "bars": [
            [number[lanes.of_pod(*name.split("/", 1))], segments] for name, segments in bars
        ],
        "logs": [
            {"name": operator.name, "lines": [
                [_ms(line.time_ns, start_ns), line.level, line.text]
                for line in operator.log[-2000:]
            ]}
            for operator in cluster.operators
        ],
    }


def _ms(time_ns: int, start_ns: int) -> float:
    return (time_ns - start_ns) / 1_000_000


def _event(entry: Entry, lane: int, start_ns: int) -> list[Any]:
    """`[time, lane, kind, tone, text, fields]`."""
    told = {"actor": entry.actor, **entry.fields}
    fields = {name: _short(value) for name, value in told.items() if value not in ("", None)}
    return [
        _ms(entry.time_ns, start_ns), lane, entry.kind, _tone(entry), timeline.describe(entry),
        fields,
    ]


def _tone(entry: Entry) -> str:
    """How it is drawn: `bad`, `fault`, `life`, `write` or `plain`."""
    fields = entry.fields
    if entry.kind == "fault":
        return "fault"
    if entry.kind == "request":
        return "bad" if fields.get("code", 200) >= 400 else "write"
    if entry.kind == "process":
        return "bad" if fields.get("what") in ("crashed", "exited") else "life"
    if entry.kind == "log":
        return "bad" if fields.get("level") in ("ERROR", "CRITICAL") else "plain"
    if "fail" in entry.kind or entry.fields.get("error"):
        return "bad"
    return "life" if entry.kind in ("container", "node") else "plain"


def _causes(entries: list[Entry]) -> dict[str, int]:
    """The event that made a revision: by revision, or by time and name where none was answered."""
    found: dict[str, int] = {}
    for index, entry in enumerate(entries):
        fields = entry.fields
        if entry.kind != "request" or fields["code"] >= 300:
            continue
        if "version" in fields:
            found.setdefault(fields["version"], index)
        elif fields.get("name"):
            found.setdefault(f"{entry.time_ns} {fields['name']}", index)
    return found


def _write(write: Write, causes: dict[str, int], start_ns: int) -> dict[str, Any]:
    resource, namespace, name = reference(write.key)
    cause = causes.get(str(write.revision), causes.get(f"{write.time_ns} {name}"))
    change = "updated"
    if write.before is None:
        change = "created"
    elif write.value is None:
        change = "deleted"
    changed: list[Any] = []
    if change == "updated":
        changed = [
            [path, _short(old), _short(new)]
            for path, old, new in differences(write.before, write.value)
        ]
    return {
        "t": _ms(write.time_ns, start_ns),
        "rev": write.revision,
        "ref": f"{resource}/{namespace}/{name}" if namespace else f"{resource}/{name}",
        "change": change,
        "event": cause,
        "diff": changed,
        "object": _told(write.value) if change == "created" else None,
    }


def _told(value: Any) -> Object | None:
    """An object without its managed fields; what is none is not told."""
    if not isinstance(value, dict):
        return None
    obj = cast("Object", value)
    kept: Object = obj.get("metadata") or {}
    metadata = {k: v for k, v in kept.items() if k != "managedFields"}
    return {**obj, "metadata": metadata}


def reference(key: str) -> tuple[str, str, str]:
    """Resource, namespace and name of a key: `/registry/pods/default/web` and its like."""
    parts = key.removeprefix("/registry/").split("/")
    if "." in parts[0] and len(parts) > 2:
        parts = [f"{parts[1]}.{parts[0]}", *parts[2:]]
    elif parts[0] == "services" and len(parts) > 2:
        parts = [parts[1] if parts[1] != "specs" else "services", *parts[2:]]
    resource = {"minions": "nodes"}.get(parts[0], parts[0])
    return resource, "/".join(parts[1:-1]), parts[-1]


def _short(value: Any) -> Any:
    """A value as it is shown: long ones are cut."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return value if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _pod_bars(
    writes: list[Write], start_ns: int, end_ns: int
) -> Iterator[tuple[str, list[list[Any]]]]:
    """The states of each pod: `[from, to, state]`, to the end of its life or of the run."""
    states: dict[str, list[list[Any]]] = {}
    for write in writes:
        if not write.key.startswith(_PODS):
            continue
        name = write.key.removeprefix(_PODS)
        bars = states.get(name)
        if bars is None:
            if len(states) == POD_LANES:
                continue
            bars = states[name] = []
        time = _ms(write.time_ns, start_ns)
        state = None if write.value is None else _state(write.value)
        if bars and bars[-1][1] is None:
            if bars[-1][2] == state:
                continue
            bars[-1][1] = time
        if state is not None:
            bars.append([time, None, state])
    end = _ms(end_ns, start_ns)
    for name, bars in states.items():
        for bar in bars:
            if bar[1] is None:
                bar[1] = end
        yield name, bars


def _state(pod: dict[str, Any]) -> str:
    status: dict[str, Any] = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    phase: str = status.get("phase") or "Pending"
    if phase == "Pending":
        return "Scheduled" if pod["spec"].get("nodeName") else "Pending"
    conditions: list[dict[str, str]] = status.get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return "Ready" if phase == "Running" and ready else phase


