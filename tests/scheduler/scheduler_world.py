"""A small API server for the scheduler's tests: objects in dicts, watches, bindings, status patches.

`World` runs a scheduler against it on a kernel of its own and asks what became of the pods.
"""

from collections import deque

from pytest_kubesim.apimachinery import meta, status
from pytest_kubesim.apimachinery.meta import GroupResource
from pytest_kubesim.client_go.events import EventRecorder
from pytest_kubesim.client_go.informer import SharedInformerFactory
from pytest_kubesim.client_go.rest import RESTClient
from pytest_kubesim.scheduler.profile import Profile
from pytest_kubesim.scheduler.scheduler import Scheduler, SchedulerConfiguration
from pytest_kubesim.sim.kernel import Kernel
from pytest_kubesim.sim.network import Network
from pytest_kubesim.sim.process import Process
from pytest_kubesim.sim.tasks import Future
from pytest_kubesim.wire import Response, UserInfo, WatchEvent


class Stream:
    status = 200
    content_type = "application/json"
    headers = ()

    def __init__(self, kernel, api, resource):
        self.kernel, self.api, self.resource = kernel, api, resource
        self.events = deque()
        self.waiter = None
        self.closed = False

    def push(self, event):
        self.events.append(event)
        waiter, self.waiter = self.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def next(self):
        while not self.events:
            if self.closed:
                return None
            self.waiter = Future(self.kernel)
            await self.waiter
        return self.events.popleft()

    def next_nowait(self):
        return self.events.popleft() if self.events else None

    def close(self):
        self.closed = True
        self.api.streams.get(self.resource, set()).pop(self, None)


class FakeAPI:
    def __init__(self, kernel):
        self.kernel = kernel
        self.objects = {}
        self.streams = {}
        self.revision = 100
        self.fail_bindings = 0
        self.bindings = []

    # -- what tests do

    def put(self, resource, obj):
        obj = dict(obj)
        self.revision += 1
        key = meta.key_of(obj)
        found = self.objects.setdefault(resource, {})
        old = found.get(key)
        uid = obj["metadata"].get("uid") or (old and old["metadata"]["uid"]) or f"uid-{resource}-{key}"
        obj["metadata"] = {
            **obj["metadata"], "uid": uid, "resourceVersion": str(self.revision),
        }
        found[key] = obj
        self._notify(resource, "MODIFIED" if old else "ADDED", obj)
        return obj

    def remove(self, resource, key):
        obj = self.objects[resource].pop(key)
        self.revision += 1
        gone = meta.with_metadata(obj, resourceVersion=str(self.revision))
        self._notify(resource, "DELETED", gone)

    def _notify(self, resource, type_, obj):
        event = WatchEvent(type_, obj, self.revision)
        for stream in list(self.streams.get(resource, {})):
            stream.push(event)

    def get(self, resource, key):
        return self.objects.get(resource, {}).get(key)

    # -- the wire

    async def handle(self, request):
        try:
            return self._answer(request)
        except status.APIStatus as failure:
            return Response(failure.code, failure.to_object() if hasattr(failure, "to_object") else _status(failure))

    def _answer(self, request):
        parts = request.path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        resource, name, sub = (parts + ["", ""])[:3]
        key = f"{namespace}/{name}" if namespace else name
        if request.method == "GET" and not name:
            if request.param("watch"):
                stream = Stream(self.kernel, self, resource)
                self.streams.setdefault(resource, {})[stream] = None
                return stream
            items = list(self.objects.get(resource, {}).values())
            return Response(200, {"metadata": {"resourceVersion": str(self.revision)}, "items": items})
        if request.method == "POST" and sub == "binding":
            return self._bind(key, request.obj)
        if request.method == "POST":
            obj = meta.with_metadata(request.obj, namespace=namespace) if namespace else request.obj
            return Response(201, self.put(resource, obj))
        obj = self.get(resource, key)
        if obj is None:
            raise status.new_not_found(GroupResource("", resource), name)
        if request.method == "PATCH":
            return Response(200, self.put(resource, _patched(obj, request.obj)))
        if request.method == "PUT":
            return Response(200, self.put(resource, request.obj))
        if request.method == "DELETE":
            if obj["metadata"].get("finalizers") or obj["spec"].get("nodeName"):
                self.put(resource, meta.with_metadata(obj, deletionTimestamp="2026-01-01T00:00:00Z"))
            else:
                self.remove(resource, key)
            return Response(200, obj)
        raise AssertionError(request)

    def _bind(self, key, binding):
        pod = self.get("pods", key)
        if self.fail_bindings:
            self.fail_bindings -= 1
            raise status.new_internal_error("etcd is not there")
        if pod is None:
            raise status.new_not_found(GroupResource("", "pods"), key)
        node = binding["target"]["name"]
        self.bindings.append((key, node))
        bound = {**pod, "spec": {**pod["spec"], "nodeName": node}}
        st = dict(bound.get("status") or {})
        st.pop("nominatedNodeName", None)
        st["conditions"] = [{"type": "PodScheduled", "status": "True"}]
        self.put("pods", {**bound, "status": st})
        return Response(201, {"kind": "Status", "status": "Success"})


def _status(failure):
    return {
        "kind": "Status", "status": "Failure", "code": failure.code,
        "reason": failure.reason, "message": failure.message,
    }


def _patched(obj, patch):
    if "status" not in patch:
        return {**obj, **patch}
    st = dict(obj.get("status") or {})
    for key, value in patch["status"].items():
        if key.startswith("$"):
            continue
        if value is None:
            st.pop(key, None)
        elif key == "conditions":
            found = {c["type"]: c for c in st.get("conditions") or []}
            for condition in value:
                found[condition["type"]] = {**found.get(condition["type"], {}), **condition}
            st["conditions"] = list(found.values())
        else:
            st[key] = value
    return {**obj, "status": st}


class World:
    """A scheduler, its API server and the clock."""

    def __init__(self, *, profiles=(Profile(),), latency_ns=(0, 0), seed=0):
        self.kernel = Kernel(seed=seed)
        self.api = FakeAPI(self.kernel)
        self.process = Process(self.kernel, "kube-scheduler", self._main, host="control-plane")
        self.profiles = profiles
        self.config = SchedulerConfiguration(latency_ns=latency_ns)

    async def _main(self, process):
        client = RESTClient(
            process, self.api, Network(self.kernel),
            user=UserInfo("system:kube-scheduler"), user_agent="kube-scheduler",
        )
        self.scheduler = Scheduler(
            process, client, SharedInformerFactory(client),
            EventRecorder(client, "default-scheduler"),
            profiles=self.profiles, config=self.config,
        )
        await self.scheduler.main()

    def start(self):
        self.process.start()
        self.run(0)
        return self

    def run(self, seconds=0.0):
        self.kernel.run(until_ns=self.kernel.now_ns + int(seconds * 1e9))
        return self

    def node(self, name, *, cpu="4", memory="16Gi", pods="110", labels=None, taints=None, unschedulable=False, extra=None, images=None):
        spec = {}
        if taints:
            spec["taints"] = taints
        if unschedulable:
            spec["unschedulable"] = True
        allocatable = {"cpu": cpu, "memory": memory, "pods": pods, **(extra or {})}
        st = {"allocatable": allocatable, "capacity": allocatable}
        if images:
            st["images"] = [{"names": [n], "sizeBytes": s} for n, s in images.items()]
        return self.api.put("nodes", {
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
            "spec": spec, "status": st,
        })

    def nodes(self, count, **options):
        for i in range(count):
            self.node(f"node-{i}", **options)
        return self

    def pod(self, name, *, cpu=None, memory=None, requests=None, labels=None, namespace="default", priority=None, owner=None, status=None, finalizers=None, generation=1, **spec):
        wanted = dict(requests or {})
        if cpu:
            wanted["cpu"] = cpu
        if memory:
            wanted["memory"] = memory
        container = {"name": "c", "image": "x"}
        if wanted:
            container["resources"] = {"requests": wanted}
        metadata = {"name": name, "namespace": namespace, "labels": labels or {}, "generation": generation}
        if owner:
            metadata["ownerReferences"] = [{**owner, "controller": True}]
        if finalizers:
            metadata["finalizers"] = finalizers
        body = {"containers": [container], "schedulerName": "default-scheduler", **spec}
        if priority is not None:
            body["priority"] = priority
        return self.api.put("pods", {
            "metadata": metadata, "spec": body, "status": status or {"phase": "Pending"},
        })

    def where(self, name, namespace="default"):
        return self.api.get("pods", f"{namespace}/{name}")["spec"].get("nodeName")

    def condition(self, name, type_="PodScheduled", namespace="default"):
        return meta.condition(self.api.get("pods", f"{namespace}/{name}"), type_)

    def why(self, name, namespace="default"):
        condition = self.condition(name, namespace=namespace)
        return condition["message"] if condition and condition["status"] == "False" else None

    def events(self, reason=None):
        return [
            (e["regarding"]["name"], e["reason"], e["note"])
            for e in self.api.objects.get("events", {}).values()
            if reason in (None, e["reason"])
        ]
