"""Style as a test: what DESIGN and taste ask of every file, so that nobody has to remember it."""

from __future__ import annotations

import ast
import gc
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "pytest_kubesim").rglob("*.py"))
ALL = sorted([*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "examples").rglob("*.py")])
TOP_LEVEL = {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "pytest_kubesim", "tests", "examples"}
MOST_LINES = 620
MOST_FUNCTION_LINES = 90
FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "misc"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(autouse=True, scope="module")
def nothing_dies_meanwhile():
    """What other tests leave must not be finalized while Python parses: it counts recursion (SystemError)."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_the_top_level_holds_what_it_may() -> None:
    found = {p.name for p in ROOT.iterdir() if not p.name.startswith(".") and not p.name.endswith(".egg-info")}
    found -= {"build", "dist", "__pycache__"}
    assert found <= TOP_LEVEL


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    doc = ast.get_docstring(tree)
    assert doc, "no module docstring"
    assert len(doc.splitlines()[0]) <= 110


def test_no_file_is_two_things() -> None:
    long = {relative(p): n for p in SOURCES if (n := len(p.read_text(encoding="utf-8").splitlines())) > MOST_LINES}
    assert not long


def test_no_function_is_two_things() -> None:
    long = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > MOST_FUNCTION_LINES:
                    long[f"{relative(path)}:{node.name}"] = lines
    assert not long


def test_test_modules_have_names_of_their_own() -> None:
    names = [p.name for p in ALL if p.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))


def test_no_file_is_hard_to_name() -> None:
    assert not [relative(p) for p in SOURCES if p.stem in FORBIDDEN_NAMES]


def test_there_is_no_unfinished_business_in_the_tree() -> None:
    word = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    assert not [relative(p) for p in ALL if word.search(p.read_text(encoding="utf-8"))]


def test_nothing_inside_reads_a_real_clock_or_draws_global_randomness() -> None:
    allowed = ("pytest_kubesim/transports/", "pytest_kubesim/sim/clock.py", "pytest_kubesim/sim/freezes.py", "pytest_kubesim/demo.py", "pytest_kubesim/data/generate.py")
    pattern = re.compile(r"^\s*(import random|import time|from time import|import threading|import asyncio|import secrets)\b|\buuid[14]\(", re.MULTILINE)
    found = [relative(p) for p in SOURCES if not relative(p).startswith(allowed) and pattern.search(p.read_text(encoding="utf-8"))]
    assert not found


def test_names_of_packages_are_the_rooms_of_the_house() -> None:
    rooms = {p.name for p in (ROOT / "pytest_kubesim").iterdir() if p.is_dir() and p.name != "__pycache__"}
    known = {
        "apimachinery", "apiserver", "builders", "checkers", "client_go", "cluster", "cni", "controller_manager",
        "cri", "csi", "data", "etcd", "explore", "faults", "kube_proxy", "kubelet", "registry", "report", "scheduler", "sim",
        "transports",
    }
    assert rooms <= known
