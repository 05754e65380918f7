"""Faults of requests and watches, as a client sees them."""

import pytest
from kubernetes import client as k8s
from kubernetes.client.rest import ApiException

from pytest_kubesim import UsageError, fault


def config_map(name="a", **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


def core(kubesim):
    api = kubesim.client("kubernetes")
    return k8s.CoreV1Api(api)


@pytest.mark.parametrize("code", [409, 410, 500, 503, 504])
def test_a_request_fails_as_often_as_it_is_told(kubesim, code):
    api = core(kubesim)
    armed = kubesim.faults.api(client="test", verb="list", resource="configmaps").fail(code, times=1, after=1)
    api.list_namespaced_config_map("default")
    with pytest.raises(ApiException) as error:
        api.list_namespaced_config_map("default")
    assert error.value.status == code
    assert armed.struck == 1
    api.list_namespaced_config_map("default")


def test_an_answer_is_lost_and_the_write_applied(kubesim):
    import httpx

    http = kubesim.client("httpx")
    kubesim.faults.api(verb="create", resource="configmaps").apply_but_drop_answer()
    with pytest.raises(httpx.TransportError):
        http.post("/api/v1/namespaces/default/configmaps", json=config_map())
    assert kubesim.get("configmap/a")


def test_an_answer_is_held_back_until_an_instant(kubesim):
    http = kubesim.client("httpx")
    kubesim.faults.api(verb="create", resource="configmaps").hold_answer(until="7s")
    http.post("/api/v1/namespaces/default/configmaps", json=config_map(), timeout=60)
    assert kubesim.clock.time == pytest.approx(7)


def test_an_answer_is_held_back_until_a_condition(kubesim):
    http = kubesim.client("httpx")
    until = fault.holds(lambda: kubesim.clock.time > 3 and kubesim.get("configmap/b"))
    kubesim.faults.api(verb="create", name="", resource="configmaps").hold_answer(until=until, times=1)
    kubesim.kernel.call_later(4 * 10**9, lambda: kubesim.kernel.spawn(kubesim._client.create(
        kubesim.names.resource("configmaps").gvr, "default", config_map("b")), name="b"))
    http.post("/api/v1/namespaces/default/configmaps", json=config_map(), timeout=60)
    assert kubesim.clock.time == pytest.approx(4)


def test_a_fault_is_a_context_manager(kubesim):
    http = kubesim.client("httpx")
    with kubesim.faults.api(client="test", verb="get").fail(503, times=None) as armed:
        assert http.get("/api/v1/namespaces/default").status_code == 503
        assert http.get("/api/v1/namespaces/default").status_code == 503
    assert http.get("/api/v1/namespaces/default").status_code == 200
    assert armed.struck == 2


def test_a_fault_has_a_window(kubesim):
    http = kubesim.client("httpx")
    kubesim.faults.api(client="test", verb="get").fail(503, times=None, at="10s", until="20s")
    codes = []
    for _ in range(4):
        codes.append(http.get("/api/v1/namespaces/default").status_code)
        kubesim.advance("7s")
    assert codes == [200, 200, 503, 200]


def test_a_fault_begins_after_the_second_write_of_somebody(kubesim):
    kubesim.faults.api(verb="get", client="test").fail(
        500, times=None, when=kubesim.faults.after_write(2, client="test", resource="configmaps")
    )
    kubesim.apply(config_map("a"))
    assert kubesim.get("configmap/a")
    kubesim.apply(config_map("b"))
    with pytest.raises(Exception, match="etcdserver: request timed out"):
        kubesim.get("configmap/a")


def test_a_fault_begins_when_a_field_changes(kubesim):
    kubesim.apply(config_map("a", color="red"))
    armed = kubesim.faults.api(verb="get", client="test").fail(500).when(
        kubesim.faults.changed("configmap/a", "data.color", before="red", to="blue")
    )
    kubesim.apply(config_map("a", color="green"))
    kubesim.apply(config_map("a", color="blue"))
    assert armed.state == "waiting"
    kubesim.apply(config_map("a", color="red"))
    kubesim.apply(config_map("a", color="blue"))
    with pytest.raises(Exception, match="request timed out"):
        kubesim.get("configmap/a")


@pytest.mark.kubesim(faults=[
    fault.api(verb="get", resource="configmaps").fail(503, at="30s"),
    fault.partition("node-1", "control-plane", at="5m").for_("90s"),
], nodes=1)
def test_faults_are_listed_in_the_marker(kubesim):
    kubesim.apply(config_map())
    kubesim.get("configmap/a")
    kubesim.advance("30s")
    with pytest.raises(Exception, match="unable to handle the request"):
        kubesim.get("configmap/a")
    kubesim.advance("10m")
    assert [armed.struck for armed in kubesim.faults.armed] == [1, 1]


def test_watches_are_cut_expired_held_late_and_coalesced(kubesim):
    seen = []

    def operator():
        from kubernetes import watch

        api = core(kubesim)
        version = "0"
        while True:
            try:
                if version == "0":
                    version = api.list_namespaced_config_map("default").metadata.resource_version
                    seen.append(("list", kubesim.clock.time))
                for event in watch.Watch().stream(
                    api.list_namespaced_config_map, "default", resource_version=version
                ):
                    item = event["object"]
                    version = item.metadata.resource_version
                    seen.append((item.data and item.data.get("n"), kubesim.clock.time))
            except ApiException as error:
                seen.append((error.status, kubesim.clock.time))
                version = "0"
            except Exception as error:
                seen.append((type(error).__name__, kubesim.clock.time))

    kubesim.run(operator, name="operator")
    kubesim.advance("1s")
    put = lambda n: kubesim.apply(config_map(n=str(n)))  # noqa: E731

    def news():
        kubesim.advance("100ms")
        found, seen[:] = [what for what, _ in seen], []
        return [what for what in found if what not in ("list", None)]

    put(1)
    assert news()[-1:] == ["1"]
    api = kubesim.faults.api(client="operator", resource="configmaps")
    api.cut_watch()
    put(2)
    assert news()[-1] == "2"
    api.expire_watch()
    kubesim.advance("2s")
    news()
    with api.hold_events() as held:
        put(3), put(4)
        assert news() == []
    assert news() == ["3", "4"]
    assert held.struck == 1
    with api.delay_events("5s"):
        put(5)
        assert news() == []
        kubesim.advance("5s")
        assert news() == ["5"]
    with api.coalesce_events("5s"):
        put(6), put(7)
        kubesim.advance("6s")
        assert "6" not in news()


@pytest.mark.parametrize(("say", "words"), [
    (lambda f: f.api(resource="statefulset").fail(409), "did you mean 'statefulsets'"),
    (lambda f: f.node("node-9").crash(), "there is no node 'node-9'; there are: none"),
    (lambda f: f.api().fail(500, after=-1), "fail(after=-1): give a whole number from 0 on"),
    (lambda f: f.random(-1), "random(count=-1): give a whole number from 1 on"),
    (lambda f: f.operator("nobody").crash(), "there is no process 'nobody'; there are: kube-apiserver-1"),
    (lambda f: f.api_server("kube-apiserver-2").stop(), "there is no process 'kube-apiserver-2'"),
    (lambda f: f.etcd("etcd-4").crash(), "there is no member 'etcd-4' of etcd; did you mean 'etcd'? there are: etcd"),
    (lambda f: f.etcd().lose_leader(), "etcd_members=3"),
    (lambda f: f.etcd().restore("x"), "there is no backup 'x'"),
    (lambda f: f.partition("moon", "control-plane"), "nothing called 'moon'"),
    (lambda f: f.partition("kube-scheduler", "control-plane"), "where no network is between them"),
    (lambda f: f.view(client="x", kind="Unicorn").freeze(), "serves no resource 'Unicorn'"),
    (lambda f: f.container(pod="x").exit(), "no such container runs; there are: none"),
    (lambda f: f.random(2, kinds=["earthquake"]), "no kind 'earthquake'"),
])
def test_an_impossible_fault_is_refused_with_the_possible_ones(kubesim, say, words):
    with pytest.raises(UsageError) as error:
        say(kubesim.faults)
    assert words in str(error.value)
    assert kubesim.faults.armed == []


def test_what_has_struck_cannot_be_put_off(kubesim):
    kubesim.add_nodes(1)
    armed = kubesim.faults.node("node-1").crash()
    with pytest.raises(UsageError, match=r"say it in the call instead: crash\(when=...\)"):
        armed.when("pod/x")


def test_a_client_that_never_appeared_is_told_with_those_that_did(kubesim):
    armed = kubesim.faults.api(client="nobody").fail(409)
    kubesim.list("namespaces")
    assert "no client 'nobody' has appeared; there were: " in kubesim.faults.why_not(armed)
    assert "test" in kubesim.faults.why_not(armed)
    kubesim.faults.armed.clear()


def test_clients_are_told_apart_by_account_user_agent_and_name(kubesim):
    kubesim.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "op", "namespace": "default"}})
    codes = []

    def operator():
        http = kubesim.client("httpx")
        for _ in range(5):
            codes.append(http.get("/version", headers={"user-agent": "manager/v1.2"}).status_code)

    f = kubesim.faults
    f.api(service_account="default/op").fail(503, message="account")
    f.api(client="default/op").fail(503, after=0, message="account")
    f.api(user_agent="manager/v1").fail(504)
    f.api(client="manager").fail(429)
    kubesim.run(operator, service_account="default/op")
    kubesim.advance("1s")
    assert sorted(codes) == sorted([503, 503, 504, 429, 200])


def test_a_watch_that_begins_too_far_back_says_so_though_events_are_held(kubesim):
    kubesim.faults.api_server().restart()  # it knows of nothing that was before
    http = kubesim.client("httpx")
    kubesim.faults.api(client="test", resource="configmaps").hold_events().for_("1m")
    kubesim.apply(config_map())
    http.get("/api/v1/namespaces/default/configmaps?resourceVersion=0")
    for n in range(3):
        kubesim.apply(config_map(n=str(n)))
    with http.stream("GET", "/api/v1/namespaces/default/configmaps?watch=true&resourceVersion=1") as answer:
        assert '"code":410' in next(answer.iter_lines())
    kubesim.faults.clear()
    kubesim.faults.armed.clear()
