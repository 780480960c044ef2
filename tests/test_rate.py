"""The path's rate, against a simulated link that it loads itself."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from server.rtc.rate import CAP_FIRST, TOP, PathRate, SenderPlan, sender_plan

PROPAGATION_S = 0.02
QUEUE_S = 0.3
PACKET = 1100


@dataclass
class Link:
    """A first-in-first-out bottleneck: rate over time, a queue of 300 ms, then jitter; it may reorder and lose."""

    # bit/s at a time.
    rate: Callable[[float], float]
    # Mean of an exponential extra delay for each packet, seconds.
    jitter: float = 0.0
    reorders: bool = False
    loss: float = 0.0
    # Competing traffic, bit/s at a time; it fills the same queue.
    cross: Callable[[float], float] = lambda at: 0.0
    seed: int = 1

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.free_at = 0.0
        self.now = 0.0
        self.newest = 0.0
        self.dropped = 0

    def arrival(self, at: float, size: int) -> float | None:
        """When a packet that is sent at `at` arrives; None when it is lost. Called in order of sending."""
        other = self.cross(at) * (at - self.now) / self.rate(at)
        self.free_at = max(self.free_at, self.now) + other
        self.free_at = min(max(self.free_at, at), at + QUEUE_S)
        self.now = at
        if self.free_at - at >= QUEUE_S:
            self.dropped += 1
            return None
        self.free_at += 8 * (size + 40) / self.rate(at)
        if self.rng.random() < self.loss:
            return None
        arrival = self.free_at + PROPAGATION_S
        if self.jitter:
            arrival += self.rng.expovariate(1 / self.jitter)
        if not self.reorders:
            arrival = self.newest = max(arrival, self.newest)
        return arrival


@dataclass
class Camera:
    """Chromium as far as it matters here: a pacer at 2.5 times REMB, and an encoder that keeps to the page's plan."""

    link: Link
    # Whether somebody is typing.
    awake: Callable[[float], bool] = lambda at: False
    timed: bool = True
    path: PathRate = field(default_factory=PathRate)
    seed: int = 2
    frame_bits: float | None = None

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        # (time, REMB, cap, frames/s)
        self.log: list[tuple[float, int, int, int]] = []
        # (captured, age of the whole frame when here)
        self.ages: list[tuple[float, float]] = []
        self.tells = 0

    def run(self, seconds: float) -> Camera:
        order = itertools.count()
        events: list[tuple[float, int, str, tuple[float, int, int, bool, float, int]]] = []
        nothing = (0.0, 0, 0, False, 0.0, 0)
        heapq.heappush(events, (0.0, next(order), "capture", nothing))
        remb, plan = TOP, sender_plan(CAP_FIRST, 8, 2)
        pacer, woken, sequence = 0.0, -1.0, 65_000
        # The encoder's bits follow a ramp; after it `max_bitrate`.
        feedback: list[tuple[float, int, SenderPlan]] = []
        while events:
            now, _, kind, packet = heapq.heappop(events)
            if kind == "capture":
                if now >= seconds:
                    continue
                while feedback and feedback[0][0] <= now:
                    _, remb, plan = feedback.pop(0)
                up = self.awake(now)
                woken = -1.0 if not up else (now if woken < 0 else woken)
                limits = plan.awake if up else plan.idle
                bits = limits.max_bitrate / limits.max_framerate
                if self.frame_bits:
                    bits = self.frame_bits
                bits *= self.rng.uniform(0.7, 1.3)
                count = max(1, round(bits / 8 / PACKET))
                size = int(bits / 8 / count)
                timestamp = (2**32 - 90_000 + round(now * 90_000)) & 0xFFFFFFFF
                sent = max(now + 0.005, pacer)
                for n in range(count):
                    sequence = (sequence + 1) & 0xFFFF
                    event = (sent, size, timestamp, n == count - 1, now, sequence)
                    heapq.heappush(events, (sent, next(order), "send", event))
                    sent += 8 * (size + 40) / (2.5 * remb)
                pacer = sent
                heapq.heappush(
                    events, (now + 1 / limits.max_framerate, next(order), "capture", nothing)
                )
            elif kind == "send":
                arrival = self.link.arrival(now, packet[1])
                if arrival is not None:
                    heapq.heappush(events, (arrival, next(order), "arrive", packet))
            else:
                sent, size, stamp, marker, captured, number = packet
                ast = int(sent * 2**18) & 0xFFFFFF if self.timed else None
                self.path.packet(now, ast, size, stamp, marker, number)
                new = self.path.remb_due(now)
                told = self.path.page_due()
                if new is not None or told:
                    self.tells += told
                    feedback.append(
                        (
                            now + PROPAGATION_S,
                            self.path.remb() if self.timed else TOP,
                            sender_plan(self.path.cap(), self.path.frame_rate(), 2),
                        )
                    )
                if marker:
                    self.ages.append((captured, now - captured))
                self.log.append((now, self.path.remb(), self.path.cap(), self.path.frame_rate()))
        return self

    def age(self, start: float, end: float, share: float = 0.5) -> float:
        ages = sorted(age for captured, age in self.ages if start <= captured < end)
        return ages[min(len(ages) - 1, int(share * len(ages)))]

    def rembs(self, start: float, end: float) -> list[int]:
        return [remb for now, remb, _, _ in self.log if start <= now < end]


def constant(value: float) -> Callable[[float], float]:
    return lambda at: value


def typing(at: float) -> bool:
    """Awake for 3 of 8 seconds."""
    return at % 8 >= 5


# links


@pytest.mark.parametrize(
    ("rate", "age"), [(300e3, 0.22), (500e3, 0.15), (1e6, 0.1), (2e6, 0.07), (20e6, 0.05)]
)
def test_every_link_is_measured_and_never_filled(rate: float, age: float) -> None:
    """REMB is the capacity from the second frame on, idle and awake; woken frames are in time; nothing is dropped."""
    camera = Camera(Link(constant(rate)), awake=typing).run(70)
    expected = min(rate, TOP)
    rembs = camera.rembs(1.5, 70)
    assert min(rembs) > 0.95 * expected
    assert max(rembs) <= 1.02 * expected
    assert camera.link.dropped == 0
    for woken in range(5, 70, 8):
        assert camera.age(woken, woken + 3, 0.95) <= age
    # Told at first, and once more when measured.
    assert camera.tells <= 3


def test_the_first_frame_decides() -> None:
    """Idle at two frames a second the estimate is there within the first frame, at its marker."""
    camera = Camera(Link(constant(500e3))).run(0.45)
    assert camera.rembs(0, 1)[-1] == pytest.approx(500e3, rel=0.05)


@pytest.mark.parametrize(
    ("jitter", "reorders", "low", "high"),
    [
        (0.002, False, 0.8, 1.15),
        (0.005, False, 0.7, 1.25),
        (0.01, False, 0.5, 1.6),
        (0.002, True, 0.7, 1.15),
        (0.005, True, 0.6, 1.3),
    ],
)
@pytest.mark.parametrize("rate", [500e3, 1e6])
def test_jitter_and_reordering_move_the_estimate_within_bounds(
    rate: float, jitter: float, reorders: bool, low: float, high: float
) -> None:
    """Middle 90 % of what is told; the median is within 20 %; nothing is dropped."""
    camera = Camera(Link(constant(rate), jitter=jitter, reorders=reorders), awake=typing).run(40)
    rembs = sorted(camera.rembs(5, 40))
    assert rembs[len(rembs) // 20] > low * rate
    assert rembs[-len(rembs) // 20] < high * rate
    assert 0.8 * rate < rembs[len(rembs) // 2] < 1.2 * rate
    assert camera.link.dropped == 0


@pytest.mark.parametrize("jitter", [0.002, 0.005, 0.01])
def test_a_fast_path_with_jitter_is_used(jitter: float) -> None:
    """On 20 Mbit/s jitter is no reason for fewer frames (the rule as first measured: 3.2 Mbit/s at 10 ms)."""
    camera = Camera(Link(constant(20e6), jitter=jitter), awake=typing).run(40)
    rembs = sorted(camera.rembs(5, 40))
    assert rembs[len(rembs) // 2] == TOP
    frames = sum(1 for captured, _ in camera.ages if captured % 8 >= 5.5)
    assert frames > 0.85 * 30 * 2.5 * 4


@pytest.mark.parametrize("loss", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("rate", [300e3, 1e6, 20e6])
def test_random_loss_is_no_reason_to_send_less(loss: float, rate: float) -> None:
    """The spread of what came, with the lost ones counted, is still the path's."""
    camera = Camera(Link(constant(rate), loss=loss), awake=typing).run(40)
    rembs = camera.rembs(3, 40)
    assert min(rembs) > 0.85 * min(rate, TOP)
    assert max(rembs) < 1.1 * min(rate, TOP)


@pytest.mark.parametrize("moment", [5.5, 6.0, 6.5, 7.0])
def test_a_path_that_narrows_while_awake(moment: float) -> None:
    """1 Mbit/s falls to 400 kbit/s: known within half a second, no age over 0.4 s, nothing dropped, then steady."""
    camera = Camera(Link(lambda at: 1e6 if at < moment else 400e3), awake=typing).run(30)
    assert max(camera.rembs(moment + 0.5, 8)) < 450e3
    assert camera.age(5, 8, 1.0) < 0.4
    assert camera.link.dropped == 0
    assert min(camera.rembs(13, 30)) > 380e3
    assert camera.age(13, 16, 1.0) < 0.2


def test_a_path_that_narrows_while_idle_is_known_before_the_next_question() -> None:
    """Two idle frames tell it; the first woken ones already fit."""
    camera = Camera(Link(lambda at: 2e6 if at < 2 else 300e3), awake=typing).run(8)
    assert max(camera.rembs(3.8, 8)) < 330e3
    assert camera.age(5, 8, 1.0) < 0.25
    assert camera.link.dropped == 0


def test_a_path_that_widens_is_used_within_three_frames() -> None:
    """From 400 kbit/s to 2 Mbit/s."""
    camera = Camera(Link(lambda at: 400e3 if at < 6 else 2e6), awake=typing).run(20)
    assert min(camera.rembs(7, 20)) > 1.9e6
    assert camera.age(7, 8, 0.95) < 0.07


def test_cross_traffic_is_given_way_to_and_forgotten() -> None:
    """600 of 1,000 kbit/s for twelve seconds: no frame is dropped or older than 0.25 s, and the rate comes back."""
    camera = Camera(
        Link(constant(1e6), cross=lambda at: 6e5 if 10 < at < 22 else 0.0), awake=typing
    ).run(40)
    assert camera.link.dropped == 0
    assert camera.age(10, 24, 1.0) < 0.25
    assert camera.rembs(24, 29)[-1] == pytest.approx(1e6, rel=0.05)
    assert camera.age(29, 32, 0.95) < 0.1


@pytest.mark.parametrize("rate", [300e3, 1e6, 20e6])
def test_without_send_times_the_queue_is_still_kept_short(rate: float) -> None:
    """As in Firefox: no REMB, the spread on arrival raises the limit, and waiting frames lower it."""
    camera = Camera(Link(constant(rate)), awake=typing, timed=False).run(40)
    assert camera.link.dropped == 0
    assert camera.path.remb_due(100.0) is None
    assert camera.age(5, 40, 1.0) < 0.4
    caps = [cap for now, _, cap, _ in camera.log if now > 5]
    assert max(caps) <= TOP
    if rate >= 1e6:
        assert min(caps) > 0.5 * min(rate, TOP)


def test_small_frames_tell_nothing_and_change_nothing() -> None:
    """Frames of two packets: the estimate stays what it was over idle minutes."""
    path = PathRate()
    feed(path, 0.0, packets=8, spread=0.08)
    before = (path.remb(), path.cap(), path.frame_rate())
    assert path.remb() < TOP
    for n in range(1, 240):
        assert not feed(path, n * 0.5, packets=2, spread=0.3)
    assert (path.remb(), path.cap(), path.frame_rate()) == before


def feed(
    path: PathRate,
    at: float,
    *,
    packets: int,
    spread: float,
    sent: float = 0.0,
    marker: bool = True,
    delay: float = 0.02,
) -> bool:
    """A frame sent at `at` over `sent` seconds that arrives `delay` later over `spread` seconds."""
    changed = False
    for n in range(packets):
        share = n / max(1, packets - 1)
        changed |= path.packet(
            at + delay + spread * share,
            int((at + sent * share) * 2**18) & 0xFFFFFF,
            1000,
            round(at * 90_000) & 0xFFFFFFFF,
            marker and n == packets - 1,
        )
    return changed


def test_a_stalled_event_loop_does_not_fool_it() -> None:
    """Packets that are read at once look like a fast link; one such frame in five changes nothing."""
    path = PathRate()
    for n in range(60):
        feed(path, n * 0.5, packets=8, spread=0.08 if n % 5 else 1e-6)
        if n > 5:
            assert path.remb() == pytest.approx(8 * 1040 * 7 / 0.08, rel=0.02)


def test_one_slow_frame_alone_changes_nothing() -> None:
    """Two in a row do, at once."""
    path = PathRate()
    for n in range(10):
        feed(path, n * 0.5, packets=8, spread=0.04)
    wide = path.remb()
    feed(path, 5.0, packets=8, spread=0.2)
    assert path.remb() == wide
    feed(path, 5.5, packets=8, spread=0.04)
    feed(path, 6.0, packets=8, spread=0.2)
    assert path.remb() == wide
    feed(path, 6.5, packets=8, spread=0.2)
    assert path.remb() == pytest.approx(8 * 1040 * 7 / 0.2, rel=0.02)


def test_a_paced_frame_is_only_a_lower_bound() -> None:
    """It came as it was sent, so a fast path is not taken for a slow one."""
    path = PathRate()
    feed(path, 0.0, packets=8, spread=0.02)
    before = path.remb()
    for n in range(1, 20):
        feed(path, n * 0.5, packets=8, spread=0.2, sent=0.2)
    assert path.remb() == before


def test_frames_without_a_marker_close_at_the_next_one() -> None:
    """The estimate is one frame late, not lost."""
    path = PathRate()
    assert not feed(path, 0.0, packets=8, spread=0.08, marker=False)
    assert feed(path, 0.5, packets=1, spread=0.0)
    assert path.remb() == pytest.approx(8 * 1040 * 7 / 0.08, rel=0.02)


def test_late_packets_of_an_earlier_frame_are_left_out() -> None:
    """They neither cut the frame in two nor stretch it."""
    path = PathRate()
    feed(path, 0.0, packets=8, spread=0.08)
    for frame in range(1, 6):
        start = frame * 0.5
        for n in range(8):
            at = start + 0.02 + 0.04 * n / 7
            path.packet(at, int(start * 2**18), 1000, frame * 45_000, n == 7)
            path.packet(at + 0.001, 0, 1000, frame * 45_000 - 3000, n == 3)
    assert path.remb() == pytest.approx(8 * 1040 * 7 / 0.04, rel=0.02)


def test_packets_that_their_marker_overtook_make_no_train_of_their_own() -> None:
    """They come late, and would tell of a slow path."""
    path = PathRate()
    feed(path, 0.0, packets=8, spread=0.08)
    before = path.remb()
    for n in range(6):
        path.packet(0.12 + n * 0.02, 0, 1000, 0, n == 5)
    assert path.remb() == before


@pytest.mark.parametrize("back", [False, True])
def test_send_times_wrap_within_a_frame(back: bool) -> None:
    """After 64 s, in order or with two packets changed over."""
    path = PathRate()
    sent = [63.99 + 0.03 * n / 7 for n in range(8)]
    if back:
        sent = [64.001, 63.999, *(64.002 + n * 0.003 for n in range(6))]
    for n, at in enumerate(sent):
        path.packet(64.02 + 0.08 * n / 7, int(at * 2**18) & 0xFFFFFF, 1000, 5, n == 7)
    assert path.remb() == pytest.approx(8 * 1040 * 7 / 0.08, rel=0.02)


def test_a_slow_frame_and_a_queue_behind_it_count_at_once() -> None:
    """The next frame's first packet shows the queue: no need to wait for its end."""
    path = PathRate()
    for n in range(5):
        feed(path, n * 0.1, packets=8, spread=0.04)
    feed(path, 0.5, packets=8, spread=0.2)
    wide = path.remb()
    assert path.packet(0.72, int(0.6 * 2**18), 1000, 54_000, False)
    assert path.remb() < 0.3 * wide


def test_a_new_stream_with_other_timestamps_is_taken_up() -> None:
    """The path is the same after a new SSRC, whatever its timestamps."""
    path = PathRate()
    feed(path, 0.0, packets=8, spread=0.08)
    for n in range(8):
        path.packet(1.02 + 0.04 * n / 7, int(1.0 * 2**18), 1000, 2**32 - 3600 * 90_000, n == 7)
    assert path.packet(2.0, 2 * 2**18, 1000, 2**32 - 3599 * 90_000, True) in (True, False)
    assert len(path._rates) == 2


def test_anything_may_come_in() -> None:
    """Random packets never raise, and what is told stays within its bounds."""
    rng = random.Random(5)
    path = PathRate()
    now = 0.0
    for _ in range(20_000):
        now += rng.choice([0, 0.0001, 0.01, 1])
        path.packet(
            now,
            rng.choice([None, rng.randrange(2**24)]),
            rng.choice([0, 1, 1200, 65_535]),
            rng.choice([rng.randrange(2**32), 5, 3005]),
            rng.random() < 0.2,
            rng.choice([None, rng.randrange(65_536)]),
        )
        assert 150_000 <= path.remb() <= TOP
        assert 120_000 <= path.cap() <= TOP
        assert 5 <= path.frame_rate() <= 30
        path.remb_due(now)
        path.page_due()


def test_remb_is_due_at_once_when_it_moved_and_else_each_second() -> None:
    """A value counts as sent."""
    path = PathRate()
    path.packet(0.0, 0, 1000, 0, True)
    assert path.remb_due(0.0) == TOP
    assert path.remb_due(0.99) is None
    assert path.remb_due(1.0) == TOP
    feed(path, 1.0, packets=8, spread=0.08)
    assert path.remb_due(1.1) == path.remb() < TOP
    assert path.remb_due(1.2) is None


def test_the_page_is_told_at_first_and_when_it_matters() -> None:
    """Once for each move of more than 8 %."""
    path = PathRate()
    assert path.cap() == CAP_FIRST
    assert path.page_due()
    assert not path.page_due()
    feed(path, 0.0, packets=8, spread=0.08)
    assert path.page_due()
    feed(path, 0.5, packets=8, spread=0.078)
    assert not path.page_due()


# the page's three states


def test_a_wide_path_needs_no_ramp() -> None:
    """Idle as measured: 2 frames/s at 200 kbit/s; awake at the top at once."""
    plan = sender_plan(TOP, 30, 2)
    assert (plan.idle.max_framerate, plan.idle.max_bitrate) == (2, 200_000)
    # No limit that a camera of 30 frames a second could touch: Chromium would drop half of them.
    assert (plan.awake.max_framerate, plan.awake.max_bitrate) == (60, TOP)
    assert plan.ramp == ()


def test_a_narrow_path_is_climbed() -> None:
    """At 325 kbit/s and 8 frames/s: from the bits of two frames to those of eight within 2 s."""
    plan = sender_plan(325_000, 8, 2)
    assert plan.idle.max_bitrate == int(1.5 * 2 * 325_000 / 8)
    assert [at for at, _ in plan.ramp] == [0, 150, 300, 450, 600, 800, 1000, 1300, 1600, 2000]
    bits = 325_000 / 8
    assert [rate for _, rate in plan.ramp][:3] == [
        int(bits * (2 + 0.6 * 8 * at)) for at in (0, 0.15, 0.3)
    ]
    assert [rate for _, rate in plan.ramp] == sorted(rate for _, rate in plan.ramp)
    assert plan.ramp[-1] == (2000, 325_000)


@pytest.mark.parametrize("idle", [0.1, 0.5, 1, 2, 5, 30])
@pytest.mark.parametrize(("cap", "fps"), [(120_000, 5), (300_000, 8), (1_000_000, 25), (TOP, 30)])
def test_idle_never_asks_for_more_than_awake(idle: float, cap: int, fps: int) -> None:
    """Whole frame rates of at least one, bits within the bounds."""
    plan = sender_plan(cap, fps, idle)
    assert 1 <= plan.idle.max_framerate <= fps
    assert 30_000 <= plan.idle.max_bitrate <= cap
    assert plan.idle.max_bitrate <= 100_000 * plan.idle.max_framerate
