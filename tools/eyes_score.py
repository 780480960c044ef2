"""What alerts of watches are worth: those in time, premature, false and missed ones. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from scripts.bench.report import Row, Spread

# A frame's capture time at the server is some milliseconds off, and what is asked about is an earlier frame.
SLACK = 0.1
# StreamingBench takes an answer within so many seconds of the true time.
ITS_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Event:
    """A condition begins to hold, and ends. Seconds of a clip."""

    condition: str
    begin: float
    end: float
    # The first and the last of it is to be seen: an alert within is about it.
    seen_from: float
    seen_until: float


@dataclass(frozen=True, slots=True)
class Alerted:
    """An alert at the client. Seconds of a clip."""

    condition: str
    # Capture of the frame that proves it
    evidence: float
    arrived: float


@dataclass
class Score:
    """The alerts of clips of one kind."""

    name: str
    seconds: float = 0.0
    events: int = 0
    # Seconds from each event to its first alert
    delays: list[float] = field(default_factory=list)
    premature: int = 0
    false: int = 0
    # Further alerts about an event that goes on
    repeated: int = 0
    # Events with an alert within two seconds of their beginning and none before
    within: int = 0
    requests: float = 0.0
    visual_tokens: float = 0.0
    looks: float = 0.0
    cpu: float = 0.0

    @property
    def missed(self) -> int:
        return self.events - len(self.delays)

    def take(
        self, events: Sequence[Event], alerts: Sequence[Alerted], seconds: float, early: float
    ) -> None:
        """Count the alerts of a clip. `early`: seconds before an event in which an alert is premature, not false.

        An alert belongs to the event in which its evidence was captured. The first one of an event counts.
        """
        self.seconds += seconds
        self.events += len(events)
        found: dict[Event, float] = {}
        spoilt = set[Event]()
        for alert in sorted(alerts, key=lambda one: one.arrived):
            own = [one for one in events if one.condition == alert.condition]
            at = alert.evidence
            event = next(
                (one for one in own if one.seen_from - SLACK <= at <= one.seen_until + SLACK), None
            )
            if event is not None:
                if event in found:
                    self.repeated += 1
                else:
                    found[event] = max(0.0, alert.arrived - event.begin)
                continue
            coming = next((one for one in own if 0 < one.seen_from - at <= early), None)
            if coming is None:
                self.false += 1
            else:
                self.premature += 1
                spoilt.add(coming)
        self.delays += found.values()
        self.within += sum(
            delay <= ITS_SECONDS and event not in spoilt for event, delay in found.items()
        )

    def merge(self, other: Score) -> None:
        for name in (
            *("seconds", "events", "premature", "false", "repeated", "within"),
            *("requests", "visual_tokens", "looks", "cpu"),
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.delays += other.delays

    def row(self) -> str:
        """Return a line of a table in Markdown."""
        every, hours, minutes = Spread.of(self.delays), self.seconds / 3600, self.seconds / 60
        cells = (
            self.name,
            f"{len(self.delays)} of {self.events}" if self.events else "–",
            f"{every.p50:.2f} / {every.p95:.2f} s" if self.delays else "–",
            f"{self.premature}",
            f"{self.false} in {minutes:.0f} min",
            f"{self.repeated}",
            f"{self.requests / hours:.0f}",
            f"{self.visual_tokens / hours:.0f}",
            f"{self.looks / self.seconds:.1f}",
            f"{self.cpu / self.seconds:.3f}",
        )
        return f"| {' | '.join(cells)} |"

    def rows(self, p50: float | None, p95: float | None) -> list[Row]:
        """Return the rows of a report. `p50`, `p95`: targets of the delay, None without one."""
        hours = self.seconds / 3600

        def value(what: str, unit: str, number: float, **target: float) -> Row:
            return Row(f"{self.name}: {what}", unit, value=number, **target)  # type: ignore[arg-type]

        rows = [value("false alerts", "an hour", self.false / hours)]
        if self.events:
            rows = [
                Row(
                    f"{self.name}: event to alert",
                    "s",
                    Spread.of(self.delays),
                    target_p50=p50,
                    target_p95=p95,
                ),
                value("events alerted for", "%", 100 * len(self.delays) / self.events),
                value("within 2 s, none before", "%", 100 * self.within / self.events),
                value("missed", "", self.missed),
                value("premature", "", self.premature),
                value("repeated", "", self.repeated),
                *rows,
            ]
        return [
            *rows,
            value("requests", "an hour", self.requests / hours),
            value("visual tokens", "an hour", self.visual_tokens / hours),
            value("looks of the detector", "a second", self.looks / self.seconds),
            value("server", "core", self.cpu / self.seconds),
        ]


HEAD = (
    "| clips | alerted | event → alert, p50 / p95 | premature | false | repeated | requests an hour "
    "| visual tokens an hour | looks a second | core |\n|---|---|---|---|---|---|---|---|---|---|"
)
