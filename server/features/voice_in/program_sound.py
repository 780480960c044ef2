"""Turns and words in the sound of a program, by the detector and the recogniser of the microphones."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import numpy as np

from server.core.aio import TaskSet
from server.core.errors import QwenCameraError
from server.core.sound import Sound
from server.features.voice_in.detector import CHUNK, Chunk, SpeechDetector
from server.features.voice_in.foreground import Foreground
from server.features.voice_in.listening import RING_SECONDS, ListeningTools, TurnChecks
from server.features.voice_in.spoken_questions import (
    WORDS_SECONDS,
    SoundRing,
    SpokenTurn,
    is_invented,
)
from server.features.voice_in.turn_model import SPECTROGRAM_SECONDS
from server.features.voice_in.turns import (
    MOST_TURN_SECONDS,
    CheckDue,
    TurnBegan,
    TurnDropped,
    TurnEnded,
    TurnEvent,
    Turns,
)
from server.shared.services import TurnListener
from server.shared.speech import SpeechTimeout, SpeechUnavailable

# Samples that are detected together: the switch to another thread and back costs more than a chunk.
_LEAST_SAMPLES = 2 * CHUNK


class ProgramSound:
    """Detects the turns in one program's sound. Call all methods on the event loop, and `add` not concurrently.

    Bounds of a program's turns: at most one is open, and one is being recognised, which the next ended turn replaces.
    """

    def __init__(self, tools: ListeningTools, listener: TurnListener, language: str | None) -> None:
        """`language`: BCP 47; None lets the recogniser decide."""
        assert tools.speech_model is not None
        self._tools = tools
        self._listener = listener
        self.language = language
        self._detector = SpeechDetector(tools.speech_model)
        # Sound that is not detected yet
        self._pieces: list[Sound] = []
        self._foreground = Foreground()
        self._ring = SoundRing(RING_SECONDS)
        judge = tools.turn_judge
        self._turns = Turns(judged=judge is not None)
        self._checks = TurnChecks(judge, self._on_judgement) if judge is not None else None
        self._turn: SpokenTurn | None = None
        self._previous: SpokenTurn | None = None
        self._tasks = TaskSet("program sound")

    def set_silence(self, seconds: float) -> None:
        """Set the silence that ends a turn."""
        self._turns.set_silence(seconds)

    async def add(self, sound: Sound, *, answering: bool) -> None:
        """Process the next piece, at most a second. `answering`: an answer is being spoken."""
        self._ring.add(sound)
        if self._turn is not None:
            self._turn.add(sound)
        self._pieces.append(sound)
        if sum(len(one.samples) for one in self._pieces) < _LEAST_SAMPLES:
            return
        samples = np.concatenate([one.samples for one in self._pieces])
        joined = Sound(samples, self._pieces[0].captured)
        self._pieces.clear()
        loop = asyncio.get_running_loop()
        chunks = await loop.run_in_executor(self._tools.pool, self._detector.feed, joined)
        for chunk in chunks:
            self._take(chunk, answering)

    def recognise(self, id: str, pieces: list[Sound]) -> None:
        """Recognise sound that a program has marked as a turn itself; the listener gets its words."""
        turn = SpokenTurn(pieces[0].captured)
        turn.id = id
        for piece in pieces:
            turn.add(piece)
        turn.finish()
        self._replace(turn)
        self._begin_words(turn)

    def clear(self) -> None:
        """Drop the current turn."""
        self._apply(self._turns.give_up())
        assert self._tools.speech_model is not None
        self._detector = SpeechDetector(self._tools.speech_model)
        self._pieces.clear()
        self._ring.clear()

    async def close(self) -> None:
        """Stop everything."""
        if self._checks is not None:
            self._checks.close()
        await self._tasks.close()

    def _take(self, chunk: Chunk, answering: bool) -> None:
        self._apply(self._turns.add(chunk, self._foreground.classify(chunk, answering=answering)))

    def _apply(self, events: list[TurnEvent]) -> None:
        for event in events:
            match event:
                case TurnBegan():
                    self._begin(event)
                case CheckDue() if self._checks is not None:
                    sound = self._ring.slice(event.until - SPECTROGRAM_SECONDS, event.until)
                    if sound is not None:
                        self._checks.ask(event.number, sound)
                case TurnEnded():
                    self._end(event.said, event)
                case TurnDropped():
                    self._end(self._ring.end, None)

    def _begin(self, began: TurnBegan) -> None:
        turn = self._turn = SpokenTurn(began.since)
        if (before := self._ring.slice(began.since, self._ring.end)) is not None:
            turn.add(before)
        self._listener.speech_started(turn.id, began.since)
        self._begin_words(turn)

    def _begin_words(self, turn: SpokenTurn) -> None:
        turn.task = self._tasks.spawn(self._recognise(turn), name="recognise")

    def _end(self, at: float, ended: TurnEnded | None) -> None:
        if self._checks is not None:
            self._checks.close()
        turn, self._turn = self._turn, None
        if turn is None:
            return
        self._listener.speech_stopped(turn.id, at, whole=ended is not None)
        if ended is None:
            turn.close()
            return
        turn.little = ended.little
        turn.finish()
        self._replace(turn)

    def _replace(self, turn: SpokenTurn) -> None:
        """Recognise this turn alone: the previous one gets no words if they are not known yet."""
        previous, self._previous = self._previous, turn
        if previous is not None:
            previous.close()
            self._listener.words(previous.id, "", final=True)

    def _on_judgement(self, number: int, complete: bool | None) -> bool:
        used, events = self._turns.apply_check_result(number, complete)
        self._apply(events)
        return used

    async def _recognise(self, turn: SpokenTurn) -> None:
        try:
            if not self._tools.recogniser.ready:
                raise SpeechUnavailable("No recogniser is available. Send text instead.")
            text = ""
            async with asyncio.timeout(MOST_TURN_SECONDS + WORDS_SECONDS):
                stream = self._tools.recogniser.recognise(
                    turn.stream_sound(), language=self.language
                )
                async with aclosing(stream) as words:
                    async for found in words:
                        text = found.text.strip()
                        if not found.final and text:
                            self._listener.words(turn.id, text, final=False)
                # A recogniser may finish before the turn ends.
                await turn.over.wait()
            if turn.little and is_invented(text):
                text = ""
            self._listener.words(turn.id, text, final=True)
        except TimeoutError:
            error = SpeechTimeout("The recogniser did not finish in time.")
            self._listener.recognition_failed(turn.id, error)
        except QwenCameraError as error:
            self._listener.recognition_failed(turn.id, error)
        finally:
            if self._previous is turn:
                self._previous = None
