"""deploy/grafana-dashboard.json and the files that bring it into Grafana."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import yaml

from tests.support.promql import (
    DEPLOY,
    all_queries,
    complaints,
    dashboard,
    panel_queries,
    recordings,
)


@pytest.mark.parametrize(("where", "expression"), all_queries())
def test_every_query_names_what_is_served(where: str, expression: str) -> None:
    """Metrics, labels and their values, in each rule and each panel."""
    assert complaints(expression) == []


def test_what_a_query_must_not_name() -> None:
    """A wrong metric, label, value or grouping would be found."""
    assert complaints("rate(qwen_camera_framez_total[5m])") == ["qwen_camera_framez_total"]
    assert complaints('qwen_camera_cameras{reason="x"}') == ["qwen_camera_cameras{reason}"]
    assert complaints('qwen_camera_cameras{state=~"live|gone"}') == ["state=gone"]
    assert complaints("sum by (kind) (qwen_camera_sessions)") == ["kind"]
    assert complaints("qwen_camera_frame_age_seconds") == ["qwen_camera_frame_age_seconds"]
    assert complaints("vllm:gpu_cache_usage_perc") == ["vllm:gpu_cache_usage_perc"]


def test_recorded_figures_that_are_shown_are_recorded() -> None:
    """And each is named once."""
    names = [rule["record"] for rule in recordings()]
    assert len(set(names)) == len(names)
    queries = [expression for _, expression in all_queries()]
    asked = {name for one in queries for name in re.findall(r"\bfleet:\w+:\w+", one)}
    assert asked
    assert asked <= set(names)


def test_panels_can_be_told_apart() -> None:
    """Ids are unique, each panel has a title, a description and a unit, and none lies over another."""
    panels: list[dict[str, Any]] = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 40
    for panel in panels:
        assert panel["title"]
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            references = [target["refId"] for target in panel["targets"]]
            assert len(set(references)) == len(references) > 0
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert 0 <= at["x"] <= at["x"] + at["w"] <= 24
        cells = set(
            itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))
        )
        assert not taken & cells, panel["title"]
        taken |= cells


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
