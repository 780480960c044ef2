#!/usr/bin/env python3
"""Start vLLM with the model as .env says, and stay until it ends. bash scripts/start_vllm_server.sh calls this; see its --help."""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from config import ConfigError, Settings, load  # noqa: E402
from scripts.arguments import settings_file  # noqa: E402
from scripts.models import checkpoint, vllm_command  # noqa: E402
from scripts.models.disk import in_words  # noqa: E402
from scripts.models.gpu import gpus  # noqa: E402
from scripts.models.trouble import ModelError, ended, say  # noqa: E402
from scripts.models.vllm_command import Command  # noqa: E402
from scripts.models.vllm_process import VllmProcess, answers  # noqa: E402
from server.catalogue import batching, vllm_log  # noqa: E402
from server.catalogue.containers import IMAGE_FLAGS  # noqa: E402
from server.catalogue.sizes import OVERHEAD_BYTES  # noqa: E402
from server.catalogue.vllm import KEY, Vllm, VllmError  # noqa: E402
from server.core import core_dumps  # noqa: E402
from server.core.gpu import Gpu  # noqa: E402
from server.hosting import vllm_help  # noqa: E402
from server.hosting.host import main_memory  # noqa: E402


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bash scripts/start_vllm_server.sh",
        description=__doc__,
    )
    add = parser.add_argument
    add("--dry-run", action="store_true", help="print the command and start nothing")
    add("--vllm", default="vllm", help="the program (vllm of the PATH)")
    add("--cpu", action="store_true", help="on the CPU, with a vLLM that is built for it")
    add("--timeout", type=float, default=1800, help="seconds until it has to answer, 0: any (1800)")
    add("--env-file", type=settings_file, default=ROOT / ".env", help="the settings (.env)")
    given = list(sys.argv[1:] if arguments is None else arguments)
    extra: list[str] = []
    if "--" in given:
        at = given.index("--")
        given, extra = given[:at], given[at + 1 :]
    chosen = parser.parse_args(given)
    # Not `< 0`: it may be no number at all.
    if not chosen.timeout >= 0:
        parser.error("--timeout is a number of seconds, 0 or more.")
    chosen.extra = extra
    return chosen


def notify(state: str) -> None:
    """Tells systemd (sd_notify), where it started this and asked for it."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
        ):
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.sendall(state.encode())


def prepared(chosen: argparse.Namespace) -> tuple[Settings, Command]:
    """The settings and the command. Raises ModelError."""
    try:
        settings = load(chosen.env_file)
    except ConfigError as error:
        raise ModelError(error.message) from None
    model = checkpoint.read(ROOT / settings.model_path)
    weights = vllm_command.weights_bytes(model)
    cards: list[Gpu] = []
    try:
        cards = [] if chosen.cpu else gpus()
    except ModelError as error:
        if not chosen.dry_run:
            raise
        say(error.message)
    try:
        vllm = asked(chosen.vllm)
    except ModelError as error:
        # Without a GPU it may not even tell its flags.
        if not chosen.dry_run or chosen.cpu:
            raise
        say(
            f"{error.message} The command is for a vLLM of 0.30 or newer, whose flags are known here."
        )
        vllm = Vllm("0.30 or newer", IMAGE_FLAGS, words=(chosen.vllm, "serve"))
    if chosen.cpu and not vllm.for_cpu:
        raise ModelError(
            f"`{chosen.vllm}` is no build for the CPU, which --cpu needs. Install that one (docs.vllm.ai says how), or leave"
            " --cpu out where there is a GPU."
        )
    room = main_memory()[1] - weights
    used = cards[: gpus_of_a_copy(chosen.extra)]
    memory = sum(card.memory_total or 0 for card in used)
    share, taken = settings.gpu_memory_utilization, weights + OVERHEAD_BYTES
    gpu_room = batching.room(memory, share, taken) if memory else None
    command = vllm_command.build(settings, model, vllm, chosen.extra, room=room, gpu_room=gpu_room)
    say(f"vLLM {vllm.version}, {settings.model_path} ({in_words(weights)}), {described(cards)}.")
    doubts = memory_doubts(cards, weights, settings, gpus_of_a_copy(command.arguments))
    if command.batch:
        say(command.batch)
    for warning in (*doubts, *command.warnings):
        say(f"Look: {warning}")
    return settings, command


def asked(program: str) -> Vllm:
    """What the installed vLLM is. Raises ModelError."""
    try:
        return vllm_help.ask(program)
    except VllmError as error:
        if vllm_log.ON_CPU.search(error.output):
            raise ModelError(f"`{program}` failed. {vllm_log.NO_GPU}") from None
        raise ModelError(error.message) from None


def described(cards: Sequence[Gpu]) -> str:
    return "; ".join(_described(card) for card in cards) or "no GPU"


def _described(card: Gpu) -> str:
    free = _free(card)
    if free is None or card.memory_total is None:
        return card.name
    return f"{card.name}, {in_words(free)} of {in_words(card.memory_total)} free"


def _free(card: Gpu) -> int | None:
    if card.memory_total is None or card.memory_used is None:
        return None
    return card.memory_total - card.memory_used


def gpus_of_a_copy(arguments: Sequence[str]) -> int:
    """Over how many GPUs vLLM spreads the weights: one, unless flags of the operator's own say another number."""
    count = 1
    for names in (("--tensor-parallel-size", "-tp"), ("--pipeline-parallel-size", "-pp")):
        for word, after in zip(arguments, [*arguments, ""][1:], strict=True):
            name, is_, value = word.partition("=")
            value = value if is_ else after
            if name in names and value.isdecimal():
                count *= max(1, int(value))
    return count


def memory_doubts(
    cards: Sequence[Gpu], weights: int, settings: Settings, used: int = 1
) -> list[str]:
    """What will probably not fit into the first `used` GPUs, before minutes of loading tell it."""
    doubts = []
    share = settings.gpu_memory_utilization
    all_of_it = share * sum(card.memory_total or 0 for card in cards[:used])
    if all_of_it and weights > all_of_it:
        more = (
            f", or spread them over several GPUs: -- --tensor-parallel-size {len(cards)}"
            if len(cards) > used
            else ""
        )
        doubts.append(
            f"The weights take {in_words(weights)}, and GPU_MEMORY_UTILIZATION={share:g} of the memory of the GPUs that vLLM"
            f" uses ({used}) is {in_words(all_of_it)}. Convert them to 8 bits (python scripts/convert_model.py --help){more}."
        )
    elif len(cards) > used == 1:
        doubts.append(
            f"vLLM uses one of {len(cards)} GPUs. To spread the model over all of them, for shorter answers or more at a"
            f" time: -- --tensor-parallel-size {len(cards)}"
        )
    free = _free(cards[0]) if cards else None
    if free is not None and free < share * (cards[0].memory_total or 0):
        doubts.append(
            f"Of the first GPU's memory {in_words(free)} are free, others hold the rest: vLLM will not start with"
            f" GPU_MEMORY_UTILIZATION={share:g} unless they end. Lower it, or end them."
        )
    return doubts


def serve(chosen: argparse.Namespace, ready: list[float]) -> int:
    settings, command = prepared(chosen)
    print(command.shown(), flush=True)
    if chosen.dry_run:
        return 0
    host = f"[{command.host}]" if ":" in command.host else command.host
    health = f"http://{host}:{command.port}/health"
    if answers(health):
        raise ModelError(
            f"A server answers already at {health}. Stop that one, or give VLLM_BASE_URL another port."
        )
    environment = vllm_command.child_environment(command, os.environ)
    process = VllmProcess(command.arguments, environment, environment.get(KEY, ""), cpu=chosen.cpu)
    status = None

    def told(text: str) -> None:
        say(text)
        # Its own timeout for starts is pushed on; --timeout is the one that counts.
        notify(f"STATUS={text}\nEXTEND_TIMEOUT_USEC=60000000")

    try:
        seconds = process.until_healthy(health, chosen.timeout, told)
        if seconds is not None:
            ready.append(seconds)
            say(f"Ready after {seconds:.0f} s: {settings.vllm_base_url}")
            notify("READY=1")
            status = process.wait()
        else:
            status = process.status
    finally:
        notify("STOPPING=1")
        process.stop()
    raise ModelError(why(process, settings, command, status, bool(ready)))


def why(
    process: VllmProcess, settings: Settings, command: Command, status: int | None, was_ready: bool
) -> str:
    """How it ended, and what its log says of the reason."""
    if process.on_cpu:
        how = "vLLM was stopped, because it runs on the CPU"
    elif status is not None and status < 0:
        how = f"vLLM was killed by signal {-status}"
    else:
        how = f"vLLM ended {'' if was_ready else 'before it was ready '}with status {status}"
    reason = vllm_log.explanation(
        process.lines,
        memory=f"GPU_MEMORY_UTILIZATION (now {settings.gpu_memory_utilization:g})",
        context=f"MODEL_MAX_TOKENS (now {settings.model_max_tokens})",
        dtype=f"MODEL_DTYPE (now {settings.model_dtype})",
        elsewhere="give VLLM_BASE_URL another port",
        for_cpu=process.cpu,
        port=command.port,
        path=settings.model_path,
    )
    if not reason and status == -9:
        reason = "The system ended it, most likely for want of main memory: see `dmesg | tail`."
    return f"{how}. {reason or 'Its log above says why; the reason is none of those that are known here.'}"


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = options(arguments)
    ready: list[float] = []
    status = ended(lambda: serve(chosen, ready), lambda: "Stopped: vLLM has ended.")
    return 0 if ready and status > 128 else status


if __name__ == "__main__":
    core_dumps.forbid()
    sys.exit(main())
