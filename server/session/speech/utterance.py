"""The speech of one answer: its pieces, when each is played, and what of it was heard. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from server.voice.sentences import Piece, Sentences, heard

# People speak about so fast.
_CHARS_A_SECOND = 15.0


@dataclass(slots=True)
class Mark:
    """A piece's part of the sound, in seconds from its beginning."""

    piece: Piece
    begin: float
    # None while more of it may come
    end: float | None = None


class Utterance:
    """One answer while it is written and spoken.

    Bounds of an answer that is spoken: one, as long as an answer may be; the next one replaces
    it. The voice makes 8 s ahead of what is heard, then waits.
    """

    def __init__(self, id: str, *, by_page: bool, by_engine: bool = False) -> None:
        self.id = id
        # True: its sound comes from the engine, and is not aligned with its text.
        self.by_engine = by_engine
        # Seconds of that sound so far
        self.sounded = 0.0
        # True: the page reads it with its browser's own voice, from here on or from the beginning.
        self.by_page = by_page
        # Nothing more is written.
        self.whole = False
        # Pieces that wait for the voice
        self.waiting: list[Piece] = []
        self._sentences = Sentences()
        self._text: list[str] = []
        self._marks: list[Mark] = []
        # The last piece of the answer so far
        self._last: Piece | None = None
        # The part that the page has read itself: its end in the answer, and where it began
        self._read = 0

    def until(self, piece: Piece) -> str:
        """Return the answer's last 300 characters up to the end of a piece."""
        return "".join(self._text)[max(0, piece.end - 300) : piece.end]

    def write(self, text: str) -> None:
        self._text.append(text)
        self._take(self._sentences.add(text))

    def finish(self) -> None:
        """Note that the answer is complete."""
        if not self.whole:
            self.whole = True
            self._take(self._sentences.end())

    def sound(self, seconds: float) -> None:
        """Note that so much sound came from the engine."""
        self.sounded += seconds

    def begin_piece(self, piece: Piece, at: float) -> None:
        """Note that a piece's sound begins `at` these seconds."""
        self._marks.append(Mark(piece, at))

    def end_piece(self, at: float) -> None:
        """Note that the sound of the newest piece ends there."""
        self._marks[-1].end = at

    def read(self, end: int) -> None:
        """Note that the page has read the answer up to there."""
        self._read = max(self._read, min(end, self._last.end if self._last is not None else 0))

    @property
    def read_whole(self) -> bool:
        """True when the page has read all of a complete answer."""
        return self.whole and (self._last is None or self._read >= self._last.end)

    def behind(self, played: float) -> bool:
        """Find whether something of what is written was not heard after these seconds of sound."""
        if self.waiting or self._last is None:
            return bool(self.waiting)
        if self.by_page:
            return self._read < self._last.end
        mark = self._marks[-1] if self._marks else None
        if mark is None or mark.piece is not self._last or mark.end is None:
            return True
        return played < mark.end

    def spoken_at(self, played: float) -> Piece | None:
        """Return the piece that is heard after these seconds of sound; None before the first."""
        if self.by_engine:
            heard = len(self._heard_of_engine(played))
            if not heard:
                return None
            return next((one for one in self.waiting if heard <= one.end), self._last)
        found = None
        for mark in self._marks:
            if mark.begin > played:
                break
            found = mark.piece
        return found

    def heard(self, played: float) -> str:
        """Return the part of the answer that was heard after these seconds of sound."""
        if self.by_engine:
            return self._heard_of_engine(played)
        answer = "".join(self._text)
        by_voice = ""
        for mark in self._marks:
            if mark.begin >= played:
                break
            # A piece whose end is not known yet has at least what was played of it.
            seconds = (mark.end if mark.end is not None else played + 1) - mark.begin
            share = (played - mark.begin) / seconds if seconds > 0 else 1.0
            by_voice = heard(answer, mark.piece, share)
        by_page = answer[: self._read].rstrip()
        return max(by_voice, by_page, key=len)

    def _heard_of_engine(self, played: float) -> str:
        """Return the part that was heard, as if all of it took equally long."""
        answer = "".join(self._text)
        if not played or not self.sounded:
            return ""
        # More sound may come, and more text.
        least = 0.0 if self.whole else len(answer) / _CHARS_A_SECOND
        share = played / max(self.sounded, least)
        return heard(answer, Piece(answer, 0, len(answer)), share)

    def _take(self, pieces: list[Piece]) -> None:
        self.waiting += pieces
        if pieces:
            self._last = pieces[-1]
