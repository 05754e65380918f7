"""curl: URLs from a shell.

Follows curl 8.12, `src/{tool_getparam,tool_operate,tool_writeout}.c`, and the texts of `lib/`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs

from pytest_kubesim.apimachinery import x509
from pytest_kubesim.cri import http1
from pytest_kubesim.cri.applets import names
from pytest_kubesim.cri.applets.network import NoAnswer, Unresolved, Url, dial, get, url_of
from pytest_kubesim.cri.applets.options import Options, parse
from pytest_kubesim.cri.linux.errors import Fault
from pytest_kubesim.sim.pipes import ConnectError, Refused, TimedOut

if TYPE_CHECKING:
    from pytest_kubesim.cri.linux.process import Proc

_SHORT = "sSo:w:X:d:H:kLfm:IivgGu:E:n:A:T:OD:jNqb:e:#46x:P:B:F:r:y:K:R:c:t:V"
_LONG = {
    "silent": "s", "show-error": "S", "output": "o", "write-out": "w", "request": "X", "data": "d",
    "data-ascii": "d", "header": "H", "insecure": "k", "location": "L", "fail": "f",
    "max-time": "m", "head": "I", "include": "i", "verbose": "v", "globoff": "g", "user": "u",
    "user-agent": "A", "get": "G", "remote-name": "O", "dump-header": "D", "cookie": "b",
    "referer": "e", "no-buffer": "N", "ipv4": "4", "ipv6": "6", "progress-bar": "#", "cert": "E",
    "proxy": "x", "version": "V", "upload-file": "T", "cookie-jar": "c", "form": "F",
    # Those without a letter of their own have one that nobody types.
    "connect-timeout": "\x01", "cacert": "\x02", "retry": "\x03", "retry-delay": "\x04",
    "retry-connrefused": "\x05", "retry-all-errors": "\x06", "retry-max-time": "\x07",
    "data-raw": "\x08", "data-binary": "\x0e", "data-urlencode": "\x0f", "json": "\x10",
    "fail-with-body": "\x11", "resolve": "\x12", "max-redirs": "\x13", "url": "\x14", "key": "\x15",
    "interface": "\x16", "noproxy": "\x17", "no-keepalive": "\x18", "http1.1": "\x18",
    "http1.0": "\x18", "compressed": "\x18", "no-progress-meter": "\x18", "capath": "\x15",
    "tlsv1.2": "\x18", "http2": "\x18", "cert-type": "\x15", "key-type": "\x15",
    "keepalive-time": "\x15", "connect-to": "\x15", "create-dirs": "\x18", "parallel": "\x18",
    "location-trusted": "L", "oauth2-bearer": "\x19", "remove-on-error": "\x18", "basic": "\x18",
}
_VALUED = "\x01\x02\x03\x04\x07\x08\x0e\x0f\x10\x12\x13\x14\x15\x16\x17\x19"
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_UNTRUSTED = (
    "More details here: https://curl.se/docs/sslcerts.html\n\n"
    "curl failed to verify the legitimacy of the server and therefore could not\n"
    "establish a secure connection to it. To learn more about this situation and\n"
    "how to fix it, please visit the webpage mentioned above.\n"
)
_ODD_NAMES = {"etag": "ETag", "www-authenticate": "WWW-Authenticate"}


@attrs.define(slots=True)
class _Transfer:
    """One URL's transfer: what came of it."""

    url: Url
    text: str
    method: str = "GET"
    response: http1.Response | None = None
    redirects: int = 0
    code: int = 0
    problem: str = ""
    refused: bool = False
    address: str = ""
    spent_ns: int = 0


async def curl(proc: Proc, args: list[str]) -> int:
    """`curl [-sSfkLIigvO] [-X method] [-d data] [-H header] [-m seconds] [-o file] [-w format]`."""
    spec = _SHORT + "".join(f"{c}:" if c in _VALUED else c for c in sorted(set(_LONG.values())))
    given = await parse(proc, args, _merged(spec), _LONG)
    if "V" in given:
        await proc.out("curl 8.12.1 (x86_64-alpine-linux-musl) libcurl/8.12.1 OpenSSL/3.3.3\n")
        return 0
    urls = [*given.all("\x14"), *given.rest]
    if not urls:
        await proc.err("curl: (2) no URL specified\n")
        return 2
    code = 0
    for text in urls:
        code = await _with_retries(proc, given, text)
    return code


def _nanoseconds(seconds: str) -> int:
    try:
        return int(float(seconds) * 1e9)
    except ValueError:
        return 0


def _merged(spec: str) -> str:
    """Every letter once, with its colon where it has one anywhere."""
    valued = {spec[at - 1] for at, char in enumerate(spec) if char == ":" and at}
    return "".join(f"{c}:" if c in valued else c for c in sorted(set(spec) - {":"}))


async def _with_retries(proc: Proc, given: Options, text: str) -> int:
    left, delay_ns = int(given.get("\x03") or 0), 1_000_000_000
    fixed = given.get("\x04")
    begun_ns, patience = proc.system.now_ns(), given.get("\x07")
    while True:
        done = await _transfer(proc, given, text)
        if done.problem and ("s" not in given or "S" in given):
            await proc.err(f"curl: ({done.code}) {done.problem}\n")
            if done.code == 60:
                await proc.err(_UNTRUSTED)
        why = _why_again(given, done)
        if patience and proc.system.now_ns() - begun_ns > _nanoseconds(patience):
            why = ""
        if not left or not why:
            return await _finish(proc, given, done)
        wait_ns = _nanoseconds(fixed) if fixed and fixed != "0" else delay_ns
        if "s" not in given:
            seconds = wait_ns // 1_000_000_000
            await proc.err(
                f"Warning: Problem: {why}. Will retry in {seconds} second{'s'[seconds == 1:]}. "
                f"{left} retr{'y' if left == 1 else 'ies'} left.\n"
            )
        await proc.system.sleep(wait_ns)
        left, delay_ns = left - 1, min(delay_ns * 2, 600_000_000_000)


def _why_again(given: Options, done: _Transfer) -> str:
    if done.code == 28:
        return "timeout"
    if done.refused and "\x05" in given:
        return "connection refused"
    if done.response is not None and done.response.status in _TRANSIENT:
        return "HTTP error"
    return "(retrying all errors)" if done.code and "\x06" in given else ""


async def _body(proc: Proc, given: Options) -> bytes:
    """What is sent, all pieces together."""
    pieces: list[bytes] = []
    for letter in ("d", "\x0e", "\x08", "\x0f", "\x10"):
        for text in given.all(letter):
            if text.startswith("@") and letter != "\x08":
                data = await proc.contents(text[1:])
                pieces.append(data if letter != "d" else data.translate(None, b"\r\n\0"))
            elif letter == "\x0f":
                name, equals, value = text.partition("=")
                value, lead = (value, f"{name}=" if name else "") if equals else (name, "")
                pieces.append((lead + _quoted(value)).encode())
            else:
                pieces.append(text.encode())
    return (b"" if given.all("\x10") else b"&").join(pieces)


def _quoted(text: str) -> str:
    plain = "-._~"
    return "".join(
        chr(byte) if (chr(byte).isalnum() and byte < 128) or chr(byte) in plain else f"%{byte:02X}"
        for byte in text.encode()
    )


def _headers(given: Options, body: bytes) -> dict[str, str]:
    headers = {"User-Agent": given.get("A", "curl/8.12.1"), "Accept": "*/*"}
    if given.all("\x10"):
        headers |= {"Content-Type": "application/json", "Accept": "application/json"}
    elif body and "T" not in given:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    for letter, name in (("b", "Cookie"), ("e", "Referer")):
        if given.get(letter):
            headers[name] = given.get(letter)
    if given.get("\x19"):
        headers["Authorization"] = f"Bearer {given.get(chr(0x19))}"
    for line in given.all("H"):
        name, _, value = line.partition(":")
        for known in [known for known in headers if known.lower() == name.strip().lower()]:
            del headers[known]
        if value.strip():
            headers[name.strip()] = value.strip()
    return headers


async def _transfer(proc: Proc, given: Options, text: str) -> _Transfer:
    try:
        done = _Transfer(url_of(text), text)
    except ValueError:
        url = Url("http", "", 80, "/")
        problem = "URL rejected: Malformed input to a URL function"
        return _Transfer(url, text, code=3, problem=problem)
    try:
        body = await _body(proc, given)
        if given.get("T"):
            body = await proc.contents(given.get("T"))
        bundle = await proc.contents(given.get("\x02")) if given.get("\x02") else b""
    except Fault as fault:
        done.code = 26
        done.problem = f"Failed to open/read local data from file/application ({fault})"
        return done
    headers = _headers(given, body)
    if given.get("u"):
        done.url = attrs.evolve(done.url, user=given.get("u"))
    if body and "G" in given:
        mark = "&" if "?" in done.url.target else "?"
        done.url = attrs.evolve(done.url, target=f"{done.url.target}{mark}{body.decode()}")
        body = b""
        headers.pop("Content-Type", None)
    usual = "PUT" if "T" in given else "POST" if body else "GET"
    done.method = given.get("X") or ("HEAD" if "I" in given else usual)
    begun_ns = proc.system.now_ns()
    await _follow(proc, given, done, headers, body, None if "k" in given else bundle)
    done.spent_ns = proc.system.now_ns() - begun_ns
    return done


async def _follow(
    proc: Proc,
    given: Options,
    done: _Transfer,
    headers: dict[str, str],
    body: bytes,
    bundle: bytes | None,
) -> None:
    limit, begun_ns = int(given.get("\x13", "50")), proc.system.now_ns()
    patience, own = given.get("m"), given.get("\x01")
    while True:
        url, response = done.url, None
        left_ns = _nanoseconds(patience) + begun_ns - proc.system.now_ns() if patience else None
        connect_ns = _nanoseconds(own) if own else None
        try:
            done.address = await _address(proc, given, url)
            await _say_asked(proc, given, done, headers)
            if bundle == b"" and url.scheme == "https":
                # Nobody in a cluster has a certificate that the world trusts.
                (await dial(proc, done.address, url.port, connect_ns or left_ns)).close()
                raise x509.CertificateError("signed by unknown authority")
            response = await get(
                proc, url, timeout_ns=left_ns, connect_ns=connect_ns, method=done.method,
                body=body, headers=headers, bundle=bundle, address=done.address,
            )
        except Unresolved as fault:
            done.code, done.problem = 6, f"Could not resolve host: {fault}"
        except NoAnswer:
            spent = (proc.system.now_ns() - begun_ns) // 1_000_000
            done.code = 28
            done.problem = f"Operation timed out after {spent} milliseconds with 0 bytes received"
        except TimedOut:
            spent = (proc.system.now_ns() - begun_ns) // 1_000_000
            done.code, done.problem = 28, f"Connection timed out after {spent} milliseconds"
        except x509.CertificateError as fault:
            done.code, done.problem = 60, f"SSL certificate problem: {_openssl(str(fault))}"
        except ConnectError as fault:
            done.code, done.refused = 7, isinstance(fault, Refused)
            done.problem = (
                f"Failed to connect to {url.host} port {url.port} after 0 ms: Could not connect to "
                "server"
            )
        except http1.MessageFault:
            done.code, done.problem = 52, "Empty reply from server"
        if response is None:
            return
        done.response = response
        await _say_got(proc, given, done)
        place = response.headers.get("location")
        if "L" not in given or response.status // 100 != 3 or not place:
            break
        if done.redirects >= limit:
            done.code, done.problem = 47, f"Maximum ({limit}) redirects followed"
            return
        done.redirects += 1
        done.url = _moved(url, place)
        if response.status in (301, 302, 303) and done.method == "POST" and not given.get("X"):
            done.method, body = "GET", b""
            headers.pop("Content-Type", None)
    if ("f" in given or "\x11" in given) and done.response.status >= 400:
        done.code = 22
        done.problem = f"The requested URL returned error: {done.response.status}"


def _moved(url: Url, place: str) -> Url:
    if "://" in place:
        return url_of(place)
    if not place.startswith("/"):
        place = url.target.partition("?")[0].rpartition("/")[0] + "/" + place
    return url_of(f"{url.scheme}://{url.host}:{url.port}{place}")


async def _address(proc: Proc, given: Options, url: Url) -> str:
    for entry in given.all("\x12"):
        host, _, rest = entry.partition(":")
        port, _, address = rest.partition(":")
        if host in (url.host, "*") and port in (str(url.port), "*"):
            return address.strip("[]")
    found = await names.resolve(proc, url.host.strip("[]"))
    if not found:
        raise Unresolved(url.host)
    return found[0]


def _openssl(problem: str) -> str:
    """Go's complaint about a certificate in OpenSSL's words."""
    if "expired" in problem:
        return "certificate has expired"
    if "certificate is valid for" in problem or "not valid for any names" in problem:
        return "no alternative certificate subject name matches target host name"
    return "unable to get local issuer certificate"


# -- what is shown ------------------------------------------------------------------------------


async def _say_asked(
    proc: Proc, given: Options, done: _Transfer, headers: dict[str, str]
) -> None:
    if "v" not in given:
        return
    url = done.url
    lines = [f"{done.method} {url.target} HTTP/1.1", f"Host: {url.authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    await proc.err(
        f"*   Trying {done.address}:{url.port}...\n"
        f"* Connected to {url.host} ({done.address}) port {url.port}\n"
        + "".join(f"> {line}\n" for line in [*lines, ""])
    )


async def _say_got(proc: Proc, given: Options, done: _Transfer) -> None:
    assert done.response is not None
    text = head_of(done.response)
    if "v" in given:
        await proc.err("".join(f"< {line}\n" for line in text.split("\r\n")[:-1]))
    target = given.get("D")
    if target == "-":
        await proc.out(text)
    elif target:
        handle = proc.open(target, "a" if done.redirects else "w")
        await handle.write(text.encode())
    if ("i" in given or "I" in given) and "L" in given and done.response.status // 100 == 3:
        await proc.out(text)


def head_of(response: http1.Response) -> str:
    """The first lines of a response, with names of headers as servers spell them."""
    lines = [f"HTTP/1.1 {response.status} {http1.REASONS.get(response.status, '')}"]
    lines += [
        f"{_ODD_NAMES.get(name.lower()) or name.title()}: {value}"
        for name, value in response.headers.items()
    ]
    return "\r\n".join(lines) + "\r\n\r\n"


async def _finish(proc: Proc, given: Options, done: _Transfer) -> int:
    response = done.response
    if response is not None and not (done.code == 22 and "f" in given):
        data = response.body
        followed = "L" in given and response.status // 100 == 3
        if ("I" in given or "i" in given) and not followed:
            data = head_of(response).encode() + data
        target = given.get("o")
        if "O" in given and not target:
            target = done.url.target.partition("?")[0].rpartition("/")[2]
        try:
            if target and target != "-":
                handle = proc.open(target, "w")
                await handle.write(data)
            else:
                await proc.out(data)
        except Fault:
            done.code = 23
            if "s" not in given or "S" in given:
                await proc.err(f"curl: (23) client returned ERROR on write, {len(data)} bytes\n")
    if "w" in given:
        await proc.out(_written_out(given.get("w"), done))
    return done.code


def _written_out(text: str, done: _Transfer) -> str:
    response, url = done.response, done.url
    status = f"{response.status if response else 0:03d}"
    headers: dict[str, str] = dict(response.headers) if response else {}
    size, time = len(response.body) if response else 0, f"{done.spent_ns / 1e9:.6f}"
    place = headers.get("location", "")
    known = {
        "http_code": status, "response_code": status, "size_download": str(size),
        "content_type": headers.get("content-type", ""), "num_redirects": str(done.redirects),
        "redirect_url": place and f"{url.scheme}://{url.authority}{place}"
        if place.startswith("/") else place,
        "url_effective": f"{url.scheme}://{url.authority}{url.target}", "url": done.text,
        "method": done.method, "scheme": url.scheme, "remote_ip": done.address,
        "remote_port": str(url.port), "exitcode": str(done.code), "errormsg": done.problem,
        "http_version": "1.1" if response else "0", "num_connects": "1", "time_total": time,
        "time_connect": "0.000000", "time_namelookup": "0.000000", "time_starttransfer": time,
        "time_pretransfer": "0.000000", "time_appconnect": "0.000000", "speed_download": "0",
        "size_header": "0", "ssl_verify_result": "0", "header_json": json.dumps(headers),
    }
    for name, value in known.items():
        text = text.replace(f"%{{{name}}}", value)
    for mark, char in (("\\n", "\n"), ("\\t", "\t"), ("\\r", "\r"), ("%%", "%")):
        text = text.replace(mark, char)
    return text


APPLETS = {"curl": curl}
