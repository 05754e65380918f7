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
