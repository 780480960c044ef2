"""Compute a server's state from two readings: rates and latencies between them, and problems."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

from scripts.monitoring.reading import Histogram, Reading, Samples

# Bounds (p95 of the last interval, seconds) of slow answers, old frames and a busy event loop.
SLOW_ANSWER = 3.0
STALE_FRAME = 0.3
BUSY_LOOP = 0.1
# Fractions of a limit
NEARLY_FULL = 0.9
KV_FULL = 0.95

# name: metric and its labels
LATENCIES: dict[str, tuple[str, dict[str, str]]] = {
    "frame_age": ("qwen_camera_frame_age_seconds", {}),
    "frame_wait": ("qwen_camera_frame_wait_seconds", {}),
    "frame_prepare": ("qwen_camera_frame_prepare_seconds", {}),
    "queue_wait": ("qwen_camera_queue_wait_seconds", {"kind": "chat"}),
    "first_token": ("qwen_camera_first_token_seconds", {"role": "answers"}),
    "answer": ("qwen_camera_inference_seconds", {"kind": "chat"}),
    "description": ("qwen_camera_inference_seconds", {"kind": "describe"}),
    "loop_lag": ("qwen_camera_loop_lag_seconds", {}),
}
# Newer names first; vLLM 0.9.2 has the last ones.
ENGINE_LATENCIES: dict[str, tuple[str, ...]] = {
    "time_to_first_token": ("vllm:time_to_first_token_seconds",),
    "inter_token_latency": (
        "vllm:inter_token_latency_seconds",
        "vllm:time_per_output_token_seconds",
    ),
    "queue_time": ("vllm:request_queue_time_seconds",),
    "e2e_latency": ("vllm:e2e_request_latency_seconds",),
}


class Level(IntEnum):
    """Severity of a state, which is the exit status of `--once`."""

    OK = 0
    LOOK = 1
    # 2 is the status of wrong options.
    UNABLE = 3
    DOWN = 4


@dataclass(frozen=True, slots=True)
class Problem:
    level: Level
    text: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class State:
    level: Level
    problems: tuple[Problem, ...]
    # All shown values, for JSON
    body: dict[str, Any]


def put_together(url: str, earlier: Reading | None, now: Reading) -> State:
    """Compute the state of a reading, and with an `earlier` reading also the changes between them."""
    body: dict[str, Any] = {
        "server": url,
        "interval_seconds": None if earlier is None else round(now.at - earlier.at, 1),
        "health": now.health,
        "missing": {part: asdict(missing) for part, missing in now.missing.items()},
    }
    problems = _find_health_problems(now)
    before = earlier or Reading(now.at)
    seconds = now.at - before.at
    if now.metrics is not None:
        body |= _compute_server_figures(before.metrics, now.metrics, seconds)
        problems += _find_figure_problems(body, now.metrics)
    if now.engine is not None:
        body["engine_metrics"] = _compute_engine_figures(before.engine, now.engine, seconds)
        problems += _find_engine_problems(body["engine_metrics"])
    body["gpus"] = [asdict(gpu) for gpu in now.gpus]
    problems.sort(key=lambda problem: -problem.level)
    level = max((problem.level for problem in problems), default=Level.OK)
    body |= {
        "state": level.name.lower(),
        "problems": [asdict(p) | {"level": p.level.name.lower()} for p in problems],
    }
    return State(level, tuple(problems), body)


def _find_health_problems(now: Reading) -> list[Problem]:
    found = []
    if (missing := now.missing.get("server")) is not None:
        return [Problem(Level.DOWN, missing.text, missing.todo)]
    health = now.health or {}
    if not now.ready:
        reason = health.get("reason") or "it does not say why"
        todo = "" if health.get("draining") else "Check the model server and VLLM_BASE_URL."
        text = f"The server runs, but cannot answer questions: {reason}."
        found.append(Problem(Level.UNABLE, text, todo))
    if (missing := now.missing.get("metrics")) is not None:
        found.append(Problem(Level.LOOK, missing.text, missing.todo))
    if (missing := now.missing.get("engine")) is not None and missing.wanted:
        engine = health.get("engine", {})
        if engine.get("name") == "vllm":
            text = f"The model server's own figures are missing. {missing.text}"
            found.append(
                Problem(Level.LOOK, text, "Set --engine-url to their address, or to none.")
            )
    if (missing := now.missing.get("gpu")) is not None and missing.text.startswith("The GPU"):
        found.append(Problem(Level.LOOK, missing.text))
    return found


def _find_figure_problems(body: dict[str, Any], metrics: Samples) -> list[Problem]:
    found = []

    def note(text: str, todo: str = "") -> None:
        found.append(Problem(Level.LOOK, text, todo))

    engines = metrics.get_sums_by("qwen_camera_engine_up", "engine")
    down = sorted(name for name, up in engines.items() if not up)
    if down and body["health"] and body["health"]["engine"].get("reachable"):
        answering = body["health"]["engine"].get("name")
        note(
            f"The engine {', '.join(down)} is down; {answering} answers in its place.",
            "Check the model server and VLLM_BASE_URL, or set ENGINE to what should answer.",
        )
    if failing := metrics.get_total("qwen_camera_relays", state="failing"):
        note(f"{failing:g} TURN relays do not work.", "/health says which and why, under turn.")
    lately = {name: both["interval"] for name, both in body["latencies"].items()}
    if _is_over(lately["frame_age"], STALE_FRAME):
        note(
            f"Frames are old when the model gets them: p95 over {STALE_FRAME:g} s.",
            "Check the cameras' uplinks and the processor's load.",
        )
    for name, word in (("answer", "Answers take"), ("queue_wait", "Questions wait for the model")):
        if _is_over(lately[name], SLOW_ANSWER):
            note(
                f"{word} over {SLOW_ANSWER:g} s (p95).",
                "Lower RESPONSE_MAX_TOKENS and VISUAL_TOKEN_BUDGET; scripts/benchmark.py shows where the time goes.",
            )
    if _is_over(lately["loop_lag"], BUSY_LOOP):
        note(
            f"The server's event loop is delayed: p95 over {BUSY_LOOP:g} s. Its core is full.",
            "Add a process, or find what else uses the core.",
        )
    for of, used in (
        ("sessions", body["sessions"]),
        ("queue", sum(body["queue_depth"].values())),
        ("connections", metrics.get_total("qwen_camera_connections")),
    ):
        limit = body["limits"].get(of)
        if limit and used is not None and used >= NEARLY_FULL * limit:
            what = "places in the queue" if of == "queue" else of
            note(f"{used:g} of at most {limit:g} {what} are in use.")
    errors = body["errors"]["interval"] or {}
    refused = {
        code: n for code, n in errors.items() if code in ("busy", "internal") or "engine_" in code
    }
    if refused:
        errors_sent = ", ".join(f"{code} {n:g}" for code, n in sorted(refused.items()))
        note(
            f"Errors were sent to clients since the last reading: {errors_sent}.",
            "See the server's log.",
        )
    return found


def _find_engine_problems(engine: dict[str, Any]) -> list[Problem]:
    if (usage := engine["kv_cache_usage"]) is None or usage < KV_FULL:
        return []
    text = f"The model server's KV cache is {usage:.0%} full: requests wait or are restarted."
    return [Problem(Level.LOOK, text, "Lower MAX_CONCURRENT_INFERENCES or MODEL_MAX_TOKENS.")]


def _is_over(spread: dict[str, Any] | None, bound: float) -> bool:
    return spread is not None and (spread["p95"] or 0.0) > bound


def _compute_server_figures(before: Samples | None, now: Samples, seconds: float) -> dict[str, Any]:
    def get_rate(name: str, **labels: str) -> float | None:
        return _compute_rate(before, now, seconds, name, **labels)

    return {
        "sessions": now.get_total("qwen_camera_sessions"),
        "sockets": now.get_total("qwen_camera_sockets"),
        "cameras": now.get_sums_by("qwen_camera_cameras", "state"),
        "queue_depth": now.get_sums_by("qwen_camera_queue_depth", "kind"),
        "inferences_running": now.get_total("qwen_camera_inferences_running"),
        "limits": now.get_sums_by("qwen_camera_limit", "of"),
        "engines": now.get_sums_by("qwen_camera_engine_up", "engine"),
        "memory": now.get_total("qwen_camera_process_resident_memory_bytes"),
        "rates": {
            "frames_received": get_rate("qwen_camera_frames_received_total"),
            "frames_sampled": get_rate("qwen_camera_frames_sampled_total"),
            "answers": get_rate("qwen_camera_inferences_total", kind="chat"),
            "descriptions": get_rate("qwen_camera_inferences_total", kind="describe"),
            "completion_tokens": get_rate("qwen_camera_tokens_total", direction="completion"),
            "visual_tokens": get_rate("qwen_camera_visual_tokens_total"),
            "cores": get_rate("qwen_camera_process_cpu_seconds_total"),
        },
        "errors": _compute_counts(before, now, "qwen_camera_errors_total", "code"),
        "frames_skipped": _compute_counts(
            before, now, "qwen_camera_frames_skipped_total", "reason"
        ),
        "latencies": {
            name: _compute_latency(before, now, metric, **labels)
            for name, (metric, labels) in LATENCIES.items()
        },
    }


def _compute_engine_figures(before: Samples | None, now: Samples, seconds: float) -> dict[str, Any]:
    def get_rate(*names: str) -> float | None:
        return _compute_rate(before, now, seconds, *names)

    queries = ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total")
    hits = ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total")
    asked, hit = now.get_total(*queries), now.get_total(*hits)
    return {
        "running": now.get_total("vllm:num_requests_running"),
        "waiting": now.get_total("vllm:num_requests_waiting"),
        "kv_cache_usage": now.get_largest("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
        "preemptions": now.get_total("vllm:num_preemptions_total"),
        "prefix_cache_hit_rate": hit / asked if asked and hit is not None else None,
        "rates": {
            "prompt_tokens": get_rate("vllm:prompt_tokens_total"),
            "generation_tokens": get_rate("vllm:generation_tokens_total"),
        },
        "latencies": {
            name: _compute_latency(before, now, *metrics)
            for name, metrics in ENGINE_LATENCIES.items()
        },
    }


def _compute_rate(
    before: Samples | None, now: Samples, seconds: float, *names: str, **labels: str
) -> float | None:
    """Return the increase per second since the last reading; None if there is none, or after a restart."""
    new = now.get_total(*names, **labels)
    if before is None or seconds <= 0:
        return None
    grown = (new or 0.0) - (before.get_total(*names, **labels) or 0.0)
    return None if grown < 0 else round(grown / seconds, 3)


def _compute_counts(before: Samples | None, now: Samples, name: str, label: str) -> dict[str, Any]:
    """Return the counts by a label, and their increases (None without an earlier reading)."""
    counts, grown = now.get_sums_by(name, label), None
    if before is not None:
        old = before.get_sums_by(name, label)
        grown = {k: more for k, n in counts.items() if (more := n - old.get(k, 0.0)) > 0}
    return {"interval": grown, "since_start": counts}


def _compute_latency(
    before: Samples | None, now: Samples, *names: str, **labels: str
) -> dict[str, dict[str, Any] | None]:
    all_of_it = now.get_histogram(*names, **labels)
    if all_of_it is None:
        return {"interval": None, "since_start": None}
    lately = None
    if before is not None:
        lately = _compute_spread(all_of_it.subtract(before.get_histogram(*names, **labels)))
    return {"interval": lately, "since_start": _compute_spread(all_of_it)}


def _compute_spread(histogram: Histogram) -> dict[str, Any]:
    """Return p50 and p95 in seconds; a value above the last bound is that bound, with its name in `beyond`."""
    spread: dict[str, Any] = {"n": int(histogram.count), "p50": None, "p95": None, "beyond": []}
    for name, q in (("p50", 0.5), ("p95", 0.95)):
        value = histogram.get_quantile(q)
        if math.isinf(value):
            spread["beyond"].append(name)
            value = histogram.largest
        if not math.isnan(value):
            spread[name] = round(value, 4)
    return spread
