"""Load processors without their video part: it needs torchvision and more, and a question about a
picture does not need it.

`AutoProcessor` loads all parts of a processor or none. When a video library is missing, `NoVideo`,
which does nothing, replaces the video part; the parts for pictures and text are the model's own.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

from transformers.processing_utils import ProcessorMixin
from transformers.utils import PushToHubMixin


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
    """Have processors load without a video processor from now on, in this process.

    Tried with transformers 5.23.
    """
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
