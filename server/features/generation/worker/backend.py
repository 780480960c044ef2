"""The interface of backends that make videos or sound, and their common functions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from server.features.generation.rules import Rules


class Stopped(Exception):
    """Raised if the job was cancelled. Not a QwenCameraError, because it stays in the worker's process."""


class StopFlag:
    """Flag that is set when the current job is cancelled."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set_event(self, event: threading.Event) -> None:
        """Set the event of the job that begins now."""
        self._event = event

    def check(self) -> None:
        """Raise Stopped if the job is cancelled."""
        if self._event.is_set():
            raise Stopped


def install_stop_hooks(modules: Iterable[Any], stop: StopFlag) -> None:
    """Register a hook that checks `stop` before each block of these torch modules.

    A block is a child of a `ModuleList`: a layer of a transformer, or a stage of an autoencoder. Therefore a cancelled
    step ends within one layer.
    """
    import torch

    def check(*_: object) -> None:
        stop.check()

    blocks = {
        id(block): block
        for module in modules
        if isinstance(module, torch.nn.Module)
        for parent in module.modules()
        if isinstance(parent, torch.nn.ModuleList)
        for block in parent
    }
    for block in blocks.values():
        block.register_forward_pre_hook(check)


# Called after each step with the number of steps done, and in all (0: unknown)
OnStep = Callable[[int, int], None]


class BackendError(Exception):
    """The model cannot do the job; `message` is for people, and contains nothing from the request.

    Outside the server's tree of errors, because it stays in the worker's process.
    """

    def __init__(self, message: str, code: str = "refused") -> None:
        super().__init__(message)
        self.message = message
        # "refused", "no_memory", "missing", "failed"
        self.code = code


@dataclass(frozen=True, slots=True)
class GenerationTask:
    """One validated request. `picture`: RGB, (height, width, 3), of the video's size."""

    prompt: str
    negative_prompt: str
    guidance: float
    steps: int
    seed: int
    width: int = 0
    height: int = 0
    frames: int = 0
    fps: int = 0
    seconds: float | None = None
    picture: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Sound:
    """PCM: 16 bit, little endian, channels interleaved; `rate` in Hz."""

    pcm: bytes
    rate: int
    channels: int


Result = Iterator[NDArray[np.uint8]] | Sound


class Backend(Protocol):
    """A loaded model. Calls block; they raise BackendError, Stopped, and errors of libraries."""

    name: str
    rules: Rules

    def make(self, task: GenerationTask, on_step: OnStep) -> Result:
        """Return the frames of a video, each RGB (height, width, 3), or sound."""
        ...


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How to load a model."""

    # Decode pictures in tiles: less memory, slower
    vae_tiling: bool = False
    # Shift of a flow-matching schedule; None: that of the model's files
    flow_shift: float | None = None
    # Keep components in main memory while they are not used on the GPU
    cpu_offload: bool = False
    # Compile the transformer: takes minutes, then steps are faster
    compile: bool = False
    # "auto": bfloat16 on a GPU, float32 on a CPU
    dtype: str = "auto"


def get_torch_device(how: LoadOptions) -> str:
    """Return "cuda" (also for ROCm) or "cpu". Raises BackendError."""
    import torch

    if torch.cuda.is_available():
        if how.cpu_offload and find_spec("accelerate") is None:
            raise BackendError(
                "cpu_offload needs the package accelerate, which the models' environment lacks. Install it there.",
                "missing",
            )
        return "cuda"
    if how.cpu_offload:
        raise BackendError(
            "cpu_offload needs a GPU, and this machine has none. Load the model without it."
        )
    return "cpu"


def get_torch_dtype(how: LoadOptions, device: str) -> Any:
    """Return the torch dtype. Raises BackendError."""
    import torch

    named = {
        "auto": torch.bfloat16 if device == "cuda" else torch.float32,
        "float32": torch.float32,
        "float16": torch.float16,
        "bfloat16": torch.bfloat16,
    }
    if how.dtype not in named:
        raise BackendError(f"The data type is unknown. Choose one of {', '.join(named)}.")
    return named[how.dtype]


_NO_VIDEO = "The model did not return a video. Choose another model."


def convert_rgb_frames(made: Any) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames of one video from what a pipeline returns: an array, a tensor, pictures, or lists of these.

    Raises BackendError if `made` is not a video, or contains NaN.
    """
    if isinstance(made, list | tuple):
        for one in made:
            yield from convert_rgb_frames(one)
        return
    if hasattr(made, "detach"):
        made = made.detach().cpu().float().numpy()
    elif not isinstance(made, np.ndarray) and hasattr(made, "convert"):
        made = np.asarray(made.convert("RGB"))
    if not isinstance(made, np.ndarray):
        raise BackendError(_NO_VIDEO, "failed")
    for frame in _move_channels_last(made):
        yield to_uint8(frame[..., :3])


def _move_channels_last(made: NDArray[Any]) -> NDArray[Any]:
    """Return a video as (frames, rows, columns, 3 or 4 channels). Raises BackendError."""
    while made.ndim > 4 and made.shape[0] == 1:
        made = made[0]
    if made.ndim == 3:
        made = made[None]
    if made.ndim == 4 and made.shape[-1] not in (3, 4):
        # Channels are the second axis, or the first.
        made = np.moveaxis(made, 1 if made.shape[1] in (3, 4) else 0, -1)
    if made.ndim != 4 or made.shape[-1] not in (3, 4):
        raise BackendError(_NO_VIDEO, "failed")
    return made


def to_uint8(frame: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert a picture from 0 to 1 (or already of 8 bits) to 8 bits. Raises BackendError for NaN."""
    if frame.dtype == np.uint8:
        return np.ascontiguousarray(frame)
    if not np.isfinite(frame).all():
        raise BackendError(
            "The model's numbers overflowed (NaN). Load it with another data type: bfloat16 or float32.",
            "failed",
        )
    return np.ascontiguousarray((frame * 255.0).round().clip(0, 255), np.uint8)


def to_sound(made: Any, rate: int) -> Sound:
    """Return sound from what a model returns: samples from -1 to 1, shaped (samples) or (channels, samples), possibly with
    leading axes of length 1. Raises BackendError.
    """
    while isinstance(made, list | tuple) and len(made) > 0:
        made = made[0]
    if hasattr(made, "detach"):
        made = made.detach().cpu().float().numpy()
    samples = np.asarray(made, np.float32)
    while samples.ndim > 1 and samples.shape[0] == 1:
        samples = samples[0]
    if samples.ndim == 1:
        samples = samples[None]
    if samples.ndim != 2 or samples.shape[0] > 2 or samples.size == 0:
        raise BackendError("The model did not return audio. Choose another model.", "failed")
    if not np.isfinite(samples).all():
        raise BackendError(
            "The model's numbers overflowed (NaN). Load it with another data type: float32.",
            "failed",
        )
    pcm = (samples.T.clip(-1, 1) * 32767.0).round().astype("<i2")
    return Sound(pcm.tobytes(), rate, samples.shape[0])
