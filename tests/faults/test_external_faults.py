"""What goes wrong with systems outside, and with the names of things."""

from __future__ import annotations

import asyncio
import time

import pytest

from pytest_kubesim import UsageError, fault

aiohttp = pytest.importorskip("aiohttp")
requests = pytest.importorskip("requests")

API = "https://api.example.com"


@pytest.fixture
def made(kubesim):
    """What the system has made, and the system."""
    names = []

    @kubesim.external("api.example.com")
    def api(request):
        if request.method == "POST":
            names.append(request.object["name"])
            return 201, {"made": names[-1]}
        return names

    return names


def outcomes(kubesim, *calls, name="operator"):
    """What an operator has of its calls: the status and the body, or the error; and when."""
    out = []

    def main():
        for call in calls:
            try:
                answer = call()
                out.append((answer.status_code, answer.text, round(time.monotonic() - begun, 3)))
            except requests.exceptions.RequestException as error:
                out.append((type(error).__name__, round(time.monotonic() - begun, 3)))
        time.sleep(86_400)

    begun = time.monotonic()
    kubesim.run(main, name=name)
    kubesim.advance("10m")
    return out


def post():
    return requests.post(f"{API}/things", json={"name": "a"}, timeout=5)


def get():
    return requests.get(f"{API}/things", timeout=5)


MADE = (201, '{"made":"a"}', 0)


@pytest.mark.parametrize(
    ("say", "first", "left"),
    [
        (lambda f: f.time_out(), ("ReadTimeout", 5), []),
        (lambda f: f.refuse(), ("ConnectionError", 0), []),
        (lambda f: f.reset(), ("ConnectionError", 0), []),
        (lambda f: f.delay("2s"), (201, '{"made":"a"}', 2), ["a"]),
        (lambda f: f.fail(503), (503, "an error on the server (503)", 0), []),
        (lambda f: f.answer({"made": "b"}), (200, '{"made":"b"}', 0), []),
        (lambda f: f.answer("<html>"), (200, "<html>", 0), []),
        (lambda f: f.apply_but_drop_answer(), ("ConnectionError", 0), ["a"]),
    ],
)
def test_what_a_fault_does_to_a_request(kubesim, made, say, first, left):
    armed = say(kubesim.faults.external("api.example.com"))
    after = (201, '{"made":"a"}', first[-1])
    assert outcomes(kubesim, post, post) == [first, after]
    assert made == [*left, "a"]
    assert armed.struck == 1
    assert not armed.armed


def test_a_fault_is_meant_for_a_client_a_method_a_path(kubesim, made):
    faults = kubesim.faults
    faults.external("api.example.com", client="other").fail(500)
    faults.external("api.example.com", method="post", path="/th*").fail(502, times=None, until="1h")
    faults.external("api.example.com", path="/nothing").fail(504).for_("1h")
    assert outcomes(kubesim, get, post) == [(200, "[]", 0), (502, "an error on the server (502)", 0)]
    assert outcomes(kubesim, get, name="other") == [(500, "an error on the server (500)", 0)]
    faults.clear()
    kubesim.faults.armed.pop()


def test_it_has_the_timing_of_all_faults(kubesim, made):
    kubesim.faults.external("api.example.com").fail(500, times=None, after=1, at="10s").for_("10s")

    def later(call):
        return lambda: (time.sleep(6), call())[1]

    assert [o[0] for o in outcomes(kubesim, *[later(get)] * 5)] == [200, 200, 500, 200, 200]


def test_a_declared_host_is_on_the_network(kubesim, made):
    took = []

    def main():
        time.sleep(1)
        begun = time.monotonic()
        get()
        took.append(time.monotonic() - begun)
        time.sleep(86_400)

    kubesim.run(main, name="operator")
    kubesim.advance("0.5s")
    kubesim.faults.latency("operator", "api.example.com", "1s").for_("30s")
    kubesim.advance("1m")
    # One way to connect, one with the request, one back with the answer.
    assert took == [3]


def test_a_cut_way_to_it_is_a_connection_that_times_out(kubesim, made):
    kubesim.faults.partition("api.example.com", "*").for_("8s")
    assert outcomes(kubesim, get, get) == [("ConnectTimeout", 5), (200, "[]", 8)]


def test_it_prints_as_the_python_that_makes_it_and_is_read_back(kubesim):
    said = fault.external("api.example.com", method="POST").answer({"a": 1}, times=2).for_("1m")
    assert repr(said) == "kubesim.faults.external('api.example.com', method='POST').answer({'a': 1}, times=2).for_('1m')"
    assert type(said).from_json(said.to_json()) == said
    said = fault.dns("*.example.com", client="operator").delay("5s", at="1m")
    assert repr(said) == "kubesim.faults.dns('*.example.com', client='operator').delay('5s', at='1m')"


@pytest.mark.parametrize(
    ("say", "words"),
    [
        (lambda f: f.external("other.example.com").reset(), "there are: api.example.com"),
        (lambda f: f.external("api.example.com").fail(200), "from 400 to 599"),
        (lambda f: f.external("api.example.com").answer(7), "an object, a list or a text"),
        (lambda f: f.external("api.example.com", path="/x").refuse(), "a connection has no path"),
        (lambda f: f.external("api.example.com").delay("soon"), "soon"),
    ],
)
def test_what_cannot_be_is_refused(kubesim, made, say, words):
    with pytest.raises(UsageError, match=words):
        say(kubesim.faults)


# -- names ------------------------------------------------------------------------------------


def test_a_name_that_is_not_known_for_a_time(kubesim, made):
    kubesim.faults.dns("api.example.com").fail()
    (first, second) = outcomes(kubesim, get, get)
    assert first == ("ConnectionError", 0)
    assert second == (200, "[]", 0)


def test_lookups_take_long_or_have_no_answer(kubesim, made):
    kubesim.faults.dns("*.example.com").delay("3s")
    kubesim.faults.dns("api.example.com").time_out()
    assert outcomes(kubesim, get, get, get) == [(200, "[]", 3), ("ConnectionError", 23), (200, "[]", 23)]


def test_lookups_of_coroutines_too(kubesim, made):
    kubesim.faults.dns("api.example.com").delay("3s")
    kubesim.faults.dns("api.example.com").fail()
    seen = []

    async def main():
        for _ in range(3):
            try:
                async with aiohttp.ClientSession() as session, session.get(f"{API}/things") as answer:
                    seen.append((answer.status, asyncio.get_running_loop().time()))
            except aiohttp.ClientConnectorDNSError as error:
                seen.append(str(error.os_error))

    kubesim.run(main)
    kubesim.advance("1m")
    assert seen == [(200, 3.0), "[Errno -2] Name or service not known", (200, 3.0)]


def test_the_name_of_the_cluster_too(kubesim):
    from kubernetes import client

    kubesim.faults.dns("kubesim*.test", client="operator").fail(times=None).for_("5m")
    seen = []

    def main():
        configuration = client.Configuration(host="https://kubesim.test:6443", retries=False)
        core = client.CoreV1Api(client.ApiClient(configuration))
        for _ in range(2):
            try:
                core.list_namespace()
                seen.append("answered")
            except Exception as error:
                seen.append(type(error).__name__)
            time.sleep(600)

    kubesim.run(main, name="operator")
    kubesim.advance("11m")
    assert seen[0] != "answered"
    assert len(seen) == 2
