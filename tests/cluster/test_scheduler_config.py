"""A cluster's scheduler can be configured as a real one is."""

import pytest

from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig, merge
from pytest_kubesim.errors import UsageError

TWO_PROFILES = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
- schedulerName: packed
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated, resources: [{name: cpu}]}}
  plugins:
    score:
      disabled: [{name: NodeResourcesBalancedAllocation}, {name: PodTopologySpread}]
"""


def pod(name, scheduler):
    requests = {"resources": {"requests": {"cpu": "500m"}}}
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "schedulerName": scheduler,
            "containers": [{"name": "c", "image": "busybox", "command": ["sleep", "9"], **requests}],
        },
    }


@pytest.mark.parametrize("given", ["text", "file", "dict"])
def test_profiles_of_a_configuration_schedule_side_by_side(given, tmp_path):
    import yaml

    file = tmp_path / "scheduler.yaml"
    file.write_text(TWO_PROFILES)
    config = {"text": TWO_PROFILES, "file": file, "dict": yaml.safe_load(TWO_PROFILES)}[given]
    cluster = Cluster(merge(ClusterConfig(), {"nodes": 3, "scheduler_config": config}, "test"))
    for i in range(3):
        cluster.apply(pod(f"spread-{i}", "default-scheduler"), pod(f"packed-{i}", "packed"))
        cluster.eventually(f"pod/packed-{i}", {"status": {"phase": "Running"}}, within="1m")
    nodes = {
        kind: {cluster.get(f"pod/{kind}-{i}")["spec"]["nodeName"] for i in range(3)}
        for kind in ("spread", "packed")
    }
    assert len(nodes["packed"]) == 1
    assert len(nodes["spread"]) > 1
    cluster.close()


def test_a_configuration_that_is_none_is_refused():
    with pytest.raises(UsageError, match="scheduler_config=3: give a path"):
        merge(ClusterConfig(), {"scheduler_config": 3}, "marker")
    with pytest.raises(UsageError, match="kube-scheduler would not start"):
        Cluster(ClusterConfig(scheduler_config={"apiVersion": "v1", "kind": "Pod"}))


def test_the_command_line_takes_a_configuration(tmp_path):
    from pytest_kubesim import cli
    from pytest_kubesim.transports import envtest, serve

    file = tmp_path / "scheduler.yaml"
    file.write_text(TWO_PROFILES)
    options = cli.parser().parse_args(["serve", "--scheduler-config", str(file)])
    cluster, _ = serve.make(options)
    assert cluster.config.scheduler_config == str(file)
    cluster.close()
    options = cli.parser().parse_args(["envtest", "--scheduler-config", str(file), str(tmp_path)])
    words = envtest.serve_options(options)
    assert words[words.index("--scheduler-config") + 1] == str(file)
