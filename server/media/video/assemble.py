"""Assemble RTP packets into complete frames, and decide which repairs to request. Pure: the caller passes the time.

The owner creates one `Assembler` per media stream, and another one for a new SSRC. It adds every
media packet on arrival (retransmitted ones, too), sends the requests returned by `nacks` and
`take_key_frame_request`, and calls `poll` at `deadline`. A packet with a malformed payload is not added:
it is treated as lost.

A frame is complete at its marker bit, which saves one frame period compared with waiting for the
next timestamp. Returned frames are whole, in order and decodable: after a gap, deltas are dropped
until a key frame.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import islice

from server.media.path_rate import to_signed_difference
from server.media.video.payload import EncodedFrame, Packet

# Silence after which a key frame is requested immediately, because packets were lost with the link
SILENCE_S = 1.0
# Bounds of one frame, and separately of all packets after the oldest hole, including missing ones.
# A larger frame is dropped; a hole with more packets after it is given up immediately.
MAX_PACKETS = 512
MAX_BYTES = 2 << 20
# Number of packets that the stream's first packet may have overtaken
MISORDERED_START = 16


class Assembler:
    """Orders the packets of one stream, has holes repaired, and returns whole frames.

    Sequence numbers are unwrapped internally: growing integers with the lower 16 bits as on the
    wire.

    Bounds of packets of a frame: 512; a hole is given up after 450 ms or when full.
    """

    def __init__(self) -> None:
        self._builder = FrameBuilder()
        # Time of the last request for a key frame
        self._key_asked = -PLI_S
        # Arrival of the newest packet; None before the first packet
        self._heard: float | None = None
        self._begin()

    def _begin(self) -> None:
        """Reset to the state before a stream's first packet."""
        # First sequence number not yet added to a frame
        self._next = 0
        # Its lower 16 bits; -1 before the first packet
        self._expected = -1
        # Packets after a hole; if there are any, `_next` is missing.
        self._ahead = PacketsAhead()
        # Missing packets before the end of `_ahead`
        self._missing = MissingPackets()
        # All packets until the first frame begins, whose start may arrive late; None afterwards
        self._opening: list[Packet] | None = []
        # Consecutive packets with distant sequence numbers, at most `RESTART_RUN_OLD`, which may be a
        # restart of the sender
        self._far: list[Packet] = []

    @property
    def held(self) -> int:
        """Number of stored packets, at most twice `MAX_PACKETS`."""
        return self._builder.held + len(self._ahead)

    @property
    def dropped(self) -> Counter[str]:
        """Dropped frames by reason, removed by the owner: "broken" lacked packets, "no_key" a reference."""
        return self._builder.dropped

    def add(self, packet: Packet, now: float, retransmission: bool = False) -> list[EncodedFrame]:
        """Add a packet. Return the frames that it completes, oldest first."""
        frames: list[EncodedFrame] = []
        packet.arrived = now
        heard, self._heard = self._heard, now
        if packet.sequence == self._expected and not self._ahead:
            self._far.clear()
            self._consume(packet, frames)
        else:
            self._add_out_of_order(packet, now, retransmission, frames)
            if self._missing and heard is not None and now - heard >= SILENCE_S:
                # A request sent during the silence was also lost.
                self._builder.wants_key, self._key_asked = True, -PLI_S
        return frames

    def poll(self, now: float) -> list[EncodedFrame]:
        """Give up overdue packets. Return the frames that become available."""
        frames: list[EncodedFrame] = []
        while self._missing and now >= self._get_hole_deadline():
            self._pass_hole(frames)
        return frames

    def deadline(self) -> float:
        """Return the time at which `poll`, `nacks` or `take_key_frame_request` has work without a new packet.

        It is infinite for never, and in the past if work is already due. Those methods compare `now`
        with exactly this number.
        """
        due = self._get_key_frame_time()
        if self._missing:
            return min(due, self._missing.due, self._get_hole_deadline())
        return min(due, self._builder.get_tail_time())

    def take_nacks(self, now: float) -> list[int]:
        """Return the sequence numbers to request now, at most 64, oldest first; they count as requested."""
        if now >= self._missing.due:
            return self._missing.take_due(now)
        if self._missing or now < self._builder.get_tail_time():
            return []
        while now >= self._builder.get_tail_time():
            self._builder.tail_asked += 1
        return [(self._expected + n) & 0xFFFF for n in range(TAIL_PACKETS)]

    def take_key_frame_request(self, now: float) -> bool:
        """Return True if a key frame should be requested now; it counts as requested."""
        if now < self._get_key_frame_time():
            return False
        self._key_asked = now
        return True

    def decode_failed(self, timestamp: int | None = None) -> None:
        """Drop deltas until a key frame, because the decoder refused a frame.

        Ignored if `timestamp`, the frame's RTP timestamp, is older than a key frame that was already
        returned.
        """
        newest = self._builder.key_timestamp
        if timestamp is None or newest is None or to_signed_difference(newest - timestamp) <= 0:
            self._builder.lose_reference()

    # in order

    def _consume(self, packet: Packet, frames: list[EncodedFrame]) -> None:
        """Add the packet at `_next` to a frame."""
        self._next += 1
        self._expected = (packet.sequence + 1) & 0xFFFF
        if self._opening is not None:
            self._opening.append(packet)
            if len(self._opening) > MISORDERED_START:
                self._opening = None
        # Padding belongs to no frame, and an empty frame would flush the decoder.
        if packet.data and self._builder.add(packet, frames):
            self._opening = None

    # out of order

    def _add_out_of_order(
        self, packet: Packet, now: float, retransmission: bool, frames: list[EncodedFrame]
    ) -> None:
        if self._expected < 0:
            self._next = packet.sequence
        distance = to_signed_difference(packet.sequence - self._next, 16)
        sequence = self._next + distance
        opening = self._opening
        if opening is not None and -MISORDERED_START <= distance + len(opening) < 0:
            self._rewind(sequence, now)
        elif distance < 0 or distance >= FAR:
            if not retransmission:
                self._add_far(packet, distance, frames)
            return
        if sequence in self._ahead:
            return
        self._far.clear()
        ahead = self._ahead
        end = ahead.end if ahead else self._next
        if sequence - end > MAX_PACKETS:
            self._jump(sequence, frames)
        elif sequence > end:
            self._missing.append(end, sequence, now)
        elif sequence < end:
            self._missing.remove(sequence)
        ahead.end = max(end, sequence + 1)
        if sequence == self._next:
            self._consume(packet, frames)
            self._drain(frames)
        else:
            ahead.keep(sequence, packet, self._builder.markers)
        self._enforce_bounds(now, frames)

    def _enforce_bounds(self, now: float, frames: list[EncodedFrame]) -> None:
        """Give up holes while too many packets, or a whole key frame, wait after them."""
        ahead = self._ahead
        while ahead and (ahead.end - self._next > MAX_PACKETS or ahead.size > MAX_BYTES):
            self._pass_hole(frames)
        if ahead.whole_key is not None and (
            self._builder.need_key or now >= self._get_hole_deadline()
        ):
            self._pass_hole(frames)

    def _drain(self, frames: list[EncodedFrame]) -> None:
        """Consume the packets from `_next` up to the next gap."""
        ahead = self._ahead
        while packet := ahead.take(self._next):
            self._consume(packet, frames)
        ahead.update_whole_key(self._next, self._builder.markers)

    def _get_key_frame_time(self) -> float:
        """Return the time of the next request for a key frame; infinite for never, in the past for now."""
        return self._key_asked + PLI_S if self._builder.wants_key else math.inf

    # giving up

    def _get_hole_deadline(self) -> float:
        """Return the time at which the oldest hole is given up. There must be one."""
        return self._missing.oldest() + (HOLE_S if self._ahead.whole_key is None else KEY_GRACE_S)

    def _pass_hole(self, frames: list[EncodedFrame]) -> None:
        """Give up the oldest hole; with a whole key frame after it, everything before that frame."""
        target = self._ahead.whole_key
        self._skip_hole(frames)
        while target is not None and self._next <= target:
            self._skip_hole(frames)

    def _skip_hole(self, frames: list[EncodedFrame]) -> None:
        self._builder.lose()
        self._opening = None
        while self._next in self._missing:
            self._missing.remove(self._next)
            self._next += 1
        self._expected = self._next & 0xFFFF
        self._drain(frames)

    def _jump(self, sequence: int, frames: list[EncodedFrame]) -> None:
        """Skip a gap that is too large for retransmission, and continue after it."""
        while self._ahead:
            self._pass_hole(frames)
        self._builder.lose()
        self._opening = None
        self._next = sequence

    # beginnings

    def _rewind(self, sequence: int, now: float) -> None:
        """Move the beginning of the stream back to an overtaken packet, before any frame has begun."""
        opening, self._opening = self._opening or [], []
        first = self._next - len(opening)
        if not self._ahead:
            self._ahead.end = self._next
        for offset, packet in enumerate(opening):
            self._ahead.keep(first + offset, packet, self._builder.markers)
        self._missing.prepend(sequence, first, now)
        self._next = sequence
        self._builder.rewind()

    def _add_far(self, packet: Packet, distance: int, frames: list[EncodedFrame]) -> None:
        """Keep a packet far outside the expected range. A run of them means that the sender restarted."""
        newest = self._ahead.newest().timestamp if self._ahead else self._builder.before
        newest_yet = newest is not None and to_signed_difference(packet.timestamp - newest) > 0
        if -FAR < distance < 0 and not newest_yet:
            return  # Late, or sent twice
        if self._far and packet.sequence != (self._far[-1].sequence + 1) & 0xFFFF:
            self._far.clear()
        self._far.append(packet)
        run = self._far
        if len(run) < (RESTART_RUN if newest_yet else RESTART_RUN_OLD):
            return
        self._builder.restart()
        self._begin()
        for packet in run:
            frames += self.add(packet, packet.arrived)


class FrameBuilder:
    """Joins the ordered packets of one stream into frames; drops frames that cannot be decoded."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        # False once a frame continued after its marker (some H.264 senders mark every slice): frames
        # of such a sender are complete only at the next timestamp.
        self.markers = True
        # Timestamp of the last returned key frame.
        self.key_timestamp: int | None = None
        self._begin()
        # A key frame must be requested.
        self.wants_key = False

    def _begin(self) -> None:
        # The frame being collected; empty between frames.
        self._parts: list[bytes] = []
        self._bytes = 0
        self._frame_key = False
        # The frame has a part of a picture. Parameter sets alone wait for one.
        self._frame_picture = False
        self._frame_first = 0.0
        self._frame_last = 0.0
        # Number of requests of `TAIL_AT` since the frame's newest packet
        self.tail_asked = 0
        # Timestamp of the newest packet and of the frame being collected; None if it was lost
        self.before: int | None = None
        # The newest packet closed its frame by its marker.
        self._marker_before = False
        # Parts of a key frame closed by its marker, until the next frame begins; see
        # `_go_on_after_marker`
        self._closed_key: list[bytes] | None = None
        # Deltas cannot be used: no key frame yet, or the chain of references was broken.
        self.need_key = True
        # Timestamp of the frame whose rest is being discarded, so that it is counted once
        self._tail_timestamp: int | None = None

    @property
    def held(self) -> int:
        """Number of stored packets."""
        return len(self._parts) + len(self._closed_key or ())

    def get_tail_time(self) -> float:
        """Return the time of the next request for the frame's last packets; infinite for never."""
        if not self._parts or not self.markers or self.tail_asked >= len(TAIL_AT):
            return math.inf
        return self._frame_last + TAIL_AT[self.tail_asked]

    def restart(self) -> None:
        """Reset the stream, because its sender restarted."""
        self._drop_parts()
        self._begin()
        self.wants_key = True

    def rewind(self) -> None:
        """Reset the packets before the first frame, because they are added again."""
        self.before = None
        self._tail_timestamp = None

    def lose(self) -> None:
        """Reset the state derived from the packets before a hole."""
        self._drop_parts()
        self.lose_reference()
        self.before = None
        self._marker_before = False
        self._closed_key = None

    def lose_reference(self) -> None:
        self.need_key = self.wants_key = True

    def add(self, packet: Packet, frames: list[EncodedFrame]) -> bool:
        """Add the next packet, which has data. Return False if the beginning of its frame is lost."""
        if self._parts and packet.timestamp == self.before:
            self._parts.append(packet.data)
            self._bytes += len(packet.data)
            if packet.key:
                self._frame_key = True
            if packet.picture:
                self._frame_picture = True
            arrived = packet.arrived
            if arrived > self._frame_last:
                self._frame_last = arrived
                self.tail_asked = 0
            elif arrived < self._frame_first:
                self._frame_first = arrived
        elif not self._begin_frame(packet, frames):
            return False
        if len(self._parts) > MAX_PACKETS or self._bytes > MAX_BYTES:
            self._drop_parts()
            self.lose_reference()
        elif packet.marker and self.markers and self._frame_picture:
            parts = self._parts
            self._complete(frames)
            self._marker_before = True
            self._closed_key = parts if self._frame_key else None
        return True

    def _begin_frame(self, packet: Packet, frames: list[EncodedFrame]) -> bool:
        """Begin a frame with its first packet. Return False if the beginning of the frame is lost."""
        same = packet.timestamp == self.before
        sets_wait = bool(self._parts) and not self._frame_picture
        behind = same and self._marker_before
        if self._parts and not sets_wait:
            self._complete(frames)
        elif not (sets_wait or packet.start or (behind and not packet.picture)) and (
            same or self.before is None
        ):
            if not (behind and self._go_on_after_marker(packet)):
                self._throw_tail(packet)
            return False
        self._closed_key = None
        self._parts.append(packet.data)
        self._bytes = self._bytes * sets_wait + len(packet.data)
        self.before = packet.timestamp
        self._marker_before = False
        self._frame_key = packet.key or (sets_wait and self._frame_key)
        self._frame_picture = packet.picture
        self._frame_first = self._frame_last = packet.arrived
        self.tail_asked = 0
        return True

    def _complete(self, frames: list[EncodedFrame]) -> None:
        parts = self._parts
        self._parts = []
        self._bytes = 0
        timestamp = self.before
        assert timestamp is not None  # A frame being collected has one.
        after_hole = self.need_key
        if self._frame_key:
            self.need_key = self.wants_key = False
            self.key_timestamp = timestamp
        elif self.need_key:
            self.dropped["no_key"] += 1
            self.wants_key = True
            return
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        frames.append(EncodedFrame(data, timestamp, self._frame_key, self._frame_first, after_hole))

    def _go_on_after_marker(self, packet: Packet) -> bool:
        """Stop trusting markers, because the last returned frame continues after its marker.

        A key frame is collected again and returned once more, whole (True). A delta cannot be
        repaired: its rest is discarded, and deltas wait for a key frame (False).
        """
        self.markers = False
        if self._closed_key is None:
            self._tail_timestamp = packet.timestamp
            if not self.need_key:
                self.dropped["broken"] += 1
                self.lose_reference()
            return False
        self._parts = self._closed_key
        self._closed_key = None
        self._parts.append(packet.data)
        self._bytes = sum(len(part) for part in self._parts)
        self._frame_last = max(self._frame_last, packet.arrived)
        return True

    def _throw_tail(self, packet: Packet) -> None:
        """Discard a packet of a frame whose beginning is lost."""
        if self._tail_timestamp != packet.timestamp:
            self._tail_timestamp = packet.timestamp
            self.dropped["broken"] += 1
            self.lose_reference()
        self.before = packet.timestamp
        self._marker_before = False

    def _drop_parts(self) -> None:
        """Drop the frame being collected, if any; its rest is not counted again."""
        if self._parts:
            self.dropped["broken"] += 1
            self._tail_timestamp = self.before
            self._parts = []
            self._bytes = 0


# Distance of sequence numbers that indicates a restart of the sender, once a run of such packets
# arrives: a short run if their timestamps are the newest, a longer one if they may be old
# duplicates.
FAR = 3000
RESTART_RUN = 3
RESTART_RUN_OLD = 16


# Seconds after a packet was found missing at which it is requested; aiortc itself requests once.
NACK_AT = (0.0, 0.08, 0.16, 0.32)
# Age at which a missing packet is given up, with time for the response to the last request
HOLE_S = 0.45
# Time after which a whole key frame after a hole replaces all packets that wait for the hole, so
# that reordered packets cost nothing. Immediately if deltas cannot be used anyway.
KEY_GRACE_S = 0.02
# Maximum sequence numbers in one NACK, oldest first
MAX_NACKS = 64


@dataclass(slots=True, eq=False)
class _Missing:
    """A packet that is missing although a later one has arrived."""

    since: float
    # Number of requests of `NACK_AT` so far
    asked: int = 0


class MissingPackets(dict[int, _Missing]):
    """Missing unwrapped sequence numbers in ascending order. The owner limits their number."""

    __slots__ = ("due",)

    def __init__(self) -> None:
        super().__init__()
        # Time at which `take_due` next returns a number; infinite for never, in the past for now
        self.due = math.inf

    def append(self, first: int, end: int, now: float) -> None:
        """Add `first` to `end`, exclusive, all newer than the known ones."""
        if len(self) < MAX_NACKS:
            self.due = min(self.due, now)
        for sequence in range(first, end):
            self[sequence] = _Missing(now)

    def prepend(self, first: int, end: int, now: float) -> None:
        """Add `first` to `end`, exclusive, all older than the known ones."""
        newer = self.copy()
        self.clear()
        self.append(first, end, now)
        self.update(newer)

    def remove(self, sequence: int) -> None:
        """Remove a number, because its packet arrived or was given up."""
        if len(self) > MAX_NACKS:
            self.due = 0.0  # A newer one is now within the limit.
        del self[sequence]
        if not self:
            self.due = math.inf

    def oldest(self) -> float:
        """Return the time at which the oldest missing packet was detected. There must be one."""
        return next(iter(self.values())).since

    def take_due(self, now: float) -> list[int]:
        """Return the 16-bit numbers to request now, at most `MAX_NACKS`; they count as requested."""
        ask: list[int] = []
        due = math.inf
        for sequence, missing in islice(self.items(), MAX_NACKS):
            asked = missing.asked
            while asked < len(NACK_AT) and now >= missing.since + NACK_AT[asked]:
                asked += 1
            if asked > missing.asked:
                missing.asked = asked
                ask.append(sequence & 0xFFFF)
            if asked < len(NACK_AT):
                due = min(due, missing.since + NACK_AT[asked])
        self.due = due
        return ask


class PacketsAhead(dict[int, Packet]):
    """The packets after a missing one, by unwrapped sequence number, and the first whole key frame among them.

    The owner limits their number and takes packets from the lower end. `markers`: True if a marker
    bit closes a frame (see `Assembler`).
    """

    __slots__ = ("_keys", "end", "size", "whole_key")

    def __init__(self) -> None:
        super().__init__()
        # Bytes of payload in all packets
        self.size = 0
        # One past the newest number; undefined while empty
        self.end = 0
        # Sequence number of a packet of a whole key frame; None if there is none
        self.whole_key: int | None = None
        # Timestamp of each key frame to the number of a packet that proves it
        self._keys: dict[int, int] = {}

    def keep(self, sequence: int, packet: Packet, markers: bool) -> None:
        """Store a packet, and check whether it completes a key frame."""
        self[sequence] = packet
        self.size += len(packet.data)
        if packet.key:
            self._keys.setdefault(packet.timestamp, sequence)
        if self._keys and self.whole_key is None:
            # Only the first or last packet of a frame, or a late one, can complete it.
            before = self.get(sequence - 1)
            if (
                packet.marker
                or sequence != self.end - 1
                or before is None
                or before.timestamp != packet.timestamp
            ):
                self._find_whole_key(markers)

    def take(self, sequence: int) -> Packet | None:
        """Remove and return a packet; None if absent. Call `update_whole_key` after the last of a series."""
        packet = self.pop(sequence, None)
        if packet is not None:
            self.size -= len(packet.data)
            if packet.key and self._keys.get(packet.timestamp) == sequence:
                del self._keys[packet.timestamp]
        return packet

    def update_whole_key(self, first: int, markers: bool) -> None:
        """Update the first whole key frame after all packets before `first` were taken."""
        if self.whole_key is not None and self.whole_key < first:
            self.whole_key = None
        if self._keys and self.whole_key is None:
            self._find_whole_key(markers)

    def newest(self) -> Packet:
        """Return the newest packet. There must be one."""
        return self[self.end - 1]

    def _find_whole_key(self, markers: bool) -> None:
        """Find the oldest whole key frame; visits each packet about once."""
        whole = (key for key in self._keys.values() if self._is_whole(key, markers))
        self.whole_key = min(whole, default=None)

    def _is_whole(self, sequence: int, markers: bool) -> bool:
        timestamp = self[sequence].timestamp
        first = sequence
        while not self[first].start:
            before = self.get(first - 1)
            if before is None:
                return False
            if before.data and (before.timestamp != timestamp or (before.marker and markers)):
                break
            first -= 1
        last = sequence
        while not (markers and self[last].marker and self[last].data):
            last += 1
            after = self.get(last)
            if after is None:
                return False
            if after.data and after.timestamp != timestamp:
                break
        return True


# Minimum time between two key frame requests
PLI_S = 0.5
# Times without a packet after which the last packets of a frame are requested, because an idle
# camera's next frame, which would reveal the loss, is far away. A sender that has not sent them yet
# ignores the request.
TAIL_AT = (0.08, 0.2)
TAIL_PACKETS = 2
