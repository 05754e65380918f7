"""What containers find in their volumes, through the fixture."""

import pytest


class Reader:
    """A pod whose container shows files when it is asked."""

    def __init__(self, kubesim):
        self.kubesim = kubesim
        kubesim.add_nodes(1)

    def start(self, volumes, mounts, name="p", **spec):
        self.kubesim.apply({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"a": "1"}},
            "spec": {
                "containers": [{"name": "c", "image": "busybox", "command": ["sleep", "100000"], "volumeMounts": mounts}],
                "volumes": volumes, "terminationGracePeriodSeconds": 1, **spec,
            },
        })
        self.kubesim.eventually(f"pod/{name}", {"status": {"phase": "Running"}}, within="3m")

    def sh(self, script, name="p"):
        uid = self.kubesim.get(f"pod/{name}")["metadata"]["uid"]
        runtime = self.kubesim.nodes["node-1"].machine.runtime
        run = runtime.pod_state(uid).containers[0]
        result = self.kubesim.kernel.run_coroutine(runtime.exec_sync(run, ("sh", "-c", script)))
        return result.stdout + result.stderr


@pytest.fixture
def reader(kubesim):
    return Reader(kubesim)


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_a_config_map_is_files_that_follow_it(reader):
    reader.kubesim.apply(config_map("cm", a="1", b="2"))
    reader.start([{"name": "v", "configMap": {"name": "cm"}}], [{"name": "v", "mountPath": "/v"}])
    assert reader.sh("ls /v; cat /v/a; readlink /v/a; stat -c %a /v /v/..data/a") == "a\nb\n1..data/a\n777\n644\n"
    reader.kubesim.apply(config_map("cm", a="3"))
    reader.kubesim.advance("2m")
    assert reader.sh("ls /v; cat /v/a") == "a\n3"


def test_items_have_paths_and_modes(reader):
    reader.kubesim.apply(config_map("cm", a="1", b="2"))
    reader.start(
        [{"name": "v", "configMap": {"name": "cm", "defaultMode": 0o400, "items": [{"key": "a", "path": "x/y"}, {"key": "b", "path": "z", "mode": 0o640}]}}],
        [{"name": "v", "mountPath": "/v"}],
    )
    assert reader.sh("cat /v/x/y /v/z; stat -Lc %a /v/x/y /v/z") == "12400\n640\n"


def test_files_belong_to_the_pod_s_group(reader):
    reader.kubesim.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "v"}})
    reader.start(
        [{"name": "s", "secret": {"secretName": "s", "defaultMode": 0o400}}, {"name": "e", "emptyDir": {"medium": "Memory"}}],
        [{"name": "s", "mountPath": "/s"}, {"name": "e", "mountPath": "/e"}],
        securityContext={"runAsUser": 1000, "fsGroup": 2000},
    )
    assert reader.sh("cat /s/k; stat -Lc '%a %u %g' /s/k; touch /e/f; stat -c '%u %g' /e/f; df -T /e | tail -1 | cut -d' ' -f1") == "v440 0 2000\n1000 2000\ntmpfs\n"


def test_a_service_account_s_token_and_the_downward_api(reader):
    reader.start(
        [{"name": "d", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}],
        [{"name": "d", "mountPath": "/d"}],
    )
    assert reader.sh("cat /d/labels; cut -c1-2 /var/run/secrets/kubernetes.io/serviceaccount/token; cat /var/run/secrets/kubernetes.io/serviceaccount/namespace") == 'a="1"ey\ndefault'
    reader.kubesim.patch("pod/p", {"metadata": {"labels": {"b": "2"}}})
    reader.kubesim.advance("3s")
    assert reader.sh("cat /d/labels") == 'a="1"\nb="2"'


def test_sub_paths_show_a_part(reader):
    reader.kubesim.apply(config_map("cm", a="1"))
    reader.start(
        [{"name": "v", "configMap": {"name": "cm"}}, {"name": "e", "emptyDir": {}}],
        [{"name": "v", "mountPath": "/etc/app.conf", "subPath": "a"}, {"name": "e", "mountPath": "/data", "subPath": "x/y"}, {"name": "e", "mountPath": "/all"}],
    )
    assert reader.sh("cat /etc/app.conf; echo 2 > /data/f; cat /all/x/y/f") == "12\n"


def test_what_is_on_a_disk_outlives_its_pods(reader):
    reader.kubesim.apply({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    })
    volume, mount = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "v", "mountPath": "/v"}
    reader.start([volume], [mount])
    reader.sh("echo kept > /v/f")
    reader.kubesim.delete("pod/p")
    reader.kubesim.advance("30s")
    reader.start([volume], [mount], name="q")
    assert reader.sh("cat /v/f", name="q") == "kept\n"


def test_hosts_and_resolv_conf_are_the_kubelet_s(reader):
    reader.start(
        [], [], hostname="h", subdomain="s", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["x", "y"]}],
        dnsConfig={"nameservers": ["1.1.1.1"], "searches": ["my.domain"], "options": [{"name": "ndots", "value": "2"}]},
    )
    ip = reader.kubesim.get("pod/p")["status"]["podIP"]
    assert reader.sh("tail -4 /etc/hosts; cat /etc/resolv.conf; hostname -f") == (
        f"{ip}\th.s.default.svc.cluster.local\th\n\n# Entries added by HostAliases.\n1.2.3.4\tx\ty\n"
        "search default.svc.cluster.local svc.cluster.local cluster.local my.domain\n"
        "nameserver 10.96.0.10\nnameserver 1.1.1.1\noptions ndots:2\nh.s.default.svc.cluster.local\n"
    )


def test_a_failing_liveness_command_restarts_its_container(kubesim):
    kubesim.add_nodes(1)
    kubesim.apply({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"terminationGracePeriodSeconds": 5, "containers": [{
            "name": "c", "image": "busybox", "command": ["sh", "-c", "echo ok > /tmp/health; sleep 10; rm /tmp/health; sleep 600"],
            "livenessProbe": {"exec": {"command": ["cat", "/tmp/health"]}, "initialDelaySeconds": 5, "periodSeconds": 5, "failureThreshold": 1},
        }]},
    })
    kubesim.eventually("pod/p", lambda p: p["status"].get("containerStatuses", [{}])[0].get("restartCount") == 1, within="2m")
    events = [e["message"] for e in kubesim.list("events") if e["reason"] == "Unhealthy"]
    assert events == ["Liveness probe failed: cat: can't open '/tmp/health': No such file or directory\n"]


def test_what_sleeps_has_the_files_and_variables_of_its_start(reader):
    kubesim = reader.kubesim
    kubesim.apply(config_map("cm", **{"index.html": "one", "x": "1"}))
    kubesim.apply({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {
            "containers": [{
                "name": "c", "image": "nginx:1.25",
                "env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "x"}}},
                        {"name": "Y", "value": "$(KUBERNETES_SERVICE_PORT)-$(X)"}],
                "volumeMounts": [{"name": "v", "mountPath": "/usr/share/nginx/html"}],
            }],
            "volumes": [{"name": "v", "configMap": {"name": "cm"}}],
        },
    })
    kubesim.eventually("pod/web", {"status": {"phase": "Running"}}, within="1m")
    kubesim.advance("5s")
    kubesim.apply(config_map("cm", **{"index.html": "two", "x": "2"}))
    kubesim.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "late"}, "spec": {"ports": [{"port": 80}]}})
    assert reader.sh("curl -s localhost; echo; echo $X $Y $LATE_SERVICE_HOST", "web") == "one\n1 443-1\n"
    kubesim.advance("95s")
    assert reader.sh("curl -s localhost; echo $X", "web") == "two1\n"


def test_what_is_immutable_is_not_looked_at_again(reader):
    reader.kubesim.apply({**config_map("cm", a="1"), "immutable": True})
    reader.start([{"name": "v", "configMap": {"name": "cm"}}], [{"name": "v", "mountPath": "/v"}])
    reader.kubesim.delete("configmap/cm")
    reader.kubesim.apply(config_map("cm", a="2"))
    reader.kubesim.advance("5m")
    assert reader.sh("cat /v/a") == "1"
    reader.start([{"name": "v", "configMap": {"name": "cm"}}], [{"name": "v", "mountPath": "/v"}], name="later")
    assert reader.sh("cat /v/a", "later") == "2"


def test_a_source_that_goes_is_told_and_its_files_stay(reader):
    reader.kubesim.apply(config_map("cm", a="1"))
    reader.start([{"name": "v", "configMap": {"name": "cm"}}], [{"name": "v", "mountPath": "/v"}])
    reader.kubesim.delete("configmap/cm")
    reader.kubesim.advance("2m")
    assert reader.sh("cat /v/a") == "1"
    (event,) = [e for e in reader.kubesim.list("events") if e["reason"] == "FailedMount"]
    assert event["message"] == 'MountVolume.SetUp failed for volume "v" : configmap "cm" not found'


@pytest.mark.parametrize(("text", "ref", "outcome"), [
    ("A='1'\nB='two\nlines' # why\n", {"key": "B"}, "two lines"),
    ("A='1'\n", {"key": "C", "optional": True}, ""),
    ("A='1'\n", {"key": "C"}, 'environment variable key "C" not found in file "/var/lib/kubelet/pods/'),
    ('A="1"\n', {"key": "A"}, "couldn't parse env file"),
])
def test_variables_come_from_files(reader, text, ref, outcome):
    mount = {"name": "e", "mountPath": "/e"}
    init = {"name": "i", "image": "busybox", "command": ["sh", "-c", f"printf '%s' \"{text}\" > /e/env"], "volumeMounts": [mount]}
    if '"' in text:
        init["command"] = ["sh", "-c", f"printf '%s' '{text}' > /e/env"]
    variable = {"name": "X", "valueFrom": {"fileKeyRef": {"volumeName": "e", "path": "env", **ref}}}
    reader.kubesim.apply({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {
            "initContainers": [init], "volumes": [{"name": "e", "emptyDir": {}}],
            "containers": [{"name": "c", "image": "busybox", "command": ["sleep", "100000"], "env": [variable]}],
        },
    })
    reader.kubesim.advance("20s")
    state = reader.kubesim.get("pod/p")["status"]["containerStatuses"][0]["state"]
    if "running" in state:
        assert reader.sh("echo $X") == f"{outcome}\n"
    else:
        assert state["waiting"]["reason"] == "CreateContainerConfigError"
        assert state["waiting"]["message"].startswith(outcome)


def test_more_servers_than_there_may_be_are_left_out_and_told(reader):
    reader.start([], [], dnsConfig={"nameservers": ["1.1.1.1", "8.8.8.8", "9.9.9.9"]})
    assert reader.sh("grep -c nameserver /etc/resolv.conf") == "3\n"
    (event,) = [e for e in reader.kubesim.list("events") if e["reason"] == "DNSConfigForming"]
    assert event["message"] == (
        "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "
        "10.96.0.10 1.1.1.1 8.8.8.8"
    )
