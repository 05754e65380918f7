"""How Go prints a pod template, measured by the hashes that Kubernetes 1.37 makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_kubesim.apimachinery import names, quantity, spew

HASHES: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("pod_template_hashes.json").read_text()
)


@pytest.mark.parametrize("row", HASHES, ids=lambda row: row["hash"])
def test_a_template_hashes_as_in_kubernetes(row: dict[str, Any]) -> None:
    assert names.pod_template_hash(row["template"]) == row["hash"]
    assert names.pod_template_hash(row["template"], 1) == row["hash after a collision"]


def test_what_protobuf_does_not_carry_is_nil() -> None:
    bare = spew.pod_template({"spec": {"containers": []}})
    assert bare == spew.pod_template({"metadata": {"labels": {}}, "spec": {}})
    assert "Containers:([]v1.Container)<nil>" in bare


def test_embedded_structs_print_by_their_own_name() -> None:
    printed = spew.pod_template({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}})
    assert "[{Name:(string)v VolumeSource:(v1.VolumeSource){HostPath:" in printed
    assert "EmptyDir:(*v1.EmptyDirVolumeSource){Medium:(v1.StorageMedium)" in printed


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("0", (0, 0, None, "0", "DecimalSI")),
        ("1500m", (1500, -3, None, "1500m", "DecimalSI")),
        ("64Mi", (64 << 20, 0, None, "", "BinarySI")),
        ("1e3", (1, 3, None, "1e3", "DecimalExponent")),
        ("1Pi", (0, 0, (1 << 50) * 10**9, "", "BinarySI")),
        ("-5", (-5, 0, None, "-5", "DecimalSI")),
    ],
)
def test_an_amount_is_a_scaled_number_while_that_is_exact(text: str, fields: object) -> None:
    assert quantity.stored(text) == fields
