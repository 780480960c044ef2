"""The newest pictures that were sent to engines with one session's questions, in memory only. Pure."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.core.frames import Picture

# Maximum pictures and bytes of one session, including raw pixels
MOST_PICTURES = 12

MOST_BYTES = 6 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SentPicture:
    """A picture as sent to an engine: either a JPEG, or BGR pixels (height, width, 3)."""

    answer: str
    jpeg: bytes | None
    bgr: NDArray[np.uint8] | None

    @property
    def size(self) -> int:
        """Size in bytes."""
        if self.jpeg is not None:
            return len(self.jpeg)
        return self.bgr.nbytes if self.bgr is not None else 0


class SentPictures:
    """Pictures by random id, kept until newer pictures replace them or somebody deletes them.

    `count(what, number)` is called to count pictures: "kept", "dropped" (by a person), "full" (replaced),
    "large" (larger than the total bound).

    Bounds of pictures that engines got with answers: 12 and 6 MiB; newer pictures replace the oldest, and
    an answer's pictures are removed with the answer.
    """

    def __init__(self, count: Callable[[str, int], None]) -> None:
        self._count = count
        # Oldest first
        self._pictures: OrderedDict[str, SentPicture] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._pictures)

    def keep(self, answer: str, picture: Picture) -> str | None:
        """Store the picture of an answer. Return its id, or None if the picture is larger than MOST_BYTES.

        Ids are unique across sessions and restarts.
        """
        sent = SentPicture(answer, picture.jpeg, picture.bgr)
        if sent.size > MOST_BYTES:
            self._count("large", 1)
            return None
        self._count("kept", 1)
        id = secrets.token_hex(8)
        self._pictures[id] = sent
        self.size += sent.size
        full = 0
        while len(self._pictures) > MOST_PICTURES or self.size > MOST_BYTES:
            self.size -= self._pictures.popitem(last=False)[1].size
            full += 1
        if full:
            self._count("full", full)
        return id

    def get(self, id: str) -> SentPicture | None:
        return self._pictures.get(id)

    def drop(self, answer: str) -> None:
        """Remove the pictures of one answer."""
        own = [id for id, sent in self._pictures.items() if sent.answer == answer]
        for id in own:
            self.size -= self._pictures.pop(id).size
        if own:
            self._count("dropped", len(own))

    def clear(self) -> None:
        """Remove all pictures."""
        if self._pictures:
            self._count("dropped", len(self._pictures))
        self._pictures.clear()
        self.size = 0
