"""Qwen3-TTS, frame by frame: its package makes the frames, and its decoder runs while they come.

The package (qwen-tts 0.1.1) returns a text's sound as a whole. A hook on the talker gets each frame
when it is made.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from server.engines.speech.voice_worker.quicker import Note, compile_predictor, quick_decoder
from server.engines.speech.voice_worker.recording import Recording, RecordingError
from server.engines.speech.voice_worker.streaming import (
    Floats,
    Overlap,
    StreamOptions,
    Window,
    Windows,
    pcm,
)

# Texts are sentences; a longer one is refused.
MOST_CHARS = 4000
# Words for the package, by the first part of a BCP 47 tag
_LANGUAGES = {
    "de": "german", "en": "english", "es": "spanish", "fr": "french", "it": "italian", "ja": "japanese",
    "ko": "korean", "pt": "portuguese", "ru": "russian", "zh": "chinese",
}  # fmt: skip
Emit = Callable[[bytes], None]


class SpeakError(Exception):
    """A text cannot be spoken; the message is for the operator's log.

    Outside the server's tree of errors: it stays in the worker's process.
    """


class _Stopped(Exception):
    """Somebody cancelled; outside the tree of errors, since it never leaves this module."""


class _LeftOut:
    """Stands where the package would decode everything once more at the end."""

    def decode(self, _codes: Any) -> tuple[list[Any], int]:
        return [], 0


def load(folder: Path, options: StreamOptions, voice: str, note: Note) -> Speaker:
    """Load the model. `note` gets a sentence for each thing that is not as it was asked.

    `voice`: the name of one of its voices, what it is like where the model makes one of that, or the
    file of a recording where the model copies one; empty for the first one.

    Raises SpeakError, and what torch and the package raise.
    """
    import torch
    from qwen_tts import Qwen3TTSModel

    gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if gpu else torch.float32
    model = Qwen3TTSModel.from_pretrained(
        str(folder), dtype=dtype, device_map="cuda:0" if gpu else "cpu", local_files_only=True
    )
    kind = model.model.tts_model_type
    if kind not in ("custom_voice", "voice_design", "base"):
        raise SpeakError(
            f'This Qwen3-TTS is of the kind "{kind}". Choose one whose name has CustomVoice, VoiceDesign or Base.'
        )
    return Speaker(model, options, voice, note)


class Speaker:
    """One model; one text at a time."""

    def __init__(self, model: Any, options: StreamOptions, voice: str, note: Note) -> None:
        self._model = model
        self._options = options
        tokenizer = model.model.speech_tokenizer
        self.rate = int(tokenizer.get_output_sample_rate())
        self.voices = tuple(sorted(model.get_supported_speakers() or ()))
        self._voice = voice
        # What a model that copies a recording takes of it, and the recording's last frames: the
        # decoder goes on behind them, as the package's does.
        self._copied: Any = None
        self._before: list[Any] = []
        if model.model.tts_model_type == "base":
            self._copied = _copied(model, voice)
            codes = self._copied[0].ref_code
            if codes is not None:
                self._before = list(codes[-options.decode_window_frames :])
        self._languages = frozenset(model.get_supported_languages() or ())
        # The network from codes to sound, and the way in which it runs
        self.decoder = decoder = tokenizer.model.decoder
        self._upsample = int(decoder.total_upsample)
        self.decode = quick_decoder(decoder, options, int(decoder.config.num_quantizers), note)
        if options.compile_codebook_predictor:
            compile_predictor(self.talker, note)
        model.model.load_speech_tokenizer(_LeftOut())

    @property
    def talker(self) -> Any:
        """The network from text to codes."""
        return self._model.model.talker

    def speak(self, text: str, *, language: str | None, stop: threading.Event, emit: Emit) -> int:
        """Speak a text, and return the number of its frames.

        `emit` gets the sound in chunks, 16 bits; with `whole_text` all of it at the end. Raises
        SpeakError; returns early when `stop` is set.
        """
        _check(text)
        whole = self._options.whole_text
        windows = Windows(self._options, len(self._before))
        overlap = Overlap(self._options.overlap_samples)
        frames = list(self._before)

        def made(_module: Any, _inputs: Any, output: Any) -> None:
            if stop.is_set():
                raise _Stopped
            codes = output.hidden_states[1]
            if codes is None:
                return  # the prompt
            frames.append(codes[0])
            window = windows.add()
            if window is not None and not whole:
                emit(pcm(overlap.add(*self._sound(frames, window))))

        hook = self.talker.register_forward_hook(made)
        try:
            self._generate(text, language)
        except _Stopped:
            return windows.frames
        finally:
            hook.remove()
        if whole:
            emit(pcm(self._whole(frames)))
            return windows.frames
        window = windows.end()
        if window is not None:
            emit(pcm(overlap.add(*self._sound(frames, window))))
        rest = overlap.end()
        if len(rest):
            emit(pcm(rest))
        return windows.frames

    def _generate(self, text: str, language: str | None) -> None:
        voice = self._voice
        name = _LANGUAGES.get((language or "").split("-")[0].lower(), "auto")
        about: dict[str, Any] = {
            "text": text,
            "language": name if name in self._languages else "auto",
            # A frame's codes are known one step later than its first one.
            "max_new_tokens": self._options.max_frames + 1,
            # The text is known, but sound is to begin before all of it has been read.
            "non_streaming_mode": False,
        }
        if self._copied is not None:
            self._model.generate_voice_clone(voice_clone_prompt=self._copied, **about)
            return
        if self._model.model.tts_model_type == "voice_design":
            self._model.generate_voice_design(instruct=voice or "A clear, friendly voice.", **about)
            return
        if voice and voice.lower() not in self.voices:
            raise SpeakError(
                f'This model has no voice "{voice[:40]}". It has: {", ".join(self.voices)}. Set SPEECH_VOICE.'
            )
        self._model.generate_custom_voice(speaker=voice or self.voices[0], **about)

    def _sound(self, frames: list[Any], window: Window) -> tuple[Floats, int]:
        import torch

        # (1, groups, frames)
        codes = torch.stack(frames[window.begin : window.end], dim=-1)[None]
        return self.decode(codes), window.new * self._upsample

    def _whole(self, frames: list[Any]) -> Floats:
        """Decode all frames, window by window, so that memory does not grow with the text."""
        windows, parts = Windows(self._options, len(self._before)), []
        for _ in frames[len(self._before) :]:
            window = windows.add()
            if window is not None:
                sound, new = self._sound(frames, window)
                parts.append(sound[len(sound) - new :])
        if (window := windows.end()) is not None:
            sound, new = self._sound(frames, window)
            parts.append(sound[len(sound) - new :])
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _check(text: object) -> None:
    if not isinstance(text, str):
        raise SpeakError(
            "A voice speaks one text at a time. Send a string, and further texts one by one."
        )
    if not text.strip():
        raise SpeakError("The text is empty. Send some words.")
    if len(text) > MOST_CHARS:
        raise SpeakError(
            f"The text has {len(text):,} characters; at most {MOST_CHARS:,} are spoken at once. Send it in sentences."
        )


def _copied(model: Any, voice: str) -> Any:
    """Return what the package takes of a recording: the voice and, with its words, how it speaks."""
    try:
        recording = Recording.read(voice)
    except RecordingError as error:
        raise SpeakError(f"This Qwen3-TTS copies the voice of a recording. {error}") from None
    return model.create_voice_clone_prompt(
        ref_audio=(recording.samples, recording.rate),
        ref_text=recording.words or None,
        x_vector_only_mode=not recording.words,
    )
