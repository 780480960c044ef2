#!/usr/bin/env python3
"""Replace this process by vLLM with the model of .env. Called by scripts/start_vllm_server.sh; see its --help."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.arguments import ROOT, add_env_file
from scripts.models import bare_settings, checkpoint, vllm_command
from scripts.models.disk import ModelError, format_bytes, run_script, say
from server.core import core_dumps
from server.features.hosting.catalogue import engine_log
from server.features.hosting.catalogue.launch import Launch
from server.features.hosting.catalogue.vllm import IMAGE_FLAGS, ROCM_ENVIRONMENT, Vllm, VllmError
from server.features.hosting.control_groups import get_main_memory
from server.features.hosting.gpu import Gpu, GpuError, GpuReader
from server.features.hosting.host import query_vllm
from server.shared.processes.environment import make_child_environment

if TYPE_CHECKING:
    from config import Settings

PROGRESS_SECONDS = 10.0
# Number of last lines of a log that are examined, and maximum characters of each
_LINES, _LINE_CHARS = 400, 4000
# The environment's proxies are not used.
_DIRECT = build_opener(ProxyHandler({}))


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bash scripts/start_vllm_server.sh", description=__doc__)
    add = parser.add_argument
    add("--dry-run", action="store_true", help="print the command and start nothing")
    add("--vllm", default="vllm", help="the program (vllm of the PATH)")
    add("--cpu", action="store_true", help="on the CPU, with a vLLM that is built for it")
    add("--wait", action="store_true", help="start nothing: return when vLLM answers")
    add("--pid", type=int, help="with --wait: give up when this process, which is vLLM, has ended")
    add(
        "--timeout",
        type=float,
        default=1800,
        help="with --wait: maximum seconds, 0: no limit (1800)",
    )
    add(
        "--explain",
        metavar="FILE",
        help="start nothing: explain from this log (-: standard input) why vLLM failed",
    )
    add_env_file(parser, "the settings")
    given = list(sys.argv[1:] if arguments is None else arguments)
    extra: list[str] = []
    if "--" in given:
        at = given.index("--")
        given, extra = given[:at], given[at + 1 :]
    chosen = parser.parse_args(given)
    # Not `< 0`, because it may be NaN.
    if not chosen.timeout >= 0:
        parser.error("--timeout must be a number of seconds, 0 or more.")
    chosen.extra = extra
    return chosen


def load_settings(env_file: Path, *, dry_run: bool = False) -> Settings:
    """Load the settings; only the needed ones for a dry run without packages. Raises ModelError."""
    if dry_run and find_spec("pydantic_settings") is None:
        return cast("Settings", bare_settings.read(env_file))
    from config import ConfigError, load

    try:
        return load(env_file)
    except ConfigError as error:
        raise ModelError(error.message) from None


# Starting


def start(chosen: argparse.Namespace) -> int:
    """Print the command; replace this process by vLLM. Raises ModelError."""
    settings = load_settings(chosen.env_file, dry_run=chosen.dry_run)
    launch = prepare(settings, chosen)
    print(launch.shown, flush=True)
    if chosen.dry_run:
        return 0
    if is_answering(health := get_health_url(settings)):
        raise ModelError(
            f"A server is already running at {health}. Stop it, or set VLLM_BASE_URL to another port."
        )
    # Python ignores SIGPIPE, and ignored signals are inherited.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        # Keep the operator's own values for AMD's GPUs.
        own = {
            k: v for k, v in launch.env.items() if not (k in ROCM_ENVIRONMENT and k in os.environ)
        }
        os.execvpe(launch.argv[0], launch.argv, make_child_environment(os.environ, own))
    except OSError as error:
        raise ModelError(f"{launch.argv[0]} cannot be started ({error.strerror}).") from None


def prepare(settings: Settings, chosen: argparse.Namespace) -> Launch:
    """Check the model, the GPU and vLLM. Return the command. Raises ModelError."""
    model, weights = _read_model(settings, chosen)
    cards, amd, assumed = list[Gpu](), False, False
    try:
        cards, amd = ([], False) if chosen.cpu else find_gpus()
    except ModelError as error:
        if not chosen.dry_run:
            raise
        say(error.message)
    try:
        vllm = ask_vllm(chosen.vllm)
    except ModelError as error:
        # Without a GPU, vLLM may not even list its flags.
        if not chosen.dry_run or chosen.cpu:
            raise
        say(f"{error.message} The command is for vLLM 0.30 or newer, with its known flags.")
        vllm, assumed = Vllm("0.30 or newer", IMAGE_FLAGS, words=(chosen.vllm, "serve")), True
    if chosen.cpu and not vllm.for_cpu:
        raise ModelError(
            f"`{chosen.vllm}` is not built for the CPU, as needed by --cpu. Install that build (see docs.vllm.ai), or remove"
            " --cpu if there is a GPU."
        )
    if vllm.for_cpu and not chosen.cpu:
        raise ModelError(
            f"`{chosen.vllm}` is built for the CPU, on which an answer of a large model takes minutes, so it is not started."
            " Install the build for this GPU (see docs.vllm.ai), or use --cpu for a small model."
        )
    free_bytes = get_main_memory()[1] - weights
    launch = vllm_command.build(
        settings,
        model,
        vllm,
        chosen.extra,
        free_bytes=free_bytes,
        gpus=count_gpus_per_copy(chosen.extra),
        amd=amd,
        assumed=assumed,
    )
    say(
        f"vLLM {vllm.version}, {settings.model_path} ({format_bytes(weights)}), {describe_gpus(cards)}."
    )
    doubts = find_memory_warnings(cards, weights, settings, count_gpus_per_copy(launch.argv))
    for warning in (*doubts, *launch.warnings):
        say(f"Note: {warning}")
    return launch


def _read_model(
    settings: Settings, chosen: argparse.Namespace
) -> tuple[checkpoint.Checkpoint, int]:
    """Read the model's folder. Return it with the bytes of its weights. Raises ModelError."""
    folder = ROOT / settings.model_path
    if chosen.dry_run and not folder.exists():
        say(
            f"There is no folder {folder} yet. The command is for a model of the family Qwen2.5-VL."
        )
        return checkpoint.Checkpoint(folder, {"model_type": "qwen2_5_vl"}, None, ()), 0
    model = checkpoint.read(folder)
    return model, vllm_command.count_weight_bytes(model)


def ask_vllm(program: str) -> Vllm:
    """Ask the installed vLLM for its version and flags. Raises ModelError."""
    try:
        return query_vllm(program)
    except VllmError as error:
        if engine_log.ON_CPU.search(error.output):
            raise ModelError(f"`{program}` failed. {engine_log.NO_GPU}") from None
        raise ModelError(error.message) from None


def describe_gpus(cards: Sequence[Gpu]) -> str:
    found = []
    for card in cards:
        free, total = _free(card), card.memory_total or 0
        known = "" if free is None else f", {format_bytes(free)} of {format_bytes(total)} free"
        found.append(card.name + known)
    return "; ".join(found) or "no GPU"


def _free(card: Gpu) -> int | None:
    if card.memory_total is None or card.memory_used is None:
        return None
    return card.memory_total - card.memory_used


def count_gpus_per_copy(arguments: Sequence[str]) -> int:
    """Return the number of GPUs that share the weights: one, unless the operator's flags set more."""
    count = 1
    for names in (("--tensor-parallel-size", "-tp"), ("--pipeline-parallel-size", "-pp")):
        for word, after in zip(arguments, [*arguments, ""][1:], strict=True):
            name, is_, value = word.partition("=")
            value = value if is_ else after
            if name in names and value.isdecimal():
                count *= max(1, int(value))
    return count


def find_memory_warnings(
    cards: Sequence[Gpu], weights: int, settings: Settings, used: int = 1
) -> list[str]:
    """Return warnings if the model probably does not fit into the first `used` GPUs."""
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
            f"The weights take {format_bytes(weights)}, and GPU_MEMORY_UTILIZATION={share:g} of the memory of the GPUs that vLLM"
            f" uses ({used}) is {format_bytes(all_of_it)}. Convert them to 8 bits (python3 scripts/convert_model.py --help){more}."
        )
    elif len(cards) > used == 1:
        doubts.append(
            f"vLLM uses one of {len(cards)} GPUs. To spread the model over all of them, for shorter answers or more at a"
            f" time: -- --tensor-parallel-size {len(cards)}"
        )
    free = _free(cards[0]) if cards else None
    if free is not None and free < share * (cards[0].memory_total or 0):
        doubts.append(
            f"Only {format_bytes(free)} of the first GPU's memory are free; other programs use the rest. vLLM will not start with"
            f" GPU_MEMORY_UTILIZATION={share:g} unless they end: lower it, or end them."
        )
    return doubts


# Waiting


def get_health_url(settings: Settings) -> str:
    return settings.vllm_base_url.removesuffix("/v1") + "/health"


def is_answering(url: str, seconds: float = 2.0) -> bool:
    """Return True if the response to GET `url` is 200."""
    try:
        with _DIRECT.open(url, timeout=seconds) as reply:
            return bool(reply.status == 200)
    except (URLError, OSError, ValueError):
        return False


def wait(chosen: argparse.Namespace) -> int:
    """Wait until vLLM responds. Raises ModelError after the timeout, or if its process has ended."""
    from server.shared.processes import usage

    settings = load_settings(chosen.env_file)
    health, port = get_health_url(settings), urlsplit(settings.vllm_base_url).port or 80
    began = time.monotonic()
    next_word = began + PROGRESS_SECONDS
    while True:
        if chosen.pid is not None and not _is_running(chosen.pid):
            raise ModelError(
                "vLLM ended before it was ready. Its log says why; `bash scripts/start_vllm_server.sh --explain FILE` reads"
                " it and names the settings to change."
            )
        # Another program may use the port: vLLM cannot bind it then, and is about to end.
        ours = chosen.pid is None or usage.is_listening(chosen.pid, port) is not False
        now = time.monotonic()
        if ours and is_answering(health):
            say(f"Ready after {now - began:.0f} s: {settings.vllm_base_url}")
            return 0
        if chosen.timeout and now - began > chosen.timeout:
            raise ModelError(
                f"vLLM did not answer within {chosen.timeout:g} s. Wait longer with --timeout, or see its log,"
                " which shows the step that takes so long."
            )
        if now >= next_word:
            say(f"Waiting for vLLM, {now - began:.0f} s.")
            next_word = now + PROGRESS_SECONDS
        time.sleep(min(1.0, 0.05 + (now - began) / 10))


def _is_running(pid: int) -> bool:
    # By a signal: in a unit's sandbox /proc may not show it.
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


# Explaining


def explain(chosen: argparse.Namespace) -> int:
    """Print why vLLM failed, according to its log. Return 1 if no known reason is found. Raises ModelError."""
    settings = load_settings(chosen.env_file)
    lines: deque[str] = deque(maxlen=_LINES)
    try:
        with open(
            0 if chosen.explain == "-" else chosen.explain, encoding="utf-8", errors="replace"
        ) as log:
            lines.extend(line[:_LINE_CHARS].rstrip("\r\n") for line in log)
    except OSError as error:
        raise ModelError(f"{chosen.explain} cannot be read ({error.strerror}).") from None
    reason = engine_log.explain_failure(
        lines,
        memory=f"GPU_MEMORY_UTILIZATION (now {settings.gpu_memory_utilization:g})",
        context=f"MODEL_MAX_TOKENS (now {settings.model_max_tokens})",
        dtype=f"MODEL_DTYPE (now {settings.model_dtype})",
        for_cpu=chosen.cpu,
        port=f"{urlsplit(settings.vllm_base_url).port or 80} (VLLM_BASE_URL)",
        path=settings.model_path,
    )
    print(
        reason
        or "The log contains no known reason. If the system ended vLLM (`dmesg | tail`), main memory was short."
    )
    return 0 if reason else 1


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse_options(arguments)
    run = explain if chosen.explain else wait if chosen.wait else start
    return run_script(lambda: run(chosen), lambda: "Stopped.")


def find_gpus() -> tuple[list[Gpu], bool]:
    """Return the GPUs, at least one, and whether they are from AMD. Raises ModelError with the reason."""
    reader = GpuReader()
    reason = reader.why_none
    if not reason:
        try:
            if found := reader.read():
                return found, reader.source != "NVIDIA"
            reason = f"No GPU was found ({reader.source} lists none)."
        except GpuError as error:
            reason = f"The GPU cannot be read: {error}."
    raise ModelError(
        f"{reason} vLLM would run on the CPU, where an answer of a large model takes minutes, so it is not started. Install"
        " the GPU's driver, give this user access to it (AMD: the groups render and video; in a container also /dev/kfd"
        " and /dev/dri), and check with amd-smi or nvidia-smi. A small model can be served with --cpu by vLLM's build for"
        " the CPU."
    )


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    sys.exit(main())
