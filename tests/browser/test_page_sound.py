"""Sound between the page and the server, over the camera's own connection."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.async_api import Page

from benchmarks.browser import put_link_between
from benchmarks.link import Link, LinkRelay
from server.core.sound import SOUND_RATE, Sound
from server.session.session import Session
from server.shared.sound.line import RATE, VoiceLine
from tests.browser.visitor import Visit, Visitor, started
from tests.support.running import Running

pytestmark = [pytest.mark.browser, pytest.mark.alone, pytest.mark.asyncio(loop_scope="session")]

_MICROPHONE = """async (hertz) => {
  const context = (window.__audio ??= new AudioContext());
  await context.resume();
  const oscillator = new OscillatorNode(context, { frequency: hertz });
  const out = context.createMediaStreamDestination();
  oscillator.connect(new GainNode(context, { gain: 0.5 })).connect(out);
  oscillator.start();
  window.__sound = window.__peers.at(-1).getTransceivers().find((one) => one.receiver.track.kind === "audio");
  await window.__sound.sender.replaceTrack(out.stream.getAudioTracks()[0]);
}"""
_OFF = "() => window.__sound.sender.replaceTrack(null)"

# Records the received sound, as the page's <audio> would play it.
_RECORD = """async () => {
  const track = window.__peers.at(-1).getReceivers().map((one) => one.track).find((one) => one.kind === "audio");
  const stream = new MediaStream([track]);
  window.__player = Object.assign(new Audio(), { srcObject: stream, muted: true });
  await window.__player.play();
  const context = new AudioContext({ sampleRate: 48000 });
  await context.resume();
  const recorder = context.createScriptProcessor(1024, 1, 1);
  window.__heard = [];
  recorder.onaudioprocess = ({ inputBuffer }) => window.__heard.push([...inputBuffer.getChannelData(0)]);
  context.createMediaStreamSource(stream).connect(recorder).connect(context.destination);
}"""


def session_of(server: Running) -> Session:
    *_, newest = server.program.sessions.list_all()
    return newest


async def until(condition: Any, seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def pitch(samples: NDArray[Any], rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate / len(samples))


async def live(
    visit: Visit, server: Running, prepare: Callable[[Page], Awaitable[None]] | None = None
) -> tuple[Visitor, Session]:
    visitor = await started(visit, server.base_url, prepare=prepare)
    return visitor, session_of(server)


async def test_both_ways_of_sound_need_no_other_offer(visit: Visit, builtin: Running) -> None:
    """A microphone is heard; speech is played without a hole."""
    visitor, session = await live(visit, builtin)
    heard: list[Sound] = []
    switched: list[bool] = []
    line = VoiceLine.of(session.lines)
    line.on_sound.append(heard.append)
    line.on_microphone.append(switched.append)
    await visitor.evaluate(_MICROPHONE, 440)
    await until(lambda: sum(piece.seconds for piece in heard) > 1.5)
    assert switched == [True]
    sound = np.concatenate([piece.samples for piece in heard])
    assert pitch(sound[-SOUND_RATE:], SOUND_RATE) == pytest.approx(440, abs=2)
    # Each piece begins where the one before ended.
    steps = [after.captured - before.end for before, after in itertools.pairwise(heard[5:])]
    assert max(map(abs, steps)) < 0.1
    await visitor.evaluate(_OFF)
    await until(lambda: switched == [True, False])

    visitor.expect("ScriptProcessorNode is deprecated")
    await visitor.evaluate(_RECORD)
    times = np.arange(RATE * 3 // 2) / RATE
    tone = (12_000 * np.sin(2 * np.pi * 660 * times)).astype(np.int16)
    player = VoiceLine.of(session.lines).player
    # A browser on a busy machine makes holes of its own.
    for last in (False, False, True):
        await visitor.evaluate("() => (window.__heard.length = 0)")
        player.begin()
        for part in np.array_split(tone, 12):
            player.play(part, RATE)
            await asyncio.sleep(0.03)
        player.finish()
        async with asyncio.timeout(10):
            while player.talking:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.6)
        played = np.array(await visitor.evaluate("() => window.__heard.flat()"))
        loud = np.flatnonzero(np.abs(played) > 0.05)
        sounding = played[loud[0] : loud[-1]] if len(loud) else played
        assert pitch(sounding[4800:-4800], 48_000) == pytest.approx(660, abs=3)
        # Where it is late, it is stretched.
        whole = 1.4 < len(sounding) / 48_000 < 2.2 and np.diff(loud).max() / 48_000 < 0.06
        if whole:
            break
        assert not last
    assert len(await visitor.evaluate("() => window.__peers")) == 1


async def test_two_people_hear_nothing_of_each_other(visit: Visit, builtin: Running) -> None:
    one, first = await live(visit, builtin)
    other, second = await live(visit, builtin)
    assert first is not second
    heard: list[Sound] = []
    elsewhere: list[Sound] = []
    VoiceLine.of(first.lines).on_sound.append(heard.append)
    VoiceLine.of(second.lines).on_sound.append(elsewhere.append)
    other.expect("ScriptProcessorNode is deprecated")
    await other.evaluate(_RECORD)
    await one.evaluate(_MICROPHONE, 440)
    player = VoiceLine.of(first.lines).player
    player.begin()
    player.play(np.full(RATE, 9000, np.int16), RATE)
    player.finish()
    await until(lambda: sum(piece.seconds for piece in heard) > 1 and not player.talking)
    assert not elsewhere
    assert not VoiceLine.of(second.lines).microphone
    loudness = await other.evaluate("() => Math.max(...window.__heard.flat().map(Math.abs))")
    assert loudness < 0.001


async def test_sound_and_picture_are_back_together_after_a_cut(
    visit: Visit, builtin: Running
) -> None:
    """Two seconds without any packet: camera, microphone and speech go on by themselves, over the
    same connection, and within a second of each other.
    """
    async with LinkRelay(up=Link(delay=0.02), down=Link(delay=0.02)) as relay:

        async def prepare(page: Page) -> None:
            await put_link_between(page, relay)

        visitor, session = await live(visit, builtin, prepare)
        visitor.expect("ScriptProcessorNode is deprecated")
        heard: list[Sound] = []
        VoiceLine.of(session.lines).on_sound.append(heard.append)
        await visitor.evaluate(_RECORD)
        await visitor.evaluate(_MICROPHONE, 440)
        await until(lambda: sum(piece.seconds for piece in heard) > 1)
        relay.cut = True
        await asyncio.sleep(2)
        heard.clear()
        relay.cut = False
        joined = time.monotonic()
        loud = None
        picture = None
        async with asyncio.timeout(10):
            while loud is None or picture is None:
                await asyncio.sleep(0.02)
                now = time.monotonic() - joined
                if loud is None and any(np.abs(one.samples).max() > 5000 for one in heard):
                    loud = now
                newest = session.camera.newest
                if picture is None and newest is not None and newest.arrived > joined:
                    picture = now
        assert abs(loud - picture) < 1.0, (loud, picture)
        await until(lambda: sum(one.seconds for one in heard) > 2)
        sound = np.concatenate([one.samples for one in heard])
        assert pitch(sound[-SOUND_RATE:], SOUND_RATE) == pytest.approx(440, abs=2)
        # Its times are those of the camera again.
        assert abs(heard[-1].end - time.monotonic()) < 0.5
        await visitor.evaluate("() => (window.__heard.length = 0)")
        player = VoiceLine.of(session.lines).player
        player.begin()
        times = np.arange(RATE) / RATE
        player.play((12_000 * np.sin(2 * np.pi * 660 * times)).astype(np.int16), RATE)
        player.finish()
        await until(lambda: not player.talking)
        await asyncio.sleep(0.6)
        back = np.array(await visitor.evaluate("() => window.__heard.flat()"))
        sounding = np.flatnonzero(np.abs(back) > 0.05)
        assert len(sounding) > 24_000
        middle = back[sounding[0] + 4800 : sounding[-1] - 4800]
        assert pitch(middle, 48_000) == pytest.approx(660, abs=3)
        assert len(await visitor.evaluate("() => window.__peers")) == 1


@pytest.mark.night
async def test_lost_packets_leave_no_hole_in_a_microphone(visit: Visit, builtin: Running) -> None:
    """One of twenty packets is lost: the sound has no silence in their places.

    A busy browser may pause once or twice by itself.
    """
    async with LinkRelay(up=Link(delay=0.02, loss=0.05), down=Link(delay=0.02), seed=4) as relay:

        async def prepare(page: Page) -> None:
            await put_link_between(page, relay)

        visitor, session = await live(visit, builtin, prepare)
        heard: list[Sound] = []
        lost: list[str] = []
        VoiceLine.of(session.lines).on_sound.append(heard.append)
        VoiceLine.of(session.lines).on_dropped.append(
            lambda reason, count: lost.extend([reason] * count)
        )
        await visitor.evaluate(_MICROPHONE, 440)
        await until(lambda: sum(piece.seconds for piece in heard) > 6, 20)
        sound = np.concatenate([piece.samples for piece in heard])
        assert lost.count("lost") >= 8
        loud = np.flatnonzero(np.abs(sound[SOUND_RATE // 2 :]) > 1000)
        assert np.count_nonzero(np.diff(loud) > 0.01 * SOUND_RATE) <= 2
