"""Whether pictures are worth sending ahead, by an engine's own figures."""

from __future__ import annotations

from server.models.scheduler.fairness import PictureCache


def tell(
    cache: PictureCache, *cached: int, model: str = "qwen3.8", visual: int = 480
) -> list[bool]:
    return [cache.note(model, visual, one) for one in cached]


def test_four_pictures_in_a_row_without_reuse_settle_it() -> None:
    """Once, and the system's prompt alone is no reuse of a picture."""
    cache = PictureCache()
    assert tell(cache, 0, 128, 0) == [False] * 3
    assert not cache.useless("qwen3.8")
    assert tell(cache, 0, 0) == [True, False]
    assert cache.useless("qwen3.8")


def test_a_picture_that_was_reused_begins_anew() -> None:
    """Before and after it was settled: the questions go on telling."""
    cache = PictureCache()
    assert not any(tell(cache, 0, 0, 0, 600, 0, 0, 0))
    assert not cache.useless("qwen3.8")
    assert tell(cache, 0) == [True]
    assert tell(cache, 784, visual=1196) == [False]
    assert not cache.useless("qwen3.8")


def test_another_model_is_another_cache() -> None:
    cache = PictureCache()
    tell(cache, 0, 0, 0, 0)
    assert not cache.useless("qwen3-vl")
    assert tell(cache, 0, model="qwen3-vl") == [False]
    assert not cache.useless("qwen3.8")
