"""Faults where there are several API servers and several members of etcd."""

import pytest

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}}


@pytest.mark.kubesim(control_planes=3)
def test_one_of_three_api_servers_stops_and_clients_move_on(kubesim):
    kubesim.advance("5s")
    kubesim.faults.api_server("kube-apiserver-1").stop().for_("1m")
    kubesim.faults.api_server("kube-apiserver-2").crash(at="20s")
    kubesim.apply(CONFIG_MAP)
    kubesim.advance("30s")
    assert kubesim.get("configmap/a")


@pytest.mark.kubesim(control_planes=2)
def test_the_cache_of_one_api_server_lags(kubesim):
    kubesim.apply(CONFIG_MAP)
    kubesim.advance("1s")
    path = "/api/v1/namespaces/default/configmaps/a?resourceVersion=0"
    one, two = kubesim.control_plane.servers

    def seen(server):
        from pytest_kubesim.wire import Request, UserInfo

        target, _, query = path.partition("?")
        request = Request("GET", target, (tuple(query.split("=")),), user=UserInfo("admin", ("system:masters",)), client="test")
        return kubesim.perform(server.handle(request)).obj.get("data")

    seen(one), seen(two)
    with kubesim.faults.view(server="kube-apiserver-2", kind="ConfigMap").freeze():
        kubesim.apply({**CONFIG_MAP, "data": {"n": "1"}})
        kubesim.advance("1s")
        assert (seen(one), seen(two)) == ({"n": "1"}, None)
    kubesim.advance("1s")
    assert seen(two) == {"n": "1"}


@pytest.mark.kubesim(etcd_members=3)
def test_etcd_loses_its_leader_a_member_and_its_quorum(kubesim):
    kubesim.advance("5s")
    f = kubesim.faults
    f.etcd().lose_leader().for_("20s")
    kubesim.apply(CONFIG_MAP)
    kubesim.advance("30s")
    f.etcd("etcd-2").crash().for_("10s")
    f.etcd("etcd-3").pause().for_("5s")
    kubesim.advance("15s")
    f.etcd().lose_quorum().for_("20s")
    kubesim.advance("5s")
    kubesim.advance("1m")
    kubesim.apply({**CONFIG_MAP, "data": {"n": "1"}})
    f.etcd().slow("200ms").for_("10s")
    kubesim.apply({**CONFIG_MAP, "data": {"n": "2"}})
    kubesim.advance("20s")
    f.partition("etcd-1", "etcd-2").for_("10s")
    f.etcd().move_leader("etcd-3")
    kubesim.advance("20s")
    assert kubesim.get("configmap/a")["data"] == {"n": "2"}


@pytest.mark.kubesim(etcd_members=3)
def test_members_that_lose_messages_agree_still(kubesim):
    group = kubesim.control_plane.group
    kubesim.advance("5s")
    assert group.calm
    for one, other in (("etcd-1", "etcd-2"), ("etcd-2", "etcd-3"), ("etcd-1", "etcd-3")):
        kubesim.faults.loss(one, other, 0.1).for_("3m")
    kubesim.advance("2s")
    assert not group.calm
    for number in range(20):
        kubesim.apply({**CONFIG_MAP, "data": {"n": str(number)}})
        kubesim.advance("5s")
    kubesim.advance("5m")
    assert group.calm
    assert kubesim.get("configmap/a")["data"] == {"n": "19"}
    assert len({each.hash for each in group.hash_kv(encode=lambda value: repr(value).encode()).values()}) == 1


@pytest.mark.kubesim(etcd_members=3)
def test_a_leader_that_loses_everything_leads_no_longer(kubesim):
    group = kubesim.control_plane.group
    kubesim.advance("5s")
    first = group.leader
    for other in group.members:
        if other != first.name:
            kubesim.faults.loss(first.name, other, 1).for_("1m")
    kubesim.advance("20s")
    assert group.leader is not first
    assert not first.is_leader
    kubesim.advance("2m")
    kubesim.apply(CONFIG_MAP)
    kubesim.advance("1s")
    assert len({member.applied_index for member in group.members.values()}) == 1


@pytest.mark.kubesim(etcd_members=3)
def test_slow_ways_between_members_make_writes_slow(kubesim):
    group = kubesim.control_plane.group
    kubesim.advance("5s")
    leader = group.leader.name
    for other in group.members:
        if other != leader:
            kubesim.faults.latency(leader, other, "250ms").for_("1m")
    before = kubesim.clock.time
    kubesim.apply(CONFIG_MAP)
    assert kubesim.clock.time - before >= 0.5
