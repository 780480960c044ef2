"""Parse a streamed answer into text without markup, thoughts, tool calls and the finish reason. Pure."""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from server.core.errors import EngineError, EngineFailed, EngineRefused
from server.models import control_tokens
from server.models.base import Chunk, Delta, Finished, Thought, ToolCall, Usage
from server.models.thinking import CLOSE, OPEN, Mode, ThinkingPolicy

log = logging.getLogger(__name__)
_OPEN, _CLOSE = (re.compile("|".join(map(re.escape, marks))) for marks in (OPEN, CLOSE))
_LONGEST = max(map(len, CLOSE))
# Maximum number of characters of thoughts that are kept, because they may become the answer
_MOST_KEPT = 64 * 1024
# Limits on the tool calls in an answer to a program: their number, and their total number of characters
_MOST_CALLS = 16
_MOST_CALL_CHARS = 64 * 1024
# Limits for an answer to a person: number of calls, and characters of each call; the rest is ignored.
MOST_TOOL_CALLS = 3
MOST_ARGUMENT_CHARS = 2_000
# Minimum number of characters per token, for servers whose pieces are not single tokens
_TOKEN_CHARS = 2


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A piece of a tool call; pieces with the same index belong together."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """One event of an engine's stream.

    `thought`: thoughts that the server sends separately. `finish`: finish reason; "" before. `began`: the model
    has produced output, including hidden reasoning. `sound`: sound of the answer, base64. `error`: the error of an
    error event. `refused`: the model declines. `tools`: it calls a tool; `calls`: the calls that can be parsed.
    """

    text: str = ""
    thought: str = ""
    finish: str = ""
    began: bool = False
    usage: Usage | None = None
    sound: str = ""
    error: object = None
    refused: bool = False
    tools: bool = False
    calls: tuple[CallPiece, ...] = ()


class AnswerText:
    """Separates text from thoughts. Pass each piece to `feed`, the last one with `ended`.

    `opened`: the prompt ends with the opening thinking tag.

    A tag is recognised only at the beginning, because a later tag is quoted text. At the beginning and
    within thoughts, text that may be the start of a tag is held back.
    """

    def __init__(self, *, opened: bool = False) -> None:
        # True while thoughts that the prompt opened have not ended
        self.opened = opened
        self._beginning, self._inside = True, False
        self._held = ""
        # True once text of the answer has arrived
        self.began = False
        self.thoughts = ""

    def feed(self, text: str, thought: str = "", *, ended: bool = False) -> list[Delta | Thought]:
        """Return the chunks of a piece of text. `thought`: thoughts that the server sends separately."""
        self.opened = self.opened and not thought
        found, text, self._held = self._make_part(Thought, thought), self._held + text, ""
        if self._beginning:
            text = text.lstrip()
            if mark := _OPEN.match(text):
                self._inside, self.opened, text = True, False, text[mark.end() :]
            elif not ended and any(one.startswith(text) for one in OPEN):
                self._held = text
                return found
            self._beginning = False
        if not (self._inside or self.opened):
            return found + self._make_part(Delta, text)
        if mark := _CLOSE.search(text):
            self._inside = self.opened = False
            found += self._make_part(Thought, text[: mark.start()])
            return found + self._make_part(Delta, text[mark.end() :])
        # A tag may begin at the end of the text.
        end = max(text.rfind(one, -_LONGEST) for one in "<[◁")
        end = len(text) if ended or end < 0 else end
        self._held = text[end:]
        return found + self._make_part(Thought, text[:end])

    def _make_part(self, kind: type[Delta | Thought], text: str) -> list[Delta | Thought]:
        text = control_tokens.remove(text)
        begun = self.began if kind is Delta else self.thoughts
        if not (text := text if begun else text.lstrip()):
            return []
        if kind is Delta:
            self.began = True
        else:
            self.thoughts = (self.thoughts + text)[:_MOST_KEPT]
        return [kind(text)]


class AnswerParser:
    """Parser of one answer.

    `most`: limit of the answer's pieces of text, used if the server's own token limit also counts thoughts. `calls`:
    collects tool calls, for a request with tools. `json_requested`: the request asked for JSON. `unread`: the caller
    does not use the text, so it may be empty.
    """

    def __init__(
        self,
        thinking: ThinkingPolicy,
        most: int,
        *,
        calls: Calls | None = None,
        json_requested: bool = False,
        unread: bool = False,
    ) -> None:
        self._text = AnswerText(opened=thinking.opened)
        self._may_think = thinking.mode is Mode.BUDGET
        self._thinks = self._may_think and (thinking.known or thinking.limits.wanted)
        self._most, self._calls, self._unread = most, calls, unread
        self._json_requested = json_requested
        self._pieces = self._chars = 0
        # First half of a surrogate pair; the second may come with the next piece
        self._half = ""
        self._refused = self._tools = False
        # finish: "" until the server sends it
        self.finish, self.usage = "", Usage()
        # True once the model has produced anything, including thoughts
        self.began = False

    @property
    def enough(self) -> bool:
        long = self._chars >= self._most * _TOKEN_CHARS
        return self._may_think and self._pieces >= self._most and long

    def take(self, piece: Piece) -> list[Chunk]:
        self.usage = piece.usage or self.usage
        self.finish = self.finish or piece.finish
        self.began = self.began or piece.began
        self._refused = self._refused or piece.refused
        self._tools = self._tools or piece.tools
        if self._calls is not None:
            self._calls.take(piece.calls)
        text, self._half = self._half + piece.text, ""
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        found = self._text.feed(join_surrogates(text), join_surrogates(piece.thought))
        said = [len(one.text) for one in found if isinstance(one, Delta)]
        self._pieces, self._chars = self._pieces + bool(said), self._chars + sum(said)
        return [*found]

    def end(self, *, whole: bool) -> list[Chunk]:
        """Return the remaining chunks and Finished.

        `whole`: the server indicated that the answer is complete.

        Raises EngineError for an incomplete answer or one without text.
        """
        if self.finish == "error" or not (self.finish or whole or self.enough):
            raise EngineFailed(
                "The model server ended the answer before it was complete. Ask again.", public=True
            )
        found: list[Chunk] = [*self._text.feed("", ended=True)]
        calls = self._calls.whole() if self._calls is not None else ()
        reason = self.finish or ("length" if self.enough else "stop")
        reason = reason if reason in ("length", "content_filter") else "stop"
        if not (self._text.began or calls or self._unread):
            thoughts = self._text.thoughts.strip()
            if reason != "stop" or not self._is_answer(thoughts):
                raise self._make_empty_error()
            found.append(Delta(thoughts))
        if reason == "stop" and calls:
            reason = "tool_calls"
        # Calls of a truncated answer are incomplete.
        calls = calls if reason == "tool_calls" else ()
        found.append(Finished(reason, self.usage, calls=calls))
        return found

    def _is_answer(self, thoughts: str) -> bool:
        """Return True if a complete answer has no text because the server's parser took the answer for thoughts."""
        if not thoughts or self._refused or self._tools:
            return False
        if self._json_requested:
            return _is_json(thoughts)
        return not self._thinks or self._text.opened

    def _make_empty_error(self) -> EngineError:
        """Return the error for an answer without text."""
        if self.finish == "content_filter":
            why = "The model server's content filter withheld the answer. Ask in another way, or show something else."
        elif self._refused:
            why = "The model declined to answer this. Ask in another way."
        elif self._tools:
            why = "The model called a tool instead of answering, and no tools are available. Ask in another way."
        elif self._text.thoughts and self.finish == "length":
            why = (
                "The model reached its limit of reasoning without an answer. Ask something simpler."
            )
            log.warning(
                "thinking limit reached without an answer",
                extra={"reason": "raise THINKING_MAX_TOKENS, or choose another model"},
            )
        elif self._text.thoughts:
            why = "The model only reasoned and gave no answer. Ask in another way."
        else:
            why = "The model returned an empty answer. Ask in another way."
        return EngineRefused(why, public=True)


def join_surrogates(text: str) -> str:
    """Return a text with surrogate pairs joined; a lone surrogate becomes U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _is_json(text: str) -> bool:
    """Return True if the text is a JSON object or list."""
    try:
        return text.startswith(("{", "[")) and json.loads(text) is not None
    except (ValueError, RecursionError):
        return False


class Calls:
    """Collector of the tool calls of an answer.

    `lenient`: ignore calls beyond the limits for an answer to a person; otherwise, exceeding a limit fails the answer.
    """

    def __init__(self, *, lenient: bool) -> None:
        self._lenient = lenient
        # In order of arrival: the server's index; id, name, arguments
        self._calls: list[tuple[int, list[str]]] = []
        self._chars = 0

    def take(self, pieces: Iterable[CallPiece]) -> None:
        """Add pieces of tool calls. Raises EngineFailed if a limit is exceeded, unless lenient."""
        for piece in pieces:
            call = self._get_call(piece)
            # Some servers repeat id and name with each piece.
            call[0], call[1] = call[0] or piece.id, call[1] or piece.name
            call[2] += join_surrogates(piece.arguments)
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

    def _get_call(self, piece: CallPiece) -> list[str]:
        """Return the call to which a piece belongs; add the call if it is new."""
        known = [call for index, call in self._calls if index == piece.index]
        # Some servers give all calls the same index. A name with another id begins a new call, and so does a name
        # without id after complete arguments.
        another = piece.name and known and piece.id and known[-1][0] not in ("", piece.id)
        bare = piece.name and known and not (piece.id or known[-1][0])
        another = another or (bare and _is_json(known[-1][2]))
        if known and not another:
            return known[-1]
        self._calls.append((piece.index, call := ["", "", ""]))
        return call

    def whole(self) -> tuple[ToolCall, ...]:
        """Return the calls that have a name, in order of their index."""
        calls = [call for _, call in sorted(self._calls, key=lambda one: one[0])]
        return tuple(
            ToolCall(id or f"call_{secrets.token_hex(12)}", name, arguments or "{}")
            for id, name, arguments in calls
            if name
        )
