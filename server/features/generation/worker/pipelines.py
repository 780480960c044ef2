"""Backend for diffusers: any of its pipelines, chosen by the files of the model's folder."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from server.features.generation.rules import (
    SAMPLE_RATE,
    FirstFrame,
    Output,
    Rules,
    read_pixel_rules,
)
from server.features.generation.worker.backend import (
    BackendError,
    GenerationTask,
    LoadOptions,
    OnStep,
    Result,
    Sound,
    StopFlag,
    convert_rgb_frames,
    get_torch_device,
    get_torch_dtype,
    install_stop_hooks,
    to_sound,
)

# Names of the parameter for the length of a sound, by pipeline
_LENGTHS = ("audio_length_in_s", "audio_end_in_s")


def load(folder: Path, how: LoadOptions, stop: StopFlag) -> DiffusersBackend:
    """Load a pipeline. Raises BackendError, ModelFolderError, and errors of diffusers."""
    device = get_torch_device(how)
    try:
        import diffusers
    except ImportError:
        raise BackendError(
            "This model is a diffusers pipeline, which the models' environment lacks. Install it there: "
            "pip install -r requirements-models.txt",
            "missing",
        ) from None
    # Warnings repeat parts of the request.
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    pipe = diffusers.DiffusionPipeline.from_pretrained(
        str(folder),
        dtype=get_torch_dtype(how, device),
        local_files_only=True,
        # Never load a pickle, which may contain code
        use_safetensors=True,
    )
    stop.check()
    pipe.set_progress_bar_config(disable=True)
    _set_shift(pipe, how)
    vae: Any = getattr(pipe, "vae", None)
    if how.vae_tiling:
        if not hasattr(vae, "enable_tiling"):
            raise BackendError(
                "This model's autoencoder does not support vae_tiling. Load it without."
            )
        vae.enable_tiling()
    if how.cpu_offload:
        pipe.enable_model_cpu_offload()
    else:
        pipe.to(device)
    if how.compile:
        _compile(pipe)
    return DiffusersBackend(pipe, folder, how, stop)


def _set_shift(pipe: Any, how: LoadOptions) -> None:
    """Set the shift of the schedule, unless the schedule has no shift, or a shift that depends on the size."""
    scheduler = getattr(pipe, "scheduler", None)
    if how.flow_shift is None or scheduler is None:
        return
    if scheduler.config.get("use_dynamic_shifting"):
        return
    for name in ("flow_shift", "shift"):
        if name in scheduler.config:
            changed = {name: how.flow_shift}
            pipe.scheduler = type(scheduler).from_config(scheduler.config, **changed)
            return


def _compile(pipe: Any) -> None:
    for name in ("transformer", "transformer_2", "unet"):
        module = getattr(pipe, name, None)
        if module is not None:
            module.compile()


def _make_picture_pipeline(pipe: Any) -> Any:
    """Return the image-to-video pipeline with the same components if the model supports both (Wan 2.2 5B), else None.

    Such a model has a timestep for each patch; the timesteps for a given first frame are 0.
    """
    import diffusers

    name = type(pipe).__name__.replace("Pipeline", "ImageToVideoPipeline")
    if not pipe.config.get("expand_timesteps") or not hasattr(diffusers, name):
        return None
    return getattr(diffusers, name)(**pipe.components, expand_timesteps=True)


class DiffusersBackend:
    """Backend of one pipeline."""

    name = "diffusers"

    def __init__(self, pipe: Any, folder: Path, how: LoadOptions, stop: StopFlag) -> None:
        self._pipe = pipe
        self._stop = stop
        self._takes = inspect.signature(pipe.__call__).parameters
        self._for_pictures = None if "image" in self._takes else _make_picture_pipeline(pipe)
        self.rules = self._read_rules(folder)
        # Compiled modules do not support these hooks: a compiled model stops at the end of a step.
        if not how.compile:
            install_stop_hooks(pipe.components.values(), stop)

    def _read_rules(self, folder: Path) -> Rules:
        takes = [
            word
            for word, names in (
                ("negative", ("negative_prompt",)),
                ("guidance", ("guidance_scale",)),
                ("steps", ("num_inference_steps",)),
                ("seconds", _LENGTHS),
            )
            if any(name in self._takes for name in names)
        ]
        output: Output = "video" if "num_frames" in self._takes else "sound"
        if output == "sound" and not any(name in self._takes for name in _LENGTHS):
            raise BackendError(
                f"{type(self._pipe).__name__} makes neither videos nor sound. Choose a model that does."
            )
        if output == "video" and "prompt" not in self._takes:
            raise BackendError(
                f"{type(self._pipe).__name__} does not accept a prompt. Choose a model that does."
            )
        first: FirstFrame = "never"
        if "image" in self._takes:
            first = (
                "must" if self._takes["image"].default in (None, inspect.Parameter.empty) else "may"
            )
            # If the prompt is the first parameter, the pipeline supports both, and the picture is optional.
            if next(iter(self._takes)) == "prompt":
                first = "may"
        if self._for_pictures is not None:
            self._for_pictures.set_progress_bar_config(disable=True)
            first = "may"
        factor, frame_step = read_pixel_rules(folder)
        return Rules(output, factor, frame_step, first, tuple(takes), self._get_rate())

    def _get_rate(self) -> int:
        for part in ("vae", "vocoder"):
            config = getattr(getattr(self._pipe, part, None), "config", None)
            rate = getattr(config, "sampling_rate", None)
            if isinstance(rate, int) and rate > 0:
                return rate
        return SAMPLE_RATE

    def make(self, task: GenerationTask, on_step: OnStep) -> Result:
        making = self._make_video if self.rules.output == "video" else self._make_sound
        return making(task, on_step)

    def _make_video(self, task: GenerationTask, on_step: OnStep) -> Iterator[NDArray[np.uint8]]:
        arguments: dict[str, Any] = {
            "num_frames": task.frames,
            "width": task.width,
            "height": task.height,
            "output_type": "np",
        }
        if task.picture is not None:
            from PIL import Image

            arguments["image"] = Image.fromarray(task.picture)
        # For models trained at several frame rates
        for name in ("frame_rate", "fps"):
            if name in self._takes:
                arguments[name] = task.fps
        pipe = self._pipe if task.picture is None else self._for_pictures or self._pipe
        made = self._call(pipe, arguments, task, on_step)
        yield from convert_rgb_frames(made.frames)

    def _make_sound(self, task: GenerationTask, on_step: OnStep) -> Sound:
        arguments: dict[str, Any] = {}
        if task.seconds is not None:
            arguments[next(name for name in _LENGTHS if name in self._takes)] = task.seconds
        made = self._call(self._pipe, arguments, task, on_step)
        return to_sound(made.audios, self.rules.sample_rate)

    def _call(
        self, pipe: Any, arguments: dict[str, Any], task: GenerationTask, on_step: OnStep
    ) -> Any:
        import torch

        arguments |= {
            "prompt": task.prompt,
            "generator": torch.Generator("cpu").manual_seed(task.seed),
        }
        rules = self.rules
        if task.negative_prompt and "negative" in rules.takes:
            arguments["negative_prompt"] = task.negative_prompt
        if "guidance" in rules.takes:
            arguments["guidance_scale"] = task.guidance
        if "steps" in rules.takes:
            arguments["num_inference_steps"] = task.steps

        def step_done(step: int) -> None:
            self._stop.check()
            on_step(step + 1, task.steps)

        if "callback_on_step_end" in self._takes:

            def at_end(_: Any, step: int, __: Any, values: dict[str, Any]) -> dict[str, Any]:
                step_done(step)
                return values

            arguments["callback_on_step_end"] = at_end
        elif "callback" in self._takes:
            arguments["callback"] = lambda step, _, __: step_done(step)
        if "steps" in rules.takes and {"callback_on_step_end", "callback"} & self._takes.keys():
            on_step(0, task.steps)
        try:
            return pipe(**arguments)
        except NameError as error:
            # Wan's image-to-video pipeline uses ftfy without checking that it is installed (diffusers 0.42).
            raise BackendError(
                f"This pipeline needs the package {error.name}, which the models' environment lacks. Install it there: "
                "pip install -r requirements-models.txt",
                "missing",
            ) from None
        finally:
            cast(Any, self._pipe).maybe_free_model_hooks()
