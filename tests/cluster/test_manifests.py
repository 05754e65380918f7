from __future__ import annotations

from pathlib import Path

import pytest

from pytest_kubesim.cluster import manifests
from pytest_kubesim.errors import ManifestError

TEXT = """
apiVersion: v1
kind: ConfigMap
metadata: {name: a, annotations: {at: 2026-01-01T00:00:00Z}}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Secret, metadata: {name: b}}
---
"""


def names(*given: object) -> list[str]:
    return [o["metadata"]["name"] for o in manifests.load(*given)]


def test_text_files_folders_dicts_and_lists_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "2.yaml").write_text(TEXT)
    (tmp_path / "1.json").write_text('{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "j"}}')
    (tmp_path / "notes.txt").write_text("not a manifest")
    one = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "d"}}
    assert names(TEXT) == ["a", "b"]
    assert names(str(tmp_path), one, [one, one]) == ["j", "a", "b", "d", "d", "d"]
    assert names(tmp_path / "2.yaml") == ["a", "b"]


def test_timestamps_stay_text() -> None:
    assert manifests.load(TEXT)[0]["metadata"]["annotations"]["at"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(("written", "read"), [
    ("1:20", "1:20"), ("22:22:22", "22:22:22"), ("1e3", 1000), ("1.0", 1), ("1.5", 1.5), ("1_000", 1000),
    ("0644", 420), ("0o644", 420), ("08", 8), ("0x1f", 31), ("0b11", 3), ("+7", 7), ("yes", True), ("y", True), ("off", False),
    ("2026-01-01", "2026-01-01"), ("=", "="), ("~", None), ("1.2.3", "1.2.3"), ("'1'", "1"), ("!!binary aGk=", "hi"),
    ("1e400", "1e400"), ("._1", "._1"), (".5", 0.5), ("18446744073709551615", 18446744073709551615),
])
def test_plain_words_are_read_as_kubectl_reads_them(written: str, read: object) -> None:
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\nv: {written}\n"
    found = manifests.load(text)[0]["v"]
    assert found == read
    assert type(found) is type(read)


@pytest.mark.parametrize("written", [".inf", ".NaN"])
def test_what_json_has_no_word_for_is_refused(written: str) -> None:
    with pytest.raises(ManifestError, match="the text given: not YAML: json: unsupported value"):
        manifests.load(f"apiVersion: v1\nkind: ConfigMap\nv: {written}\n")


def test_keys_are_text_and_the_last_of_equal_ones_counts() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {1: a, true: b, 1.5: c, x: d, x: e}\n"
    assert manifests.load(text)[0]["data"] == {"1": "a", "true": "b", "1.5": "c", "x": "e"}


def test_objects_of_the_official_client_are_read() -> None:
    client = pytest.importorskip("kubernetes.client")
    pod = client.V1Pod(
        api_version="v1", kind="Pod", metadata=client.V1ObjectMeta(name="p", generate_name=None),
        spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="i", image_pull_policy="Always")]),
    )
    assert manifests.load(pod) == [{
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always"}]},
    }]


def test_objects_of_lightkube_are_read() -> None:
    core = pytest.importorskip("lightkube.resources.core_v1")
    meta = pytest.importorskip("lightkube.models.meta_v1")
    cm = core.ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=meta.ObjectMeta(name="c"), data={"a": "b"})
    assert manifests.load(cm) == [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}}]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("no/such/file.yaml", "no such file or folder"),
        ("a: [", "not YAML"),
        ("apiVersion: v1\nmetadata: {}", "kind is missing"),
        ("- 1\n- 2", "a mapping with apiVersion and kind"),
        (object(), "is not a manifest"),
        ({"kind": "Pod"}, "apiVersion is missing"),
    ],
)
def test_what_is_no_manifest_is_named(given: object, says: str) -> None:
    with pytest.raises(ManifestError, match=says):
        manifests.load(given)


def test_the_file_and_document_are_named(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("apiVersion: v1\nkind: Pod\n---\nkind: Pod\n")
    with pytest.raises(ManifestError, match=r"x\.yaml, document 2: apiVersion is missing"):
        manifests.load(file)


def test_a_text_of_several_documents_may_stand_as_far_to_the_right_as_the_code_around_it() -> None:
    text = """
        kind: ConfigMap
        apiVersion: v1
        metadata: {name: a}
        data:
          script: |
            one
              two
        ---
        kind: ConfigMap
        apiVersion: v1
        metadata: {name: b}
    """
    first, second = manifests.load(text)
    assert first["data"]["script"] == "one\n  two\n"
    assert second["metadata"]["name"] == "b"
