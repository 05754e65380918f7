"""Systems outside that a test declares, reached by what operators are written with."""

from __future__ import annotations

import http.client
import json
import time
import urllib.request
from urllib.parse import urlsplit

import pytest

from pytest_kubesim import UsageError
from pytest_kubesim.errors import OperatorFailed
from pytest_kubesim.wire import Response

aiohttp = pytest.importorskip("aiohttp")
httpx = pytest.importorskip("httpx")
requests = pytest.importorskip("requests")
urllib3 = pytest.importorskip("urllib3")


def echo(request):
    return {"path": request.path, "query": dict(request.query), "body": request.object, "who": request.client}


def by_http_client(url):
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=10)
    connection.request("GET", parts.path)
    return json.load(connection.getresponse())


WAYS = {
    "requests": lambda url: requests.get(url, timeout=10).json(),
    "httpx": lambda url: httpx.get(url).json(),
    "urllib3": lambda url: urllib3.PoolManager().request("GET", url).json(),
    "urllib": lambda url: json.load(urllib.request.urlopen(url)),
    "http.client": by_http_client,
}


def run(kubesim, call, name="operator"):
    """What `call` gives in an operator, or the type of what it raises, and how long it took."""
    out = []

    def main():
        begun = time.monotonic()
        try:
            out.append(call())
        except Exception as error:
            out.append(type(error).__name__)
        out.append(round(time.monotonic() - begun, 3))
        time.sleep(3600)

    operator = kubesim.run(main, name=name)
    kubesim.advance("10m")
    operator.stop()
    return out


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("way", WAYS)
def test_operators_reach_it_with_their_usual_clients(kubesim, way, scheme):
    api = kubesim.external("api.example.com", echo)
    answer, took = run(kubesim, lambda: WAYS[way](f"{scheme}://api.example.com/v1/x"))
    assert answer == {"path": "/v1/x", "query": {}, "body": None, "who": "operator"}
    assert took == 0
    assert [(r.method, r.url, r.client) for r in api.requests] == [("GET", f"{scheme}://api.example.com/v1/x", "operator")]


def test_coroutines_reach_it_and_its_latency_is_virtual(kubesim):
    @kubesim.external("api.example.com", latency="2s")
    async def api(request):
        return 201, [request.path, request.method]

    seen = []

    async def main():
        async with aiohttp.ClientSession() as session, session.post("https://api.example.com/a") as answer:
            seen.append((answer.status, await answer.json()))
        async with httpx.AsyncClient() as client:
            seen.append((await client.get("http://api.example.com/b")).json())

    kubesim.run(main)
    kubesim.advance("1m")
    assert seen == [(201, ["/a", "POST"]), ["/b", "GET"]]
    assert [r.at_s for r in api.requests] == [0.0, 2.0]


def test_the_test_itself_reaches_it(kubesim):
    api = kubesim.external("https://api.example.com:8443", echo)
    answer = requests.post("https://api.example.com:8443/x?a=1&a=2&b=", json={"n": 1}, timeout=5)
    assert answer.json() == {"path": "/x", "query": {"a": "2", "b": ""}, "body": {"n": 1}, "who": "test"}
    assert api.requests[0].url == "https://api.example.com:8443/x"
    assert api.requests[0].header("content-type") == "application/json"
    assert api.requests[0].param("a") == "1"


@pytest.mark.parametrize(
    ("said", "status", "body", "kind"),
    [
        ({"a": "<b>"}, 200, b'{"a":"\\u003cb\\u003e"}', "application/json"),
        ([1], 200, b"[1]", "application/json"),
        ("text", 200, b"text", "text/plain; charset=utf-8"),
        (b"\0", 200, b"\0", "application/octet-stream"),
        (204, 204, b"", None),
        (None, 404, b"", None),
        ((409, "taken"), 409, b"taken", "text/plain; charset=utf-8"),
        (Response(302, None, b"", "", (("Location", "/y"),)), 302, b"", None),
    ],
)
def test_what_a_function_answers(kubesim, said, status, body, kind):
    kubesim.external("api.example.com", lambda request: said)
    answer = requests.get("http://api.example.com/", timeout=5, allow_redirects=False)
    assert (answer.status_code, answer.content, answer.headers.get("content-type")) == (status, body, kind)
    assert "cache-control" not in answer.headers


def test_pieces_come_one_by_one(kubesim):
    kubesim.external("api.example.com", lambda request: iter([b"a", b"b", b"c"]))
    answer = requests.get("http://api.example.com/", timeout=5, stream=True)
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.content == b"abc"


def test_what_a_function_raises_is_a_500(kubesim):
    def broken(request):
        raise KeyError("x")

    kubesim.external("api.example.com", broken)
    assert requests.get("http://api.example.com/", timeout=5).status_code == 500
    assert "KeyError: 'x'" in str(kubesim.journal.entries("log"))


def test_an_assertion_in_a_function_fails_the_test(kubesim):
    def strict(request):
        assert request.method == "GET"

    kubesim.external("api.example.com", strict)
    with pytest.raises(AssertionError):
        run(kubesim, lambda: requests.post("http://api.example.com/", timeout=5))


def test_a_wsgi_application_is_one_too(kubesim):
    def application(environ, start_response):
        start_response("202 Accepted", [("Content-Type", "text/plain"), ("X-Url", environ["wsgi.url_scheme"])])
        return [f"{environ['REQUEST_METHOD']} {environ['SERVER_NAME']}:{environ['SERVER_PORT']}{environ['PATH_INFO']}?{environ['QUERY_STRING']} ".encode(), environ["wsgi.input"].read()]

    kubesim.external("vault.internal:8200", application)
    answer = requests.put("http://vault.internal:8200/v1/a?b=c", data=b"body", timeout=5)
    assert (answer.status_code, answer.text) == (202, "PUT vault.internal:8200/v1/a?b=c body")
    assert answer.headers["x-url"] == "https"


def test_an_asgi_application_is_one_too_and_refuses_while_it_is_down(kubesim):
    async def application(scope, receive, send):
        if scope["type"] == "http":
            message = await receive()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
            await send({"type": "http.response.body", "body": scope["path"].encode() + message["body"]})

    api = kubesim.external("http://api.example.com", application)
    assert run(kubesim, lambda: requests.post("http://api.example.com/abc", data=b"de", timeout=5).text)[0] == "/abcde"
    kubesim.faults.operator("api.example.com").crash().for_("30m")
    assert run(kubesim, lambda: requests.get("http://api.example.com/", timeout=5), "second") == ["ConnectionError", 0]
    assert len(api.requests) == 1


def test_large_bodies_go_through(kubesim):
    api = kubesim.external("s3.example.com", lambda request: request.body)
    body = bytes(8 << 20)
    assert requests.put("https://s3.example.com/bucket/key", data=body, timeout=60).content == body
    assert len(api.requests[0].body) == 8 << 20


def test_a_pattern_is_all_hosts_below(kubesim):
    s3 = kubesim.external("*.s3.example.com", lambda request: request.host)
    assert requests.get("https://one.s3.example.com/", timeout=5).text == "one.s3.example.com"
    assert requests.get("https://two.s3.example.com/", timeout=5).text == "two.s3.example.com"
    assert [r.url for r in s3.requests] == ["https://one.s3.example.com/", "https://two.s3.example.com/"]


def test_an_address_may_be_declared(kubesim):
    kubesim.external("203.0.113.7:9000", echo)
    assert requests.get("http://203.0.113.7:9000/x", timeout=5).json()["path"] == "/x"


def test_ports_that_are_not_declared_refuse_and_what_is_removed_is_gone(kubesim):
    api = kubesim.external("api.example.com:8080", echo)
    with pytest.raises(requests.exceptions.ConnectionError, match="nothing listens on api.example.com:80"):
        requests.get("http://api.example.com/", timeout=5)
    api.remove()

    async def main():
        async with httpx.AsyncClient() as client:
            await client.get("http://api.example.com:8080/")

    kubesim.run(main)
    with pytest.raises(OperatorFailed, match=r"declares: kubesim.external\('api.example.com', function\)"):
        kubesim.advance("1s")


def test_one_host_may_have_several_ports_of_several_systems(kubesim):
    kubesim.external("host.example.com:1", lambda request: "one")
    kubesim.external("host.example.com:2", lambda request: "two")
    assert [requests.get(f"http://host.example.com:{n}/", timeout=5).text for n in (1, 2)] == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("https://api.example.com/v1", "name the host alone"),
        ("ftp://api.example.com", "ftp is not spoken"),
        ("localhost:8080", "let a server listen on localhost"),
        ("127.0.0.1", "let a server listen on localhost"),
        ("db.default.svc.cluster.local", "belongs to the cluster"),
        ("a b", "write it as"),
        ("api.example.com:no", "write it as"),
    ],
)
def test_names_that_are_none_are_refused(kubesim, name, words):
    with pytest.raises(UsageError, match=words):
        kubesim.external(name, echo)


def test_what_is_no_application_or_declared_twice_is_refused(kubesim):
    with pytest.raises(UsageError, match="cannot be called"):
        kubesim.external("api.example.com", "text")
    kubesim.external("api.example.com", echo)
    with pytest.raises(UsageError, match="is declared already"):
        kubesim.external("https://api.example.com", echo)
    kubesim.external("other.example.com", lambda request: object())
    with pytest.raises(UsageError, match="is no answer"):
        run(kubesim, lambda: requests.get("http://other.example.com/", timeout=5))


def test_requests_stand_in_the_journal(kubesim):
    kubesim.external("api.example.com", echo)
    run(kubesim, lambda: requests.get("http://api.example.com/x", timeout=5))
    assert [(e.actor, e.fields) for e in kubesim.journal.entries("external")] == [
        ("operator", {"method": "GET", "url": "http://api.example.com/x", "code": 200})
    ]


def test_clusters_have_systems_of_their_own(kubesim_factory):
    one, two = kubesim_factory(), kubesim_factory()
    one.external("api.example.com", lambda request: "one")
    two.external("api.example.com", lambda request: "two")
    call = lambda: requests.get("http://api.example.com/", timeout=5).text  # noqa: E731
    assert run(one, call) == ["one", 0]
    assert run(two, call) == ["two", 0]


def test_a_proxy_of_the_environment_is_not_asked(kubesim, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    kubesim.external("api.example.com", echo)
    assert requests.get("http://api.example.com/", timeout=5).status_code == 200
