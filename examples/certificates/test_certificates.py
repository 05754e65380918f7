"""Sixty days pass in a test."""

from __future__ import annotations

import base64

import pytest

pytest.importorskip("kubernetes")

from certificate_operator import EXPIRES, SERIAL, main


def secret(name):
    labels = {"example.com/issue": "true"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}}


def test_a_certificate_is_renewed_after_sixty_days(kubesim):
    operator = kubesim.run(main)
    kubesim.apply(secret("web"))
    kubesim.eventually("secret/web", {"metadata": {"annotations": {SERIAL: "1"}}}, within="2h")
    first = kubesim.get("secret/web")["metadata"]["annotations"][EXPIRES]
    assert first.startswith("2026-04-01")

    kubesim.stays("secret/web", {"metadata": {"annotations": {SERIAL: "1"}}}, during="59d")
    kubesim.eventually("secret/web", {"metadata": {"annotations": {SERIAL: "2"}}}, within="2d")
    data = kubesim.get("secret/web")["data"]["tls.crt"]
    assert base64.b64decode(data).decode() == "certificate 2 of web, until 2026-05-31"
    assert "issued certificate 2 of web" in operator.log


def test_a_conflict_is_not_lost(kubesim):
    kubesim.faults.api(client="certificate-operator", verb="patch", resource="secrets").fail(409)
    operator = kubesim.run(main)
    kubesim.apply(secret("web"))
    kubesim.eventually("secret/web", {"metadata": {"annotations": {SERIAL: "1"}}}, within="3h")
    assert "the next round will do" in operator.log


def test_a_crash_after_the_write_issues_no_second_certificate(kubesim):
    kubesim.apply(secret("web"))
    operator = kubesim.run(main)
    operator.crash(at_write=1, restart_after="10s")
    kubesim.eventually(lambda: operator.restarts == 1, within="2h")
    kubesim.stays("secret/web", {"metadata": {"annotations": {SERIAL: "1"}}}, during="10d")
