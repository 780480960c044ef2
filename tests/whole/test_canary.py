"""Secrets and what people say stay where they belong: a canary in each, sought everywhere else."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from jose import jwt
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.http_json import Reply, request
from server.core.redact import hash_session_id
from tests.support import fakes_openai
from tests.support.fakes_openai import Behaviour, FakeOpenAI
from tests.support.fakes_rtc import live_encoder
from tests.support.fakes_server import ServerProcess

pytestmark = pytest.mark.slow

# One word in each secret and each thing said, so that a find tells where it came from.
WORDS = {
    "ACCESS_CODE": "canaryaccess-Zq81",
    "JWT_SECRET_KEY": "canaryjwtkey-Zq82-4f0a9c1e7b3d5f2a8c6e0b1d3f5a7c9e",
    "VLLM_API_KEY": "canaryapikey-Zq83",
    "METRICS_TOKEN": "canarymetrics-Zq84",
    "OPERATOR_TOKEN": "canaryoperator-Zq85-long-enough",
    "TURN_SECRET": "canaryturn-Zq86",
}
QUESTION = "canaryquestion-Zq87"
ANSWER = "canaryanswer-Zq88"
ENGINE = "canaryengine-Zq89"
UFRAG = "canaryufragZq90"
CLIENT = "canaryclient-Zq91"
ALL = "canary"


class Ears:
    """Everything that one client got, and what the operator can see."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.closes: list[str] = []

    async def call(self, method: str, url: str, body: Any = None, **more: Any) -> Reply:
        reply = await request(method, url, body, **more)
        self.replies.append(reply)
        return reply

    async def socket(
        self, url: str, *, subprotocols: list[str], send: list[str] | None = None
    ) -> None:
        """Open a socket, say something, and hear how it is closed."""
        async with connect(url, subprotocols=subprotocols, proxy=None) as socket:  # type: ignore[arg-type]
            for text in send or []:
                await socket.send(text)
            try:
                async with asyncio.timeout(8):
                    while True:
                        self.closes.append(str(await socket.recv()))
            except (ConnectionClosed, TimeoutError):
                self.closes.append(str(socket.close_reason))

    @property
    def text(self) -> str:
        heard = [repr((reply.status, reply.headers, reply.body)) for reply in self.replies]
        return "\n".join(heard + self.closes)


@asynccontextmanager
async def scene() -> AsyncIterator[tuple[ServerProcess, FakeOpenAI, CameraPeer]]:
    """A server full of canaries, its engine, and a visitor with a camera who asks with one."""
    async with (
        FakeOpenAI(
            api_key=WORDS["VLLM_API_KEY"],
            answer_for=lambda body, jpeg: [f"{ANSWER} ", "is ", "the ", "answer."],
        ) as fake,
        live_encoder() as encoder,
        ServerProcess(
            {
                **WORDS,
                "ENGINE": "vllm",
                "VLLM_BASE_URL": fake.base_url,
                "TURN_URLS": "turn:192.0.2.9:3478",
                "LOG_LEVEL": "debug",
                "ALLOWED_ORIGINS": "https://cam.example",
            }
        ) as server,
    ):
        peer = CameraPeer(server.url, encoder, access_code=WORDS["ACCESS_CODE"])
        try:
            async with peer:
                await peer.wait_live()
                yield server, fake, peer
        finally:
            await peer.close()


async def test_no_secret_is_found_where_it_does_not_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a session in which everything goes wrong once, at the most talkative log level."""
    error = fakes_openai._error

    def telling_error(message: str, code: int) -> dict[str, Any]:
        """An engine that repeats what it was asked, and its key, in what it complains of."""
        return error(f"{message} {ENGINE} {QUESTION} {WORDS['VLLM_API_KEY']}", code)

    monkeypatch.setattr(fakes_openai, "_error", telling_error)
    ears = Ears()
    async with scene() as (server, fake, peer):
        first = await peer.ask(f"{QUESTION}: what is it?", timeout=20)
        assert first.response is not None, first.error
        assert ANSWER in first.text
        await provoke_client_errors(server, peer, ears)
        await provoke_engine_errors(server, fake, peer, ears)
        program = await program_asks(server, fake, peer, ears)
        await watch(peer)
        await operate(server, peer, ears)
        other = CameraPeer(server.url, peer.encoder, access_code=WORDS["ACCESS_CODE"])
        async with other:
            await other.ask("And what do you see?", sent_at=False, timeout=20)
            for path in ("/", "/health", "/health/ready", "/health/live", "/metrics"):
                await ears.call("GET", server.url + path)
            metrics = await ears.call("GET", f"{server.url}/metrics", token=WORDS["METRICS_TOKEN"])
            assert metrics.status == 200
            heard = json.dumps([arrived.message for arrived in other.messages])
        # Messages to the asking visitor, except for the answers to that visitor's own questions,
        # and the lists of that visitor's own watches and of what programs saw.
        told = json.dumps(
            [
                arrived.message
                for arrived in peer.messages
                if arrived.message["type"] not in ("delta", "response", "watches", "look")
            ]
        )
        tokens = [peer.token, other.token]
        sessions = [peer.session_id, other.session_id]
        assert await server.stop() == 0
    log = server.text
    assert log.count("\n") > 20
    places = {"log": log, "replies": ears.text, "messages": told}
    for place, text in places.items():
        assert ALL not in text.lower(), (place, around(text))
        assert program.partition(".")[2] not in text, place
        for token in tokens:
            assert token not in text, place
            assert token.split(".")[2] not in text, place
    for name in (*WORDS.values(), QUESTION, ENGINE, UFRAG, CLIENT):
        assert name not in heard
    for session in sessions:
        assert session not in log
        assert session not in ears.text
    for secret in WORDS.values():
        assert base64.b64encode(secret.encode()).decode().rstrip("=") not in log


def around(text: str) -> str:
    at = text.lower().find(ALL)
    return text[max(0, at - 200) : at + 100]


async def program_asks(
    server: ServerProcess, fake: FakeOpenAI, peer: CameraPeer, ears: Ears
) -> str:
    """A program asks in OpenAI's form, rightly and wrongly, with a canary each time; return its token."""
    grant = {"name": "Program", "scopes": ["look"]}
    made = await request("POST", f"{server.url}/api/grants", grant, token=peer.token)
    assert made.status == 201
    token = str(made.parse_json()["token"])
    address = f"{server.url}/v1/chat/completions"
    good = {"model": "camera", "messages": [{"role": "user", "content": QUESTION}]}
    answer = await request("POST", address, good, token=token)
    assert answer.status == 200
    assert ANSWER.encode() in answer.body
    picture = {"type": "image_url", "image_url": {"url": f"https://{CLIENT}.example/x.jpg"}}
    unknown = await request("POST", address, good | {CLIENT: 1}, token=token)
    assert unknown.status == 200
    for wrong in (
        {"model": CLIENT},
        {"messages": [{"role": CLIENT, "content": QUESTION}]},
        {"messages": [{"role": "user", "content": [picture]}]},
        {"tool_choice": {"type": "function", "function": {"name": CLIENT}}},
        {"stop": {CLIENT: QUESTION}},
    ):
        refused = await ears.call("POST", address, good | wrong, token=token)
        assert 400 <= refused.status < 500
    assert (await ears.call("POST", address, good, token=f"qcam_{CLIENT}")).status == 401
    fake.behaviour = Behaviour.BAD_REQUEST
    assert (await ears.call("POST", address, good, token=token)).status == 503
    fake.behaviour = Behaviour.NORMAL
    return token


async def provoke_client_errors(server: ServerProcess, peer: CameraPeer, ears: Ears) -> None:
    """Bad tokens, codes, offers, bodies, messages, sockets; each with a canary in it."""
    url = server.url
    claims = {"sid": peer.session_id, "jti": CLIENT, "iat": int(time.time())}
    forged = jwt.encode(claims | {"exp": int(time.time()) + 60}, CLIENT * 4, algorithm="HS256")
    expired = jwt.encode(
        claims | {"exp": int(time.time()) - 60}, WORDS["JWT_SECRET_KEY"], algorithm="HS256"
    )
    for code in (CLIENT, "", None, 5, WORDS["ACCESS_CODE"] + "x"):
        await ears.call("POST", f"{url}/api/token", {"access_code": code})
    await ears.call("POST", f"{url}/api/token", {"pairing_code": CLIENT})
    for token in (forged, expired, CLIENT, f"{peer.token}x"):
        await ears.call(
            "POST", f"{url}/api/webrtc/offer", {"sdp": "v=0", "type": "offer"}, token=token
        )
        await ears.call("PATCH", f"{url}/api/webrtc/offer", {"candidates": []}, token=token)
        await ears.call("GET", f"{url}/metrics", token=token)
        await ears.call("GET", f"{url}/health?token={token}", token=token)
    sdp = f"v=0\r\na=ice-ufrag:{UFRAG}\r\na=fingerprint:x\r\nm=video 9 {CLIENT} 96\r\na=sendonly\r\na=rtpmap:96 VP8/90000\r\na=ice-pwd:{CLIENT}\r\n"
    for bad in (sdp, CLIENT, f"v=0\r\nm={CLIENT} 1 x 1\r\n"):
        await ears.call(
            "POST", f"{url}/api/webrtc/offer", {"sdp": bad, "type": "offer"}, token=peer.token
        )
    await ears.call(
        "POST", f"{url}/api/webrtc/offer", {"sdp": sdp, "type": CLIENT}, token=peer.token
    )
    await ears.call(
        "PATCH",
        f"{url}/api/webrtc/offer",
        {"candidates": [{"candidate": f"candidate:{CLIENT}"}]},
        token=peer.token,
    )
    await ears.call("POST", f"{url}/upload/{CLIENT}.jpg", {"name": CLIENT})
    await ears.call("GET", f"{url}/client/{CLIENT}")
    await ears.call("POST", f"{url}/api/token", {}, headers={"Origin": f"https://{CLIENT}.example"})
    ws = url.replace("http", "ws", 1) + f"/ws/{peer.session_id}"
    await ears.socket(ws, subprotocols=["qwen-camera", f"bearer.{forged}"])
    await ears.socket(f"{ws}?token={expired}", subprotocols=["qwen-camera"])
    await ears.socket(
        ws, subprotocols=["qwen-camera"], send=[json.dumps({"type": "auth", "token": CLIENT})]
    )
    for message in (
        {"type": CLIENT},
        {"type": "chat", "content": 5, "id": CLIENT},
        {"type": "chat", "content": QUESTION + "x" * 4000},
        {"type": "settings", "language": CLIENT + "!"},
        {"type": "settings", "sample_rate": CLIENT},
    ):
        since = peer.seen
        await peer.send(message)
        await peer.wait_for(lambda m: m["type"] == "error", since=since)


async def watch(peer: CameraPeer) -> None:
    """A watch whose condition is a canary: the engine is asked about it, and answers with another."""
    since = peer.seen
    await peer.send({"type": "watch", "id": "w", "condition": QUESTION})
    listed = await peer.wait_for(lambda m: m["type"] == "watches", since=since)
    assert listed.message["watches"][0]["condition"] == QUESTION


async def operate(server: ServerProcess, peer: CameraPeer, ears: Ears) -> None:
    """The operator's doors, with a wrong and the right token; a choice with a URL's password."""
    url, right = f"{server.url}/api/engine", WORDS["OPERATOR_TOKEN"]
    async with asyncio.timeout(20):
        # The watch's first request may still be on its way.
        while True:
            people = await ears.call("GET", f"{server.url}/api/operator/sessions", token=right)
            [seen] = json.loads(people.body)["sessions"]
            if seen["background"]:
                break
            await asyncio.sleep(0.25)
    assert seen["name"] == hash_session_id(peer.session_id)
    # Its costs, and nothing of its content
    assert seen["questions"] > 0
    assert seen["visual_tokens"] > 0
    for token in (CLIENT, peer.token, right):
        await ears.call("GET", url, token=token)
        choice = {"mode": "remote", "url": f"http://user:{CLIENT}@192.0.2.1/v1"}
        refused = await ears.call("POST", f"{url}/start", choice, token=token)
        assert refused.status == (400 if token == right else 401)
    since = peer.seen
    await peer.send({"type": "operator", "token": CLIENT})
    await peer.wait_for(lambda m: m["type"] == "error", since=since)
    await peer.send({"type": "operator", "token": right})
    await peer.wait_for(lambda m: m["type"] == "engine", since=since)


async def provoke_engine_errors(
    server: ServerProcess, fake: FakeOpenAI, peer: CameraPeer, ears: Ears
) -> None:
    """The engine fails in each of its ways, with the question and the canary in what it says."""
    failures = (
        *(Behaviour.DIES, Behaviour.ENDS_EARLY, Behaviour.ERROR_EVENT, Behaviour.ERROR_LATER),
        *(Behaviour.GARBAGE, Behaviour.HTML, Behaviour.STRANGE_JSON, Behaviour.BUSY),
        *(Behaviour.BAD_REQUEST, Behaviour.INTERNAL, Behaviour.CONTEXT_LENGTH),
    )
    errors = 0
    for behaviour in failures:
        fake.behaviour = behaviour
        answer = await peer.ask(f"{QUESTION} once more", timeout=20)
        errors += answer.error is not None
        if answer.error is not None:
            assert QUESTION not in json.dumps(answer.error)
        await ears.call("GET", f"{server.url}/health")
        fake.behaviour = Behaviour.NORMAL
    assert errors >= len(failures) - 2


def test_the_words_are_all_different() -> None:
    """A find names its source."""
    words = [*WORDS.values(), QUESTION, ANSWER, ENGINE, UFRAG, CLIENT]
    assert len(set(words)) == len(words)
    assert all(word.startswith(ALL) for word in words)
