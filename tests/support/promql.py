"""Parse the queries of alert rules and dashboards: metrics, labels, and required values of labels."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.core.test_metrics import ALLOWED, CONTRACT

VLLM_METRICS = Path(__file__).parents[1] / "data" / "vllm_metrics.txt"
# Labels that Prometheus adds to each sample.
ADDED = {"instance", "job"}
DEPLOY = Path(__file__).parents[2] / "deploy"
_SELECTOR = re.compile(r"\b((?:qwen_camera_|vllm:)\w+|up\b)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_LABELS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")


@dataclass(frozen=True, slots=True)
class Selector:
    metric: str
    # Label to the values that it asks for, as far as they are spelled out.
    labels: dict[str, tuple[str, ...]]


def selectors(expression: str) -> list[Selector]:
    """Each metric that a PromQL expression names."""
    found = []
    for metric, inside in _SELECTOR.findall(expression):
        labels = {}
        for label, operator, value in _MATCHER.findall(inside or ""):
            plain = re.fullmatch(r"[\w|:-]*", value) is not None
            values = value.split("|") if operator in ("=~", "!~") else [value]
            labels[label] = tuple(values) if plain else ()
        found.append(Selector(metric, labels))
    return found


def grouping(expression: str) -> set[str]:
    """Labels that an expression groups or joins by."""
    return {
        label.strip()
        for inside in _LABELS.findall(expression)
        for label in inside.split(",")
        if label.strip()
    }


def rules(file: str = "alerts.yml") -> list[dict[str, Any]]:
    """The rules of a file of deploy/."""
    whole = yaml.safe_load((DEPLOY / file).read_text(encoding="utf-8"))
    return [rule for group in whole["groups"] for rule in group["rules"]]


def recordings() -> list[dict[str, Any]]:
    return rules("recording.yml")


def dashboard() -> dict[str, Any]:
    """deploy/grafana-dashboard.json."""
    read: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text("utf-8"))
    return read


def panel_queries() -> Iterator[tuple[str, str]]:
    """Title and expression of each query of the dashboard."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def filled_in(expression: str) -> str:
    """A dashboard's expression as Grafana sends it, with every process chosen."""
    return expression.replace("$__rate_interval", "1m").replace("$instance", ".*")


def all_queries() -> list[tuple[str, str]]:
    """Return place and expression of every rule and every panel."""
    named = [(rule["alert"], rule["expr"]) for rule in rules()]
    named += [(rule["record"], rule["expr"]) for rule in recordings()]
    return named + [(title, filled_in(expression)) for title, expression in panel_queries()]


@functools.cache
def served() -> dict[str, set[str]]:
    """Names that can be asked for, with their labels: the server's (tests/core/test_metrics.py
    holds them against a live one), vLLM's, and Prometheus's own.
    """
    names: dict[str, set[str]] = {"up": set()}
    for name, (kind, labels) in CONTRACT.items():
        full = f"qwen_camera_{name}"
        if kind == "histogram":
            names |= {f"{full}_{part}": set(labels) for part in ("sum", "count")}
            names[f"{full}_bucket"] = {*labels, "le"}
        else:
            names[f"{full}_total" if kind == "counter" else full] = set(labels)
    for family in text_string_to_metric_families(VLLM_METRICS.read_text(encoding="utf-8")):
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    return names


def complaints(expression: str, *, whole: bool = False) -> list[str]:
    """Return the metrics, labels and values that an expression asks for and nobody serves.

    `whole`: a histogram may be named without its parts, as people do.
    """
    known = served()
    if whole:
        known = {name.removesuffix("_sum"): of for name, of in known.items()} | known
    found: list[str] = []
    labels = set(ADDED)
    for selector in selectors(expression):
        if selector.metric not in known:
            found.append(selector.metric)
            continue
        labels |= known[selector.metric]
        for label, values in selector.labels.items():
            if label not in known[selector.metric] | ADDED:
                found.append(f"{selector.metric}{{{label}}}")
            elif selector.metric.startswith("qwen_camera_") and label in ALLOWED:
                found += [f"{label}={value}" for value in values if value not in ALLOWED[label]]
    return found + sorted(grouping(expression) - labels)
