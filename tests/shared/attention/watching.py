"""A gate's wakes over a clip, and the events that they saw."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

from server.shared.attention.attention import Change, ChangeGate, EarlyCheck, Pace, Why
from server.shared.attention.planes import BufferPool
from tests.shared.attention.clips import WARM_UP, Clip, Event, frames

# After a wake an answer is made, about the frame that woke, and the gate rests so long.
ANSWER_SECONDS = 1.0


@dataclass(slots=True)
class Watched:
    """One clip, watched."""

    clip: Clip
    # Wakes after the warm-up: seconds, decision
    wakes: list[tuple[float, Change]] = field(default_factory=list)

    @property
    def a_minute(self) -> float:
        return 60 * len(self.wakes) / (self.clip.seconds - WARM_UP)

    @property
    def missed(self) -> list[Event]:
        times = [at for at, _ in self.wakes]
        return [e for e in self.clip.events if not any(e.at <= at <= e.until for at in times)]


def watch(clip: Clip, *, paced: bool = False, glances: bool = False) -> Watched:
    """Look at a clip as background work does. `paced`: each answer says the same, so pauses grow.

    `glances`: as watches do, which look early at a frame between two looks that differs.
    """
    gate = ChangeGate(BufferPool())
    pace = Pace()
    watched = Watched(clip)
    glance = EarlyCheck()
    rest = -9.0
    for at, image in frames(clip):
        if gate.due(at):
            if glances:
                glance.note_look(image, at)
            change = gate.look(image, at)
        elif glances and glance.wants_look(image, at):
            found = gate.look_early(image)
            if found is None:
                continue
            change = found
        else:
            continue
        wants = pace.due(change, at) if paced else change.changed
        if not wants or at - rest < ANSWER_SECONDS:
            continue
        rest = at
        gate.set_reference(deepcopy(gate.seen))
        if paced:
            pace.request_sent(change, at)
            pace.answer_received(at, same=change.why is not Why.FIRST)
        if at >= WARM_UP:
            watched.wakes.append((at, change))
    return watched
