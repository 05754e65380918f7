"""Slips in what a test calls besides faults: each is told with what was meant, and what there is."""

import pytest

import pytest_kubesim as pk
from pytest_kubesim import UsageError


def admits(request):
    del request


@pytest.mark.parametrize(("slip", "words"), [
    (lambda k: k.eventually("pods", withn="1s"), "kubesim.eventually(withn='1s'): unknown option 'withn'; did you mean 'within'? the options are"),
    (lambda k: k.eventually("pods"), "kubesim.eventually(): within= is missing; write eventually(ref_or_callable, match, within=)"),
    (lambda k: k.stays("pods"), "during= is missing"),
    (lambda k: k.settle(timout="1m"), "did you mean 'timeout'?"),
    (lambda k: k.advance(), "duration is missing; write advance(duration)"),
    (lambda k: k.never("pods", cont=3), "unknown option 'cont'; did you mean 'count'?"),
    (lambda k: k.list("pods", label={"a": "b"}), "did you mean 'labels'?"),
    (lambda k: k.list("pods", labels=3), "labels=3: give a dict, or a selector as kubectl takes it"),
    (lambda k: k.delete("pod/x", grace_periode="5s"), "did you mean 'grace_period'?"),
    (lambda k: k.apply("x", forse=True), "did you mean 'force'?"),
    (lambda k: k.add_nodes(1, memroy="1Gi"), "unknown option 'memroy'; did you mean 'memory'"),
    (lambda k: k.webhook("podz"), "did you mean 'pod' or 'pods'"),
    (lambda k: k.webhook(admits), "write @kubesim.webhook('pods'), with parentheses"),
    (lambda k: k.webhook("pods", mutatin=True), "did you mean 'mutating'?"),
    (lambda k: k.webhook("pods", failurePolicy="Ignore"), "did you mean 'failure_policy'"),
    (lambda k: k.webhook("pods", operations=["CREAT"]), "there is no operation 'CREAT'; did you mean 'CREATE'?"),
    (lambda k: k.webhook("pods", operations="create"), "did you mean 'CREATE'?"),
    (lambda k: k.webhook("pods/statuz"), "pods have no such subresource; did you mean 'status'?"),
    (lambda k: k.webhook(conversion="x.example.com"), "there is no such CustomResourceDefinition; apply it before; there are none"),
    (lambda k: k.webhook("pods")("admits"), "'admits' is no function"),
    (lambda k: k.webhook("pods")(lambda: None), "has to take the request"),
    (lambda k: k.external("api.example.com", admits, latncy="1s"), "did you mean 'latency'?"),
    (lambda k: k.api_service("v1.example.com", admits, servce="a/b"), "did you mean 'service'?"),
    (lambda k: k.audit("Metadat"), "there is no level 'Metadat'; did you mean 'Metadata'? the levels are None, Metadata, Request"),
    (lambda k: k.audit("Metadata").of(vreb="delete"), "did you mean 'verb'?"),
    (lambda k: k.rbac.unused("x/y/z"), "write a service account as 'namespace/name'"),
    (lambda k: k.rbac.unused("default/nobody"), "there is no such ServiceAccount, no binding of it, and nobody has asked as it; did you mean 'default/default'"),
    (lambda k: k.rbac.unused(), "kubesim.rbac.unused(): service_account is missing"),
    (lambda k: k.fake.k8s_object("Deploymentt"), "there is no built-in kind 'Deploymentt' that can be created; did you mean 'Deployment'?"),
    (lambda _: pk.exits("x"), "exits: code='x': give a whole number from 0 to 255"),
    (lambda _: pk.crashes(code=300), "crashes: code=300"),
    (lambda _: pk.crashes(times=0), "crashes: times=0: give a whole number from 1 on"),
    (lambda _: pk.exits(after="soon"), "after: 'soon' is not a duration"),
    (lambda _: pk.serves("http"), "serves: port='http': give a whole number from 1 to 65535"),
    (lambda _: pk.calls(3), "calls: 3 is no function"),
])
def test_a_slip_is_told_with_what_was_meant(kubesim, slip, words):
    with pytest.raises(UsageError) as error:
        slip(kubesim)
    assert words in str(error.value)


def test_an_error_inside_of_what_is_called_is_left_as_it_is(kubesim):
    def fails():
        return len(3)

    with pytest.raises(TypeError, match="has no len"):
        kubesim.eventually(fails, within="1s")


def test_one_operation_is_said_without_a_list(kubesim):
    hook = kubesim.webhook("pods", operations="DELETE")(admits)
    configured = kubesim.get("validatingwebhookconfiguration/admits")
    assert configured["webhooks"][0]["rules"][0]["operations"] == ["DELETE"]
    assert hook.calls == 0
