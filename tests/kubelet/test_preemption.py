"""Critical pods get room on their node."""


def pod(name, cpu, *, limit=False, namespace="default", **spec):
    resources = {"requests": {"cpu": cpu, "memory": "1Gi"}}
    if limit:
        resources["limits"] = dict(resources["requests"])
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [{"name": "c", "image": "x:1", "resources": resources}], "nodeName": "node-1", **spec},
    }


def critical(cpu):
    return pod("critical", cpu, namespace="kube-system", priorityClassName="system-node-critical")


def test_those_of_the_lowest_quality_go_as_few_as_do(kubesim):
    kubesim.add_nodes(1)
    kubesim.eventually("node/node-1", within="5s")
    kubesim.apply(pod("guaranteed", "1", limit=True), pod("small", "500m"), pod("big", "1500m"))
    kubesim.eventually("pods", {"status": {"phase": "Running"}}, count=3, within="1m")
    kubesim.apply(critical("2"))
    kubesim.eventually("pods", {"metadata": {"name": "critical"}, "status": {"phase": "Running"}}, within="1m", namespace="kube-system")
    phases = {p["metadata"]["name"]: p["status"]["phase"] for p in kubesim.list("pods", namespace="default")}
    assert phases == {"guaranteed": "Running", "small": "Running", "big": "Failed"}
    status = kubesim.get("pod/big")["status"]
    assert (status["reason"], status["message"]) == ("Preempting", "Preempted in order to admit critical pod")
    (why,) = [c for c in status["conditions"] if c["type"] == "DisruptionTarget"]
    assert (why["reason"], why["message"]) == (
        "TerminationByKubelet", "Pod was preempted by Kubelet to accommodate a critical pod.",
    )


def test_what_does_not_fit_an_empty_node_is_rejected(kubesim):
    kubesim.add_nodes(1)
    kubesim.eventually("node/node-1", within="5s")
    kubesim.apply(pod("small", "500m"), critical("5"))
    kubesim.advance("5s")
    status = kubesim.get("pod/critical", namespace="kube-system")["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "UnexpectedAdmissionError")
    assert status["message"] == (
        "Pod was rejected: Unexpected error while attempting to recover from admission failure: preemption: error finding a "
        "set of pods to preempt: no set of running pods found to reclaim resources: [(res: cpu, q: 1000), ]"
    )
    assert kubesim.get("pod/small")["status"]["phase"] == "Running"
