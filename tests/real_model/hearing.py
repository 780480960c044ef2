"""Ask a worker's generator with sound in this process, for what is not visible from outside
(a part of `generating`).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from server.features.local_models.worker import loading, weights
from server.features.local_models.worker.generating import (
    AnswerError,
    AnswerGenerator,
    Prompt,
    decode_sound,
)
from server.features.local_models.worker.loading import Options

PICTURE = Image.new("RGB", (224, 224), (120, 40, 200))
SOUND: dict[str, Any] = {"type": "input_audio"}
LOOK: dict[str, Any] = {"type": "image_url"}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def noise(seconds: float, seed: int) -> bytes:
    samples = np.random.default_rng(seed).integers(-9000, 9000, int(16_000 * seconds))
    return samples.astype("<i2").tobytes()


class Asked:
    """One omni model, and what its parts got."""

    def __init__(self, folder: Path) -> None:
        options = Options(folder, "float32", "cpu", 2048, False)
        self.loaded = loading.load(options, weights.read(folder), lambda *_: None)
        self.generator = AnswerGenerator(self.loaded)
        self.heard: list[list[float]] = []
        self.prompts: list[list[int]] = []
        model = self.loaded.model
        model.model.audio_tower.register_forward_pre_hook(self._features, with_kwargs=True)
        plain = model.generate

        def generate(**named: Any) -> Any:
            self.prompts.append(named["input_ids"][0].tolist())
            return plain(**named)

        model.generate = generate

    def _features(self, _: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        features = given[0] if given else named["input_features"]
        self.heard.append([float(features.mean()), float(features.shape[-1])])

    def ask(
        self, messages: list[dict[str, Any]], sounds: list[bytes], pictures: int = 1
    ) -> dict[str, Any]:
        self.heard.clear()
        self.prompts.clear()
        try:
            heard = [decode_sound(one) for one in sounds]
            prompt = Prompt(messages, [PICTURE] * pictures, heard)
            self.generator.answer(prompt, 2, threading.Event(), lambda _: None)
        except AnswerError as error:
            return {"error": error.code}
        ids = self.prompts[0]
        mark, begin = (
            self.loaded.tokenizer.convert_tokens_to_ids(one)
            for one in ("<|AUDIO|>", "<|im_start|>")
        )
        by_message: list[int] = []
        for id in ids:
            if id == begin:
                by_message.append(0)
            elif id == mark:
                by_message[-1] += 1
        # Of each sound: the frames of its features
        return {"by_message": by_message, "frames": [int(one[1]) for one in self.heard]}


def found(folder: Path) -> dict[str, Any]:
    """Return the features of each sound that reached the omni model among `random_models`."""
    omni = Asked(folder / "qwen2_5_omni")
    system = {"role": "system", "content": "Answer."}
    turn = [{"role": "user", "content": "Earlier?"}, {"role": "assistant", "content": "Yes."}]

    def last(*parts: dict[str, Any]) -> dict[str, Any]:
        return {"role": "user", "content": [*parts, text("What barks?")]}

    one, two = noise(1.0, 1), noise(2.0, 2)
    video = {"type": "video_url", "video_url": {"url": 4 * ","}}
    told: dict[str, Any] = {
        "hears": omni.generator.can_take_sound(PICTURE),
        "spoken": omni.ask([system, *turn, last(LOOK, SOUND)], [one]),
        "silent": omni.ask([system, *turn, last(LOOK)], []),
        "scene": omni.ask([system, last(LOOK, LOOK, LOOK, text("Heard:"), SOUND)], [two], 3),
        "two messages": omni.ask(
            [
                system,
                {"role": "user", "content": [SOUND, text("First?")]},
                turn[1],
                last(LOOK, SOUND),
            ],
            [one, two],
        ),
        "half a sample": omni.ask([system, last(LOOK, SOUND)], [b"\x00"]),
        "nothing": omni.ask([system, last(LOOK, SOUND)], [b""]),
    }
    if omni.generator.can_take_video(PICTURE):
        told["video"] = omni.ask([system, last(video, LOOK, text("Heard:"), SOUND)], [two], 5)
    deaf = folder / "qwen3_vl"
    options = Options(deaf, "float32", "cpu", 2048, False)
    generator = AnswerGenerator(loading.load(options, weights.read(deaf), lambda *_: None))
    told["deaf"] = generator.can_take_sound(PICTURE)
    return told
