"""The queue of waiting jobs: urgent kinds first, sessions in turn, bounded.

Order: an item's class is its `Kind` (questions, then watches, programs' questions, descriptions, and
pictures ahead).
Within a class the sessions take turns: a served one goes behind all waiting ones. Within a session
a class keeps its order.

Bounds: at most `max_size` items, and at most one background item (watch or description) per
session. Every item that leaves is returned to the caller: replaced, evicted, popped, removed or
dropped.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from server.core.frames import Kind

T = TypeVar("T", bound=Hashable)
BACKGROUND = (Kind.WATCH, Kind.PROGRAM, Kind.DESCRIBE, Kind.PREFILL)


class Full(Exception):
    """The queue is full of questions; nothing was changed.

    Outside the tree of errors: `Inference` raises Busy for it.
    """


@dataclass(frozen=True, slots=True)
class Pushed(Generic[T]):
    """The item that left the queue by a push, possibly the pushed one itself.

    At most one field is set.
    """

    # A background item replaced by another one of its session.
    replaced: T | None = None
    # A background item dropped from a full queue.
    evicted: T | None = None


class FairQueue(Generic[T]):
    """Items are dictionary keys: use ones that compare by identity.

    Adding, taking and removing an item take constant time, except for sessions that `skip` passes over.

    Bounds of waiting work: MAX_QUEUE; questions refused with `busy`, background work dropped and
    counted.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        # Class to sessions (next turn first) to items (oldest first); no session without an item.
        self._classes: dict[Kind, OrderedDict[str, OrderedDict[T, None]]] = {
            kind: OrderedDict() for kind in Kind
        }
        self._where: dict[T, tuple[Kind, str]] = {}

    def __len__(self) -> int:
        return len(self._where)

    def depth(self) -> dict[Kind, int]:
        """Number of waiting items of each class."""
        return {kind: sum(map(len, waiting.values())) for kind, waiting in self._classes.items()}

    def push(self, session_id: str, kind: Kind, item: T) -> Pushed[T]:
        """Add an item behind those of its class.

        A background item replaces the session's waiting one of the same kind, and keeps its turn.
        One of a more urgent kind replaces one of a less urgent kind of its session (behind the
        others of its own kind), which is dropped when it comes later. A full queue drops a new
        background item; a question evicts the newest item of the least urgent background class
        instead.

        An item is pushed once. Raises Full for a question when only questions wait.
        """
        if kind is Kind.CHAT:
            evicted = self._make_space() if len(self) >= self._max_size else None
            self._add(session_id, kind, item)
            return Pushed(evicted=evicted)
        older_kind = next((k for k in BACKGROUND if session_id in self._classes[k]), None)
        if older_kind is None:
            if len(self) >= self._max_size:
                return Pushed(evicted=item)
            self._add(session_id, kind, item)
            return Pushed()
        older = next(iter(self._classes[older_kind][session_id]))
        if older_kind is kind:
            # In place, so that the session keeps its turn.
            items = self._classes[kind][session_id]
            del items[older], self._where[older]
            items[item] = None
            self._where[item] = (kind, session_id)
        elif BACKGROUND.index(kind) < BACKGROUND.index(older_kind):
            self.remove(older)
            self._add(session_id, kind, item)
        else:
            return Pushed(replaced=item)
        return Pushed(replaced=older)

    def pop(
        self, kinds: Collection[Kind] = tuple(Kind), skip: Callable[[str, Kind], bool] | None = None
    ) -> T | None:
        """Remove and return the next item of the most urgent of `kinds`; None without one.

        Sessions for which `skip(session_id, kind)` is true are passed over and keep their turn.
        """
        for kind in Kind:
            if kind not in kinds:
                continue
            waiting = self._classes[kind]
            for session_id, items in waiting.items():
                if skip is not None and skip(session_id, kind):
                    continue
                item = next(iter(items))
                self.remove(item)
                if session_id in waiting:
                    waiting.move_to_end(session_id)
                return item
        return None

    def ready_sessions(self, kind: Kind, skip: Callable[[str, Kind], bool]) -> int:
        """Return how many sessions have a waiting item of this class, without those to `skip`."""
        return sum(not skip(session_id, kind) for session_id in self._classes[kind])

    def remove(self, item: T) -> bool:
        """Remove an item; False when it is not waiting."""
        where = self._where.pop(item, None)
        if where is None:
            return False
        kind, session_id = where
        items = self._classes[kind][session_id]
        del items[item]
        if not items:
            del self._classes[kind][session_id]
        return True

    def _add(self, session_id: str, kind: Kind, item: T) -> None:
        self._classes[kind].setdefault(session_id, OrderedDict())[item] = None
        self._where[item] = (kind, session_id)

    def _make_space(self) -> T:
        for kind in reversed(BACKGROUND):
            if self._classes[kind]:
                # One item per session, and a replacement keeps its turn: the last session has the
                # newest.
                newest = next(iter(next(reversed(self._classes[kind].values()))))
                self.remove(newest)
                return newest
        raise Full(f"all {self._max_size} places are taken by questions")


# The share of an engine that background work may have. The server that is shared tells nobody how busy it is, but the
# time to a question's first token does, also when others cause it.

# A first token that takes so many times as long as usual is slow.
SLOW = 1.3
LEAST, MOST = 1 / 32, 1.0
# Gained with each question that is not slow. Against a halving with each slow one, a share of a
# tenth stays where one question in twenty is slow.
_GAIN = 1 / 400
# Gained each second while nobody asks
_IDLE_GAIN = 1 / 16
# Least seconds between two decreases: all questions that a full engine held up are one reason.
_DECREASE_SECONDS = 1.0
# Least seconds between two decreases because of the same session: nobody alone slows down everybody's background work.
_SAME_SECONDS = 30.0
# While people ask, the prompts of background work take at most this share of the time, after so many
# at once: no queue can take a prompt back that is under way, so one question in twenty meets one.
_PROMPTS = 0.05
_PROMPTS_AT_ONCE = 3
# People ask in bursts: for so many seconds after a question
_BURST_SECONDS = 60.0
# Longest rest after a background job, and longest wait for the next prompt
_LONGEST_REST = 10.0


class BackgroundShare:
    """One engine's share for background work, between 1/32 and 1.

    `now` is in seconds of any steady clock.

    Bounds of the share of an engine that background work may have: 1/32 to 1: halved when a
    question's first token takes 1.3 times as long as usual, and growing back.
    """

    def __init__(self) -> None:
        self._aimd = Aimd(LEAST, MOST, idle_gain=_IDLE_GAIN)
        # The session whose question halved it last
        self._halved_by: Hashable = None
        # The end and the length of the last background job; with less than one slot a rest follows.
        self._job_ended, self._job_seconds = -math.inf, 0.0
        # Seconds of prompts beyond their share, up to when; the newest prompt's length
        self._prompts, self._prompts_at, self._prompt = 0.0, -math.inf, 0.0
        self._usual = UsualTimes()

    def share(self, now: float) -> float:
        return self._aimd.value(now)

    def answered(
        self, kind: Hashable, seconds: float, now: float, session: Hashable = None
    ) -> None:
        """Note a question's time to its first token.

        `kind`: those that should take about as long. `session`: its asker; None for one who is not known.
        """
        same = session is not None and session == self._halved_by
        if self._usual.ratio(kind, seconds) <= SLOW:
            self._aimd.grow(_GAIN, now)
        elif self._aimd.halve(now, pause=_SAME_SECONDS if same else _DECREASE_SECONDS):
            self._halved_by = session

    def wait(self, running: int, slots: int, now: float) -> float:
        """Return the seconds until another background job may begin, beside those that run; 0 for
        now.

        Infinity: not before one of them ends.
        """
        capacity = self.share(now) * slots
        if running and running + 1 > capacity:
            return math.inf
        rest = self._job_seconds * (1 / capacity - 1) if capacity < 1 else 0.0
        return max(0.0, self._job_ended + min(_LONGEST_REST, rest) - now)

    def begun(self, seconds: float, now: float) -> None:
        """Note that the engine has read the prompt of a background job, which took so long."""
        beyond = self._beyond(now) + seconds
        # Prompts from before, when nobody asked, are not made up for.
        self._prompts, self._prompts_at = min(beyond, _PROMPTS_AT_ONCE * seconds), now
        self._prompt = seconds

    def prompt_wait(self, now: float) -> float:
        """Return the seconds until background work may send another prompt; 0 for now."""
        if now - self._aimd.event_at > _BURST_SECONDS:
            return 0.0
        beyond = self._beyond(now) - (_PROMPTS_AT_ONCE - 1) * self._prompt
        if beyond <= 1e-9:
            return 0.0
        return max(0.0, min(beyond / _PROMPTS, self._prompts_at + _LONGEST_REST - now))

    def _beyond(self, now: float) -> float:
        if self._prompts_at == -math.inf:
            return 0.0
        return max(0.0, self._prompts - _PROMPTS * (now - self._prompts_at))

    def ended(self, seconds: float, now: float) -> None:
        """Note the end of a background job. Where less than one fits, it is followed by a rest of its length and more."""
        self._job_ended, self._job_seconds = now, seconds


# Seconds without an event after which it grows by itself
_IDLE_SECONDS = 10.0


class Aimd:
    """A number from `least` to `most`, which is its first value.

    `idle_gain`: gained each second when nothing has happened for 10 s. `now` is in seconds of any
    steady clock.
    """

    def __init__(self, least: float, most: float, *, idle_gain: float) -> None:
        self._least, self._most, self._idle_gain = least, most, idle_gain
        self._value = most
        # The last event, and the last time that it halved
        self.event_at = self.halved_at = -math.inf

    def value(self, now: float) -> float:
        idle = max(0.0, now - self.event_at - _IDLE_SECONDS)
        return min(self._most, self._value + self._idle_gain * idle)

    def grow(self, by: float, now: float) -> None:
        self._value, self.event_at = min(self._most, self.value(now) + by), now

    def halve(self, now: float, *, pause: float) -> bool:
        """Halve it, unless it did less than `pause` seconds ago; return whether it did."""
        self._value, self.event_at = self.value(now), now
        if now - self.halved_at < pause:
            return False
        self._value, self.halved_at = max(self._least, self._value / 2), now
        return True


# Kinds of questions (by detail and reuse), each compared with its own; beyond, the oldest goes.
_MOST_KINDS = 64
# The usual time is followed by steps of about this share.
_STEP = 0.03
_LEAST_SECONDS = 1e-6


class UsualTimes:
    """The usual time of each kind: the one that the share `quantile` of all stays below."""

    def __init__(self, quantile: float = 0.5) -> None:
        self._up, self._down = 2 * _STEP * quantile, 2 * _STEP * (1 - quantile)
        self._usual: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._usual)

    def of(self, kind: Hashable) -> float | None:
        """Return the usual time of a kind; None when there was none of it."""
        return self._usual.get(kind)

    def ratio(self, kind: Hashable, seconds: float) -> float:
        """Note a time; return how many times as long as usual it was."""
        usual = max(_LEAST_SECONDS, self._usual.pop(kind, seconds))
        self._usual[kind] = usual * (1 + self._up if seconds > usual else 1 - self._down)
        if len(self._usual) > _MOST_KINDS:
            del self._usual[next(iter(self._usual))]
        return seconds / usual


# A first token that takes so many times as long as the quick ones of its kind is slow: a wait for
# another answer's end takes longer than that. Less is the batch, which a server fills on purpose.
SLOW_ENGINE = 3.0
# The quick ones, so that a server which is always overloaded does not become usual
_QUICK = 0.1
# Most of the newest answers are slow: three in a row, or so.
_WEIGHT = 0.25
_MOSTLY = 0.5
# Gained each second while nobody asks
_ENGINE_IDLE_GAIN = 0.5
# Answers at a time of a process that has a model server for itself, where no setting says it: as many as one large GPU
# computes together
MOST_AT_ONCE = 64
# Seconds in which refusals have one reason
_REFUSED_SECONDS = 1.0


class EngineShare:
    """A share from 1 to `most` answers. `now` is in seconds of any steady clock.

    Bounds of answers that this process may have at a shared engine: 1 to
    MAX_CONCURRENT_INFERENCES: halved when most first tokens take three times as long as the quick
    ones, or when the engine refuses, and growing back.
    """

    def __init__(self, most: int) -> None:
        self._aimd = Aimd(1.0, float(most), idle_gain=_ENGINE_IDLE_GAIN)
        self._usual = UsualTimes(_QUICK)
        # The share of slow ones among the newest answers, and the session of the last slow one
        self._slow = 0.0
        self._slow_by: Hashable = None

    def slots(self, now: float) -> int:
        return int(self._aimd.value(now))

    def answered(
        self,
        kind: Hashable,
        seconds: float,
        *,
        before: int,
        asked_at: float,
        now: float,
        session: Hashable = None,
    ) -> None:
        """Note a question's time to its first token.

        `kind`: those that should take about as long. `before`: our own requests without a first
        token when it was asked. It may have waited for their prompts, but not for longer than these
        take one after the other; and times are compared with those behind about as many.
        `session`: its asker; None for one who is not known. Slow ones of the same session in a row
        count once: nobody alone takes slots from all.
        """
        ratio = self._usual.ratio((kind, before.bit_length()), seconds)
        quick = self._usual.of((kind, 0))
        if asked_at <= self._aimd.halved_at:
            # It was on its way before, so it shows nothing of the share since.
            return
        slow = ratio > SLOW_ENGINE or (
            quick is not None and seconds > (SLOW_ENGINE + before) * quick
        )
        if slow and session is not None and session == self._slow_by:
            return
        self._slow_by = session if slow else self._slow_by
        self._slow += _WEIGHT * (slow - self._slow)
        if not slow:
            self._aimd.grow(1 / self._aimd.value(now), now)
        elif self._slow > _MOSTLY:
            self._slow = 0.0
            self._aimd.halve(now, pause=0.0)

    def refused(self, now: float) -> None:
        """Note that the server refused a request since it has enough to do."""
        self._aimd.halve(now, pause=_REFUSED_SECONDS)


# Whether an engine reuses the pictures that it got before.

# Pictures in a row that were computed anew: one alone may have left the cache meanwhile.
_TRIES = 4
# The share of a picture's tokens that has to come from the cache: the system's prompt is fewer.
_LEAST_SHARE = 0.5


class PictureCache:
    """The figures of one engine, for the model that it has now.

    Some caches hold whole blocks alone, and a hybrid model's have many hundred tokens: then no picture
    of a usual prompt is ever found there, and sending it ahead only costs.
    """

    def __init__(self) -> None:
        self._model = ""
        self._misses = 0

    def useless(self, model: str) -> bool:
        """Find whether nothing was reused so often that nothing will be."""
        return model == self._model and self._misses >= _TRIES

    def note(self, model: str, visual_tokens: int, cached_tokens: int) -> bool:
        """Take the figures of a question whose picture the engine had got before.

        Returns True when they are the ones that settle it: no more pictures are worth sending ahead.
        """
        if model != self._model:
            self._model, self._misses = model, 0
        if cached_tokens >= _LEAST_SHARE * visual_tokens:
            self._misses = 0
            return False
        self._misses += 1
        return self._misses == _TRIES
