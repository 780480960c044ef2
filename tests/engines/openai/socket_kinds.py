"""The two kinds of sockets that answer questions, and questions for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from server.core.sound import SOUND_RATE, Sound, SoundUse
from server.engines import recollection
from server.engines.base import EarlierPicture, EngineRequest
from server.engines.conversation import Conversation, Message, Shown, Speaker, Words
from server.engines.openai.chat_client import TimeLimits
from server.engines.openai.engine import OpenAIEngine
from tests.engines.openai.test_engine import picture, request
from tests.support.omni_duplex_server import STARTED, OmniDuplexServer, done
from tests.support.omni_socket import Answer
from tests.support.omni_video_server import OmniVideoServer

OmniKind = OmniVideoServer | OmniDuplexServer

# Of a server that is slow by itself, on a busy machine
PATIENT = TimeLimits(first_token=30.0, between_tokens=20.0, total=60.0)
TALK = Conversation((Message(Speaker.USER, (Words("What?"), Shown(0))),))
SOUND = Sound(np.arange(-32_000, 32_000).astype(np.int16), 0.0)
# Nine seconds: three messages, the middle one of silence
PAUSES = Sound(
    np.concatenate(
        [
            np.full(4 * SOUND_RATE, 9000, np.int16),
            np.zeros(4 * SOUND_RATE, np.int16),
            np.full(SOUND_RATE, -9000, np.int16),
        ]
    ),
    0.0,
)


def past(count: int) -> tuple[EarlierPicture, ...]:
    """Pictures of the past, each with bytes of its own."""
    captions = recollection.captions([(10.0 * n, 10.0 * n) for n in range(count, 0, -1)])
    return tuple(
        EarlierPicture(picture(b"\xff\xd8 %d \xff\xd9" % number), caption, number)
        for number, caption in enumerate(captions, 1)
    )


def asked(**changes: Any) -> EngineRequest:
    """A question for the socket for video."""
    whole = {"question": "What fell down?", "earlier": past(3), "sound": SOUND}
    return request(**{**whole, "sound_use": SoundUse.HEARD, **changes})


def spoken(**changes: Any) -> EngineRequest:
    """A question for the duplex interface."""
    whole = {"question": "", "sound": PAUSES, "sound_is_question": True, "speak": True}
    return request(**{**whole, "sound_use": SoundUse.HEARD, **changes})


@dataclass(frozen=True, slots=True)
class SocketKind:
    """One kind of socket: its server, its settings of the engine, and its messages."""

    server: type[OmniKind]
    path: str
    # The engine's settings: the socket is wanted; a call for each question
    wanted: str
    on_result: str
    # A question that goes there
    ask: Callable[..., EngineRequest]
    # Messages of the server: the beginning of an answer, a piece of it, all of it at once with the
    # end, and a failure
    started: Answer
    piece: Answer
    at_once: tuple[Answer, ...]
    error: Answer
    # What else breaks an answer
    breaks: tuple[Answer, ...]
    # Messages of the client: a question's last one, and the one before it leaves
    question: str
    farewell: str


VIDEO = SocketKind(
    server=OmniVideoServer,
    path=OmniVideoServer.socket,
    wanted="video_socket",
    on_result="on_streamed",
    ask=asked,
    started={"type": "response.start"},
    piece={"type": "response.text.delta", "delta": "A red "},
    at_once=({"type": "response.text.done", "text": "A red cup."},),
    error={"type": "error", "message": "secret words"},
    breaks=(),
    question="video.query",
    # It says nothing more.
    farewell="video.query",
)
DUPLEX = SocketKind(
    server=OmniDuplexServer,
    path=OmniDuplexServer.socket,
    wanted="duplex_socket",
    on_result="on_duplex",
    ask=spoken,
    started=STARTED,
    piece={"type": "response.output_audio_transcript.delta", "delta": "A red "},
    at_once=(
        {"type": "response.output_audio_transcript.done", "transcript": "A red cup."},
        done("completed"),
    ),
    error={"type": "error", "error": {"message": "secret words"}},
    breaks=(b"\x00", done("failed"), {"type": "session.closed"}),
    question="response.create",
    farewell="session.close",
)


class Engine(OpenAIEngine):
    """One whose results are counted: whether the socket answered each question."""

    results: list[bool]


async def engine_of(kind: SocketKind, server: OmniKind, **changes: Any) -> Engine:
    """Make an engine that wants the socket and knows the server."""
    results: list[bool] = []
    settings = {kind.wanted: True, kind.on_result: results.append, "limits": PATIENT, **changes}
    one = Engine(name="vllm", base_url=server.base_url, **settings)
    one.results = results
    await one.probe()
    # It has spoken before: an answer of the chat interface without sound teaches nothing.
    one._server.speech_out.spoke()
    return one
