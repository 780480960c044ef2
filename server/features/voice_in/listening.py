"""The microphone of one session: split its sound into turns, from which `spoken_questions` makes questions.

Without a connected socket no sound is processed. Sound is discarded when the microphone is switched
off, except that of a turn whose recognition is still running.
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
from server.features.voice_in.detector import (
    CHUNK,
    Chunk,
    OnsetDetector,
    SpeechDetector,
    SpeechModel,
)
from server.features.voice_in.foreground import BargeIn, Foreground, Loudness, Talker
from server.features.voice_in.messages import (
    ListeningState,
    MicrophoneMode,
    MicrophoneSettings,
    PushToTalk,
)
from server.features.voice_in.recogniser import SpeechRecogniser
from server.features.voice_in.spoken_questions import SoundRing, SpokenQuestions
from server.features.voice_in.turn_model import ANSWER_SECONDS, SPECTROGRAM_SECONDS, TurnJudge
from server.features.voice_in.turns import (
    MOST_TURN_SECONDS,
    PRE_ROLL_SECONDS,
    CheckDue,
    SpeechPaused,
    SpeechResumed,
    TurnBegan,
    TurnDropped,
    TurnEnded,
    TurnEvent,
    Turns,
    TurnState,
)
from server.session.part import SessionContext, SessionPart, SpeechOutput
from server.shared.sound.line import VoiceLine

log = logging.getLogger(__name__)
# Sound stored for each microphone, seconds: the longest turn
RING_SECONDS = MOST_TURN_SECONDS + PRE_ROLL_SECONDS
# Button presses, rate per second and burst: each may open a connection to a recogniser.
_PRESSES, _MOST_PRESSES = 2.0, 8
# Wait for the last sound after the button is released, seconds.
_RELEASE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ListeningTools:
    """Resources shared by all microphones."""

    recogniser: SpeechRecogniser
    # None: MICROPHONE is off
    speech_model: SpeechModel | None = None
    # Threads of the detectors; None: the event loop's default executor
    pool: ThreadPoolExecutor | None = None
    # Decides whether a turn is complete; None: silence alone ends it
    turn_judge: TurnJudge | None = None
    # Counts unusable packets: (reason, count)
    dropped: Callable[[str, int], None] = lambda _reason, _count: None


class MicrophonePart(SessionPart):
    """Microphone of one session. Call all methods on the event loop."""

    def __init__(
        self, context: SessionContext, tools: ListeningTools, speaker: SpeechOutput
    ) -> None:
        """`speaker`: plays the answers, and is interrupted by speech over them."""
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
        # None while no sound is processed
        self.detection: DetectorQueue | None = None
        judge = tools.turn_judge
        self.turns = Turns(judged=judge is not None)
        self.checks = TurnChecks(judge, self._on_judgement) if judge is not None else None
        self._foreground, self._onset, self._barge_in = Foreground(), OnsetDetector(), BargeIn()
        self.spoken = SpokenQuestions(
            context, self.recent, tools.recogniser, on_change=self._report
        )
        self._release = Timer()
        self._presses = Bucket(_PRESSES, _MOST_PRESSES, time.monotonic())
        self._reported: str | None = None
        self.handlers = {MicrophoneSettings: self._configure, PushToTalk: self.push}
        context.requests.audio_in = self

    def ready(self) -> dict[str, Any]:
        return {
            "microphone": self._tools.speech_model is not None,
            "recogniser": self._tools.recogniser.ready,
            "elsewhere": self._tools.recogniser.elsewhere,
            "confirmed": self.spoken.consent.given,
        }

    @property
    def on(self) -> bool:
        """True while the microphone is open to the scene's sounds: in the mode `hands_free` only."""
        return self.detection is not None and self._mode is MicrophoneMode.HANDS_FREE

    @property
    def talking(self) -> bool:
        """True while the person talks, and until the turn is recognised."""
        return self.turns.state is not TurnState.WAITING or self.spoken.previous_turn is not None

    # Switching

    def _configure(self, message: MicrophoneSettings) -> None:
        """Apply the settings. Raises BadRequest if MICROPHONE is off."""
        if message.microphone is None and message.silence_ms is None:
            return
        mode = message.microphone or self._mode
        if mode is not MicrophoneMode.OFF and self._tools.speech_model is None:
            raise BadRequest(
                "The microphone is switched off on this server. Set MICROPHONE=true, or send the question as `chat`.",
                visitors="The microphone is switched off on this server by its operator."
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
        """Start the microphone when a socket is connected; stop it otherwise."""
        self._attended = connected
        self._reported = None
        if connected:
            self._start()
            self._report()
        else:
            self._stop()

    def push(self, message: PushToTalk) -> None:
        """Begin or end a turn by the button. Ignored outside the mode `push`, and for presses beyond
        2 per second (burst 8).
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
            self._release.set(_RELEASE_SECONDS, self._end_release)
        self._report()

    def cancel(self, id: str | None) -> None:
        """Cancel the turn that would become the question `id`; None: any turn."""
        turn, before = self.spoken.turn, self.spoken.previous_turn
        if turn is not None and id in (None, turn.id):
            self._apply(self.turns.give_up())
        if before is not None and id in (None, before.id):
            self.spoken.cancel_previous_turn()
        self._report()

    async def close(self) -> None:
        self._stop()
        await self.spoken.tasks.close()

    def _start(self) -> None:
        model = self._tools.speech_model
        wanted = self._mode is not MicrophoneMode.OFF and self._attended
        if not wanted or self.detection is not None or model is None:
            return
        self._foreground, self._onset = Foreground(), OnsetDetector()
        self.detection = DetectorQueue(
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
        """Drop the current turn when the microphone is muted."""
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
        """Return the number of chunks to process together; 1 during an answer, for quick barge-in."""
        if self._speaker.talking or self._mode is MicrophoneMode.PUSH:
            return 1
        return self.turns.patience

    def _on_chunks(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            self.take_chunk(chunk)
        self._report()

    def take_chunk(self, chunk: Chunk) -> None:
        """Process the next chunk of the microphone's sound."""
        if self._mode is MicrophoneMode.PUSH and self.turns.state is TurnState.WAITING:
            return  # sound after the button was released
        if self.turns.held or self._mode is MicrophoneMode.PUSH:
            # While the button is held, all speech is the person's, at any loudness.
            voice = Talker.PERSON if chunk.speech >= 0.5 else Talker.NOBODY
        else:
            talk = self._foreground.background
            voice = self._foreground.classify(chunk, answering=self._speaker.talking)
            if self._foreground.background and not talk and self.turns.unsure:
                # The turn was background talk.
                self._apply(self.turns.give_up())
            change = self._barge_in.update(chunk, voice, talking=self._speaker.talking)
            if change is not None:
                self._set_loudness(change)
            if self._onset.is_onset(chunk):
                self._publish_sound_event(chunk.at)
        if self.spoken.turn is not None:
            self.spoken.turn.add_frame(self._camera.newest)
        self._apply(self.turns.add(chunk, voice))

    def _set_loudness(self, loudness: Loudness) -> None:
        """Set the playback of the answer."""
        match loudness:
            case Loudness.FULL:
                self._speaker.restore()
            case Loudness.DUCKED:
                self._speaker.duck()
            case Loudness.PAUSED:
                self._speaker.pause()
            case Loudness.STOPPED:
                self._speaker.interrupt()

    def _go_on(self) -> None:
        """Restore an answer that was ducked or paused."""
        if self._barge_in.now is not Loudness.FULL:
            self._speaker.restore()
        self._barge_in.reset()

    def _end_release(self) -> None:
        self._apply(self.turns.expire(time.monotonic()))
        self._report()

    # Turns

    def _apply(self, events: list[TurnEvent]) -> None:
        for event in events:
            match event:
                case TurnBegan():
                    self.spoken.begin(event, over_answer=self._speaker.talking)
                case SpeechPaused():
                    self.spoken.pause(event.at)
                case SpeechResumed():
                    self._forget_check()
                    self.spoken.resume()
                case CheckDue():
                    self._ask(event)
                case TurnEnded():
                    self._forget_check()
                    self.spoken.end(event)
                case TurnDropped():
                    self._forget_check()
                    self.spoken.drop()

    def _ask(self, asked: CheckDue) -> None:
        """Start a completeness check of the turn's sound so far."""
        assert self.checks is not None
        since = max(asked.since, asked.until - SPECTROGRAM_SECONDS)
        sound = self.recent.slice(since, asked.until)
        if sound is None:
            self._on_judgement(asked.number, None)
        else:
            self.checks.ask(asked.number, sound)

    def _on_judgement(self, number: int, complete: bool | None) -> bool:
        """Apply the result of a check. Return False if it came too late."""
        used, events = self.turns.apply_check_result(number, complete)
        self._apply(events)
        self._report()
        return used

    def _forget_check(self) -> None:
        if self.checks is not None:
            self.checks.close()

    # State

    def _report(self) -> None:
        """Send the state to the client if it has changed."""
        state = self._make_state()
        if state != self._reported:
            self._reported = state
            self._outbox.put(messages.Listening(state=state))

    def _make_state(self) -> ListeningState:
        if self.detection is None or not self._line.microphone:
            return "off"
        turn = self.spoken.turn
        if turn is not None:
            return "silence" if turn.after is not None else "speech"
        return "recognising" if self.spoken.previous_turn is not None else "waiting"


# Sound queued for the detector; beyond this, all of it is dropped.
_MOST_WAITING_SECONDS = 2.0


class DetectorQueue:
    """Owner of the detector and its queue of sound. Call all methods on the event loop.

    `on_chunks` receives the results in order; `on_dropped` the number of dropped pieces.

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
        """`pool`: None for the event loop's default executor. `patience()`: the number of chunks to
        collect for one call of the detector, because the switch to its thread and back costs
        several times as much as a chunk.
        """
        self._model = model
        self._pool = pool
        self._on_chunks = on_chunks
        self._on_dropped = on_dropped
        self._patience = patience
        self._detector = SpeechDetector(model)
        # Queued sound, and the count of samples not yet part of a detected chunk
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
            # The machine is too slow; newer sound is worth more than older.
            self._on_dropped(len(self.waiting))
            self.waiting.clear()
            self._samples = 0
        self._detect()

    def renew(self) -> None:
        """Discard all sound and use a new detector; the old one may still be running in its thread."""
        self._detector = SpeechDetector(self._model)
        self.waiting.clear()
        self._samples = 0
        self._detecting = None

    def _detect(self) -> None:
        """Start the detector on the queued sound, if it suffices and none is running."""
        if self._detecting is not None or self._samples < CHUNK * self._patience():
            return
        first = self.waiting[0].captured
        samples = np.concatenate([piece.samples for piece in self.waiting])
        self.waiting.clear()
        self._samples %= CHUNK
        sound = Sound(samples, first)
        loop = asyncio.get_running_loop()
        self._detecting = loop.run_in_executor(self._pool, self._detector.feed, sound)
        self._detecting.add_done_callback(self._on_detected)

    def _on_detected(self, done: asyncio.Future[list[Chunk]]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if self._detecting is not done:
            return  # renewed meanwhile
        self._detecting = None
        if error is not None:
            log.error("speech detection failed", extra={"error": type(error).__name__})
            self._on_dropped(1)
            return
        self._on_chunks(done.result())
        self._detect()


class TurnChecks:
    """Completeness checks of one microphone's turns. Call all methods on the event loop.

    Bounds of pauses that a model judges: one at a time per microphone, where the newest replaces a
    waiting one; three in the process, beyond which checks are counted and silence decides. A check
    has 8 s of sound and 9 MB of working memory; without an answer within 0.3 s silence decides.
    """

    def __init__(self, judge: TurnJudge, answer: Callable[[int, bool | None], bool]) -> None:
        """`answer(number, complete)`: called once per check; None: no result; returns True if it was used."""
        self._judge = judge
        self._answer = answer
        self._running: asyncio.Future[bool] | None = None
        # Number of the check that the turn waits for, and its timeout; None if there is none
        self._number: int | None = None
        self._timer = Timer()
        # The sound of the next check, while an earlier one runs
        self._waiting: Sound | None = None
        # True if the running check was already counted as slow
        self._counted = False

    @property
    def busy(self) -> bool:
        return self._running is not None

    def ask(self, number: int, sound: Sound) -> None:
        """Start a check, replacing the previous one."""
        self.close()
        self._number = number
        self._timer.set(ANSWER_SECONDS, self._on_late)
        if self._running is None:
            self._begin(number, sound)
        else:
            self._waiting = sound

    def close(self) -> None:
        """Drop the current check. A running one cannot be stopped; its result is discarded."""
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
        self._running.add_done_callback(lambda done: self._on_done(number, done))

    def _on_done(self, number: int, done: asyncio.Future[bool]) -> None:
        self._running = None
        if done.cancelled():
            return  # the program is ending
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

    def _on_late(self) -> None:
        self._counted = self._waiting is None
        self._give_up("slow")

    def _give_up(self, result: str, error: BaseException | None = None) -> None:
        """Report that the check has no result."""
        number = self._number
        self._forget()
        self._judge.note(result, error)
        if number is not None:
            self._answer(number, None)
