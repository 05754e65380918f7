"""The hooks by which a conftest or a plugin adds to every cluster: peers of the built-in parts.

Define a function of that name in a `conftest.py`; every argument may be left out.  (They begin with
`pytest_` because pytest finds only such ones by their name.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pytest_kubesim.config import ClusterConfig

hookspec = pluggy.HookspecMarker("pytest")


@hookspec
def pytest_kubesim_controllers(config: ClusterConfig) -> Iterable[type]:
    """Controller classes (`controller_manager.controller.Controller`) that run beside the built-in.

    Parameters: `config`, the options of the cluster that is being made.
    """
    del config
    return ()


@hookspec
def pytest_kubesim_scheduler_plugins(config: ClusterConfig) -> Iterable[Any]:
    """Scheduler plugins (see `scheduler.framework.Plugin`).

    They run after the default ones; in a cluster with a `scheduler_config`, where that enables them
    by name (give classes, not instances, for more than one profile).

    Parameters: `config`, the options of the cluster that is being made.
    """
    del config
    return ()


@hookspec
def pytest_kubesim_cluster_made(cluster: Any) -> None:
    """A cluster was made and nothing has happened in it yet: apply CRDs, add nodes, set images.

    Parameters: `cluster`, what the fixture will give.
    """
    del cluster
