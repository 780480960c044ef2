"""Compare our streamed sound with the package's whole decoding, in tiny models of random weights.

    PYTHON -m tests.real_model.speech_compared FOLDER

PYTHON has the package qwen-tts. It makes the models in FOLDER, speaks a text as a stream, lets the
package speak it whole with the same seed, and prints the largest differences as JSON.
"""

from __future__ import annotations

import argparse
import json
import threading
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from server.features.voice_out.worker.qwen3_tts import QwenVoice
from server.features.voice_out.worker.streaming import SynthesisOptions
from tests.real_model.tiny_speech import make

TEXT = "There is a red cup."
WORDS = "A word."
FRAMES = 40
SECONDS = 2.4
_FRAME = 1920
_SEED = 3


def field(decoder: Any) -> int:
    """Return how many frames after one that changes the sound changes, too."""
    import torch

    codes = torch.zeros((1, decoder.config.num_quantizers, 60), dtype=torch.long)
    other = codes.clone()
    other[..., 0] = 1
    with torch.inference_mode():
        change = (decoder(codes) - decoder(other))[0, 0].abs().reshape(60, _FRAME)
    return int(change.amax(dim=1).nonzero().max())


class Compared:
    """One model, spoken with in several ways."""

    def __init__(
        self, model: Any, whole: Callable[[int], Any], voice: str = "", words: str = ""
    ) -> None:
        """`whole`: speaks by the package alone, until so many frames, and returns the sound. `words`:
        of the recording that `voice` is.
        """
        self._words = words
        self._model, self._voice = model, voice
        self._tokenizer = model.model.speech_tokenizer
        self.decoder = self._tokenizer.model.decoder
        self._seed()
        self._whole = whole(FRAMES)

    def _seed(self) -> None:
        import torch

        torch.manual_seed(_SEED)

    def way(self, field: int, options: str) -> dict[str, Any]:
        """Speak with these options; what differs from the whole."""
        self._model.model.load_speech_tokenizer(self._tokenizer)
        notes: list[str] = []
        read = SynthesisOptions.read(f"max_frames={FRAMES} {options}")
        speaker = QwenVoice(self._model, read, self._voice, notes.append)
        made, windows = [0], []
        decode = speaker.decode

        def decoded(codes: Any) -> Any:
            sound = decode(codes)
            windows.append((made[0], codes.shape[-1], sound))
            return sound

        speaker.decode = decoded

        def count(_module: Any, _inputs: Any, output: Any) -> None:
            made[0] += output.hidden_states[1] is not None

        hook = speaker.talker.register_forward_hook(count)
        chunks: list[bytes] = []
        self._seed()
        try:
            frames = speaker.speak(TEXT, language="en", stop=threading.Event(), emit=chunks.append)
        finally:
            hook.remove()
        heard = np.frombuffer(b"".join(chunks), "<i2") / 32767
        return {
            "frames": frames,
            "chunks": [len(chunk) // 2 for chunk in chunks],
            "samples": [len(heard), len(self._whole)],
            "loudness": float(self._whole.std()),
            "stream": float(np.abs(heard - self._whole[: len(heard)]).max()),
            "windows": [self._window(field, *window) for window in windows],
            "notes": notes,
        }

    def _window(self, field: int, end: int, count: int, sound: Any) -> dict[str, Any]:
        """Compare those samples of a window of which all that they depend on is in it, new or not."""
        begin = end - count
        # A reference's frames stand before those of the text.
        first = max(0, begin + field if begin or self._words else 0)
        here = sound[(first - begin) * _FRAME :]
        there = self._whole[first * _FRAME : end * _FRAME]
        return {
            "begin": begin,
            "end": end,
            "compared": len(here),
            "largest": float(np.abs(here - there).max()) if len(here) else 0.0,
        }


def _recorded(file: Path) -> Any:
    """Write a hum, and return it."""
    rate = 24_000
    at = np.arange(int(SECONDS * rate)) / rate
    hum = np.rint(8000 * np.sin(2 * np.pi * 150 * at) * np.sin(2 * np.pi * 1.5 * at))
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(hum.astype("<i2").tobytes())
    return (hum / 32768).astype(np.float32)


def compare(folder: Path) -> dict[str, Any]:
    import torch
    from qwen_tts import Qwen3TTSModel

    found: dict[str, Any] = {}
    about = {"text": TEXT, "language": "english", "non_streaming_mode": False}

    def loaded(kind: str) -> Any:
        make(folder / kind, kind)
        return Qwen3TTSModel.from_pretrained(str(folder / kind), dtype=torch.float32)

    model = loaded("custom_voice")
    named = Compared(
        model,
        lambda frames: model.generate_custom_voice(
            speaker="anna", max_new_tokens=frames + 1, **about
        )[0][0],
    )
    found["field"] = reach = field(named.decoder)
    size = reach + 4
    held = f"emit_every_frames=4 first_chunk_frames=1 decode_window_frames={size}"
    found["defaults"] = named.way(reach, "")
    found["overlap"] = named.way(
        reach, f"{held} decode_window_frames={size + 8} overlap_samples=480"
    )
    found["short"] = named.way(reach, f"{held} decode_window_frames={size - 6}")
    # In place of a compiler, which takes a minute: what it is given has to be the same.
    compiled: list[Any] = []

    def pass_on(network: Any, **_: Any) -> Any:
        compiled.append(network)
        return network

    whole_compiler, torch.compile = torch.compile, pass_on
    try:
        found["quick"] = named.way(reach, f"{held} use_compile=on compile_codebook_predictor=on")
        found["compiled"] = len(compiled)

        def breaks(network: Any, **_: Any) -> Any:
            calls = [0]

            def run(codes: Any) -> Any:
                calls[0] += 1
                if calls[0] > 3:
                    raise RuntimeError("no graph")
                return network(codes)

            return run

        torch.compile = breaks
        found["breaks"] = named.way(reach, f"{held} use_compile=on")
    finally:
        torch.compile = whole_compiler

    recording = folder / "hum.wav"
    hum = _recorded(recording)
    base = loaded("base")

    tokenizer = base.model.speech_tokenizer

    def cloned(words: str) -> Compared:
        base.model.load_speech_tokenizer(tokenizer)
        return Compared(
            base,
            lambda frames: base.generate_voice_clone(
                ref_audio=(hum, 24_000),
                ref_text=words or None,
                x_vector_only_mode=not words,
                max_new_tokens=frames + 1,
                **about,
            )[0][0],
            str(recording),
            words,
        )

    found["voice_alone"] = cloned("").way(reach, "")
    recording.with_suffix(".txt").write_text(WORDS)
    found["copied"] = cloned(WORDS).way(reach, held)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compare streamed sound with whole decoding.")
    parser.add_argument("folder", type=Path)
    print(json.dumps(compare(parser.parse_args().folder)))
