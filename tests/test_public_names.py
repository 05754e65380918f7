"""What users import, once, in one place; and what the fixture offers."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import pytest_kubesim
from pytest_kubesim.cluster.cluster import Cluster

FIXTURE = {
    "add_nodes", "advance", "always", "apply", "client", "clock", "create", "delete", "eventually", "fake",
    "faults", "get", "images", "journal", "kubeconfig", "list", "never", "nodes", "operators", "patch",
    "random", "run", "seed", "settle", "stays",
}


@pytest.mark.parametrize("name", pytest_kubesim.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    found = getattr(pytest_kubesim, name)
    assert inspect.getdoc(found)
    assert name in dir(pytest_kubesim)


def test_public_names_are_sorted() -> None:
    assert pytest_kubesim.__all__ == sorted(pytest_kubesim.__all__, key=lambda n: (n[0].islower(), n))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Clutser'"):
        _ = pytest_kubesim.Clutser


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, pytest_kubesim; print([m for m in sys.modules if m.startswith('pytest_kubesim')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['pytest_kubesim']"


def test_the_fixture_offers_what_the_contract_names() -> None:
    offered = {name for name in dir(Cluster) if not name.startswith("_")}
    cluster = Cluster()
    offered |= {name for name in vars(cluster) if not name.startswith("_")}
    assert offered >= FIXTURE
    for name in FIXTURE:
        member = inspect.getattr_static(Cluster, name, None)
        if member is not None:
            assert inspect.getdoc(member), name
    cluster.close()
