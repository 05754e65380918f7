"""What cel-go, with Kubernetes' functions, makes of some hundred expressions.

``recorded.json`` has a line for each: the errors of compiling it, or between what and what it may
cost, what it cost and what it came to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_kubesim.apimachinery.cel import cost, program, types, values
from pytest_kubesim.apimachinery.cel.errors import CELError, CompileError, InstantiationError
from pytest_kubesim.apimachinery.cel.library import kubernetes
from pytest_kubesim.apimachinery.cel.values import Duration, Optional, Timestamp, UInt

ENVIRONMENT = kubernetes.NEW.extend(
    variables={
        "x": types.DYN,
        "l": types.list_of(types.STRING),
        "n": types.list_of(types.INT),
        "m": types.map_of(types.STRING, types.INT),
        "s": types.STRING,
        "i": types.INT,
        "b": types.BOOL,
        "d": types.DOUBLE,
    }
)
VARIABLES: dict[str, Any] = {
    "x": {"a": 1, "b": None, "c": [1, "two", 3.5], "d": {"e": "f"}, "g": 2.0},
    "l": ["a", "bb", "ccc"],
    "n": [3, 1, 2],
    "m": {"k": 3, "z": 0},
    "s": "hello world",
    "i": 7,
    "b": True,
    "d": 1.5,
}
RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "recorded.json").read_text(encoding="utf-8")
)


def shown(value: Any) -> Any:
    """A value as the recording has it: its type in a letter, and its text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return f"{'u' if isinstance(value, UInt) else 'i'}{int(value)}"
    if isinstance(value, float):
        return "f" + values.double_text(value)
    if isinstance(value, str):
        return "s" + value
    if isinstance(value, bytes):
        return "b" + value.hex()
    if isinstance(value, Timestamp):
        return "t" + values.rfc3339_nano(value)
    if isinstance(value, Duration):
        return f"d{value.duration_ns}"
    if isinstance(value, Optional):
        return {"opt": shown(value.value)} if value.has_value else "none"
    if isinstance(value, types.Type):
        return "T" + value.name
    if isinstance(value, list):
        return [shown(item) for item in cast("list[Any]", value)]
    if isinstance(value, Mapping):
        entries = cast("Mapping[Any, Any]", value)
        return {_key(shown(key)): shown(item) for key, item in entries.items()}
    return "O" + values.type_name(value)


def _key(key: Any) -> str:
    names = {True: "true", False: "false", None: "<nil>"}
    return names[key] if key is None or isinstance(key, bool) else str(key)


@pytest.mark.parametrize("recorded", RECORDED, ids=[row["expr"] for row in RECORDED])
def test_an_expression_is_what_cel_go_makes_of_it(recorded: dict[str, Any]) -> None:
    expression = recorded["expr"]
    try:
        compiled = program.compile(expression, ENVIRONMENT)
    except InstantiationError as problem:
        assert str(problem) == recorded["program"]
        return
    except CompileError as problem:
        assert str(problem) == recorded["compile"]
        return
    estimate = cost.estimate(compiled.node, lambda _path: None)
    assert [str(estimate.least), str(estimate.most)] == recorded["cost"]
    value, spent = compiled.evaluate_counted(VARIABLES, cost_limit=1_000_000)
    if isinstance(value, CELError):
        assert str(value) == recorded["error"]
        with pytest.raises(CELError) as caught:
            compiled.evaluate(VARIABLES)
        assert str(caught.value) == recorded["error"]
        return
    assert shown(value) == recorded["value"]
    assert spent == recorded["actual"]
    assert shown(compiled.evaluate(VARIABLES)) == recorded["value"]
