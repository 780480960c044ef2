"""The processes of a fleet: Redis, engines, vLLM's router, gateways, and nginx in front of them."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from scripts.arguments import ROOT
from scripts.bench.http_json import request, request_json
from scripts.bench.processes import (
    MeasurementError,
    Program,
    ServerProcess,
    StandInProcess,
    free_port,
)

READY_SECONDS = 60.0

# Hosts: this machine, or network namespaces with a bridge between them. Nothing else is changed: their names begin with a
# prefix of this process, and they are removed with it.

# Network of the namespaces; the bridge has no address and no route to other networks.
_NETWORK = "10.87.0"
_FOLDER = "/run/netns"
# setns(2): a network namespace
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Host:
    """A host for processes. `command`: arguments in front of a program's own."""

    name: str = "here"
    address: str = "127.0.0.1"
    command: tuple[str, ...] = ()

    async def start(
        self, program: Sequence[str], port: int, seconds: float = 10.0, **options: Any
    ) -> asyncio.subprocess.Process:
        """Start a program, and wait until it listens on a port. Raises MeasurementError."""
        silent = dict.fromkeys(("stdout", "stderr"), asyncio.subprocess.DEVNULL)
        process = await asyncio.create_subprocess_exec(
            *(*self.command, *program),
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            **(silent | options),
        )
        end = asyncio.get_running_loop().time() + seconds
        while process.returncode is None and asyncio.get_running_loop().time() < end:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(self.address, port)
                writer.close()
                return process
            await asyncio.sleep(0.02)
        ended = process.returncode is not None
        if not ended:
            process.kill()
            await process.wait()
        raise MeasurementError(
            f"{program[0]} "
            + ("ended immediately" if ended else f"does not listen after {seconds:g} s")
        )


def require(program: str, wanted_by: str) -> None:
    """Raise MeasurementError if a program is not installed."""
    if shutil.which(program) is None:
        raise MeasurementError(f"{program} is not installed: {wanted_by}")


class Service(Program, ABC):
    """A program on a free port of a host. Use as a context manager."""

    def __init__(self, host: Host) -> None:
        self.host, self.port = host, free_port()
        self.address = f"{host.address}:{self.port}"
        self._open = contextlib.ExitStack()

    @abstractmethod
    async def start(self) -> None:
        """Start the program. Raises MeasurementError."""

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        self._open.close()


class Namespaces:
    """A network namespace for each host, the first one for this process. A context manager."""

    def __init__(self, names: Sequence[str]) -> None:
        """Check the requirements. Raises MeasurementError without root, or without the programs."""
        if os.geteuid() != 0:
            raise MeasurementError("--namespaces needs root to create network namespaces")
        for program in ("ip", "nsenter"):
            require(program, "--namespaces needs it")
        self._names = tuple(names)
        self._prefix = f"fleet{os.getpid()}"
        self._stack = AsyncExitStack()

    def _get_namespace(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def __getitem__(self, name: str) -> Host:
        number = self._names.index(name) + 2
        before = ("nsenter", f"--net={_FOLDER}/{self._get_namespace(name)}")
        return Host(name, f"{_NETWORK}.{number}", before)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            hub = await self._make_host("hub", stack)
            await _run_ip("-n", hub, "link", "add", "middle", "type", "bridge")
            await _run_ip("-n", hub, "link", "set", "middle", "up")
            for name in self._names:
                space = await self._make_host(name, stack)
                way = _get_link_name(name)
                peer = ("type", "veth", "peer", "name", "eth0", "netns", space)
                await _run_ip("-n", hub, "link", "add", way, *peer)
                await _run_ip("-n", hub, "link", "set", way, "master", "middle", "up")
                address = f"{self[name].address}/24"
                await _run_ip("-n", space, "address", "add", address, "dev", "eth0")
                for link in ("lo", "eth0"):
                    await _run_ip("-n", space, "link", "set", link, "up")
            # Threads inherit the namespace of the thread that starts them.
            _enter_namespace(self._get_namespace(self._names[0]))
            self._stack = stack.pop_all()
        return self

    async def _make_host(self, name: str, stack: AsyncExitStack) -> str:
        space = self._get_namespace(name)
        await _run_ip("netns", "add", space)
        stack.push_async_callback(_run_ip, "netns", "delete", space)
        return space

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def cut(self, name: str) -> None:
        """Disconnect a host from the network."""
        await _run_ip("-n", self._get_namespace("hub"), "link", "set", _get_link_name(name), "down")

    async def reconnect(self, name: str) -> None:
        """Connect a host to the network again."""
        await _run_ip("-n", self._get_namespace("hub"), "link", "set", _get_link_name(name), "up")


def _get_link_name(name: str) -> str:
    """Return the name of a host's link at the bridge; Linux allows 15 characters."""
    return f"to-{name}"


def _enter_namespace(space: str) -> None:
    """Move this thread, and threads that it starts, to a namespace. Raises MeasurementError."""
    with open(f"{_FOLDER}/{space}", encoding="ascii") as handle:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
            why = os.strerror(ctypes.get_errno())
            raise MeasurementError(f"this process cannot enter its namespace: {why}")


async def _run_ip(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "ip",
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    if process.returncode != 0:
        raise MeasurementError(f"`ip {' '.join(words)}`: {said.decode(errors='replace').strip()}")


class Engine(StandInProcess):
    """A stand-in model server that keeps its port."""

    def __init__(self, host: Host, first_token_ms: float, between_ms: float) -> None:
        super().__init__(first_token_ms=first_token_ms, between_ms=between_ms)
        self.command = host.command
        port = free_port()
        self.url = f"http://{host.address}:{port}"
        self._arguments += ["--shared", "--host", host.address, "--port", str(port)]

    async def slow_down(self, factor: float) -> None:
        """Slow the engine down by this factor; 1 restores the normal speed."""
        await request_json("POST", f"{self.url}/factor", factor)

    async def get_arrivals(self) -> list[float]:
        """Return the times of the requests of its current process (seconds since the epoch)."""
        try:
            return [float(record["arrived"]) for record in await self.fetch_records()]
        except (OSError, EOFError, TimeoutError):
            return []


class Gateway(ServerProcess):
    """A web process that keeps its port and its name."""

    def __init__(self, host: Host, name: str, port: int, **environment: str) -> None:
        """Create a gateway. `name`: names of its host and of itself, as in the id of a session."""
        own, _, process = name.partition("_")
        super().__init__(
            **{**environment, "HOST": host.address, "PORT": str(port)},
            GATEWAY_NAME=own,
            PROCESS_NAME=process,
        )
        self.command = host.command
        self.host, self.name, self.port = host, name, port
        self.address = f"{host.address}:{port}"
        self.url = f"http://{self.address}"

    async def wait_ended(self, seconds: float) -> None:
        """Wait until the process has ended. Raises TimeoutError."""
        if self._process is not None:
            await asyncio.wait_for(self._process.wait(), seconds)


class Redis(Service):
    """A Redis without persistence, which is empty after a restart."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.url = f"redis://{self.address}/0"

    async def start(self) -> None:
        require("redis-server", "--fleet needs it (apt install redis-server)")
        folder = self._open.enter_context(tempfile.TemporaryDirectory())
        where = ("--port", str(self.port), "--bind", self.host.address, "--protected-mode", "no")
        saves = ("--dir", folder, "--save", "", "--appendonly", "no")
        self._process = await self.host.start(("redis-server", *where, *saves), self.port)


# A server block's lines of deploy/nginx.conf; see there.
_SERVER = """
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $qwen_camera_upgrade;
    proxy_set_header Connection $qwen_camera_connection;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_buffering off;
    proxy_connect_timeout 2s;
    proxy_read_timeout 90s;
    proxy_next_upstream error timeout;
    proxy_next_upstream_timeout 5s;
    location / { proxy_pass http://$qwen_camera_process; }
    location = /api/token {
        proxy_next_upstream error timeout http_503 non_idempotent;
        proxy_pass http://$qwen_camera_process;
    }
"""


def format_nginx_configuration(folder: Path, listen: str, gateways: Mapping[str, str]) -> str:
    """Return nginx's configuration. `listen`: its address and port; `gateways`: address and port by name."""
    shipped = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    begins, ends = shipped.index("# All processes:"), shipped.index("map $content_type ")
    maps = shipped[begins:ends]
    one = "    server 127.0.0.1:8000 max_fails=0;\n"
    default = "    default qwen_camera;\n"
    if maps.count(one) != 1 or maps.count(default) != 1:
        raise MeasurementError(
            "deploy/nginx.conf has changed: its example for several processes was not found"
        )
    every = {name: f"    server {address} max_fails=0" for name, address in gateways.items()}
    maps = maps.replace(one, "".join(f"{line};\n" for line in every.values()))
    maps = maps.replace(
        default, default + "".join(f"    {name} qwen_camera_{name};\n" for name in gateways)
    )
    blocks = "".join(
        f"upstream qwen_camera_{own} {{\n{every[own]};\n"
        + "".join(f"{line} backup;\n" for name, line in every.items() if name != own)
        + "}\n"
        for own in gateways
    )
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"pid {folder}/nginx.pid;\nerror_log /dev/null;\nworker_processes 1;\n"
        "events { worker_connections 4096; }\n"
        f"http {{\naccess_log off;\n{temporary}{blocks}{maps}\n"
        f"server {{\n    listen {listen};\n{_SERVER}}}\n}}\n"
    )


class Nginx(Service):
    """An nginx in front of the gateways, with the maps of deploy/nginx.conf, over plain HTTP."""

    def __init__(self, host: Host, gateways: Mapping[str, str]) -> None:
        super().__init__(host)
        self.url = f"http://{self.address}"
        self._gateways = gateways

    async def start(self) -> None:
        require("nginx", "--fleet needs it (apt install nginx)")
        folder = Path(self._open.enter_context(tempfile.TemporaryDirectory()))
        path = folder / "nginx.conf"
        path.write_text(format_nginx_configuration(folder, self.address, self._gateways))
        program = ("nginx", "-c", str(path), "-p", str(folder), "-g", "daemon off;")
        try:
            self._process = await self.host.start(program, self.port)
        except MeasurementError as error:
            raise MeasurementError(f"{error}: run `nginx -t` to find the reason") from None

    async def kill(self) -> None:
        """Kill nginx with its workers."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), 5)
        await super().kill()


class Router(Service):
    """vLLM's router, as scripts/start_router.sh starts it."""

    def __init__(self, host: Host, workers: Sequence[str]) -> None:
        """Create a router. `workers`: addresses of the engines, without /v1."""
        super().__init__(host)
        self.base_url = f"http://{self.address}/v1"
        self._workers = workers

    async def start(self) -> None:
        said = self._open.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        env = {
            **os.environ,
            "ROUTER_WORKERS": ",".join(self._workers),
            "ROUTER_HOST": self.host.address,
            "ROUTER_PORT": str(self.port),
            "ROUTER_METRICS_PORT": str(free_port()),
        }
        program = ("bash", str(ROOT / "scripts" / "start_router.sh"))
        try:
            self._process = await self.host.start(
                program, self.port, READY_SECONDS / 2, env=env, stdout=said, stderr=said
            )
        except MeasurementError:
            said.seek(0)
            why = said.read()[-2000:].decode(errors="replace")
            raise MeasurementError(f"vLLM's router does not run:\n{why}") from None


def _list_gateway_names(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Return host and name of each gateway: two per host if hosts are separate."""
    if not args.namespaces:
        return [(f"h{number + 1}",) * 2 for number in range(args.gateways)]
    return [
        (f"h{number // 2 + 1}", f"h{number // 2 + 1}_{number % 2 + 1}")
        for number in range(args.gateways)
    ]


class Fleet:
    """All processes of a fleet, by the options of `--fleet`. Use as a context manager."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Prepare the fleet; `__aenter__` starts it. Raises MeasurementError."""
        self._args = args
        # Host and name of each gateway
        self.names = _list_gateway_names(args)
        engines = [f"e{number + 1}" for number in range(args.engines)]
        # None if all are on this machine
        self.hosts: Namespaces | None = None
        if args.namespaces:
            gateways = dict.fromkeys(host for host, _ in self.names)
            names = ("people", "lb1", "lb2", "redis", "router", *gateways, *engines)
            self.hosts = Namespaces(names)
        self._fronts = ("lb1", "lb2") if args.namespaces else ("lb1",)
        self._secret, self._token = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        self.redis = Redis(self._host("redis"))
        self.engines = [
            Engine(self._host(name), args.first_token_ms, args.between_ms) for name in engines
        ]
        self.router = Router(self._host("router"), [one.url for one in self.engines])
        self.gateways: list[Gateway] = []
        # Addresses for people
        self.urls: list[str] = []
        self._stack = AsyncExitStack()

    def _host(self, name: str) -> Host:
        return Host(name) if self.hosts is None else self.hosts[name]

    def _make_gateway(self, host: str, name: str, port: int) -> Gateway:
        return Gateway(
            self._host(host),
            name,
            port,
            ENGINE="vllm",
            VLLM_BASE_URL=self.router.base_url,
            MODEL_NAME="stand-in",
            REDIS_URL=self.redis.url,
            JWT_SECRET_KEY=self._secret,
            METRICS_TOKEN=self._token,
            TRUSTED_PROXIES=",".join(self._host(one).address for one in self._fronts),
            DRAIN_SECONDS="10",
            # More than twice the people, for sessions that begin before others end.
            MAX_SESSIONS=str(4 * self._args.cameras + 10),
            GATEWAY_SESSIONS=str(2 * self._args.cameras + 5),
        )

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            if self.hosts is not None:
                await enter(self.hosts)
            await enter(self.redis)
            for engine in self.engines:
                await enter(engine)
            await enter(self.router)
            self.gateways = [
                self._make_gateway(host, name, free_port()) for host, name in self.names
            ]
            for gateway in self.gateways:
                await enter(gateway)
            addresses = {gateway.name: gateway.address for gateway in self.gateways}
            for front in self._fronts:
                self.urls.append((await enter(Nginx(self._host(front), addresses))).url)
            for gateway in self.gateways:
                await gateway.wait_for_engine(READY_SECONDS)
            await self.wait_discovered()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def wait_discovered(self) -> None:
        """Wait until all gateways have discovered each other."""
        async with asyncio.timeout(READY_SECONDS):
            while any(
                [
                    await self._count_other_gateways(one) < len(self.gateways) - 1
                    for one in self.gateways
                ]
            ):
                await asyncio.sleep(0.2)

    async def _count_other_gateways(self, gateway: Gateway) -> int:
        with contextlib.suppress(OSError, EOFError):
            reply = await request("GET", f"{gateway.url}/health", token=self._token)
            return sum(not one["draining"] for one in reply.parse_json().get("gateways", []))
        return 0

    async def restart(self, number: int) -> None:
        """Restart an ended gateway under its name and port."""
        old = self.gateways[number]
        await old.wait_ended(10)
        new = self._make_gateway(old.host.name, old.name, old.port)
        self.gateways[number] = await self._stack.enter_async_context(new)
        await new.wait_for_engine(READY_SECONDS)
        await self.wait_discovered()


FAULTS = ("drain", "kill", "engine", "slow", "redis", "redis-kill", "partition")
# Faults without separate hosts
NOT_APART = FAULTS[:-1]
SLOW_FACTOR = 10.0
# Maximum time of a drained gateway: DRAIN_SECONDS of 10, and a margin for its end
DRAINED_SECONDS = 40.0
# Minimum seconds of a fault; a shorter outage of Redis has no effect.
LEAST = {"redis": 30.0, "redis-kill": 30.0, "partition": 15.0}

Step = Callable[[], Awaitable[object]]


def make_script(fleet: Fleet) -> dict[str, tuple[Step, Step]]:
    """Return for each fault the step that causes it, and the one that repairs it."""
    first, last = fleet.engines[0], fleet.engines[-1]

    async def drain_and_end() -> None:
        await fleet.gateways[0].wait_ended(DRAINED_SECONDS)
        await fleet.restart(0)

    steps: dict[str, tuple[Step, Step]] = {
        "drain": (lambda: fleet.gateways[0].send_signal(signal.SIGTERM), drain_and_end),
        "kill": (lambda: fleet.gateways[1].send_signal(signal.SIGKILL), lambda: fleet.restart(1)),
        "engine": (first.kill, first.__aenter__),
        "slow": (lambda: last.slow_down(SLOW_FACTOR), lambda: last.slow_down(1)),
        "redis": (
            lambda: fleet.redis.send_signal(signal.SIGSTOP),
            lambda: fleet.redis.send_signal(signal.SIGCONT),
        ),
        "redis-kill": (fleet.redis.kill, fleet.redis.start),
    }
    if (hosts := fleet.hosts) is not None:
        # The host that a partition disconnects, with its gateways
        far = fleet.names[-1][0]
        steps["partition"] = (lambda: hosts.cut(far), lambda: hosts.reconnect(far))
    return steps
