"""Learns from an engine's figures whether it computes pictures anew that it got before. Pure."""

from __future__ import annotations

# Pictures in a row that were computed anew: one alone may have left the cache meanwhile.
_TRIES = 4
# The share of a picture's tokens that has to come from the cache: the system's prompt is fewer.
_LEAST_SHARE = 0.5


class PictureCache:
    """The figures of one engine, for the model that it has now.

    Some caches hold whole blocks alone, and a hybrid model's have many hundred tokens: then no picture
    of a usual prompt is ever found there, and sending it ahead only costs.
    """

    def __init__(self) -> None:
        self._model = ""
        self._misses = 0

    def useless(self, model: str) -> bool:
        """Find whether nothing was reused so often that nothing will be."""
        return model == self._model and self._misses >= _TRIES

    def note(self, model: str, visual_tokens: int, cached_tokens: int) -> bool:
        """Take the figures of a question whose picture the engine had got before.

        Returns True when they are the ones that settle it: no more pictures are worth sending ahead.
        """
        if model != self._model:
            self._model, self._misses = model, 0
        if cached_tokens >= _LEAST_SHARE * visual_tokens:
            self._misses = 0
            return False
        self._misses += 1
        return self._misses == _TRIES
