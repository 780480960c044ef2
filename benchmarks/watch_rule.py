"""Simulate the watch rule on a model with stated errors: python -m benchmarks.watch_rule.

The gate wakes so many times a day; each wake is a situation. The plain look's errors follow a
chain: the situation before repeats its error with half of `persistence`. Another frame of the same
situation repeats it with `persistence`; the second look (crop, other words, beside the last no) has
half the errors and repeats them with `likeness`. Before an event come three look-alikes with three
times the false yes. The named place lies in what changed for 40 % of false and 95 % of true
answers. All of that is assumed; it has to be measured on the real model.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from scripts.arguments import call
from server.core import core_dumps
from server.features.watches.rule import Ask, Look, Order, Outcome, Watches
from server.media.picture.grounding import Box
from server.shared.watch_answers import Answer

CHANGED = Box(0, 0, 100, 100)
ELSEWHERE = Box(500, 500, 600, 600)
DAY = 86_400.0
LOOK_ALIKES = 3
STAYS = 3


@dataclass(frozen=True)
class Model:
    """Errors of a stated model."""

    false_yes: float = 0.02
    false_no: float = 0.1
    persistence: float = 0.5
    likeness: float = 0.1
    second_errors: float = 0.5
    place_false: float = 0.4
    place_true: float = 0.95
    # The second look at the settled scene repeats the error of the settled look; else that of the
    # second look at the first frame.
    linked: bool = False


class Scene:
    """A camera whose situations are asked about by the rule itself."""

    def __init__(self, model: Model, chance: random.Random, wakes_a_day: int = 144) -> None:
        self.model = model
        self.chance = chance
        self.gap = DAY / wakes_a_day
        self.rule = Watches()
        self.now = 0.0
        self.frames = 0
        self.requests = 0
        self.seconds = 0
        self._error = False
        self._truth: bool | None = None
        self.rule.add(Order("w1", "it happens", repeat=True), 0.0)

    def situation(self, truth: bool, *, alike: bool = False) -> list[int]:
        """One wake and all looks that follow; the requests that came before each alert."""
        model, chance = self.model, self.chance
        rate = (
            model.false_no if truth else min(0.5, model.false_yes * (LOOK_ALIKES if alike else 1))
        )
        stays = truth == self._truth and chance.random() < model.persistence / 2
        if not stays:
            self._error = chance.random() < rate
        self._truth = truth
        place = Box(10, 10, 60, 60)
        if chance.random() >= (model.place_true if truth else model.place_false):
            place = ELSEWHERE

        def again(error: bool, rate: float, likeness: float) -> bool:
            return error if chance.random() < likeness else chance.random() < rate

        def answer(error: bool) -> dict[str, Answer]:
            return {"w1": Answer(truth != error, 0.9, place, "")}

        alerts: list[int] = []
        begun = self.requests

        def take(ask: Ask | None, error: bool, second_error: bool) -> None:
            """Answer a request and the second look that it may lead to."""
            if ask is None:
                return
            self.requests += 1
            outcome: Outcome = self.rule.answered(ask, answer(error), self.now, 0)
            for second in outcome.asks:
                assert second.look is Look.SECOND
                self.requests += 1
                self.seconds += 1
                if self.rule.answered(second, answer(second_error), self.now, 0).firings:
                    alerts.append(self.requests - begun)

        self.now += self.gap
        self.frames += 1
        second_rate = rate * model.second_errors
        second = again(self._error, second_rate, model.likeness)
        take(self.rule.woken(f"f{self.frames}", CHANGED, self.now, 0), self._error, second)
        self.frames += 1
        settled = again(self._error, rate, model.persistence)
        if model.linked:
            later = again(settled, second_rate, model.likeness)
        else:
            later = again(second, second_rate, model.persistence)
        take(self.rule.settled(f"f{self.frames}", None, self.now + 2, 0), settled, later)
        return alerts


@dataclass(frozen=True)
class Figures:
    """The errors and requests of a rule, as a person notices them."""

    false_a_day: float
    premature: float
    missed_first: float
    missed: float
    requests_to_alert: float
    requests_a_wake: float


def measure(model: Model, seed: int, *, days: int, events: int) -> Figures:
    """Days in which nothing happens, and events behind look-alikes."""
    chance = random.Random(seed)
    quiet = Scene(model, chance)
    false = sum(len(quiet.situation(False)) for _ in range(144 * days))
    premature = first = missed = 0
    calls: list[int] = []
    for _ in range(events):
        scene = Scene(model, chance)
        for _ in range(4):
            scene.situation(False)
        early = [alert for _ in range(LOOK_ALIKES) for alert in scene.situation(False, alike=True)]
        premature += bool(early)
        alerts = [scene.situation(True) for _ in range(STAYS)]
        if not early:
            first += not alerts[0]
            missed += not any(alerts)
            calls += alerts[0]
    heard = max(1, events - premature)
    return Figures(
        false / days,
        premature / events,
        first / heard,
        missed / heard,
        sum(calls) / max(1, len(calls)),
        quiet.requests / (144 * days),
    )


def show(seeds: int = 5, days: int = 400, events: int = 6_000) -> None:
    print(
        "| false yes, no | seed | false a day | premature | missed at first, in 3 | requests to alert | requests a wake |"
    )
    print("|---|---|---|---|---|---|---|")
    for model in (Model(), Model(linked=True), Model(0.05), Model(0.1, 0.2, 0.7)):
        for seed in range(1, seeds + 1):
            found = measure(model, seed, days=days, events=events)
            print(
                f"| {model.false_yes:.0%}, {model.false_no:.0%}{', linked' if model.linked else ''} | {seed} | {found.false_a_day:.2f} | {found.premature:.2%} |"
                f" {found.missed_first:.1%}, {found.missed:.1%} | {found.requests_to_alert:.2f} |"
                f" {found.requests_a_wake:.2f} |"
            )


if __name__ == "__main__":
    core_dumps.forbid()
    call(show, __doc__)
