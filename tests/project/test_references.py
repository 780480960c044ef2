"""The pages of docs/reference/ and the page's types of messages are what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from server.core.errors import QwenCameraError
from tests.core.test_metrics import CONTRACT
from tools.references import errors, fields, metrics
from tools.references.__main__ import FOLDER, find_stale, make_pages
from tools.references.source import ROOT


def test_references_are_current() -> None:
    """Else run `python -m tools.references`."""
    assert find_stale(ROOT) == []


def test_what_is_not_current_is_found(tmp_path: Path) -> None:
    """A file that says something else, one that is missing, and one that nothing makes."""
    for name, text in make_pages().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    assert find_stale(tmp_path) == []
    folder = tmp_path / FOLDER
    (folder / "errors.md").write_text("old", "utf-8")
    (folder / "metrics.md").unlink()
    (folder / "stray.md").write_text("", "utf-8")
    (types,) = tmp_path.rglob("*.d.ts")
    types.unlink()
    found = [f"{FOLDER}/{name}.md" for name in ("errors", "metrics", "stray")]
    assert find_stale(tmp_path) == [types.relative_to(tmp_path).as_posix(), *found]


def test_a_field_needs_a_meaning() -> None:
    class Silent(BaseModel):
        word: str

    with pytest.raises(fields.UndocumentedFieldError, match=r"Silent\.word"):
        fields.make_rows(Silent, sent_by_client=True)


def test_no_metric_is_left_out() -> None:
    """They are read from the source: compare them with those that a server serves."""
    listed = {
        one.name.removeprefix("qwen_camera_").removesuffix("_total"): (one.kind, set(one.labels))
        for one in metrics.find_metrics()
    }
    assert listed == {
        name: (kind, set(labels))
        for name, (kind, labels) in CONTRACT.items()
        if not name.startswith("process_")
    }


def test_no_error_is_left_out() -> None:
    """Each code that the program has, with its status, and whether trying again makes sense."""
    listed = {(code, one.status, one.retryable) for code, one in errors.list_codes().items()}
    assert listed == {(one.code, one.status, one.retryable) for one in leaves(QwenCameraError)}


def leaves(kind: type[QwenCameraError]) -> list[type[QwenCameraError]]:
    """The program's errors below this one that no other inherits from."""
    below = [leaf for one in kind.__subclasses__() for leaf in leaves(one)]
    return below or ([kind] if kind.__module__.startswith("server.") else [])
