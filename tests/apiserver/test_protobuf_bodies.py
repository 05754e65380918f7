"""Protobuf bodies that are not what was asked for: refused in upstream's words."""

import pytest

PROTOBUF = {"content-type": "application/vnd.kubernetes.protobuf"}
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def field(number: int, body: bytes) -> bytes:
    return bytes([number << 3 | 2, len(body)]) + body


def message(api_version: str, kind: str, raw: bytes = b"") -> bytes:
    return b"k8s\0" + field(1, field(1, api_version.encode()) + field(2, kind.encode())) + field(2, raw)


@pytest.mark.parametrize(("body", "code", "words"), [
    (
        message("example.com/v1", "Bar"), 400,
        'Bar in version "v1" cannot be handled as a ConfigMap: no kind "Bar" is registered for version "example.com/v1" in scheme "',
    ),
    (message("v1", "Nope"), 400, 'Nope in version "v1" cannot be handled as a ConfigMap: no kind "Nope" is registered for version "v1" in scheme "'),
    (message("", ""), 422, 'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'),
    (b"k8s\0zz", 400, "the object provided is unrecognized (must be of type ConfigMap): unexpected EOF (6b3873007a7a)"),
    (b"zz", 400, "the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be a protobuf message"),
])
def test_what_is_no_config_map_is_refused(kubesim, body, code, words):
    answer = kubesim.client("httpx").post(CONFIG_MAPS, content=body, headers=PROTOBUF)
    assert answer.status_code == code
    assert answer.json()["message"].startswith(words)


def test_what_are_no_delete_options_is_refused(kubesim):
    http = kubesim.client("httpx")
    body = message("example.com/v1", "Bar")
    answer = http.request("DELETE", f"{CONFIG_MAPS}/none", content=body, headers=PROTOBUF)
    assert answer.status_code == 400
    assert answer.json()["message"] == (
        'no kind "Bar" is registered for version "example.com/v1" in scheme "pkg/runtime/scheme.go:111"'
    )
    assert http.request("DELETE", f"{CONFIG_MAPS}/none", content=message("", ""), headers=PROTOBUF).status_code == 404
