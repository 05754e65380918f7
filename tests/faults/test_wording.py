"""What is misspelt in a fault is said when it is written, with what there is and what to do."""

import warnings

import pytest

from pytest_kubesim import NeverStruck, UsageError, fault

EVERYWHERE = [
    (lambda f: f.apu(client="x"), "there is no apu; did you mean 'api'? there are after_write, api,"),
    (lambda f: f.api(client="x").fial(409), "there is no api(...).fial; did you mean 'fail'?"),
    (lambda f: f.api(clinet="x"), "api(clinet='x'): unknown option 'clinet'; did you mean 'client'? the options are client=,"),
    (lambda f: f.api("op").reset(), "api('op'): too many arguments; it takes no arguments without a name; by name client=,"),
    (lambda f: f.api().fail(409, tmies=2), "api(...).fail(tmies=2): unknown option 'tmies'; did you mean 'times'?"),
    (lambda f: f.api().fail(), "api(...).fail(): code is missing; write fail(code)"),
    (lambda f: f.api().fail(409, times="x"), "fail(times='x'): give a whole number from 1 on: a fault strikes at least once"),
    (lambda f: f.api().fail(429, retry_after="soon"), "fail(retry_after='soon'): give a whole number"),
    (lambda f: f.api().fail(429, message=3), "fail(message=3): give a text"),
    (lambda f: f.api(resource=["pods"]).reset(), "resource=['pods']: give a text"),
    (lambda f: f.api().delay("soon"), "faults: delay: 'soon' is not a duration"),
    (lambda f: f.api(verb="updat").reset(), "did you mean 'update'"),
    (lambda f: f.api().reset().for_("0s"), "for_='0s': a fault that lasts no time"),
    (lambda f: f.node("n").crash(during="1m"), "unknown option 'during'; the options are those of every fault: at="),
    (lambda f: f.node("n").pressure("memroy"), "did you mean 'memory'?"),
    (lambda f: f.operator("o").crash(at_write="x"), "crash(at_write='x'): give a whole number from 1 on"),
    (lambda f: f.operator("o").crash(restart_after="soon"), "restart_after: 'soon' is not a duration"),
    (lambda f: f.process("p").drift_clock("x"), "drift_clock(parts_per_million='x'): give a whole number"),
    (lambda f: f.process("p").drift_clock(-1_000_000), "from -999999 to 1000000"),
    (lambda f: f.image("x").pull_error("denyed"), "there is no such problem; did you mean 'denied'?"),
    (lambda f: f.container(pod="x").exit(300), "exit(code=300): give a whole number from 0 to 255"),
    (lambda f: f.loss("a", "b", "x"), "loss: probability='x': give a number above 0 and up to 1"),
    (lambda f: f.latency("a", "b", "1s", jitter="soon"), "latency: jitter: 'soon' is not a duration"),
    (lambda f: f.partition("a", "b", form="1m"), "partition(form='1m'): unknown option 'form'; did you mean 'for_'?"),
    (lambda f: f.webhook("w").fail("x"), "fail(code='x'): give a whole number from 400 to 599"),
    (lambda f: f.webhook("w").refuse(times=0), "refuse(times=0)"),
    (lambda f: f.webhook("w").answer("x"), "give the body as a dict"),
    (lambda f: f.external("h", methd="POST"), "did you mean 'method'?"),
    (lambda f: f.dns("h").fail(after=-1), "fail(after=-1)"),
    (lambda f: f.etcd().time_out(times="x"), "time_out(times='x')"),
    (lambda f: f.after_write("x"), "after_write(count='x'): give a whole number"),
    (lambda f: f.after_write(1, resorce="x"), "after_write(resorce='x'): unknown option 'resorce'; did you mean 'resource'"),
    (lambda f: f.changed("pods", "status.phase"), "names no object; write it as 'deployment/web'"),
    (lambda f: f.changed("pod/x", "status.phase", too="y"), "unknown option 'too'; did you mean 'to'?"),
    (lambda f: f.holds("pods", cuont=3), "unknown option 'cuont' of a condition; did you mean 'count'?"),
]


@pytest.mark.parametrize(("say", "words"), EVERYWHERE)
@pytest.mark.filterwarnings("ignore:a fault never struck")
def test_a_slip_is_told_alike_in_a_mark_and_in_a_test(kubesim, say, words):
    for said in (fault, kubesim.faults):
        with pytest.raises(UsageError) as error:
            say(said)
        assert words in str(error.value)


@pytest.mark.parametrize(("say", "words"), [
    (lambda f: f.api(server="x").reset(at="1h"), "there is no API server 'x'; there are: kube-apiserver-1"),
    (lambda f: f.api(resource="pods", subresource="statuz").reset(), "did you mean 'status'? there are: attach, binding"),
    (lambda f: f.api(subresource="statuz").reset(), "the API has no such subresource"),
    (lambda f: f.api(resource="pods/status").reset(), "write resource='pods', subresource='status'"),
    (lambda f: f.api(resource="deploy").reset(), "did you mean 'deployments'?"),
    (lambda f: f.node("node-1").crash(when=f.after_write(1, resource="podz")), "did you mean 'pods'?"),
    (lambda f: f.node("node-1").crash(when=f.after_write(1, verb="get")), "get writes nothing; the verbs that do are create"),
    (lambda f: f.node("node-1").crash(when=f.changed("podz/x", "status.phase")), "serves no resource 'podz'; did you mean"),
    (lambda f: f.node("node-1").crash(when=f.holds("podz")), "serves no resource 'podz'"),
    (lambda f: f.api().reset(until=f.holds("podz")), "serves no resource 'podz'"),
    (lambda f: f.api().reset().when(f.holds("podz")), "serves no resource 'podz'"),
    (lambda f: f.api().reset().until(f.holds("podz")), "serves no resource 'podz'"),
    (lambda f: f.operator("op").crash(at_write=1, resource="podz"), "did you mean 'pods'?"),
    (lambda f: f.node("nod-1").crash(), "there is no node 'nod-1'; did you mean 'node-1'?"),
    (lambda f: f.process("kube-schedular").crash(), "did you mean 'kube-scheduler'?"),
    (lambda f: f.node("node-1").crash().during("1m"), "there is no crash(...).during; there are armed, at, disarm"),
    (lambda f: f.random("x"), "random(count='x')"),
    (lambda f: f.random(3, kind="x"), "did you mean 'kinds'?"),
    (lambda f: f.random(3, kinds="api-rest"), "did you mean 'api-reset'"),
    (lambda f: f.random(3, kinds=()), "names none"),
    (lambda f: f.random(3, within="0s"), "give a longer duration"),
    (lambda f: f.arm("crash"), "give a record, as pytest_kubesim.fault says them"),
])
@pytest.mark.kubesim(nodes=1)
@pytest.mark.filterwarnings("ignore:a fault never struck")
def test_what_the_cluster_does_not_have_is_told_when_it_is_armed(kubesim, say, words):
    with pytest.raises(UsageError) as error:
        say(kubesim.faults)
    assert words in str(error.value)


@pytest.mark.parametrize(("say", "words"), [
    (lambda f: f.api().reset(at="1m"), "at='1m' is over: instants count from the start of the cluster, and it is 5m old; give a later one"),
    (lambda f: f.api().reset(until="5m"), "until='5m' is over: instants count from the start of the cluster, and it is 5m old; give a later one, or for_='5m' to let it last"),
    (lambda f: f.api().reset().until("1m"), "until='1m' is over"),
    (lambda f: f.api().reset().at("1m"), "at='1m' is over"),
])
@pytest.mark.filterwarnings("ignore:a fault never struck")
def test_an_instant_that_is_over_is_told(kubesim, say, words):
    kubesim.advance("5m")
    with pytest.raises(UsageError) as error:
        say(kubesim.faults)
    assert words in str(error.value)
    kubesim.faults.api().reset(at="5m")


@pytest.mark.parametrize("never", [float("nan"), float("inf")])
def test_no_duration_is_endless(kubesim, never):
    with pytest.raises(UsageError, match="is not a duration"):
        kubesim.advance(never)


def test_random_faults_are_not_for_marks():
    with pytest.raises(AttributeError, match=r"say kubesim\.faults\.random in the test"):
        fault.random(3)  # pyright: ignore[reportAttributeAccessIssue]


def test_one_kind_of_random_faults_is_said_without_a_list(kubesim):
    drawn = kubesim.faults.random(2, kinds="api-reset")
    assert [armed.fault.what for armed in drawn] == ["reset", "reset"]


def test_a_mark_that_says_whom_and_not_what_is_told_what_there_is(kubesim_factory):
    with pytest.raises(UsageError, match=r"node\('node-1'\): say what happens to it: crash\(\), drift_clock\(\)"):
        kubesim_factory(faults=[fault.node("node-1")])


def test_a_sentence_that_nobody_finishes_is_told_at_the_end(kubesim_factory):
    cluster = kubesim_factory(nodes=1)
    target = cluster.faults.api(client="test")
    target.reset().disarm()
    cluster.faults.armed.clear()
    with pytest.raises(UsageError):
        cluster.faults.node("node-1").crahs()
    cluster.finish()
    cluster.faults.node("node-1")
    with pytest.warns(NeverStruck, match=r"node\('node-1'\) arms nothing: say what happens: crash\(\), drift_clock\(\)"):
        cluster.finish()
    cluster.faults.begun.clear()


@pytest.mark.parametrize(("say", "words"), [
    (lambda f: f.api(namespace="defualt", verb="read").fail(503), "1 requests would have been meant but for namespace='defualt'; they had 'default'"),
    (lambda f: f.api(verb="delete", name="a").fail(503), "but for verb='delete'; they had 'get'"),
    (lambda f: f.api(name="b*").fail(503), "but for name='b*'; they had 'a'"),
    (lambda f: f.api(resource="secrets", client="test").fail(503), "but for resource='secrets'; they had 'configmaps'"),
    (lambda f: f.webhook("deny").time_out(), "no webhook is configured as 'deny'; there are: none"),
    (lambda f: f.operator("op").crash(at_write=1), "no operator was run as 'op'; there are: none"),
])
def test_what_never_struck_is_told_with_the_word_that_kept_it(kubesim, say, words):
    armed = say(kubesim.faults)
    kubesim.client("httpx").get("/api/v1/namespaces/default/configmaps/a")
    assert words in kubesim.faults.why_not(armed)
    kubesim.faults.armed.clear()


CRD = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "databases.example.com"},
    "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "databases", "singular": "database", "kind": "Database"},
        "versions": [{
            "name": "v1", "served": True, "storage": True,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        }],
    },
}


@pytest.mark.kubesim(nodes=4, faults=[
    fault.node("node-1").crash(when=fault.after_write(1, resource="databases")),
    fault.node("node-2").crash(when=fault.changed("database/db", "spec.replicas", to=2)),
    fault.node("node-3").crash(when=fault.holds("databases", {"spec": {"replicas": 3}})),
    fault.api(resource="databases", verb="delete").fail(500),
])
def test_a_mark_may_speak_of_custom_resources_that_are_yet_to_come(kubesim):
    kubesim.apply(CRD)
    database = {"apiVersion": "example.com/v1", "kind": "Database", "metadata": {"name": "db"}}
    powered = []
    for replicas in (1, 2, 3):
        kubesim.apply({**database, "spec": {"replicas": replicas}})
        kubesim.advance("1s")
        powered.append([node.powered for node in kubesim.nodes.values()])
    assert powered == [[False, True, True, True], [False, False, True, True], [False, False, False, True]]
    with pytest.raises(Exception, match="request timed out"):
        kubesim.delete("database/db")


def test_a_mark_in_which_a_letter_is_wrong_is_warned_of_at_once(kubesim_factory):
    with pytest.warns(NeverStruck, match="did you mean") as told:
        cluster = kubesim_factory(faults=[
            fault.node("node-1").crash(when=fault.after_write(1, resource="podz")),
            fault.node("node-1").crash(when=fault.changed("podz/a", "status.phase")),
            fault.api(resource="podz").reset(at="1h"),
        ], nodes=1)
    assert len(told) == 3
    cluster.faults.armed.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kubesim_factory(faults=[fault.api(resource="databases").reset()]).faults.armed.clear()


@pytest.mark.parametrize(("said", "strikes"), [
    ({"user_agent": "python-httpx"}, True),
    ({"user_agent": "python-*"}, True),
    ({"user_agent": "httpx"}, False),
    ({"name": "db-*"}, True),
    ({"name": "db"}, False),
    ({"client": "te*"}, True),
    ({"namespace": "kube-*"}, False),
])
def test_names_of_requests_are_patterns_as_those_of_pods_are(kubesim, said, strikes):
    http = kubesim.client("httpx")
    armed = kubesim.faults.api(resource="configmaps", **said).fail(503)
    answer = http.get("/api/v1/namespaces/default/configmaps/db-0", headers={"user-agent": "python-httpx/1"})
    assert (answer.status_code == 503) is strikes
    armed.disarm()
    kubesim.faults.armed.clear()


@pytest.mark.parametrize("verb", ["stays", "always", "never"])
def test_a_duration_is_called_as_the_test_has_called_it(kubesim, verb):
    with pytest.raises(UsageError, match=f"{verb}: during: 'soon' is not a duration"):
        getattr(kubesim, verb)("pods", during="soon")
