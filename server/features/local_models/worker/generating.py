"""Generate one answer from a chat with pictures and sound; stream it as text; stop it at once when cancelled."""

from __future__ import annotations

import copy
import io
import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from numpy.typing import NDArray
from PIL import Image

from server.features.local_models.worker.detokenize import Detokenizer
from server.features.local_models.worker.loading import LoadedModel, NoVideo
from server.models.thinking import CLOSE, OPEN

Messages = list[dict[str, Any]]
Samples = NDArray[np.float32]
# Pixels above which a picture is not decoded; the server sends much smaller ones.
_MAX_PIXELS = 64_000_000
# Minimum number of tokens that earlier turns must leave for the answer
_MIN_ANSWER_TOKENS = 64
# Number of tokens at the end of a prompt that are searched for the opening thinking tag
_OPENING_TOKENS = 8
# Variable of chat templates (of Qwen, GLM and others) that switches thinking
_SWITCH = "enable_thinking"


class AnswerError(Exception):
    """The question cannot be answered.

    `code`: picture, sound, context, template, memory, numbers or failed. Outside the server's tree of errors, because it
    stays in the worker's process.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat. Parts of its messages are placeholders for the pictures and sounds, in their order."""

    messages: Messages
    pictures: Sequence[Image.Image]
    sounds: Sequence[Samples] = ()
    # False switches thinking off, if the template supports it
    think: bool = False


class _Stopped(Exception):
    """Raised by a hook in the model's layers when the answer is cancelled."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an answer ended."""

    # stop | length | cancelled
    reason: str
    prompt_tokens: int
    completion_tokens: int


class AnswerGenerator:
    """Answers with the model. `steps`: forward passes since the start."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self.steps = 0
        self._stop = threading.Event()
        # True before the first forward pass of an answer
        self._first = False
        self._end_tokens = _end_tokens(loaded)
        self._marks = _find_marks(loaded.tokenizer)
        self._template = str(getattr(loaded.processor, "chat_template", None) or "")
        # True if the template can switch thinking
        self.switch = _SWITCH in self._template
        loaded.model.register_forward_pre_hook(self._count)
        loaded.model.register_forward_hook(self._check)
        for part in loaded.model.modules():
            if isinstance(part, torch.nn.ModuleList):
                for layer in part:
                    layer.register_forward_pre_hook(self._raise_if_stopped)

    def answer(
        self,
        prompt: Prompt,
        max_tokens: int,
        stop: threading.Event,
        emit: Callable[[str], None],
        *,
        thoughts: int = 0,
    ) -> Outcome:
        """Generate an answer, and call `emit` with each piece of its text. Raises AnswerError.

        `stop`: set it to end the answer within one layer. `thoughts`: tokens allowed for thinking, in addition to
        `max_tokens`. If the prompt ends with an opening thinking tag, the tag is emitted first.
        """
        self._stop, self._first = stop, True
        prompt_tokens = 0
        words = _TextStreamer(self._loaded.tokenizer, self._end_tokens, self._marks, stop, emit)
        try:
            reserve = min(max_tokens, _MIN_ANSWER_TOKENS) + thoughts
            inputs = self._fit(prompt, reserve)
            prompt_tokens = int(inputs["input_ids"].shape[1])
            words.opened = self._find_opening_tag(inputs["input_ids"])
            limit = min(max_tokens + thoughts, self._loaded.context - prompt_tokens)
            with torch.inference_mode():
                self._loaded.model.generate(
                    **inputs,
                    generation_config=self._make_settings(limit),
                    streamer=words,
                    stopping_criteria=[words.make_stop_mask],
                )
        except _Stopped:
            return Outcome("cancelled", prompt_tokens, words.count)
        except (MemoryError, RuntimeError) as error:
            # On the CPU, torch raises a plain RuntimeError.
            memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
            if not memory and "allocate memory" not in str(error):
                raise
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            raise AnswerError("memory") from None
        if stop.is_set():
            return Outcome("cancelled", prompt_tokens, words.count)
        return Outcome(
            "length" if words.has_reached_limit(limit) else "stop", prompt_tokens, words.count
        )

    def can_take_video(self, frame: Image.Image) -> bool:
        """Return True if template, processor and libraries accept video frames in addition to a picture."""
        if not can_read_videos(self._loaded.processor):
            return False
        video = {"type": "video_url", "video_url": {"url": 4 * ","}}
        inputs = self._try_inputs("video", [video, {"type": "image"}], [frame] * 5)
        return inputs is not None and "pixel_values_videos" in inputs

    def can_take_sound(self, frame: Image.Image) -> bool:
        """Return True if template and processor accept sound in addition to a picture."""
        if getattr(self._loaded.processor, "feature_extractor", None) is None:
            return False
        asked = [{"type": "image"}, {"type": "input_audio"}]
        return self._try_inputs("sound", asked, [frame], [np.zeros(16_000, np.float32)]) is not None

    def _try_inputs(
        self,
        kind: str,
        parts: Messages,
        pictures: Sequence[Image.Image],
        sounds: Sequence[Samples] = (),
    ) -> Any:
        """Return the inputs of a trial question with these parts; None if the model does not support them."""
        content = [*parts, {"type": "text", "text": "Hello"}]
        try:
            return self._make_inputs(
                Prompt([{"role": "user", "content": content}], pictures, sounds)
            )
        except Exception as error:  # noqa: BLE001
            # Each processor fails in its own way. The server then sends single pictures, and text without sound.
            print(f"this model does not accept {kind} ({type(error).__name__})", file=sys.stderr)
            return None

    def _find_opening_tag(self, prompt: torch.Tensor) -> str:
        """Return the opening thinking tag at the end of the prompt; "" if there is none."""
        end = prompt[0, -_OPENING_TOKENS:].tolist()
        text = str(self._loaded.tokenizer.decode(end, skip_special_tokens=False)).rstrip()
        return next((mark for mark in OPEN if text.endswith(mark.rstrip())), "")

    def _fit(self, prompt: Prompt, answer: int) -> Any:
        """Return the inputs of a prompt, without its oldest turns if they leave fewer than `answer` tokens.

        The server cuts the history by an estimate, since the tokens of a picture depend on the processor. Raises
        AnswerError.
        """
        while True:
            inputs = self._make_inputs(prompt)
            left = self._loaded.context - int(inputs["input_ids"].shape[1])
            if left >= answer:
                return inputs
            fewer = drop_oldest(prompt.messages)
            if len(fewer) == len(prompt.messages):
                if left < 1:
                    raise AnswerError("context")
                return inputs
            prompt = replace(prompt, messages=fewer)

    def _make_inputs(self, prompt: Prompt) -> Any:
        try:
            inputs = self._apply_template(prompt)
        except (TemplateError, TypeError):
            try:
                inputs = self._apply_template(
                    replace(prompt, messages=merge_system(prompt.messages))
                )
            except TemplateError:
                raise AnswerError("template") from None
        if prompt.sounds and not has_sound(inputs):
            raise AnswerError("sound")
        model = self._loaded.model
        return inputs.to(model.device, dtype=model.dtype)

    def _apply_template(self, prompt: Prompt) -> Any:
        return self._loaded.processor.apply_chat_template(
            to_template_messages(prompt.messages, prompt.pictures, prompt.sounds),
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            add_generation_prompt=True,
            # A variable that the template does not have would be passed to the processor.
            **({_SWITCH: prompt.think} if self.switch else {}),
            **make_processor_options(self._loaded.processor, prompt.messages, prompt.pictures),
        )

    def _make_settings(self, limit: int) -> Any:
        """Return the model's generation settings with greedy decoding, so that the same picture gives the same answer."""
        settings = copy.deepcopy(self._loaded.model.generation_config)
        settings.max_new_tokens, settings.max_length = limit, None
        settings.do_sample, settings.num_beams = False, 1
        settings.temperature = settings.top_p = settings.top_k = None
        settings.eos_token_id = sorted(self._end_tokens) or None
        if settings.pad_token_id is None:
            settings.pad_token_id = min(self._end_tokens, default=None)
        return settings

    def _count(self, *_: object) -> None:
        self.steps += 1

    def _check(self, _module: object, _args: object, output: Any) -> None:
        """Raise AnswerError if the first logits contain NaN: the model would repeat one token."""
        if self._first:
            self._first = False
            logits = getattr(output, "logits", None)
            if logits is not None and bool(logits[:, -1].isnan().any()):
                raise AnswerError("numbers")

    def _raise_if_stopped(self, *_: object) -> None:
        # In each layer, because the first forward pass over a long prompt takes seconds.
        if self._stop.is_set():
            raise _Stopped


def _end_tokens(loaded: LoadedModel) -> set[int]:
    stated = loaded.model.generation_config.eos_token_id
    ends = [*stated] if isinstance(stated, list | tuple) else [stated]
    return {
        end for end in (*ends, getattr(loaded.tokenizer, "eos_token_id", None)) if end is not None
    }


def _find_marks(tokenizer: Any) -> dict[int, str]:
    added = getattr(tokenizer, "added_tokens_decoder", {}).items()
    return {
        id: str(one.content)
        for id, one in added
        # A mark may be longer than its special token.
        if one.special and any(mark.startswith(str(one.content)) for mark in (*OPEN, *CLOSE))
    }


class _TextStreamer:
    """Streamer for transformers' `generate`: turns tokens into text."""

    def __init__(
        self,
        tokenizer: Any,
        ends: set[int],
        marks: dict[int, str],
        stop: threading.Event,
        emit: Callable[[str], None],
    ) -> None:
        self._end_tokens = ends
        self._marks = marks
        # Opening thinking tag at the end of the prompt; emitted before the first token
        self.opened = ""
        self._stop = stop
        self._emit = emit
        self._prompt_seen = False
        self._last: int | None = None
        self._text = Detokenizer(
            lambda ids: str(
                tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            )
        )
        # Tokens of the answer, including its end token
        self.count = 0

    def put(self, value: torch.Tensor) -> None:
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        for token in value.reshape(-1).tolist():
            self.count += 1
            self._last = token
            if self.opened:
                self._emit(self.opened)
                self.opened = ""
            if text := self._marks.get(token) or self._text.push(token):
                self._emit(text)

    def end(self) -> None:
        if not self._stop.is_set() and (text := self._text.end()):
            self._emit(text)

    def make_stop_mask(self, input_ids: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """Return the stopping criterion of `generate`: a boolean tensor with one element per answer of the batch."""
        return torch.full((input_ids.shape[0],), self._stop.is_set(), device=input_ids.device)

    def has_reached_limit(self, limit: int) -> bool:
        """Return True if the answer was ended by the token limit, not by the model."""
        return self.count >= limit and self._last not in self._end_tokens


# Convert a chat with pictures into the format that processors accept


def decode(jpeg: bytes) -> Image.Image:
    """Decode a JPEG. Raises AnswerError."""
    try:
        picture = Image.open(io.BytesIO(jpeg), formats=("JPEG",))
        if picture.width * picture.height > _MAX_PIXELS:
            raise AnswerError("picture")
        return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise AnswerError("picture") from None


def decode_sound(pcm: bytes) -> Samples:
    """Convert PCM (16 bit, little endian, 16 kHz) to samples from -1 to 1. Raises AnswerError."""
    if not pcm or len(pcm) % 2:
        raise AnswerError("sound")
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


def has_sound(inputs: Any) -> bool:
    return any("audio" in name or "input_features" in name for name in inputs)


def can_read_videos(processor: Any) -> bool:
    part = getattr(processor, "video_processor", None)
    return part is not None and not isinstance(part, NoVideo)


def make_processor_options(
    processor: Any, messages: Messages, pictures: Sequence[Image.Image]
) -> dict[str, Any]:
    """Return the keyword arguments of the processor for these pictures and video frames."""
    options = _make_tile_options(processor, pictures)
    if any(_count_frames(part) for message in messages for part in _get_parts(message)):
        # The server has chosen the frames, so use all of them.
        options["do_sample_frames"] = False
    return {"processor_kwargs": options} if options else {}


def _get_parts(message: dict[str, Any]) -> Messages:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _count_frames(part: dict[str, Any]) -> int:
    """Return the number of frames of a video part, 0 for other parts. Its URL has one comma per frame."""
    return part["video_url"]["url"].count(",") if part["type"] == "video_url" else 0


def _make_tile_options(processor: Any, pictures: Sequence[Image.Image]) -> dict[str, Any]:
    """Return options that keep a processor from enlarging pictures before it splits them into tiles.

    SmolVLM would enlarge any picture to 2,048 pixels: 17 tiles of 512. The limit applies to all pictures of a request, so
    the largest one determines it.
    """
    images = getattr(processor, "image_processor", None)
    most, tile = (_get_edge(getattr(images, name, None)) for name in ("size", "max_image_size"))
    if not getattr(images, "do_image_splitting", False) or not most or not tile:
        return {}
    wanted = tile * -(-max(max(one.size) for one in pictures) // tile)
    return {"size": {"longest_edge": wanted}} if wanted < most else {}


def _get_edge(size: Any) -> int:
    """Return the longest edge in a size setting of a processor, in pixels; 0 if there is none."""
    found = size.get("longest_edge") if hasattr(size, "get") else None
    found = found or getattr(size, "longest_edge", None)
    return found if isinstance(found, int) else 0


def to_template_messages(
    messages: Messages, pictures: Sequence[Image.Image], sounds: Sequence[Samples] = ()
) -> Messages:
    """Return the messages with pictures and sounds, in the format that chat templates accept."""
    left, heard = iter(pictures), iter(sounds)
    return [
        {
            "role": one["role"],
            "content": [_fill_part(part, left, heard) for part in _get_parts(one)],
        }
        for one in messages
    ]


def _fill_part(
    part: dict[str, Any], left: Iterator[Image.Image], heard: Iterator[Samples]
) -> dict[str, Any]:
    """Return a part with the next picture, frames or sound."""
    if part["type"] == "text":
        return part
    if part["type"] == "input_audio":
        return {"type": "audio", "audio": next(heard)}
    if count := _count_frames(part):
        return {"type": "video", "video": list(itertools.islice(left, count))}
    return {"type": "image", "image": next(left)}


def drop_oldest(messages: Messages) -> Messages:
    """Return the messages without the older half of the turns; their pictures move to the oldest remaining turn."""
    first = 1 if messages[0]["role"] == "system" else 0
    # The last message is the question. A program's chat may have two messages of one role in a row.
    turns = (len(messages) - first - 1) // 2
    gone = messages[first : first + 2 * -(-turns // 2)]
    rest = messages[first + len(gone) :]
    pictures = [
        part
        for message in gone
        if not isinstance(message["content"], str)
        # The last text is the question; texts before it are captions, which stay.
        for part in _drop_question(message["content"])
    ]
    if pictures:
        rest = [{"role": rest[0]["role"], "content": [*pictures, *_get_parts(rest[0])]}, *rest[1:]]
    return messages[:first] + rest


def _drop_question(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return parts[:-1] if parts[-1]["type"] == "text" else parts


def merge_system(messages: Messages) -> Messages:
    """Return the messages with the system text in the first user message, for templates without a system role."""
    texts = [m["content"] for m in messages if m["role"] == "system"]
    rest = copy.deepcopy([m for m in messages if m["role"] != "system"])
    begin = {"type": "text", "text": "\n".join(texts) + "\n"}
    rest[0]["content"] = [begin, *_get_parts(rest[0])]
    return rest
