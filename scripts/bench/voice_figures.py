"""The figures of a voice measurement: the times of each spoken turn, and the rows of the report."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from scripts.bench.report import Row, Spread, get_percentile
from scripts.bench.voice_peer import FRAME_SECONDS, ReceivedPacket

# The targets are for this silence, which ends a turn.
TARGET_SILENCE_MS = 200
# Size of the playback buffer: a packet that is later than this leaves a gap.
RESERVE_SECONDS = 0.06
# A sentence that took longer to say by more than this had an additional pause.
STOOD_SECONDS = 0.05
# A decrease of the level by this much, dB, is a lowered voice.
LOWERED_DB = 6.0
# Targets of the processor time, cores
CPU_TARGETS = {
    "a silent microphone more": 0.005,
    "a speaking microphone more": 0.035,
    "a listener more, nothing said": 0.003,
    "a listener more, while it talks": 0.05,
}


@dataclass(slots=True)
class Turn:
    """One spoken question. Times are seconds since the epoch; None for events that were not observed."""

    number: int
    begin: float
    end: float
    # The server decided that the turn had ended.
    decided: float | None = None
    # Its words arrived at the visitor.
    text: float | None = None
    # The question arrived at the model, and the age of its picture at that time
    model: float | None = None
    age_ms: float | None = None
    # The first text of the answer arrived, and its first sound.
    token: float | None = None
    sound: float | None = None
    # The voice sent its first PCM.
    pcm: float | None = None
    error: str = ""

    @property
    def cut(self) -> bool:
        """True if the server ended the turn while the visitor was still speaking."""
        return self.decided is not None and self.decided < self.end

    @property
    def frame_ms(self) -> float | None:
        """Milliseconds from the end of speech to the capture of its picture; None if unknown."""
        if self.model is None or self.age_ms is None:
            return None
        return (self.model - self.end) * 1000 - self.age_ms

    def get_ms(self, since: str, until: str) -> float | None:
        """Return the milliseconds between two of the turn's times."""
        first, last = getattr(self, since), getattr(self, until)
        return None if first is None or last is None else (last - first) * 1000


@dataclass(slots=True)
class Pause:
    """A sentence with a pause in it, in ms. `silence`: the silence that ends a turn, ms."""

    length: int
    silence: int
    # The server ended the turn within the sentence.
    cut: bool
    # Seconds by which the sentence took too long, because the visitor's process, and so its sound, was delayed
    stood: float = 0.0


@dataclass(slots=True)
class Interruption:
    """The visitor speaks over an answer. Seconds since the epoch; None for events that were not observed."""

    begin: float
    # Arrival of the first softer packet, and of the last one with sound
    lowered: float | None
    silent: float | None
    # Arrival of the server's message that the answer is paused or stopped, and whether it was finally stopped
    decided: float | None
    stopped: bool


@dataclass(slots=True)
class Noise:
    """Noise over an answer."""

    seconds: float
    lowered: int = 0
    paused: int = 0
    stopped: int = 0
    # Number of turns begun, and of questions asked, because of the noise
    turns: int = 0
    questions: int = 0


@dataclass(slots=True)
class VoiceFigures:
    """All results of a run."""

    silence_ms: int
    turns: list[Turn] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)
    interruptions: list[Interruption] = field(default_factory=list)
    noise: Noise | None = None
    # The packets of each utterance
    heard: list[list[ReceivedPacket]] = field(default_factory=list)
    # Cores used by the camera alone, and in addition by each microphone or listener
    idle_cores: float | None = None
    cores: dict[str, float] = field(default_factory=dict)
    # Rows of the local voice, measured alone
    engine: list[Row] = field(default_factory=list)

    @property
    def measured(self) -> bool:
        found = (self.turns, self.pauses, self.interruptions, self.noise, self.cores, self.engine)
        return any(found)

    @property
    def whole(self) -> list[Turn]:
        """The turns whose answer was heard to the end."""
        return [turn for turn in self.turns if not turn.cut and turn.decided is not None]

    def get_spread(self, since: str, until: str) -> Spread:
        return Spread.of(turn.get_ms(since, until) for turn in self.whole)

    def to_rows(self) -> list[Row]:
        rows = [*self._turn_rows(), *self._pause_rows(), *self._make_barge_in_rows()]
        rows += [*self._make_noise_rows(), *self._make_sound_rows()]
        if self.idle_cores is not None:
            rows += make_cpu_rows(self.idle_cores, self.cores)
        return rows + self.engine

    def _turn_rows(self) -> list[Row]:
        if not self.turns:
            return []
        timely = self.silence_ms == TARGET_SILENCE_MS
        silence = f"with {self.silence_ms} ms of silence"
        cut = sum(turn.cut for turn in self.turns)
        frames = [at for turn in self.whole if (at := turn.frame_ms) is not None]
        errors = [turn.error for turn in self.turns if turn.error]
        found = [
            ("end of speech → decided, " + silence, "end", "decided", 335.0 if timely else None),
            ("decided → text", "decided", "text", None),
            ("decided → question at the model", "decided", "model", 60.0),
            ("end of speech → text", "end", "text", None),
            ("end of speech → question at the model", "end", "model", None),
            ("end of speech → first text of the answer", "end", "token", None),
            ("first text of the answer → first PCM of the voice", "token", "pcm", None),
            ("first PCM of the voice → received", "pcm", "sound", None),
            ("end of speech → first sound received", "end", "sound", None),
        ]
        rows = [
            Row(what, "ms", spread, target_p95=target)
            for what, since, until, target in found
            if (spread := self.get_spread(since, until)).n
        ]
        rows.append(
            Row(
                "spoken questions that were not heard whole",
                "",
                value=float(len(self.turns) - len(self.whole)),
                target=0,
                note=f"{cut} of {len(self.turns)} were cut off; errors: {sorted(set(errors)) or 'none'}",
            )
        )
        if frames:
            rows.append(
                Row(
                    "end of speech → capture of its frame",
                    "ms",
                    Spread.of(frames),
                    note=f"the earliest {min(frames):.0f} ms: the detector may miss a soft last sound",
                )
            )
        return rows

    def _pause_rows(self) -> list[Row]:
        rows = []
        for silence, length in sorted({(one.silence, one.length) for one in self.pauses}):
            said = [one for one in self.pauses if (one.silence, one.length) == (silence, length)]
            some = [one for one in said if one.stood <= STOOD_SECONDS]
            stood = len(said) - len(some)
            rows.append(
                Row(
                    f"sentences cut in a pause of {length} ms, with {silence} ms of silence",
                    f"of {len(some)}",
                    value=float(sum(one.cut for one in some)),
                    # A longer pause ends the turn if only silence decides.
                    target=0 if length < silence else None,
                    note=(
                        f"{stood} more had an additional pause, caused by this machine"
                        if stood
                        else ""
                    ),
                )
            )
        return rows

    def _make_barge_in_rows(self) -> list[Row]:
        if not self.interruptions:
            return []

        def get_spread(since: str, until: str) -> Spread:
            pairs = ((getattr(one, since), getattr(one, until)) for one in self.interruptions)
            return Spread.of((b - a) * 1000 for a, b in pairs if a is not None and b is not None)

        missed = sum(not one.stopped for one in self.interruptions)
        return [
            Row("first sound over an answer → lowered", "ms", get_spread("begin", "lowered"), target_p95=150),
            Row("first sound over an answer → silent", "ms", get_spread("begin", "silent"), target_p50=110, target_p95=220),
            Row("decided → silent", "ms", get_spread("decided", "silent"), target_p95=5),
            Row("interruptions that stopped nothing", f"of {len(self.interruptions)}", value=float(missed), target=0),
        ]  # fmt: skip

    def _make_noise_rows(self) -> list[Row]:
        if self.noise is None:
            return []
        noise = self.noise
        span = f"in {noise.seconds / 60:.3g} min of noise over answers"
        return [
            Row(f"false stops {span}", "", value=float(noise.stopped), target=max(1.0, noise.seconds // 600)),
            Row(f"false barge-ins that lowered or paused, {span}", "", value=float(noise.lowered + noise.paused)),
            Row(f"turns that noise began, {span}", "", value=float(noise.turns), note=f"{noise.questions} of them were asked"),
        ]  # fmt: skip

    def _make_sound_rows(self) -> list[Row]:
        gaps = [abs(gap - FRAME_SECONDS) * 1000 for one in self.heard for gap in _get_gaps(one)]
        if not gaps:
            return []
        seconds = sum(len(one) for one in self.heard) * FRAME_SECONDS
        return [
            Row("received packets: distance from 20 ms", "ms", Spread.of(gaps)),
            Row(
                f"underruns in {seconds:.0f} s of speech",
                "",
                value=float(sum(count_underruns(one) for one in self.heard)),
                target=0,
                note=f"packets later than {RESERVE_SECONDS * 1000:.0f} ms of reserve",
            ),
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            "turns": [asdict(turn) for turn in self.turns],
            "pauses": [asdict(pause) for pause in self.pauses],
            "interruptions": [asdict(one) for one in self.interruptions],
            "noise": asdict(self.noise) if self.noise is not None else None,
            "idle_cores": self.idle_cores,
            "cores": self.cores,
        }

    def get_panels(self) -> dict[str, dict[str, list[float]]]:
        """Return the values to draw: the steps of turns and of interruptions."""
        steps = {
            step: [value for turn in self.whole if (value := turn.get_ms("end", step)) is not None]
            for step in ("decided", "text", "model", "sound")
        }
        over = {
            what: [
                1000 * (at - one.begin)
                for one in self.interruptions
                if (at := getattr(one, what)) is not None
            ]
            for what in ("lowered", "silent")
        }
        found = {"ms after the end of speech": steps, "ms after the first sound over it": over}
        return {title: series for title, series in found.items() if any(series.values())}


def make_cpu_rows(idle: float, more: dict[str, float]) -> list[Row]:
    """Return the rows of processor time. `more`: additional cores by their use."""
    rows = [Row("CPU of an idle camera", "core", value=idle)]
    return rows + [
        Row(what, "core", value=value, target=CPU_TARGETS.get(what)) for what, value in more.items()
    ]


def _get_gaps(packets: Sequence[ReceivedPacket]) -> Iterable[float]:
    """Yield the seconds between the arrivals of consecutive packets."""
    for before, after in itertools.pairwise(packets):
        if (after.timestamp - before.timestamp) & 0xFFFFFFFF == round(FRAME_SECONDS * 48_000):
            yield after.at - before.at


def count_underruns(packets: Sequence[ReceivedPacket]) -> int:
    """Count the packets that arrive too late for a playback buffer of `RESERVE_SECONDS`."""
    late, begin = 0, 0.0
    for number, packet in enumerate(packets):
        passed = ((packet.timestamp - packets[0].timestamp) & 0xFFFFFFFF) / 48_000
        if not number:
            begin = packet.at
        behind = packet.at - begin - passed - RESERVE_SECONDS
        if behind > 1e-6:
            late += 1
            # The listener waits, and continues from there.
            begin += behind
    return late


def find_softer(packets: Sequence[ReceivedPacket], since: float) -> ReceivedPacket | None:
    """Return the first packet since a time that is softer than those before it; None if there is none."""
    before = [one.level for one in packets if one.at < since][-10:]
    if not before:
        return None
    usual = get_percentile(before, 50)
    return next(
        (one for one in packets if one.at >= since and one.level < usual - LOWERED_DB), None
    )
