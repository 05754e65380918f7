"""nginx's configuration: its words as a tree, its variables, which location answers.

The law: what nginx would refuse is refused in its words, with file and line; a directive that nginx
knows and that changes nothing here is taken as it is.

Follows `src/core/ngx_conf_file.c` and "Server names", "How nginx processes a request" of its
documentation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase

import attrs

_TOKEN = re.compile(
    r"\s+|#[^\n]*|([;{}])|\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'"
    r"|((?:[^\s;{}\\$]|\\.|\$\{\w+\}|\$)+)",
    re.DOTALL,
)
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")

_NAMES = """
absolute_redirect access_log add_header alias allow auth_basic auth_basic_user_file autoindex
break charset client_body_buffer_size client_body_temp_path client_body_timeout
client_header_buffer_size client_header_timeout client_max_body_size daemon default_type deny
env error_log error_page etag events expires fastcgi_cache fastcgi_index fastcgi_param
fastcgi_pass fastcgi_read_timeout fastcgi_split_path_info fastcgi_temp_path gzip
gzip_comp_level gzip_disable gzip_http_version gzip_min_length gzip_proxied gzip_types
gzip_vary http if if_modified_since ignore_invalid_headers include index internal ip_hash
keepalive keepalive_requests keepalive_timeout large_client_header_buffers least_conn
limit_conn limit_conn_zone limit_except limit_req limit_req_zone listen load_module location
log_format log_not_found map map_hash_bucket_size merge_slashes multi_accept open_file_cache
pid port_in_redirect proxy_buffer_size proxy_buffering proxy_buffers proxy_busy_buffers_size
proxy_cache proxy_cache_path proxy_cache_valid proxy_connect_timeout proxy_hide_header
proxy_http_version proxy_intercept_errors proxy_next_upstream proxy_pass proxy_pass_header
proxy_read_timeout proxy_redirect proxy_request_buffering proxy_send_timeout proxy_set_header
proxy_ssl_name proxy_ssl_server_name proxy_ssl_verify proxy_temp_path real_ip_header
reset_timedout_connection resolver resolver_timeout return rewrite root satisfy scgi_temp_path
send_timeout sendfile server server_name server_name_in_redirect server_names_hash_bucket_size
server_tokens set set_real_ip_from ssl_certificate ssl_certificate_key ssl_ciphers
ssl_prefer_server_ciphers ssl_protocols ssl_session_cache ssl_session_timeout stream
stub_status sub_filter tcp_nodelay tcp_nopush try_files types types_hash_max_size
underscores_in_headers upstream use user uwsgi_temp_path worker_connections worker_processes
worker_rlimit_nofile zone
"""
"""The directives that nginx knows."""
KNOWN = frozenset(_NAMES.split())


class ConfigFault(Exception):
    """What nginx says of its configuration before it gives up (`[emerg]`)."""


@attrs.frozen(slots=True)
class Directive:
    """`name args;` or `name args { block }`, and where it stands."""

    name: str
    args: tuple[str, ...]
    where: str
    block: tuple[Directive, ...] | None = None

    def all(self, name: str) -> list[Directive]:
        """The directives of that name in its block."""
        return [each for each in self.block or () if each.name == name]

    def first(self, name: str) -> Directive | None:
        """The last of that name in its block, which is the one that counts."""
        found = self.all(name)
        return found[-1] if found else None


Read = Callable[[str], list[tuple[str, str]]]
"""Gives the files (path and text) that a pattern of `include` means."""


def parse(path: str, text: str, read: Read) -> tuple[Directive, ...]:
    """A file as directives.  Raises `ConfigFault`."""
    tokens, line, at = list[tuple[str, bool, int]](), 1, 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ConfigFault(f'unexpected "{text[at]}" in {path}:{line}')
        mark, double, single, bare = match.groups()
        line += match.group().count("\n")
        at = match.end()
        if mark:
            tokens.append((mark, True, line))
        elif (word := next((t for t in (double, single, bare) if t is not None), None)) is not None:
            tokens.append((word if bare is not None else _unescaped(word), False, line))
    found, rest = _block(path, tokens, 0, read, inside=False)
    assert rest == len(tokens)
    return found


def _unescaped(text: str) -> str:
    letters = {"n": "\n", "r": "\r", "t": "\t"}
    return re.sub(r"\\([nrt\"'\\])", lambda m: letters.get(m.group(1), m.group(1)), text)


def _block(
    path: str, tokens: list[tuple[str, bool, int]], at: int, read: Read, *, inside: bool
) -> tuple[tuple[Directive, ...], int]:
    found: list[Directive] = []
    words: list[tuple[str, int]] = []
    raw = False
    while at < len(tokens):
        text, mark, line = tokens[at]
        at += 1
        if not mark:
            words.append((text, line))
            continue
        if text == "}":
            if words or not inside:
                raise ConfigFault(f'unexpected "}}" in {path}:{line}')
            return tuple(found), at
        if not words:
            raise ConfigFault(f'unexpected "{text}" in {path}:{line}')
        name, args = words[0][0], tuple(word for word, _ in words[1:])
        where = f"{path}:{words[0][1]}"
        words = []
        raw = name in ("types", "map", "log_format")
        block: tuple[Directive, ...] | None = None
        if text == "{":
            if raw:
                at = _skipped(tokens, at)
                block = ()
            else:
                block, at = _block(path, tokens, at, read, inside=True)
        if name not in KNOWN:
            raise ConfigFault(f'unknown directive "{name}" in {where}')
        if name == "include":
            for other, content in read(args[0] if args else ""):
                found += parse(other, content, read)
            continue
        found.append(Directive(name, args, where, block))
    last = tokens[-1][2] if tokens else 1
    if words:
        raise ConfigFault(
            f'unexpected end of file, expecting ";" or "}}" in {path}:{last}'
        )
    if inside:
        raise ConfigFault(f'unexpected end of file, expecting "}}" in {path}:{last}')
    return tuple(found), at


def _skipped(tokens: list[tuple[str, bool, int]], at: int) -> int:
    """Behind the block that is open."""
    while at < len(tokens) and tokens[at][:2] != ("}", True):
        at += 1
    return at + 1


# -- which one -------------------------------------------------------------------------------


def port_of(listen: Directive) -> int | None:
    """The port of a `listen`; None for one of another address family, or a socket."""
    text = listen.args[0] if listen.args else "80"
    if text.startswith(("[", "unix:")):
        return None
    last = text.rpartition(":")[2]
    return int(last) if last.isdigit() else 80


def server_for(servers: list[Directive], port: int, host: str) -> Directive:
    """The server that answers for a host on a port: by its name, else the default one."""
    here = [
        (server, listen)
        for server in servers
        for listen in server.all("listen") or [Directive("listen", ("80",), server.where)]
        if port_of(listen) == port
    ]
    name = host.partition(":")[0].lower()
    named = [
        (wish, server)
        for server, _ in here for each in server.all("server_name") for wish in each.args
    ]
    for wish, server in named:
        if wish == name:
            return server
    for wish, server in named:
        if _alike(wish, name):
            return server
    defaults = [server for server, listen in here if "default_server" in listen.args]
    return (defaults or [server for server, _ in here])[0]


def _alike(wish: str, name: str) -> bool:
    if wish.startswith("~"):
        return re.search(wish[1:], name) is not None
    if wish.startswith("."):
        return name == wish[1:] or name.endswith(wish)
    return "*" in wish and fnmatchcase(name, wish)


def location_for(server: Directive, path: str) -> Directive | None:
    """The location that answers for a path: `=`, then the longest prefix, then expressions."""
    best: Directive | None = None
    best_path, final = "", False
    patterns: list[tuple[re.Pattern[str], Directive]] = []
    for each in server.all("location"):
        kind, wish = each.args if len(each.args) == 2 else ("", each.args[0])
        if kind == "=" and path == wish:
            return each
        if kind in ("~", "~*"):
            patterns.append((re.compile(wish, re.IGNORECASE if kind == "~*" else 0), each))
        elif kind in ("", "^~") and path.startswith(wish) and len(wish) >= len(best_path):
            best, best_path, final = each, wish, kind == "^~"
    if best is not None and not final:
        nested = location_for(best, path)
        best = nested or best
    if not final:
        for pattern, each in patterns:
            if pattern.search(path):
                return each
    return best


def filled(text: str, variables: Callable[[str], str]) -> str:
    """A text with the values of its variables."""
    return _VARIABLE.sub(lambda match: variables(match.group(1)), text)
