"""The webhooks of an operator under test: called on virtual time, where it listens."""

from __future__ import annotations

from typing import Any

import kopf
import pytest
from aiohttp import web

from pytest_kubesim import APIStatus
from pytest_kubesim.apiserver import effects
from pytest_kubesim.apiserver.webhook_client import FAULT_POINT
from pytest_kubesim.transports import certificates

Json = dict[str, Any]
CRD: Json = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "boats.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "boats", "singular": "boat", "kind": "Boat"},
        "versions": [{
            "name": "v1",
            "served": True,
            "storage": True,
            "schema": {"openAPIV3Schema": {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": True,
            }},
        }],
    },
}


def boat(name: str, **spec: Any) -> Json:
    return {
        "apiVersion": "example.com/v1",
        "kind": "Boat",
        "metadata": {"name": name},
        "spec": spec,
    }


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = certificates.write(folder, "tls", certificates.Authority().server())
    found = kopf.OperatorRegistry()

    @kopf.on.startup(registry=found)
    def _configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.admission.server = kopf.WebhookServer(
            port=54321, certfile=str(certificate), pkeyfile=str(key)
        )
        settings.admission.managed = "boats.kopf.dev"

    @kopf.on.validate("boats", id="check", registry=found)
    def _check(spec: Any, warnings: list[str], **_: Any) -> None:
        if spec.get("masts", 0) > 4:
            raise kopf.AdmissionError("too many masts", code=400)

    @kopf.on.mutate("boats", id="paint", registry=found)
    def _paint(patch: Any, spec: Any, **_: Any) -> None:
        if "colour" not in spec:
            patch.spec["colour"] = "blue"

    return found


def test_the_webhook_of_a_kopf_operator_admits_and_denies(kubesim: Any, registry: Any) -> None:
    kubesim.apply(CRD)
    kubesim.run(registry, name="harbour")
    kubesim.advance("30s")
    kubesim.create(boat("a", masts=2))
    assert kubesim.get("boat/a")["spec"] == {"masts": 2, "colour": "blue"}
    with pytest.raises(APIStatus, match="denied the request: too many masts"):
        kubesim.create(boat("b", masts=7))


def test_its_time_out_is_a_fault(kubesim: Any, registry: Any) -> None:
    kubesim.apply(CRD)
    kubesim.run(registry, name="harbour")
    kubesim.advance("30s")

    def strike(attributes: Json) -> Any:
        return effects.Hold(kubesim.kernel.future()) if attributes["resource"] == "boats" else None

    disarm = kubesim.faultpoints.arm(FAULT_POINT, strike)
    begun = kubesim.clock.time
    with pytest.raises(APIStatus, match="context deadline exceeded"):
        kubesim.create(boat("a"))
    assert kubesim.clock.time - begun >= 5
    disarm()
    kubesim.create(boat("a"))


def test_a_paused_operator_lets_its_webhook_time_out(kubesim: Any, registry: Any) -> None:
    kubesim.apply(CRD)
    operator = kubesim.run(registry, name="harbour")
    kubesim.advance("30s")
    operator.pause()
    with pytest.raises(APIStatus, match="context deadline exceeded"):
        kubesim.create(boat("a"))
    operator.resume()
    kubesim.create(boat("a"))
    operator.crash()
    with pytest.raises(APIStatus, match="connection refused|no such host"):
        kubesim.create(boat("b"))


def test_a_service_leads_to_the_operator_that_listens_on_its_target_port(kubesim: Any) -> None:
    async def answer(request: web.Request) -> web.Response:
        review = await request.json()
        uid = review["request"]["uid"]
        given = {"uid": uid, "allowed": False, "status": {"message": request.path}}
        return web.json_response({**review, "response": given})

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "0.0.0.0", 9443).start()  # noqa: S104 - as operators do
        import asyncio

        await asyncio.sleep(3600)

    kubesim.run(main, name="op")
    kubesim.create({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "op"},
        "spec": {"ports": [{"port": 443, "targetPort": 9443}]},
    })
    kubesim.create({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "op"},
        "webhooks": [{
            "name": "check.example.com",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"namespace": "default", "name": "op", "path": "/check"}},
            "rules": [{
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["configmaps"],
            }],
        }],
    })
    kubesim.advance("1s")
    with pytest.raises(APIStatus, match="denied the request: /check"):
        kubesim.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
