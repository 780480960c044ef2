"""The containers of deploy/kubernetes with their commands, environments and probes, as processes of
this machine, and nginx before gateways that it finds by name.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self, cast

import pytest

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.http_json import Reply, request, request_json
from scripts.bench.http_json import request as http
from tests.support import real_router
from tests.support.answering import answering
from tests.support.documents import ROOT
from tests.support.fakes_rtc import live_encoder
from tests.support.fakes_server import free_ports
from tests.support.kubernetes import KUBERNETES, TEMPLATE, Manifest, identity, pods, rendered
from tests.support.nginx import SECRET, check, make_certificate, require_nginx, write

pytestmark = pytest.mark.slow
CODE = "a-code-of-an-operator"
ENGINE = """\
#!{python} -S
# Stands in for vLLM: what answers is engine_stand_in.
import sys
sys.path.insert(0, {root!r})
from tests.support import engine_stand_in
flags = dict(word.partition("=")[::2] for word in sys.argv[3:])
assert sys.argv[1:3] == ["serve", "/model"], sys.argv
engine_stand_in.CARD["id"] = flags["--served-model-name"]
engine_stand_in.Handler.words = 20
engine_stand_in.serve(int(flags["--port"]), host=flags["--host"])
"""


def manifests() -> list[Manifest]:
    return rendered(KUBERNETES / "overlays" / "cuda")


def settings() -> dict[str, str]:
    found = next(one for one in manifests() if identity(one) == ("ConfigMap", "gateway-settings"))
    data: dict[str, str] = found["data"]
    return data


def container(name: str) -> Manifest:
    found: Manifest = pods(manifests())[name]["containers"][0]
    return found


async def test_the_pods_work_together(tmp_path: Path) -> None:
    """Gateway, Redis, vLLM's router and a stand-in engine, started as their manifests say: each probe
    succeeds, a question is answered through all of them, the gateway takes no more when it stops and
    ends in time, and a router whose engine is gone stays.
    """
    real_router.needed()
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is missing; bash scripts/test.sh installs it where it may.")
    web, redis_port, router_port, metrics, *engines = free_ports(8)
    stand_in(tmp_path)
    here = {f"vllm-{n}.vllm:8001": f"127.0.0.1:{port}" for n, port in enumerate(engines)}
    own = settings() | {"PORT": str(web), "HOST": "127.0.0.1", "DRAIN_SECONDS": "1"}
    redis = Workload(
        container("redis"),
        {},
        places={"6379": str(redis_port), "0.0.0.0": "127.0.0.1", "--dir /tmp": f"--dir {tmp_path}"},
        port=redis_port,
    )
    engine = Workload(
        container("vllm"),
        {},
        places={"--port=8001": f"--port={engines[0]}", "0.0.0.0": "127.0.0.1"},
        port=engines[0],
        programs=tmp_path,
    )
    router = Workload(
        container("router"),
        {
            "ROUTER_PORT": str(router_port),
            "ROUTER_METRICS_PORT": str(metrics),
            "ROUTER_PROGRAM": str(real_router.PROGRAM),
        },
        places={**here, "0.0.0.0": "127.0.0.1"},
        port=router_port,
    )
    gateway = Workload(
        container("gateway"),
        own,
        places={"redis:6379": f"127.0.0.1:{redis_port}", "router:8009": f"127.0.0.1:{router_port}"},
        port=web,
        fields={
            "metadata.labels['apps.kubernetes.io/pod-index']": "3",
            "status.hostIP": "127.0.0.1",
        },
        secrets={"JWT_SECRET_KEY": SECRET, "ACCESS_CODE": CODE},
    )
    async with AsyncExitStack() as stack:
        for one in (redis, engine, router, gateway):
            await stack.enter_async_context(one)
        for one in (redis, engine, router, gateway):
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                await one.becomes(probe)
        url = f"http://127.0.0.1:{web}"
        async with asyncio.timeout(60):
            while not await answered(url):
                await asyncio.sleep(0.1)
        await is_answered(url)
        assert engine.process is not None
        engine.process.kill()
        await engine.process.wait()
        assert await router.probe("readinessProbe")
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await gateway.process.wait() == 0
    for secret in (SECRET, CODE):
        assert secret.encode() not in gateway.output


def stand_in(folder: Path) -> None:
    """Put a stand-in for vLLM into a folder of programs."""
    program = folder / "vllm"
    program.write_text(ENGINE.format(python=sys.executable, root=str(ROOT)))
    program.chmod(0o755)


async def is_answered(url: str) -> None:
    """A question with a camera is answered; the session's id leads nginx to the fourth pod."""
    async with live_encoder() as encoder, CameraPeer(url, encoder, access_code=CODE) as peer:
        assert peer.session_id.startswith("g3-")
        answer = await peer.ask("What is this?", timeout=40)
        assert answer.response is not None, answer.error
        assert answer.response["text"].split()[:3] == ["0", "1", "2"]


async def answered(url: str) -> bool:
    """Return whether a gateway has found its model server."""
    try:
        found: bool = (await request_json("GET", f"{url}/health"))["engine"]["name"] == "vllm"
    except (OSError, EOFError):
        return False
    return found


class Names(asyncio.DatagramProtocol):
    """A name server that knows these names and no others."""

    def __init__(self, known: dict[str, str]) -> None:
        self.known = known
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode())
            at += data[at] + 1
        question = data[12 : at + 5]
        address = self.known.get(".".join(labels))
        assert self._transport is not None
        # Answer, or NXDOMAIN; RFC 1035, section 4.1.1
        flags, count = (0x8180, 1) if address else (0x8183, 0)
        head = data[:2] + struct.pack(">HHHHH", flags, 1, count, 0, 0)
        found = struct.pack(">HHHIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(address or "0.0.0.0")
        self._transport.sendto(head + question + found * count, addr)


async def test_nginx_finds_gateways_by_name(tmp_path: Path) -> None:
    """A session goes to the gateway that its id names, as long as that is there, else to any that is
    ready; a name that is no gateway's leads nowhere else; without any gateway the answer is 503.
    """
    require_nginx()
    make_certificate(tmp_path)
    front, plain, gateways = free_ports(3)
    suffix = "qwen-camera.svc.cluster.local"
    names = Names(
        {
            f"gateway-any.{suffix}": "127.0.0.2",
            f"gateway-0.gateway.{suffix}": "127.0.0.2",
            f"gateway-1.gateway.{suffix}": "127.0.0.3",
            # In the list of names, and its pod does not answer.
            f"gateway-2.gateway.{suffix}": "127.0.0.4",
        }
    )
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: names, local_addr=("127.0.0.1", 0))
    resolver = transport.get_extra_info("sockname")[1]
    text = TEMPLATE.read_text()
    for old, new in (
        ("${NGINX_LOCAL_RESOLVERS} valid=5s", f"127.0.0.1:{resolver} valid=1s"),
        ("cluster.local:8000", f"cluster.local:{gateways}"),
        ("listen 8080", f"listen 127.0.0.1:{plain}"),
        ("listen 8443", f"listen 127.0.0.1:{front}"),
        ("/etc/nginx/tls/tls.crt", f"{tmp_path}/server.pem"),
        ("/etc/nginx/tls/tls.key", f"{tmp_path}/server.pem"),
        ("/dev/stdout", f"{tmp_path}/qwen-camera.access.log"),
    ):
        assert old in text
        text = text.replace(old, new)
    path = write(tmp_path, text)
    assert "[warn]" not in check(path)
    process = await asyncio.create_subprocess_exec(
        *("nginx", "-c", str(path), "-p", str(tmp_path), "-g", "daemon off;")
    )
    tls = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
    session = "a" * 22

    async def asked(method: str, query: str = "") -> Reply:
        url = f"https://127.0.0.1:{front}/api/webrtc/offer{query}"
        return await http(method, url, {} if method == "POST" else None, tls=tls)

    async def reached(query: str, method: str = "POST") -> str:
        return (await asked(method, query)).body.decode()

    try:
        async with (
            answering("127.0.0.2", host="127.0.0.2", port=gateways) as first,
            answering("127.0.0.3", host="127.0.0.3", port=gateways) as second,
        ):
            async with asyncio.timeout(20):
                while True:
                    try:
                        await asked("GET")
                        break
                    except OSError:
                        await asyncio.sleep(0.05)
            assert await reached("") == "127.0.0.2"
            assert await reached(f"?session=g0-{session}") == "127.0.0.2"
            assert await reached(f"?session=g1-{session}") == "127.0.0.3"
            # Gone, or never there: another one says what is to be done.
            assert await reached(f"?session=g2-{session}") == "127.0.0.2"
            assert await reached(f"?session=g7-{session}") == "127.0.0.2"
            # No way to any other name of the cluster
            for name in ("redis", "g99999", "1"):
                assert await reached(f"?session={name}-{session}") == "127.0.0.2"
            assert len(second.heads) == 1
            assert len(first.heads) >= 7
            socket_path = f"https://127.0.0.1:{front}/ws/g1-{session}"
            assert (await http("GET", socket_path, tls=tls)).body == b"127.0.0.3"
        for query in ("", f"?session=g1-{session}"):
            refused = await asked("POST", query)
            assert refused.status == 503, query
            assert refused.parse_json()["error"]["code"] == "busy"
    finally:
        process.terminate()
        await process.wait()
        transport.close()


# Pods of podman


# Workloads


# The most that a probe waits in a test (seconds): a busy machine is slow to start things.
PATIENCE = 60.0


class Workload:
    """One container's process.

    `places`: what stands in the manifest's command and environment, to what it is here. `fields`:
    values of the pod that variables take (`fieldRef`, by its path). `secrets`: by the name of the
    variable. `programs`: folder that goes before the PATH.
    """

    def __init__(
        self,
        container: Manifest,
        config: Mapping[str, str],
        *,
        places: Mapping[str, str],
        port: int,
        fields: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        programs: Path | None = None,
    ) -> None:
        self.container, self.port = container, port
        self._places = places
        path = os.environ["PATH"]
        self._environment = {
            "PATH": f"{programs}:{path}" if programs else path,
            "PYTHONDONTWRITEBYTECODE": "1",
            **{name: self.place(value) for name, value in config.items()},
            **(secrets or {}),
        }
        for one in container.get("env", ()):
            value = one.get("value")
            if value is None:
                value = (fields or {})[one["valueFrom"]["fieldRef"]["fieldPath"]]
            # $(NAME) is what stands before it in the list.
            value = re.sub(r"\$\((\w+)\)", lambda m: self._environment[m[1]], value)
            self._environment[one["name"]] = self.place(value)
        self.output = bytearray()
        self.process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    def place(self, text: str) -> str:
        """With this machine's addresses."""
        for old, new in self._places.items():
            text = text.replace(old, new)
        return text

    @property
    def command(self) -> Sequence[str]:
        """The image's `python` is the one that runs the tests."""
        words = [*self.container["command"], *self.container.get("args", ())]
        words = [self.place(word) for word in words]
        return [sys.executable, *words[1:]] if words[0] == "python" else words

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            *self.command,
            cwd=ROOT,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reader = asyncio.create_task(self._read(self.process), name="workload-output")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(30):
                    await self.process.wait()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        if self._reader is not None:
            await self._reader

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while data := await process.stdout.read(65536):
            self.output += data

    async def probe(self, name: str) -> bool:
        """Probe once, as the kubelet would."""
        spec: dict[str, Any] = self.container[name]
        if (get := spec.get("httpGet")) is not None:
            try:
                reply = await request("GET", f"http://127.0.0.1:{self.port}{get['path']}")
            except (OSError, EOFError):
                return False
            return 200 <= reply.status < 400
        if (run := spec.get("exec")) is not None:
            words = [self.place(word) for word in run["command"]]
            done = await asyncio.create_subprocess_exec(
                *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
            )
            return await done.wait() == 0
        assert "tcpSocket" in spec
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def becomes(self, name: str, wanted: bool = True) -> None:
        """Raises TimeoutError, and AssertionError when the process ends meanwhile."""
        assert self.process is not None
        async with asyncio.timeout(PATIENCE):
            while await self.probe(name) is not wanted:
                ended = self.process.returncode is not None
                assert not ended, self.output.decode(errors="replace")
                await asyncio.sleep(0.1)
