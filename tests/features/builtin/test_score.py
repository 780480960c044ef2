"""The set of pictures and questions, how answers are judged, and the score that the engine keeps."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from server.features.builtin.detector import classes
from tests.features.builtin import drawn, score
from tests.features.builtin.scenes import PHOTOS, photo
from tests.features.builtin.score import Case, Verdict, cases, judged, tuned
from tests.support.programs import ran

ROOT = Path(__file__).resolve().parents[3]

LICENCES = r"public domain|CC0|CC-BY-\d\.0|Apache-2\.0|BSD-3-Clause|no known copyright restrictions"

NO_TEXT = "I see no text that I can read. Hold it closer, flat and in good light."


def test_each_photograph_has_its_source_and_licence() -> None:
    """And each is read, small, and asked about."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (PHOTOS / "SOURCES").read_text("utf-8").splitlines()
        if line.startswith("| ") and ".jpg" in line
    ]
    files = sorted(path.name for path in PHOTOS.glob("*.jpg"))
    assert [row[0] for row in rows] == files
    assert len(files) >= 60
    for _, package, author, licence in rows:
        assert re.match(r"(PyPI|Debian) \S+ \S+, \S+", package)
        assert author
        assert re.match(LICENCES, licence)
    assert all(max(photo(name[:-4]).shape) <= 640 for name in files)
    assert sum((PHOTOS / name).stat().st_size for name in files) <= 2_500_000
    assert {one.picture for one in cases()} == {*files, *drawn.SCENES}


def test_both_halves_have_every_group() -> None:
    """And all that may be named has a name."""
    names = classes().names
    for half in (True, False):
        groups = Counter(one.group for one in cases() if tuned(one.picture) is half)
        assert groups.keys() == score.GROUPS.keys()
        assert min(groups.values()) >= 4
    assert sum(map(score.is_nameable, cases())) >= 30
    assert {name for one in cases() for name in one.shows} <= names


def about(group: str, accepted: str, shows: str = "", code: str = "en") -> Case:
    return Case("p", group, "?", code, (accepted,), frozenset([shows]))


@pytest.mark.parametrize(
    ("case", "answer", "verdict"),
    [
        (about("name", "cat", "cat"), "I see a cat.", Verdict.RIGHT),
        (about("name", "cat", "cat"), "I see a dog.", Verdict.MISLEADING),
        (about("name", "cat", "cat"), "I see a cat and a dog.", Verdict.MISLEADING),
        (about("name", "cat"), "I do not know this thing: it is brown.", Verdict.HONEST),
        (about("name", "cat"), NO_TEXT, Verdict.USELESS),
        (about("absent", "no"), "I may miss it, but I do not see that: a dog.", Verdict.RIGHT),
        (about("absent", "no"), "Yes, I see a dog.", Verdict.MISLEADING),
        (about("people", "2"), "I count one face.", Verdict.MISLEADING),
        (about("people", "2", "person"), "I count at least 2: people.", Verdict.RIGHT),
        (about("colour", "red"), "In the middle it is red, on grey.", Verdict.RIGHT),
        (about("where", "left"), "A cup: on the left.", Verdict.RIGHT),
        (about("text", "7.15"), "I find no price.", Verdict.USELESS),
        (about("beyond", "unknown"), "It costs 3.10.", Verdict.MISLEADING),
        (about("nothing", "nothing"), "I read “total”.", Verdict.RIGHT),
        (about("nothing", "nothing"), "This looks like a balloon.", Verdict.MISLEADING),
        (about("name", "杯", "cup", "zh"), "我看到杯子。", Verdict.RIGHT),
        (about("name", "Katze", "cat", "de"), "Ich sehe: eine Katze.", Verdict.RIGHT),
    ],
)
def test_an_answer_is_judged(case: Case, answer: str, verdict: Verdict) -> None:
    assert judged(case, answer).verdict is verdict


def test_a_no_to_what_is_beyond_it_is_honest_and_no_more() -> None:
    """Also with what it read below it; only in the question's language."""
    no = "I cannot tell that: I name common things, read text and codes and name colours, and no more."
    for answer in (no, f"{no}\nThe picture is dim.", "I see a cat. I can't tell more."):
        assert judged(about("beyond", "unknown", "cat"), answer).verdict is Verdict.HONEST
    assert judged(about("beyond", "unknown", code="de"), no).verdict is not Verdict.HONEST


@pytest.mark.slow
def test_what_names_things_takes_little_memory() -> None:
    """In a process of its own: at most 130 MiB beside its libraries. Its time is a figure, docs/figures/builtin.json."""
    code = "from tests.features.builtin import score; print(score.cost()[1])"
    done = ran([sys.executable, "-c", code], cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert 30 <= float(done.stdout) <= 130


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("calculated_once")
async def test_the_engine_keeps_its_score() -> None:
    """On the half for tuning, with the models that come with it; docs/FIGURES.md has what it reached."""
    found = await score.answers(one for one in cases() if tuned(one.picture))
    verdicts = Counter(one.verdict for one in found)
    named = [one.verdict is Verdict.RIGHT for one in found if score.is_nameable(one.case)]
    told = score.table(found)
    assert sum(named) >= 0.8 * len(named), told
    assert sum(bool(one.wrong) for one in found) <= 0.01 * len(found), told
    assert verdicts[Verdict.MISLEADING] <= 0.02 * len(found), told
    assert verdicts[Verdict.USELESS] <= 0.02 * len(found), told
    assert verdicts[Verdict.RIGHT] + verdicts[Verdict.HONEST] >= 0.95 * len(found), told
