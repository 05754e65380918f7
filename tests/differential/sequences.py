"""Hypothesis strategies of longer lives of an object: most requests are good, and they meet.

What is looked for is not a refusal but what a change leaves behind: who owns which field, which
generation, whether anything was written at all.  So the changes are few and known to be allowed,
and are made in every way there is: by PUT, by each patch, by apply of two managers, with or without
force, by status, dry runs, and a deletion with options that finalizers hold up.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from strategies import CUSTOM, Draw, Edit, Object, Subject, merged

Change = Object
"""A part of an object: what an apply says, a merge patch, or what a PUT brings."""

_MAIN = {"name": "main", "image": "nginx:1"}


def _template(**container: Any) -> Change:
    return {"spec": {"template": {"spec": {"containers": [{**_MAIN, **container}]}}}}


_TEMPLATES: list[Change] = [
    _template(image="nginx:2"),
    _template(env=[{"name": "A", "value": "2"}, {"name": "C", "value": "3"}]),
    _template(env=[{"name": "B", "$patch": "delete"}, {"name": "A", "value": ""}]),
    _template(env=[]),
    _template(ports=[{"containerPort": 80, "protocol": "UDP"}, {"containerPort": 81}]),
    _template(resources={"limits": {"cpu": "1000m", "memory": "1024Mi"}}),
    _template(resources={"limits": {}}),
    _template(args=["a", "b"]),
    _template(args=None),
    {"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}},
    {"spec": {"template": {"spec": {"tolerations": [{"key": "b", "operator": "Exists"}]}}}},
    {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}},
    {"spec": {"template": {"spec": {"nodeSelector": {}}}}},
    {"spec": {"template": {"spec": {"hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a"]}]}}}},
    {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 5}}}},
    {"spec": {"template": {"spec": {"volumes": [{"name": "c", "configMap": {"name": "d"}}]}}}},
]
_CONDITION = {"type": "A", "status": "True"}
_COUNTS: list[Change] = [
    {"spec": {"replicas": 2}},
    {"spec": {"replicas": None}},
    {"spec": {"minReadySeconds": 3}},
    {"spec": {"minReadySeconds": 0}},
    {"status": {"replicas": 1, "observedGeneration": 1}},
    {"status": {"conditions": [_CONDITION]}},
]
_METADATA: list[Change] = [
    {"metadata": {"labels": {"a": "b"}}},
    {"metadata": {"labels": {"app": None}}},
    {"metadata": {"labels": {}}},
    {"metadata": {"labels": None}},
    {"metadata": {"annotations": {"x.com/a": "1"}}},
    {"metadata": {"annotations": {"x.com/b": ""}}},
    {"metadata": {"annotations": {}}},
    {"metadata": {"finalizers": ["x.com/a"]}},
    {"metadata": {"finalizers": ["x.com/b", "x.com/a"]}},
    {"metadata": {"finalizers": []}},
    {"metadata": {"managedFields": []}},
    {"metadata": {"managedFields": [{}]}},
    {"metadata": {"generation": 7}},
    {"metadata": {"resourceVersion": "1"}},
    {"metadata": {"resourceVersion": ""}},
    {"metadata": {"uid": "u"}},
    {"metadata": {"ownerReferences": [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u", "controller": True}]}},
    {"metadata": {"ownerReferences": []}},
    {},
]  # fmt: skip
_OF_KINDS: dict[str, list[Change]] = {
    "Deployment": [*_TEMPLATES, *_COUNTS, {"spec": {"paused": True}}, {"spec": {"paused": False}},
                   {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}},
                   {"spec": {"strategy": {"rollingUpdate": {"maxSurge": "10%"}}}},
                   {"status": {"conditions": [{**_CONDITION, "reason": "x"}], "replicas": 2}}],
    "StatefulSet": [*_TEMPLATES, *_COUNTS, {"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": None}}},
                    {"spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}}}],
    "DaemonSet": [*_TEMPLATES, {"status": {"numberReady": 1}}, {"spec": {"minReadySeconds": 3}}],
    "ReplicaSet": [*_TEMPLATES, *_COUNTS],
    "ReplicationController": [*_TEMPLATES, *_COUNTS],
    "Job": [{"spec": {"parallelism": 3}}, {"spec": {"suspend": True}}, {"spec": {"suspend": False}},
            {"spec": {"activeDeadlineSeconds": 9}}, {"spec": {"completions": 4}},
            {"status": {"active": 1}}, {"spec": {"ttlSecondsAfterFinished": 0}}],
    "CronJob": [{"spec": {"suspend": True}}, {"spec": {"schedule": "1 * * * *"}}, {"spec": {"timeZone": "Etc/UTC"}},
                {"status": {"lastScheduleTime": "2026-01-02T03:04:05Z"}}, {"spec": {"successfulJobsHistoryLimit": 0}},
                {"spec": {"jobTemplate": {"metadata": {"labels": {"a": "b"}}}}}],
    "Pod": [{"spec": {"containers": [{**_MAIN, "image": "nginx:2"}]}},
            {"spec": {"activeDeadlineSeconds": 9}}, {"status": {"conditions": [_CONDITION]}},
            {"status": {"phase": "Running"}}, {"status": {"podIP": "1.2.3.4", "podIPs": [{"ip": "1.2.3.4"}]}},
            {"spec": {"tolerations": [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]}}],
    "Service": [{"spec": {"type": "ClusterIP"}}, {"spec": {"selector": {"a": "b"}}}, {"spec": {"selector": {}}},
                {"spec": {"sessionAffinity": "None", "sessionAffinityConfig": None}}, {"spec": {"sessionAffinity": "ClientIP"}},
                {"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b", "targetPort": "x"}]}},
                {"spec": {"type": "LoadBalancer"}}, {"spec": {"externalIPs": ["1.2.3.4"]}},
                {"spec": {"internalTrafficPolicy": "Local"}}, {"spec": {"publishNotReadyAddresses": True}},
                {"status": {"conditions": [{**_CONDITION, "lastTransitionTime": "2026-01-02T03:04:05Z", "reason": "a", "message": ""}]}},
                {"status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}],
    "ConfigMap": [{"data": {"a": "2", "b": ""}}, {"data": {}}, {"data": None}, {"binaryData": {"c": ""}},
                  {"immutable": True}, {"immutable": False}, {"data": {"a": None}}],
    "Secret": [{"data": {"a": "YQ=="}}, {"stringData": {"a": "b"}}, {"stringData": {}}, {"data": {}}, {"immutable": False}],
    "Namespace": [{"spec": {"finalizers": ["kubernetes", "x.com/a"]}}, {"spec": {"finalizers": []}}],
    "Node": [{"spec": {"unschedulable": True}}, {"spec": {"taints": []}}, {"spec": {"taints": [{"key": "b", "effect": "NoExecute"}]}},
             {"spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]}}, {"status": {"conditions": [{**_CONDITION, "type": "Ready"}]}},
             {"status": {"capacity": {"cpu": "2", "memory": "1Gi"}}}, {"status": {"addresses": [{"type": "InternalIP", "address": "1.2.3.4"}]}}],
    "PersistentVolume": [{"spec": {"capacity": {"storage": "2Gi"}}}, {"spec": {"persistentVolumeReclaimPolicy": "Retain"}},
                         {"status": {"phase": "Available"}}, {"spec": {"mountOptions": ["a"]}}, {"spec": {"mountOptions": []}}],
    "PersistentVolumeClaim": [{"spec": {"resources": {"requests": {"storage": "2Gi"}}}}, {"status": {"phase": "Bound"}},
                              {"status": {"capacity": {"storage": "1Gi"}}}, {"status": {"accessModes": []}}],
    "ServiceAccount": [{"secrets": [{"name": "a"}]}, {"secrets": []}, {"imagePullSecrets": [{"name": "c"}]},
                       {"automountServiceAccountToken": False}],
    "HorizontalPodAutoscaler": [{"spec": {"maxReplicas": 9}}, {"spec": {"minReplicas": None}}, {"spec": {"metrics": []}},
                                {"spec": {"behavior": None}}, {"spec": {"behavior": {"scaleUp": {"stabilizationWindowSeconds": 0}}}},
                                {"status": {"currentReplicas": 1, "desiredReplicas": 2}}, {"status": {"conditions": [_CONDITION]}}],
    "Ingress": [{"spec": {"ingressClassName": "a"}}, {"spec": {"tls": []}}, {"spec": {"tls": [{"hosts": ["b.com"]}]}},
                {"spec": {"rules": [{"host": "a.com"}]}}, {"status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}],
    "NetworkPolicy": [{"spec": {"policyTypes": ["Egress"]}}, {"spec": {"ingress": []}}, {"spec": {"egress": [{}]}},
                      {"spec": {"podSelector": {"matchLabels": {"c": "d"}}}}, {"spec": {"podSelector": {}}}],
    "PodDisruptionBudget": [{"spec": {"minAvailable": "20%", "maxUnavailable": None}}, {"spec": {"selector": {}}},
                            {"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}, {"status": {"currentHealthy": 1, "disruptionsAllowed": 1}}],
    "Role": [{"rules": []}, {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}, {"rules": None}],
    "ClusterRole": [{"rules": []}, {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}}],
    "RoleBinding": [{"subjects": []}, {"subjects": [{"kind": "User", "name": "a", "apiGroup": "rbac.authorization.k8s.io"}]}],
    "ResourceQuota": [{"spec": {"hard": {"requests.cpu": "2"}}}, {"spec": {"hard": {}}}, {"status": {"used": {"requests.cpu": "1"}}}],
    "LimitRange": [{"spec": {"limits": []}}, {"spec": {"limits": [{"type": "Pod", "max": {"cpu": "2"}}]}}],
    "EndpointSlice": [{"endpoints": []}, {"endpoints": [{"addresses": ["1.2.3.4"], "conditions": {}}]}, {"ports": []},
                      {"ports": [{"name": "", "port": 80}]}],
    "Endpoints": [{"subsets": []}, {"subsets": [{"addresses": [{"ip": "1.2.3.4"}], "ports": [{"port": 80}]}]}],
    "Lease": [{"spec": {"leaseTransitions": 2}}, {"spec": {"holderIdentity": "b", "renewTime": "2026-01-02T03:04:05.000006Z"}},
              {"spec": {"holderIdentity": None}}],
    "PriorityClass": [{"description": "x"}, {"globalDefault": False}],
    "StorageClass": [{"allowVolumeExpansion": True}, {"mountOptions": []}, {"allowedTopologies": []}],
    "IngressClass": [{"spec": {"parameters": {"kind": "A", "name": "a"}}}],
    "CSIDriver": [{"spec": {"requiresRepublish": True}}, {"spec": {"tokenRequests": []}}],
    "PriorityLevelConfiguration": [{"spec": {"limited": {"lendablePercent": 5}}}],
    "ResourceClaim": [{"status": {"reservedFor": []}}, {"spec": {"devices": {}}}],
    "CertificateSigningRequest": [{"status": {"conditions": []}}, {"status": {"certificate": ""}}],
    "ValidatingWebhookConfiguration": [{"webhooks": []}],
    CUSTOM: [{"spec": {"replicas": 2}}, {"spec": {"paused": True}}, {"spec": {"paused": None}}, {"spec": {"parts": []}},
             {"spec": {"parts": [{"name": "a", "port": 2}, {"name": "c"}]}}, {"spec": {"parts": [{"name": "b", "protocol": "TCP"}]}},
             {"spec": {"modes": ["a", "b"]}}, {"spec": {"modes": ["b", "c"]}}, {"spec": {"modes": []}}, {"spec": {"labels": {"c": "d"}}},
             {"spec": {"labels": {}}}, {"spec": {"raw": {"a": [2], "b": {}}}}, {"spec": {"source": {"name": "y"}}}, {"spec": {"source": {}}},
             {"spec": {"note": None}}, {"spec": {"note": ""}}, {"status": {"phase": "A"}}, {"status": {"ready": 1}}, {"status": {}}],
}  # fmt: skip

PATCHES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


def as_edits(change: Any, path: tuple[Any, ...] = ()) -> list[Edit]:
    """A change as edits of the object that the server has: lists as a whole."""
    if isinstance(change, dict) and change:
        return [edit for key, value in change.items() for edit in as_edits(value, (*path, key))]
    if not path:
        return []
    return [[list(path)]] if change is None else [[list(path), _plain(change)]]


def _plain(value: Any) -> Any:
    """Without the directives of a strategic patch."""
    if isinstance(value, list):
        return [_plain(v) for v in value if not (isinstance(v, dict) and "$patch" in v)]
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def as_operations(change: Change) -> list[Object]:
    """A change as a JSON patch of what lies two deep, which is there or may be added."""
    made: list[Object] = []
    for path, *new in as_edits({k: v for k, v in change.items() if isinstance(v, dict)}):
        cut = path[:2]
        value: Any = new[0] if new else None
        for key in reversed(path[2:]):
            value = {key: value}
        pointer = "".join("/" + str(k).replace("~", "~0").replace("/", "~1") for k in cut)
        made.append({"op": "add", "path": pointer, "value": value})
    for key, value in change.items():
        if not isinstance(value, dict):
            made.append({"op": "add", "path": f"/{key}", "value": _plain(value)})
    return made


@st.composite
def lives(draw: Draw, subject: Subject) -> Object:
    """A creation, changes of every sort, a deletion, and what is said to what is being deleted."""
    pool = [*_OF_KINDS.get(subject.kind, []) * 2, *_METADATA]
    path, good = f"{subject.path}/x-$id", subject.good
    said: dict[str, Change] = {}

    def change() -> Change:
        made: Change = {}
        for _ in range(draw(st.sampled_from((1, 1, 2, 3)))):
            made = merged(made, draw(st.sampled_from(pool)))
        return made

    def query(verb: str) -> Object:
        asked: Object = {}
        if verb == "apply":
            asked["fieldManager"] = draw(st.sampled_from(["one", "two"]))
            asked["force"] = draw(st.sampled_from(["", "", "true"]))
        else:
            asked["fieldManager"] = draw(st.sampled_from(["", "", "one", "three"]))
        asked["dryRun"] = draw(st.sampled_from(["", "", "", "", "", "", "All"]))
        return {k: v for k, v in asked.items() if v}

    def step(verb: str) -> Object:
        status = subject.has_status and draw(st.integers(0, 3)) == 3
        where = f"{path}/status" if status else path
        asked, part = query(verb), change()
        if verb == "put":
            return {"method": "PUT", "path": where, "query": asked, "edits": as_edits(part)}
        step: Object = {"method": "PATCH", "path": where, "query": asked, "type": PATCHES[verb]}
        if verb == "json":
            return {**step, "body": as_operations(part)}
        if verb == "apply":
            manager = asked["fieldManager"]
            if draw(st.integers(0, 2)):
                part = merged(said.get(manager, {}), part)
            said[manager] = part
            head = {k: good.get(k) for k in ("apiVersion", "kind")}
            metadata = {**_plain(part.get("metadata", {})), "name": "x-$id"}
            return {**step, "body": {**head, **_plain(part), "metadata": metadata}}
        return {**step, "body": part}

    verbs = [v for v in ("put", *PATCHES, "apply") if v != "strategic" or not subject.custom]
    asked = {"fieldManager": draw(st.sampled_from(["one", "two"]))}
    if draw(st.integers(0, 2)) == 2:
        first = {"method": "PATCH", "path": path, "type": PATCHES["apply"], "query": asked}
        said[asked["fieldManager"]] = {
            k: v for k, v in good.items() if k not in ("apiVersion", "kind")
        }
        steps = [{**first, "body": good}]
    else:
        steps = [{"method": "POST", "path": subject.path, "query": asked, "body": good}]
    steps += [step(draw(st.sampled_from(verbs))) for _ in range(draw(st.integers(2, 7)))]
    steps.append({"method": "GET", "path": path})
    steps += _ends(draw, path, step, verbs)
    return {"kind": subject.kind, "steps": steps}


def _ends(draw: Draw, path: str, step: Any, verbs: list[str]) -> list[Object]:
    """A deletion with options, changes of what is still there, and another deletion."""
    made: list[Object] = []
    for _ in range(2):
        options: Object = {"gracePeriodSeconds": 0}
        policy = draw(st.sampled_from(["", "Background", "Foreground", "Orphan", "x"]))
        if policy:
            options["propagationPolicy"] = policy
        other = draw(st.integers(0, 12))
        more: dict[int, Object] = {
            8: {"orphanDependents": True}, 9: {"preconditions": {"uid": "u"}},
            10: {"preconditions": {"resourceVersion": "1"}}, 11: {"dryRun": ["All"]},
            12: {"gracePeriodSeconds": 5},
        }  # fmt: skip
        made.append({"method": "DELETE", "path": path, "body": {**options, **more.get(other, {})}})
        if draw(st.booleans()):
            made.append(step(draw(st.sampled_from(verbs))))
        made.append({"method": "GET", "path": path})
    return made
