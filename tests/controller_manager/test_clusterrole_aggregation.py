"""Cluster roles that are sums of others."""

from controller_world import World

from pytest_kubesim.client_go import resources as r

GET_PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
ALL = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["*"]}


def part(w, name, *rules, **labels):
    body = {"metadata": {"name": name, "labels": labels}, "rules": list(rules)}
    w.create(r.CLUSTERROLES, body, namespace="")


def rules(w):
    return w.get(r.CLUSTERROLES, "sum", namespace="").get("rules")


def test_a_sum_has_the_rules_of_its_parts_each_once():
    w = World("clusterrole-aggregation-controller")
    part(w, "one", GET_PODS, sum="yes")
    selectors = [{"matchLabels": {"sum": "yes"}}, {"matchLabels": {"more": "1"}}]
    body = {
        "metadata": {"name": "sum"}, "aggregationRule": {"clusterRoleSelectors": selectors},
        "rules": [ALL],
    }
    w.create(r.CLUSTERROLES, body, namespace="")
    w.settle(1)
    assert rules(w) == [GET_PODS]
    part(w, "two", ALL, GET_PODS, more="1")
    w.settle(1)
    assert sorted(rule["resources"][0] for rule in rules(w)) == ["deployments", "pods"]
    for name in ("one", "two"):
        w.do(w.admin.delete(r.CLUSTERROLES, "", name))
    w.settle(1)
    assert not rules(w)
