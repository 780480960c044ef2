"""Hear one person: the microphone's sound becomes turns, which become questions elsewhere.

Nothing is heard without a socket, and no sound outlives the microphone, but for a turn whose words
are on their way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from server.camera.camera import Camera
from server.core import messages as wire
from server.core.errors import BadRequest, QwenCameraError
from server.core.sound import MicrophoneMode, Sound
from server.core.token_bucket import Bucket
from server.session.listening.answer_interruption import AnswerInterruption, Talker
from server.session.listening.speech_detection import SpeechDetection
from server.session.listening.spoken_questions import Asker, SpokenQuestions, WordSource
from server.session.listening.turn_checks import TurnChecks
from server.session.request.outbox import Outbox
from server.session.request.picture_reuse import PictureReuse
from server.session.request.session_tools import SessionTools
from server.voice.detector import Chunk
from server.voice.end_of_turn import EndOfTurn
from server.voice.foreground import Foreground, Voice
from server.voice.line import VoiceLine
from server.voice.log_mel import SPECTROGRAM_SECONDS
from server.voice.onset import Onset
from server.voice.ring import SoundRing
from server.voice.turns import (
    MOST_TURN_SECONDS,
    PRE_ROLL_SECONDS,
    SILENCE_SECONDS,
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

# Kept of a microphone: the longest turn
RING_SECONDS = MOST_TURN_SECONDS + PRE_ROLL_SECONDS
# Presses of a button, a second and at once: each may open a connection to a recogniser.
_PRESSES, _MOST_PRESSES = 2.0, 8
# A button's last sound is waited for.
_RELEASE_SECONDS = 0.2


@dataclass(slots=True)
class _Stretch:
    """The state of the sound from switching the microphone on until it is off."""

    detection: SpeechDetection
    foreground: Foreground
    turns: Turns
    interruption: AnswerInterruption
    onset: Onset
    # None without a model for the end of turns
    checks: TurnChecks | None


class Listening:
    """One session's ear. All methods are called on the event loop."""

    def __init__(
        self,
        *,
        line: VoiceLine,
        camera: Camera,
        outbox: Outbox,
        questions: Asker,
        reuse: PictureReuse,
        tools: SessionTools,
        send_error: Callable[[QwenCameraError, str | None], None],
        touch: Callable[[], None],
        on_noise: Callable[[float], None] = lambda _: None,
        recognising: WordSource | None = None,
        talker: Talker | None = None,
    ) -> None:
        """`on_noise` gets the time at which a sound of the scene begins that stands out."""
        self._line = line
        self._on_noise = on_noise
        self._outbox = outbox
        self._tools = tools
        self._talker = talker
        self._mode = MicrophoneMode.OFF
        self._silence = SILENCE_SECONDS
        self._attended = True
        self._ring = SoundRing(RING_SECONDS)
        # None while nothing is heard
        self._stretch: _Stretch | None = None
        self._spoken = SpokenQuestions(
            ring=self._ring,
            camera=camera,
            outbox=outbox,
            questions=questions,
            reuse=reuse,
            current_engine=tools.current_engine,
            send_error=send_error,
            touch=touch,
            on_change=self._report,
            recognising=recognising,
        )
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
                stretch.interruption.stop()
                stretch.detection.renew()
                self._apply(stretch.turns.press(now))
        elif stretch.turns.held:
            stretch.turns.release(now)
            loop = asyncio.get_running_loop()
            self._release = loop.call_later(_RELEASE_SECONDS, self._released)
        self._report()

    def cancel(self, id: str | None) -> None:
        """Give up the turn that would become the question of this id; None: any."""
        turn, before = self._spoken.turn, self._spoken.before
        if turn is not None and id in (None, turn.id) and self._stretch is not None:
            self._apply(self._stretch.turns.give_up())
        if before is not None and id in (None, before.id):
            self._spoken.forget_before()
        self._report()

    async def close(self) -> None:
        """Stop and forget everything."""
        self._stop()
        await self._spoken.close()

    def _start(self) -> None:
        model = self._tools.speech_model
        wanted = self._mode is not MicrophoneMode.OFF and self._attended
        if not wanted or self._stretch is not None or model is None:
            return
        detection = SpeechDetection(
            model,
            self._tools.hear_pool,
            on_chunks=self._on_chunks,
            on_dropped=lambda pieces: self._line.dropped("detector", pieces),
            patience=self._patience,
        )
        judge = self._tools.turn_judge
        self._stretch = _Stretch(
            detection,
            Foreground(),
            Turns(EndOfTurn() if judge is not None else None),
            AnswerInterruption(self._talker),
            Onset(),
            TurnChecks(judge, self._judged) if judge is not None else None,
        )
        self._stretch.turns.set_silence(self._silence)
        self._line.on_sound = self._on_sound
        self._line.on_microphone = self._on_microphone

    def _stop(self) -> None:
        self._line.on_sound = self._line.on_microphone = None
        if self._stretch is not None:
            self._stretch.interruption.end()
            self._stretch.detection.close()
            self._forget_check()
        self._stretch = None
        if self._release is not None:
            self._release.cancel()
            self._release = None
        self._ring.clear()
        self._spoken.forget()

    def _on_microphone(self, sending: bool) -> None:
        """Drop the turn of a microphone that was muted in the middle of it."""
        if not sending and self._stretch is not None:
            self._apply(self._stretch.turns.give_up())
            self._stretch.detection.renew()
            self._stretch.interruption.end()
            self._ring.clear()
        self._report()

    # Sound

    def _on_sound(self, sound: Sound) -> None:
        self._ring.add(sound)
        self._spoken.add(sound)
        stretch = self._stretch
        if stretch is None:
            return
        between = self._mode is MicrophoneMode.PUSH and self._spoken.turn is None
        if not between or stretch.turns.held:
            stretch.detection.add(sound)

    def _patience(self) -> int:
        """Return the number of chunks that may be heard together: over an answer each counts."""
        hurry = self._talker is not None and self._talker.talking
        if self._stretch is None or hurry or self._mode is MicrophoneMode.PUSH:
            return 1
        return self._stretch.turns.patience

    def _on_chunks(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            if self._stretch is not None:
                self._hear(self._stretch, chunk)
        self._report()

    def _hear(self, stretch: _Stretch, chunk: Chunk) -> None:
        if self._mode is MicrophoneMode.PUSH and stretch.turns.state is TurnState.WAITING:
            return  # it came after the button was released
        if stretch.turns.held or self._mode is MicrophoneMode.PUSH:
            # A person who holds the button speaks to us, however softly.
            voice = Voice.PERSON if chunk.speech >= 0.5 else Voice.NOBODY
        else:
            talk = stretch.foreground.background
            voice = stretch.foreground.hears(chunk, answering=stretch.interruption.answering)
            if stretch.foreground.background and not talk and stretch.turns.unsure:
                # It was talk in the room.
                self._apply(stretch.turns.give_up())
            stretch.interruption.hear(chunk, voice)
            if stretch.onset.hears(chunk):
                self._on_noise(chunk.at)
        self._spoken.show()
        self._apply(stretch.turns.hear(chunk, voice))

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
                    answering = self._talker is not None and self._talker.talking
                    self._spoken.begin(event, over_answer=answering)
                case Paused():
                    self._spoken.pause(event.at)
                case Resumed():
                    self._forget_check()
                    self._spoken.resume()
                case Asked():
                    self._ask(event)
                case Ended():
                    self._forget_check()
                    self._spoken.end(event)
                case Dropped():
                    self._forget_check()
                    self._spoken.drop()

    def _ask(self, asked: Asked) -> None:
        """Have a model judge the turn's sound so far."""
        if self._stretch is None or self._stretch.checks is None:
            return
        since = max(asked.since, asked.until - SPECTROGRAM_SECONDS)
        sound = self._ring.slice(since, asked.until)
        if sound is None:
            self._judged(asked.number, None)
        else:
            self._stretch.checks.ask(asked.number, sound)

    def _judged(self, number: int, complete: bool | None) -> bool:
        """Take the answer of a check; returns False where it came too late to be of use."""
        if self._stretch is None:
            return False
        used, events = self._stretch.turns.answer(number, complete)
        self._apply(events)
        self._report()
        return used

    def _forget_check(self) -> None:
        if self._stretch is not None and self._stretch.checks is not None:
            self._stretch.checks.close()

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
        turn = self._spoken.turn
        if turn is not None:
            return "silence" if turn.after is not None else "speech"
        return "recognising" if self._spoken.before is not None else "waiting"
