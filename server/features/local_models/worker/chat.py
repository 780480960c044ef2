"""A chat with pictures in the form that a model's processor takes."""

from __future__ import annotations

import copy
import importlib
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from transformers.processing_utils import ProcessorMixin
from transformers.utils import PushToHubMixin

Messages = list[dict[str, Any]]
Samples = NDArray[np.float32]
# Larger ones are not decoded; the server sends none near that.
_MOST_PIXELS = 64_000_000


class AnswerError(Exception):
    """This answer cannot be given. `code` is picture, sound, context, template, memory, numbers or
    failed.

    Outside the server's tree of errors: it stays in the worker's process.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat with its pictures and sounds, in the order of the messages."""

    messages: Messages
    pictures: Sequence[Image.Image]
    sounds: Sequence[Samples] = ()
    # False switches thinking off where the template can.
    think: bool = False


def decode(jpeg: bytes) -> Image.Image:
    """Decode a JPEG. Raises AnswerError."""
    try:
        picture = Image.open(io.BytesIO(jpeg), formats=("JPEG",))
        if picture.width * picture.height > _MOST_PIXELS:
            raise AnswerError("picture")
        return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise AnswerError("picture") from None


def decode_sound(pcm: bytes) -> Samples:
    """Return samples of -1 to 1 of `pcm`, 16 bit, little endian, 16 kHz. Raises AnswerError."""
    if not pcm or len(pcm) % 2:
        raise AnswerError("sound")
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


def hears(inputs: Any) -> bool:
    """Find whether a prompt has the features of a sound."""
    return any("audio" in name or "input_features" in name for name in inputs)


def reads_videos(processor: Any) -> bool:
    """Find whether a processor has its part for videos."""
    part = getattr(processor, "video_processor", None)
    return part is not None and not isinstance(part, NoVideo)


def for_processor(
    processor: Any, messages: Messages, pictures: Sequence[Image.Image]
) -> dict[str, Any]:
    """Return the processor's options for these pictures and frames of a video."""
    options = _tiled(processor, pictures)
    if any(_frames(part) for message in messages for part in _parts(message)):
        # All frames: they were chosen before.
        options["do_sample_frames"] = False
    return {"processor_kwargs": options} if options else {}


def _parts(message: dict[str, Any]) -> Messages:
    """Return a message's content as parts."""
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _frames(part: dict[str, Any]) -> int:
    """Return the number of frames of a part that is a video, else 0. They are payload, like pictures:
    its address has a comma before each.
    """
    return part["video_url"]["url"].count(",") if part["type"] == "video_url" else 0


def _tiled(processor: Any, pictures: Sequence[Image.Image]) -> dict[str, Any]:
    """Limit the tiles of a processor that cuts a picture into them: as many as it fills, and none
    of an enlarged picture.

    A SmolVLM would make 2,048 pixels of any side, 17 tiles of 512, of a picture that has a quarter
    of that. The limit is one for all pictures of a request, so the largest one sets it.
    """
    images = getattr(processor, "image_processor", None)
    most, tile = (_edge(getattr(images, name, None)) for name in ("size", "max_image_size"))
    if not getattr(images, "do_image_splitting", False) or not most or not tile:
        return {}
    wanted = tile * -(-max(max(one.size) for one in pictures) // tile)
    return {"size": {"longest_edge": wanted}} if wanted < most else {}


def _edge(size: Any) -> int:
    """Return the longest edge that a processor's setting names; 0 for none."""
    found = size.get("longest_edge") if hasattr(size, "get") else None
    found = found or getattr(size, "longest_edge", None)
    return found if isinstance(found, int) else 0


def for_template(
    messages: Messages, pictures: Sequence[Image.Image], sounds: Sequence[Samples] = ()
) -> Messages:
    """Put pictures and sounds into the messages, in the form that every template knows."""
    found: Messages = []
    left, heard = iter(pictures), iter(sounds)
    for message in messages:
        shown = [_shown(part, left, heard) for part in _parts(message)]
        found.append({"role": message["role"], "content": shown})
    return found


def _shown(
    part: dict[str, Any], left: Iterator[Image.Image], heard: Iterator[Samples]
) -> dict[str, Any]:
    """Put the next picture, the next frames or the next sound into a part."""
    if part["type"] == "text":
        return part
    if part["type"] == "input_audio":
        return {"type": "audio", "audio": next(heard)}
    if count := _frames(part):
        return {"type": "video", "video": list(itertools.islice(left, count))}
    return {"type": "image", "image": next(left)}


def without_oldest(messages: Messages) -> Messages:
    """Leave out the older half of the turns, if there are any; pictures stay, before the rest."""
    first = 1 if messages[0]["role"] == "system" else 0
    # The last message is the question; a program's conversation may have two of one side in a row.
    turns = (len(messages) - first - 1) // 2
    gone = messages[first : first + 2 * -(-turns // 2)]
    rest = messages[first + len(gone) :]
    pictures = [
        part
        for message in gone
        if not isinstance(message["content"], str)
        # A text at the end is the question; texts before it are captions.
        for part in _without_question(message["content"])
    ]
    if pictures:
        rest = [{"role": rest[0]["role"], "content": [*pictures, *_parts(rest[0])]}, *rest[1:]]
    return messages[:first] + rest


def _without_question(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return parts[:-1] if parts[-1]["type"] == "text" else parts


def without_system(messages: Messages) -> Messages:
    """Put the system text before the person's first words, for templates that take none."""
    texts = [m["content"] for m in messages if m["role"] == "system"]
    rest = copy.deepcopy([m for m in messages if m["role"] != "system"])
    first = rest[0]["content"]
    begin = {"type": "text", "text": "\n".join(texts) + "\n"}
    rest[0]["content"] = [
        begin,
        *([{"type": "text", "text": first}] if isinstance(first, str) else first),
    ]
    return rest


# Load processors without their video part: it needs torchvision and more, and a question about a
# picture does not need it.  `AutoProcessor` loads all parts of a processor or none. When a video
# library is missing, `NoVideo`, which does nothing, replaces the video part; the parts for
# pictures and text are the model's own.


class NoVideo(PushToHubMixin):  # type: ignore[misc]  # transformers is not where types are checked
    """The stand-in for a video processor."""

    model_input_names: tuple[str, ...] = ()
    # Some processors pass these on whether there is a video or not.
    num_frames = None
    fps = None

    def to_dict(self) -> dict[str, Any]:
        return {}


def missing_video_libraries() -> bool:
    return find_spec("torchvision") is None or find_spec("num2words") is None


def do_without_video() -> None:
    """Have processors load without a video processor in this process (transformers 5.23)."""
    if find_spec("torchvision") is None:
        auto = importlib.import_module("transformers.models.auto.video_processing_auto")
        auto.AutoVideoProcessor.from_pretrained = staticmethod(lambda *_, **__: NoVideo())
        check = ProcessorMixin.check_argument_for_proper_class

        def let_pass(self: Any, name: str, part: Any) -> Any:
            return NoVideo if isinstance(part, NoVideo) else check(self, name, part)

        ProcessorMixin.check_argument_for_proper_class = let_pass
    if find_spec("num2words") is None:
        # It spells out how many frames a video has. The module is only there in versions that know
        # the model.
        try:
            module = importlib.import_module("transformers.models.smolvlm.processing_smolvlm")
        except ImportError:
            return
        setattr(module, "num2words", str)  # noqa: B010
