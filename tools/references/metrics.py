"""Page of the metrics, read from the calls that create them, because many are created on first use."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from server.app.features import FEATURES, list_installed_features
from tools.references.source import (
    ROOT,
    capitalise,
    find_calls,
    format_code,
    format_table,
    get_comment_above,
    join,
)

# Functions that create a metric, with its kind
_KINDS = {
    "counter": "counter",
    "count": "counter",
    "gauge": "gauge",
    "seconds": "histogram",
}
_INTRO = """# Metrics

`GET /metrics` has them in the Prometheus text format. Labels are bounded sets and never contain a
client's input. Beside these there are, where the system tells them, the process's
`qwen_camera_process_cpu_seconds_total`, `qwen_camera_process_resident_memory_bytes`,
`qwen_camera_process_virtual_memory_bytes`, `qwen_camera_process_open_fds`,
`qwen_camera_process_max_fds` and `qwen_camera_process_start_time_seconds`."""


@dataclass(frozen=True)
class Metric:
    # Name in /metrics: with `_total` for a counter
    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    # Values of the labels, from the comment above the call
    values: str
    # "" for the core
    feature: str


def make_page() -> str:
    found = find_metrics()
    features = [
        one for one in list_installed_features() if any(metric.feature == one for metric in found)
    ]
    return join(
        (
            _INTRO,
            *(
                join((title, _make_table([one for one in found if one.feature == feature])))
                for feature, title in (
                    ("", "## Core"),
                    *((one, f"## Feature {one}: {FEATURES[one]}") for one in features),
                )
            ),
        )
    )


@functools.cache
def find_metrics() -> tuple[Metric, ...]:
    """Return all metrics of the core and of the installed features, by name."""
    found = []
    for path, call, line in find_calls(ROOT / "server"):
        feature = _get_feature(path)
        if feature is not None and (
            metric := _parse_metric(call, get_comment_above(path, line), feature)
        ):
            found.append(metric)
    return tuple(sorted(found, key=lambda one: one.name))


def _make_table(found: list[Metric]) -> str:
    return format_table(
        ("name", "kind", "labels", "meaning"),
        [
            (
                f"`{one.name}`",
                one.kind,
                format_code(one.labels),
                f"{capitalise(one.help)}." + (f" {one.values}." if one.values else ""),
            )
            for one in found
        ],
    )


def _get_strings(nodes: Iterable[ast.expr]) -> list[str]:
    constants = (node.value for node in nodes if isinstance(node, ast.Constant))
    return [value for value in constants if isinstance(value, str)]


def _get_value_comment(comment: str, labels: Sequence[str]) -> str:
    """Return a comment that lists the values of labels; "" for any other, and for one that names a source file."""
    if ".py" in comment or not any(comment.startswith(f"{label}: ") for label in labels):
        return ""
    return re.sub(r"(^|; )(\w+): ", lambda found: _format_name(found, labels), comment)


def _format_name(found: re.Match[str], labels: Sequence[str]) -> str:
    return f"{found[1]}`{found[2]}`: " if found[2] in labels else found[0]


def _get_feature(path: Path) -> str | None:
    """Return the feature that a file belongs to; "" for the core, None for the example feature."""
    parts = path.relative_to(ROOT / "server").parts
    if parts[0] != "features":
        return ""
    return parts[1] if parts[1] in list_installed_features() else None


def _parse_metric(call: ast.Call, comment: str, feature: str) -> Metric | None:
    """Parse a call that creates a metric; return None for other calls."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name not in _KINDS or len(call.args) < 2:
        return None
    texts = _get_strings(call.args[:2])
    if len(texts) < 2 or (_KINDS[name] == "counter" and not texts[0].endswith("_total")):
        return None
    labels = _get_strings(call.args[2:])
    return Metric(
        f"qwen_camera_{texts[0].removeprefix('qwen_camera_')}",
        _KINDS[name],
        tuple(labels),
        texts[1],
        _get_value_comment(comment, labels),
        feature,
    )
