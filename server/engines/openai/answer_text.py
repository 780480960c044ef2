"""The text of an answer while it comes: without a model's markup, and apart from what the model thinks before it. Pure.

Control tokens go as they go out of questions, also where they come in pieces. What may become one yet is held back, never
more than `control_tokens.LONGEST` characters.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.catalogue import control_tokens
from server.catalogue.control_tokens import ControlTokens, Remainder

_OPEN = frozenset(
    (
        "<think>",
        "<thinking>",
        "<seed:think>",
        "[THINK]",
        "◁think▷",
        "<|channel>",
        "<|begin_of_thought|>",
    )
)
_CLOSE = frozenset(
    (
        *("</think>", "</thinking>", "</seed:think>", "[/THINK]", "◁/think▷"),
        *("<channel|>", "<|end_of_thought|>"),
    )
)
# Gemma 4 names its channel.
_CHANNEL = "thought\n"
# Thoughts that would be the answer if no mark said that they end: more are not kept.
_MOST_KEPT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """Of an answer; never empty. `thought`: not the answer itself, but what the model thinks."""

    text: str
    thought: bool = False


class AnswerText:
    """Feed it pieces, then `end` it. `inside`: the model begins in its thoughts, since its template opened them.

    Thoughts are marked off only at the beginning: later such a mark is something that was read somewhere.
    """

    def __init__(self, tokens: ControlTokens | None = None, *, inside: bool = False) -> None:
        self._rest = Remainder(tokens or control_tokens.known())
        self._inside = self._implied = inside
        self._kept = ""
        # Spaces before the first word, or what may be the name of a channel yet
        self._held = ""
        # A control token went.
        self._marked = False
        # Whether any of the answer, or of the thoughts, has come.
        self._begun = {False: False, True: False}
        # Thoughts ended that had not begun: the template opens them.
        self.closed_unopened = False
        # It was to begin in its thoughts, and did not.
        self.never_closed = False

    @property
    def began(self) -> bool:
        """Tell whether any of the answer has come."""
        return self._begun[False]

    def feed(self, text: str) -> list[Part]:
        found: list[Part] = []
        for char in text:
            token = self._rest.add(char)
            self._marked = self._marked or token != ""
            if token in _OPEN and not self._inside and not self.began:
                if not self._rest.text.strip():
                    self._rest.take(len(self._rest))
                    self._inside, self._held = True, ""
            elif token in _CLOSE:
                if self._inside:
                    found += self._part(self._rest.take(len(self._rest)), ended=True)
                    self._inside = self._implied = False
                    self._kept = ""
                elif not self._begun[True]:
                    self.closed_unopened = True
        found += self._part(self._rest.take(self._rest.pending()))
        return found

    def end(self) -> list[Part]:
        """What is left."""
        found = self._part(self._rest.take(len(self._rest)), ended=True)
        if self._inside and self._implied and self._kept:
            self.never_closed, self._inside = True, False
            found += self._part(self._kept)
        return found

    def _part(self, text: str, *, ended: bool = False) -> list[Part]:
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
        return [Part(text, thought)]
