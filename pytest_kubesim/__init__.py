"""A whole Kubernetes, simulated, inside a pytest run.

The fixture `kubesim` gives a test its `Cluster`; the names below are for what a test says besides:
what containers do (`exits`, `crashes` ...), clusters outside of pytest, types for annotations,
errors to expect.  Each is imported when it is first used, so that a pytest run that has the plugin
installed and does not use it pays nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_kubesim.apimachinery.status import APIStatus
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.config import ClusterConfig
    from pytest_kubesim.cri.programs import (
        calls,
        crashes,
        exits,
        hangs_on_sigterm,
        oom,
        runs_forever,
        sequence,
        serves,
        stops_slowly,
    )
    from pytest_kubesim.errors import (
        AssertionFailed,
        KubesimError,
        ManifestError,
        NeverSettled,
        NeverStruck,
        NotSimulated,
        OperatorFailed,
        ReplayError,
        UsageError,
    )
    from pytest_kubesim.faults.faults import fault

__version__ = "0.1.0"

__all__ = [
    "APIStatus",
    "AssertionFailed",
    "Cluster",
    "ClusterConfig",
    "KubesimError",
    "ManifestError",
    "NeverSettled",
    "NeverStruck",
    "NotSimulated",
    "OperatorFailed",
    "ReplayError",
    "UsageError",
    "calls",
    "crashes",
    "exits",
    "fault",
    "hangs_on_sigterm",
    "oom",
    "runs_forever",
    "sequence",
    "serves",
    "stops_slowly",
]

_ROOMS = {
    "APIStatus": "pytest_kubesim.apimachinery.status",
    "Cluster": "pytest_kubesim.cluster.cluster",
    "ClusterConfig": "pytest_kubesim.config",
    "fault": "pytest_kubesim.faults.faults",
    **dict.fromkeys(
        (
            "calls", "crashes", "exits", "hangs_on_sigterm", "oom", "runs_forever", "sequence",
            "serves", "stops_slowly",
        ),
        "pytest_kubesim.cri.programs",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_ROOMS.get(name, "pytest_kubesim.errors")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
