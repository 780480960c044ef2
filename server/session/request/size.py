"""The tokens of a request's prompt, and its earlier pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from server.core.frames import FRAME_FACTOR
from server.engines.base import EarlierPicture, EngineRequest
from server.engines.hearing import audio_tokens
from server.engines.prompts import estimate_tokens, in_language, prompt_tokens
from server.engines.recollection import video_caption
from server.vision.media import MIN_FRAMES


def filmable(earlier: Sequence[EarlierPicture]) -> bool:
    """Find whether pictures can go as one video: an even number of them, of one size."""
    sizes = {(one.picture.width, one.picture.height) for one in earlier}
    even = len(earlier) % FRAME_FACTOR == 0
    return len(earlier) >= MIN_FRAMES and even and len(sizes) == 1


def with_newest(request: EngineRequest, count: int, most: int | None = None) -> EngineRequest:
    """Keep so many of the earlier pictures, the newest. `most`: pictures that the engine takes.

    A video keeps an even number, and becomes pictures when few are left.
    """
    if request.video:
        count -= count % FRAME_FACTOR
        if count < MIN_FRAMES:
            request = replace(request, video=False)
            count = min(count, most - 1) if most is not None else count
    gone = max(0, len(request.earlier) - max(0, count))
    return replace(request, earlier=request.earlier[gone:]) if gone else request


def estimate(request: EngineRequest) -> int:
    """Estimate the tokens of a request's prompt without its turns."""
    captions = [one.caption for one in request.earlier]
    if (said := request.conversation) is not None:
        words = "\n".join([said.text, *captions])
        return request.visual_tokens + said.marks + estimate_tokens(words)
    captions = [video_caption(captions)] if request.video else captions
    captions += [request.caption] if request.caption else []
    shown = request.visual_tokens + audio_tokens(request.sound)
    question = in_language(request.question, request.own_language)
    return shown + prompt_tokens(question, request.language, captions, request.verbosity)
