"""The generated data is complete, loads lazily, and comes out of the generator unchanged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_kubesim import errors
from pytest_kubesim.data import load, openapi


def test_every_schema_resource_and_message_is_there() -> None:
    assert len(load.schemas()) == 862
    everything = load.resources(served_only=False)
    assert len(everything) == 100
    assert sum(len(info.subresources) for info in everything) == 62
    assert len(load.protobuf()) >= 1344
    assert set(load.descriptions()) == set(load.schemas())


def test_alpha_and_beta_versions_are_not_served_by_default() -> None:
    assert all(info.version in ("v1", "v2") for info in load.resources())
    assert len(load.resources()) == 72
    assert [group.name for group in load.groups()][:4] == [
        "",
        "apiregistration.k8s.io",
        "apps",
        "events.k8s.io",
    ]
    assert load.groups(served_only=True) != load.groups(served_only=False)


def test_the_preferred_version_comes_first() -> None:
    autoscaling = next(group for group in load.groups() if group.name == "autoscaling")
    assert autoscaling.versions == ("v2", "v1")
    assert autoscaling.preferred_version == "v2"


def test_a_deployment_is_described_as_discovery_describes_it() -> None:
    info = next(info for info in load.resources() if info.plural == "deployments")
    assert (info.group, info.version, info.kind, info.singular, info.namespaced) == (
        "apps",
        "v1",
        "Deployment",
        "deployment",
        True,
    )
    assert info.short_names == ("deploy",)
    assert info.categories == ("all",)
    assert info.storage_version_hash == "8aSe+NMegvE="
    assert info.schema_name == "io.k8s.api.apps.v1.Deployment"
    scale = next(sub for sub in info.subresources if sub.name == "scale")
    assert (scale.group, scale.version, scale.kind) == ("autoscaling", "v1", "Scale")
    assert scale.schema_name == "io.k8s.api.autoscaling.v1.Scale"


def test_storage_versions_are_read_out_of_their_hashes() -> None:
    stored = {(info.group, info.plural): info.storage_version for info in load.resources()}
    assert stored["apps", "deployments"] == "apps/v1"
    assert stored["events.k8s.io", "events"] == "v1"
    assert stored["autoscaling", "horizontalpodautoscalers"] == "autoscaling/v2"
    assert stored["authorization.k8s.io", "subjectaccessreviews"] == ""


def test_the_resource_list_of_a_group_version_keeps_subresources_in_place() -> None:
    names = [resource["name"] for resource in load.api_resource_list("policy", "v1")]
    assert names == ["poddisruptionbudgets", "poddisruptionbudgets/status"]
    assert load.api_resource_list("policy", "v9") == []


def test_protobuf_numbers_name_full_types() -> None:
    messages = load.protobuf()
    assert messages["k8s.io.api.core.v1.ContainerPort"]["hostIP"] == [5, "string"]
    assert messages["k8s.io.api.core.v1.Secret"]["data"] == [2, "bytes", "m"]
    assert messages["k8s.io.api.core.v1.Volume"]["volumeSource"] == [
        2,
        "k8s.io.api.core.v1.VolumeSource",
    ]


def test_an_unknown_version_names_the_known_ones() -> None:
    with pytest.raises(errors.UsageError, match=r"1\.37"):
        load.schemas("1.12")


def test_nothing_is_read_at_import() -> None:
    program = (
        "import sys; before = set(sys.modules)\n"
        "opened = []\n"
        "sys.addaudithook(lambda name, args: name == 'open' and opened.append(str(args[0])))\n"
        "from pytest_kubesim.data import load, openapi\n"
        "from pytest_kubesim.apimachinery import schema\n"
        "assert not [name for name in opened if 'v1_37' in name], opened\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_openapi_documents_are_those_of_a_default_server() -> None:
    index = openapi.openapi_v3_index()["paths"]
    assert len(index) == 49
    assert "apis/apps/v1" in index
    assert "apis/resource.k8s.io/v1beta1" not in index
    assert "logs" not in index
    assert index["api/v1"]["serverRelativeURL"].startswith("/openapi/v3/api/v1?hash=")
    document = openapi.openapi_v3_document("1.37", "apis/apps/v1")
    assert document is not None
    strategy = document["components"]["schemas"]["io.k8s.api.apps.v1.DeploymentStrategy"]
    assert strategy["properties"]["type"]["enum"] == ["Recreate", "RollingUpdate"]
    assert "Possible enum values" in strategy["properties"]["type"]["description"]
    assert openapi.openapi_v3_document("1.37", "apis/nothing/v1") is None


def test_openapi_v2_refers_only_to_what_it_holds() -> None:
    document = openapi.openapi_v2()
    text = openapi.openapi_v2_bytes().decode()
    assert "cbor" not in text
    referred = set(re.findall(r'"#/definitions/([^"]+)"', text))
    assert referred == set(document["definitions"])
    assert not [path for path in document["paths"] if "/v1beta1/" in path or "/v1alpha" in path]


def _module() -> Path | None:
    given = os.environ.get("KUBESIM_KUBERNETES_MODULE")
    if given:
        return Path(given)
    cache = Path(os.environ.get("GOMODCACHE", Path.home() / "go/pkg/mod"))
    found = cache / "k8s.io/kubernetes@v1.37.2"
    return found if found.is_dir() else None


@pytest.mark.slow
def test_the_generator_makes_these_files_again() -> None:
    module = _module()
    if module is None:
        pytest.skip("the Go module k8s.io/kubernetes@v1.37.2 is not on this machine")
    from pytest_kubesim.data import generate

    made = generate.compact(module)
    for name, value in made.items():
        ending = "z" if name in generate.QUICK else "xz"
        stored = load.read_bytes("1.37", f"{name}.json.{ending}")
        assert stored == generate.encode(value), name
