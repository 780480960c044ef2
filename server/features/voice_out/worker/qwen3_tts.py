"""Streaming for Qwen3-TTS: decode frames while the package generates them.

The package (qwen-tts 0.1.1) returns the whole sound of a text. A hook on the talker receives each
frame as soon as it is generated.
"""

from __future__ import annotations

import threading
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from server.features.voice_out.worker.streaming import (
    Floats,
    Overlap,
    SynthesisOptions,
    Window,
    Windows,
    get_language_name,
    to_pcm,
)

# Maximum length of a text
MOST_CHARS = 4000
Emit = Callable[[bytes], None]


class SpeakError(Exception):
    """Raised if a text cannot be spoken; the message is for the operator's log.

    Not a QwenCameraError: it never leaves the worker's process.
    """


class _SpeechCancelled(Exception):
    """Raised to cancel a text. Not a QwenCameraError: it never leaves this module."""


class _NoDecoder:
    """Replacement for the package's decoder, which would decode everything again at the end."""

    def decode(self, _codes: Any) -> tuple[list[Any], int]:
        return [], 0


def load(folder: Path, options: SynthesisOptions, voice: str, note: Note) -> QwenVoice:
    """Load the model. `note` is called with a sentence for each option that cannot be applied.

    `voice`: the name of one of its voices; for VoiceDesign models a description; for Base models the
    path of a recording; empty for the first voice. Raises SpeakError and errors of torch and the
    package.
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
            f'This Qwen3-TTS has the type "{kind}", which is not supported. Choose one with CustomVoice, VoiceDesign or Base in its name.'
        )
    return QwenVoice(model, options, voice, note)


class QwenVoice:
    """Loaded model; speaks one text at a time."""

    def __init__(self, model: Any, options: SynthesisOptions, voice: str, note: Note) -> None:
        self._model = model
        self._options = options
        tokenizer = model.model.speech_tokenizer
        self.rate = int(tokenizer.get_output_sample_rate())
        self.voices = tuple(sorted(model.get_supported_speakers() or ()))
        self._voice = voice
        # Base models: the prompt made of the recording, and the recording's last frames, after which
        # the decoder continues as the package's does.
        self._copied: Any = None
        self._before: list[Any] = []
        if model.model.tts_model_type == "base":
            self._copied = _make_clone_prompt(model, voice)
            codes = self._copied[0].ref_code
            if codes is not None:
                self._before = list(codes[-options.decode_window_frames :])
        self._languages = frozenset(model.get_supported_languages() or ())
        # Network from codes to sound; `decode` runs it, possibly compiled
        self.decoder = decoder = tokenizer.model.decoder
        self._upsample = int(decoder.total_upsample)
        self.decode = make_quick_decoder(decoder, options, int(decoder.config.num_quantizers), note)
        if options.compile_codebook_predictor:
            compile_predictor(self.talker, note)
        model.model.load_speech_tokenizer(_NoDecoder())

    @property
    def talker(self) -> Any:
        """Network from text to codes."""
        return self._model.model.talker

    def speak(self, text: str, *, language: str | None, stop: threading.Event, emit: Emit) -> int:
        """Speak a text and return its number of frames.

        `emit` receives the sound in chunks of 16-bit PCM; with `whole_text` one chunk at the end.
        Returns early when `stop` is set. Raises SpeakError.
        """
        _check(text)
        whole = bytearray()
        out = whole.extend if self._options.whole_text else emit
        windows = Windows(self._options, len(self._before))
        overlap = Overlap(self._options.overlap_samples)
        frames = list(self._before)

        def on_frame(_module: Any, _inputs: Any, output: Any) -> None:
            if stop.is_set():
                raise _SpeechCancelled
            codes = output.hidden_states[1]
            if codes is None:
                return  # the prompt
            frames.append(codes[0])
            window = windows.add()
            if window is not None:
                out(to_pcm(overlap.add(*self._make_sound(frames, window))))

        hook = self.talker.register_forward_hook(on_frame)
        try:
            self._generate(text, language)
        except _SpeechCancelled:
            return windows.frames
        finally:
            hook.remove()
        window = windows.end()
        if window is not None:
            out(to_pcm(overlap.add(*self._make_sound(frames, window))))
        rest = overlap.end()
        if len(rest):
            out(to_pcm(rest))
        if whole:
            emit(bytes(whole))
        return windows.frames

    def _generate(self, text: str, language: str | None) -> None:
        voice = self._voice
        name = get_language_name(language).lower()
        about: dict[str, Any] = {
            "text": text,
            "language": name if name in self._languages else "auto",
            # The codes of a frame are complete one step after its first code.
            "max_new_tokens": self._options.max_frames + 1,
            # Let sound begin before the model has read the whole text.
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

    def _make_sound(self, frames: list[Any], window: Window) -> tuple[Floats, int]:
        import torch

        # (1, groups, frames)
        codes = torch.stack(frames[window.begin : window.end], dim=-1)[None]
        return self.decode(codes), window.new * self._upsample


def _check(text: object) -> None:
    if not isinstance(text, str):
        raise SpeakError("A voice speaks one text at a time. Send one string per request.")
    if not text.strip():
        raise SpeakError("The text is empty. Send some words.")
    if len(text) > MOST_CHARS:
        raise SpeakError(
            f"The text has {len(text):,} characters; at most {MOST_CHARS:,} are allowed. Split it into sentences."
        )


def _make_clone_prompt(model: Any, voice: str) -> Any:
    """Return the package's prompt to copy a recording: the voice and, with a transcript, the way of speaking."""
    recording = Recording.read(voice)
    return model.create_voice_clone_prompt(
        ref_audio=(recording.samples, recording.rate),
        ref_text=recording.words or None,
        x_vector_only_mode=not recording.words,
    )


# Compiled networks and CUDA graphs of a voice. Each falls back to eager execution with a note.

Note = Callable[[str], None]


def make_quick_decoder(
    decoder: Any, options: SynthesisOptions, groups: int, note: Note
) -> Callable[[Any], Floats]:
    """Return the decoder as `options` say, or in eager mode with a note.

    Compiled or as a graph it takes windows of one size, padded after the last frame: it is causal, so
    that padding changes nothing before. If it fails later, it runs in eager mode from then on.
    """
    import torch

    def plain(codes: Any) -> Floats:
        with torch.inference_mode():
            sound: Floats = decoder(codes)[0, 0].float().cpu().numpy()
        return sound

    if not options.quick_decoder:
        return plain
    if options.use_cuda_graphs and not torch.cuda.is_available():
        note("use_cuda_graphs is off: torch finds no GPU here.")
        if not options.use_compile:
            return plain
    size = options.decode_window_frames
    upsample = int(decoder.total_upsample)
    run: Any = decoder
    try:
        device = next(decoder.parameters()).device
        empty = torch.zeros((1, groups, size), dtype=torch.long, device=device)
        if options.use_compile:
            run = torch.compile(decoder, mode=options.compile_mode, dynamic=False)
        if options.use_cuda_graphs and torch.cuda.is_available():
            run = _capture_graph(run, empty)
        with torch.inference_mode():
            run(empty)
    except Exception as error:  # noqa: BLE001
        # Compilers may raise any exception; the voice works without them.
        note(_format_fallback_note("decoder", error))
        return plain

    def decode_padded(codes: Any) -> Floats:
        nonlocal run
        if run is None:
            return plain(codes)
        count = codes.shape[-1]
        window = empty.clone()
        window[..., :count] = codes
        try:
            with torch.inference_mode():
                sound: Floats = run(window)[0, 0, : count * upsample].float().cpu().numpy()
        except Exception as error:  # noqa: BLE001
            run = None
            note(_format_fallback_note("decoder", error))
            return plain(codes)
        return sound

    return decode_padded


def compile_predictor(talker: Any, note: Note) -> None:
    """Compile the network for the further codes of a frame, or leave it in eager mode with a note.

    Never with CUDA graphs, whatever `compile_mode` says: it reuses its output in the next step, which a
    graph would overwrite. A failure loses the current text; the next one is spoken in eager mode.
    """
    import torch

    predictor = talker.code_predictor
    network, plain = predictor.model, predictor.model.forward

    def run(*arguments: Any, **named: Any) -> Any:
        try:
            return compiled(*arguments, **named)
        except Exception as error:
            network.forward = plain
            note(_format_fallback_note("codebook predictor", error))
            raise

    try:
        compiled = torch.compile(plain)
    except Exception as error:  # noqa: BLE001
        note(_format_fallback_note("codebook predictor", error))
        return
    network.forward = run
    like = next(network.parameters())
    start = torch.zeros((1, 2, talker.config.hidden_size), dtype=like.dtype, device=like.device)
    try:
        # Call it as the talker does, to compile it before the first text.
        with torch.no_grad():
            predictor.generate(
                inputs_embeds=start,
                max_new_tokens=talker.config.num_code_groups - 1,
                do_sample=False,
                output_hidden_states=True,
                return_dict_in_generate=True,
            )
    except Exception as error:
        if network.forward is run:
            # The failure is not of the compiled network.
            raise error from None


def _format_fallback_note(part: str, error: Exception) -> str:
    words = " ".join(str(error).split())[:200]
    return f"The {part} runs in eager mode, because its optimisation failed ({type(error).__name__}: {words})."


def _capture_graph(run: Any, example: Any) -> Callable[[Any], Any]:
    """Capture a CUDA graph as in torch's documentation: warm up on a side stream, then capture."""
    import torch

    static = example.clone()
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside), torch.inference_mode():
        for _ in range(3):
            run(static)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.inference_mode():
        out = run(static)

    def replay(codes: Any) -> Any:
        static.copy_(codes)
        graph.replay()
        return out

    return replay


# Recording whose voice is copied: an operator's WAV file, with its words in a text file next to it.

LEAST_SECONDS, MOST_SECONDS = 1, 30
_MOST_WORDS = 1000
_WANTED = (
    "This Qwen3-TTS copies the voice of a recording. Set SPEECH_VOICE to a WAV file"
    f" (16 bits, {LEAST_SECONDS} to {MOST_SECONDS} s) of a person who agreed to it. The copy is closer with its words in"
    " a text file of the same name (anna.wav, anna.txt)."
)


@dataclass(frozen=True, slots=True)
class Recording:
    samples: Floats
    rate: int
    # The spoken words; "" if unknown
    words: str

    @classmethod
    def read(cls, voice: str) -> Self:
        """Read the recording and its transcript. Raises SpeakError."""
        if not voice:
            raise SpeakError(_WANTED)
        path = Path(voice)
        try:
            path = path.expanduser()
            with wave.open(str(path), "rb") as file:
                rate, channels = file.getframerate(), file.getnchannels()
                if file.getsampwidth() != 2 or channels not in (1, 2):
                    raise SpeakError(
                        f"{path} is not a WAV file of 16 bits, mono or stereo. {_WANTED}"
                    )
                seconds = file.getnframes() / rate
                if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
                    raise SpeakError(f"{path} lasts {seconds:.1f} s. {_WANTED}")
                samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            text = path.with_suffix(".txt")
            words = text.read_text("utf-8") if text.is_file() else ""
        except (OSError, EOFError, RuntimeError, ValueError, wave.Error) as error:
            raise SpeakError(f"{path} cannot be read ({error}). {_WANTED}") from None
        words = " ".join(words.split())
        if len(words) > _MOST_WORDS:
            raise SpeakError(
                f"{text} has {len(words):,} characters; at most {_MOST_WORDS:,} are used. {_WANTED}"
            )
        mono = samples.reshape(-1, channels).mean(axis=1, dtype=np.float32) / 32768
        return cls(mono.astype(np.float32), rate, words)
