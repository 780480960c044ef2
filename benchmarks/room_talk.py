"""Measures what a microphone makes of a room: people at it, and a television. `python -m benchmarks.room_talk`: three minutes.

Voices of espeak-ng through the true detector, without a network. Counted are turns (each becomes a question) and answers
that were stopped, while one is heard all the time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from scripts.arguments import call
from server.core import core_dumps
from server.core.sound import SOUND_RATE, Sound
from server.features.voice_in.detector import Detector, SpeechModel
from server.features.voice_in.foreground import BargeIn, Foreground, Loudness
from server.features.voice_in.turns import Ended, Turns
from tests.support.sounds import (
    SENTENCES,
    VOICES,
    Samples,
    at_level,
    hiss,
    mixed,
    spoken,
    television,
)

SEEDS = (0, 1, 2, 3, 4)


@dataclass(slots=True)
class Heard:
    """The outcome of a sound."""

    # Beginning of each turn, and the time at which it became a question, seconds
    turns: list[tuple[float, float]] = field(default_factory=list)
    lowered: list[float] = field(default_factory=list)
    stopped: list[float] = field(default_factory=list)


def hear(model: SpeechModel, sound: Samples, answer_from: float = np.inf) -> Heard:
    """Hear a sound; from a time on an answer is heard, and 3 s after it was stopped the next one."""
    detector, foreground, turns, barge_in = Detector(model), Foreground(), Turns(), BargeIn()
    heard = Heard()
    for chunk in detector.feed(Sound(sound, 0.0)):
        talking = chunk.at >= max(answer_from, heard.stopped[-1] + 3 if heard.stopped else 0.0)
        before = foreground.background
        voice = foreground.hears(chunk, answering=talking)
        now = barge_in.hear(chunk, voice, talking=talking)
        if foreground.background and not before and turns.unsure:
            turns.give_up()
        if now is Loudness.LOWERED:
            heard.lowered.append(chunk.end)
        if now is Loudness.STOPPED:
            heard.stopped.append(chunk.end)
            barge_in.reset()
        for event in turns.hear(chunk, voice):
            if isinstance(event, Ended):
                heard.turns.append((event.since, chunk.end))
    return heard


def sentence(number: int, level: float) -> Samples:
    return at_level(spoken(SENTENCES[number % 5], VOICES[number % 6]), level)


def put(sound: Samples, part: Samples, at: float) -> Samples:
    """Mix a part into a sound at a time, seconds."""
    begin = round(at * SOUND_RATE)
    copy = sound.copy()
    copy[begin : begin + len(part)] = mixed(part, copy[begin : begin + len(part)])
    return copy


def quiet(seconds: float, seed: int) -> Samples:
    return hiss(seconds, -68, seed)


def show_television(model: SpeechModel) -> None:
    print(
        "A television in five rooms, a minute each: turns in its first 15 s, later; answers stopped"
    )
    for level in (-52, -44, -40, -36, -30):
        early = late = stops = known = 0
        for seed in SEEDS:
            tv = np.concatenate([quiet(5, seed), television(60, level, seed)])
            heard = hear(model, tv)
            early += sum(since < 20 for since, _ in heard.turns)
            late += sum(since >= 20 for since, _ in heard.turns)
            stops += len(hear(model, tv, 0.0).stopped)
            asked = put(put(quiet(20, seed), sentence(seed, -23), 2), sentence(seed + 1, -23), 10)
            known += len(
                hear(model, np.concatenate([asked, television(60, level, seed)]), 18.0).stopped
            )
        print(
            f"  {level} dBFS: {early}, {late}; {stops}, and {known} where a person has spoken before",
            flush=True,
        )


def show_people(model: SpeechModel) -> None:
    print("One sentence in a quiet room: turns of 30, seconds from its end to the question p50/p95")
    for level in (-20, -26, -32, -38, -44, -52):
        took = []
        for number in range(30):
            said = sentence(number, level)
            sound = np.concatenate([put(quiet(8, number), said, 2)])
            turns = hear(model, sound).turns
            took += [asked - 2 - len(said) / SOUND_RATE for _, asked in turns[:1]]
        print(f"  {level} dBFS: {len(took)}/30, {_p(took)}", flush=True)
    print(
        "Over an answer, a sentence of somebody who was not heard before; who was; beside a television"
    )
    for level in (-20, -26, -29, -32, -38, -44):
        rows = []
        for kind in ("unknown", "known", "beside -44"):
            stopped, lowered = [], []
            for number in range(30):
                said = sentence(number, level)
                base = put(quiet(30, number), np.zeros(1, np.int16), 0)
                if kind == "beside -44":
                    base = television(30, -44, number % 5)
                if kind != "unknown":
                    base = put(
                        put(base, sentence(number, level), 2), sentence(number + 1, level), 9
                    )
                heard = hear(model, put(base, said, 20), 18.0)
                lowered += [at - 20 for at in heard.lowered if 20 <= at < 23][:1]
                stopped += [at - 20 for at in heard.stopped if 20 <= at < 23][:1]
            rows.append(f"{kind}: lowered {len(lowered)}, stopped {len(stopped)} {_p(stopped)}")
        print(f"  {level} dBFS: " + "; ".join(rows), flush=True)


def _p(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{np.percentile(values, 50):.2f}/{np.percentile(values, 95):.2f}"


def measure() -> None:
    model = SpeechModel()
    show_people(model)
    show_television(model)


if __name__ == "__main__":
    core_dumps.forbid()
    call(measure, __doc__)
