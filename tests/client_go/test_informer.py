"""What a reflector does when its lists and watches go wrong; after `reflector_test.go`."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_kubesim.apimachinery import status
from pytest_kubesim.client_go.informer import SharedIndexInformer
from pytest_kubesim.client_go.resources import CONFIGMAPS
from pytest_kubesim.sim.clock import NS
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.sim.process import Process
from pytest_kubesim.wire import ConnectionLost, WatchEvent


def config_map(version: int, name: str = "a") -> dict[str, Any]:
    return {"metadata": {"namespace": "default", "name": name, "resourceVersion": str(version)}}


class Watch:
    """Tells its events, one at a time, then ends as it is told to: an error, None, or never."""

    def __init__(self, kernel, events, end="never"):
        self.kernel, self.events, self.end = kernel, list(events), end

    async def next(self):
        await self.kernel.sleep(NS)
        if self.events:
            version = self.events.pop(0)
            if isinstance(version, status.APIStatus):
                return [WatchEvent("ERROR", version.to_object(), 0)]
            return [WatchEvent("MODIFIED", config_map(version), version)]
        if self.end == "never":
            await self.kernel.future()
        if isinstance(self.end, Exception):
            raise self.end
        return []

    def close(self):
        pass


class Server:
    """Answers lists and watches as it is told to, and knows what was asked, and when."""

    def __init__(self, lists, watches):
        self.kernel = Kernel(seed=0)
        self.process = Process(self.kernel, "watcher", host="here")
        self.process.start()
        self.lists, self.watches = list(lists), list(watches)
        self.asked: list[tuple[str, str, float]] = []
        self.seen: list[int] = []
        informer = SharedIndexInformer(self, CONFIGMAPS)  # type: ignore[arg-type]
        informer.add_event_handler(add=self._see, update=lambda _, new: self._see(new))
        informer.start()
        self.kernel.run(until_ns=self.kernel.now_ns + 600 * NS)

    def _see(self, obj):
        self.seen.append(int(obj["metadata"]["resourceVersion"]))

    def _answer(self, verb, version, answers):
        self.asked.append((verb, version, self.kernel.elapsed_ns / NS))
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def list(self, _gvr, _namespace, *, resource_version, **_options):
        version = self._answer("list", resource_version, self.lists)
        return {"metadata": {"resourceVersion": str(version)}, "items": [config_map(version)]}

    async def watch(self, _gvr, _namespace, *, resource_version, **_options):
        events, end = self._answer("watch", resource_version, self.watches)
        return Watch(self.kernel, events, end)

    @property
    def verbs(self):
        return [f"{verb} {version}" for verb, version, _ in self.asked]


FOREVER = ((), "never")


def test_a_watch_that_is_cut_goes_on_behind_the_last_event_at_once():
    server = Server([5], [((6, 9), ConnectionLost("reset", "")), ((10,), "never")])
    assert server.verbs == ["list 0", "watch 5", "watch 9"]
    assert server.seen == [5, 6, 9, 10]
    assert server.asked[2][2] == 3.0


def test_where_nobody_listens_the_watch_is_tried_again_after_a_while():
    refused = ConnectionLost("refused", "")
    server = Server([5], [((6,), None), refused, refused, FOREVER])
    assert server.verbs == ["list 0", "watch 5", "watch 6", "watch 6", "watch 6"]
    first, second, third = (when for *_, when in server.asked[2:])
    assert 0.8 <= second - first <= 1.6
    assert 1.6 <= third - second <= 3.2


@pytest.mark.parametrize("error", [status.new_internal_error(""), ConnectionLost("reset", "")])
def test_a_watch_that_cannot_be_opened_makes_it_list_again_no_older(error):
    server = Server([5, 8], [((6,), None), error, FOREVER])
    assert server.verbs == ["list 0", "watch 5", "watch 6", "list 6", "watch 8"]
    assert server.seen == [5, 6, 8]


def test_a_version_that_has_expired_makes_it_list_again_after_a_while():
    expired = status.new_resource_expired("too old resource version: 6 (7)")
    server = Server([5, 9], [((6, expired), "never"), FOREVER])
    assert server.verbs == ["list 0", "watch 5", "list 6", "watch 9"]
    assert 0.8 <= server.asked[2][2] - 2.0 <= 1.6


def test_a_version_that_the_server_does_not_know_makes_it_ask_what_is_stored():
    expired = status.new_resource_expired("too old resource version: 6 (7)")
    too_large = status.new_too_large_resource_version(6, 4, 1)
    server = Server([5, too_large, 4], [((6, expired), "never"), FOREVER])
    assert server.verbs == ["list 0", "watch 5", "list 6", "list ", "watch 4"]


def test_a_watch_that_ends_at_once_without_a_word_is_not_opened_in_a_loop(monkeypatch):
    async def at_once(self):
        return []

    monkeypatch.setattr(Watch, "next", at_once)
    server = Server([5] * 60, [FOREVER] * 60)
    assert 15 < len(server.asked) < 60
    assert server.verbs[:4] == ["list 0", "watch 5", "list 5", "watch 5"]


def test_too_many_requests_are_waited_for():
    busy = status.new_too_many_requests("", 1)
    server = Server([5], [busy, ((6, busy), "never"), FOREVER])
    assert server.verbs == ["list 0", "watch 5", "watch 5", "watch 6"]
    assert server.asked[-1][2] - server.asked[-2][2] > 2.0 + 0.8
