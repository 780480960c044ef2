"""Measure how fast this machine answers about pictures with llama.cpp's server, without downloading a model.

    python3 scripts/benchmark.py --machine
    python3 scripts/benchmark.py --machine --model Qwen3.5-2B --format Q8_0 --tokens 128 256 --threads 2 4 --minutes 10

It writes models of true size with random weights to a temporary folder (TMPDIR; 0.7 to 2.7 GB), because speed does not
depend on the values of weights. Each question has a new picture, and the system text of this program. The columns:

    tokens     visual tokens of the picture (--tokens)
    first      ms from sending the question to the first token
    picture    ms of these for the picture, in addition to the time for as many tokens of text
    prompt/s   tokens of text read per second
    tokens/s   tokens of an answer per second
    MB         maximum memory of the server

A load average above 1 is shown, because other programs make the figures worse. It runs the same llama.cpp server as
this program: LLAMA_SERVER, `llama-server` in PATH, or the package xllamacpp, which is installed if needed (34 MB).

Exit status: 0 measured, 1 not, 2 wrong options, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from scripts.arguments import (
    create_parser,
    make_integer_parser,
    make_number_parser,
    make_option_adder,
)
from scripts.bench import random_gguf
from scripts.bench.processes import MeasurementError, free_port
from scripts.bench.program import say
from server.features.hosting.catalogue.llama_cpp import LlamaServer as LlamaProgram
from server.features.hosting.catalogue.llama_cpp import LlamaServing, build_arguments
from server.features.hosting.control_groups import count_cores
from server.features.hosting.host import HostProbe
from server.media.picture import encode
from server.models.prompts import make_system_text
from server.shared.processes.environment import make_child_environment

QUESTION = "What is on the table in front of me, and what colour is it?"
ANSWER_TOKENS = 24
# Approximate tokens of the text whose speed is measured
_TEXT_TOKENS = 256
_LOADS, _ANSWERS = 120.0, 300.0
# Width and height of the part of a picture shown by one visual token
_TOKEN_PIXELS = 32
_HEAD = (
    "model",
    "threads",
    "OMP_WAIT_POLICY",
    "tokens",
    "first",
    "picture",
    "prompt/s",
    "tokens/s",
    "MB",
)


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = create_parser(__doc__, "benchmark.py --machine")
    value, shapes, policies = (
        make_option_adder(parser),
        tuple(random_gguf.SHAPES),
        ("passive", "active"),
    )
    threads, sizes = sorted({max(1, count_cores() - 1), count_cores()}), (64, 128, 256, 512)

    def add_list_option(option: str, default: Sequence[Any], words: str, **more: Any) -> None:
        help = f"{words} ({' '.join(map(str, default))})"
        parser.add_argument(option, nargs="+", default=default, help=help, **more)

    add_list_option("--model", shapes[:1], "whose shape", choices=shapes)
    add_list_option(
        "--format", random_gguf.FORMATS[:1], "of its weights", choices=random_gguf.FORMATS
    )
    add_list_option(
        "--tokens", sizes, "visual tokens of a picture", type=make_integer_parser(4, 4096)
    )
    add_list_option("--threads", threads, "of llama.cpp", type=make_integer_parser(1, 1024))
    add_list_option("--wait", policies, "OMP_WAIT_POLICY", choices=policies)
    value("--repeat", make_integer_parser(1, 100), 1, "questions per row, which shows their median")
    value(
        "--minutes",
        make_number_parser(0.01, 1000),
        5.0,
        "minutes after which no further row begins",
    )
    return parser.parse_args(arguments)


class LlamaServer:
    """llama.cpp's server with a model, alone on a free port."""

    def __init__(self, folder: Path, threads: int, policy: str, most_tokens: int) -> None:
        program = find_program()
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        serving = LlamaServing(
            weights=str(folder / random_gguf.WEIGHTS),
            projector=str(folder / random_gguf.PROJECTOR),
            name="random",
            host="127.0.0.1",
            port=port,
            context=4096,
            slots=1,
            threads=threads,
            free_bytes=0,
            picture_tokens=(4, most_tokens),
        )
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            build_arguments(program, serving),
            env=make_child_environment(os.environ, {**program.env, "OMP_WAIT_POLICY": policy}),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> LlamaServer:
        end = time.monotonic() + _LOADS
        while True:
            if self.process.poll() is not None or time.monotonic() > end:
                self.__exit__()
                raise MeasurementError(f"llama.cpp's server did not start:\n{self._said}")
            with contextlib.suppress(OSError), _open(f"{self.url}/health", None, 5):
                return self
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._log.seek(0)
        self._said = self._log.read()[-3000:].decode(errors="replace")
        self._log.close()

    def get_megabytes(self) -> float:
        """Return the maximum memory that it used; the current memory if the system does not report the maximum."""
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
            return int(next(one for one in lines if one.startswith("VmHWM")).split()[1]) / 1000
        return float(psutil.Process(self.process.pid).memory_info().rss) / 1e6

    def ask(self, said: Sequence[Mapping[str, Any]], tokens: int) -> tuple[float, dict[str, float]]:
        """Return the milliseconds to the first token, and llama.cpp's own figures."""
        body = {"messages": said, "max_tokens": tokens, "ignore_eos": True, "stream": True}
        began = time.monotonic()
        first = 0.0
        try:
            with _open(
                f"{self.url}/v1/chat/completions", {**body, "temperature": 0}, _ANSWERS
            ) as lines:
                for line in lines:
                    # The first event has no token.
                    event = json.loads(line[6:]) if line.startswith(b"data: {") else {}
                    if not first and (event.get("choices") or [{}])[0].get("delta", {}).get(
                        "content"
                    ):
                        first = (time.monotonic() - began) * 1000
                    if "timings" in event:
                        return first, event["timings"]
        except OSError as error:
            raise MeasurementError(f"llama.cpp's server did not answer: {error}") from None
        raise MeasurementError("llama.cpp's server ended an answer without timings")


def _open(url: str, body: object, timeout: float) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    # Without a proxy
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return opener.open(request, timeout=timeout)


def find_program() -> LlamaProgram:
    """Find llama.cpp's server as this program does. Raises MeasurementError."""
    found, trouble = HostProbe(llama_server=os.environ.get("LLAMA_SERVER", "")).find_llama_cpp()
    if found is None:
        raise MeasurementError(trouble)
    return found


def make_picture_url(tokens: int, seed: int) -> str:
    """Return a picture with this number of visual tokens as a URL; each seed gives another picture."""
    lines = next(one for one in range(int(tokens**0.5), 0, -1) if tokens % one == 0)
    size = (lines * _TOKEN_PIXELS, tokens // lines * _TOKEN_PIXELS, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    return encode.to_data_url(encode.encode_jpeg(pixels))


def make_question(url: str) -> list[dict[str, Any]]:
    """Return a question about a picture as this program asks it."""
    image = {"type": "image_url", "image_url": {"url": url}}
    system = {"role": "system", "content": make_system_text()}
    return [system, {"role": "user", "content": [image, {"type": "text", "text": QUESTION}]}]


def measure_rows(
    server: LlamaServer, args: argparse.Namespace, end: float
) -> Iterator[tuple[Any, ...]]:
    """Measure pictures of each size until `end`: the columns from `tokens` on."""
    said = "what is this " * (_TEXT_TOKENS // 3)
    # Twice: the first reads the weights from the disk.
    for start in ("a", "the"):
        _, figures = server.ask([{"role": "user", "content": f"{start} {said}"}], 1)
    text_rate = figures["prompt_per_second"]
    seeds = itertools.count()
    server.ask(make_question(make_picture_url(4, next(seeds))), 1)
    for tokens in args.tokens:
        if time.monotonic() > end:
            return
        found = []
        for _ in range(args.repeat):
            first, figures = server.ask(
                make_question(make_picture_url(tokens, next(seeds))), ANSWER_TOKENS
            )
            text_ms = figures["prompt_n"] / text_rate * 1000
            more_ms = max(0.0, figures["prompt_ms"] - text_ms)
            found.append((first, more_ms, figures["predicted_per_second"]))
        first, more_ms, rate = map(statistics.median, zip(*found, strict=True))
        cells = (f"{first:.0f}", f"{more_ms:.0f}", f"{text_rate:.0f}", f"{rate:.1f}")
        yield (tokens, *cells, f"{server.get_megabytes():.0f}")


def describe_machine() -> str:
    """Return this machine's processor, cores and memory as text."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(one for one in lines if one.startswith("model name")).partition(":")[2].strip()
    memory = psutil.virtual_memory().total / 1e9
    return f"{name}, {count_cores()} cores, {memory:.0f} GB, {platform.system()}"


def measure(args: argparse.Namespace, folder: Path) -> None:
    build, busy = find_program().version, os.getloadavg()[0]
    print(
        f"{describe_machine()}; llama.cpp b{build}"
        + (f"; load average {busy:.1f}" if busy > 1 else "")
    )
    print(_format_line(_HEAD), _format_line(["---"] * len(_HEAD)), sep="\n", flush=True)
    end, measured = time.monotonic() + args.minutes * 60, 0
    ways = list(itertools.product(args.threads, args.wait))
    kinds = list(itertools.product(args.model, args.format))
    for model, form in kinds:
        say(f"writing {model} {form}")
        texts = (make_system_text(), QUESTION, "what is this")
        random_gguf.write(folder, random_gguf.SHAPES[model], form, texts)
        for threads, policy in ways:
            if time.monotonic() < end:
                with LlamaServer(folder, threads, policy, max(args.tokens)) as server:
                    for cells in measure_rows(server, args, end):
                        measured += 1
                        print(
                            _format_line((f"{model} {form}", threads, policy, *cells)), flush=True
                        )
    if left := len(kinds) * len(ways) * len(args.tokens) - measured:
        print(f"{left} rows were not measured within {args.minutes:g} minutes (--minutes).")


def _format_line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def main(arguments: Sequence[str]) -> int:
    args = parse_options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="random-model-") as folder:
            measure(args, Path(folder))
    except (MeasurementError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
