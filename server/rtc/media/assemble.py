"""From RTP packets to whole frames, with the requests that repair them. Pure: the caller gives the time.

The owner makes one `Assembler` per media stream, and a new one for a new SSRC. It adds every media packet (and
those that came back by retransmission) as it comes, then sends what `nacks` and `key_frame_wanted` tell, and
calls `poll` when `deadline` has come. A packet whose payload is malformed is not added: it counts as lost.

A frame is complete at its marker bit, which saves one frame period against waiting for the next timestamp. What
comes out is in order, whole, and decodable: after a gap deltas are dropped until a key frame.
"""

from __future__ import annotations

import math

from server.rtc.media.missing import MissingPackets
from server.rtc.media.packet import EncodedFrame, Packet, newer
from server.rtc.media.packets_ahead import PacketsAhead

# A missing packet older than this is given up: the last request for it (`missing.NACK_AT`) may still be answered.
HOLE_S = 0.45
# Packets that would end a frame are asked for when nothing came for so long: an idle camera's next frame, which would
# show that they are missing, is far away. A sender that has not sent them yet ignores it.
TAIL_AT = (0.08, 0.2)
TAIL_PACKETS = 2
# A whole key frame behind a hole replaces what the hole holds back: at once when deltas cannot be used anyway,
# else after this time, so that packets out of order cost nothing.
KEY_GRACE_S = 0.02
# Least time between two requests for a key frame.
PLI_S = 0.5
# After a silence of this time what is missing was lost with the link: a key frame is asked for without waiting.
SILENCE_S = 1.0
# Bounds of one frame, and again of everything behind the oldest hole (missing packets count too). A larger frame
# is dropped; a hole with more behind it is given up at once.
MAX_PACKETS = 512
MAX_BYTES = 2 << 20
# Packets further away than this come from a sender that started again, once several of them follow each other:
# few when their timestamps are newer than all others, more when they might be old duplicates.
FAR = 3000
RESTART_RUN = 3
RESTART_RUN_OLD = 16
# How far the stream's very first packet may have been overtaken.
MISORDERED_START = 16


class Assembler:
    """One stream's packets in, whole frames out.

    Sequence numbers are unwrapped inside: plain integers that grow, the lower 16 bits as on the wire.
    """

    def __init__(self) -> None:
        # Frames not handed out: "broken" lacked packets, "no_key" lacked their reference.
        self.dropped: dict[str, int] = {"broken": 0, "no_key": 0}
        # Packets that never came.
        self.given_up = 0
        # Packets that came twice, too late or from nowhere.
        self.ignored = 0
        # Times the sender began anew within the same SSRC.
        self.restarts = 0
        # False once a frame went on after its marker (H.264 senders may mark every slice): such a sender's
        # frames are complete at the next timestamp only.
        self._markers = True
        # When a key frame was last asked for.
        self._asked = -PLI_S
        # When the newest packet came; None before the first.
        self._heard: float | None = None
        # Timestamp of the key frame handed out last.
        self._key_timestamp: int | None = None
        self._begin()

    def _begin(self) -> None:
        """Back to where a stream's first packet decides where it begins."""
        # The first sequence number not yet taken into a frame.
        self._next = 0
        # Its 16 bits; -1 before the first packet.
        self._expected = -1
        # The frame being collected; empty between frames.
        self._parts: list[bytes] = []
        self._bytes = 0
        self._frame_key = False
        self._frame_first = 0.0
        self._frame_last = 0.0
        # How many of `TAIL_AT` are done since its newest packet.
        self._tail_asked = 0
        # Timestamp of the packet at `_next` - 1, which is that of the frame being collected; None when it was lost.
        self._before: int | None = None
        # Whether that packet closed its frame by its marker.
        self._marker_before = False
        # A key frame that its marker closed, until the next frame begins; see `_go_on_after_marker`.
        self._closed_key: list[bytes] | None = None
        # Packets behind a hole. Whenever there are any, `_next` is missing.
        self._ahead = PacketsAhead()
        # What is missing before their end.
        self._missing = MissingPackets()
        # Deltas cannot be used: no key frame yet, or the chain of references was broken.
        self._need_key = True
        # A key frame has to be asked for.
        self._want_key = False
        # Timestamp of the frame whose rest is being thrown away, so that it counts once.
        self._tail_timestamp: int | None = None
        # Everything so far while no frame has begun; its missing beginning may be late. None from then on.
        self._opening: list[Packet] | None = []
        # Packets from far away that follow each other: together they may be a new beginning.
        self._far: list[Packet] = []

    @property
    def held(self) -> int:
        """Packets held now, at most twice `MAX_PACKETS`."""
        return len(self._parts) + len(self._ahead) + len(self._closed_key or ())

    def add(self, packet: Packet, now: float, retransmission: bool = False) -> list[EncodedFrame]:
        """Take a packet in and return the frames that it completes, oldest first."""
        frames: list[EncodedFrame] = []
        packet.arrived = now
        heard, self._heard = self._heard, now
        if packet.sequence == self._expected and not self._ahead:
            if self._far:
                self._forget_far()
            self._consume(packet, frames)
        else:
            self._add_out_of_order(packet, now, retransmission, frames)
            if self._missing and heard is not None and now - heard >= SILENCE_S:
                self._want_key = True
                # What was asked for meanwhile was lost as well.
                self._asked = -PLI_S
        return frames

    def poll(self, now: float) -> list[EncodedFrame]:
        """Give up what is overdue and return the frames that this sets free."""
        frames: list[EncodedFrame] = []
        while self._missing and now >= self._hole_due():
            self._pass_hole(frames)
        return frames

    def deadline(self) -> float | None:
        """When `poll`, `nacks` or `key_frame_wanted` has something to do without a further packet; None: never.

        It lies in the past when something is due already. They compare `now` with the very number returned here.
        """
        due = self._asked + PLI_S if self._want_key else math.inf
        if self._missing:
            due = min(due, self._missing.due, self._hole_due())
        elif self._parts:
            due = min(due, self._tail_due())
        return None if due == math.inf else due

    def nacks(self, now: float) -> list[int]:
        """Sequence numbers to ask for now, at most 64, the oldest first; counts as asking."""
        if now >= self._missing.due:
            return self._missing.take_due(now)
        if self._parts and not self._missing and now >= self._tail_due():
            while now >= self._tail_due():
                self._tail_asked += 1
            return [(self._expected + n) & 0xFFFF for n in range(TAIL_PACKETS)]
        return []

    def key_frame_wanted(self, now: float) -> bool:
        """Whether to ask for a key frame now; true counts as asking."""
        if self._want_key and now >= self._asked + PLI_S:
            self._asked = now
            return True
        return False

    def decode_failed(self, timestamp: int | None = None) -> None:
        """The decoder refused a frame, so what follows has no reference until a key frame.

        With the frame's RTP timestamp this is ignored when a newer key frame was handed out already.
        """
        newest = self._key_timestamp
        if timestamp is None or newest is None or newer(newest, timestamp) <= 0:
            self._lose_reference()

    # in order

    def _consume(self, packet: Packet, frames: list[EncodedFrame]) -> None:
        """Take the packet at `_next` into a frame."""
        self._next += 1
        self._expected = (packet.sequence + 1) & 0xFFFF
        data = packet.data
        if self._opening is not None:
            self._opening.append(packet)
            if len(self._opening) > MISORDERED_START:
                self._opening = None
        if not data:
            return  # Padding belongs to no frame, and an empty frame would flush the decoder.
        timestamp = packet.timestamp
        same = timestamp == self._before
        if self._parts and same:
            self._parts.append(data)
            self._bytes += len(data)
            if packet.key:
                self._frame_key = True
            arrived = packet.arrived
            if arrived > self._frame_last:
                self._frame_last = arrived
                self._tail_asked = 0
            elif arrived < self._frame_first:
                self._frame_first = arrived
            if len(self._parts) > MAX_PACKETS or self._bytes > MAX_BYTES:
                self._drop_parts()
                self._lose_reference()
                return
        else:
            if self._parts:
                self._complete(frames)
            elif not packet.start and (same or self._before is None):
                if not (same and self._marker_before and self._go_on_after_marker(packet)):
                    self._throw_tail(packet)
                return
            self._opening = None
            self._closed_key = None
            self._parts.append(data)
            self._bytes = len(data)
            self._before = timestamp
            self._marker_before = False
            self._frame_key = packet.key
            self._frame_first = self._frame_last = packet.arrived
            self._tail_asked = 0
        if packet.marker and self._markers:
            parts = self._parts
            self._complete(frames)
            self._marker_before = True
            self._closed_key = parts if self._frame_key else None

    def _complete(self, frames: list[EncodedFrame]) -> None:
        parts = self._parts
        self._parts = []
        self._bytes = 0
        timestamp = self._before
        assert timestamp is not None  # A frame being collected has one.
        if self._frame_key:
            self._need_key = self._want_key = False
            self._key_timestamp = timestamp
        elif self._need_key:
            self.dropped["no_key"] += 1
            self._want_key = True
            return
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        frames.append(
            EncodedFrame(data, timestamp, self._frame_key, self._frame_first, self._frame_last)
        )

    def _go_on_after_marker(self, packet: Packet) -> bool:
        """The frame handed out last was not whole: never believe a marker again.

        A key frame is collected anew and handed out once more, whole (true). A delta cannot be mended: deltas
        wait for a key frame and its rest is thrown away (false).
        """
        self._markers = False
        if self._closed_key is None:
            self._tail_timestamp = packet.timestamp
            if not self._need_key:
                self.dropped["broken"] += 1
                self._lose_reference()
            return False
        self._parts = self._closed_key
        self._closed_key = None
        self._parts.append(packet.data)
        self._bytes = sum(len(part) for part in self._parts)
        self._frame_last = max(self._frame_last, packet.arrived)
        return True

    def _throw_tail(self, packet: Packet) -> None:
        """A packet of a frame whose beginning is lost."""
        if self._tail_timestamp != packet.timestamp:
            self._tail_timestamp = packet.timestamp
            self.dropped["broken"] += 1
            self._lose_reference()
        self._before = packet.timestamp
        self._marker_before = False

    def _drop_parts(self) -> None:
        """Drop the frame being collected, if any; its rest will not count again."""
        if self._parts:
            self.dropped["broken"] += 1
            self._tail_timestamp = self._before
            self._parts = []
            self._bytes = 0

    def _lose_reference(self) -> None:
        self._need_key = self._want_key = True

    # out of order

    def _add_out_of_order(
        self, packet: Packet, now: float, retransmission: bool, frames: list[EncodedFrame]
    ) -> None:
        if self._expected < 0:
            self._next = packet.sequence
        sequence = self._next + ((packet.sequence - self._next + 0x8000) & 0xFFFF) - 0x8000
        distance = sequence - self._next
        opening = self._opening
        if opening is not None and -MISORDERED_START <= distance + len(opening) < 0:
            self._rewind(sequence, now)
        elif distance < 0 or distance >= FAR:
            if retransmission:
                self.ignored += 1
            else:
                self._add_far(packet, distance, frames)
            return
        if sequence in self._ahead:
            self.ignored += 1
            return
        if self._far:
            self._forget_far()
        ahead = self._ahead
        end = ahead.end if ahead else self._next
        if sequence - end > MAX_PACKETS:
            self._jump(sequence, end, frames)
        elif sequence > end:
            self._missing.append(end, sequence, now)
        elif sequence < end:
            self._missing.remove(sequence)
        ahead.end = max(end, sequence + 1)
        if sequence == self._next:
            self._consume(packet, frames)
            self._drain(frames)
        else:
            ahead.keep(sequence, packet, self._markers)
        while ahead and (ahead.end - self._next > MAX_PACKETS or ahead.size > MAX_BYTES):
            self._pass_hole(frames)
        if ahead.whole_key is not None and (self._need_key or now >= self._hole_due()):
            self._pass_hole(frames)

    def _drain(self, frames: list[EncodedFrame]) -> None:
        """Take in what follows `_next` without a gap."""
        ahead = self._ahead
        while packet := ahead.take(self._next):
            self._consume(packet, frames)
        ahead.taken(self._next, self._markers)

    # giving up

    def _tail_due(self) -> float:
        """When to ask for the rest of the frame being collected, if nothing else comes."""
        if self._tail_asked >= len(TAIL_AT) or not self._markers:
            return math.inf
        return self._frame_last + TAIL_AT[self._tail_asked]

    def _hole_due(self) -> float:
        """When the oldest hole is to be given up. There must be one."""
        return self._missing.oldest() + (HOLE_S if self._ahead.whole_key is None else KEY_GRACE_S)

    def _pass_hole(self, frames: list[EncodedFrame]) -> None:
        """Give up the oldest hole; with a whole key frame behind it, everything before that one."""
        target = self._ahead.whole_key
        self._skip_hole(frames)
        while target is not None and self._next <= target:
            self._skip_hole(frames)

    def _skip_hole(self, frames: list[EncodedFrame]) -> None:
        self._drop_parts()
        self._lose_reference()
        self._before = None
        self._marker_before = False
        self._closed_key = None
        self._opening = None
        while self._next in self._missing:
            self._missing.remove(self._next)
            self._next += 1
            self.given_up += 1
        self._expected = self._next & 0xFFFF
        self._drain(frames)

    def _jump(self, sequence: int, end: int, frames: list[EncodedFrame]) -> None:
        """So much is missing that nobody will send it again: go on behind it."""
        while self._ahead:
            self._pass_hole(frames)
        self._drop_parts()
        self._lose_reference()
        self._before = None
        self._marker_before = False
        self._closed_key = None
        self._opening = None
        self.given_up += sequence - end
        self._next = sequence

    # beginnings

    def _rewind(self, sequence: int, now: float) -> None:
        """The stream's first packet had overtaken this one, and no frame has begun since."""
        opening, self._opening = self._opening or [], []
        first = self._next - len(opening)
        if not self._ahead:
            self._ahead.end = self._next
        for offset, packet in enumerate(opening):
            self._ahead.keep(first + offset, packet, self._markers)
        self._missing.prepend(sequence, first, now)
        self._next = sequence
        self._before = None
        self._tail_timestamp = None

    def _add_far(self, packet: Packet, distance: int, frames: list[EncodedFrame]) -> None:
        """A packet outside of what can be expected. A run of them shows that the sender began anew."""
        newest = self._ahead.newest().timestamp if self._ahead else self._before
        newest_yet = newest is not None and newer(packet.timestamp, newest) > 0
        if -FAR < distance < 0 and not newest_yet:
            self.ignored += 1  # Late, or sent twice.
            return
        if self._far and packet.sequence != (self._far[-1].sequence + 1) & 0xFFFF:
            self._forget_far()
        self._far.append(packet)
        if len(self._far) < (RESTART_RUN if newest_yet else RESTART_RUN_OLD):
            return
        run = self._far
        self._drop_parts()
        self._begin()
        self._want_key = True
        self.restarts += 1
        for packet in run:
            frames += self.add(packet, packet.arrived)

    def _forget_far(self) -> None:
        self.ignored += len(self._far)
        self._far = []
