"""deploy/alerts.yml and deploy/prometheus.yml, read and run by promtool."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import config
from tests.support.documents import ROOT
from tests.support.programs import ran
from tests.support.promql import (
    DEPLOY,
    all_queries,
    complaints,
    dashboard,
    panel_queries,
    recordings,
    rules,
)

NAMES = [rule["alert"] for rule in rules()]

# A healthy hour: two processes, questions, answers, no trouble. Series to promtool's notation of
# its values.
_AT = 'instance="one:8000",job="qwen-camera"'
_VLLM = 'instance="gpu:8001",job="vllm"'


def histogram(name: str, le: str, more: str = "") -> dict[str, str]:
    """Ten observations a minute, all of them up to `le`; bounds around it."""
    bounds = ["0.001", "0.005", "0.05", "0.1", "0.2", "0.3", "0.5", "1.0", "2.0", "3.0", "5.0"]
    grows = "0+10x60"
    return {
        f'{name}_bucket{{{_AT}{more},le="{bound}"}}': (
            grows if float(bound) >= float(le) else "0x60"
        )
        for bound in bounds
    } | {f'{name}_bucket{{{_AT}{more},le="+Inf"}}': grows}


def q(name: str, labels: str = "") -> str:
    return f"qwen_camera_{name}{{{_AT}{',' + labels if labels else ''}}}"


def two(metric: str, first: str, second: str, labels: str = "") -> dict[str, str]:
    """A metric of two gateways, or of two engines, with these values."""
    job, names = (
        ("vllm", ("gpu:8001", "gpu2:8001"))
        if metric.startswith("vllm:")
        else ("qwen-camera", ("one:8000", "two:8000"))
    )
    more = f",{labels}" if labels else ""
    return {
        f'{metric}{{instance="{name}",job="{job}"{more}}}': values
        for name, values in zip(names, (first, second), strict=True)
    }


HEALTHY: dict[str, str] = {
    f"up{{{_AT}}}": "1x60",
    f"up{{{_VLLM}}}": "1x60",
    q("ready"): "1x60",
    q("engine_up", 'engine="vllm"'): "1x60",
    q("engine_up", 'engine="builtin"'): "1x60",
    q("process_start_time_seconds"): "1000x60",
    q("process_resident_memory_bytes"): "300000000x60",
    q("sessions"): "50x60",
    q("limit", 'of="sessions"'): "100x60",
    q("connections_refused_total"): "7x60",
    q("connections"): "60x60",
    q("relays", 'state="failing"'): "0x60",
    q("cameras", 'state="live"'): "9x60",
    q("cameras", 'state="stalled"'): "1x60",
    q("errors_total", 'code="busy"'): "3x60",
    q("errors_total", 'code="internal"'): "0x60",
    q("errors_total", 'code="ports_exhausted"'): "0x60",
    q("shared_limits_failures_total"): "4x60",
    q("inferences_total", 'kind="chat",result="ok"'): "0+10x60",
    q("inferences_total", 'kind="chat",result="error"'): "0x60",
    q("auth_failures_total", 'reason="bad_code"'): "0+1x60",
    **histogram("qwen_camera_first_token_seconds", "0.5"),
    **histogram("qwen_camera_inference_seconds", "2.0", ',kind="chat"'),
    **histogram("qwen_camera_inference_seconds", "5.0", ',kind="describe"'),
    **histogram("qwen_camera_queue_wait_seconds", "0.05", ',kind="chat"'),
    **histogram("qwen_camera_frame_age_seconds", "0.05"),
    **histogram("qwen_camera_loop_lag_seconds", "0.005"),
    f'vllm:num_requests_waiting{{{_VLLM},engine="0"}}': "1x60",
    f'vllm:kv_cache_usage_perc{{{_VLLM},engine="0"}}': "0.5x60",
    f'vllm:request_success_total{{{_VLLM},finished_reason="error"}}': "2x60",
}
# Each alert's trouble: what changes, and when it has fired by (minutes).
TROUBLE: dict[str, tuple[Mapping[str, str | None], int]] = {
    "QwenCameraDown": ({f"up{{{_AT}}}": "1x10 0x50"}, 13),
    "QwenCameraMissing": ({f"up{{{_AT}}}": None}, 6),
    "QwenCameraNotReady": (
        {
            q("ready"): "1x10 0x50",
            q("engine_up", 'engine="vllm"'): "0x60",
            q("engine_up", 'engine="builtin"'): "0x60",
        },
        13,
    ),
    "QwenCameraModelAway": ({q("engine_up", 'engine="vllm"'): "1x10 0x50"}, 16),
    "QwenCameraRestarts": ({q("process_start_time_seconds"): "1000 1100 1200 1300x57"}, 5),
    "QwenCameraSlowFirstToken": (histogram("qwen_camera_first_token_seconds", "3.0"), 25),
    "QwenCameraSlowAnswers": (
        histogram("qwen_camera_inference_seconds", "5.0", ',kind="chat"'),
        25,
    ),
    "QwenCameraQueueing": (histogram("qwen_camera_queue_wait_seconds", "2.0", ',kind="chat"'), 25),
    "QwenCameraBusy": ({q("errors_total", 'code="busy"'): "0+1x60"}, 12),
    "QwenCameraAnswersFail": ({q("inferences_total", 'kind="chat",result="error"'): "0+2x60"}, 20),
    "QwenCameraInternalError": ({q("errors_total", 'code="internal"'): "0x20 1x40"}, 24),
    "QwenCameraOldFrames": (histogram("qwen_camera_frame_age_seconds", "0.5"), 25),
    "QwenCameraCamerasStall": ({q("cameras", 'state="stalled"'): "9x60"}, 12),
    "QwenCameraRelayFails": ({q("relays", 'state="failing"'): "1x60"}, 16),
    "QwenCameraPortsExhausted": ({q("errors_total", 'code="ports_exhausted"'): "0x20 1x40"}, 24),
    "QwenCameraFull": ({q("sessions"): "95x60"}, 12),
    "QwenCameraConnectionsRefused": ({q("connections_refused_total"): "0+1x60"}, 20),
    "QwenCameraLimitsApart": ({q("shared_limits_failures_total"): "0+1x60"}, 20),
    "QwenCameraLoopLag": (histogram("qwen_camera_loop_lag_seconds", "0.1"), 25),
    "QwenCameraMemory": ({q("process_resident_memory_bytes"): "3000000000x60"}, 17),
    "QwenCameraGuessing": ({q("auth_failures_total", 'reason="bad_code"'): "0+20x60"}, 25),
    "QwenCameraFleetFull": (
        two("qwen_camera_sessions", "89x60", "83x60")
        | two("qwen_camera_limit", "100x60", "100x60", 'of="sessions"'),
        7,
    ),
    # Seven of ten targets are left: Prometheus finds no others any more, so none of them is down.
    "QwenCameraGatewaysGone": (
        {f'up{{instance="more{n}:8000",job="qwen-camera"}}': "1x16 _x43" for n in range(4)}
        | {f'up{{instance="stay{n}:8000",job="qwen-camera"}}': "1x60" for n in range(5)},
        24,
    ),
    "QwenCameraGatewaysApart": (
        two("qwen_camera_ready", "1x60", "1x60")
        | two("qwen_camera_gateways", "1x60", "0x60", 'state="open"'),
        7,
    ),
    "VllmUneven": (
        {
            f'vllm:num_requests_running{{instance="gpu{n}:8001",job="vllm"}}': (
                f"{12 if n else 1}x60" if n < 2 else "1x60"
            )
            for n in range(4)
        },
        17,
    ),
    "VllmDown": ({f"up{{{_VLLM}}}": "0x60"}, 12),
    "VllmWaiting": ({f'vllm:num_requests_waiting{{{_VLLM},engine="0"}}': "5x60"}, 7),
    "VllmCacheFull": ({f'vllm:kv_cache_usage_perc{{{_VLLM},engine="0"}}': "0.99x60"}, 12),
    "VllmErrors": (
        {f'vllm:request_success_total{{{_VLLM},finished_reason="error"}}': "2x20 3x40"},
        24,
    ),
}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing; bash scripts/test.sh installs it where it may.")
    return ran(["promtool", *map(str, arguments)], timeout=60)


def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    """Scrape configuration and rules are without fault, the token's file where the notes want it to be
    included.
    """
    text = (DEPLOY / "prometheus.yml").read_text(encoding="utf-8")
    token = tmp_path / "token"
    token.touch()
    assert "/etc/prometheus/qwen-camera.token" in text
    (tmp_path / "prometheus.yml").write_text(
        text.replace("/etc/prometheus/qwen-camera.token", str(token))
    )
    for name in ("alerts.yml", "recording.yml"):
        shutil.copy(DEPLOY / name, tmp_path)
    done = promtool("check", "config", "--lint=all", "--lint-fatal", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(NAMES)} rules found" in done.stdout
    # Debian's promtool is built without Kubernetes; the rest of that file is checked here.
    read = yaml.safe_load((DEPLOY / "kubernetes" / "prometheus.yml").read_text(encoding="utf-8"))
    for job in read["scrape_configs"]:
        assert job.pop("kubernetes_sd_configs")
        if "authorization" in job:
            job["authorization"]["credentials_file"] = str(token)
    (tmp_path / "kubernetes.yml").write_text(yaml.safe_dump(read))
    done = promtool("check", "config", "--lint=all", "--lint-fatal", tmp_path / "kubernetes.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_recorded_figures_are_right(tmp_path: Path) -> None:
    """Of two gateways and two engines, by promtool: sums, shares, and how uneven the engines are."""
    series = (
        two("qwen_camera_ready", "1x10", "0x10")
        | two("qwen_camera_sessions", "30x10", "60x10")
        | two("qwen_camera_limit", "60x10", "60x10", 'of="sessions"')
        | two("vllm:num_requests_running", "9x10", "1x10")
        | two("vllm:num_requests_waiting", "3x10", "3x10")
        | two("qwen_camera_inferences_total", "0+60x10", "0+120x10", 'kind="chat",result="ok"')
    )
    wanted = {
        "fleet:gateways_ready:sum": 1,
        "fleet:sessions:sum": 90,
        "fleet:sessions:ratio": 0.75,
        "fleet:questions:rate5m": 3,
        "fleet:engine_balance:ratio": 1.5,
    }
    tests = {
        "interval": "1m",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "promql_expr_test": [
            {"expr": name, "eval_time": "8m", "exp_samples": [{"labels": name, "value": value}]}
            for name, value in wanted.items()
        ],
    }
    (tmp_path / "tests.yml").write_text(
        yaml.safe_dump({"rule_files": [str(DEPLOY / "recording.yml")], "tests": [tests]})
    )
    done = promtool("test", "rules", tmp_path / "tests.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_says_what_an_operator_needs() -> None:
    """Each has a severity, a duration, a summary, and a remedy that names settings, metrics, files, alerts and sections
    that exist.
    """
    assert len(set(NAMES)) == len(NAMES)
    sections = set(re.findall(r"^#+ (.+)$", (ROOT / "DEPLOY.md").read_text(), re.MULTILINE))
    for rule in rules():
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        notes: dict[str, Any] = rule["annotations"]
        assert notes.keys() == {"summary", "description", "remedy"}
        assert len(notes["summary"]) < 70
        remedy = notes["remedy"]
        assert len(remedy) > 60, rule["alert"]
        assert set(re.findall(r"\b(?:QwenCamera|Vllm)[A-Z]\w+", remedy)) <= {*NAMES}, rule["alert"]
        for quoted in re.findall(r"`([^`]+)`", remedy):
            assert complaints(quoted, whole=True) == [], quoted
            named = re.match(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+", quoted)
            assert not named or named[0] in config.get_known_keys(), quoted
        for path in re.findall(r"\b(?:deploy|docs|scripts)/[\w./-]*\w", remedy):
            assert (ROOT / path).is_file(), path
        for rest in remedy.split("DEPLOY.md, ")[1:]:
            assert any(rest.startswith(section) for section in sections), rest


@pytest.mark.slow
def test_each_alert_fires_in_its_trouble_and_alone(tmp_path: Path) -> None:
    """Nothing fires in a healthy hour; each trouble sets off its own alert alone, in its time."""
    assert TROUBLE.keys() == set(NAMES)
    cases = [case("healthy", {}, {30: set(), 59: set()})]
    for name, (changes, minute) in TROUBLE.items():
        cases.append(case(name, changes, {1: set(), minute: {name}}))
    (tmp_path / "tests.yml").write_text(
        yaml.safe_dump({"rule_files": [str(DEPLOY / "alerts.yml")], "tests": cases})
    )
    done = promtool("test", "rules", tmp_path / "tests.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def case(name: str, changes: Mapping[str, str | None], fire: dict[int, set[str]]) -> dict[str, Any]:
    """A test of promtool's: the healthy series with `changes` (None: that one is not there), and
    who fires when.
    """
    series = {**HEALTHY, **changes}
    return {
        "name": name,
        "interval": "1m",
        "input_series": [
            {"series": key, "values": values} for key, values in series.items() if values
        ],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{minute}m",
                "exp_samples": [
                    {"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(alerts)
                ],
            }
            for minute, alerts in fire.items()
        ],
    }


@pytest.mark.parametrize(("where", "expression"), all_queries())
def test_every_query_names_what_is_served(where: str, expression: str) -> None:
    """Metrics, labels and their values, in each rule and each panel."""
    assert complaints(expression) == []


def test_recorded_figures_that_are_shown_are_recorded() -> None:
    """And each is named once."""
    names = [rule["record"] for rule in recordings()]
    assert len(set(names)) == len(names)
    queries = [expression for _, expression in all_queries()]
    asked = {name for one in queries for name in re.findall(r"\bfleet:\w+:\w+", one)}
    assert asked
    assert asked <= set(names)


def test_it_can_be_imported_anywhere() -> None:
    """Each query goes to the chosen Prometheus and, where it is about a process, to the chosen
    ones; no id of a database.
    """
    read = dashboard()
    assert read.get("id") is None
    names = [variable["name"] for variable in read["templating"]["list"]]
    assert names == ["datasource", "instance"]
    for panel in read["panels"]:
        for target in panel.get("targets", ()):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for title, expression in panel_queries():
        assert expression.count("qwen_camera_") <= expression.count('instance=~"$instance"'), title


def test_grafana_counts_on_the_interval_of_prometheus() -> None:
    """Both files name the same."""
    source = yaml.safe_load((DEPLOY / "grafana" / "datasource.yml").read_text())
    scraped = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    interval = source["datasources"][0]["jsonData"]["timeInterval"]
    assert interval == scraped["global"]["scrape_interval"]
