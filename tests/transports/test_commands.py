"""Command lines as operators: real processes, real sockets, real time."""

from __future__ import annotations

import contextlib
import os
import sys

import pytest

from pytest_kubesim.errors import OperatorFailed, UsageError
from pytest_kubesim.transports import outside

pytest.importorskip("cryptography")

CALLS = """
import json, os, ssl, sys, time, urllib.error, urllib.request
folder = os.environ["KUBESIM_SERVICE_ACCOUNT"]
base = "https://" + os.environ["KUBERNETES_SERVICE_HOST"] + ":" + os.environ["KUBERNETES_SERVICE_PORT"]
token = open(folder + "/token").read()
context = ssl.create_default_context(cafile=folder + "/ca.crt")

def call(method, path, body=None, timeout=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data=data, method=method)
    request.add_header("Authorization", "Bearer " + token)
    request.add_header("Content-Type", "application/json")
    return urllib.request.urlopen(request, context=context, timeout=timeout)

MAPS = "/api/v1/namespaces/default/configmaps"

def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
"""


@pytest.fixture
def script(tmp_path):
    def write(body, name="controller.py"):
        path = tmp_path / name
        path.write_text(CALLS + body)
        return [sys.executable, str(path)]

    return write


def test_a_command_reaches_the_cluster_and_its_words_are_its_log(kubesim, script):
    operator = kubesim.run(script("""
call("POST", MAPS, config_map("made"))
print("made it")
print("not quite a line", end="", file=sys.stderr)
"""), name="maker")
    kubesim.eventually("configmap/made", within="1m")
    kubesim.eventually(lambda: operator.process.state == "exited", within="1m")
    assert [(line.text, line.level) for line in operator.log] == [
        ("made it", "STDOUT"), ("not quite a line", "STDERR"),
    ]
    assert [e.fields["code"] for e in kubesim.journal.entries("request", "maker")] == [201]


WATCHER = """
import threading
def follow():
    with call("GET", MAPS + "?watch=true") as stream:
        for line in stream:
            event = json.loads(line)
            name = event["object"]["metadata"]["name"]
            if event["type"] == "ADDED" and name.startswith("ask"):
                try:
                    call("POST", MAPS, config_map("answer-" + name))
                except urllib.error.HTTPError as error:
                    print(error.code, json.load(error)["message"])
                else:
                    print("answered", name)
print("up", flush=True)
while True:
    try:
        follow()
    except OSError as error:
        print("lost", type(error).__name__)
        time.sleep(0.05)
"""


def ask(kubesim, name):
    kubesim.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}})


def process_ids(kubesim):
    return [command.pid for command in kubesim.kernel.outside.commands]


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_hour_passes_in_seconds_and_a_reaction_is_waited_for(kubesim, script):
    operator = kubesim.run(script(WATCHER), name="watcher")
    kubesim.eventually(lambda: "up" in operator.log, within="1m")
    before_s = outside.wall()
    for number in range(10):
        ask(kubesim, f"ask-{number}")
        kubesim.eventually(f"configmap/answer-ask-{number}", within="30s")
    kubesim.advance("1h")
    assert outside.wall() - before_s < 300
    assert kubesim.clock.time >= 3600


def test_a_service_account_has_its_rights_and_no_more(kubesim, script):
    kubesim.apply("""
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: op, namespace: default}]
""")
    operator = kubesim.run(script(WATCHER), name="reader", service_account="default/op")
    kubesim.eventually(lambda: "up" in operator.log, within="1m")
    ask(kubesim, "ask-1")
    kubesim.eventually(lambda: operator.denied, within="5m")
    assert 'User "system:serviceaccount:default:op" cannot create resource "configmaps"' in operator.denied[0].message
    kubesim.eventually(lambda: "403" in operator.log, within="5m")


def test_a_fault_strikes_the_command_and_nobody_else(kubesim, script):
    operator = kubesim.run(script(WATCHER), name="watcher")
    fault = kubesim.faults.api(client="watcher", verb="create").fail(503)
    ask(kubesim, "ask-1")
    kubesim.eventually(lambda: "503" in operator.log, within="5m")
    assert fault.struck == 1
    ask(kubesim, "ask-2")
    kubesim.eventually("configmap/answer-ask-2", within="5m")


def test_an_exit_status_fails_the_test_with_the_last_lines(kubesim, script):
    operator = kubesim.run(script("print('about to leave'); sys.exit(3)"), name="leaver")
    with pytest.raises(OperatorFailed) as failed:
        kubesim.advance("1m")
    assert "'leaver' ended with exit status 3. Its last lines:\n  about to leave" in str(failed.value)
    assert (operator.process.state, operator.running) == ("exited", False)


def test_a_signal_of_somebody_else_is_named(kubesim, script):
    kubesim.run(script("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"), name="leaver")
    with pytest.raises(OperatorFailed, match="signal SIGSEGV"):
        kubesim.advance("1m")


COUNTER = """
for number in range(1, 100):
    call("POST", MAPS, config_map(f"made-{number}"))
"""


@pytest.mark.parametrize(("before", "made"), [(False, 3), (True, 2)])
def test_a_crash_at_the_nth_write(kubesim, script, before, made):
    operator = kubesim.run(script(COUNTER), name="counter")
    operator.crash(at_write=3, before=before)
    kubesim.eventually(lambda: operator.process.state == "crashed", within="5m")
    kubesim.advance("1m")
    assert len([c for c in kubesim.list("configmaps") if c["metadata"]["name"].startswith("made")]) == made


def test_it_stops_by_sigterm_and_is_served_while_it_ends(kubesim, script):
    operator = kubesim.run(script("""
import signal
def leave(*_):
    call("POST", MAPS, config_map("farewell"))
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("up")
time.sleep(600)
"""), name="polite")
    kubesim.eventually(lambda: "up" in operator.log, within="10m")
    (pid,) = process_ids(kubesim)
    operator.stop()
    assert kubesim.get("configmap/farewell")
    assert operator.process.state == "stopped"
    assert not is_there(pid)


def test_a_restart_is_another_process_with_the_same_port(kubesim, script):
    operator = kubesim.run(script("print(os.getpid(), base); time.sleep(600)"), name="again")
    kubesim.eventually(lambda: len(operator.log) == 1, within="10m")
    operator.restart()
    kubesim.eventually(lambda: len(operator.log) == 2, within="10m")
    (first, port), (second, same) = (line.text.split() for line in operator.log)
    assert (first != second, port == same, operator.restarts) == (True, True, 1)
    assert not is_there(int(first))
    operator.crash(restart_after="1m")
    assert not is_there(int(second))
    kubesim.eventually(lambda: len(operator.log) == 3, within="10m")


def test_a_paused_one_does_nothing_and_time_jumps(kubesim, script):
    operator = kubesim.run(script(WATCHER), name="watcher")
    ask(kubesim, "ask-1")
    kubesim.eventually("configmap/answer-ask-1", within="5m")
    operator.pause()
    ask(kubesim, "ask-2")
    before_s = outside.wall()
    kubesim.advance("10h")
    assert outside.wall() - before_s < 60
    assert "answer-ask-2" not in [c["metadata"]["name"] for c in kubesim.list("configmaps")]
    operator.resume()
    kubesim.eventually("configmap/answer-ask-2", within="5m")


LEADER = """
import uuid
me, lease, seen = os.environ["HOSTNAME"], "/apis/coordination.k8s.io/v1/namespaces/default/leases", None
def now():
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
while True:
    try:
        with call("GET", lease + "/it") as answer:
            found = json.load(answer)
    except urllib.error.HTTPError:
        found = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "it"}, "spec": {}}
    spec = found["spec"]
    mark = (spec.get("holderIdentity"), found["metadata"].get("resourceVersion"))
    if seen is None or seen[0] != mark:
        seen = (mark, time.monotonic())
    if spec.get("holderIdentity") in (None, me) or time.monotonic() - seen[1] > 1.0:
        found["spec"] = {"holderIdentity": me, "leaseDurationSeconds": 1, "renewTime": now()}
        try:
            if "resourceVersion" in found["metadata"]:
                call("PUT", lease + "/it", found)
            else:
                call("POST", lease, found)
        except urllib.error.HTTPError as error:
            print(error.code)
    time.sleep(0.2)
"""


def test_the_second_replica_takes_over_when_the_first_is_frozen(kubesim, script):
    first = kubesim.run(script(LEADER), name="op", replicas=2, clock_scale=10)
    second = kubesim.operators[-1]
    lease = kubesim.eventually("lease/it", within="5m")
    holder = lease["spec"]["holderIdentity"]
    leader, other = (first, second) if holder == "op" else (second, first)
    leader.pause()
    kubesim.eventually("lease/it", {"spec": {"holderIdentity": other.name}}, within="5m")
    leader.resume()
    kubesim.advance("5s")
    assert kubesim.get("lease/it")["spec"]["holderIdentity"] == other.name


def test_connections_are_refused_while_the_api_server_is_down(kubesim, script):
    operator = kubesim.run(script(WATCHER), name="watcher")
    ask(kubesim, "ask-1")
    kubesim.eventually("configmap/answer-ask-1", within="5m")
    server = kubesim.server
    server.process.crash()
    kubesim.eventually(lambda: "lost URLError" in operator.log, within="5m")
    server.start()
    kubesim.eventually(lambda: sum("answered" in line.text for line in operator.log) >= 1, within="5m")
    ask(kubesim, "ask-2")
    kubesim.eventually("configmap/answer-ask-2", within="5m")


def test_at_the_end_nothing_is_left(kubesim_factory, script):
    kubesim = kubesim_factory()
    body = "import signal, subprocess; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    body += "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    body += "print(child.pid, base); time.sleep(600)"
    operator = kubesim.run(script(body), name="stubborn")
    kubesim.eventually(lambda: operator.log, within="10m")
    (pid,) = process_ids(kubesim)
    folder = kubesim.kernel.outside.folder
    child, base = operator.log[0].text.split()
    kubesim.kernel.outside.close()
    assert not is_there(pid)
    with contextlib.suppress(FileNotFoundError):  # its child is init's to bury
        with open(f"/proc/{child}/stat") as stat:
            assert stat.read().rpartition(")")[2].split()[0] in "ZX"
    assert not folder.exists()
    import socket

    with socket.create_server(("127.0.0.1", int(base.rpartition(":")[2]))):
        pass


def test_a_test_that_fails_leaves_nothing_either(pytester):
    pytester.makepyfile("""
        import sys
        def test_it(kubesim):
            operator = kubesim.run([sys.executable, "-c", "import os, time; print(os.getpid()); time.sleep(600)"])
            kubesim.eventually(lambda: operator.log, within="10m")
            open("pid", "w").write(operator.log[0].text)
            raise KeyboardInterrupt
    """)
    pytester.runpytest_subprocess("-p", "no:cacheprovider")
    assert not is_there(int((pytester.path / "pid").read_text()))


@pytest.mark.parametrize(
    ("target", "options", "told"),
    [
        ([], {}, "a list of strings"),
        (["./no-such-program"], {}, "there is no program './no-such-program'"),
        ([sys.executable], {"clock_scale": 0}, "clock_scale=0"),
        ([sys.executable], {"colour": 1}, "unknown option 'colour'"),
        (print, {"env": {}}, "env= goes with a command line"),
    ],
)
def test_what_cannot_be_run_is_refused(kubesim, target, options, told):
    with pytest.raises(UsageError) as refused:
        kubesim.run(target, **options)
    assert told in str(refused.value)


OFFICIAL = """
import sys
from kubernetes import client, config, watch
config.load_kube_config()
api = client.CoreV1Api()
for event in watch.Watch().stream(api.list_namespaced_config_map, "default"):
    found = event["object"]
    if event["type"] == "ADDED" and found.metadata.name.startswith("ask"):
        found.metadata.labels = {"seen": "yes"}
        api.replace_namespaced_config_map(found.metadata.name, "default", found)
        print("labelled", found.metadata.name, flush=True)
"""


def test_the_official_client_in_a_command(kubesim, tmp_path):
    pytest.importorskip("kubernetes")
    path = tmp_path / "official.py"
    path.write_text(OFFICIAL)
    operator = kubesim.run([sys.executable, str(path)], name="official")
    ask(kubesim, "ask-1")
    kubesim.eventually("configmap/ask-1", {"metadata": {"labels": {"seen": "yes"}}}, within="5m")
    operator.restart()
    ask(kubesim, "ask-2")
    kubesim.eventually("configmap/ask-2", {"metadata": {"labels": {"seen": "yes"}}}, within="5m")
    assert operator.restarts == 1


@pytest.mark.kubesim(components="all", nodes=3)
def test_a_whole_cluster_goes_on_beside_it(kubesim, script):
    kubesim.run(script("""
template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template}
call("POST", "/apis/apps/v1/namespaces/default/deployments",
     {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
with call("GET", "/api/v1/nodes?watch=true") as stream:
    for line in stream:
        pass
"""), name="creator")
    kubesim.eventually("pods", {"status": {"phase": "Running"}}, count=3, within="5m")
    before_s = outside.wall()
    kubesim.advance("1h")
    assert outside.wall() - before_s < 300


WEBHOOK = """
import http.server, socketserver
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        allowed = review["request"]["name"] != "bad"
        answer = {"uid": review["request"]["uid"], "allowed": allowed, "status": {"message": "not this one"}}
        body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
secured = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
secured.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = secured.wrap_socket(server.socket, server_side=True)
print(server.server_port)
server.serve_forever()
"""


def test_a_webhook_that_a_command_serves_is_asked(kubesim, script, tmp_path):
    import base64
    from datetime import UTC

    from freezegun import api

    from pytest_kubesim.sim.freezes import real_classes
    from pytest_kubesim.transports import certificates

    with real_classes():
        authority = certificates.Authority(now=api.real_datetime.fromtimestamp(api.real_time(), UTC))
        pair = certificates.write(tmp_path, "webhook", authority.server())
    operator = kubesim.run([*script(WEBHOOK), *pair], name="webhook")
    kubesim.eventually(lambda: operator.log, within="10m")
    kubesim.apply({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "hook"},
        "webhooks": [{
            "name": "hook.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {
                "url": f"https://127.0.0.1:{operator.log[0].text}/check",
                "caBundle": base64.b64encode(authority.pem).decode(),
            },
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["*"]}],
        }],
    })
    kubesim.advance("1s")
    ask(kubesim, "good")
    with pytest.raises(Exception, match='admission webhook "hook.example.com" denied the request: not this one'):
        ask(kubesim, "bad")
    operator.stop()
    with pytest.raises(Exception, match="connection refused"):
        ask(kubesim, "other")


def test_one_that_never_rests_does_not_stop_time(kubesim, script):
    operator = kubesim.run(script("call('GET', MAPS).read(); print('up')\nwhile True: pass"), name="spinner")
    kubesim.eventually(lambda: operator.log, within="10m")
    kubesim.advance("1h")
    assert operator.running
