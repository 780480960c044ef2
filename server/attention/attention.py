"""One piece of background work: its change gate, its pace, and the frame of its last answer."""

from __future__ import annotations

from server.attention.gate import LOOK_SECONDS, Change, ChangeGate, check_sensitivity
from server.attention.glance import Glance
from server.attention.pace import Pace
from server.attention.planes import Planes
from server.attention.scratch import U8, Scratch
from server.core.frames import Frame


class Attention:
    """Decides when one piece of background work asks. One caller at a time.

    It takes 0.9 MB beside the scratch from its first look on, until `forget`. Frames come in the order of their capture. `now` is in seconds of any steady clock. One request
    runs at a time: `asked`, then one of `answered`, `failed` and `dropped`.

    Bounds of a change gate's reference frame and learned activity: 0.9 MB; the next answer's
    frame replaces it.
    """

    def __init__(self, scratch: Scratch, *, sensitivity: float = 1.0) -> None:
        """Raises ValueError for a sensitivity beyond 0.25 to 4."""
        check_sensitivity(sensitivity)
        self._scratch = scratch
        self._sensitivity = sensitivity
        # None before the first look
        self._gate: ChangeGate | None = None
        # None before the first glance
        self._glance: Glance | None = None
        self._pace = Pace()
        # Looks are compared with the frame of the request that runs.
        self._ahead = False
        # The planes of the frame of the request, and of that before; None before the first
        self._asked: Planes | None = None
        self._before: Planes | None = None

    @property
    def small(self) -> U8:
        """The luma of the last look, about 160×90 and upright; the next look may overwrite it.

        Raises RuntimeError before the first look.
        """
        return self._looked().seen.upright()

    def sensitive(self, sensitivity: float) -> None:
        """Set the sensitivity. Raises ValueError beyond 0.25 to 4."""
        check_sensitivity(sensitivity)
        self._sensitivity = sensitivity
        if self._gate is not None:
            self._gate.sensitivity = sensitivity

    def look(self, frame: Frame) -> Change | None:
        """Compare a frame with that of the last answer; None soon after the last look."""
        if self._gate is None:
            self._gate = ChangeGate(self._scratch, sensitivity=self._sensitivity)
        if not self._gate.due(frame.captured):
            return None
        if self._glance is not None:
            self._glance.looked(frame.image, frame.captured)
        return self._gate.look(frame.image, frame.captured)

    def glance(self, frame: Frame) -> Change | None:
        """Look early at a frame between two looks, if it clearly differs from the last; else None."""
        if self._gate is None:
            return None
        if self._glance is None:
            self._glance = Glance()
        if not self._glance.differs(frame.image, frame.captured):
            return None
        return self._gate.look_early(frame.image)

    def due(self, change: Change, now: float) -> bool:
        """Return True when the frame of the last look should be asked about."""
        return self._pace.due(change, now)

    def asked(self, change: Change, now: float, *, ahead: bool = False) -> None:
        """Note that the frame of the last look was sent, or waits for its turn.

        `ahead`: compare with it from now on, before its answer is there.
        """
        seen = self._looked().seen
        if ahead:
            self._before, self._asked = self._asked, None
        if self._asked is None:
            self._asked = Planes()
        self._asked.take(seen)
        self._pace.asked(change, now)
        self._ahead = ahead
        if ahead:
            self._compare()

    def differs_from_before(self, frame: Frame) -> bool:
        """Return True when a frame shows another scene than that before the last change: the change stays.

        For requests ahead of their answers. Nothing is learned from it.
        """
        if self._before is None:
            return False
        gate = ChangeGate(self._scratch, sensitivity=self._sensitivity)
        gate.answered(self._before)
        # Weak evidence needs two looks.
        return any(
            gate.look(frame.image, frame.captured + seconds).changed
            for seconds in (0.0, LOOK_SECONDS)
        )

    def answered(self, now: float, *, same: bool) -> None:
        """Compare with the asked frame from now on. `same`: its answer says nothing new."""
        if not self._ahead:
            self._compare()
        self._ahead = False
        self._pace.answered(now, same=same)

    def failed(self, now: float) -> None:
        """Ask again after a pause, which grows with each failure in a row."""
        if self._ahead and self._gate is not None:
            # Nothing is known about the frame that looks are compared with.
            self._gate.forget()
        self._ahead = False
        self._pace.failed(now)

    def lost(self, now: float) -> None:
        """Ask anew after a pause, though nothing changes: an answer about the present scene did not come."""
        if self._gate is not None:
            self._gate.forget()
        self._pace.failed(now)

    def dropped(self) -> None:
        """Note that the request was stopped before its end: the next look may ask again."""

    def retry(self) -> None:
        """End the pause, because a request that failed may succeed now."""
        self._pace.retry()

    def forget(self) -> None:
        """Forget all frames, because another stream or subject begins, or none is wanted any more."""
        self._gate = self._glance = self._asked = self._before = None
        self._ahead = False
        self._pace = Pace()

    def _compare(self) -> None:
        """Compare with the asked frame from now on, if it was not forgotten meanwhile."""
        if self._gate is not None and self._asked is not None:
            self._gate.answered(self._asked)

    def _looked(self) -> ChangeGate:
        if self._gate is None:
            raise RuntimeError("there was no look yet")
        return self._gate
