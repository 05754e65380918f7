"""Updates in which no field changes hands come out as the general rules have it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_kubesim.apimachinery.managedfields import fieldmanager
from pytest_kubesim.apimachinery.meta import Object
from pytest_kubesim.apimachinery.schema import schema_for

SCHEMA = schema_for("", "v1", "Pod")
TIMES = [f"2026-01-01T00:00:{second:02d}Z" for second in range(10)]
VALUES = st.sampled_from(["a", "b"])

PODS = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.dictionaries(VALUES, VALUES, min_size=1),
        "phase": VALUES,
        "conditions": st.lists(
            st.fixed_dictionaries({"type": VALUES, "status": VALUES}),
            max_size=2,
            unique_by=lambda condition: condition["type"],
        ),
        "stripped": st.booleans(),
    },
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["one", "other"]), st.sampled_from(["", "status"]), PODS),
    min_size=2,
    max_size=6,
)


def pod(fields: Object, live: Object | None) -> Object:
    metadata: Object = {"name": "p", "namespace": "d", "uid": "1"}
    if "labels" in fields:
        metadata["labels"] = fields["labels"]
    if live is not None and not fields.get("stripped"):
        metadata["managedFields"] = live["metadata"].get("managedFields")
    status = {key: fields[key] for key in ("phase", "conditions") if key in fields}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": status}


def history(steps: list[tuple[str, str, Object]]) -> list[Any]:
    live: Object | None = None
    found: list[Any] = []
    for now, (manager, subresource, fields) in zip(TIMES, steps, strict=False):
        live = fieldmanager.update(
            live,
            pod(fields, live),
            schema=SCHEMA,
            manager=manager,
            api_version="v1",
            now=now,
            subresource=subresource if live is not None else "",
        )
        found.append(live)
    return found


@given(STEPS)
def test_the_short_way_ends_where_the_long_one_does(steps: list[tuple[str, str, Object]]) -> None:
    short = history(steps)
    usual = fieldmanager._kept
    fieldmanager._kept = lambda *_: None
    try:
        long = history(steps)
    finally:
        fieldmanager._kept = usual
    assert repr(short) == repr(long)
