"""curl against a server of its own pod."""

import pytest
from shell_world import Box

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.47"
URL = "http://localhost:8080"


@pytest.fixture(scope="module")
def pod():
    box = Box()
    box.server = box.start(image=AGNHOST, args=("netexec",))
    box.run(5)
    return box


@pytest.mark.parametrize(("script", "output"), [
    (f"curl -s -o /dev/null -w '%{{http_code}} %{{size_download}} %{{url_effective}}\\n' {URL}/hostname", f"200 5 {URL}/hostname\n"),
    ("curl -s -o /dev/null -w '%{http_code}' http://localhost:9; echo \" $?\"", "000 7\n"),
    ("curl -sS http://localhost:9", "curl: (7) Failed to connect to localhost port 9 after 0 ms: Could not connect to server\n"),
    ("curl -sS http://nowhere.example 2>&1; echo $?", "curl: (6) Could not resolve host: nowhere.example\n6\n"),
    (f"curl -fsS '{URL}/echo?msg=no&code=404' 2>&1; echo $?", "curl: (22) The requested URL returned error: 404\n22\n"),
    (f"curl -s --fail-with-body '{URL}/echo?msg=no&code=404'; echo ' '$?", "no 22\n"),
    (f"curl -si {URL}/redirect?location=/x | head -3", "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Type: text/html; charset=utf-8\r\n"),
    (f"curl -s {URL}/redirect?location=/x", '<a href="/x">Found</a>.\n\n'),
    (f"curl -sL -w ' %{{num_redirects}}' {URL}/redirect?location=/hostname", "pod-1 1"),
    (f"curl -sD - -o /tmp/body {URL}/hostname | grep -c HTTP/1.1; cat /tmp/body", "1\npod-1"),
    (f"curl -sv {URL}/hostname 2>&1 | grep -E '^[<>*] (GET|HTTP|Connected)'", "* Connected to localhost (127.0.0.1) port 8080\n> GET /hostname HTTP/1.1\n< HTTP/1.1 200 OK\n"),
    ("curl --retry 2 --retry-delay 3 --retry-connrefused -sS localhost:9 2>&1 | wc -l; date +%S", None),
    (f"echo 'msg=hello' > /tmp/d; curl -s -d @/tmp/d -G {URL}/echo", "hello"),
    ("curl -s --resolve there.example:8080:127.0.0.1 http://there.example:8080/hostname", "pod-1"),
    (f"cd /tmp; curl -sO {URL}/hostname; cat hostname", "pod-1"),
    (
        f"curl -sS -m 2 '{URL}/shell?cmd=sleep%2010' 2>&1; echo $?",
        "curl: (28) Operation timed out after 2000 milliseconds with 0 bytes received\n28\n",
    ),
    ("curl", "curl: (2) no URL specified\n"),
])
def test_curl(pod, script, output):
    result = pod.do(pod.runtime.exec_sync(pod.server, ("sh", "-c", script)))
    if output is None:
        assert result.stdout.splitlines()[0] == "3"
        return
    assert result.stdout + result.stderr == output


def test_who_answers_is_looked_at(kubesim):
    kubesim.add_nodes(1)
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    script = f"""
        exec > /dev/termination-log 2>&1
        curl -sS https://kubernetes.default/version; echo " $?"
        curl -sSk https://kubernetes.default/livez; echo " $?"
        curl -sS --cacert {folder}/ca.crt -H "Authorization: Bearer $(cat {folder}/token)" https://kubernetes.default/livez; echo " $?"
    """
    kubesim.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"restartPolicy": "Never", "containers": [
        {"name": "c", "image": AGNHOST, "command": ["sh", "-c", script]},
    ]}})
    pod = kubesim.eventually("pod/p", {"status": {"phase": "Succeeded"}}, within="1m")
    first, *rest = pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"].splitlines()
    assert first == "curl: (60) SSL certificate problem: unable to get local issuer certificate"
    assert rest[-3:] == [" 60", "ok 0", "ok 0"]
