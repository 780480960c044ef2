"""Firefox through the page: from Start Camera to a streamed answer, and an offer of mDNS names
alone, in its colours.
"""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import time
from collections.abc import AsyncIterator

import av
import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from server.core.sound import Sound, encode_wav
from server.features.voice_in.service import ListeningService
from server.shared.sound.line import VoiceLine
from tests.browser.firefox import Firefox, firefox, firefox_command
from tests.support.clients import soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_words import FakeWords
from tests.support.running import Running, running, with_model
from tests.support.words import say

COMMAND = firefox_command()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        COMMAND is None, reason="Firefox is not installed (scripts/test.sh installs it)."
    ),
]

STATE = 'return document.querySelector("#state-label").textContent === arguments[0]'
# Offers of a page without camera permission, whose addresses are mDNS names.
OFFER = """
const done = arguments[arguments.length - 1];
(async () => {
  const canvas = document.createElement("canvas");
  canvas.width = 640;
  canvas.height = 360;
  const context = canvas.getContext("2d");
  setInterval(() => {
    context.fillStyle = `hsl(${Date.now() / 20 % 360}, 80%, 50%)`;
    context.fillRect(0, 0, 640, 360);
    context.fillStyle = "rgb(210, 30, 30)";
    context.fillRect(0, 0, 320, 360);
  }, 50);
  const peer = window.peer = new RTCPeerConnection();
  peer.addTrack(canvas.captureStream(15).getVideoTracks()[0]);
  await peer.setLocalDescription();
  await new Promise((resolve) => {
    if (peer.iceGatheringState === "complete") resolve();
    else peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && resolve();
  });
  const { sdp } = peer.localDescription;
  const reply = await fetch("/api/webrtc/offer", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ type: "offer", sdp }),
  });
  const answer = await reply.json();
  await peer.setRemoteDescription({ type: "answer", sdp: answer.sdp });
  const asked = performance.now();
  while (peer.connectionState !== "connected" && performance.now() - asked < 10000)
    await new Promise((resolve) => setTimeout(resolve, 20));
  return { sdp, state: peer.connectionState, session: answer.session_id };
})().then(done, (error) => done({ state: String(error) }));
"""


ASK = """
const box = document.querySelector("#question");
box.value = arguments[0];
box.dispatchEvent(new Event("input", { bubbles: true }));
box.form.requestSubmit();
"""
# Keeps every connection of the page, from now on.
PEERS = """
const Real = window.RTCPeerConnection;
window.__peers = [];
window.RTCPeerConnection = class extends Real {
  constructor(...given) { super(...given); window.__peers.push(this); }
};
"""
# Records the received sound: Firefox has no MediaStreamTrackProcessor in a page, and runs no
# AudioContext where there is no device for sound.
RECORD = """
const track = window.__peers.at(-1).getReceivers().map((one) => one.track).find((one) => one.kind === "audio");
const recorder = window.__recorder = new MediaRecorder(new MediaStream([track]), { audioBitsPerSecond: 64000 });
window.__parts = [];
recorder.ondataavailable = ({ data }) => window.__parts.push(data);
recorder.start();
return recorder.state;
"""
RECORDED = """
const done = arguments[arguments.length - 1];
const recorder = window.__recorder;
recorder.onstop = () => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result.split(",")[1]);
  reader.readAsDataURL(new Blob(window.__parts));
};
recorder.stop();
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as model:
        yield model


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(model: FakeOpenAI) -> AsyncIterator[Running]:
    async with with_model(model) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Firefox]:
    assert COMMAND is not None
    async with firefox(COMMAND) as browser:
        yield browser


async def live(browser: Firefox, server: Running, *scripts: str) -> None:
    """Open the page, run scripts there, and start the camera."""
    await browser.go(f"{server.base_url}/")
    for script in (*scripts, 'document.querySelector("#start").click()'):
        await browser.script(script)
    await browser.until(STATE, say("page.live"))


def decoded(file: bytes) -> NDArray[np.int16]:
    """Return a recording's samples at 48 kHz."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=48_000)
    with av.open(io.BytesIO(file), "r") as container:
        frames = [one for frame in container.decode(audio=0) for one in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


async def test_from_start_to_a_streamed_answer(
    browser: Firefox, run: Running, model: FakeOpenAI
) -> None:
    """The camera is live, idle at what was asked of it, woken by a question, and the answer is
    about a frame after it.
    """
    await live(browser, run)
    (session,) = run.program.sessions.list_all()
    camera = session.camera
    assert camera.newest is not None
    assert (camera.newest.width, camera.newest.height) >= (640, 480)
    # The sender block is honoured: 2 frames a second.
    await soon(lambda: 0 < camera.fps() <= 3, 20)
    idle = camera.newest
    asked = time.monotonic()
    await browser.script(ASK, "What is this?")
    text = 'return document.querySelector("article.turn:last-of-type .text")?.textContent === arguments[0]'
    await browser.until(text, "I see a cup.")
    assert camera.newest is not idle
    await browser.until('return document.querySelector("article.turn").dataset.state === "done"')
    assert model.last.jpeg is not None
    # It went up at once, and falls back by itself.
    await soon(lambda: camera.fps() > 3, 5)
    await soon(lambda: 0 < camera.fps() <= 3, 15)
    assert time.monotonic() - asked < 30
    await browser.go("about:blank")
    await soon(lambda: not camera.offered, 10)


async def test_a_microphone_is_heard(
    browser: Firefox, run: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Talk is pressed: Firefox's own tone arrives whole, over the camera's connection; muted, nothing
    comes any more.
    """
    monkeypatch.setattr(
        run.program.added.provided[ListeningService].asr, "settled", FakeWords("What?")
    )
    await live(browser, run)
    talk = 'document.querySelector("#talk").click()'
    *_, session = run.program.sessions.list_all()
    heard: list[Sound] = []
    # It is there once what listens has come.
    await browser.until('return document.querySelector("#talk").checkVisibility()')
    await browser.script(talk)
    await soon(lambda: bool(VoiceLine.of(session.lines).on_sound), 10)
    VoiceLine.of(session.lines).on_sound.append(heard.append)
    await soon(lambda: sum(sound.seconds for sound in heard) > 2, 15)
    samples = np.concatenate([sound.samples for sound in heard])
    # The browser removes noise, but the tone is there.
    assert np.abs(samples).max() > 300
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert spectrum.max() > 20 * np.median(spectrum)
    # Each piece follows the one before, or was earlier than that one was taken for: a packet that is less late than
    # all others shows how late those were.
    assert max(after.captured - one.end for one, after in itertools.pairwise(heard)) < 0.03
    await browser.script(talk)
    await soon(lambda: not VoiceLine.of(session.lines).microphone, 10)
    await browser.go("about:blank")
    await soon(lambda: not session.camera.offered, 10)


async def test_an_answer_is_heard(browser: Firefox) -> None:
    """A tone that a model speaks: all of it arrives in the page, at its pitch."""
    tone = (9000 * np.sin(2 * np.pi * 300 * np.arange(48_000) / 24_000)).astype(np.int16)
    parts = [encode_wav(part.tobytes(), 24_000) for part in np.split(tone, 8)]
    omni = FakeOpenAI(model="Qwen/Qwen3-Omni-30B-A3B-Instruct", between_tokens=0.05)
    omni.others = {"/openapi.json": {"paths": {"/v1/audio/speech": {}}}}
    omni.deltas = [{"content": "A red cup."}] + [
        {"content": base64.b64encode(part).decode(), "modality": "audio"} for part in parts
    ]
    async with omni, with_model(omni) as server:
        await live(browser, server, PEERS)
        (session,) = server.program.sessions.list_all()
        await browser.until('return !document.querySelector("#speak").disabled')
        await browser.script('document.querySelector("#speak").click()')
        await soon(
            lambda: session.part("voice_out").wanted and VoiceLine.of(session.lines).connected, 10
        )
        assert await browser.script(RECORD) == "recording"
        await browser.script(ASK, "What is this?")
        await browser.until(
            'return document.querySelector("article.turn")?.dataset.state === "done"'
        )
        await soon(
            lambda: (
                VoiceLine.of(session.lines).player.played > 1.9
                and not session.part("voice_out").talking
            ),
            15,
        )
        # The rest of it is on its way; a busy browser is late.
        await asyncio.sleep(1.5)
        heard = decoded(base64.b64decode(await browser.async_script(RECORDED)))
        await browser.go("about:blank")
    rate = 48_000
    loud = np.flatnonzero(np.abs(heard) > 1500)
    # A busy machine stretches it: the browser fills what comes late.
    pieces = np.abs(heard[: len(heard) // 960 * 960]).reshape(-1, 960).max(axis=1)
    assert np.count_nonzero(pieces > 1500) * 0.02 > 1.8
    sounding = heard[loud[0] : loud[-1]]
    spectrum = np.abs(np.fft.rfft(sounding * np.hanning(len(sounding))))
    assert np.argmax(spectrum) * rate / len(sounding) == pytest.approx(300, abs=5)


async def test_a_part_is_fetched_when_the_server_is_back(browser: Firefox) -> None:
    """Firefox never imports again what failed once: nothing is imported before the server answers."""
    shown = "return document.querySelector(arguments[0])?.open"
    press = "document.querySelector(arguments[0]).click()"
    async with running(drain_seconds=0.2) as gone:
        await browser.go(f"{gone.base_url}/")
        await browser.until('return !document.querySelector("#partial")')
    await browser.script(press, "#menu [data-doctor]")
    await browser.until(shown, "#missing-dialog")
    async with running(port=gone.port, drain_seconds=0.2):
        await browser.script(press, "#missing-retry")
        await browser.until(shown, "#doctor")
        await browser.go("about:blank")


async def test_an_offer_of_mdns_names_alone(browser: Firefox, run: Running) -> None:
    """No permission was asked for, so that no address is in the offer: it connects through the
    peer-reflexive pair.
    """
    await browser.go(f"{run.base_url}/")
    result = await browser.async_script(OFFER)
    assert result["state"] == "connected", result
    hosts = [
        line.split()[4] for line in result["sdp"].splitlines() if line.startswith("a=candidate:")
    ]
    assert hosts
    assert all(host.endswith(".local") for host in hosts), hosts
    camera = run.program.sessions.find(result["session"]).camera
    await soon(lambda: camera.newest is not None, 10)
    assert camera.newest is not None
    # Colours are read by the browser's colour space, or by the default.
    red = camera.newest.image.to_ndarray(format="rgb24")[60:300, 60:260].reshape(-1, 3).mean(axis=0)
    assert red == pytest.approx((210, 30, 30), abs=8)
    await browser.script("window.peer.close()")
    await soon(lambda: not camera.offered, 10)
