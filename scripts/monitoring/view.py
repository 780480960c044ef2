"""Show the state on a terminal.

Texts from servers are printed without control characters and markup.
"""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scripts.monitoring.state import Level, State

GIB = 1024**3
WORDS = {
    Level.OK: ("works", "green"),
    Level.LOOK: ("works; needs attention", "yellow"),
    Level.UNABLE: ("cannot answer", "red"),
    Level.DOWN: ("down", "red"),
}
TITLES = {
    "frame_age": "frame's age at the model",
    "frame_wait": "question → frame",
    "frame_prepare": "preparing the frame",
    "queue_wait": "waiting for the model",
    "first_token": "request → first token",
    "answer": "request → whole answer",
    "description": "request → description",
    "loop_lag": "event loop late by",
    "time_to_first_token": "vLLM: first token",
    "inter_token_latency": "vLLM: between tokens",
    "queue_time": "vLLM: waiting",
    "e2e_latency": "vLLM: whole answer",
}


def to_plain(text: object) -> str:
    """Convert a text to one line without control characters."""
    return "".join(c for c in str(text) if c.isprintable())


def render(state: State) -> RenderableType:
    body = state.body
    word, colour = WORDS[state.level]
    head = Text.assemble(to_plain(body["server"]), "  ", (word, f"bold {colour}"))
    parts: list[RenderableType] = [head]
    for problem in state.problems:
        parts.append(Text(f"  {to_plain(problem.text)}", style=WORDS[problem.level][1]))
        if problem.todo:
            parts.append(Text(f"    {to_plain(problem.todo)}"))
    if body["health"] is not None:
        parts += [Text(), _make_state_table(body)]
    if "latencies" in body:
        parts += [Text(), _make_latency_table(body)]
    for key, title in (("errors", "Errors sent"), ("frames_skipped", "Frames skipped")):
        if (counts := _format_counters(body.get(key))) is not None:
            parts.append(Text(f"{title}: {counts}"))
    parts += [Text(), *_make_gpu_tables(body)]
    return Group(*parts)


def _make_state_table(body: dict[str, Any]) -> Table:
    health, rates = body["health"], body.get("rates", {})
    engine = health["engine"]
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()

    def add_row(name: str, text: str) -> None:
        table.add_row(name, Text(to_plain(text)))

    runs = f"version {health.get('version')}, up {_format_duration(health.get('uptime_seconds'))}"
    if rates:
        memory = body["memory"]
        size = "" if memory is None else f", {memory / 2**20:.0f} MiB"
        runs += f", {_format_number(rates['cores'])} cores{size}"
    add_row("server", runs)
    model = f" · {engine['model']}" if engine.get("model") else ""
    add_row("engine", f"{engine.get('name')}{model}: {engine.get('state')}")
    cameras = _format_counts(body.get("cameras")) or f"{health.get('cameras', 'unknown')}"
    most = body.get("limits", {})
    sessions = health.get("sessions", "unknown")
    add_row("sessions", f"{sessions}{_format_limit(most, 'sessions')}, cameras: {cameras}")
    running = ""
    if rates:
        running = f"{_format_number(body['inferences_running'])}{_format_limit(most, 'inferences')} running, "
    add_row(
        "queue",
        f"{running}waiting: {_format_counts(health.get('queue_depth'), zeros=True) or 'nothing'}",
    )
    if rates:
        received, sampled = (
            _format_rate(rates["frames_received"]),
            _format_rate(rates["frames_sampled"]),
        )
        add_row("frames", f"{received} received, {sampled} sampled")
        add_row(
            "answers",
            f"{_format_rate(rates['answers'])}, descriptions {_format_rate(rates['descriptions'])}, "
            f"{_format_rate(rates['completion_tokens'], ' tokens')}",
        )
    if (vllm := body.get("engine_metrics")) is not None:
        usage, hits = vllm["kv_cache_usage"], vllm["prefix_cache_hit_rate"]
        add_row(
            "vLLM",
            f"{_format_number(vllm['running'])} running, {_format_number(vllm['waiting'])} waiting, KV cache {_share(usage)}, "
            f"prefix hits {_share(hits)}, {_format_rate(vllm['rates']['generation_tokens'], ' tokens')}",
        )
    return table


def _make_latency_table(body: dict[str, Any]) -> Table:
    seconds = body["interval_seconds"]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("seconds", style="bold")
    lately = "-" if seconds is None else f"last {seconds:g} s"
    for title in (f"{lately}: n", "p50", "p95", "since the start: n", "p50", "p95"):
        table.add_column(title, justify="right")
    engine = (body.get("engine_metrics") or {}).get("latencies", {})
    for name, both in {**body["latencies"], **engine}.items():
        if both["since_start"] and both["since_start"]["n"]:
            table.add_row(
                TITLES[name], *_format_cells(both["interval"]), *_format_cells(both["since_start"])
            )
    if not table.row_count:
        table.add_row("nothing was asked yet", *[""] * 6)
    return table


def _make_gpu_tables(body: dict[str, Any]) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for gpu in body["gpus"]:
        used, total = gpu["memory_used"], gpu["memory_total"]
        memory = "-" if not total or used is None else f"{used / GIB:.1f} of {total / GIB:.1f} GiB"
        watts = "-" if gpu["watts"] is None else f"{gpu['watts']:.0f} W"
        celsius = "-" if gpu["celsius"] is None else f"{gpu['celsius']:.0f} °C"
        name = to_plain(gpu["name"])
        lines.append(
            Text(f"GPU {gpu['index']}  {name}: {_share(gpu['use'])}, {memory}, {watts}, {celsius}")
        )
    if not lines and (missing := body["missing"].get("gpu")) is not None:
        lines.append(Text(to_plain(missing["text"]), style="dim"))
    return lines


def _format_cells(spread: dict[str, Any] | None) -> list[str]:
    if spread is None:
        return ["-", "-", "-"]
    cells = [str(spread["n"])]
    for name in ("p50", "p95"):
        beyond = "> " if name in spread["beyond"] else ""
        cells.append("-" if spread[name] is None else f"{beyond}{spread[name]:.3g}")
    return cells


def _format_counters(both: dict[str, Any] | None) -> str | None:
    """Format counts; None if nothing was counted since the start."""
    if both is None or not any(both["since_start"].values()):
        return None
    lately = both["interval"] or {}
    return ", ".join(
        to_plain(f"{name} {count:g}") + (f" (+{lately[name]:g})" if lately.get(name) else "")
        for name, count in sorted(both["since_start"].items())
        if count
    )


def _format_counts(counts: dict[str, float] | None, *, zeros: bool = False) -> str:
    found = {name: n for name, n in (counts or {}).items() if n or zeros}
    return ", ".join(f"{name} {n:g}" for name, n in sorted(found.items()))


def _format_limit(limits: dict[str, float], name: str) -> str:
    return f" of {limits[name]:g}" if limits.get(name) else ""


def _format_rate(value: float | None, what: str = "") -> str:
    return "-" if value is None else f"{value:.3g}{what}/s"


def _format_number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _format_duration(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return "-"
    minutes, hours = int(seconds) // 60, int(seconds) // 3600
    if hours >= 48:
        return f"{hours // 24} days"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min {int(seconds) % 60} s"
