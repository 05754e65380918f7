"""Eight classic bugs of controllers: each comes by one fault, and is gone in the repaired version.

Databases are config maps here, volumes are claims: what matters is who sees and writes what when.
"""

from __future__ import annotations

import asyncio
import time

import lightkube
import pytest
from lightkube.core.exceptions import ApiError
from lightkube.models.core_v1 import ServicePort, ServiceSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Secret, Service

from pytest_kubesim import NeverSettled

pytestmark = pytest.mark.filterwarnings("ignore:Kubernetes version .* is not supported")

BUGGY, REPAIRED = False, True


def database(name="db", **data):
    return {
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": {"kind": "database"}}, "data": data,
    }


def volume(name="db"):
    return {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default", "labels": {"kind": "volume"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def volumes(kubesim):
    claims = kubesim.list("persistentvolumeclaims", namespace="default")
    return [c["metadata"]["name"] for c in claims if not c["metadata"].get("deletionTimestamp")]


# -- 1: a stale read deletes a live volume (kubernetes) ----------------------------------------


def volume_collector(kubesim, repaired):
    """Deletes volumes without a database."""
    from kubernetes import client
    from kubernetes.client.rest import ApiException

    def main():
        core = client.CoreV1Api(kubesim.client("kubernetes"))
        while True:
            databases = core.list_namespaced_config_map(
                "default", label_selector="kind=database", resource_version="0"
            )
            there = {each.metadata.name for each in databases.items}
            for claim in core.list_namespaced_persistent_volume_claim("default").items:
                name = claim.metadata.name
                if name not in there and not (repaired and exists(core, name)):
                    core.delete_namespaced_persistent_volume_claim(name, "default")
            time.sleep(10)

    def exists(core, name):
        try:
            return core.read_namespaced_config_map(name, "default")
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    return main


@pytest.mark.parametrize("repaired", [BUGGY, REPAIRED])
def test_a_stale_read_deletes_a_live_volume(kubesim, repaired):
    kubesim.run(volume_collector(kubesim, repaired), name="operator")
    kubesim.advance("5s")
    kubesim.faults.view(client="operator", kind="ConfigMap").freeze(until="25s")
    kubesim.apply(database(), volume())
    kubesim.advance("1m")
    assert volumes(kubesim) == (["db"] if repaired else [])


# -- 2: a crash between two writes leaves half a pair (lightkube) ------------------------------


def pair_maker(kubesim, repaired):
    """Makes a secret and a service for every database."""

    def ensure(client, obj):
        try:
            client.create(obj)
        except ApiError as error:
            if error.status.code != 409:
                raise
            return False
        return True

    def main():
        client = lightkube.Client()
        while True:
            for each in client.list(ConfigMap, namespace="default", labels={"kind": "database"}):
                where = ObjectMeta(name=each.metadata.name, namespace="default")
                made = ensure(client, Secret(metadata=where, stringData={"password": "x"}))
                if made or repaired:
                    ensure(client, Service(metadata=where, spec=ServiceSpec(ports=[ServicePort(port=1)])))
            time.sleep(5)

    return main


@pytest.mark.parametrize("repaired", [BUGGY, REPAIRED])
def test_a_crash_between_two_writes_leaves_half_a_pair(kubesim, repaired):
    kubesim.run(pair_maker(kubesim, repaired), name="operator")
    kubesim.faults.operator("operator").crash(at_write=1, moment="after", restart_after="10s")
    kubesim.apply(database())
    kubesim.advance("1m")
    assert kubesim.get("secret/db")
    services = [s["metadata"]["name"] for s in kubesim.list("services", namespace="default")]
    assert ("db" in services) is repaired


# -- 3: a lost answer creates a duplicate (requests) -------------------------------------------


def volume_maker(kubesim, repaired):
    """Makes a volume for the database."""
    import requests

    def main():
        session = kubesim.client("requests")
        url = "https://kubernetes.default.svc/api/v1/namespaces/default/persistentvolumeclaims"
        claim = volume()
        if not repaired:
            del claim["metadata"]["name"]
            claim["metadata"]["generateName"] = "db-"
        while True:
            try:
                answer = session.post(url, json=claim, timeout=10)
            except requests.ConnectionError:
                time.sleep(1)
                continue
            if answer.status_code in (201, 409):
                return

    return main


@pytest.mark.parametrize("repaired", [BUGGY, REPAIRED])
def test_a_lost_answer_creates_a_duplicate(kubesim, repaired):
    kubesim.faults.api(client="operator", verb="create").apply_but_drop_answer()
    kubesim.run(volume_maker(kubesim, repaired), name="operator")
    kubesim.advance("1m")
    assert len(volumes(kubesim)) == (1 if repaired else 2)


# -- 4: state that nobody observed leaks a volume (kubernetes_asyncio) -------------------------


def volume_keeper(kubesim, repaired):
    """Makes a volume when a database comes, deletes it when the database goes."""
    from kubernetes_asyncio import client, config, watch
    from kubernetes_asyncio.client.rest import ApiException

    async def gone(core, name):
        await core.delete_namespaced_persistent_volume_claim(name, "default")

    async def main():
        await config.load_kube_config()
        async with client.ApiClient() as api:
            core = client.CoreV1Api(api)
            found = await core.list_namespaced_config_map("default", label_selector="kind=database")
            if repaired:
                there = {each.metadata.name for each in found.items}
                for claim in (await core.list_namespaced_persistent_volume_claim("default")).items:
                    if claim.metadata.name not in there:
                        await gone(core, claim.metadata.name)
            events = watch.Watch().stream(
                core.list_namespaced_config_map, "default", label_selector="kind=database",
                resource_version=found.metadata.resource_version,
            )
            async for event in events:
                name = event["object"].metadata.name
                if event["type"] == "DELETED":
                    await gone(core, name)
                    continue
                try:
                    await core.create_namespaced_persistent_volume_claim("default", volume(name))
                except ApiException as error:
                    if error.status != 409:
                        raise

    return main


@pytest.mark.parametrize("repaired", [BUGGY, REPAIRED])
def test_state_that_nobody_observed_leaks_a_volume(kubesim, repaired):
    kubesim.run(volume_keeper(kubesim, repaired), name="operator")
    kubesim.advance("1s")
    kubesim.apply(database())
    kubesim.eventually("persistentvolumeclaim/db", within="10s")
    kubesim.faults.operator("operator").crash().for_("30s")
    kubesim.delete("configmap/db")
    kubesim.advance("2m")
    assert volumes(kubesim) == ([] if repaired else ["db"])


# -- 5: a hot loop on the status (kr8s) --------------------------------------------------------


def status_writer(kubesim, repaired):
    """Makes a service for the database, and says in its annotations how that went."""
    import kr8s.asyncio
    from kr8s.asyncio import objects

    async def reconcile(api, name):
        db = await objects.ConfigMap.get(name, namespace="default", api=api)
        before = dict(db.annotations)
        said = dict(before)
        try:
            service = {"metadata": {"name": name, "namespace": "default"}, "spec": {"ports": [{"port": 1}]}}
            await (await objects.Service(service, api=api)).create()
        except kr8s.ServerError as error:
            if error.response.status_code != 409:
                said["failures"] = str(int(said.get("failures", "0")) + 1)
        if "failures" in said and not repaired:
            said["checked"] = str(time.time())
        if said != before:
            await db.patch({"metadata": {"annotations": said}})
        return said != before and "checked" not in said

    async def main():
        api = await kr8s.asyncio.api()
        async for _, each in api.watch("configmaps", namespace="default", label_selector="kind=database"):
            await asyncio.sleep(1)
            while await reconcile(api, each.name):  # noqa: ASYNC110 - a pause between tries
                await asyncio.sleep(5)

    return main


@pytest.mark.parametrize("repaired", [BUGGY, REPAIRED])
def test_a_failure_starts_a_hot_loop_on_the_status(kubesim, repaired):
    kubesim.run(status_writer(kubesim, repaired), name="operator")
    kubesim.advance("1s")
    kubesim.faults.api(client="operator", verb="create", resource="services").fail(500)
    kubesim.apply(database())
    if repaired:
        kubesim.settle("1m")
        assert kubesim.get("service/db")
    else:
        with pytest.raises(NeverSettled, match="operator: patch configmaps default/db"):
            kubesim.settle("20s")


# -- 6: a conflict is swallowed (kubernetes) ---------------------------------------------------


def resizer(kubesim, repaired):
    """Gives every database the size that it asks for, once."""
    from kubernetes import client
    from kubernetes.client.rest import ApiException

    def main():
        core = client.CoreV1Api(kubesim.client("kubernetes"))
        done = set()
        while True:
            for each in core.list_namespaced_config_map("default", label_selector="kind=database").items:
                wanted = each.data.get("wanted")
                if (each.metadata.name, wanted) in done or each.data.get("size") == wanted:
                    continue
                each.data["size"] = wanted
                try:
                    core.replace_namespaced_config_map(each.metadata.name, "default", each)
                except ApiException as error:
                    if error.status != 409:
                        raise
                    if repaired:
                        continue
                done.add((each.metadata.name, wanted))
            time.sleep(5)

    return main


@pytest.mark.parametrize("repaired", [BUGGY, REPAIRED])
def test_a_conflict_is_swallowed(kubesim, repaired):
    kubesim.faults.api(client="operator", verb="update", resource="configmaps").fail(409)
    kubesim.apply(database(wanted="3"))
    kubesim.run(resizer(kubesim, repaired), name="operator")
    kubesim.advance("1m")
    assert kubesim.get("configmap/db")["data"].get("size") == ("3" if repaired else None)


# -- 7: two leaders (httpx) --------------------------------------------------------------------

LEASE_SECONDS = 15


def elected(kubesim, repaired):
    """Writes its turn into a config map once a second, as long as it leads."""
    import httpx

    leases, turns = "/apis/coordination.k8s.io/v1/namespaces/default/leases", "/api/v1/namespaces/default/configmaps"

    def campaign(http, me, now):
        found = http.get(f"{leases}/operator")
        if found.status_code == 404:
            spec = {"holderIdentity": me, "acquireTime": None, "leaseDurationSeconds": LEASE_SECONDS, "leaseTransitions": int(now)}
            return http.post(leases, json={"metadata": {"name": "operator"}, "spec": spec}).status_code == 201
        lease = found.json()
        spec = lease["spec"]
        if spec["holderIdentity"] != me and now - spec["leaseTransitions"] < LEASE_SECONDS:
            return False
        spec.update(holderIdentity=me, leaseTransitions=int(now))
        return http.put(f"{leases}/operator", json=lease).status_code == 200

    def main():
        http: httpx.Client = kubesim.client("httpx")
        me, renewed, leads = f"replica-{len(names)}", 0.0, False
        names.append(me)
        while True:
            now = time.time() - start
            if now - renewed > 2:
                leads, renewed = campaign(http, me, now), now
            if leads:
                work(http, me, renewed)
            else:
                time.sleep(1)

    def work(http, me, renewed):
        time.sleep(1)
        if repaired and time.time() - start - renewed > LEASE_SECONDS:
            return
        http.post(turns, json={"metadata": {"generateName": "turn-"}, "data": {"who": me, "at": f"{time.time() - start:.3f}"}})

    names: list[str] = []
    start = time.time()
    return main


@pytest.mark.parametrize("repaired", [BUGGY, REPAIRED])
def test_two_replicas_lead_at_once(kubesim, repaired):
    kubesim.run(elected(kubesim, repaired), name="operator", replicas=2)
    kubesim.advance("10s")
    kubesim.faults.operator("operator").pause().for_("40s")
    kubesim.advance("2m")
    turns = sorted(
        (float(o["data"]["at"]), o["data"]["who"])
        for o in kubesim.list("configmaps", namespace="default") if "who" in (o.get("data") or {})
    )
    holders = [who for _, who in turns]
    changes = sum(a != b for a, b in zip(holders, holders[1:], strict=False))
    assert holders[0] != holders[-1]
    assert (changes == 1) is repaired


# -- 8: a list's error is taken for absence (httpx, asyncio) -----------------------------------


def list_trusting_collector(kubesim, repaired):
    """Deletes volumes without a database."""
    base = "/api/v1/namespaces/default"

    def main():
        http = kubesim.client("httpx")
        while True:
            answer = http.get(f"{base}/configmaps?labelSelector=kind%3Ddatabase")
            if not repaired or answer.status_code == 200:
                there = {o["metadata"]["name"] for o in answer.json().get("items", [])}
                for claim in http.get(f"{base}/persistentvolumeclaims").json()["items"]:
                    if claim["metadata"]["name"] not in there:
                        http.delete(f"{base}/persistentvolumeclaims/{claim['metadata']['name']}")
            time.sleep(10)

    return main


@pytest.mark.parametrize("repaired", [BUGGY, REPAIRED])
def test_a_list_s_error_is_taken_for_absence(kubesim, repaired):
    kubesim.apply(database(), volume())
    kubesim.faults.api(client="operator", verb="list", resource="configmaps").fail(503, after=1)
    kubesim.run(list_trusting_collector(kubesim, repaired), name="operator")
    kubesim.advance("1m")
    assert volumes(kubesim) == (["db"] if repaired else [])
