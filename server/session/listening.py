"""Make questions of what one person says: sound to turns, turns to words, words to questions.

The detector runs in a thread; all else is called on the event loop. Nothing is heard without a
socket, and no sound outlives the microphone, but for a turn whose words are on their way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from server.camera.camera import Asked, Camera
from server.core import messages as wire
from server.core.aio import TaskSet
from server.core.errors import (
    BadRequest,
    CameraError,
    QwenCameraError,
    SpeechFailed,
    SpeechTimeout,
    SpeechUnavailable,
)
from server.core.frames import Frame
from server.core.sound import SOUND_RATE, MicrophoneMode, Sound
from server.core.token_bucket import Bucket
from server.engines.speech.base import Words
from server.session.answers import Spoken
from server.session.outbox import Outbox
from server.session.picture_reuse import PictureReuse
from server.session.questions import Questions
from server.session.request_builder import RequestBuilder, SessionTools
from server.session.spoken_turn import SpokenTurn
from server.voice.barge_in import BargeIn, Loudness
from server.voice.detector import CHUNK, Chunk, Detector
from server.voice.foreground import Foreground
from server.voice.line import VoiceLine
from server.voice.pointing_words import Pointing, find_pointing
from server.voice.ring import SoundRing
from server.voice.turns import (
    MOST_TURN_SECONDS,
    PRE_ROLL_SECONDS,
    SILENCE_SECONDS,
    Began,
    Dropped,
    Ended,
    Paused,
    Resumed,
    TurnEvent,
    Turns,
    TurnState,
)

log = logging.getLogger(__name__)

# Sound that may wait for the detector; beyond, all of it is dropped
_MOST_WAITING_SECONDS = 2.0
# Kept of a microphone: the longest turn
RING_SECONDS = MOST_TURN_SECONDS + PRE_ROLL_SECONDS
# After the end of a turn its words come within this time.
WORDS_SECONDS = 30.0
# Stands on the page for a question that nobody made words of
SPOKEN_QUESTION = "(spoken question)"
# Presses of a button, a second and at once: each may open a connection to a recogniser.
_PRESSES, _MOST_PRESSES = 2.0, 8
# A button's last sound is waited for.
_RELEASE_SECONDS = 0.2


class WordMaker(Protocol):
    """The session's way from sound to words."""

    @property
    def available(self) -> bool: ...

    def words(self, sound: AsyncIterator[Sound] | Sound) -> AsyncGenerator[Words, None]:
        """Stream the text so far. Raises NotConfirmed before any sound is sent, and SpeechError."""
        ...


class Talker(Protocol):
    """The speech of answers."""

    @property
    def talking(self) -> bool:
        """True while an answer is spoken, however softly."""
        ...

    def lower(self) -> None: ...

    def hush(self) -> None:
        """Pause where it is."""
        ...

    def restore(self) -> None:
        """Go on where it was, at full loudness."""
        ...

    def stop(self) -> object:
        """Stop it, and the answer behind it."""
        ...


@dataclass(slots=True)
class _Stretch:
    """One time that the microphone is on: what is known of its sound."""

    detector: Detector
    foreground: Foreground
    turns: Turns
    barge_in: BargeIn


class Listening:
    """One session's ear. All methods are called on the event loop."""

    def __init__(
        self,
        *,
        line: VoiceLine,
        camera: Camera,
        outbox: Outbox,
        requests: RequestBuilder,
        questions: Questions,
        reuse: PictureReuse,
        tools: SessionTools,
        send_error: Callable[[QwenCameraError, str | None], None],
        touch: Callable[[], None],
        recognising: WordMaker | None = None,
        talker: Talker | None = None,
    ) -> None:
        self._line = line
        self._camera = camera
        self._outbox = outbox
        self._requests = requests
        self._questions = questions
        self._reuse = reuse
        self._tools = tools
        self._send_error = send_error
        self._touch = touch
        self._recognising = recognising
        self._talker = talker
        self._tasks = TaskSet("listening")
        self._mode = MicrophoneMode.OFF
        self._silence = SILENCE_SECONDS
        self._attended = True
        self._ring = SoundRing(RING_SECONDS)
        # None while nothing is heard
        self._stretch: _Stretch | None = None
        # Sound that waits for the detector, and its samples beyond the last whole chunk
        self._waiting: deque[Sound] = deque()
        self._samples = 0
        self._detecting: asyncio.Future[list[Chunk]] | None = None
        # The turn that is spoken now; None between turns
        self._turn: SpokenTurn | None = None
        # The turn before it, whose words are on their way; None without one
        self._before: SpokenTurn | None = None
        self._release: asyncio.TimerHandle | None = None
        self._presses = Bucket(_PRESSES, _MOST_PRESSES, time.monotonic())
        self._reported: str | None = None

    @property
    def on(self) -> bool:
        """True while the microphone hears the scene: not where a button says what is meant."""
        return self._stretch is not None and self._mode is MicrophoneMode.HANDS_FREE

    @property
    def recent(self) -> SoundRing:
        """The microphone's last 30 seconds; empty while it is off."""
        return self._ring

    # Switching

    def set(self, mode: MicrophoneMode, silence_seconds: float) -> None:
        """Hear in this way from now on. Raises BadRequest where the server offers no microphone."""
        if mode is not MicrophoneMode.OFF and self._tools.speech_model is None:
            raise BadRequest(
                "This server takes no microphone: it is switched off (MICROPHONE).",
                visitors="This server takes no microphone: whoever runs it has switched that off."
                " Type the question.",
            )
        if mode is not self._mode:
            self._mode = mode
            self._stop()
        self._silence = silence_seconds
        if self._stretch is not None:
            self._stretch.turns.set_silence(silence_seconds)
        self._start()
        self._report()

    def attend(self, attended: bool) -> None:
        """Note whether a socket is open: without one nothing is heard."""
        self._attended = attended
        self._reported = None
        if attended:
            self._start()
            self._report()
        else:
            self._stop()

    def push(self, down: bool) -> None:
        """Take the state of the button. Does nothing unless the microphone waits for it, nor for the
        presses of a client that presses without end.
        """
        stretch = self._stretch
        if stretch is None or self._mode is not MicrophoneMode.PUSH:
            return
        now = time.monotonic()
        if down:
            if not stretch.turns.held and self._presses.take(now):
                self._stop_talking()
                self._renew(stretch)
                self._apply(stretch.turns.press(now))
        elif stretch.turns.held:
            stretch.turns.release(now)
            loop = asyncio.get_running_loop()
            self._release = loop.call_later(_RELEASE_SECONDS, self._released)
        self._report()

    def cancel(self, id: str | None) -> None:
        """Give up the turn that would become the question of this id; None: any."""
        turn, before = self._turn, self._before
        if turn is not None and id in (None, turn.id) and self._stretch is not None:
            self._apply(self._stretch.turns.give_up())
        if before is not None and id in (None, before.id):
            self._forget(before)
            self._before = None
        self._report()

    async def close(self) -> None:
        """Stop and forget everything."""
        self._stop()
        await self._tasks.close()

    def _start(self) -> None:
        model = self._tools.speech_model
        wanted = self._mode is not MicrophoneMode.OFF and self._attended
        if not wanted or self._stretch is not None or model is None:
            return
        self._stretch = _Stretch(Detector(model), Foreground(), Turns(), BargeIn())
        self._stretch.turns.set_silence(self._silence)
        self._line.on_sound = self._on_sound
        self._line.on_microphone = self._on_microphone

    def _stop(self) -> None:
        self._line.on_sound = self._line.on_microphone = None
        if self._stretch is not None:
            self._go_on(self._stretch)
        self._stretch = None
        if self._release is not None:
            self._release.cancel()
            self._release = None
        self._waiting.clear()
        self._samples = 0
        self._detecting = None
        self._ring.clear()
        for turn in (self._turn, self._before):
            if turn is not None:
                self._forget(turn)
        if self._turn is not None:
            self._reuse.cancel_ahead()
        self._turn = self._before = None

    def _on_microphone(self, sending: bool) -> None:
        """Drop the turn of a microphone that was muted in the middle of it."""
        if not sending and self._stretch is not None:
            self._apply(self._stretch.turns.give_up())
            self._renew(self._stretch)
            self._go_on(self._stretch)
            self._ring.clear()
        self._report()

    def _go_on(self, stretch: _Stretch) -> None:
        """Let an answer that was lowered go on: nobody is heard over it any more."""
        if stretch.barge_in.now is not Loudness.FULL:
            self._play(Loudness.FULL)
        stretch.barge_in.reset()

    def _renew(self, stretch: _Stretch) -> None:
        """Take another detector: other sound follows, and the one before may be at work."""
        assert self._tools.speech_model is not None
        stretch.detector = Detector(self._tools.speech_model)
        self._waiting.clear()
        self._samples = 0
        self._detecting = None

    # Sound

    def _on_sound(self, sound: Sound) -> None:
        self._ring.add(sound)
        if self._turn is not None:
            self._turn.add(sound)
        stretch = self._stretch
        if stretch is None or (
            self._mode is MicrophoneMode.PUSH and self._turn is None and not stretch.turns.held
        ):
            return
        self._waiting.append(sound)
        self._samples += len(sound.samples)
        if self._samples > _MOST_WAITING_SECONDS * SOUND_RATE:
            # The machine is too slow: what is heard now counts.
            self._line.dropped("detector", len(self._waiting))
            self._waiting.clear()
            self._samples = 0
        self._detect(stretch)

    def _detect(self, stretch: _Stretch) -> None:
        """Begin with the sound that waits, if it fills a chunk and nothing is under way."""
        if self._detecting is not None or self._samples < CHUNK:
            return
        first = self._waiting[0].captured
        samples = np.concatenate([piece.samples for piece in self._waiting])
        self._waiting.clear()
        self._samples %= CHUNK
        sound = Sound(samples, first)
        loop = asyncio.get_running_loop()
        found = loop.run_in_executor(self._tools.hear_pool, stretch.detector.feed, sound)
        self._detecting = found
        found.add_done_callback(lambda done: self._detected(stretch, done))

    def _detected(self, stretch: _Stretch, done: asyncio.Future[list[Chunk]]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if self._detecting is not done:
            return  # the microphone is off, or on again
        self._detecting = None
        if error is not None:
            log.error("speech detection failed", extra={"error": type(error).__name__})
            self._line.dropped("detector")
            return
        for chunk in done.result():
            self._hear(stretch, chunk)
        self._report()
        if self._stretch is stretch:
            self._detect(stretch)

    def _hear(self, stretch: _Stretch, chunk: Chunk) -> None:
        if self._mode is MicrophoneMode.PUSH and stretch.turns.state is TurnState.WAITING:
            return  # it came after the button was released
        if stretch.turns.held or self._mode is MicrophoneMode.PUSH:
            # Who holds a button means it, however softly they speak.
            voiced = chunk.speech >= 0.5
        else:
            voiced = stretch.foreground.hears(chunk)
            talking = self._talker is not None and self._talker.talking
            change = stretch.barge_in.hear(chunk, voiced, talking=talking)
            if change is not None:
                self._play(change)
        if self._turn is not None:
            self._turn.show(self._camera.newest)
        self._apply(stretch.turns.hear(chunk, voiced))

    def _play(self, loudness: Loudness) -> None:
        if self._talker is None:
            return
        match loudness:
            case Loudness.FULL:
                self._talker.restore()
            case Loudness.LOWERED:
                self._talker.lower()
            case Loudness.HUSHED:
                self._talker.hush()
            case Loudness.STOPPED:
                self._talker.stop()

    def _stop_talking(self) -> None:
        if self._talker is not None and self._talker.talking:
            self._talker.stop()

    def _released(self) -> None:
        self._release = None
        if self._stretch is not None:
            self._apply(self._stretch.turns.expire(time.monotonic()))
            self._report()

    # Turns

    def _apply(self, events: list[TurnEvent]) -> None:
        for event in events:
            match event:
                case Began():
                    self._begin(event)
                case Paused():
                    self._pause(event.at)
                case Resumed():
                    self._resume()
                case Ended():
                    self._end(event)
                case Dropped():
                    self._drop()

    def _begin(self, began: Began) -> None:
        self._touch()
        self._camera.wake()
        turn = self._turn = SpokenTurn(began.since)
        if (before := self._ring.slice(began.since, self._ring.end)) is not None:
            turn.add(before)
        turn.show(self._camera.newest)
        if self._recognising is not None and self._recognising.available:
            work = self._recognise(turn, self._recognising)
            turn.task = self._tasks.spawn(work, name="recognise")

    def _pause(self, at: float) -> None:
        """Take the frame of the words, and send it ahead of them."""
        if self._turn is None:
            return
        self._turn.said = at
        self._turn.after = self._tasks.spawn(self._frame_after(at), name="frame")

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

    def _resume(self) -> None:
        if self._turn is not None:
            self._turn.forget_pause()
            self._reuse.cancel_ahead()

    def _drop(self) -> None:
        if self._turn is not None:
            self._forget(self._turn)
            self._reuse.cancel_ahead()
            self._turn = None

    def _forget(self, turn: SpokenTurn) -> None:
        """Drop a turn, and the words of it that the client may have."""
        turn.close()
        if turn.worded:
            self._outbox.put(wire.HeardWords(id=turn.id, text="", final=True))

    def _end(self, ended: Ended) -> None:
        turn = self._turn
        if turn is None:
            return
        self._turn = None
        turn.said = ended.said
        turn.whole = self._ring.slice(ended.since, ended.until)
        if turn.after is None:
            turn.after = self._tasks.spawn(self._frame_after(ended.said), name="frame")
        turn.finish()
        if turn.task is None:
            if not self._tools.current_engine().status.capabilities.audio_in:
                self._failed(turn, SpeechUnavailable("No recogniser answers, and no engine hears."))
                return
            turn.task = self._tasks.spawn(self._ask_by_sound(turn), name="ask")
        if not turn.task.done():
            if self._before is not None:
                # As a question replaces the one before
                self._forget(self._before)
            self._before = turn

    # Words

    async def _recognise(self, turn: SpokenTurn, recognising: WordMaker) -> None:
        try:
            words = await self._words(turn, recognising)
            pointing = find_pointing(words.times)
            if words.text.strip():
                await self._ask(turn, words.text.strip(), pointing)
        except QwenCameraError as error:
            self._failed(turn, error)
        except Exception as exc:  # noqa: BLE001
            # The text of the exception may hold what was said.
            log.error("recognising failed", extra={"error": type(exc).__name__})
            self._failed(turn, SpeechFailed("A recogniser failed with an error of its own."))
        finally:
            if self._before is turn:
                self._before = None
                self._report()

    async def _words(self, turn: SpokenTurn, recognising: WordMaker) -> Words:
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
        self._outbox.put(wire.HeardWords(id=turn.id, text=text, final=True))
        return words

    async def _ask_by_sound(self, turn: SpokenTurn) -> None:
        """Ask an engine that hears; nobody makes words of it."""
        turn.worded = True
        self._outbox.put(wire.HeardWords(id=turn.id, text=SPOKEN_QUESTION, final=True))
        try:
            await self._ask(turn, "", None)
        finally:
            if self._before is turn:
                self._before = None
                self._report()

    async def _ask(self, turn: SpokenTurn, text: str, pointing: Pointing | None) -> None:
        # A recogniser may have its words before the person has ended; the frame is not known then.
        await turn.over.wait()
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
        if self._turn is turn:
            # It broke off while the person still speaks: what follows is another turn.
            self._turn = None
        if self._before is turn:
            self._before = None
        self._reuse.cancel_ahead()

    # State

    def _report(self) -> None:
        """Tell the client when the state has changed."""
        state = self._state()
        if state != self._reported:
            self._reported = state
            self._outbox.put(wire.Listening(state=state))

    def _state(self) -> wire.ListeningState:
        if self._stretch is None or not self._line.microphone:
            return "off"
        if self._turn is not None:
            return "silence" if self._turn.after is not None else "speech"
        return "recognising" if self._before is not None else "waiting"
