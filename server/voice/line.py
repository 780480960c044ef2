"""Both directions of one person's sound. It outlives connections, as the camera does."""

from __future__ import annotations

from collections.abc import Callable

from server.core.sound import Sound
from server.voice.player import Player


class VoiceLine:
    """One session's microphone and loudspeaker. All methods are called on the event loop.

    One connection at a time is on the line; sound of an older one is ignored.
    """

    def __init__(self) -> None:
        self.player = Player()
        # Gets what the microphone hears, in order, in pieces of 20 to 120 ms; silence stands where
        # nothing came. None: nobody listens, and nothing is decoded.
        self.on_sound: Callable[[Sound], None] | None = None
        # Called when the microphone begins or stops to send
        self.on_microphone: Callable[[bool], None] | None = None
        # Called when packets could not be used, with the reason
        self.on_dropped: Callable[[str, int], None] | None = None
        self._microphone = False
        self._connection: object | None = None
        # It plays what the player has.
        self._plays = False

    @property
    def microphone(self) -> bool:
        """True while a microphone sends."""
        return self._microphone

    @property
    def connected(self) -> bool:
        """True while a connection is on the line, over which the player's speech is sent."""
        return self._connection is not None and self._plays

    def connect(self, connection: object, *, plays: bool = True) -> None:
        """Put a connection on the line, in place of the one before.

        `plays`: its client plays speech; one that only sends a microphone does not.
        """
        self._set_microphone(False)
        self._connection = connection
        self._plays = plays
        self.player.on_ready = self.player.on_hush = None

    def disconnect(self, connection: object) -> None:
        """Take a connection off the line, if it is still on it."""
        if self._connection is connection:
            self._set_microphone(False)
            self._connection = None
            self.player.on_ready = self.player.on_hush = None

    def wants_sound(self, connection: object) -> bool:
        """Find whether anybody listens to this connection's microphone."""
        return self._connection is connection and self.on_sound is not None

    def sound(self, connection: object, sound: Sound) -> None:
        if self._connection is connection and self.on_sound is not None:
            self.on_sound(sound)

    def sends(self, connection: object, sending: bool) -> None:
        """Note that a connection's microphone sends, or that it has stopped."""
        if self._connection is connection:
            self._set_microphone(sending)

    def dropped(self, reason: str, count: int = 1) -> None:
        if self.on_dropped is not None:
            self.on_dropped(reason, count)

    def close(self) -> None:
        """Drop everything; the session ends."""
        self.on_sound = self.on_microphone = self.on_dropped = None
        self._connection = None
        self._microphone = False
        self.player.on_ready = self.player.on_hush = self.player.on_end = None
        self.player.flush()

    def _set_microphone(self, sending: bool) -> None:
        if self._microphone != sending:
            self._microphone = sending
            if self.on_microphone is not None:
                self.on_microphone(sending)
