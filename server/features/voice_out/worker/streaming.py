"""Choose which frames of a voice to decode when, and join their sound. Pure.

A talker generates frames of codes, 12.5 per second; a decoder turns a window of them into sound. The
options have the names used in Qwen3-TTS's streaming.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
# Names of languages in Qwen3-TTS
_LANGUAGES = {
    "zh": "Chinese", "en": "English", "ja": "Japanese", "ko": "Korean", "de": "German",
    "fr": "French", "ru": "Russian", "pt": "Portuguese", "es": "Spanish", "it": "Italian",
}  # fmt: skip
# Modes of torch.compile
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
# Integer options, with minimum and maximum
_WHOLE = (
    *(("emit_every_frames", 1, 1000), ("first_chunk_frames", 1, 1000)),
    *(("decode_window_frames", 1, 2000), ("overlap_samples", 0, 4800)),
    ("max_frames", 1, 100_000),
)


def get_language_name(tag: str | None) -> str:
    """Return Qwen3-TTS's name for the language of a BCP 47 tag; "" if it has none."""
    return _LANGUAGES.get((tag or "").partition("-")[0].lower(), "")


@dataclass(frozen=True, slots=True)
class SynthesisOptions:
    """Options of streamed synthesis. Raises ValueError for values out of range.

    For a text that fits into one window the sound equals that of one decoding. Each layer of the
    decoder's attention looks back 72 frames, so later sound is close to it: the package itself decodes
    long texts with 25 frames of context.
    """

    # New frames per chunk; 8 are 640 ms at 12.5 frames per second
    emit_every_frames: int = 8
    # Frames of the first chunk; few, because a person is waiting for it
    first_chunk_frames: int = 2
    decode_window_frames: int = 80
    # Samples of each chunk that are decoded again with the next one and blended. 0: none; `CrossFade`
    # joins the borders.
    overlap_samples: int = 0
    # Maximum frames of one text; 10,000 are 800 s.
    max_frames: int = 10_000
    # Send the sound of a text as one chunk at its end.
    whole_text: bool = False
    # Compile the decoder. Falls back to eager mode on failure.
    use_compile: bool = False
    compile_mode: str = "reduce-overhead"
    # Replay the decoder as a CUDA graph. Falls back to eager mode on failure.
    use_cuda_graphs: bool = False
    # Off: the decoder runs in eager mode, whatever the three options above say.
    use_optimized_decode: bool = True
    # Compile the network for the further codes of a frame. Falls back to eager mode on failure.
    compile_codebook_predictor: bool = False

    @property
    def quick_decoder(self) -> bool:
        """True if the decoder runs compiled or as a CUDA graph."""
        return self.use_optimized_decode and (self.use_compile or self.use_cuda_graphs)

    def __post_init__(self) -> None:
        for name, least, most in _WHOLE:
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} is {value}. Allowed: {least:,} to {most:,}.")
        if self.compile_mode not in COMPILE_MODES:
            raise ValueError(
                f'compile_mode is "{str(self.compile_mode)[:40]}". Allowed: {", ".join(COMPILE_MODES)}.'
            )
        if self.decode_window_frames < max(self.emit_every_frames, self.first_chunk_frames):
            raise ValueError(
                f"decode_window_frames is {self.decode_window_frames}, but a chunk has up to "
                f"{max(self.emit_every_frames, self.first_chunk_frames)} new frames. Set it to at least that number."
            )

    @classmethod
    def read(cls, text: str) -> Self:
        """Parse options such as "emit_every_frames=4 use_compile=on"; empty if there are none.

        Raises ValueError with a message for the operator.
        """
        kinds = {field.name: type(field.default) for field in fields(cls)}
        given: dict[str, Any] = {}
        for part in text.replace(",", " ").split():
            name, _, value = part.partition("=")
            if name not in kinds:
                raise ValueError(
                    f'"{name[:40]}" is not an option of a local voice. Available: {", ".join(kinds)}.'
                )
            given[name] = _parse_value(name, value, kinds[name])
        return replace(cls(), **given) if given else cls()


def _parse_value(name: str, value: str, kind: type) -> int | bool | str:
    if kind is bool:
        if value.lower() in ("on", "true", "yes", "1"):
            return True
        if value.lower() in ("off", "false", "no", "0"):
            return False
        raise ValueError(f'{name} is "{value[:40]}". Allowed: on, off.')
    if kind is int:
        if not value.isascii() or not value.removeprefix("-").isdigit() or len(value) > 9:
            raise ValueError(f'{name} is "{value[:40]}", which is not an integer.')
        return int(value)
    return value


@dataclass(frozen=True, slots=True)
class Window:
    """Frames to decode: `begin` to `end` (exclusive), of which the last `new` are new."""

    begin: int
    end: int
    new: int


class Windows:
    """Scheduler of decoding, called after each frame. `before`: context frames that are not played."""

    def __init__(self, options: SynthesisOptions, before: int = 0) -> None:
        self._options = options
        self._before = self._made = self._decoded = before

    @property
    def frames(self) -> int:
        """Number of frames generated so far."""
        return self._made - self._before

    def add(self) -> Window | None:
        """Count one more frame. Return the window that is due; None if there is none."""
        self._made += 1
        first = self._decoded == self._before
        size = self._options.first_chunk_frames if first else self._options.emit_every_frames
        return self._get_window() if self._made - self._decoded >= size else None

    def end(self) -> Window | None:
        """Return the window of the remaining frames; None if there is none."""
        return self._get_window() if self._made > self._decoded else None

    def _get_window(self) -> Window:
        new = self._made - self._decoded
        self._decoded = self._made
        begin = max(0, self._made - self._options.decode_window_frames)
        return Window(begin, self._made, new)


class Overlap:
    """Blend the end of each chunk with the same samples of the next window."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._kept = np.zeros(0, np.float32)

    def add(self, sound: Floats, new: int) -> Floats:
        """Return what can be played. `sound`: of a window, shape (n,); its last `new` samples are new."""
        count = min(len(self._kept), len(sound) - new)
        fresh = sound[len(sound) - new - count :].copy()
        if count:
            weights = np.linspace(0, 1, count + 2, dtype=np.float32)[1:-1]
            fresh[:count] = self._kept[-count:] * (1 - weights) + fresh[:count] * weights
        fresh = np.concatenate([self._kept[: len(self._kept) - count], fresh])
        keep = min(self._samples, len(fresh))
        self._kept = fresh[len(fresh) - keep :]
        return fresh[: len(fresh) - keep]

    def end(self) -> Floats:
        """Return the remaining samples."""
        kept, self._kept = self._kept, np.zeros(0, np.float32)
        return kept


def to_pcm(sound: Floats) -> bytes:
    """Return samples (-1 to 1) as 16-bit little-endian PCM."""
    return np.clip(np.rint(sound * 32767), -32768, 32767).astype("<i2").tobytes()
