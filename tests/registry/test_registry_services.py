"""Services: what they are given, what they keep, and what they are refused for."""

from __future__ import annotations

from typing import Any

import pytest
from strategy_pipeline import Pipeline, causes, merged, row

from pytest_kubesim.apimachinery.status import APIStatus

Object = dict[str, Any]


def service(name: str = "s", **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}}


def refused(*objects: Object) -> list[str]:
    """What is wrong with the last of them, once the others are there."""
    pipeline = Pipeline()
    for obj in objects[:-1]:
        pipeline.create("services", obj)
    with pytest.raises(APIStatus) as caught:
        pipeline.create("services", objects[-1])
    return causes(caught.value)


# -- what it is given --------------------------------------------------------------------------


def test_a_plain_service() -> None:
    made = Pipeline().create("services", service())
    address = made["spec"]["clusterIP"]
    assert made["spec"] == {
        "ports": [{"protocol": "TCP", "port": 80, "targetPort": 80}],
        "clusterIP": address,
        "clusterIPs": [address],
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "internalTrafficPolicy": "Cluster",
    }
    assert address.startswith("10.96.")
    assert made["status"] == {"loadBalancer": {}}


def test_addresses_differ_and_leave_the_lower_part_to_those_who_ask() -> None:
    pipeline = Pipeline()
    found = {pipeline.create("services", service(f"s{i}"))["spec"]["clusterIP"] for i in range(50)}
    assert len(found) == 50
    assert not [ip for ip in found if ip.startswith("10.96.0.")]


def test_equal_worlds_draw_equal_addresses() -> None:
    first, second = (Pipeline().create("services", service()) for _ in range(2))
    assert first["spec"]["clusterIP"] == second["spec"]["clusterIP"]


def test_a_headless_service_has_no_address_but_perhaps_both_families() -> None:
    made = Pipeline().create("services", service(clusterIP="None", selector={"a": "b"}))
    assert made["spec"]["clusterIPs"] == ["None"]
    assert made["spec"]["ipFamilies"] == ["IPv4"]
    made = Pipeline().create("services", service(clusterIP="None"))
    assert made["spec"]["ipFamilies"] == ["IPv4", "IPv6"]
    assert made["spec"]["ipFamilyPolicy"] == "RequireDualStack"


def test_node_ports_are_shared_by_protocols_of_one_port() -> None:
    ports = [
        {"name": "a", "port": 80},
        {"name": "b", "port": 80, "protocol": "UDP"},
        {"name": "c", "port": 81},
    ]
    made = Pipeline().create("services", service(type="NodePort", ports=ports))
    a, b, c = (port["nodePort"] for port in made["spec"]["ports"])
    assert a == b != c
    assert all(30086 <= number <= 32767 for number in (a, c))
    assert made["spec"]["externalTrafficPolicy"] == "Cluster"


def test_a_load_balancer_that_keeps_traffic_local_has_a_port_for_health_checks() -> None:
    made = Pipeline().create(
        "services", service(type="LoadBalancer", externalTrafficPolicy="Local")
    )
    spec = made["spec"]
    assert spec["allocateLoadBalancerNodePorts"] is True
    assert 30000 <= spec["healthCheckNodePort"] <= 32767
    assert spec["healthCheckNodePort"] != spec["ports"][0]["nodePort"]


def test_another_name_is_given_nothing() -> None:
    made = Pipeline().create("services", service(type="ExternalName", externalName="a.b"))
    assert "clusterIP" not in made["spec"]
    assert "internalTrafficPolicy" not in made["spec"]


def test_a_dry_run_draws_nothing() -> None:
    pipeline = Pipeline()
    made = pipeline.create("services", service(type="NodePort"), dry_run=True)
    assert made["spec"]["clusterIP"] == "10.96.0.0"
    assert made["spec"]["ports"][0]["nodePort"] == 32769
    assert not pipeline.state


# -- what it is refused for --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (service(ports=[]), ["spec.ports: Required value"]),
        (
            service(clusterIP="1.2.3.4"),
            [
                (
                    'spec.clusterIPs: Invalid value: ["1.2.3.4"]: failed to allocate IP 1.2.3.4: the '
                    "provided network does not match the current range"
                )
            ],
        ),
        (
            service(type="NodePort", ports=[{"port": 80, "nodePort": 80}]),
            [
                (
                    "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid "
                    "range. The range of valid ports is 30000-32767"
                )
            ],
        ),
        (
            service(ipFamilies=["IPv6"]),
            ['spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster'],
        ),
        (
            service(ipFamilyPolicy="RequireDualStack"),
            [
                (
                    'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not '
                    "configured for dual-stack services"
                )
            ],
        ),
        (
            service(ports=[{"port": 80, "nodePort": 30080}]),
            ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
        (
            service(ports=[{"name": "a", "port": 80}, {"name": "b", "port": 80}]),
            [
                (
                    'spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,'
                    '"Port":80,"TargetPort":0,"NodePort":0}'
                )
            ],
        ),
        (
            service(loadBalancerClass="x"),
            ["spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"],
        ),
        (service(type="ExternalName"), ["spec.externalName: Required value"]),
    ],
)
def test_a_bad_service_is_refused_in_these_words(obj: Object, expected: list[str]) -> None:
    assert refused(obj) == expected


def test_what_is_taken_is_taken() -> None:
    asks = service("a", clusterIP="10.96.0.9")
    assert refused(asks, service("b", clusterIP="10.96.0.9")) == [
        (
            'spec.clusterIPs: Invalid value: ["10.96.0.9"]: failed to allocate IP 10.96.0.9: '
            "provided IP is already allocated"
        )
    ]
    ports = [{"port": 80, "nodePort": 30080}]
    first, second = (service(name, type="NodePort", ports=ports) for name in "ab")
    assert refused(first, second) == [
        "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"
    ]


def test_what_is_on_its_way_to_the_store_is_taken_too() -> None:
    pipeline = Pipeline()
    pipeline.create("services", service("a", clusterIP="10.96.0.9"))
    pipeline.objects.clear()
    with pytest.raises(APIStatus):
        pipeline.create("services", service("b", clusterIP="10.96.0.9"))


# -- changes -----------------------------------------------------------------------------------


def test_it_keeps_what_it_was_given() -> None:
    pipeline = Pipeline()
    old = pipeline.create("services", service(type="NodePort"))
    new = pipeline.update("services", service(type="NodePort"), old)
    assert new["spec"] == old["spec"]


def test_it_loses_what_its_type_does_not_need() -> None:
    pipeline = Pipeline()
    old = pipeline.create("services", service(type="NodePort"))
    new = pipeline.change("services", old, {"spec": {"type": "ClusterIP"}})
    assert "nodePort" not in new["spec"]["ports"][0]
    assert "externalTrafficPolicy" not in new["spec"]
    named = pipeline.change(
        "services", new, {"spec": {"type": "ExternalName", "externalName": "a.b"}}
    )
    assert "clusterIP" not in named["spec"]
    back = pipeline.change("services", named, {"spec": {"type": "ClusterIP"}})
    assert back["spec"]["clusterIP"].startswith("10.96.")


def test_an_address_stays() -> None:
    pipeline = Pipeline()
    old = pipeline.create("services", service())
    other = {"spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]}}
    with pytest.raises(APIStatus) as caught:
        pipeline.change("services", old, other)
    assert causes(caught.value) == [
        'spec.clusterIPs[0]: Invalid value: ["10.96.0.9"]: may not change once set'
    ]


def test_the_status_is_for_load_balancers() -> None:
    points: Object = {"status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}
    pipeline = Pipeline()
    plain = pipeline.create("services", service())
    with pytest.raises(APIStatus) as caught:
        pipeline.change("services", plain, points, "status")
    assert causes(caught.value) == [
        (
            "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is "
            "'LoadBalancer'"
        )
    ]
    balancer = pipeline.create("services", service("b", type="LoadBalancer"))
    assert row("services", balancer)[3] == "<pending>"
    there = pipeline.change("services", balancer, points, "status")
    assert there["status"]["loadBalancer"]["ingress"] == [{"ip": "1.2.3.4", "ipMode": "VIP"}]
    assert row("services", there)[3] == "1.2.3.4"


def test_warnings() -> None:
    pipeline = Pipeline()
    pipeline.create("services", merged(service(), {"spec": {"externalName": "a"}}))
    assert pipeline.warnings == [
        'spec.externalName is ignored when spec.type is not "ExternalName"'
    ]
