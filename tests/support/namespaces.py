"""Networks of the tests' own: network namespaces, cables between them, and nothing of them left afterwards.

    with Network() as net:
        client, relay, server = net.namespace("client"), net.namespace("relay"), net.namespace("server")
        net.cable(client, "10.99.1.2/24", relay, "10.99.1.1/24")
        net.cable(relay, "10.99.2.1/24", server, "10.99.2.2/24")
        relay.forward()
        client.route("default", via="10.99.1.1")
        await client.start(sys.executable, "-m", "camera")     # a process inside
        with server.entered():                                 # sockets made here belong to it for ever
            sock = socket.create_server(("10.99.2.2", 80))
        await client.inside(camera)                             # a coroutine function, in a thread inside

This machine's own addresses, routes and settings stay as they are: every cable lies between two namespaces.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self, TypeVar

import pytest

from tests.support.programs import ran

T = TypeVar("T")

PREFIX = "qct"
_FOLDER = Path("/run/netns")
# Files that `ip netns exec` puts over those of /etc
_NAMES = Path("/etc/netns")
_CLONE_NEWNET = 0x40000000
_numbers = itertools.count(1)


class NetworkError(Exception):
    """A command that builds the network failed; the text is the command and what it said."""


def _run(*command: str, stdin: str | None = None) -> str:
    """Run a command, and return its output. Raises NetworkError."""
    done = ran(command, input=stdin, timeout=20)
    if done.returncode != 0:
        raise NetworkError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


@functools.cache
def why_not() -> str:
    """Return the reason why no network can be created here; "" when it can. Tried once."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if shutil.which("ip") is None:
        return "the ip command is missing (package iproute2)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with Network() as net:
            one, other = net.namespace("one"), net.namespace("other")
            net.cable(one, "10.99.255.1/30", other, "10.99.255.2/30")
            one.forward()
            with one.entered():
                pass
    except (NetworkError, OSError, subprocess.SubprocessError) as error:
        return f"network namespaces are not permitted here ({str(error)[:200]})"
    return ""


def require(*programs: str) -> None:
    """Skips the test, with a sentence, where no network can be made or a program is missing."""
    if reason := why_not():
        pytest.skip(f"No network of its own for this test: {reason}.")
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing; bash scripts/test.sh installs it where it may.")


class Namespace:
    """One computer of the network. Made by `Network.namespace`."""

    def __init__(self, name: str) -> None:
        # The name that `ip netns` knows
        self.name = name
        self.interfaces = 0
        _run("ip", "netns", "add", name)
        self.run("ip", "link", "set", "lo", "up")
        # An address may be used as soon as it is given.
        self.sysctl("net.ipv6.conf.default.accept_dad", 0)

    def command(self, *command: str) -> list[str]:
        """The command line that runs `command` inside; it becomes that process, none between."""
        return ["ip", "netns", "exec", self.name, *command]

    def run(self, *command: str, stdin: str | None = None) -> str:
        """Run inside and wait, at most 20 s; what it printed. Raises NetworkError."""
        return _run(*self.command(*command), stdin=stdin)

    async def start(
        self, *command: str, cwd: str | Path | None = None, **options: Any
    ) -> asyncio.subprocess.Process:
        """A process inside, without input; `options` as of asyncio's create_subprocess_exec.

        It ends with the network.
        """
        options = {"stdin": asyncio.subprocess.DEVNULL, **options}
        process = await asyncio.create_subprocess_exec(*self.command(*command), cwd=cwd, **options)
        # The network ends only those that are inside, which `ip` takes a moment to be.
        while process.returncode is None and not self._holds(process.pid):
            await asyncio.sleep(0.005)
        return process

    def _holds(self, pid: int) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat(_FOLDER / self.name).st_ino
        return False

    def sysctl(self, key: str, value: int) -> None:
        """Set one of the namespace's own; others are this machine's and must not be named here."""
        assert key.startswith(("net.ipv4.", "net.ipv6."))
        with self.entered():
            Path("/proc/sys", *key.split(".")).write_text(f"{value}\n")

    def forward(self) -> None:
        """Let it pass packets on between its cables."""
        self.sysctl("net.ipv4.ip_forward", 1)
        self.sysctl("net.ipv6.conf.all.forwarding", 1)

    def route(self, to: str, *, via: str) -> None:
        """`to` is a network like 10.0.0.0/8, or default."""
        family = "-6" if ":" in via else "-4"
        self.run("ip", family, "route", "replace", to, "via", via)

    def address(self, address: str, interface: str = "lo") -> None:
        """One more address, like 10.99.1.3/24, on an interface (eth0 is the first cable)."""
        more = ("nodad",) if ":" in address else ()
        self.run("ip", "address", "add", address, "dev", interface, *more)

    def hosts(self, names: Mapping[str, str]) -> None:
        """Names and addresses for processes started inside from now (`command`, `start`, `run`)."""
        folder = _NAMES / self.name
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{address} {name}\n" for name, address in names.items()]
        (folder / "hosts").write_text("127.0.0.1 localhost\n" + "".join(lines))

    def nftables(self, rules: str) -> None:
        """Load nftables rules, as in a file for `nft -f`. Ask `require("nft")` first."""
        self.run("nft", "-f", "-", stdin=rules)

    def set_link(self, interface: str, up: bool) -> None:
        """Plug a cable in or out; out, this side's routes over it go, too."""
        self.run("ip", "link", "set", interface, "up" if up else "down")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is inside: sockets made here stay of the namespace.

        Nothing may be awaited within.
        """
        with open("/proc/thread-self/ns/net", "rb") as home:
            self.enter()
            try:
                yield
            finally:
                _set_namespace(home)

    def enter(self) -> None:
        """This thread goes inside and stays there: for a `preexec_fn`."""
        with open(_FOLDER / self.name, "rb") as there:
            _set_namespace(there)

    async def inside(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `work()` inside, in a thread with an event loop of its own; what it returns or
        raises. Cancelling the caller cancels it.
        """
        task: asyncio.Task[T] | None = None
        loop: asyncio.AbstractEventLoop | None = None

        async def main() -> T:
            nonlocal task, loop
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            return await work()

        def thread() -> T:
            with self.entered():
                return asyncio.run(main())

        with ThreadPoolExecutor(1, "namespace") as pool:
            future = asyncio.get_running_loop().run_in_executor(pool, thread)
            try:
                return await asyncio.shield(future)
            except asyncio.CancelledError:
                if loop is not None and task is not None:
                    with contextlib.suppress(RuntimeError):
                        loop.call_soon_threadsafe(task.cancel)
                    with contextlib.suppress(asyncio.CancelledError):
                        await future
                raise

    def pids(self) -> list[int]:
        """The processes inside."""
        return [int(pid) for pid in _run("ip", "netns", "pids", self.name).split()]

    def remove(self) -> None:
        """With every process inside, and its cables."""
        with contextlib.suppress(NetworkError):
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        _forget_names(self.name)
        _run("ip", "netns", "delete", self.name)


def _forget_names(name: str) -> None:
    shutil.rmtree(_NAMES / name, ignore_errors=True)
    # The folder itself is there for these alone, as a rule.
    with contextlib.suppress(OSError):
        _NAMES.rmdir()


def _set_namespace(file: IO[bytes]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Network:
    """A context manager. All that is made in it goes with it, whatever happened meanwhile."""

    def __init__(self) -> None:
        self._name = f"{PREFIX}-{os.getpid()}-{next(_numbers)}"
        self._namespaces: list[Namespace] = []

    def __enter__(self) -> Self:
        _remove_left_over()
        return self

    def __exit__(self, *_: object) -> None:
        failures = []
        while self._namespaces:
            try:
                self._namespaces.pop().remove()
            except NetworkError as error:
                failures.append(str(error))
        if failures:
            raise NetworkError("; ".join(failures))

    def namespace(self, name: str) -> Namespace:
        """A new computer without cables; the name only tells them apart."""
        namespace = Namespace(f"{self._name}-{name}")
        self._namespaces.append(namespace)
        return namespace

    def cable(
        self,
        one: Namespace,
        one_address: str | Sequence[str],
        other: Namespace,
        other_address: str | Sequence[str],
    ) -> tuple[str, str]:
        """A cable between two computers, with addresses like 10.99.1.1/24 or fd99:1::1/64; both
        interfaces' names (eth0, eth1, ... in the order in which a computer's cables were made).
        """
        ends = []
        for side in (one, other):
            ends.append(f"eth{side.interfaces}")
            side.interfaces += 1
        _run(
            *("ip", "link", "add", "name", ends[0], "netns", one.name, "type", "veth"),
            *("peer", "name", ends[1], "netns", other.name),
        )
        for side, end, addresses in ((one, ends[0], one_address), (other, ends[1], other_address)):
            for address in [addresses] if isinstance(addresses, str) else addresses:
                side.address(address, end)
            side.set_link(end, up=True)
        return ends[0], ends[1]


def _remove_left_over() -> None:
    """Remove networks of killed runs, whose process id is in the name."""
    for path in _FOLDER.glob(f"{PREFIX}-*"):
        parts = path.name.split("-")
        if len(parts) > 2 and parts[1].isdigit() and not Path("/proc", parts[1]).exists():
            # Another run may be clearing up, too.
            with contextlib.suppress(NetworkError):
                _forget_names(path.name)
                _run("ip", "netns", "delete", path.name)
