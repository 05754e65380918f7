"""nginx does what its configuration says."""

import pytest

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.47"


class Site:
    """An nginx with a configuration of one's own, and a client."""

    def __init__(self, kubesim):
        self.kubesim = kubesim
        kubesim.add_nodes(1)

    def start(self, config, *, name="web", image="nginx:1.27", **container):
        self.config(config)
        mount = {"name": "conf", "mountPath": "/etc/nginx/conf.d"}
        self.kubesim.apply({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "containers": [{"name": "c", "image": image, "volumeMounts": [mount], **container}],
                "volumes": [{"name": "conf", "configMap": {"name": "conf"}}],
            },
        })
        self.kubesim.eventually(f"pod/{name}", lambda pod: any(
            "waiting" not in one["state"] or one["lastState"] for one in pod["status"].get("containerStatuses", ())
        ), within="1m")

    def config(self, text):
        self.kubesim.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"site.conf": text}})

    def run(self, name):
        uid = self.kubesim.get(f"pod/{name}")["metadata"]["uid"]
        return self.kubesim.nodes["node-1"].machine.runtime, self.kubesim.nodes["node-1"].machine.runtime.pod_state(uid)

    def sh(self, script, name="web"):
        runtime, state = self.run(name)
        result = self.kubesim.kernel.run_coroutine(runtime.exec_sync(state.find("c"), ("sh", "-c", script)))
        return result.stdout + result.stderr

    def log(self, name="web", number=-1):
        return [line.text for line in self.run(name)[1].containers[number].logs]


@pytest.fixture
def site(kubesim):
    return Site(kubesim)


PLAIN = """
server {
    listen 8080 default_server;
    server_name _;
    default_type text/plain;
    location = /healthz { access_log off; return 200 "ok $host $arg_a\\n"; }
    location /old { return 301 /new/; }
    location ~ \\.secret$ { return 403; }
    location /app/ { rewrite ^/app/(.*)$ /$1; }
    location / { root /usr/share/nginx/html; try_files $uri $uri/ /index.html; add_header X-Served-By $hostname; }
    error_page 403 = /denied; location = /denied { return 200 no; }
}
server { listen 8080; server_name other.example.com *.wild.example.com; location / { return 418; } }
"""


def test_servers_and_locations_are_chosen_as_documented(site):
    site.start(PLAIN)
    assert site.sh("curl -s 'localhost:8080/healthz?a=1'") == "ok localhost 1\n"
    assert "location: http://localhost:8080/new/\r\n" in site.sh("curl -si localhost:8080/old/x").lower()
    assert site.sh("curl -s -o /dev/null -w '%{http_code}' -H 'Host: other.example.com' localhost:8080/") == "418"
    assert site.sh("curl -s -o /dev/null -w '%{http_code}' -H 'Host: a.wild.example.com' localhost:8080/") == "418"
    assert "Welcome to nginx!" in site.sh("curl -s localhost:8080/no/such/page")
    assert "Welcome to nginx!" in site.sh("curl -s localhost:8080/app/index.html")
    assert "x-served-by: web\r\n" in site.sh("curl -si localhost:8080/").lower()
    assert site.sh("curl -s localhost:8080/x.secret") == "no"
    lines = site.log()
    assert not any("healthz" in line for line in lines)
    assert lines[0].endswith('"GET /old/x HTTP/1.1" 301 169 "-" "curl/8.12.1" "-"')


def test_it_passes_requests_on(site):
    kubesim = site.kubesim
    kubesim.apply({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "back", "labels": {"app": "back"}},
        "spec": {"containers": [{"name": "c", "image": AGNHOST, "args": ["netexec"]}]},
    }, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "back"},
        "spec": {"selector": {"app": "back"}, "ports": [{"port": 80, "targetPort": 8080}]}})
    kubesim.eventually("pod/back", {"status": {"phase": "Running"}}, within="1m")
    kubesim.advance("3s")
    site.start("""
        upstream pool { server back:80; keepalive 8; }
        server {
            listen 80;
            location /api/ { proxy_pass http://back/; proxy_set_header X-Real-IP $remote_addr; }
            location /pool/ { proxy_pass http://pool; }
            location /gone/ { proxy_pass http://back:81/; proxy_connect_timeout 2s; }
            location /status { stub_status; }
        }
    """)
    assert site.sh("curl -s localhost/api/hostname") == "back"
    assert site.sh("curl -s 'localhost/api/header?key=X-Real-IP'").startswith(("10.", "127."))
    assert "504 Gateway Timeout" in site.sh("curl -s localhost/gone/x")
    site.kubesim.delete("pod/back")
    site.kubesim.advance("40s")
    assert "502 Bad Gateway" in site.sh("curl -s localhost/api/hostname")
    assert "server accepts handled requests" in site.sh("curl -s localhost/status")


@pytest.mark.parametrize(("config", "problem"), [
    ("server { listen 80; location / { proxy_pass http://nowhere:80; } }", 'host not found in upstream "nowhere" in /etc/nginx/conf.d/site.conf:1'),
    ("server {\n  listen 80;\n  lisen 81;\n}", 'unknown directive "lisen" in /etc/nginx/conf.d/site.conf:3'),
    ("server { listen 80; ", 'unexpected end of file, expecting "}" in /etc/nginx/conf.d/site.conf:1'),
])
def test_a_wrong_configuration_ends_it(site, config, problem):
    site.start(config)
    site.kubesim.advance("5s")
    status = site.kubesim.get("pod/web")["status"]["containerStatuses"][0]
    assert (status["state"].get("terminated") or status["lastState"]["terminated"])["exitCode"] == 1
    assert site.log()[-1].endswith(f"[emerg] 1#1: {problem}")


@pytest.mark.parametrize(("context", "image", "problem"), [
    ({"readOnlyRootFilesystem": True}, "nginx", 'mkdir() "/var/cache/nginx/client_temp" failed (30: Read-only file system)'),
    ({"runAsUser": 101}, "nginx", 'mkdir() "/var/cache/nginx/client_temp" failed (13: Permission denied)'),
    ({"runAsNonRoot": True}, "nginxinc/nginx-unprivileged", ""),
])
def test_it_needs_to_write(site, context, image, problem):
    site.kubesim.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [
        {"name": "c", "image": image, "securityContext": context},
    ]}})
    site.kubesim.advance("15s")
    if problem:
        assert site.log()[-1].endswith(f"[emerg] 1#1: {problem}")
    else:
        assert "Welcome to nginx!" in site.sh("curl -s localhost:8080")


def test_it_reads_its_configuration_again_when_told(site):
    site.start("server { listen 80; return 200 one; }")
    site.config("server { listen 80; return 200 two; } server { listen 81; return 200 more; }")
    site.kubesim.advance("2m")
    assert site.sh("curl -s localhost") == "one"
    assert site.sh("nginx -t") == (
        "nginx: the configuration file /etc/nginx/nginx.conf syntax is ok\n"
        "nginx: configuration file /etc/nginx/nginx.conf test is successful\n"
    )
    assert site.sh("nginx -s reload; sleep 1; curl -s localhost localhost:81") in ("twomore", "two")
    assert site.sh("curl -s localhost:81") == "more"


def test_it_sleeps_in_a_pod_that_mounts_nothing_but_its_token(site):
    site.kubesim.create({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain"},
        "spec": {"containers": [{"name": "c", "image": "nginx:1.27"}]},
    })
    site.kubesim.eventually("pod/plain", {"status": {"phase": "Running"}}, within="1m")
    _, state = site.run("plain")
    assert not state.find("c").config.awake
    site.start("server { listen 80; }")
    _, state = site.run("web")
    assert state.find("c").config.awake
