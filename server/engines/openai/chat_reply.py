"""One answer as its events come: the text and the thoughts, how it ended, and what it was when there is no text."""

from __future__ import annotations

import logging

from server.catalogue.control_tokens import ControlTokens
from server.core.errors import EngineError, EngineFailed, EngineRefused
from server.engines.base import Chunk, Delta, Finished, Thought, Usage
from server.engines.openai.answer_text import AnswerText
from server.engines.openai.chat_stream import Piece

log = logging.getLogger(__name__)

# What a server says that gave up in mid-answer.
_BROKEN_OFF = frozenset(("abort", "error"))


class Reply:
    """`most`: pieces of text after which the answer is long enough, None where the server counts."""

    def __init__(
        self, tokens: ControlTokens | None, *, inside: bool = False, most: int | None = None
    ) -> None:
        self._text = AnswerText(tokens, inside=inside)
        self._most = most
        self._pieces = 0
        # "" until the server says it
        self.finish = ""
        self.usage = Usage()
        # Whether the model has produced something, be it thoughts.
        self.began = False
        self.thought = False
        self._refused = self._tools = False

    @property
    def answered(self) -> bool:
        """Tell whether any of the answer itself has come."""
        return self._text.began

    @property
    def enough(self) -> bool:
        return self._most is not None and self._pieces >= self._most

    @property
    def closed_unopened(self) -> bool:
        return self._text.closed_unopened

    @property
    def never_closed(self) -> bool:
        return self._text.never_closed

    def take(self, piece: Piece) -> list[Chunk]:
        self.usage = piece.usage or self.usage
        self.finish = self.finish or piece.finish
        self.began = self.began or piece.began
        self._refused = self._refused or piece.refused
        self._tools = self._tools or piece.tools
        found: list[Chunk] = [Thought(piece.thought)] if piece.thought else []
        parts = self._text.feed(piece.text)
        self._pieces += any(not part.thought for part in parts)
        found += [Thought(one.text) if one.thought else Delta(one.text) for one in parts]
        self.thought = self.thought or any(isinstance(one, Thought) for one in found)
        return found

    def end(self, *, whole: bool) -> list[Chunk]:
        """What is left, and the end. `whole`: the server said that it was all, in whatever way.

        Raises EngineError for an answer that is not whole, or has no text.
        """
        if self.finish in _BROKEN_OFF or not (self.finish or whole or self.enough):
            raise EngineFailed(
                "The model server ended the answer before it was complete. Ask again.", public=True
            )
        found: list[Chunk] = [
            Thought(one.text) if one.thought else Delta(one.text) for one in self._text.end()
        ]
        if not self.answered:
            raise self._empty()
        reason = "length" if self.enough and not self.finish else self.finish
        found.append(
            Finished(reason if reason in ("length", "content_filter") else "stop", self.usage)
        )
        return found

    def _empty(self) -> EngineError:
        """Why there is no text."""
        if self.finish == "content_filter":
            why = "The model server's filter withheld the answer. Ask in another way, or show something else."
        elif self._refused:
            why = "The model declined to answer this. Ask in another way."
        elif self._tools:
            why = "The model wanted to use a tool in place of an answer, and there is none here. Ask in another way."
        elif self.thought and self.finish == "length":
            why = "The model thought for as long as it may and came to no answer. Ask something simpler."
            log.warning(
                "a model came to no answer within THINKING_MAX_TOKENS; raise it or choose another"
            )
        elif self.thought:
            why = "The model thought and came to no answer. Ask in another way."
        else:
            why = "The model ended without a word. Ask in another way."
        return EngineRefused(why, public=True)
