"""Backend for speech and sound models of transformers (`AutoModelForTextToWaveform`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from server.features.generation.rules import SAMPLE_RATE, Rules
from server.features.generation.worker.backend import (
    BackendError,
    GenerationTask,
    LoadOptions,
    OnStep,
    Sound,
    StopFlag,
    get_torch_device,
    get_torch_dtype,
    install_stop_hooks,
    to_sound,
)

# Default length in seconds, for a model that generates sound token by token
_DEFAULT_SECONDS = 10.0


def load(folder: Path, how: LoadOptions, stop: StopFlag) -> SpeechBackend:
    """Load a model. Raises BackendError, and errors of transformers."""
    for wanted, name in ((how.vae_tiling, "vae_tiling"), (how.compile, "compile")):
        if wanted:
            raise BackendError(f"{name} is for videos. Load this model without it.")
    device = get_torch_device(how)
    if how.cpu_offload:
        # It has no components to offload one by one.
        device = "cpu"
    import transformers

    # Warnings repeat parts of the request.
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    # Do not run the model's Python code; without this, transformers asks on standard input.
    common: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        # Never load a pickle, which may contain code
        model = transformers.AutoModelForTextToWaveform.from_pretrained(
            str(folder), dtype=get_torch_dtype(how, device), use_safetensors=True, **common
        )
    except ValueError as error:
        if "trust_remote_code" in str(error):
            raise BackendError(
                "This model contains Python code, which generation does not run. Choose a model without code."
            ) from None
        # The text lists every supported class: replace it.
        if "Unrecognized" not in str(error):
            raise
        raise BackendError(
            "transformers does not support this model for speech or sound. Choose another model."
        ) from None
    try:
        reader = transformers.AutoProcessor.from_pretrained(str(folder), **common)
    except (ValueError, OSError):
        reader = transformers.AutoTokenizer.from_pretrained(str(folder), **common)
    stop.check()
    return SpeechBackend(model.to(device).eval(), reader, stop)


class SpeechBackend:
    """Backend of one model."""

    name = "transformers"

    def __init__(self, model: Any, reader: Any, stop: StopFlag) -> None:
        self._model = model
        self._reader = reader
        self._stop = stop
        config = model.config
        codec = getattr(config, "audio_encoder", None)
        rate = getattr(config, "sampling_rate", None) or getattr(codec, "sampling_rate", None)
        # Tokens per second, of a model that generates sound token by token
        self._frame_rate = float(getattr(codec, "frame_rate", 0) or 0)
        # Additional steps: the codebooks are delayed against each other, so the last token is complete this much later.
        self._late = max(0, int(getattr(getattr(config, "decoder", None), "num_codebooks", 1)) - 1)
        self._by_tokens = bool(model.can_generate())
        takes = ["seconds"] if self._by_tokens and self._frame_rate else []
        self.rules = Rules("sound", takes=tuple(takes), sample_rate=int(rate or SAMPLE_RATE))
        install_stop_hooks([model], stop)

    def make(self, task: GenerationTask, on_step: OnStep) -> Sound:
        import torch

        torch.manual_seed(task.seed)
        read = self._reader(text=[task.prompt], return_tensors="pt")
        inputs = {name: value.to(self._model.device) for name, value in read.items()}
        with torch.inference_mode():
            if self._by_tokens:
                made = self._model.generate(**inputs, **self._get_limits(task, on_step))
            else:
                made = self._model(**inputs).waveform
                on_step(1, 1)
        return to_sound(made, self.rules.sample_rate)

    def _get_limits(self, task: GenerationTask, on_step: OnStep) -> dict[str, Any]:
        stop, done = self._stop, 0
        tokens = 0
        if self._frame_rate:
            seconds = _DEFAULT_SECONDS if task.seconds is None else task.seconds
            tokens = max(1, round(seconds * self._frame_rate)) + self._late
            on_step(0, tokens)

        def each(*_: Any, **__: Any) -> Any:
            nonlocal done
            stop.check()
            done += 1
            on_step(done, tokens)
            return False

        limits: dict[str, Any] = {"do_sample": True, "stopping_criteria": [each]}
        return limits | {"max_new_tokens": tokens} if tokens else limits
