"""Answers that are spoken: by the server's voice over the connection, or by the browser's own."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from playwright.async_api import expect

from server.core.sound import encode_wav
from server.features.voice_out.voices import VoiceService
from server.shared.sound.line import VoiceLine
from tests.browser.test_page_sound import session_of, until
from tests.browser.visitor import Visit, Visitor, started
from tests.support.clients import metric
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running, with_model
from tests.support.speech_server import SpeechServer
from tests.support.words import say

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

_TEXT = (
    "There is a red cup on the wooden table, right beside a small green plant. The cup is full of"
    " hot coffee. Behind it stands an old lamp with a yellow shade."
)
ANSWER = _TEXT.split(" ")

# Records the received sound in pieces of 10 ms, with the page's time of each; a busy page loses none.
_RECORD = """async () => {
  const track = window.__peers.at(-1).getReceivers().map((one) => one.track).find((one) => one.kind === "audio");
  const reader = new MediaStreamTrackProcessor({ track, maxBufferSize: 3000 }).readable.getReader();
  window.__heard = [];
  const record = async () => {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const samples = new Float32Array(value.numberOfFrames);
      value.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
      const whole = Int16Array.from(samples, (one) => 32767 * one);
      const text = btoa(String.fromCharCode(...new Uint8Array(whole.buffer)));
      window.__heard.push([performance.timeOrigin + performance.now(), value.sampleRate, text]);
      value.close();
    }
  };
  void record();
}"""

# Keeps the page's own loudspeakers, and says how the one that plays the connection's sound does it:
# an element of its own, whose output the browser takes out of the microphone's sound.
_SOUNDS = """() => {
  window.__sounds = [];
  const Real = window.Audio;
  window.Audio = class extends Real { constructor(...given) { super(...given); window.__sounds.push(this); } };
}"""
_PLAYED = """() => {
  const track = window.__peers.at(-1).getReceivers().map((one) => one.track).find((one) => one.kind === "audio");
  return window.__sounds
    .filter((one) => one.srcObject?.getTracks().includes(track))
    .map((one) => ({ playing: !one.paused && one.currentTime > 0, muted: one.muted, volume: one.volume }));
}"""

# The text that is marked as being spoken
_MARKED = (
    "() => [...(CSS.highlights.get('spoken') ?? [])].map((range) => range.toString()).join('')"
)

# A voice of the browser that speaks a character in 10 ms and writes down its texts.
_VOICE = """() => {
  window.__said = [];
  const waiting = [];
  let timer = 0, paused = false;
  class SpeechSynthesisUtterance { constructor(text) { this.text = text; } }
  const next = () => {
    if (timer || paused || waiting.length === 0) return;
    const one = waiting[0];
    window.__said.push(one.text);
    one.onstart?.();
    timer = setTimeout(() => { timer = 0; waiting.shift(); one.onend?.(); next(); }, one.text.length * 10);
  };
  const voice = {
    speak(one) { waiting.push(one); next(); },
    cancel() { clearTimeout(timer); timer = 0; waiting.length = 0; window.__said.push("(silent)"); },
    pause() { paused = true; },
    resume() { paused = false; next(); },
    get paused() { return paused; },
  };
  Object.defineProperty(window, "speechSynthesis", { value: voice });
  Object.defineProperty(window, "SpeechSynthesisUtterance", { value: SpeechSynthesisUtterance });
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def speech_server() -> AsyncIterator[SpeechServer]:
    async with SpeechServer() as one:
        yield one


@pytest_asyncio.fixture(loop_scope="session")
async def talking(model: FakeOpenAI, speech_server: SpeechServer) -> AsyncIterator[Running]:
    """A server with a voice, and a model that writes 12 words a second."""
    model.answer_for = lambda _body, _jpeg: [f"{word} " for word in ANSWER]
    model.between_tokens = 0.08
    async with with_model(model, speech_base_url=speech_server.base_url) as run:
        voice = run.program.added.provided[VoiceService].voice
        assert voice is not None
        await until(lambda: voice.ready)
        yield run


async def listening(visit: Visit, server: Running) -> Visitor:
    """A visitor who wants answers spoken."""
    visitor = await started(visit, server.base_url, scripts=[_SOUNDS])
    await visitor.press(say("chat.read_aloud"))
    session = session_of(server)
    await until(lambda: session.part("voice_out").wanted and VoiceLine.of(session.lines).connected)
    return visitor


async def recorded(visitor: Visitor) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return all sound since the recording began, the page's time of each 10 ms of it, and its rate."""
    pieces = await visitor.evaluate("window.__heard")
    sound = np.frombuffer(b"".join(base64.b64decode(piece[2]) for piece in pieces), "<i2") / 32_767
    return sound, np.array([piece[0] for piece in pieces]), pieces[0][1]


def smoothness(heard: NDArray[np.float64], rate: int) -> tuple[float, float, float]:
    """Return the seconds of a tone, its longest hole, and its sharpest bend in those of a tone of 300 Hz: a click has
    high frequencies.
    """
    loud = np.flatnonzero(np.abs(heard) > 0.05)
    # The browser's own buffer begins with a bend.
    sounding = heard[loud[0] + rate // 20 : loud[-1]]
    bends = np.abs(np.diff(sounding, 2)) * (rate / (2 * np.pi * 300)) ** 2
    return (
        len(sounding) / rate,
        float(np.diff(loud).max()) / rate,
        float(bends.max() / np.abs(sounding).max()),
    )


async def test_an_answer_is_heard_while_it_is_written(talking: Running, visit: Visit) -> None:
    """There is sound before the text ends, without a hole within a sentence or a click. One plain
    element plays it.
    """
    visitor = await listening(visit, talking)
    await visitor.evaluate(_RECORD)
    session = session_of(talking)
    sent = await visitor.send("What do you see?")
    await until(lambda: VoiceLine.of(session.lines).player.played > 0.5)
    assert session.part("voice_out").talking
    await visitor.comes(_MARKED, "There is a red cup on the wooden table,")
    played = await visitor.evaluate(_PLAYED)
    assert played == [{"playing": True, "muted": False, "volume": 1}]
    response = await visitor.response(sent["id"])
    ended = await visitor.now()
    assert response["text"].split() == ANSWER
    await until(lambda: not session.part("voice_out").talking, 30)
    await visitor.page.wait_for_timeout(300)
    heard, times, rate = await recorded(visitor)
    sounding = np.flatnonzero(np.abs(heard) > 0.02)
    first = times[sounding[0] * len(times) // len(heard)]
    print(
        f"\nfirst sound {first - sent['sent_at']:.0f} ms after the question,"
        f" {ended - first:.0f} ms before the text's end"
    )
    assert first < ended
    assert 5 < (sounding[-1] - sounding[0]) / rate < 20
    await visitor.comes(_MARKED, "")


async def test_a_model_that_speaks_is_heard_in_its_own_voice(visit: Visit) -> None:
    """Over the same connection, with its text on the page, and without any voice of the server's."""
    tone = (9000 * np.sin(2 * np.pi * 300 * np.arange(48_000) / 24_000)).astype(np.int16)
    parts = [encode_wav(part.tobytes(), 24_000) for part in np.split(tone, 8)]
    omni = FakeOpenAI(model="Qwen/Qwen3-Omni-30B-A3B-Instruct", between_tokens=0.05)
    omni.others = {"/openapi.json": {"paths": {"/v1/audio/speech": {}}}}
    omni.deltas = [{"content": "A red "}, {"content": "cup."}] + [
        {"content": base64.b64encode(part).decode(), "modality": "audio"} for part in parts
    ]
    async with omni, with_model(omni) as server:
        visitor = await listening(visit, server)
        await visitor.evaluate(_RECORD)
        # A browser on a busy machine stretches sound and makes holes, but not each time.
        for _ in range(3):
            await visitor.evaluate("window.__heard.length = 0")
            sent = await visitor.send("What do you see?")
            response = await visitor.response(sent["id"])
            assert response["text"] == "A red cup."
            assert response["speech"] == "model"
            await until(lambda: not session_of(server).part("voice_out").talking, 30)
            await visitor.page.wait_for_timeout(300)
            heard, _, rate = await recorded(visitor)
            seconds, hole, _ = smoothness(heard, rate)
            if hole < 0.06 and 1.7 < seconds < 2.2:
                break
        assert 1.7 < seconds < 2.2
        assert hole < 0.06
        await visitor.page.close()


async def test_the_browsers_own_voice_reads_piece_by_piece(
    visit: Visit, server: Running, model: FakeOpenAI
) -> None:
    """The browser reads when the server has no voice: while the answer is written; a tap stops it, and
    so does typing.
    """
    model.answer_for = lambda _body, _jpeg: [f"{word} " for word in ANSWER]
    model.between_tokens = 0.05
    visitor = await started(visit, server.base_url, scripts=[_VOICE])
    await visitor.press(say("chat.read_aloud"))
    session = session_of(server)
    await until(lambda: session.part("voice_out").wanted)
    sent = await visitor.send("What do you see?")
    # At each frame: it is marked for 0.4 s.
    await visitor.page.wait_for_function(
        f"""first => window.__said.length === 1 && window.__said[0] === first && ({_MARKED})() === first
          && !window.__log.some(({{ message }}) => message.type === "response")""",
        arg="There is a red cup on the wooden table,",
    )
    await visitor.response(sent["id"])
    await until(lambda: not session.part("voice_out").talking)
    await visitor.page.wait_for_function("() => window.__said.length >= 4")
    assert await visitor.evaluate("window.__said") == [
        "There is a red cup on the wooden table,",
        "right beside a small green plant.",
        "The cup is full of hot coffee.",
        "Behind it stands an old lamp with a yellow shade.",
    ]
    await expect(visitor.button(say("chat.stop"))).to_be_hidden()
    await visitor.send("And now?")
    await visitor.page.wait_for_function("() => window.__said.length > 4")
    await visitor.button(say("chat.stop")).click()
    await visitor.page.wait_for_function("() => window.__said.at(-1) === '(silent)'")
    await until(lambda: not session.part("voice_out").talking)
    await visitor.send("And behind it?")
    await until(lambda: session.part("voice_out").audible)
    typed = metric(server, "speech_stopped_total", reason="typing")
    # The page tells of keys every 700 ms.
    async with asyncio.timeout(10):
        while session.part("voice_out").talking:
            await visitor.box.press("a")
    await visitor.page.wait_for_function("() => window.__said.at(-1) === '(silent)'")
    assert metric(server, "speech_stopped_total", reason="typing") == typed + 1
