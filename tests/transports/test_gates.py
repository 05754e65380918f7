"""Feature gates and versions of the API on the command line of kube-apiserver."""

import pytest

from pytest_kubesim import UsageError
from pytest_kubesim.transports import apiserver_flags, gates, kube_apiserver


@pytest.mark.parametrize(("given", "told"), [
    (["Foo=true"], "unrecognized feature gate: Foo"),
    (["WatchLst=true"], "unrecognized feature gate: WatchLst (did you mean 'WatchList'"),
    (["NamespaceDefaultLabelName=false"], "unrecognized feature gate: NamespaceDefaultLabelName"),
    (["Foo"], "missing bool value for Foo"),
    (["WatchList=x"], 'invalid value of WatchList=x, err: strconv.ParseBool: parsing "x": invalid syntax'),
    (["DynamicResourceAllocation=false"], "cannot set feature gate DynamicResourceAllocation to false, feature is locked to true"),
    (["foo:Bar=true"], "component not registered: foo"),
    (["kube:WatchList=true", "MutatingAdmissionPolicy=false"], "set kube feature gates with default empty prefix or kube: prefix consistently"),
])
def test_gates_that_there_are_not_are_refused_in_upstream_s_words(given, told):
    with pytest.raises(UsageError) as error:
        gates.feature_gates(given)
    assert str(error.value).startswith(told)


@pytest.mark.parametrize(("given", "told"), [
    (["foo/v1=true", "a/v1"], "unknown api groups a/v1,foo/v1"),
    (["app/v1=true"], "unknown api groups app/v1 (did you mean 'apps'"),
    (["v9=true"], "runtime-config invalid key v9"),
    (["x/y/z/w=true"], "runtime-config invalid key x/y/z/w"),
    (["api/all=maybe"], "invalid value api/all=maybe"),
    (["api/alpha"], "invalid value api/alpha="),
    (["api/all=false"], "invalid runtime-config with only api/all=false"),
    (["batch/v9=true"], "group version batch/v9 that has not been registered (there are batch/v1"),
    (["apps/v1=maybe"], 'invalid value of apps/v1: maybe, err: strconv.ParseBool: parsing "maybe": invalid syntax'),
    (["apps/v1/Deployments=false"], "invalid key apps/v1/Deployments: group/version/resource and resource is always lowercase plural"),
])
def test_versions_that_there_are_not_are_refused_in_upstream_s_words(given, told):
    with pytest.raises(UsageError) as error:
        gates.runtime_config(given)
    assert str(error.value).startswith(told)


def test_only_what_would_make_a_difference_is_said_to_make_none():
    flags = apiserver_flags.parse([
        "--feature-gates=WatchList=true,MutatingAdmissionPolicy=false,AllAlpha=true,AllBeta=false",
        "--runtime-config=v1=true,apps/v1,batch/v1=false,resource.k8s.io/v1alpha3=true,api/ga=true,api/legacy=false",
        "--event-ttl=2h",
    ])
    assert kube_apiserver.without_effect(flags) == [
        "event-ttl", "feature-gates=MutatingAdmissionPolicy=false", "feature-gates=AllAlpha=true",
        "runtime-config=batch/v1=false", "runtime-config=resource.k8s.io/v1alpha3=true",
    ]
    assert kube_apiserver.without_effect(apiserver_flags.parse(["--runtime-config=api/all=true"])) == ["runtime-config=api/all=true"]
    assert kube_apiserver.without_effect(apiserver_flags.parse(["--runtime-config=api/alpha=false"])) == []
