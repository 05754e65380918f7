"""The pytest plugin: options, the marker, the fixtures `kubesim` and `kubesim_factory`, the report.

Law: this module imports nothing of the simulator until a test asks for a cluster, so that a run
that has the plugin installed and does not use it starts no slower.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_kubesim import hookspecs

if TYPE_CHECKING:
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.report.recording import Recording

MARKER = (
    "kubesim(nodes=, seed=, version=, control_planes=, etcd_members=, container_runtime=, "
    "start_time=, components=, instant=, faults=): configures the `kubesim` fixture; the nearest "
    "wins"
)

_FIXTURES = frozenset({"kubesim", "kubesim_factory"})

_clusters = pytest.StashKey[list["Cluster"]]()
_recordings = pytest.StashKey[list["Recording"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The command line's options."""
    group = parser.getgroup("kubesim", "simulated Kubernetes clusters")
    group.addoption(
        "--kubesim-seed", type=int, metavar="N", default=None, help="seed of every cluster"
    )
    group.addoption(
        "--kubesim-replay", metavar="TOKEN", default=None,
        help="run as the failure did that printed TOKEN",
    )
    group.addoption(
        "--kubesim-report", metavar="DIR", default=None,
        help="write a page about every test with a cluster into DIR (begin at DIR/index.html)",
    )
    group.addoption(
        "--kubesim-journal", metavar="FILE", default=None,
        help="write the journal of the last cluster to FILE, a line of JSON an entry",
    )


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """The hooks by which a conftest adds to every cluster."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """The marker; and the replay token is looked at before any test runs."""
    config.addinivalue_line("markers", MARKER)
    token = config.getoption("--kubesim-replay")
    if token is not None:
        from pytest_kubesim import config as options
        from pytest_kubesim.errors import ReplayError

        try:
            options.parse_replay_token(token)
        except ReplayError as error:
            raise pytest.UsageError(str(error)) from None
    journal = config.getoption("--kubesim-journal")
    _make_folder("--kubesim-report", config.getoption("--kubesim-report"))
    _make_folder("--kubesim-journal", journal and os.path.dirname(journal))


def _make_folder(option: str, folder: str | None) -> None:
    """What is written at the end has a place: that there is none is told before any test runs."""
    try:
        if folder:
            os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise pytest.UsageError(
            f"{option}: the folder {folder} cannot be made: {error.strerror}; give another one"
        ) from None


def _config_of(request: pytest.FixtureRequest, factory: dict[str, Any]) -> Any:
    from pytest_kubesim import config as options

    merged = options.ClusterConfig()
    for marker in reversed(list(request.node.iter_markers("kubesim"))):
        if marker.args:
            raise options.UsageError(
                f"@pytest.mark.kubesim takes no positional arguments, {marker.args!r} was given; "
                f"the options are {', '.join(options.OPTIONS)}"
            )
        merged = options.merge(merged, marker.kwargs, "@pytest.mark.kubesim")
    merged = options.merge(merged, factory, "kubesim_factory")
    seed = request.config.getoption("--kubesim-seed")
    token = request.config.getoption("--kubesim-replay")
    if token is not None:
        seed = options.parse_replay_token(token).seed
    if seed is not None and "seed" not in factory:
        merged = options.merge(merged, {"seed": seed}, "--kubesim-seed")
    return merged


@pytest.fixture
def kubesim_factory(request: pytest.FixtureRequest) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters: `kubesim_factory(nodes=3, seed=7)`; its arguments are the marker's."""
    from pytest_kubesim.cluster.cluster import Cluster
    from pytest_kubesim.transports.driver import Driver

    made: list[Cluster] = request.node.stash.setdefault(_clusters, [])
    recordings: list[Recording] = request.node.stash.setdefault(_recordings, [])
    reported = request.config.getoption("--kubesim-report") is not None

    def make(**options: Any) -> Cluster:
        hooks = request.node.ihook
        cluster = Cluster(_config_of(request, options), doors=Driver.shared(), hooks=hooks)
        cluster.test_id = request.node.nodeid
        token = request.config.getoption("--kubesim-replay")
        if token is not None:
            from pytest_kubesim.config import parse_replay_token

            cluster.faults.replay(parse_replay_token(token).schedule)
        made.append(cluster)
        if reported:
            from pytest_kubesim.report.recording import Recording

            recordings.append(Recording(cluster))
        hooks.pytest_kubesim_cluster_made(cluster=cluster)
        return cluster

    yield make
    problems: list[BaseException] = []
    for cluster in reversed(made):
        try:
            cluster.finish()
        except Exception as problem:  # noqa: BLE001 - every cluster is closed first
            problems.append(problem)
        cluster.close()
    journal = request.config.getoption("--kubesim-journal")
    if journal is not None and made:
        from pytest_kubesim.report import files

        files.write_journal(made[-1], journal)
    if problems:
        raise problems[0]


@pytest.fixture
def kubesim(kubesim_factory: Callable[..., Cluster]) -> Cluster:
    """A fresh simulated cluster: control plane running, clock at `start_time`."""
    return kubesim_factory()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Async fixtures may come before the cluster: the loop they share with the test is virtual."""
    if not _FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
        from pytest_kubesim.transports import driver

        driver.expect()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Loops made after the test are pytest's own again."""
    try:
        return (yield)
    finally:
        if not _FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
            from pytest_kubesim.transports import driver

            driver.expect_no_more()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failing test prints its seed and the command that replays it; pages are written."""
    outcome = yield
    none: list[Cluster] = []
    clusters = item.stash.get(_clusters, none)
    if outcome.failed and clusters:
        from pytest_kubesim.report.failure import failure

        for number, cluster in enumerate(clusters, 1):
            title = "kubesim" if len(clusters) == 1 else f"kubesim {number}"
            token = item.config.getoption("--kubesim-replay")
            text = failure(cluster, replay_command(item, cluster), token)
            outcome.sections.append((title, text))
    if clusters and (outcome.when == "call" or outcome.failed):
        _write_pages(item, outcome, clusters)
    if outcome.when == "teardown":
        # A session keeps its items: with them it would keep the clusters of all tests.
        item.stash[_clusters] = []
        item.stash[_recordings] = []
    return outcome


def _write_pages(
    item: pytest.Item, outcome: pytest.TestReport, clusters: list[Cluster]
) -> None:
    directory = item.config.getoption("--kubesim-report")
    if directory is None:
        return
    from pytest_kubesim.report import files

    files.write(
        list(zip(clusters, item.stash[_recordings], strict=True)),
        directory,
        test=item.nodeid,
        outcome=outcome.outcome,
        problem=_problem(outcome),
        replay=[replay_command(item, cluster) for cluster in clusters],
    )


def _problem(outcome: pytest.TestReport) -> str:
    """What the test failed with, without the way there."""
    crash = getattr(outcome.longrepr, "reprcrash", None)
    return outcome.longreprtext if crash is None else str(crash.message)


@pytest.hookimpl
def pytest_sessionfinish(session: pytest.Session) -> None:
    """The list of the pages."""
    directory = session.config.getoption("--kubesim-report")
    if directory is not None:
        from pytest_kubesim.report import files

        files.write_index(directory)


def replay_command(item: pytest.Item, cluster: Cluster) -> str:
    """The command line that runs `item` as it ran."""
    from pytest_kubesim import config as options

    drawn = [fault.to_json() for fault in cluster.faults.drawn]
    token = options.replay_token(cluster.seed, cluster.journal.digest(), drawn)
    return f"python -m pytest {shlex.quote(item.nodeid)} --kubesim-replay {token}"
