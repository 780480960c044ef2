"""The ratio of a model server's count of a prompt's tokens to our estimate. Pure."""

from __future__ import annotations

# The estimate errs on the high side on purpose, and no tokenizer is further off than this.
_LEAST, _MOST = 0.75, 4.0
# Below this something else was counted, such as what no cache had.
_NONSENSE = 0.4
# Weight of an answer that took less than expected; one that took more counts at once.
_DOWN = 0.2


class TokenScale:
    """The factor for one model at a time: another model starts again."""

    def __init__(self) -> None:
        self._model = ""
        self._scale = 1.0

    def of(self, model: str) -> float:
        """The factor for an estimate."""
        return self._scale if model == self._model else 1.0

    def learn(self, model: str, estimated: int, counted: int | None) -> None:
        """`counted`: the server's own count of a prompt that was estimated so; None when unknown."""
        if model != self._model:
            self._model, self._scale = model, 1.0
        if counted is None or estimated < 1 or counted < _NONSENSE * estimated:
            return
        found = min(_MOST, max(_LEAST, counted / estimated))
        if found < self._scale:
            found = self._scale + _DOWN * (found - self._scale)
        self._scale = found
