"""The sound of a client, as events or from a call's microphone: turns by speech detection or by the client, and their words."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from typing import Any, Protocol

import numpy as np

from server.core.aio import Bucket, Timer, cancel_and_wait
from server.core.errors import Conflict, QwenCameraError, RateLimited
from server.core.sound import SOUND_RATE, USUAL_RATE, Sound
from server.features.grants.grants import Scope
from server.features.grants.guard import ProgramAccess
from server.features.openai_api.errors import FieldRefused, make_error_body
from server.features.realtime.config import Config
from server.features.realtime.conversation import KeptItem, new_id
from server.features.realtime.events import SendEvent
from server.features.realtime.speech import Speech
from server.shared.services import Recogniser, SoundTurns
from server.shared.sound.line import VoiceLine
from server.shared.sound.rates import RateConverter

# Seconds of sound a second, and at once; a program may send a recording faster than it was spoken
FLOW_RATE, FLOW_BURST = 2.0, 60.0
# Least and most seconds of a turn that the client marks
LEAST_SECONDS, MOST_SECONDS = 0.1, 60.0
# Pieces of a microphone's sound, 20 to 120 ms each, that wait for the detector
MOST_PIECES = 100
# Seconds after the last sound until the page no longer shows that the program listens
SILENT_SECONDS = 2.0


class TurnHost(Protocol):
    """The connection that the turns belong to."""

    access: ProgramAccess
    send: SendEvent
    config: Config
    speech: Speech

    def add(self, item: KeptItem) -> str | None:
        """Add an item to the conversation. Return the id of the one before it."""

    def on_speech(self) -> None:
        """Handle the beginning of speech."""

    def on_turn(self) -> None:
        """Handle a turn whose words are known."""


class Hearing:
    """The turns of one client. All methods run on the event loop.

    Bounds of a client's sound: 2 s a second and 60 s at once; 60 s wait for `input_audio_buffer.commit`. More is refused,
    or dropped if it comes from a call's microphone, of which 100 pieces wait for the detector.
    """

    def __init__(self, host: TurnHost, recogniser: Recogniser | None) -> None:
        self._host = host
        self._access, self._send = host.access, host.send
        self._recogniser = recogniser
        self._rate = Bucket(FLOW_RATE, FLOW_BURST, time.monotonic())
        self._reader: SoundReader | None = None
        # Time of the first sound, monotonic seconds
        self._began = 0.0
        self._turns: SoundTurns | None = None
        # Sound that waits for a commit
        self._waiting: list[Sound] = []
        # Items by turn, until their words are known
        self._items: dict[str, KeptItem] = {}
        # Runs while the page shows that the program listens
        self._listening = Timer()
        # Takes the sound of a microphone; None without one
        self._following: asyncio.Task[None] | None = None

    @property
    def available(self) -> bool:
        """True if the access allows sound, and there may be a recogniser."""
        return Scope.LISTEN in self._access.grant.scopes and self._recogniser is not None

    async def append(self, audio: str) -> None:
        """Take the next piece of sound.

        Raise QwenCameraError if sound is not allowed or not possible, or if there is too much.
        """
        if self._following is not None:
            raise FieldRefused("The sound of a call comes from its microphone. Do not send it.")
        self._open()
        if self._reader is None:
            self._reader = SoundReader(time.monotonic())
        if not self._rate.ready(time.monotonic()):
            raise RateLimited(
                f"This sound was ignored: more than {FLOW_RATE:g} s of sound a second (limit). Send it as it is spoken.",
                retry_after=1,
            )
        sound = self._reader.read(audio)
        self._rate.spend(sound.seconds)
        if not await self._take(sound):
            raise Conflict(
                f"The buffer has {MOST_SECONDS:.0f} s of sound (limit). Send input_audio_buffer.commit or clear first."
            )

    def follow(self, line: VoiceLine) -> None:
        """Take the sound of a call's microphone from now on."""
        pieces = asyncio.Queue[Sound]()

        def put(sound: Sound) -> None:
            if pieces.qsize() < MOST_PIECES:
                pieces.put_nowait(sound)

        line.on_sound.append(put)
        self._following = asyncio.create_task(self._follow(pieces), name="realtime/microphone")

    async def _follow(self, pieces: asyncio.Queue[Sound]) -> None:
        said = ""
        while True:
            sound = await pieces.get()
            try:
                self._open()
                await self._take(sound)
            except QwenCameraError as error:
                # Once, since each piece has it.
                if error.message != said:
                    said = error.message
                    self._send("error", error=make_error_body(error)["error"] | {"event_id": None})

    async def _take(self, sound: Sound) -> bool:
        """Take a piece. Return False if it was dropped, because the client does not end its turn."""
        assert self._turns is not None
        if not self._listening:
            self._access.programs.count_listening(self._access.grant, 1)
        self._listening.set(SILENT_SECONDS, self._stop_listening)
        self._began = self._began or sound.captured
        if self._host.config.turn_detection is not None:
            await self._turns.add(sound, answering=self._host.speech.talking)
        elif sum(one.seconds for one in self._waiting) + sound.seconds > MOST_SECONDS:
            return False
        else:
            self._waiting.append(sound)
        return True

    def commit(self) -> None:
        """End a turn that the client marks itself, and recognise it. Raise FieldRefused for too little sound."""
        pieces, self._waiting = self._waiting, []
        if self._turns is None or sum(one.seconds for one in pieces) < LEAST_SECONDS:
            raise FieldRefused(
                f"The buffer has less than {LEAST_SECONDS:g} s of sound. With turn detection the server commits itself.",
                known_as="input_audio_buffer_commit_empty",
            )
        id = new_id("turn")
        self._commit(id)
        self._turns.recognise(id, pieces)

    def clear(self) -> None:
        """Drop the sound of the current turn."""
        self._waiting.clear()
        if self._turns is not None:
            self._turns.clear()
        self._send("input_audio_buffer.cleared")

    def _stop_listening(self) -> None:
        self._listening.cancel()
        self._access.programs.count_listening(self._access.grant, -1)

    async def close(self) -> None:
        """Stop everything."""
        self._waiting.clear()
        if self._listening:
            self._stop_listening()
        if self._following is not None:
            await cancel_and_wait((self._following,))
        if self._turns is not None:
            await self._turns.close()

    def _open(self) -> None:
        """Prepare the detector of turns. Raise QwenCameraError if sound is not allowed or not possible."""
        self._access.programs.grants.allow(self._access.grant, Scope.LISTEN, time.monotonic())
        if self._turns is None:
            found = self._recogniser.listen(self) if self._recogniser is not None else None
            if found is None:
                raise Conflict("This server recognises no speech now. Send text instead.")
            self._turns = found
        assert self._recogniser is not None
        consent = self._access.session.requests.consent
        if not consent.allows(self._recogniser.elsewhere, "voice_in"):
            raise Conflict(
                "The person has not agreed that speech goes to the recogniser's machine. Ask them to turn on Talk once."
            )
        config = self._host.config
        detection, transcription = config.turn_detection, config.transcription
        self._turns.language = transcription.language if transcription is not None else None
        if detection is not None and detection.silence_duration_ms is not None:
            self._turns.set_silence(detection.silence_duration_ms / 1000)

    # Turns: see `TurnListener`

    def speech_started(self, id: str, at: float) -> None:
        """Announce a turn, which may stop an answer."""
        start = self._get_milliseconds(at)
        self._send("input_audio_buffer.speech_started", audio_start_ms=start, item_id=f"item_{id}")
        self._host.on_speech()

    def speech_stopped(self, id: str, at: float, *, whole: bool) -> None:
        """Announce the end of speech; add the turn to the conversation if it is `whole`."""
        end = self._get_milliseconds(at)
        self._send("input_audio_buffer.speech_stopped", audio_end_ms=end, item_id=f"item_{id}")
        if whole:
            self._commit(id)

    def _get_milliseconds(self, at: float) -> int:
        """Return a time (monotonic seconds) as milliseconds from the first sound."""
        return max(0, round((at - self._began) * 1000))

    def _commit(self, id: str) -> None:
        part: dict[str, Any] = {"type": "input_audio", "transcript": None}
        item = KeptItem({"type": "message", "role": "user", "content": [part]}, f"item_{id}")
        self._items[id] = item
        before = self._host.add(item)
        self._send("input_audio_buffer.committed", item_id=item.id, previous_item_id=before)

    def words(self, id: str, text: str, *, final: bool) -> None:
        """Store the words of a turn, and ask."""
        item = self._items.get(id)
        if item is None or not final:
            return
        del self._items[id]
        item.body["content"][0]["transcript"] = text
        about: dict[str, Any] = {"item_id": item.id, "content_index": 0}
        name = "conversation.item.input_audio_transcription"
        if text:
            self._send(f"{name}.delta", **about, delta=text)
        usage = {"type": "duration", "seconds": 0}
        self._send(f"{name}.completed", **about, transcript=text, usage=usage)
        if text:
            self._host.on_turn()

    def recognition_failed(self, id: str, error: QwenCameraError) -> None:
        """Announce that a turn has no words."""
        item = self._items.pop(id, None)
        if item is not None:
            said = make_error_body(error)["error"]
            self._send(
                "conversation.item.input_audio_transcription.failed",
                item_id=item.id,
                content_index=0,
                error={name: said[name] for name in ("type", "code", "message", "param")},
            )


class SoundReader:
    """Converts a client's sound, which follows without gaps, to the server's. Times are by its length."""

    def __init__(self, began: float) -> None:
        """`began`: time of the first sample, monotonic seconds."""
        self._began = began
        self._converter = RateConverter(SOUND_RATE)
        self._count = 0

    def read(self, audio: str) -> Sound:
        """Return the next piece. Raise FieldRefused if it is not base64 of whole samples."""
        try:
            raw = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError):
            raw = b"?"
        if len(raw) % 2:
            raise FieldRefused(
                '"audio" is not sound. Send PCM of 16 bits, mono, 24 kHz, in base64.',
                "audio",
                "invalid_value",
            )
        samples = self._converter.convert(np.frombuffer(raw, "<i2").astype(np.int16), USUAL_RATE)
        sound = Sound(samples, self._began + self._count / SOUND_RATE)
        self._count += len(samples)
        return sound
