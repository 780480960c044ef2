"""A simulated visitor who talks with the server, and records the time of each event."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from scripts.bench.chat_client import TimedMessage
from scripts.bench.processes import StandInProcess, measure_cores
from scripts.bench.program import say
from scripts.bench.stand_in_model import AT_LENGTH
from scripts.bench.voice_figures import Interruption, Noise, Pause, Turn, VoiceFigures, find_softer
from scripts.bench.voice_peer import VoicePeer
from scripts.bench.voice_sounds import RATE, Samples, Speech, make_noises, make_silence

# Seconds between the end of an answer and the next question
REST_SECONDS = 0.7
# Maximum seconds until the sound of an answer begins, and until its speech ends
ANSWER_SECONDS = 30.0
SPEECH_SECONDS = 60.0
# Seconds of a long answer after which it is interrupted
_INTO_SECONDS = 1.5
LONG_QUESTION = f"Describe everything {AT_LENGTH}, please."
# Seconds of each kind of noise
_NOISE_SECONDS = 15.0
# Silence that keeps a turn open while processor time is measured
_LONGEST_SILENCE_MS = 2000


class Talk:
    """One visitor's conversation, which fills `figures`. `stand_in`: model, recogniser and voice, or None."""

    def __init__(
        self,
        peer: VoicePeer,
        speech: Speech,
        figures: VoiceFigures,
        *,
        stand_in: StandInProcess | None,
    ) -> None:
        self._peer = peer
        self._speech = speech
        self._figures = figures
        self._stand_in = stand_in
        # The server has a voice.
        voice = peer.ready.get("features", {}).get("voice_out", {})
        self.speaks = bool(voice.get("voice"))

    # Spoken questions

    async def ask_turns(self, count: int) -> None:
        """Ask one question after the other, each after the previous answer was heard."""
        say(f"asking {count} spoken questions")
        await self._peer.listen(silence_ms=self._figures.silence_ms, speak=self.speaks)
        for number in range(count):
            self._figures.turns.append(await self._turn(number))
        await self._peer.switch_off()

    async def _turn(self, number: int) -> Turn:
        peer = self._peer
        await asyncio.sleep(REST_SECONDS)
        since = peer.seen
        said = await peer.microphone.say(self._speech.sentence(number))
        turn = Turn(number, said.begin, said.end)
        try:
            await self._listen_to(turn, since)
        except TimeoutError:
            turn.error = turn.error or "timeout"
        if turn.cut:
            # Words after the cut are a separate question.
            await self._wait_silent()
        return turn

    async def _listen_to(self, turn: Turn, since: int) -> None:
        """Record all events of a turn. Raises TimeoutError."""
        peer = self._peer
        decided = await self._wait_first(
            since,
            lambda m: (
                (m["type"] == "transcript" and m["final"])
                or (m["type"] == "listening" and m["state"] == "recognising")
            ),
        )
        turn.decided = decided.at
        heard = await self._wait_first(since, lambda m: m["type"] == "transcript" and m["final"])
        turn.text = heard.at
        id, words = heard.message["id"], heard.message["text"]
        if not words:
            turn.error = "no words"
            return
        ended = await self._wait_first(
            since, lambda m: m.get("id") == id and m["type"] in ("response", "error")
        )
        if ended.message["type"] == "error":
            turn.error = str(ended.message["code"])
            return
        token = await self._wait_first(
            since, lambda m: m.get("id") == id and m["type"] in ("delta", "response")
        )
        turn.token = token.at
        if self.speaks:
            await self._wait_first(
                since,
                lambda m: (
                    m.get("id") == id
                    and m["type"] == "speaking"
                    and m["state"] in ("done", "stopped")
                ),
                SPEECH_SECONDS,
            )
            packets = peer.loudspeaker.find_audible(turn.end)
            if packets:
                turn.sound = packets[0].at
                self._figures.heard.append(packets)
        if self._stand_in is not None:
            await self._ask(self._stand_in, turn, words)

    @staticmethod
    async def _ask(stand_in: StandInProcess, turn: Turn, words: str) -> None:
        """Store the stand-in's records of a turn with these words."""
        records = await stand_in.fetch_records()
        asked = [one for one in records if one["arrived"] > turn.begin and words in one["question"]]
        if asked:
            turn.model, turn.age_ms = asked[0]["arrived"], asked[0]["age_ms"]
        spoken = await stand_in.fetch_records("sound")
        made = [one["first_token"] for one in spoken if one["arrived"] > turn.begin]
        turn.pcm = min(made, default=None)

    async def say_pauses(self, count: int, lengths: list[int], silences: list[int]) -> None:
        """Say sentences with a pause in them, and count the sentences that are cut at the pause."""
        for wait in silences:
            say(f"pausing inside sentences, with {wait} ms of silence")
            await self._peer.listen(silence_ms=wait, speak=False)
            for length in lengths:
                for number in range(count):
                    await asyncio.sleep(REST_SECONDS)
                    first, second = self._speech.halves(number)
                    since = self._peer.seen
                    whole = np.concatenate([first, make_silence(length / 1000), second])
                    said = await self._peer.microphone.say(whole)
                    # Longer than the silence that ends it
                    await asyncio.sleep(wait / 1000 + 0.6)
                    ended = self._get_messages(since, "listening", "recognising")
                    ended += self._get_messages(since, "transcript")
                    cut = any(one.at < said.end for one in ended)
                    stood = said.end - said.begin - len(whole) / RATE
                    self._figures.pauses.append(Pause(length, wait, cut, stood))
            await self._wait_silent()
            await self._peer.switch_off()

    # Speech over answers

    async def interrupt_answers(self, count: int) -> None:
        """Speak over long answers of a server with a voice."""
        if not self.speaks:
            return
        say(f"speaking over {count} answers")
        await self._peer.listen(silence_ms=self._figures.silence_ms, speak=True)
        for number in range(count):
            await self._wait_silent()
            if not await self._hear_long_answer():
                continue
            self._figures.interruptions.append(await self._interrupt(number))
        await self._wait_silent()
        await self._peer.switch_off()

    async def _interrupt(self, number: int) -> Interruption:
        peer = self._peer
        since = peer.seen
        said = await peer.microphone.say(self._speech.sentence(number))
        # Sound after the interruption belongs to the next answer.
        stopped = self._get_messages(since, "speaking", "stopped")
        paused = self._get_messages(since, "speaking", "paused", "stopped")
        decided = min((one.at for one in paused), default=None)
        packets = list(peer.loudspeaker.packets)
        lowered = find_softer(packets, said.begin)
        # The words of the interruption are answered after its end.
        audible = peer.loudspeaker.find_audible(said.begin, said.end)
        silent = audible[-1].at if audible and decided is not None else None
        if silent is not None and silent > said.end - 0.1:
            silent = None
        return Interruption(
            said.begin, lowered.at if lowered is not None else None, silent, decided, bool(stopped)
        )

    async def play_noise(self, minutes: float) -> None:
        """Play noise over long answers of a server with a voice."""
        if not self.speaks:
            return
        say(f"making noise over answers for {minutes:g} min")
        peer, seconds = self._peer, minutes * 60
        found = self._figures.noise = Noise(0.0)
        sounds = list(make_noises(_NOISE_SECONDS).values())
        await peer.listen(silence_ms=self._figures.silence_ms, speak=True)
        begin, room = time.monotonic(), peer.microphone.room
        try:
            talking = await self._hear_long_answer()
            number, since = 0, peer.seen
            while (passed := time.monotonic() - begin) < seconds:
                peer.microphone.room = sounds[int(passed / _NOISE_SECONDS) % len(sounds)]
                await asyncio.sleep(0.25)
                for arrived in self._get_arrived(since):
                    self._count(found, arrived.message)
                    state = arrived.message.get("state")
                    if arrived.message["type"] == "speaking":
                        talking = state not in ("stopped", "done")
                since = peer.seen
                found.seconds = time.monotonic() - begin
                if not talking and number < passed / 5:
                    number += 1
                    talking = await self._hear_long_answer()
                    since = peer.seen
        finally:
            peer.microphone.room = room
        await self._wait_silent()
        await peer.switch_off()

    @staticmethod
    def _count(found: Noise, message: dict[str, Any]) -> None:
        match message["type"], message.get("state"):
            case "speaking", "lowered":
                found.lowered += 1
            case "speaking", "paused":
                found.paused += 1
            case "speaking", "stopped":
                found.stopped += 1
            case "listening", "speech":
                found.turns += 1
            case "transcript", _:
                found.questions += bool(message["final"] and message["text"])

    async def _hear_long_answer(self) -> bool:
        """Ask for a long spoken answer. Return True if some of it was heard."""
        peer = self._peer
        asked = await peer.start(LONG_QUESTION)
        end = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < end:
            packets = peer.loudspeaker.find_audible(asked.asked)
            if packets and packets[-1].at - packets[0].at >= _INTO_SECONDS:
                return True
            await asyncio.sleep(0.05)
        return False

    async def _wait_silent(self) -> None:
        """End every answer, and wait until the server is silent."""
        peer = self._peer
        await peer.send({"type": "cancel"})
        end = time.monotonic() + 10
        while peer.loudspeaker.find_audible(time.time() - 0.5) and time.monotonic() < end:
            await asyncio.sleep(0.05)
        await asyncio.sleep(REST_SECONDS)

    # Processor time

    async def measure_cores(self, pid: int, seconds: float) -> None:
        """Measure the processor time of the server, `pid`, for a microphone and for a listener."""

        async def measure_usage() -> float:
            await asyncio.sleep(1.5)
            return await measure_cores(pid, seconds)

        say(f"measuring the processor, 5 × {seconds:g} s")
        peer, figures = self._peer, self._figures
        room, peer.microphone.room = peer.microphone.room, None
        idle = figures.idle_cores = await measure_usage()
        await peer.listen(silence_ms=_LONGEST_SILENCE_MS, speak=False)
        silent = await measure_usage()
        figures.cores["a silent microphone more"] = silent - idle
        peer.microphone.room = self._talk()
        speaking = await measure_usage()
        figures.cores["a speaking microphone more"] = speaking - idle
        peer.microphone.room = None
        await peer.switch_off()
        await peer.send({"type": "cancel"})
        if self.speaks:
            await peer.send({"type": "settings", "speak": True})
            figures.cores["a listener more, nothing said"] = await measure_usage() - idle
            if await self._hear_long_answer():
                with contextlib.suppress(TimeoutError):
                    await self._wait_first(peer.seen, lambda m: m["type"] == "response")
                talking = await measure_usage() - idle
                figures.cores["a listener more, while it talks"] = talking
            await self._wait_silent()
        peer.microphone.room = room

    def _talk(self) -> Samples:
        """Return speech without pauses that would end a turn."""
        parts = [self._speech.sentence(number) for number in range(8)]
        gap = make_silence(0.1)
        return np.concatenate([one for part in parts for one in (part, gap)])

    # Messages

    def _get_arrived(self, since: int) -> list[TimedMessage]:
        count = self._peer.seen - since
        return self._peer.messages[-count:] if count else []

    def _get_messages(self, since: int, type: str, *states: str) -> list[TimedMessage]:
        return [
            one
            for one in self._get_arrived(since)
            if one.message["type"] == type and (not states or one.message.get("state") in states)
        ]

    async def _wait_first(
        self, since: int, wanted: Callable[[dict[str, Any]], bool], seconds: float = ANSWER_SECONDS
    ) -> TimedMessage:
        return await self._peer.wait_for(wanted, timeout=seconds, since=since)
