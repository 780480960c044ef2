"""Load a model with its processor, and report the progress."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from transformers.processing_utils import ProcessorMixin
from transformers.utils import PushToHubMixin, logging

from server.features.hosting.control_groups import count_cores
from server.features.local_models.worker.weights import (
    ModelWeights,
    choose_dtype,
    compute_memory,
    format_gigabytes,
    free_ram,
)

# Phase, percent (0 to 100; None: unknown), bytes done, bytes in all
Report = Callable[[str, float | None, int | None, int | None], None]
# Niceness of a worker on the CPU, so that decoding the cameras has priority
_NICENESS = 5
_REASON_CHARS = 300


class LoadError(Exception):
    """A model cannot be loaded; `message` says why, and what to do.

    Outside the server's tree of errors, because it stays in the worker's process.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        # memory | model | code | device
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the worker's command line."""

    folder: Path
    dtype: str
    # auto | cpu | cuda (also for ROCm)
    device: str
    # Most tokens; a smaller limit of the model applies.
    context: int
    trust_remote_code: bool


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model with its processor, and where and how it computes."""

    model: Any
    processor: Any
    weights: ModelWeights
    device: str
    dtype: str
    context: int

    @property
    def tokenizer(self) -> Any:
        return getattr(self.processor, "tokenizer", self.processor)


def load(options: Options, weights: ModelWeights, report: Report) -> LoadedModel:
    """Load a model. Raises LoadError."""
    gpu = _use_gpu(options.device)
    dtype = _choose_dtype(options, weights, gpu)
    placed = _choose_device_map(weights, dtype, gpu)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if not gpu:
        _share_processor()
    shared: dict[str, Any] = {
        "local_files_only": True,
        "trust_remote_code": options.trust_remote_code,
    }
    try:
        config = transformers.AutoConfig.from_pretrained(options.folder, **shared)
        # For a model that also accepts and generates sound, only the part that answers with text
        config = getattr(config, "thinker_config", config)
        report("processor", None, None, None)
        processor = _load_processor(options.folder, shared)
        report("weights", 0.0, 0, weights.bytes)
        with _report_progress(report, weights.bytes):
            model, found = transformers.AutoModelForImageTextToText.from_pretrained(
                options.folder,
                config=config,
                dtype=getattr(torch, dtype),
                device_map=placed,
                use_safetensors=True,
                output_loading_info=True,
                **shared,
            )
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _make_memory_error(weights, dtype) from error
    except Exception as error:
        # Model code may raise anything. The text may be shown, because it does not contain a question yet.
        raise _make_load_error(error, options.folder, weights, dtype) from error
    if found["missing_keys"]:
        some = sorted(found["missing_keys"])[0]
        raise LoadError(
            "model",
            f"The weights lack {len(found['missing_keys'])} parts that the model needs, such as {some[:80]}. Download the model again.",
        )
    report("weights", 100.0, weights.bytes, weights.bytes)
    return LoadedModel(
        model.eval(),
        processor,
        weights,
        str(model.device),
        dtype,
        min(options.context, weights.context_length or options.context),
    )


def _share_processor() -> None:
    """Lower the priority, and leave one core for the cameras unless OMP_NUM_THREADS is set: idle threads spin."""
    # A sandbox may forbid a change of priority.
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), count_cores() - 1)))


def _use_gpu(device: str) -> bool:
    there: bool = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise LoadError(
            "device",
            "This Python's torch finds no GPU. Install the build for the GPU (CUDA or ROCm), or use the CPU.",
        )
    return there and device != "cpu"


def _choose_dtype(options: Options, weights: ModelWeights, gpu: bool) -> str:
    if gpu:
        # NVIDIA GPUs before compute capability 8 emulate bfloat16, slower than float16.
        hip = getattr(torch.version, "hip", None)
        quick = bool(hip) or torch.cuda.get_device_capability()[0] >= 8
    else:
        quick = _has_fast_bfloat16()
    free = free_ram()
    wide = compute_memory(weights.bytes, weights.bytes_each, "float32")
    return choose_dtype(
        options.dtype, weights.dtype, gpu=gpu, bfloat16=quick, roomy=free is None or wide < free
    )


def _has_fast_bfloat16() -> bool:
    """Return True if torch reports bfloat16 instructions of this CPU."""
    # Missing in older versions of torch
    ask = getattr(torch.cpu, "get_capabilities", None)
    return ask is not None and bool(ask().get("avx512_bf16"))


def _choose_device_map(weights: ModelWeights, dtype: str, gpu: bool) -> Any:
    """Return the `device_map`: None for the CPU, the GPU with the most free memory, or "auto" for all GPUs.

    Raises LoadError if the model does not fit.
    """
    need = compute_memory(weights.bytes, weights.bytes_each, dtype)
    if not gpu:
        free = free_ram()
        if free is not None and need > free:
            raise _make_memory_error(weights, dtype, free)
        return None
    frees = [torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())]
    if need <= max(frees):
        return {"": frees.index(max(frees))}
    if need <= sum(frees):
        return "auto"
    raise _make_memory_error(weights, dtype, sum(frees), on="the GPU")


def _load_processor(folder: Path, shared: dict[str, Any]) -> Any:
    try:
        return transformers.AutoProcessor.from_pretrained(folder, **shared)
    except ImportError:
        if not is_video_library_missing():
            raise
    disable_video_processors()
    return transformers.AutoProcessor.from_pretrained(folder, **shared)


@contextlib.contextmanager
def _report_progress(report: Report, total: int) -> Iterator[None]:
    """Report the loaded share of the weights, while the block runs. All tensors count equally."""

    def make_bar(make: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        things = args[0] if args else named.get("iterable")
        if not hasattr(things, "__len__") or not hasattr(things, "__iter__"):
            return make(*args, **named)
        return _ProgressBar(
            things, lambda share: report("weights", 100.0 * share, int(total * share), total)
        )

    hook = getattr(logging, "set_tqdm_hook", lambda _: None)
    before = hook(make_bar)
    try:
        yield
    finally:
        hook(before)


class _ProgressBar:
    """Replacement for a tqdm bar that reports each percent."""

    def __init__(self, things: Any, report: Callable[[float], None]) -> None:
        self._things = things
        self._report = report

    def __iter__(self) -> Iterator[Any]:
        count, before = len(self._things), 0
        for number, thing in enumerate(self._things):
            if number * 100 // count > before:
                before = number * 100 // count
                self._report(number / count)
            yield thing

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def _make_memory_error(
    weights: ModelWeights, dtype: str, free: int | None = None, on: str = "this machine"
) -> LoadError:
    need = format_gigabytes(compute_memory(weights.bytes, weights.bytes_each, dtype))
    there = f", and {on} has {format_gigabytes(free)} free" if free is not None else ""
    return LoadError(
        "memory",
        f"There is not enough memory: the model needs about {need} in {dtype}{there}."
        " End other programs, or choose a smaller model.",
    )


def _make_load_error(
    error: Exception, folder: Path, weights: ModelWeights, dtype: str
) -> LoadError:
    words = " ".join(str(error).split())
    low = words.lower()
    if "can't allocate memory" in low or "cannot allocate memory" in low or "out of memory" in low:
        return _make_memory_error(weights, dtype)
    if "trust_remote_code" in low:
        return LoadError(
            "code",
            f"This model ({weights.model_type}) contains Python code, which runs only with TRUST_REMOTE_CODE=true. Read the code"
            " before you set that, or choose a model that transformers knows.",
        )
    if isinstance(error, json.JSONDecodeError):
        return LoadError("model", f"{_explain_damage(folder)} Download it again.")
    return LoadError(
        "model",
        f"transformers {transformers.__version__} could not load the model ({type(error).__name__}): {shorten(words)} Download it"
        " again, or choose another one.",
    )


def _explain_damage(folder: Path) -> str:
    for path in sorted(folder.glob("*.json")):
        try:
            json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return f"{path.name} in the model's folder is damaged: it is not JSON."
    return "A file in the model's folder is damaged: it is not JSON."


def shorten(words: str) -> str:
    """Return an error text from a library, shortened to _REASON_CHARS characters, and ending like a sentence."""
    words = " ".join(words.split())
    if len(words) > _REASON_CHARS:
        words = words[:_REASON_CHARS].rpartition(" ")[0] + " …"
    return words if words.endswith((".", "…", "!", "?")) else f"{words}."


def make_grey_image() -> Image.Image:
    return Image.new("RGB", (224, 224), (128, 128, 128))


# `AutoProcessor` loads all parts of a processor or none. Its video part needs torchvision and more, which questions about
# pictures do not need. So if a video library is missing, `NoVideo` replaces the video part.


class NoVideo(PushToHubMixin):  # type: ignore[misc]  # transformers is not where types are checked
    """Placeholder for a video processor."""

    model_input_names: tuple[str, ...] = ()
    # Some processors read these without a video.
    num_frames = None
    fps = None

    def to_dict(self) -> dict[str, Any]:
        return {}


def is_video_library_missing() -> bool:
    return find_spec("torchvision") is None or find_spec("num2words") is None


def disable_video_processors() -> None:
    """Patch transformers (5.23) so that processors load without their video part in this process."""
    if find_spec("torchvision") is None:
        auto = importlib.import_module("transformers.models.auto.video_processing_auto")
        auto.AutoVideoProcessor.from_pretrained = staticmethod(lambda *_, **__: NoVideo())
        check = ProcessorMixin.check_argument_for_proper_class

        def let_pass(self: Any, name: str, part: Any) -> Any:
            return NoVideo if isinstance(part, NoVideo) else check(self, name, part)

        ProcessorMixin.check_argument_for_proper_class = let_pass
    if find_spec("num2words") is None:
        # SmolVLM's processor spells out the number of frames. Older versions of transformers lack the module.
        try:
            module = importlib.import_module("transformers.models.smolvlm.processing_smolvlm")
        except ImportError:
            return
        setattr(module, "num2words", str)  # noqa: B010
