"""The metrics API: what simulated containers use, as `kubectl top` and autoscalers see it."""

import pytest

from pytest_kubesim.apimachinery.meta import GroupVersionResource
from pytest_kubesim.apimachinery.status import APIStatus
from pytest_kubesim.cluster.cluster import Cluster
from pytest_kubesim.config import ClusterConfig
from pytest_kubesim.cri.programs import runs_forever

METRICS_SERVER = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: metrics-server, namespace: kube-system}
---
apiVersion: v1
kind: Service
metadata: {name: metrics-server, namespace: kube-system}
spec:
  ports: [{name: https, port: 443, protocol: TCP, targetPort: https}]
  selector: {k8s-app: metrics-server}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: metrics-server, namespace: kube-system, labels: {k8s-app: metrics-server}}
spec:
  selector: {matchLabels: {k8s-app: metrics-server}}
  template:
    metadata: {labels: {k8s-app: metrics-server}}
    spec:
      serviceAccountName: metrics-server
      containers:
      - name: metrics-server
        image: registry.k8s.io/metrics-server/metrics-server:v0.8.0
        args:
        - --cert-dir=/tmp
        - --secure-port=10250
        - --kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname
        - --kubelet-use-node-status-port
        - --metric-resolution=15s
        livenessProbe: {httpGet: {path: /livez, port: https, scheme: HTTPS}, periodSeconds: 10}
        ports: [{containerPort: 10250, name: https, protocol: TCP}]
        readinessProbe:
          httpGet: {path: /readyz, port: https, scheme: HTTPS}
          initialDelaySeconds: 20
          periodSeconds: 10
        securityContext: {readOnlyRootFilesystem: true, runAsNonRoot: true, runAsUser: 1000}
        resources: {requests: {cpu: 100m, memory: 200Mi}}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  group: metrics.k8s.io
  groupPriorityMinimum: 100
  insecureSkipTLSVerify: true
  service: {name: metrics-server, namespace: kube-system}
  version: v1beta1
  versionPriority: 100
"""


@pytest.fixture
def cluster():
    made = Cluster(ClusterConfig(nodes=2))
    made.apply(METRICS_SERVER)
    made.eventually(
        "apiservice/v1beta1.metrics.k8s.io",
        {"status": {"conditions": [{"type": "Available", "status": "True"}]}},
        within="3m",
    )
    return made


def web(cluster, replicas=2):
    cluster.apply({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [
                    {"name": "c", "image": "web:1", "resources": {"requests": {"cpu": "200m"}}},
                ]},
            },
        },
    })


def raw(cluster, path):
    return cluster.perform(cluster._client.raw("GET", f"/apis/metrics.k8s.io/v1beta1{path}"))


def test_pods_and_nodes_use_what_their_programs_say(cluster):
    cluster.images["web:1"] = runs_forever().using(cpu="300m", memory="100Mi")
    web(cluster)
    cluster.advance("1m")
    pods = GroupVersionResource("metrics.k8s.io", "v1beta1", "pods")
    found = cluster.perform(cluster._client.list(pods, "default", label_selector="app=web"))
    assert found["kind"] == "PodMetricsList"
    one, _ = found["items"]
    assert one["containers"] == [
        {"name": "c", "usage": {"cpu": "300000000n", "memory": "102400Ki"}}
    ]
    assert one["window"] == "15s"
    assert one["metadata"]["labels"]["app"] == "web"
    name = one["metadata"]["name"]
    assert raw(cluster, f"/namespaces/default/pods/{name}")["kind"] == "PodMetrics"
    nodes = raw(cluster, "/nodes")["items"]
    assert [n["metadata"]["name"] for n in nodes] == ["node-1", "node-2"]
    used = sum(int(n["usage"]["cpu"].rstrip("n")) for n in nodes)
    assert used == (300 + 300 + 50 + 50 + 1) * 1_000_000


def test_what_is_not_measured_is_not_found(cluster):
    with pytest.raises(APIStatus, match='podmetrics.metrics.k8s.io "default/none" not found'):
        raw(cluster, "/namespaces/default/pods/none")


def test_an_autoscaler_scales_on_what_containers_use(cluster):
    load = {"cpu": "300m"}
    cluster.images["web:1"] = runs_forever().using(cpu=lambda: load["cpu"])
    web(cluster)
    cluster.apply({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1, "maxReplicas": 6,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 100}}}],
        },
    })
    cluster.eventually("deployment/web", {"spec": {"replicas": 6}}, within="10m")
    status = cluster.get("horizontalpodautoscaler/web")["status"]
    assert status["currentMetrics"][0]["resource"]["current"] == {
        "averageUtilization": 150, "averageValue": "300m",
    }
    load["cpu"] = "50m"
    cluster.eventually("deployment/web", {"spec": {"replicas": 2}}, within="20m")
    cluster.advance("10m")
    load["cpu"] = "0"
    cluster.eventually("deployment/web", {"spec": {"replicas": 1}}, within="20m")


def test_a_metric_of_one_container_scales_too(cluster):
    cluster.images["web:1"] = runs_forever().using(cpu="100m")
    web(cluster, replicas=1)
    cluster.apply({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "maxReplicas": 4,
            "metrics": [{"type": "ContainerResource", "containerResource": {
                "name": "cpu", "container": "c",
                "target": {"type": "AverageValue", "averageValue": "40m"}}}],
        },
    })
    cluster.eventually("deployment/web", {"spec": {"replicas": 3}}, within="10m")


def test_a_node_that_is_down_is_not_measured(cluster):
    cluster.nodes["node-2"].stop_kubelet()
    assert [n["metadata"]["name"] for n in raw(cluster, "/nodes")["items"]] == ["node-1"]


def test_a_kubelet_tells_what_it_measures(cluster):
    def get(path):
        return cluster.perform(
            cluster._client.raw("GET", f"/api/v1/nodes/node-1/proxy/{path}")
        )

    summary = get("stats/summary")
    assert summary["node"]["nodeName"] == "node-1"
    assert summary["node"]["memory"]["workingSetBytes"] >= 300 * 2**20
    for pod in summary["pods"]:
        assert pod["cpu"]["usageNanoCores"] == sum(
            c["cpu"]["usageNanoCores"] for c in pod["containers"]
        )
    assert get("configz")["kubeletconfig"]["kind"] == "KubeletConfiguration"


IMAGES = "registry.k8s.io/e2e-test-images"


def test_what_a_consumer_is_told_to_use_scales_it(cluster):
    cluster.apply(
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "consumer"},
            "spec": {
                "selector": {"matchLabels": {"app": "consumer"}},
                "template": {
                    "metadata": {"labels": {"app": "consumer"}},
                    "spec": {"containers": [{
                        "name": "c", "image": f"{IMAGES}/resource-consumer:1.13",
                        "resources": {"requests": {"cpu": "500m"}},
                    }]},
                },
            },
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "consumer"},
            "spec": {"selector": {"app": "consumer"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
        {
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "consumer"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "consumer"},
                "minReplicas": 1, "maxReplicas": 5,
                "metrics": [{"type": "Resource", "resource": {
                    "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 20}}}],
            },
        },
    )
    cluster.eventually("deployment/consumer", {"status": {"readyReplicas": 1}}, within="1m")
    form = "'millicores=250&durationSec=600'"
    cluster.create({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "told"},
        "spec": {"restartPolicy": "Never", "containers": [{
            "name": "c", "image": "busybox",
            "args": ["sh", "-c", f"wget -qO- --post-data={form} http://consumer/ConsumeCPU"],
        }]},
    })
    cluster.eventually("deployment/consumer", {"status": {"replicas": 3}}, within="5m")
    cluster.eventually("deployment/consumer", {"status": {"replicas": 1}}, within="20m")
