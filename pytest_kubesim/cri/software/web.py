"""nginx and httpd: web servers with their welcome pages.

Started without arguments they sleep until somebody connects: thousands of them cost nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_kubesim.cri import http1
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.cri.linux.files import DIRECTORY
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


_NGINX = "/usr/share/nginx/html"
_HTTPD = "/usr/local/apache2/htdocs"

NGINX = Software(
    name="nginx",
    entrypoint=("/docker-entrypoint.sh",),
    command=("nginx", "-g", "daemon off;"),
    programs={**PROGRAMS, "nginx": server("nginx/1.27.4", _NGINX, ("TERM", "QUIT", "INT"))},
    paths={**DEBIAN_PATHS, "usr/sbin/nginx": "nginx", "usr/bin/curl": "curl"},
    texts={
        "docker-entrypoint.sh": '#!/bin/sh\nexec "$@"\n',
        "usr/share/nginx/html/index.html": NGINX_PAGE,
        "etc/nginx/nginx.conf": "user  nginx;\nworker_processes  auto;\n",
        "etc/nginx/conf.d/default.conf": "server {\n    listen       80;\n}\n",
    },
    env={"NGINX_VERSION": "1.27.4"},
    dormant=True,
    sigterm=0,
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
