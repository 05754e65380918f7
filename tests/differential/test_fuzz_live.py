"""The same requests to a real control plane and to this one: made from the schemas, compared.

Runs where ``KUBESIM_ORACLE`` names the kubeconfig of a running API server of Kubernetes 1.37 that is
there for nothing else (``KUBESIM_FUZZ_EXAMPLES`` cases of each kind).  What it finds becomes a file
in ``fuzz/``: ``python tests/differential/test_fuzz_regressions.py`` writes down the answers.
"""

from __future__ import annotations

import itertools
import os
import time

import fuzz_player as fuzz
import pytest
import sequences
import strategies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transcript_player import World

KUBECONFIG = os.environ.get("KUBESIM_ORACLE", "")
EXAMPLES = int(os.environ.get("KUBESIM_FUZZ_EXAMPLES", "25"))

pytestmark = pytest.mark.skipif(
    not KUBECONFIG, reason="KUBESIM_ORACLE names no kubeconfig of a real control plane"
)

KINDS = (
    "Pod", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Service", "ConfigMap",
    "Secret", "PersistentVolumeClaim", "PersistentVolume", "Ingress", "NetworkPolicy", "Role",
    "RoleBinding", "ClusterRole", "ClusterRoleBinding", "HorizontalPodAutoscaler",
    "PodDisruptionBudget", "StorageClass", "Namespace", "ServiceAccount", "ResourceQuota",
    "LimitRange", "ReplicaSet", "ReplicationController", "Endpoints", "EndpointSlice", "Lease",
    "PriorityClass", "IngressClass", "RuntimeClass", "PodTemplate", "Node", "CSIDriver",
    "VolumeAttachment", "CSINode", "CSIStorageCapacity", "ControllerRevision",
    "PriorityLevelConfiguration", "CertificateSigningRequest", "ResourceClaim",
    "ResourceClaimTemplate", "DeviceClass", "ResourceSlice", "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration", "VolumeAttributesClass", "Event", "APIService", "ServiceCIDR",
    "IPAddress", "ValidatingAdmissionPolicyBinding", strategies.CUSTOM,
)  # fmt: skip


@pytest.fixture(scope="module")
def real() -> fuzz.Real:
    stamp = int(time.time()) % 1_000_000
    fuzz.COUNT = itertools.count(stamp * 10)
    fuzz.NAMESPACE = f"t-fuzz{stamp:06d}"
    side = fuzz.Real(KUBECONFIG)
    fuzz.prepare(side, fuzz.NAMESPACE)
    return side


@pytest.fixture(scope="module")
def here() -> World:
    return fuzz.in_process()


@pytest.mark.parametrize("kind", KINDS)
def test_requests_are_answered_as_kubernetes_answers_them(
    kind: str, real: fuzz.Real, here: World
) -> None:
    _compare(strategies.cases(strategies.Subject(kind)), real, here)


@pytest.mark.parametrize("kind", KINDS)
def test_what_changes_leave_behind_is_what_kubernetes_leaves(
    kind: str, real: fuzz.Real, here: World
) -> None:
    _compare(sequences.lives(strategies.Subject(kind)), real, here)


def _compare(cases: st.SearchStrategy[fuzz.Case], real: fuzz.Real, here: World) -> None:
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=[*HealthCheck]
    )
    @given(cases)
    def same(case: fuzz.Case) -> None:
        names = fuzz.names_of_a_case()
        want, got = fuzz.answers(real, case, names), fuzz.answers(here, case, names)
        for step, a, b in zip(case["steps"], want, got, strict=True):
            found = fuzz.differences(a, b)
            if found and fuzz.is_known(a, b):
                return  # What follows from it would differ as well.
            assert not found, (step, found[:8])

    same()
