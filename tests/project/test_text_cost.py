"""No text holds the event loop: each regular expression and each reader of others' text takes time in proportion."""

from __future__ import annotations

import gc
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import server
from server.core.messages import MAX_QUESTION_CHARS
from server.features.builtin import conditions, intents
from server.features.builtin.conditions import get_watch_words
from server.features.builtin.language import LANGUAGES, get_language
from server.models import routing
from server.shared import boxes, watch_answers
from tests.support.hostile_texts import UNITS, hostile, seconds
from tests.support.text_readers import READERS

# Characters at which a pattern is measured, and again four times as many
LENGTHS = (60, 1_000)
# A pattern whose time grows with the square takes sixteen times as long for those.
MOST_GROWTH = 9.0
# Below this a clock says little (seconds).
LITTLE = 0.000_5
# A reader's time for the longest text that it gets (seconds)
MOST_SECONDS = 0.005

# Patterns that are only matched with a whole text or at its beginning, which is short
ANCHORED = {
    "server.features.cluster.replicas._NAMED",
    "server.features.cameras.cameras._PARTS",
    "server.web.routes.CLIENT_NAME",
    *(f"server.models.routing._get_patterns[watch_after][{at}]" for at in range(6)),
    *(f"server.models.routing._get_patterns[lead_after][{at}]" for at in range(4)),
    *(f"server.models.routing._get_patterns[where_after][{at}]" for at in range(6)),
}


def modules() -> Iterator[Any]:
    for found in pkgutil.walk_packages(server.__path__, "server."):
        try:
            yield importlib.import_module(found.name)
        except ModuleNotFoundError:
            # Workers in an environment of their own have libraries that are not here.
            if ".worker" not in found.name:
                raise


def patterns() -> dict[str, re.Pattern[Any]]:
    """Return all compiled expressions of the server's modules, and of tables and objects there, by place."""
    found: dict[str, re.Pattern[Any]] = {}
    same: set[tuple[Any, int]] = set()
    visited: set[int] = set()

    def visit(name: str, value: Any, depth: int) -> None:
        if isinstance(value, re.Pattern):
            if (value.pattern, value.flags) not in same:
                same.add((value.pattern, value.flags))
                found[name] = value
            return
        if depth > 4 or id(value) in visited:
            return
        visited.add(id(value))
        if name.startswith("server.models.") and hasattr(value, "cache_info"):
            # What a cached function has made. Those of features are timed with their readers alone.
            value = next((one for one in gc.get_referents(value) if isinstance(one, dict)), {})
        if isinstance(value, dict):
            for key, one in value.items():
                visit(f"{name}[{key}]", one, depth + 1)
        elif isinstance(value, list | tuple | set | frozenset):
            for at, one in enumerate(value):
                visit(f"{name}[{at}]", one, depth + 1)
        elif type(value).__module__.startswith("server.") and not isinstance(value, type):
            slots = [slot for one in type(value).__mro__ for slot in getattr(one, "__slots__", ())]
            held = getattr(value, "__dict__", {})
            for key in (*held, *slots):
                visit(f"{name}.{key}", getattr(value, key, None), depth + 1)

    # Else made when first needed
    routing.load()
    for code in LANGUAGES:
        visit(f"language {code}", get_language(code), 0)
        visit(f"words of conditions {code}", get_watch_words(code), 0)
    for module in modules():
        for name, value in list(vars(module).items()):
            if not name.startswith("__"):
                visit(f"{module.__name__}.{name}", value, 0)
    return found


@pytest.fixture(scope="module")
def all_patterns() -> dict[str, re.Pattern[Any]]:
    """All modules are imported for them: not where no test of this file runs."""
    return patterns()


def test_all_patterns_are_found(all_patterns: dict[str, re.Pattern[Any]]) -> None:
    """Those in tables and in objects of languages, too; what is anchored is there."""
    assert len(all_patterns) > 250
    assert {name for name in ANCHORED if name not in all_patterns} == set()


def growth(run: Callable[[str], object], unit: str) -> float:
    """Return how many times as long four times the text takes; 0 where that is quick."""

    def taken(length: int, times: int) -> float:
        text = hostile(unit, length)
        return seconds(lambda: run(text), enough=LITTLE, times=times)

    # The longest last: what grows faster than the square would never end.
    for length in LENGTHS:
        # What seems to grow is measured anew, with more calls: one alone may be slow by chance.
        for calls in (1, 5):
            long = taken(4 * length, calls)
            if long <= LITTLE or (times := long / taken(length, 5)) <= MOST_GROWTH:
                break
        else:
            return times
    return 0.0


# Ten seconds of processor time
@pytest.mark.slow
@pytest.mark.timeout(480)
def test_a_pattern_takes_time_in_proportion(all_patterns: dict[str, re.Pattern[Any]]) -> None:
    """Whatever it looks through."""
    slow: dict[tuple[str, str], float] = {}
    for name, pattern in all_patterns.items():

        def whole(
            text: str, pattern: re.Pattern[Any] = pattern, anchored: bool = name in ANCHORED
        ) -> object:
            given = text.encode() if isinstance(pattern.pattern, bytes) else text
            if anchored:
                return pattern.match(given), pattern.fullmatch(given)
            return sum(1 for _ in pattern.finditer(given))

        growths = {kind: growth(whole, unit) for kind, unit in UNITS.items()}
        slow |= {(name, kind): times for kind, times in growths.items() if times > MOST_GROWTH}
    assert slow == {}


# Readers whose work has a bound: it grows faster up to that.
BOUNDED: dict[str, tuple[Callable[[str], object], int]] = {
    # In a thread, where short steps leave others their turn
    "a question's intent": (intents.understand, MAX_QUESTION_CHARS),
    "a condition": (conditions.read_condition, watch_answers.MAX_CONDITION_CHARS),
    "boxes": (boxes.read_boxes, 100_000),
    "answers about watches": (
        lambda text: watch_answers.read_answers(text, ["a"]),
        watch_answers.MAX_TEXT_CHARS,
    ),
}
MOST_BOUNDED_SECONDS = 0.05


@pytest.mark.parametrize("name", BOUNDED)
def test_a_reader_has_a_bound(name: str) -> None:
    """Whatever comes, with the longest text."""
    run, most = BOUNDED[name]
    taken = {
        kind: seconds(lambda unit=unit: run(hostile(unit, most)), enough=MOST_BOUNDED_SECONDS)  # type: ignore[misc]
        for kind, unit in UNITS.items()
    }
    assert {kind: one for kind, one in taken.items() if one > MOST_BOUNDED_SECONDS} == {}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_is_quick(name: str) -> None:
    """With the longest text that it gets; and four times as much takes four times as long."""
    run, most = READERS[name]
    slow: dict[str, float] = {}
    for kind, unit in UNITS.items():
        text = hostile(unit, most)
        taken = seconds(lambda text=text: run(text), enough=MOST_SECONDS / 2)  # type: ignore[misc]
        if taken > MOST_SECONDS:
            slow[kind] = taken
        elif (times := growth(run, unit)) > MOST_GROWTH:
            slow[kind] = times
    assert slow == {}
