"""Hear one person: the microphone's sound becomes turns, which become questions elsewhere.

Nothing is heard without a socket, and no sound outlives the microphone, but for a turn whose words
are on their way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from server.core.aio import Bucket, Timer, listen
from server.core.errors import BadRequest
from server.core.sound import SOUND_RATE, Sound
from server.features.voice_in import messages
from server.features.voice_in.detector import CHUNK, Chunk, Detector, Onset, SpeechModel
from server.features.voice_in.foreground import BargeIn, Foreground, Loudness, Voice
from server.features.voice_in.messages import (
    ListeningState,
    MicrophoneMode,
    MicrophoneSettings,
    PushToTalk,
)
from server.features.voice_in.recogniser import Recogniser
from server.features.voice_in.spoken_questions import SoundRing, SpokenQuestions
from server.features.voice_in.turn_model import ANSWER_SECONDS, SPECTROGRAM_SECONDS, TurnJudge
from server.features.voice_in.turns import (
    MOST_TURN_SECONDS,
    PRE_ROLL_SECONDS,
    Asked,
    Began,
    Dropped,
    Ended,
    Paused,
    Resumed,
    TurnEvent,
    Turns,
    TurnState,
)
from server.session.part import SessionContext, SessionPart, SpeechOutput
from server.shared.sound.line import VoiceLine

log = logging.getLogger(__name__)
# Kept of a microphone: the longest turn
RING_SECONDS = MOST_TURN_SECONDS + PRE_ROLL_SECONDS
# Presses of a button, a second and at once: each may open a connection to a recogniser.
_PRESSES, _MOST_PRESSES = 2.0, 8
# A button's last sound is waited for.
_RELEASE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ListeningTools:
    """The parts that all microphones share."""

    recogniser: Recogniser
    # Finds speech in what microphones send; None: the server takes no microphone
    speech_model: SpeechModel | None = None
    # Threads of the detectors; None: a thread of the event loop's own
    pool: ThreadPoolExecutor | None = None
    # Hears whether a turn is complete; None: silence alone ends it
    turn_judge: TurnJudge | None = None
    # Counts packets that could not be used, with the reason
    dropped: Callable[[str, int], None] = lambda _reason, _count: None


class Listening(SessionPart):
    """One session's microphone. All methods are called on the event loop."""

    def __init__(
        self, context: SessionContext, tools: ListeningTools, speaker: SpeechOutput
    ) -> None:
        """`speaker`: the speech of answers, which somebody may speak over."""
        self._line = VoiceLine.of(context.lines)
        self._line.on_dropped.append(tools.dropped)
        self._camera = context.camera
        self._publish_sound_event = context.publish_sound_event
        self._outbox = context.outbox
        self._tools = tools
        self._speaker = speaker
        self._mode = MicrophoneMode.OFF
        self._attended = True
        # The microphone's last 30 seconds; empty while it is off
        self.recent = SoundRing(RING_SECONDS)
        # None while nothing is heard
        self.detection: SpeechDetection | None = None
        judge = tools.turn_judge
        self.turns = Turns(judged=judge is not None)
        self.checks = TurnChecks(judge, self._judged) if judge is not None else None
        self._foreground, self._onset, self._barge_in = Foreground(), Onset(), BargeIn()
        self.spoken = SpokenQuestions(
            context, self.recent, tools.recogniser, on_change=self._report
        )
        self._release = Timer()
        self._presses = Bucket(_PRESSES, _MOST_PRESSES, time.monotonic())
        self._reported: str | None = None
        self.handlers = {MicrophoneSettings: self._configure, PushToTalk: self.push}
        context.requests.hear_with(self)

    def ready(self) -> dict[str, Any]:
        return {
            "microphone": self._tools.speech_model is not None,
            "recogniser": self._tools.recogniser.ready,
            "elsewhere": self._tools.recogniser.elsewhere,
            "confirmed": self.spoken.consent.given,
        }

    @property
    def on(self) -> bool:
        """True while the microphone hears the scene: not where a button says what is meant."""
        return self.detection is not None and self._mode is MicrophoneMode.HANDS_FREE

    @property
    def talking(self) -> bool:
        """True while the person talks, and until the words are known."""
        return self.turns.state is not TurnState.WAITING or self.spoken.before is not None

    # Switching

    def _configure(self, message: MicrophoneSettings) -> None:
        """Hear in this way from now on. Raises BadRequest where the server offers no microphone."""
        if message.microphone is None and message.silence_ms is None:
            return
        mode = message.microphone or self._mode
        if mode is not MicrophoneMode.OFF and self._tools.speech_model is None:
            raise BadRequest(
                "This server takes no microphone: it is switched off (MICROPHONE).",
                visitors="This server takes no microphone: whoever runs it has switched that off."
                " Type the question.",
            )
        if mode is not self._mode:
            self._mode = mode
            self._stop()
        if message.silence_ms is not None:
            self.turns.set_silence(message.silence_ms / 1000)
        self._start()
        self._report()

    def set_connected(self, connected: bool) -> None:
        """Note whether a socket is open: without one nothing is heard."""
        self._attended = connected
        self._reported = None
        if connected:
            self._start()
            self._report()
        else:
            self._stop()

    def push(self, message: PushToTalk) -> None:
        """Take the state of the button. Does nothing unless the microphone waits for it, nor for the
        presses of a client that presses without end.
        """
        if self.detection is None or self._mode is not MicrophoneMode.PUSH:
            return
        now = time.monotonic()
        if message.down:
            if not self.turns.held and self._presses.take(now):
                if self._speaker.talking:
                    self._speaker.interrupt()
                self.detection.renew()
                self._apply(self.turns.press(now))
        elif self.turns.held:
            self.turns.release(now)
            self._release.set(_RELEASE_SECONDS, self._released)
        self._report()

    def cancel(self, id: str | None) -> None:
        """Give up the turn that would become the question of this id; None: any."""
        turn, before = self.spoken.turn, self.spoken.before
        if turn is not None and id in (None, turn.id):
            self._apply(self.turns.give_up())
        if before is not None and id in (None, before.id):
            self.spoken.forget_before()
        self._report()

    async def close(self) -> None:
        self._stop()
        await self.spoken.tasks.close()

    def _start(self) -> None:
        model = self._tools.speech_model
        wanted = self._mode is not MicrophoneMode.OFF and self._attended
        if not wanted or self.detection is not None or model is None:
            return
        self._foreground, self._onset = Foreground(), Onset()
        self.detection = SpeechDetection(
            model,
            self._tools.pool,
            on_chunks=self._on_chunks,
            on_dropped=lambda pieces: self._line.count_dropped("detector", pieces),
            patience=self._patience,
        )
        self._listen(True)

    def _listen(self, wanted: bool) -> None:
        listen(self._line.on_sound, self._on_sound, wanted)
        listen(self._line.on_microphone, self._on_microphone, wanted)

    def _stop(self) -> None:
        self._listen(False)
        self._go_on()
        if self.detection is not None:
            self.detection.renew()
            self.detection = None
        self.turns.give_up()
        self._forget_check()
        self._release.cancel()
        self.recent.clear()
        self.spoken.forget()

    def _on_microphone(self, sending: bool) -> None:
        """Drop the turn of a microphone that was muted in the middle of it."""
        if not sending and self.detection is not None:
            self._apply(self.turns.give_up())
            self.detection.renew()
            self._go_on()
            self.recent.clear()
        self._report()

    # Sound

    def _on_sound(self, sound: Sound) -> None:
        self.recent.add(sound)
        if self.spoken.turn is not None:
            self.spoken.turn.add(sound)
        between = self._mode is MicrophoneMode.PUSH and self.spoken.turn is None
        if self.detection is not None and (not between or self.turns.held):
            self.detection.add(sound)

    def _patience(self) -> int:
        """Return the number of chunks that may be heard together: over an answer each counts."""
        if self._speaker.talking or self._mode is MicrophoneMode.PUSH:
            return 1
        return self.turns.patience

    def _on_chunks(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            self.hear(chunk)
        self._report()

    def hear(self, chunk: Chunk) -> None:
        """Take the next chunk of the microphone's sound."""
        if self._mode is MicrophoneMode.PUSH and self.turns.state is TurnState.WAITING:
            return  # it came after the button was released
        if self.turns.held or self._mode is MicrophoneMode.PUSH:
            # A person who holds the button speaks to us, however softly.
            voice = Voice.PERSON if chunk.speech >= 0.5 else Voice.NOBODY
        else:
            talk = self._foreground.background
            voice = self._foreground.hears(chunk, answering=self._speaker.talking)
            if self._foreground.background and not talk and self.turns.unsure:
                # It was talk in the room.
                self._apply(self.turns.give_up())
            change = self._barge_in.hear(chunk, voice, talking=self._speaker.talking)
            if change is not None:
                self._sound_at(change)
            if self._onset.hears(chunk):
                self._publish_sound_event(chunk.at)
        if self.spoken.turn is not None:
            self.spoken.turn.show(self._camera.newest)
        self._apply(self.turns.hear(chunk, voice))

    def _sound_at(self, loudness: Loudness) -> None:
        """Play the answer as loud, or stop it."""
        match loudness:
            case Loudness.FULL:
                self._speaker.restore()
            case Loudness.LOWERED:
                self._speaker.duck()
            case Loudness.HUSHED:
                self._speaker.pause()
            case Loudness.STOPPED:
                self._speaker.interrupt()

    def _go_on(self) -> None:
        """Let an answer that was lowered go on: nobody is heard over it any more."""
        if self._barge_in.now is not Loudness.FULL:
            self._speaker.restore()
        self._barge_in.reset()

    def _released(self) -> None:
        self._apply(self.turns.expire(time.monotonic()))
        self._report()

    # Turns

    def _apply(self, events: list[TurnEvent]) -> None:
        for event in events:
            match event:
                case Began():
                    self.spoken.begin(event, over_answer=self._speaker.talking)
                case Paused():
                    self.spoken.pause(event.at)
                case Resumed():
                    self._forget_check()
                    self.spoken.resume()
                case Asked():
                    self._ask(event)
                case Ended():
                    self._forget_check()
                    self.spoken.end(event)
                case Dropped():
                    self._forget_check()
                    self.spoken.drop()

    def _ask(self, asked: Asked) -> None:
        """Have a model judge the turn's sound so far."""
        assert self.checks is not None
        since = max(asked.since, asked.until - SPECTROGRAM_SECONDS)
        sound = self.recent.slice(since, asked.until)
        if sound is None:
            self._judged(asked.number, None)
        else:
            self.checks.ask(asked.number, sound)

    def _judged(self, number: int, complete: bool | None) -> bool:
        """Take the answer of a check; returns False where it came too late to be of use."""
        used, events = self.turns.answer(number, complete)
        self._apply(events)
        self._report()
        return used

    def _forget_check(self) -> None:
        if self.checks is not None:
            self.checks.close()

    # State

    def _report(self) -> None:
        """Tell the client when the state has changed."""
        state = self._state()
        if state != self._reported:
            self._reported = state
            self._outbox.put(messages.Listening(state=state))

    def _state(self) -> ListeningState:
        if self.detection is None or not self._line.microphone:
            return "off"
        turn = self.spoken.turn
        if turn is not None:
            return "silence" if turn.after is not None else "speech"
        return "recognising" if self.spoken.before is not None else "waiting"


# Sound that may wait for the detector; beyond, all of it is dropped
_MOST_WAITING_SECONDS = 2.0


class SpeechDetection:
    """Owns the detector and the sound that waits for it. All methods are called on the event loop.

    `on_chunks` gets what was found, in order; `on_dropped` the number of pieces that were dropped.

    Bounds of a microphone's sound before its detector: 2 s; when full, all of it is dropped and
    counted.
    """

    def __init__(
        self,
        model: SpeechModel,
        pool: ThreadPoolExecutor | None,
        *,
        on_chunks: Callable[[list[Chunk]], None],
        on_dropped: Callable[[int], None],
        patience: Callable[[], int],
    ) -> None:
        """`pool`: None for threads of the event loop's own. `patience()`: the number of chunks that
        may wait for each other, because each way to the thread and back costs several times as much
        as a chunk.
        """
        self._model = model
        self._pool = pool
        self._on_chunks = on_chunks
        self._on_dropped = on_dropped
        self._patience = patience
        self._detector = Detector(model)
        # Sound that waits, and its samples beyond the last whole chunk
        self.waiting: deque[Sound] = deque()
        self._samples = 0
        self._detecting: asyncio.Future[list[Chunk]] | None = None

    @property
    def busy(self) -> bool:
        return self._detecting is not None

    def add(self, sound: Sound) -> None:
        self.waiting.append(sound)
        self._samples += len(sound.samples)
        if self._samples > _MOST_WAITING_SECONDS * SOUND_RATE:
            # The machine is too slow; newer sound matters more.
            self._on_dropped(len(self.waiting))
            self.waiting.clear()
            self._samples = 0
        self._detect()

    def renew(self) -> None:
        """Forget all sound: other sound follows, or none. The detector of before may be at work."""
        self._detector = Detector(self._model)
        self.waiting.clear()
        self._samples = 0
        self._detecting = None

    def _detect(self) -> None:
        """Begin with the sound that waits, if it is enough and nothing is under way."""
        if self._detecting is not None or self._samples < CHUNK * self._patience():
            return
        first = self.waiting[0].captured
        samples = np.concatenate([piece.samples for piece in self.waiting])
        self.waiting.clear()
        self._samples %= CHUNK
        sound = Sound(samples, first)
        loop = asyncio.get_running_loop()
        self._detecting = loop.run_in_executor(self._pool, self._detector.feed, sound)
        self._detecting.add_done_callback(self._detected)

    def _detected(self, done: asyncio.Future[list[Chunk]]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if self._detecting is not done:
            return  # the microphone is off, or on again
        self._detecting = None
        if error is not None:
            log.error("speech detection failed", extra={"error": type(error).__name__})
            self._on_dropped(1)
            return
        self._on_chunks(done.result())
        self._detect()


class TurnChecks:
    """Asks the model, and brings its answers back to the event loop, where all methods are called.

    Bounds of pauses that a model judges: one at a time of each, the newest pause replaces a
    waiting one; three in all, more are counted, and silence decides. A check has 8 s of sound and
    9 MB of working memory; without an answer within 0.3 s silence decides.
    """

    def __init__(self, judge: TurnJudge, answer: Callable[[int, bool | None], bool]) -> None:
        """`answer(number, complete)`: takes each answer once, None for none; returns whether it was of use."""
        self._judge = judge
        self._answer = answer
        self._running: asyncio.Future[bool] | None = None
        # The check that the turn waits for, and its time's end; None without one
        self._number: int | None = None
        self._timer = Timer()
        # Its sound, while an earlier check still runs
        self._waiting: Sound | None = None
        # The running one was counted: it took too long.
        self._counted = False

    @property
    def busy(self) -> bool:
        return self._running is not None

    def ask(self, number: int, sound: Sound) -> None:
        """Make a check in place of the one before."""
        self.close()
        self._number = number
        self._timer.set(ANSWER_SECONDS, self._late)
        if self._running is None:
            self._begin(number, sound)
        else:
            self._waiting = sound

    def close(self) -> None:
        """Forget what was asked. A check that runs cannot be stopped; nobody waits for it."""
        if self._waiting is not None:
            self._judge.note("unused")
        self._forget()

    def _forget(self) -> None:
        self._timer.cancel()
        self._number = self._waiting = None

    def _begin(self, number: int, sound: Sound) -> None:
        check = self._judge.begin(sound.samples)
        if check is None:
            self._give_up("busy")
            return
        self._counted = False
        self._running = asyncio.wrap_future(check)
        self._running.add_done_callback(lambda done: self._done(number, done))

    def _done(self, number: int, done: asyncio.Future[bool]) -> None:
        self._running = None
        if done.cancelled():
            return  # the program ends
        error = done.exception()
        if number != self._number:
            if not self._counted:
                self._judge.note("unused" if error is None else "failed", error)
            if self._waiting is not None and self._number is not None:
                sound, self._waiting = self._waiting, None
                self._begin(self._number, sound)
        elif error is not None:
            self._give_up("failed", error)
        else:
            self._forget()
            used = self._answer(number, done.result())
            result = "complete" if done.result() else "incomplete"
            self._judge.note(result if used else "unused")

    def _late(self) -> None:
        self._counted = self._waiting is None
        self._give_up("slow")

    def _give_up(self, result: str, error: BaseException | None = None) -> None:
        """Say that there is no answer."""
        number = self._number
        self._forget()
        self._judge.note(result, error)
        if number is not None:
            self._answer(number, None)
