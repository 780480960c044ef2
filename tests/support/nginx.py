"""A real nginx with deploy/nginx.conf, on loopback."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scripts.bench.http_json import request
from scripts.local_certificate import (
    Identity,
    list_general_names,
    make_authority,
    make_leaf,
    to_pem,
)
from tests.support.fakes_server import ServerProcess, free_ports, listening_at
from tests.support.programs import ran

DEPLOY = Path(__file__).parents[2] / "deploy"
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
NAME = "camera.test"
SECRET = "q7Vd0mZp3xKc9LwTfR2yBhN6sJgA1uEoXiC4"
# Settings of a process behind nginx, as install.sh makes them
BEHIND = {"JWT_SECRET_KEY": SECRET, "TRUSTED_PROXIES": "127.0.0.1,::1"}
# Folders that nginx puts bodies into that do not fit into memory.
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
# Address of the process in the file, to be replaced.
ONE = "127.0.0.1:8000"


def require_nginx() -> None:
    """Skips the test where there is none."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is missing; bash scripts/test.sh installs it where it may.")


def make_certificate(folder: Path) -> None:
    """authority.pem and server.pem (with its key), as run.sh --https makes them."""
    names = list_general_names(Identity((NAME,), ()))
    now = datetime.now(UTC)
    key, authority = make_authority(names, "test", now)
    (folder / "authority.pem").write_bytes(to_pem(None, authority))
    (folder / "server.pem").write_bytes(to_pem(*make_leaf(key, authority, names, now)))


class Changes:
    """A file of deploy/ as an operator changes it.

    Raises AssertionError when what is to be changed is gone.
    """

    def __init__(self, name: str) -> None:
        self.text = (DEPLOY / name).read_text()

    def change(self, old: str, new: str, *, times: int = 1) -> None:
        assert self.text.count(old) == times, f"{old} is there {self.text.count(old)} times"
        self.text = self.text.replace(old, new)


def configuration(
    folder: Path, port: int, processes: Sequence[int], *, plain: int, behind: int = 0
) -> str:
    """deploy/nginx.conf for these processes; see `local`."""
    file = Changes("nginx.conf")
    file.change(
        f"    server {ONE} max_fails=0;\n",
        "".join(f"    server 127.0.0.1:{number} max_fails=0;\n" for number in processes),
    )
    file.change(
        "    default qwen_camera;\n",
        "    default qwen_camera;\n"
        + "".join(f"    {number} qwen_camera_{number};\n" for number in processes),
    )
    blocks = [
        f"upstream qwen_camera_{own} {{\n"
        + f"    server 127.0.0.1:{own} max_fails=0;\n"
        + "".join(f"    server 127.0.0.1:{n} max_fails=0 backup;\n" for n in processes if n != own)
        + "}\n"
        for own in processes
    ]
    file.text = "".join(blocks) + file.text
    return local(file, folder, port, plain=plain, behind=behind)


def hashed(folder: Path, port: int, processes: Sequence[int], *, plain: int) -> str:
    """deploy/nginx.conf with deploy/nginx-hash.conf at its top; see `local`."""
    file, top = Changes("nginx.conf"), Changes("nginx-hash.conf")
    two = "    server 10.0.0.1:8000 max_fails=0;\n    server 10.0.0.2:8000 max_fails=0;\n"
    top.change(
        two,
        "".join(f"    server 127.0.0.1:{number} max_fails=0;\n" for number in processes),
        times=2,
    )
    begins, ends = (file.text.index(text) for text in ("# All processes:", "map $http_upgrade "))
    file.text = file.text[:begins] + top.text + file.text[ends:]
    return local(file, folder, port, plain=plain)


def local(file: Changes, folder: Path, port: int, *, plain: int, behind: int = 0) -> str:
    """deploy/nginx.conf with its files in `folder` and on these ports of this machine alone.

    `plain`: the port of the http server; `behind`: the one that nginx-turn-sni.conf comes in by, 0
    without it.
    """
    file.change("camera.example.org/fullchain.pem", "camera.example.org/server.pem")
    file.change("camera.example.org/privkey.pem", "camera.example.org/server.pem")
    file.change("/etc/letsencrypt/live/camera.example.org", str(folder), times=2)
    file.change("server_name camera.example.org", f"server_name {NAME}", times=2)
    file.change("/var/log/nginx", str(folder), times=2)
    file.change("root /var/www/acme", f"root {folder}/acme")
    file.change("listen 80;", f"listen 127.0.0.1:{plain};")
    file.change("    listen [::]:80;\n", "")
    file.change("    listen [::]:443 ssl http2;\n", "")
    if behind:
        file.change("    listen 443 ssl http2;\n", "")
        file.change("#listen 127.0.0.1:8443", f"listen 127.0.0.1:{behind}")
        file.change("#set_real_ip_from", "set_real_ip_from")
        file.change("#real_ip_header", "real_ip_header")
    else:
        file.change("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    return file.text


def sharing(port: int, between: int, behind: int, turn: int) -> str:
    """deploy/nginx-turn-sni.conf for these ports."""
    file = Changes("nginx-turn-sni.conf")
    file.change("        listen 443;\n", f"        listen 127.0.0.1:{port};\n")
    file.change("        listen [::]:443;\n", "")
    file.change("127.0.0.1:5349", f"127.0.0.1:{turn}")
    file.change("127.0.0.1:8444", f"127.0.0.1:{between}", times=2)
    file.change("default          127.0.0.1:8443", f"default 127.0.0.1:{behind}")
    return file.text


def write(folder: Path, http: str, stream: str = "") -> Path:
    """All of nginx's own around them, each file of it in `folder`."""
    (folder / "qwen-camera.conf").write_text(http)
    (folder / "stream.conf").write_text(stream)
    lines = [
        f"load_module {STREAM_MODULE};" if stream else "",
        f"pid {folder}/nginx.pid;",
        f"error_log {folder}/error.log info;",
        "worker_processes 2;",
        "events { worker_connections 1024; }",
        "http {",
        # As Debian's nginx.conf has it.
        "include /etc/nginx/mime.types;",
        "default_type application/octet-stream;",
        "gzip on;",
        f"access_log {folder}/access.log;",
        *(f"{name}_temp_path {folder}/temp-{name};" for name in TEMPORARY),
        f"include {folder}/qwen-camera.conf;",
        "}",
        f"include {folder}/stream.conf;",
    ]
    path = folder / "nginx.conf"
    path.write_text("\n".join(lines) + "\n")
    return path


def check(path: Path) -> str:
    """Run `nginx -t`, which has to succeed, and return its output."""
    done = ran(["nginx", "-t", "-c", str(path), "-p", str(path.parent)])
    assert done.returncode == 0, done.stderr
    return done.stderr


@dataclass
class Nginx:
    folder: Path
    port: int
    plain: int

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def tls(self) -> ssl.SSLContext:
        """A client's context that knows the certificate's authority and no other."""
        return ssl.create_default_context(cafile=str(self.folder / "authority.pem"))

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The access log."""
        lines = (self.folder / "qwen-camera.access.log").read_text().splitlines()
        return [json.loads(line) for line in lines]

    async def line(self, number: int = 0) -> dict[str, Any]:
        """A line of it, which nginx writes after the answer; the first is 0."""
        async with asyncio.timeout(10):
            while len(self.requests) <= number:
                await asyncio.sleep(0.005)
        return self.requests[number]

    @property
    def written(self) -> str:
        """Everything in every log."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))


@asynccontextmanager
async def nginx(
    folder: Path,
    processes: Sequence[int],
    *,
    turn: int = 0,
    changes: Sequence[tuple[str, str]] = (),
    by_hash: bool = False,
) -> AsyncIterator[Nginx]:
    """In front of these ports; with `turn`, the port that TURN over TLS has, it shares its own port
    by name.

    `changes`: what an operator changes in the file besides, old and new; `by_hash`: with
    nginx-hash.conf.
    """
    require_nginx()
    make_certificate(folder)
    port, plain, between, behind = free_ports(4)
    if by_hash:
        http = hashed(folder, port, processes, plain=plain)
    else:
        http = configuration(folder, port, processes, plain=plain, behind=behind if turn else 0)
    for old, new in changes:
        assert http.count(old) == 1, old
        http = http.replace(old, new)
    stream = sharing(port, between, behind, turn) if turn else ""
    path = write(folder, http, stream)
    temporary = [folder / f"temp-{name}" for name in TEMPORARY]
    process = await listening_at(
        port, "nginx", "-c", str(path), "-p", str(folder), "-g", "daemon off;"
    )
    try:
        for path in temporary:
            # A request whose body went there would fail.
            path.chmod(0)
        yield Nginx(folder, port, plain)
    finally:
        for path in filter(Path.exists, temporary):
            path.chmod(0o700)
        if process.returncode is None:
            process.terminate()
        await process.wait()


@dataclass
class Scene:
    nginx: Nginx
    processes: list[ServerProcess]
    # Ends what was started since
    stack: AsyncExitStack

    async def sessions(self) -> list[int]:
        """Return the number of sessions of each process."""
        replies = [await request("GET", f"{server.url}/health") for server in self.processes]
        return [reply.parse_json()["sessions"] for reply in replies]


def server_behind(port: int, settings: dict[str, str]) -> ServerProcess:
    """A process that nginx knows by its port, as qwen-webrtc@.service starts it."""
    # A busy machine is no dead Redis.
    module = "tests.support.patient_server" if "REDIS_URL" in settings else "server.main"
    return ServerProcess(
        {**BEHIND, "PROCESS_NAME": str(port), **settings}, port=port, module=module
    )


@asynccontextmanager
async def balanced(folder: Path, settings: dict[str, str]) -> AsyncIterator[Scene]:
    """Two processes with the same settings, and nginx in front."""
    require_nginx()
    ports = free_ports(2)
    async with AsyncExitStack() as stack:
        servers = [server_behind(port, settings) for port in ports]
        await asyncio.gather(*(stack.enter_async_context(server) for server in servers))
        front = await stack.enter_async_context(nginx(folder, ports))
        yield Scene(front, servers, stack)
