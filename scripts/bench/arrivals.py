"""Plan the times and texts of the questions before the measurement, so that a slow server cannot
delay them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

# Looking at things, and one that asks for reading: with `--detail auto` that one takes more pixels.
QUESTIONS = (
    "What do you see?",
    "What is in front of the camera?",
    "Is anything moving?",
    "Which colours are there?",
    "What does the text say?",
)


@dataclass(frozen=True, slots=True)
class Planned:
    number: int
    # Seconds from the beginning
    at: float
    text: str


def poisson(
    count: int, rate: float, seed: int, questions: Sequence[str] = QUESTIONS
) -> list[Planned]:
    """`count` arrivals of a Poisson process of `rate` a second (exponential gaps); the same seed
    gives the same ones.
    """
    rng = random.Random(seed)
    at = 0.0
    plan = []
    for number in range(count):
        at += rng.expovariate(rate)
        plan.append(Planned(number, at, rng.choice(questions)))
    return plan
