"""One answer as it arrives: its text without markup, the thoughts apart, the reason of its end, and
an error without text.

Control tokens go as they go out of questions, also where they arrive in pieces. Text that may
become one is held back, `control_tokens.LONGEST` characters at most.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from server.core.errors import EngineError, EngineFailed, EngineRefused
from server.models import control_tokens
from server.models.base import Chunk, Delta, Finished, Thought, ToolCall, Usage
from server.models.control_tokens import ControlTokens, Remainder
from server.models.thinking import CLOSE, OPEN, Mode, Thinking

log = logging.getLogger(__name__)
# Gemma 4 names its channel.
_CHANNEL = "thought\n"
# Characters of thoughts that become the answer if no mark ends them: more are not kept.
_MOST_KEPT = 64 * 1024
# Characters of an event that are read at once: 3 ms
SLICE_CHARS = 2048
# Bounds of the tool calls of an answer to a program: their number, and characters of all together
_MOST_CALLS = 16
_MOST_CALL_CHARS = 64 * 1024
# The same of an answer to a person, and characters of each; what is beyond is not read.
MOST_TOOL_CALLS = 3
MOST_ARGUMENT_CHARS = 2_000
# Reasons of a server that gave up in mid-answer.
_BROKEN_OFF = frozenset(("abort", "error"))


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A piece of a tool call; those with one index belong together."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """One event of an engine's stream."""

    text: str = ""
    # Thoughts that the server sends apart
    thought: str = ""
    # "" until the event that has it
    finish: str = ""
    # The model has produced something, be it hidden reasoning.
    began: bool = False
    usage: Usage | None = None
    # Sound of the answer, base64
    sound: str = ""
    # An error event's error.
    error: object = None
    # It declines, or calls a tool.
    refused: bool = False
    tools: bool = False
    # The calls, as far as they can be read
    calls: tuple[CallPiece, ...] = ()

    def slices(self) -> Iterator[Piece]:
        """Yield it in pieces of at most SLICE_CHARS of text; what else it has is in the last one."""
        last = max(0, len(self.text) - 1) // SLICE_CHARS * SLICE_CHARS
        for begin in range(0, last, SLICE_CHARS):
            yield Piece(self.text[begin : begin + SLICE_CHARS])
        yield replace(self, text=self.text[last:]) if last else self


class AnswerText:
    """Text and thoughts, separated: `feed` it pieces, then `end` it.

    `inside`: the model begins in its thoughts.

    Thoughts are marked only at the beginning: later such a mark is something that the model read
    somewhere.
    """

    def __init__(self, tokens: ControlTokens | None = None, *, inside: bool = False) -> None:
        self._rest = Remainder(tokens or control_tokens.known())
        self._inside = self._implied = inside
        self._kept = ""
        # Spaces before the first word, or text that may become the name of a channel
        self._held = ""
        # A control token went.
        self._marked = False
        # By thought: some of it has arrived.
        self._begun = {False: False, True: False}
        # Thoughts ended that had not begun: the template opens them.
        self.closed_unopened = False
        # It did not begin in its thoughts, though `inside`.
        self.never_closed = False

    @property
    def began(self) -> bool:
        """Find whether some of the answer has arrived."""
        return self._begun[False]

    def feed(self, text: str) -> list[Delta | Thought]:
        found: list[Delta | Thought] = []
        for char in text:
            token = self._rest.add(char)
            self._marked = self._marked or token != ""
            if token in OPEN and not self._inside and not self.began:
                if not self._rest.text.strip():
                    self._rest.take(len(self._rest))
                    self._inside, self._held = True, ""
            elif token in CLOSE:
                if self._inside:
                    found += self._part(self._rest.take(len(self._rest)), ended=True)
                    self._inside = self._implied = False
                    self._kept = ""
                elif not self._begun[True]:
                    self.closed_unopened = True
        found += self._part(self._rest.take(self._rest.pending()))
        return found

    def end(self) -> list[Delta | Thought]:
        """Return the rest."""
        found = self._part(self._rest.take(len(self._rest)), ended=True)
        if self._inside and self._implied and self._kept:
            self.never_closed, self._inside = True, False
            found += self._part(self._kept)
        return found

    def _part(self, text: str, *, ended: bool = False) -> list[Delta | Thought]:
        thought = self._inside
        if not self._begun[thought]:
            text = self._held + text
            bare = text.lstrip()
            self._held = ""
            if (not bare or (thought and _CHANNEL.startswith(bare))) and not ended:
                self._held = text
                return []
            # Behind markup, a line end is the markup's.
            text = bare.removeprefix(_CHANNEL) if thought else bare if self._marked else text
            if not bare:
                return []
        if not text:
            return []
        self._begun[thought] = True
        if thought and self._implied:
            self._kept = (self._kept + text)[:_MOST_KEPT]
        return [Thought(text) if thought else Delta(text)]


class Reply:
    """The state of one answer.

    `most`: pieces of text after which it is long enough; None where the server counts. `calls`: puts
    tool calls together, which are an answer where the request has tools. `form`: JSON was asked for, which is the answer
    also where the server takes it for thoughts.
    """

    def __init__(
        self,
        tokens: ControlTokens | None,
        *,
        inside: bool = False,
        most: int | None = None,
        calls: Calls | None = None,
        form: bool = False,
    ) -> None:
        self._text = AnswerText(tokens, inside=inside)
        # The thoughts so far; None where they are no answer
        self._thoughts = "" if form else None
        self._most = most
        self._pieces = 0
        # "" until the server gives it
        self.finish = ""
        self.usage = Usage()
        # The model has produced something, be it thoughts.
        self.began = False
        self.thought = False
        self._refused = self._tools = False
        # None where there are no tools
        self._calls = calls

    @property
    def answered(self) -> bool:
        """Find whether some of the answer itself has arrived."""
        return self._text.began

    @property
    def enough(self) -> bool:
        return self._most is not None and self._pieces >= self._most

    def take(self, piece: Piece) -> list[Chunk]:
        self.usage = piece.usage or self.usage
        self.finish = self.finish or piece.finish
        self.began = self.began or piece.began
        self._refused = self._refused or piece.refused
        self._tools = self._tools or piece.tools
        if self._calls is not None:
            self._calls.take(piece.calls)
        found: list[Chunk] = [Thought(piece.thought)] if piece.thought else []
        found += self._text.feed(piece.text)
        self._pieces += any(isinstance(one, Delta) for one in found)
        thoughts = "".join(one.text for one in found if isinstance(one, Thought))
        self.thought = self.thought or bool(thoughts)
        if self._thoughts is not None:
            self._thoughts = (self._thoughts + thoughts)[:_MOST_KEPT]
        return found

    def end(self, *, whole: bool) -> list[Chunk]:
        """Return the rest and the end.

        `whole`: the server showed in some way that the answer is complete.

        Raises EngineError for an answer that is not complete, or has no text.
        """
        if self.finish in _BROKEN_OFF or not (self.finish or whole or self.enough):
            raise EngineFailed(
                "The model server ended the answer before it was complete. Ask again.", public=True
            )
        found: list[Chunk] = [*self._text.end()]
        calls = self._calls.whole() if self._calls is not None else ()
        if not self.answered and not calls:
            if not _is_json(text := (self._thoughts or "").strip()):
                raise self._empty()
            found.append(Delta(text))
        reason = "length" if self.enough and not self.finish else self.finish
        reason = reason if reason in ("length", "content_filter") else "stop"
        if reason == "stop" and calls:
            reason = "tool_calls"
        # Calls that were cut off are none.
        calls = calls if reason == "tool_calls" else ()
        found.append(Finished(reason, self.usage, calls=calls))
        return found

    def teach(self, thinking: Thinking, asked: Mode) -> None:
        """Let it learn from the whole answer to a request that was asked in this mode."""
        text = self._text
        thinking.ended(asked, closed_unopened=text.closed_unopened, never_closed=text.never_closed)

    def _empty(self) -> EngineError:
        """Return the reason why there is no text."""
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
            why = "The model came to no answer: all that it wrote was thinking. Ask in another way."
        else:
            why = "The model ended without a word. Ask in another way."
        return EngineRefused(why, public=True)


def _is_json(text: str) -> bool:
    """Return True for an object or a list."""
    try:
        return text.startswith(("{", "[")) and json.loads(text) is not None
    except (ValueError, RecursionError):
        return False


class Calls:
    """The tool calls of an answer, put together from their pieces.

    `lenient`: what is beyond the bounds of an answer to a person is not read; else too much fails the answer.
    """

    def __init__(self, *, lenient: bool) -> None:
        self._lenient = lenient
        # As they came: the server's index; id, name, arguments
        self._calls: list[tuple[int, list[str]]] = []
        self._chars = 0

    def take(self, pieces: Iterable[CallPiece]) -> None:
        """Raise EngineFailed for more than an answer may have, unless lenient."""
        for piece in pieces:
            call = self._of(piece)
            # Some repeat id and name with each piece.
            call[0], call[1] = call[0] or piece.id, call[1] or piece.name
            call[2] += piece.arguments
            self._chars += len(piece.id) + len(piece.name) + len(piece.arguments)
            if self._lenient:
                del self._calls[MOST_TOOL_CALLS:]
                call[:] = (call[0][:64], call[1][:64], call[2][: MOST_ARGUMENT_CHARS + 1])
            elif len(self._calls) > _MOST_CALLS or self._chars > _MOST_CALL_CHARS:
                raise EngineFailed(
                    f"The model called more tools than an answer may have: {_MOST_CALLS} calls, {_MOST_CALL_CHARS} characters."
                    " Ask for less at once.",
                    public=True,
                )

    def _of(self, piece: CallPiece) -> list[str]:
        """Return the call that a piece belongs to, which may be a new one."""
        known = [call for index, call in self._calls if index == piece.index]
        # Some give all calls one index: another id beside a name begins another call.
        another = piece.id and piece.name and known and known[-1][0] not in ("", piece.id)
        if known and not another:
            return known[-1]
        self._calls.append((piece.index, call := ["", "", ""]))
        return call

    def whole(self) -> tuple[ToolCall, ...]:
        """Return the calls in their order; one without a name is none."""
        calls = [call for _, call in sorted(self._calls, key=lambda one: one[0])]
        return tuple(
            ToolCall(id or f"call_{secrets.token_hex(12)}", name, arguments or "{}")
            for id, name, arguments in calls
            if name
        )


class UnexpectedThought(Exception):
    """A model thinks though nobody expected it: it is asked again, with tokens for that. Outside the tree of errors."""


def expected(chunk: Chunk, thinking: Thinking, asked: Mode) -> Chunk:
    """Return a chunk of an answer that was asked for so.

    Raises UnexpectedThought where another request would differ; thoughts come before any text, so that
    no text comes twice.
    """
    if isinstance(chunk, Thought) and thinking.seen(asked):
        raise UnexpectedThought
    return chunk
