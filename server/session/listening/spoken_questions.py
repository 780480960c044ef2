"""Make questions of what one person says: turns to words, words to questions."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Literal, Protocol

from server.camera.camera import Asked, Camera
from server.core import messages as wire
from server.core.aio import TaskSet
from server.core.errors import (
    CameraError,
    QwenCameraError,
    SpeechFailed,
    SpeechTimeout,
    SpeechUnavailable,
)
from server.core.frames import Frame
from server.core.sound import Sound
from server.engines.base import Engine
from server.engines.order_words import order_in
from server.engines.read_words import is_stop
from server.engines.speech.base import Words
from server.session.listening.spoken_turn import SpokenTurn
from server.session.request.answers import Spoken
from server.session.request.outbox import Outbox
from server.session.request.picture_reuse import PictureReuse
from server.voice.pointing_words import Pointing, find_pointing
from server.voice.ring import SoundRing
from server.voice.turns import MOST_TURN_SECONDS, Began, Ended

log = logging.getLogger(__name__)

# After the end of a turn its words come within this time.
WORDS_SECONDS = 30.0
# Stands on the page for a question that nobody made words of
SPOKEN_QUESTION = "(spoken question)"


class WordSource(Protocol):
    """The session's way from sound to words."""

    @property
    def available(self) -> bool: ...

    def words(self, sound: AsyncIterator[Sound] | Sound) -> AsyncGenerator[Words, None]:
        """Stream the text so far. Raises NotConfirmed before any sound is sent, and SpeechError."""
        ...


class Asker(Protocol):
    """The session's questions."""

    @property
    def held_frame(self) -> Frame | None: ...

    def ask(self, message: wire.Chat, spoken: Spoken | None = None) -> None:
        """Ask, in place of the running question."""
        ...


class SpokenQuestions:
    """Owns one person's turns: that of now, and the one before it. Called on the event loop."""

    def __init__(
        self,
        *,
        ring: SoundRing,
        camera: Camera,
        outbox: Outbox,
        questions: Asker,
        reuse: PictureReuse,
        current_engine: Callable[[], Engine],
        send_error: Callable[[QwenCameraError, str | None], None],
        touch: Callable[[], None],
        on_change: Callable[[], None],
        recognising: WordSource | None,
    ) -> None:
        """`ring`: the sound of which turns are made. `on_change`: called at the end of a turn's words."""
        self._ring = ring
        self._camera = camera
        self._outbox = outbox
        self._questions = questions
        self._reuse = reuse
        self._current_engine = current_engine
        self._send_error = send_error
        self._touch = touch
        self._on_change = on_change
        self._recognising = recognising
        self._tasks = TaskSet("spoken-questions")
        # The turn that is spoken now; None between turns
        self.turn: SpokenTurn | None = None
        # The turn before it, whose words are on their way; None without one
        self.before: SpokenTurn | None = None

    def add(self, sound: Sound) -> None:
        """Give the turn of now the next sound."""
        if self.turn is not None:
            self.turn.add(sound)

    def show(self) -> None:
        """Note the camera's newest frame for the turn of now."""
        if self.turn is not None:
            self.turn.show(self._camera.newest)

    def forget(self) -> None:
        """Drop both turns, with their tasks."""
        for turn in (self.turn, self.before):
            if turn is not None:
                self._forget(turn)
        if self.turn is not None:
            self._reuse.cancel_ahead()
        self.turn = self.before = None

    def forget_before(self) -> None:
        """Give up the words of the turn before."""
        if self.before is not None:
            self._forget(self.before)
            self.before = None

    async def close(self) -> None:
        """Forget everything, and wait until nothing works on it."""
        self.forget()
        await self._tasks.close()

    def begin(self, began: Began, *, over_answer: bool = False) -> None:
        """Begin a turn, and let the recogniser hear it. `over_answer`: while an answer is heard."""
        self._touch()
        self._camera.wake()
        turn = self.turn = SpokenTurn(began.since, over_answer=over_answer)
        if (before := self._ring.slice(began.since, self._ring.end)) is not None:
            turn.add(before)
        turn.show(self._camera.newest)
        if self._recognising is not None and self._recognising.available:
            work = self._recognise(turn, self._recognising)
            turn.task = self._tasks.spawn(work, name="recognise")

    def pause(self, at: float) -> None:
        """Take the frame of the words, and send it ahead of them."""
        if self.turn is None:
            return
        self.turn.said = at
        self.turn.after = self._tasks.spawn(self._frame_after(at), name="frame")

    async def _frame_after(self, at: float) -> Frame | None:
        """Return the first frame captured after a time, and send it ahead; None when none comes."""
        asked = Asked(at=at, wall=time.time() - (time.monotonic() - at), sent=None)
        try:
            frame = await self._camera.frame_after(asked)
        except CameraError:
            # The question itself reports what is wrong.
            return None
        self._reuse.said(frame, self._questions.held_frame)
        return frame

    def resume(self) -> None:
        """The person goes on: the question is not asked yet."""
        if self.turn is not None:
            self.turn.forget_pause()
            self._reuse.cancel_ahead()

    def drop(self) -> None:
        """Drop the turn of now: it was none."""
        if self.turn is not None:
            self._forget(self.turn)
            self._reuse.cancel_ahead()
            self.turn = None

    def _forget(self, turn: SpokenTurn, *, replaced: bool = False) -> None:
        """Drop a turn, and the words of it that the client may have. `replaced`: it was a question."""
        turn.close()
        if turn.worded or replaced:
            lost: Literal["replaced"] | None = "replaced" if replaced else None
            self._outbox.put(wire.HeardWords(id=turn.id, text="", final=True, lost=lost))

    def end(self, ended: Ended) -> None:
        """Ask the spoken question."""
        turn = self.turn
        if turn is None:
            return
        self.turn = None
        turn.said = ended.said
        turn.doubtful = ended.unsure and turn.over_answer
        turn.whole = self._ring.slice(ended.since, ended.until)
        if turn.after is None:
            turn.after = self._tasks.spawn(self._frame_after(ended.said), name="frame")
        turn.finish()
        if turn.task is None and turn.doubtful:
            # An engine that hears would take it for a question.
            self._forget(turn)
            return
        if turn.task is None:
            if not self._current_engine().status.capabilities.audio_in:
                self._failed(turn, SpeechUnavailable("No recogniser answers, and no engine hears."))
                return
            turn.task = self._tasks.spawn(self._ask_by_sound(turn), name="ask")
        if not turn.task.done():
            if self.before is not None:
                # As a question replaces the one before
                self._forget(self.before, replaced=True)
            self.before = turn

    # Words

    async def _recognise(self, turn: SpokenTurn, recognising: WordSource) -> None:
        try:
            words = await self._words(turn, recognising)
            pointing = find_pointing(words.times)
            if words.text.strip():
                await self._ask(turn, words.text.strip(), pointing)
        except QwenCameraError as error:
            self._failed(turn, error)
        except Exception as exc:  # noqa: BLE001
            # The text of the exception may hold spoken words.
            log.error("recognising failed", extra={"error": type(exc).__name__})
            self._failed(turn, SpeechFailed("A recogniser failed with an error of its own."))
        finally:
            if self.before is turn:
                self.before = None
                self._on_change()

    async def _words(self, turn: SpokenTurn, recognising: WordSource) -> Words:
        """Send the words as they come, and return the last. Raises SpeechError."""
        words = Words("", final=True)
        # Recognising takes as long as speaking does, and then some.
        try:
            async with asyncio.timeout(MOST_TURN_SECONDS + WORDS_SECONDS):
                async with aclosing(recognising.words(turn.sound())) as stream:
                    async for words in stream:
                        if not words.final:
                            turn.worded = True
                            self._outbox.put(
                                wire.HeardWords(id=turn.id, text=words.text, final=False)
                            )
        except TimeoutError:
            raise SpeechTimeout("The recogniser did not end its words in time.") from None
        text = words.text.strip()
        turn.worded = bool(text)
        lost: Literal["unclear"] | None = None if text else "unclear"
        self._outbox.put(wire.HeardWords(id=turn.id, text=text, final=True, lost=lost))
        return words

    async def _ask_by_sound(self, turn: SpokenTurn) -> None:
        """Ask an engine that hears; nobody makes words of it."""
        turn.worded = True
        self._outbox.put(wire.HeardWords(id=turn.id, text=SPOKEN_QUESTION, final=True))
        try:
            await self._ask(turn, "", None)
        finally:
            if self.before is turn:
                self.before = None
                self._on_change()

    async def _ask(self, turn: SpokenTurn, text: str, pointing: Pointing | None) -> None:
        # A recogniser may have its words before the person has ended; the frame is not known then.
        await turn.over.wait()
        if turn.doubtful and not (is_stop(text) or order_in(text)):
            self._outbox.put(wire.HeardWords(id=turn.id, text="", final=True))
            self._reuse.cancel_ahead()
            return
        frame = await self._frame_of(turn, pointing)
        self._touch()
        # From here on its end comes from the question.
        turn.worded = False
        spoken = Spoken(
            frame=frame,
            sound=turn.whole,
            word=pointing.word if pointing is not None and frame is not None else None,
        )
        self._questions.ask(wire.Chat(type="chat", content=text, id=turn.id), spoken)

    async def _frame_of(self, turn: SpokenTurn, pointing: Pointing | None) -> Frame | None:
        """Return the frame of a turn; None: the question waits for one itself, and says why not."""
        if pointing is not None:
            frame = turn.nearest(turn.captured + pointing.at)
            if frame is not None:
                return frame
        return await turn.after if turn.after is not None else None

    def _failed(self, turn: SpokenTurn, error: QwenCameraError) -> None:
        turn.forget_pause()
        self._outbox.put(wire.HeardWords(id=turn.id, text="", final=True))
        self._send_error(error, turn.id)
        if self.turn is turn:
            # It failed while the person still speaks: the rest becomes another turn.
            self.turn = None
        if self.before is turn:
            self.before = None
        self._reuse.cancel_ahead()
