"""Asks questions through simulated pages, open loop, and finds out what the model got of each."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.chat_client import Answer
from scripts.bench.report import Row, Spread

_TAG = re.compile(r"\[#(\d+)\]")


@dataclass(slots=True)
class Asked:
    """One question and what is known of it. Times are seconds since the epoch."""

    number: int
    # Typed: the camera was woken before the question was sent.
    typed: bool
    answer: Answer
    # The stand-in's record; None when the question never got there
    record: dict[str, Any] | None = None

    @property
    def to_model_ms(self) -> float | None:
        return None if self.record is None else (self.record["arrived"] - self.answer.asked) * 1000

    @property
    def age_ms(self) -> float | None:
        age: float | None = None if self.record is None else self.record["age_ms"]
        return age

    @property
    def captured_after(self) -> bool | None:
        """True when the frame was captured after the question was sent; None when unreadable."""
        to_model, age = self.to_model_ms, self.age_ms
        # The clock shows whole milliseconds, rounded down.
        return None if to_model is None or age is None else age <= to_model + 1

    @property
    def first_token_ms(self) -> float | None:
        """Time from the model's first piece of text until it is at the page."""
        first = None if self.record is None else self.record["first_token"]
        came = self.answer.first_delta_at
        return None if first is None or came is None else (came - first) * 1000


@dataclass(slots=True)
class Results:
    asked: list[Asked] = field(default_factory=list)
    # Questions that had to wait since every session was busy: the open loop was closed by so many.
    held_up: int = 0

    def join(self, records: Sequence[dict[str, Any]]) -> None:
        """Give each question its record at the stand-in."""
        by_number = {}
        for record in records:
            # A question may stand behind a line of the server's own; the tag is ours.
            if tags := _TAG.findall(record["question"]):
                by_number[int(tags[-1])] = record
        for asked in self.asked:
            asked.record = by_number.get(asked.number)

    def of(self, typed: bool | None) -> list[Asked]:
        return [a for a in self.asked if typed is None or a.typed == typed]

    def errors(self) -> list[str]:
        return [str(a.answer.error["code"]) for a in self.asked if a.answer.error]

    def rows(self) -> list[Row]:
        """Rows 1 to 5 of the list, as far as they were measured."""
        sizes = sorted({(a.record["width"], a.record["height"]) for a in self.asked if a.record})
        sources = sorted(
            {
                (frame["source_width"], frame["source_height"])
                for a in self.asked
                if a.answer.response and (frame := a.answer.response.get("frame"))
            }
        )
        rows = [
            Row(
                "camera resolution that the model's frame was cut from",
                "px wide",
                value=float(min((w for w, _ in sources), default=0)),
                target=1280,
                at_least=True,
                note=f"camera {sources}, picture at the model {sizes}",
                number="1",
            )
        ]
        for number, typed, name, p50, p95 in (
            ("2", True, "typed question → model request", 35, 55),
            ("3", False, "tapped question → model request", 60, 120),
        ):
            some = self.of(typed)
            if some:
                rows.append(
                    Row(
                        name,
                        "ms",
                        Spread.of(x for a in some if (x := a.to_model_ms) is not None),
                        target_p50=p50,
                        target_p95=p95,
                        note=_evidence(some),
                        number=number,
                    )
                )
        for typed, name in ((True, "typed"), (False, "tapped")):
            some = self.of(typed)
            if some:
                rows.append(
                    Row(
                        f"age of that frame at the model, {name}",
                        "ms",
                        Spread.of(x for a in some if (x := a.age_ms) is not None),
                        target_p50=12,
                        target_p95=25,
                        number="4",
                    )
                )
        rows.append(
            Row(
                "model's first token → client",
                "ms",
                Spread.of(x for a in self.asked if (x := a.first_token_ms) is not None),
                target_p50=1.5,
                target_p95=4,
                number="5",
            )
        )
        return rows

    def whole_rows(self) -> list[Row]:
        """Return the client's times: from the question to the first text and to the end."""
        done = [a.answer for a in self.asked if a.answer.response]
        first = [(at - a.asked) * 1000 for a in done if (at := a.first_delta_at) is not None]
        timings = [a.response["timings"] for a in done if a.response]
        steps = [
            Row(f"server: {name}", "ms", Spread.of(t[key] for t in timings))
            for key, name in (
                ("wait_frame_ms", "waiting for the frame"),
                ("prepare_ms", "preparing it"),
                ("queue_ms", "queue"),
            )
        ]
        return [
            *steps,
            Row("question → first text at the client", "ms", Spread.of(first)),
            Row(
                "question → whole answer",
                "ms",
                Spread.of((a.ended_at - a.asked) * 1000 for a in done),
                note=f"{len(done)} of {len(self.asked)} answered, errors: {_counted(self.errors())}",
            ),
            Row(
                "in the engine, as the server reports",
                "ms",
                Spread.of(a.response["inference_time"] * 1000 for a in done if a.response),
            ),
        ]


def _evidence(some: Sequence[Asked]) -> str:
    after = [a.captured_after for a in some]
    missing = [a for a in some if a.record is None]
    text = f"{after.count(True)} frames captured after the question, {after.count(False)} before"
    if after.count(None):
        text += f", {after.count(None)} without a readable clock"
    if missing:
        codes = _counted([str((a.answer.error or {"code": "none"})["code"]) for a in missing])
        text += f"; {len(missing)} questions never came to the model: {codes}"
    return text


def _counted(names: Sequence[str]) -> str:
    return ", ".join(f"{name} {names.count(name)}" for name in sorted(set(names))) or "none"


async def ask_many(
    peers: Sequence[CameraPeer],
    count: int,
    *,
    rate: float,
    typed_share: float,
    rng: random.Random,
    first_number: int = 0,
    wakes: bool = True,
    detail: str = "auto",
) -> Results:
    """Ask `count` questions, Poisson arrivals at `rate` a second, each by a session that is free.

    A typed question is typed for 0.5 to 1.2 s first; before a tapped one the camera has fallen
    asleep (with `wakes`).
    """
    free: asyncio.Queue[CameraPeer] = asyncio.Queue()
    order = list(peers)
    rng.shuffle(order)
    for peer in order:
        free.put_nowait(peer)
    results = Results()

    async def one(number: int, typed: bool, peer: CameraPeer, pause: float) -> None:
        try:
            if wakes:
                await peer.asleep()
                await asyncio.sleep(0.5 + pause)
                if typed:
                    await peer.type_for(0.5 + 1.4 * pause)
            answer = await peer.ask(f"What do you see? [#{number}]", detail=detail, timeout=60)
            results.asked.append(Asked(number, typed, answer))
        finally:
            free.put_nowait(peer)

    loop = asyncio.get_running_loop()
    at = loop.time()
    async with asyncio.TaskGroup() as group:
        for i in range(count):
            at += rng.expovariate(rate)
            typed, pause = rng.random() < typed_share, rng.uniform(0, 0.5)
            await asyncio.sleep(max(0.0, at - loop.time()))
            results.held_up += free.empty()
            group.create_task(one(first_number + i, typed, await free.get(), pause))
    return results
