"""Choose the frames of a voice to decode, and join their sound. Pure.

A talker makes frames of codes, 12.5 a second; a decoder makes sound of a window of them. The names
of the options are those that Qwen3-TTS's streaming is known by.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
# Names of languages as Qwen3-TTS has them
_LANGUAGES = {
    "zh": "Chinese", "en": "English", "ja": "Japanese", "ko": "Korean", "de": "German",
    "fr": "French", "ru": "Russian", "pt": "Portuguese", "es": "Spanish", "it": "Italian",
}  # fmt: skip
# Modes of torch.compile
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
# Whole numbers among the options: each with its least and its most
_WHOLE = (
    *(("emit_every_frames", 1, 1000), ("first_chunk_frames", 1, 1000)),
    *(("decode_window_frames", 1, 2000), ("overlap_samples", 0, 4800)),
    ("max_frames", 1, 100_000),
)


def language_name(tag: str | None) -> str:
    """Return the name of a BCP 47 tag's language as Qwen3-TTS has it; "" for one that it has not."""
    return _LANGUAGES.get((tag or "").partition("-")[0].lower(), "")


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """The options of sound that is made while the talker goes on. Raises ValueError for values that cannot be.

    Sound is that of a whole decoding as long as a text fits into one window. Each layer of the
    decoder's attention looks back 72 frames, so later sound is near it: the package itself decodes long
    texts with 25 frames before each part.
    """

    # New frames of each chunk; at 12.5 frames a second 8 are 640 ms
    emit_every_frames: int = 8
    # Those of the first chunk, which somebody waits for
    first_chunk_frames: int = 2
    decode_window_frames: int = 80
    # Samples of each chunk that are made again with the next one and blended. 0: none; `CrossFade`
    # joins the borders.
    overlap_samples: int = 0
    # Frames of one text; 10,000 are 800 s.
    max_frames: int = 10_000
    # Give the sound of a text as one chunk, when all of it is made.
    whole_text: bool = False
    # Compile the decoder. Falls back to plain where that fails.
    use_compile: bool = False
    compile_mode: str = "reduce-overhead"
    # Replay the decoder as a CUDA graph. Falls back to plain where that fails.
    use_cuda_graphs: bool = False
    # Off: the decoder runs plain, whatever the three above say.
    use_optimized_decode: bool = True
    # Compile the network that makes the further codes of a frame. Falls back to plain where that fails.
    compile_codebook_predictor: bool = False

    @property
    def quick_decoder(self) -> bool:
        """True when the decoder is to run compiled or as a graph."""
        return self.use_optimized_decode and (self.use_compile or self.use_cuda_graphs)

    def __post_init__(self) -> None:
        for name, least, most in _WHOLE:
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} is {value}; {least:,} to {most:,} are possible.")
        if self.compile_mode not in COMPILE_MODES:
            raise ValueError(
                f'compile_mode is "{str(self.compile_mode)[:40]}"; {", ".join(COMPILE_MODES)} are possible.'
            )
        if self.decode_window_frames < max(self.emit_every_frames, self.first_chunk_frames):
            raise ValueError(
                f"decode_window_frames is {self.decode_window_frames}, but a chunk has up to "
                f"{max(self.emit_every_frames, self.first_chunk_frames)} new frames; the window has to hold them."
            )

    @classmethod
    def read(cls, text: str) -> Self:
        """Read options in the form "emit_every_frames=4 use_compile=on"; empty for none.

        Raises ValueError with a sentence for the operator.
        """
        kinds = {field.name: type(field.default) for field in fields(cls)}
        given: dict[str, Any] = {}
        for part in text.replace(",", " ").split():
            name, _, value = part.partition("=")
            if name not in kinds:
                raise ValueError(
                    f'"{name[:40]}" is no option of a local voice. These are: {", ".join(kinds)}.'
                )
            given[name] = _value(name, value, kinds[name])
        return replace(cls(), **given) if given else cls()


def _value(name: str, value: str, kind: type) -> int | bool | str:
    if kind is bool:
        if value.lower() in ("on", "true", "yes", "1"):
            return True
        if value.lower() in ("off", "false", "no", "0"):
            return False
        raise ValueError(f'{name} is "{value[:40]}"; on and off are possible.')
    if kind is int:
        if not value.isascii() or not value.removeprefix("-").isdigit() or len(value) > 9:
            raise ValueError(f'{name} is "{value[:40]}", which is no whole number.')
        return int(value)
    return value


@dataclass(frozen=True, slots=True)
class Window:
    """Frames to decode: from `begin` to before `end`, of which the last `new` are new."""

    begin: int
    end: int
    new: int


class Windows:
    """Decides after each frame whether a window is decoded. `before`: unheard frames in front."""

    def __init__(self, options: StreamOptions, before: int = 0) -> None:
        self._options = options
        self._before = self._made = self._decoded = before

    @property
    def frames(self) -> int:
        """Frames so far, without those before."""
        return self._made - self._before

    def add(self) -> Window | None:
        """Note one more frame; return the window that is due, if one is."""
        self._made += 1
        first = self._decoded == self._before
        size = self._options.first_chunk_frames if first else self._options.emit_every_frames
        return self._window() if self._made - self._decoded >= size else None

    def end(self) -> Window | None:
        """Return the window of the frames that are left, if there are any."""
        return self._window() if self._made > self._decoded else None

    def _window(self) -> Window:
        new = self._made - self._decoded
        self._decoded = self._made
        begin = max(0, self._made - self._options.decode_window_frames)
        return Window(begin, self._made, new)


class Overlap:
    """Blends the end of each chunk with the same samples as the next window has them."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._kept = np.zeros(0, np.float32)

    def add(self, sound: Floats, new: int) -> Floats:
        """Return what can be played now. `sound`: that of a window; its last `new` samples are new."""
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
        """Return the rest."""
        kept, self._kept = self._kept, np.zeros(0, np.float32)
        return kept


def pcm(sound: Floats) -> bytes:
    """Return samples of -1 to 1 as 16 bits, little end first."""
    return np.clip(np.rint(sound * 32767), -32768, 32767).astype("<i2").tobytes()
