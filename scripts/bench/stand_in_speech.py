"""A stand-in for a model server, a recogniser and a voice, all of which answer at once.

Beside the chat of stand_in_model.py: `POST /v1/audio/transcriptions` gives the same words with a
number, and `POST /v1/audio/speech` a tone of as many seconds as the text would take, as PCM. Each
request is kept with its times: GET /speech-records.

    python -m scripts.bench.stand_in_speech --port 8001
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from scripts.bench.stand_in_model import (
    RECORDS_KEPT,
    Asked,
    Record,
    StandInModel,
    serve_until_closed,
    write_json,
    write_records,
)
from server.core import core_dumps

PROGRAM = "scripts.bench.stand_in_speech"
RATE = 24_000
# Seconds of a spoken character, and its loudness of 32,767
_CHARACTER = 0.06
_LOUDNESS = 9000
# A question with this word gets an answer of minutes.
AT_LENGTH = "at length"
_PIECES, _MANY_PIECES = 8, 600
# Samples of a chunk
_CHUNK = RATE // 10


@dataclass(slots=True)
class SpeechRecord:
    """One request for words or for sound. Times are seconds since the epoch."""

    number: int
    # words | sound
    kind: str
    # Arrival of the request's last byte
    arrived: float
    # The words returned, or the text to speak
    text: str
    # Time at which the first of the answer was written to the socket
    first: float


class StandInSpeech(StandInModel):
    """The server; see `StandInModel`."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.speech: deque[SpeechRecord] = deque(maxlen=RECORDS_KEPT)
        self._spoken = 0

    async def _answer(self, asked: Asked) -> bool:
        url, writer = urlsplit(asked.target), asked.writer
        match asked.method, url.path:
            case "POST", "/v1/audio/transcriptions":
                record = self._record("words", f"What is this, number {self._spoken}?")
                write_json(writer, 200, {"text": record.text})
            case "POST", "/v1/audio/speech":
                record = self._record("sound", str(json.loads(asked.body).get("input", "")))
                await self._speak(record, writer)
            case "GET", "/speech-records":
                write_records(writer, self.speech, url.query)
            case _:
                return await super()._answer(asked)
        await writer.drain()
        return True

    async def _stream(
        self, record: Record, request: dict[str, Any], writer: asyncio.StreamWriter
    ) -> None:
        # It is read before anything is waited for.
        self.pieces = _MANY_PIECES if AT_LENGTH in record.question else _PIECES
        await super()._stream(record, request, writer)

    def _record(self, kind: str, text: str) -> SpeechRecord:
        now = time.time()
        record = SpeechRecord(self._spoken, kind, now, text, now)
        self._spoken += 1
        self.speech.append(record)
        return record

    async def _speak(self, record: SpeechRecord, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\n"
            b"content-type: audio/pcm;rate=%d\r\ntransfer-encoding: chunked\r\n\r\n" % RATE
        )
        sound = tone(len(record.text) * _CHARACTER)
        record.first = time.time()
        for begin in range(0, len(sound), _CHUNK):
            part = sound[begin : begin + _CHUNK].tobytes()
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
        writer.write(b"0\r\n\r\n")


def tone(seconds: float) -> NDArray[np.int16]:
    """Return a tone of this length, `RATE`."""
    times = np.arange(round(seconds * RATE)) / RATE
    return (_LOUDNESS * np.sin(2 * np.pi * 660 * times)).astype(np.int16)


if __name__ == "__main__":
    core_dumps.forbid()
    asyncio.run(serve_until_closed(StandInSpeech, __doc__ or ""))
