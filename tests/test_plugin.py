"""The plugin as its users see it, in pytest runs of their own."""

from __future__ import annotations

import re

import pytest

OPTIONS = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-p", "no:benchmark", "-p", "no:xdist")


def run(pytester: pytest.Pytester, test: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(test)
    return pytester.runpytest_subprocess(*OPTIONS, *options)


def test_a_test_gets_a_cluster_and_the_marker_configures_it(pytester: pytest.Pytester) -> None:
    result = run(pytester, """
        from datetime import datetime, timezone
        import pytest

        pytestmark = pytest.mark.kubesim(nodes=2, seed=5)

        @pytest.mark.kubesim(nodes=1, start_time=datetime(2030, 1, 2, tzinfo=timezone.utc))
        def test_nearest_wins(kubesim):
            assert len(kubesim.nodes) == 1
            assert kubesim.seed == 5
            assert kubesim.clock.now.year == 2030
            assert kubesim.clock.time == 0
            kubesim.clock.advance("1h")
            assert kubesim.clock.now.hour == 1

        def test_far(kubesim):
            assert len(kubesim.nodes) == 2

        def test_factory(kubesim_factory):
            one, other = kubesim_factory(nodes=1, seed=1), kubesim_factory()
            one.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
            assert [o["metadata"]["name"] for o in one.list("configmaps", namespace="default")
                    if o["metadata"]["name"] == "a"] == ["a"]
            assert not [o for o in other.list("cm") if o["metadata"]["name"] == "a"]
    """)
    result.assert_outcomes(passed=3)


def test_unknown_options_list_the_valid_ones(pytester: pytest.Pytester) -> None:
    result = run(pytester, """
        import pytest

        @pytest.mark.kubesim(node=3)
        def test_it(kubesim): ...

        def test_factory(kubesim_factory):
            kubesim_factory(sede=3)
    """)
    result.assert_outcomes(errors=1, failed=1)
    result.stdout.fnmatch_lines([
        "*@pytest.mark.kubesim: unknown option 'node'; did you mean 'nodes'? the options are nodes, seed, *",
        "*kubesim_factory: unknown option 'sede'; did you mean 'seed'?*",
    ])


def test_a_failure_says_what_was_awaited_the_nearest_miss_and_how_to_replay_it(pytester: pytest.Pytester) -> None:
    test = """
        def test_it(kubesim):
            kubesim.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "1"}})
            kubesim.eventually("configmap/a", {"data": {"k": "2"}}, within="1m")
    """
    result = run(pytester, test, "--kubesim-seed", "11")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        "*not within 1m: configmap/a matching*",
        "*the nearest miss*",
        "*- data.k: '2'*",
        "*+ data.k: '1'*",
        "*pending timers:*",
        "*the last of the timeline:*",
        "*seed 11, *",
        "*python -m pytest *::test_it --kubesim-replay k1-11-*",
    ])
    token = re.search(r"--kubesim-replay (\S+)", result.stdout.str())
    assert token is not None
    again = pytester.runpytest_subprocess(*OPTIONS, "--kubesim-replay", token[1])
    again.stdout.fnmatch_lines(["*seed 11, *", "*replayed: the same run as the one that printed the token*", f"*{token[1]}*"])
    changed = pytester.makepyfile(test.replace('"name": "a"', '"name": "b"').replace("configmap/a", "configmap/b"))
    other = pytester.runpytest_subprocess(*OPTIONS, "--kubesim-replay", token[1], changed)
    other.stdout.fnmatch_lines(["*it took another way than the run that printed the token*"])


def test_a_wrong_replay_token_ends_the_run_with_one_clear_error(pytester: pytest.Pytester) -> None:
    result = run(pytester, "def test_it(kubesim): ...", "--kubesim-replay", "k1-7-zzz")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*'k1-7-zzz' is not a replay token*"])


def test_report_and_journal_are_written(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
        def test_fails(kubesim):
            kubesim.advance('1m')
            assert 0

        def test_passes(kubesim_factory):
            kubesim_factory(), kubesim_factory()
        """,
        "--kubesim-report", "report", "--kubesim-journal", "out/journal.jsonl",
    )
    result.assert_outcomes(failed=1, passed=1)
    names = sorted(p.name.partition("__")[2] for p in (pytester.path / "report").iterdir())
    assert names == [
        "", "test_fails.html", "test_fails.journal.jsonl", "test_fails.json",
        *(f"test_passes-{n}.{kind}" for n in (1, 2) for kind in ("html", "journal.jsonl", "json")),
    ]
    index = (pytester.path / "report" / "index.html").read_text(encoding="utf-8")
    assert index.index("test_fails") < index.index("test_passes")
    assert (pytester.path / "out" / "journal.jsonl").stat().st_size > 0


@pytest.mark.parametrize(("option", "given"), [("--kubesim-report", "taken"), ("--kubesim-journal", "taken/x/journal")])
def test_a_place_that_cannot_be_is_told_before_any_test_runs(pytester: pytest.Pytester, option: str, given: str) -> None:
    (pytester.path / "taken").write_text("a file")
    result = run(pytester, "def test_it(kubesim): pass", option, given)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {option}: the folder taken* cannot be made: *; give another one"])


def test_a_run_that_does_not_use_it_loads_nothing_of_the_simulator(pytester: pytest.Pytester) -> None:
    result = run(pytester, """
        import sys

        def test_it():
            loaded = sorted(m for m in sys.modules if m.startswith("pytest_kubesim"))
            assert loaded == ["pytest_kubesim", "pytest_kubesim.hookspecs", "pytest_kubesim.plugin"]
    """)
    result.assert_outcomes(passed=1)


def test_never_settling_says_what_is_busy(pytester: pytest.Pytester) -> None:
    result = run(pytester, """
        import asyncio, json

        async def hot(kubesim):
            ...

        def test_it(kubesim):
            kubesim.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})

            def touch(n=0):
                kubesim.patch("configmap/a", {"data": {"n": str(n)}})
                kubesim.kernel.call_later(10**9, touch, n + 1)

            touch()
            kubesim.settle("5m")
    """)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*did not settle within 5m: write only what has changed*", "*what kept it busy*", "*test: patch configmaps default/a*"])


def test_a_fault_that_never_struck_is_told(pytester: pytest.Pytester) -> None:
    result = run(pytester, """
        def test_it(kubesim):
            kubesim.faults.api(client="nobody", verb="update").fail(409)
    """)
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*never struck*kubesim.faults.api(client='nobody', verb='update').fail(409)*"])


def test_a_conftest_adds_controllers_scheduler_plugins_and_what_every_cluster_has(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("""
        from pytest_kubesim.client_go.resources import CONFIGMAPS
        from pytest_kubesim.scheduler.framework import UNSCHEDULABLE, Status

        def pytest_kubesim_controllers():
            from pytest_kubesim.controller_manager.controller import Controller

            class Stamp(Controller):
                name = "stamp-controller"
                service_account = "stamp-controller"

                def setup(self):
                    self.store = self.watch(CONFIGMAPS, add=self.enqueue)

                async def reconcile(self, key):
                    found = self.store.get(key)
                    if found and "stamp" in (found.get("data") or {}):
                        body = {"data": {"stamp": self.now()}}
                        namespace, name = key.split("/")
                        await self.client.patch(CONFIGMAPS, namespace, name, body, patch_type="merge")

            return [Stamp]

        def pytest_kubesim_scheduler_plugins(config):
            class OnlySecond:
                name = "OnlySecond"

                def filter(self, state, pod, node):
                    if node.name == "node-2":
                        return None
                    return Status(UNSCHEDULABLE, ("not the second node",))

            return [OnlySecond()]

        def pytest_kubesim_cluster_made(cluster):
            cluster.add_nodes(3)
            subject = {"kind": "ServiceAccount", "namespace": "kube-system", "name": "stamp-controller"}
            cluster.apply({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": "stamp"}, "subjects": [subject],
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            })
    """)
    result = run(pytester, """
        def test_it(kubesim):
            kubesim.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"stamp": ""}})
            kubesim.eventually("configmap/a", {"data": {"stamp": "2026-01-01T00:00:00Z"}}, within="5s")
            kubesim.create(kubesim.fake.k8s_pod())
            pod = kubesim.eventually("pods", {"status": {"phase": "Running"}}, within="1m")
            assert pod["spec"]["nodeName"] == "node-2"
    """)
    result.assert_outcomes(passed=1)
