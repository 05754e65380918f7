"""nginx and httpd: web servers with their welcome pages.

Started without arguments they sleep until somebody connects: thousands of them cost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.cri import http1
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.files import DIRECTORY
from pytest_kubesim.cri.software import nginx, nginx_exchange
from pytest_kubesim.cri.software.agnhost.flags import Signals
from pytest_kubesim.cri.software.busybox import DEBIAN_PATHS, PROGRAMS
from pytest_kubesim.cri.software.rootfs import Software

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Main, Proc

NGINX_PAGE = (
    "<!DOCTYPE html>\n<html>\n<head>\n<title>Welcome to nginx!</title>\n<style>\n"
    "html { color-scheme: light dark; }\nbody { width: 35em; margin: 0 auto;\n"
    "font-family: Tahoma, Verdana, Arial, sans-serif; }\n</style>\n</head>\n<body>\n"
    "<h1>Welcome to nginx!</h1>\n<p>If you see this page, the nginx web server is successfully "
    "installed and\nworking. Further configuration is required.</p>\n</body>\n</html>\n"
)
HTTPD_PAGE = "<html><body><h1>It works!</h1></body></html>\n"


def server(kind: str, folder: str, signals: tuple[str, ...]) -> Main:
    """The program of a web server that shows the files of a folder on port 80."""

    async def main(proc: Proc) -> int:
        async def answer(request: http1.Request) -> http1.Response:
            response = await _file(proc, kind, folder, request)
            line = f'"{request.method} {request.target} HTTP/1.1" {response.status}'
            await proc.out(f"{request.remote[0]} - - {line}\n")
            return response

        heard = Signals(proc, *signals)
        proc.system.serve(80, lambda stream: http1.serve(stream, answer))
        await heard.wait()
        return 0

    return main


async def _file(proc: Proc, kind: str, folder: str, request: http1.Request) -> http1.Response:
    headers = {"Server": kind, "Content-Type": "text/html"}
    path = folder + request.path
    try:
        if proc.node(path).kind == DIRECTORY:
            path = path.rstrip("/") + "/index.html"
        if path.endswith((".txt", ".conf", ".md")):
            headers["Content-Type"] = "text/plain"
        elif path.endswith(".json"):
            headers["Content-Type"] = "application/json"
        return http1.Response(200, await proc.contents(path), headers)
    except Fault as fault:
        status = 403 if fault.name == "EACCES" else 404
        reason = http1.REASONS[status]
        page = (
            f"<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>"
            f"{status} {reason}</h1></center>\r\n<hr><center>{kind}</center>\r\n</body>\r\n"
            "</html>\r\n"
        )
        return http1.Response(status, page.encode(), headers)


_HTTPD = "/usr/local/apache2/htdocs"

_NGINX_CONF = """
user  nginx;
worker_processes  auto;

error_log  /var/log/nginx/error.log notice;
pid        /run/nginx.pid;


events {
    worker_connections  1024;
}


http {
    include       /etc/nginx/mime.types;
    default_type  application/octet-stream;

    log_format  main  '$remote_addr - $remote_user [$time_local] "$request" '
                      '$status $body_bytes_sent "$http_referer" '
                      '"$http_user_agent" "$http_x_forwarded_for"';

    access_log  /var/log/nginx/access.log  main;

    sendfile        on;
    #tcp_nopush     on;

    keepalive_timeout  65;

    #gzip  on;

    include /etc/nginx/conf.d/*.conf;
}
"""
_NGINX_SITE = """server {
    listen       PORT;
    server_name  localhost;

    location / {
        root   /usr/share/nginx/html;
        index  index.html index.htm;
    }

    error_page   500 502 503 504  /50x.html;
    location = /50x.html {
        root   /usr/share/nginx/html;
    }
}
"""
_50X = (
    "<!DOCTYPE html>\n<html>\n<head>\n<title>Error</title>\n</head>\n<body>\n"
    "<h1>An error occurred.</h1>\n</body>\n</html>\n"
)

NGINX = Software(
    name="nginx",
    entrypoint=("/docker-entrypoint.sh",),
    command=("nginx", "-g", "daemon off;"),
    programs={**PROGRAMS, "nginx": nginx.main},
    paths={**DEBIAN_PATHS, "usr/sbin/nginx": "nginx", "usr/bin/curl": "curl"},
    texts={
        "docker-entrypoint.sh": '#!/bin/sh\nexec "$@"\n',
        "usr/share/nginx/html/index.html": NGINX_PAGE,
        "usr/share/nginx/html/50x.html": _50X,
        "etc/nginx/nginx.conf": _NGINX_CONF,
        "etc/nginx/conf.d/default.conf": _NGINX_SITE.replace("PORT", "80"),
    },
    folders=("var/cache/nginx",),
    env={"NGINX_VERSION": nginx_exchange.VERSION},
    wakened_by=("/etc/nginx/", "/var/cache/nginx/", "/run", "/var/run"),
    dormant=True,
    sigterm=0,
)

_OWN_FOLDERS = "".join(
    f"    {name}_temp_path /tmp/{name}_temp;\n"
    for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)

UNPRIVILEGED_NGINX = attrs.evolve(
    NGINX,
    name="nginx-unprivileged",
    user=101,
    texts={
        **NGINX.texts,
        "etc/nginx/nginx.conf": _NGINX_CONF.replace("/run/", "/tmp/").replace(  # noqa: S108
            "    #gzip", f"{_OWN_FOLDERS}    #gzip"
        ),
        "etc/nginx/conf.d/default.conf": _NGINX_SITE.replace("PORT", "8080"),
    },
)

HTTPD = Software(
    name="httpd",
    command=("httpd-foreground",),
    programs={**PROGRAMS, "apache": server("Apache/2.4.63 (Unix)", _HTTPD, ("TERM", "WINCH"))},
    paths={
        **DEBIAN_PATHS, "usr/local/bin/httpd-foreground": "apache",
        "usr/local/apache2/bin/httpd": "apache",
    },
    texts={"usr/local/apache2/htdocs/index.html": HTTPD_PAGE},
    working_dir="/usr/local/apache2",
    dormant=True,
    sigterm=0,
)
