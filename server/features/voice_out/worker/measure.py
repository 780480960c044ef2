"""Measure a voice in its own process: first chunk, speed, and where the time goes, by stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle, islice
from typing import Any

# Sentences as answers have them
TEXTS = (
    "I see a red cup on a wooden table, next to a newspaper.",
    "The label says: best before the fourteenth of March.",
    "There are three people near the door, and one of them is waving.",
    "Yes, the light is green.",
)
_PREDICTOR = "talker: code predictor"


def measure(speaker: Any, texts: int, notes: list[str], *, inside: bool) -> dict[str, Any]:
    """Speak so many texts and return what each took; then one more, for the seconds of each stage.

    `inside`: the decoder's own stages, too; a compiled one has none.
    """
    spoken = [_one(speaker, text) for text in islice(cycle(TEXTS), texts)]
    stages: dict[str, float] = {}
    with _timed(speaker, stages, inside):
        # Apart from the others: to wait for each stage takes time itself.
        total = _one(speaker, TEXTS[0])["seconds"]
    return {"rate": speaker.rate, "notes": notes, "texts": spoken, "stages": apart(stages, total)}


def _one(speaker: Any, text: str) -> dict[str, Any]:
    chunks: list[tuple[float, float]] = []
    begin = time.perf_counter()
    frames = speaker.speak(
        text,
        language="en",
        stop=threading.Event(),
        emit=lambda pcm: chunks.append((time.perf_counter() - begin, len(pcm) / 2 / speaker.rate)),
    )
    seconds = time.perf_counter() - begin
    lateness, underruns = lateness_of(chunks)
    return {
        "frames": frames,
        "seconds": seconds,
        "sound": sum(length for _, length in chunks),
        "first": chunks[0][0] if chunks else seconds,
        "chunks": [at for at, _ in chunks],
        "lateness": lateness,
        "underruns": underruns,
    }


def lateness_of(chunks: list[tuple[float, float]]) -> tuple[list[float], int]:
    """Return by how much each chunk came after the sound before it was heard (less than 0: before),
    and how often that left a hole.

    `chunks`: seconds of arrival and of sound; somebody listens from the first one on.
    """
    lateness: list[float] = []
    underruns, due = 0, 0.0
    for number, (at, length) in enumerate(chunks):
        if number:
            lateness.append(at - due)
            underruns += at > due
        due = max(due, at) + length
    return lateness, underruns


@contextmanager
def _timed(speaker: Any, stages: dict[str, float], inside: bool) -> Iterator[None]:
    """Add up the time of the model's parts while they run. On a GPU each waits for its end."""
    with ExitStack() as stack:

        def watch(name: str, part: Any) -> None:
            began: list[float] = []

            def before(*_: Any) -> None:
                began.append(_now())

            def after(*_: Any) -> None:
                stages[name] = stages.get(name, 0.0) + _now() - began.pop()

            stack.callback(part.register_forward_pre_hook(before).remove)
            stack.callback(part.register_forward_hook(after).remove)

        def count(owner: Any, method: str, name: str) -> None:
            whole = getattr(owner, method)
            stack.callback(setattr, owner, method, whole)
            setattr(owner, method, _counted(whole, name, stages))

        watch("talker", speaker.talker)
        watch(_PREDICTOR, speaker.talker.code_predictor)
        count(speaker, "decode", "decoder")
        if inside:
            decoder = speaker.decoder
            count(decoder.quantizer, "decode", "decoder: codes to vectors")
            watch("decoder: first convolution", decoder.pre_conv)
            watch("decoder: transformer", decoder.pre_transformer)
            for blocks in decoder.upsample:
                for block in blocks:
                    watch("decoder: upsampling", block)
            for number, block in enumerate(decoder.decoder):
                watch(f"decoder: block {number}", block)
        yield


def _counted(
    run: Callable[[Any], Any], name: str, stages: dict[str, float]
) -> Callable[[Any], Any]:
    def counted(codes: Any) -> Any:
        began = _now()
        try:
            return run(codes)
        finally:
            stages[name] = stages.get(name, 0.0) + _now() - began

    return counted


def _now() -> float:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def apart(stages: dict[str, float], total: float) -> dict[str, float]:
    """Return the seconds of each stage without those inside it, and of the rest."""
    inside = sum(value for name, value in stages.items() if name.startswith("decoder: "))
    decoder, talker = stages.get("decoder", 0.0), stages.get("talker", 0.0)
    predictor = stages.get(_PREDICTOR, 0.0)
    return {
        **{name: value for name, value in stages.items() if ": " in name},
        "decoder: the rest" if inside else "decoder": max(0.0, decoder - inside),
        "talker: the rest": max(0.0, talker - predictor),
        "all else": max(0.0, total - decoder - talker),
    }
