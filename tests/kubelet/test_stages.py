"""Behaviour as data: stages of kwok play what they select."""

import pytest

from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig
from pytest_kubesim.errors import UsageError
from pytest_kubesim.kubelet.stages import finalizers, stage

NODE_INITIALIZE = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: node-initialize}
spec:
  resourceRef: {apiGroup: v1, kind: Node}
  selector:
    matchExpressions:
    - {key: '.status.conditions.[] | select( .type == "Ready" ) | .status', operator: NotIn,
       values: ["True"]}
  next:
    statusTemplate: |
      {{ $now := Now }}
      {{ $since := or .metadata.creationTimestamp $now }}
      conditions:
      {{ range NodeConditions }}
      - lastHeartbeatTime: {{ $now | Quote }}
        lastTransitionTime: {{ $since | Quote }}
        message: {{ .message | Quote }}
        reason: {{ .reason | Quote }}
        status: {{ .status | Quote }}
        type: {{ .type | Quote }}
      {{ end }}
      allocatable:
      {{ with .status.allocatable }}
      {{ YAML . 1 }}
      {{ else }}
        cpu: 1k
        memory: 1Ti
        pods: 1M
      {{ end }}
      nodeInfo:
        kubeletVersion: {{ printf "kwok-%s" Version }}
        architecture: {{ or .status.nodeInfo.architecture "amd64" }}
      phase: Running
"""
HEARTBEAT = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: node-heartbeat}
spec:
  resourceRef: {apiGroup: v1, kind: Node}
  selector:
    matchExpressions:
    - {key: .status.phase, operator: In, values: [Running]}
  delay: {durationMilliseconds: 20000, jitterDurationMilliseconds: 25000}
  next:
    statusTemplate: |
      conditions:
      {{ range NodeConditions }}
      - lastHeartbeatTime: {{ Now | Quote }}
        message: {{ .message | Quote }}
        reason: {{ .reason | Quote }}
        status: {{ .status | Quote }}
        type: {{ .type | Quote }}
      {{ end }}
  immediateNextStage: true
"""
CREATE = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-create}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchLabels: {by: stages}
    matchExpressions:
    - {key: .metadata.deletionTimestamp, operator: DoesNotExist}
    - {key: .status.podIP, operator: DoesNotExist}
  delay:
    durationMilliseconds: 1000
    durationFrom: {expressionFrom: '.metadata.annotations["example.com/delay"]'}
  next:
    event: {type: Normal, reason: Created, message: Created container}
    finalizers: {add: [{value: example.com/kept}]}
    statusTemplate: |
      podIP: {{ PodIPWith .spec.nodeName ( or .spec.hostNetwork false ) ( or .metadata.uid "" ) | Quote }}
      phase: Pending
"""
READY = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-ready}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - cel: {expression: "has(self.status.podIP) && self.status.phase == 'Pending'"}
  steps:
  - patch:
      subresource: status
      root: status
      template: |
        phase: Running
        conditions:
        - {type: Ready, status: "True"}
"""
DELETE = """
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-delete}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: .metadata.deletionTimestamp, operator: Exists}
  delay:
    durationMilliseconds: 5000
  next:
    finalizers: {empty: true}
    delete: true
"""


def pod(name, node, by="stages", **annotations):
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"by": by}, "annotations": annotations},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]},
    }


@pytest.fixture
def cluster():
    made = Cluster(ClusterConfig())
    made.apply(NODE_INITIALIZE, HEARTBEAT, CREATE, READY, DELETE)
    return made


def test_a_node_that_nobody_runs_is_played(cluster):
    cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
    cluster.advance("1s")
    node = cluster.get("node/n")
    assert node["status"]["allocatable"] == {"cpu": "1k", "memory": "1Ti", "pods": "1M"}
    assert node["status"]["nodeInfo"]["kubeletVersion"] == "kwok-0.8.0"
    cluster.advance("10m")
    ready = cluster.get("node/n")["status"]["conditions"][0]
    assert (ready["type"], ready["status"]) == ("Ready", "True")
    assert ready["lastHeartbeatTime"] > "2026-01-01T00:09:30Z"
    assert "taints" not in cluster.get("node/n")["spec"]
    cluster.settle()


def test_a_pod_goes_from_stage_to_stage(cluster):
    cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
    cluster.advance("5s")
    cluster.create(pod("p", "n", **{"example.com/delay": "3s"}))
    cluster.advance("2s")
    assert "podIP" not in cluster.get("pod/p")["status"]
    cluster.advance("2s")
    found = cluster.get("pod/p")
    assert found["status"]["phase"] == "Running"
    assert found["status"]["podIP"] == "10.244.0.1"
    assert found["metadata"]["finalizers"] == ["example.com/kept"]
    (event,) = [e for e in cluster.list("events") if e["involvedObject"]["name"] == "p"]
    assert (event["reason"], event["source"]) == ("Created", {"component": "kwok_controller"})
    cluster.delete("pod/p")
    cluster.advance("4s")
    assert cluster.get("pod/p")["metadata"]["deletionTimestamp"]
    cluster.advance("2s")
    assert cluster.list("pods") == []


def test_kubelets_run_what_no_stage_selects(cluster):
    cluster.add_nodes(1)
    cluster.create(pod("ours", "node-1", by="kubelet"), pod("theirs", "node-1"))
    cluster.advance("1m")
    ours, theirs = cluster.get("pod/ours"), cluster.get("pod/theirs")
    assert ours["status"]["containerStatuses"][0]["state"]["running"]
    assert "containerStatuses" not in theirs["status"]
    assert theirs["status"]["phase"] == "Running"


def test_a_stage_takes_a_running_pod_over_and_what_it_says_stays():
    cluster = Cluster(ClusterConfig(nodes=1))
    cluster.create(pod("p", "node-1"))
    cluster.advance("1m")
    cluster.apply("""
        apiVersion: kwok.x-k8s.io/v1alpha1
        kind: Stage
        metadata: {name: breaks}
        spec:
          resourceRef: {kind: Pod}
          selector:
            matchLabels: {by: stages}
            matchExpressions: [{key: .status.phase, operator: In, values: [Running]}]
          delay: {durationMilliseconds: 60000}
          next:
            statusTemplate: "{phase: Failed, reason: Broken}"
        """)
    cluster.advance("30s")
    assert cluster.get("pod/p")["status"]["phase"] == "Running"
    cluster.advance("10m")
    status = cluster.get("pod/p")["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "Broken")
    cluster.delete("pod/p")
    cluster.advance("10s")
    assert cluster.list("pods") == []


def test_stages_play_objects_of_any_kind():
    cluster = Cluster(ClusterConfig())
    cluster.apply("""
        apiVersion: kwok.x-k8s.io/v1alpha1
        kind: Stage
        metadata: {name: copies}
        spec:
          resourceRef: {apiGroup: v1, kind: ConfigMap}
          selector:
            matchAnnotations: {copy: "yes"}
            matchExpressions: [{key: .data.seen, operator: DoesNotExist}]
          steps:
          - patch: {type: merge, template: '{"data": {"seen": "yes"}}'}
          - apply:
              template: |
                apiVersion: v1
                kind: ConfigMap
                metadata: {name: {{ .metadata.name }}-copy}
                data: {of: {{ .metadata.name | upper | Quote }}}
        """)
    cluster.create({"apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": "a", "annotations": {"copy": "yes"}}})
    cluster.advance("1s")
    assert cluster.get("configmap/a")["data"] == {"seen": "yes"}
    assert cluster.get("configmap/a-copy")["data"] == {"of": "A"}


def test_weights_choose_and_equal_seeds_choose_alike():
    def phases(seed):
        cluster = Cluster(ClusterConfig(seed=seed))
        for name, weight in (("Succeeded", 1), ("Failed", 3), ("Unknown", 0)):
            cluster.apply(f"""
                apiVersion: kwok.x-k8s.io/v1alpha1
                kind: Stage
                metadata: {{name: to-{name.lower()}}}
                spec:
                  resourceRef: {{kind: Pod}}
                  weight: {weight}
                  selector:
                    matchExpressions: [{{key: .status.phase, operator: In, values: [Pending]}}]
                  next: {{statusTemplate: "phase: {name}"}}
                """)
        cluster.create(*[pod(f"p{number}", "n") for number in range(20)])
        cluster.advance("1s")
        return [p["status"]["phase"] for p in cluster.list("pods")]

    first = phases(1)
    assert {"Succeeded", "Failed"} == set(first)
    assert first.count("Failed") > first.count("Succeeded")
    assert phases(1) == first


def document(**spec):
    about = {"resourceRef": {"kind": "Pod"}, "selector": {}}
    return {"metadata": {"name": "s"}, "spec": {**about, **spec}}


def test_a_delay_of_both_kinds_is_between_them_and_the_shorter_jitter_wins():
    read = stage.read(document(delay={"durationMilliseconds": 1000,
                                      "jitterDurationMilliseconds": 5000}))
    assert read.delay_ns({}, 0) == (10**9, 5 * 10**9)
    sooner = stage.read(document(delay={
        "durationMilliseconds": 1000,
        "jitterDurationFrom": {"expressionFrom": ".metadata.deletionTimestamp"},
    }))
    obj = {"metadata": {"deletionTimestamp": "1970-01-01T00:00:00Z"}}
    assert sooner.delay_ns(obj, 10**9) == (-(10**9), -(10**9))
    assert sooner.delay_ns({"metadata": {}}, 0) == (10**9, 10**9)


def test_without_a_selector_nothing_is_selected():
    assert not stage.read(document(selector=None)).matches({"metadata": {}})
    assert stage.read(document()).matches({"metadata": {}})


def test_what_a_selector_cannot_mean_is_refused():
    bad = {"matchExpressions": [{"key": ".a", "operator": "Near"}]}
    with pytest.raises(UsageError, match='operator "Near" is not supported'):
        stage.read(document(selector=bad))


@pytest.mark.parametrize(
    ("have", "change", "paths"),
    [
        (["a"], {"add": [{"value": "a"}, {"value": "b"}]}, ["add /metadata/finalizers/-"]),
        (["a", "b", "c"], {"remove": [{"value": "a"}, {"value": "c"}]},
         ["remove /metadata/finalizers/2", "remove /metadata/finalizers/0"]),
        (["a"], {"empty": True, "add": [{"value": "b"}]},
         ["remove /metadata/finalizers", "add /metadata/finalizers"]),
        ([], {"empty": True}, []),
    ],
)
def test_finalizers_are_changed_by_json_patch(have, change, paths):
    found = finalizers.operations(have, change)
    assert [f"{o['op']} {o['path']}" for o in found] == paths
