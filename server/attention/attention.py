"""One piece of background work: its change gate, its pace, and the frame of its last answer."""

from __future__ import annotations

from server.attention.gate import Change, ChangeGate
from server.attention.pace import Pace
from server.attention.planes import Planes
from server.attention.scratch import U8, Scratch
from server.core.frames import Frame


class Attention:
    """Decides when one piece of background work asks (0.9 MB beside the scratch). One caller at a time.

    Frames come in the order of their capture. `now` is in seconds of any steady clock. One request
    runs at a time: `asked`, then one of `answered`, `failed` and `dropped`.
    """

    def __init__(self, scratch: Scratch, *, sensitivity: float = 1.0) -> None:
        """Raises ValueError for a sensitivity beyond 0.25 to 4."""
        self._gate = ChangeGate(scratch, sensitivity=sensitivity)
        self._pace = Pace()
        # Looks are compared with the frame of the request that runs.
        self._ahead = False
        # The planes of the frame of the request
        self._asked = Planes()

    @property
    def small(self) -> U8:
        """The luma of the last look, about 160×90 and upright; the next look may overwrite it."""
        return self._gate.seen.upright()

    def sensitive(self, sensitivity: float) -> None:
        """Set the sensitivity. Raises ValueError beyond 0.25 to 4."""
        self._gate.sensitivity = sensitivity

    def look(self, frame: Frame) -> Change | None:
        """Compare a frame with that of the last answer; None soon after the last look."""
        if not self._gate.due(frame.captured):
            return None
        return self._gate.look(frame.image, frame.captured)

    def due(self, change: Change, now: float) -> bool:
        """Return True when the frame of the last look should be asked about."""
        return self._pace.due(change, now)

    def asked(self, change: Change, now: float) -> None:
        """Note that the frame of the last look was sent, or waits for its turn."""
        self._asked.take(self._gate.seen)
        self._pace.asked(change, now)

    def compare_asked(self) -> None:
        """Compare with the asked frame from now on, before its answer is there."""
        self._gate.answered(self._asked)
        self._ahead = True

    def answered(self, now: float, *, same: bool) -> None:
        """Compare with the asked frame from now on. `same`: its answer says nothing new."""
        if not self._ahead:
            self._gate.answered(self._asked)
        self._ahead = False
        self._pace.answered(now, same=same)

    def failed(self, now: float) -> None:
        """Ask again after a pause, which grows with each failure in a row."""
        if self._ahead:
            # Nothing is known about the frame that looks are compared with.
            self._gate.forget()
        self._ahead = False
        self._pace.failed(now)

    def dropped(self) -> None:
        """Note that the request was stopped before its end: the next look may ask again."""

    def retry(self) -> None:
        """End the pause, because a request that failed may succeed now."""
        self._pace = Pace()

    def forget(self) -> None:
        """Forget the frame of the last answer, because another stream or subject begins."""
        self._gate.forget()
        self._ahead = False
        self._pace = Pace()
