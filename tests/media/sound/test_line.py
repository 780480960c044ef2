"""One person's sound, over the connections that carry it."""

from __future__ import annotations

import numpy as np

from server.core.sound import Sound
from server.media.sound.line import RATE, VoiceLine


def piece() -> Sound:
    return Sound(np.zeros(320, np.int16), 1.0)


def test_only_the_newest_connection_is_heard() -> None:
    line, old, new = VoiceLine(), object(), object()
    heard: list[Sound] = []
    microphone: list[bool] = []
    line.on_sound, line.on_microphone = heard.append, microphone.append
    line.connect(old)
    line.sends(old, True)
    line.sound(old, piece())
    line.connect(new)
    assert microphone == [True, False]
    assert not line.microphone
    line.sends(old, True)
    line.sound(old, piece())
    assert len(heard) == 1
    assert not line.microphone
    line.sound(new, piece())
    assert len(heard) == 2
    line.disconnect(old)
    assert line.connected
    line.disconnect(new)
    assert not line.connected


def test_a_client_that_plays_nothing_is_no_listener() -> None:
    """A WHIP client sends its microphone and gets nothing: the page has to read."""
    line, older, camera = VoiceLine(), object(), object()
    line.connect(older)
    line.player.on_ready = lambda: None
    line.connect(camera, plays=False)
    assert not line.connected
    assert line.player.on_ready is None
    line.on_sound = lambda sound: None
    assert line.wants_sound(camera)


def test_nothing_is_wanted_while_nobody_listens() -> None:
    line, connection = VoiceLine(), object()
    line.connect(connection)
    assert not line.wants_sound(connection)
    line.on_sound = lambda sound: None
    assert line.wants_sound(connection)
    assert not line.wants_sound(object())


def test_a_closed_line_drops_its_speech() -> None:
    line = VoiceLine()
    line.player.begin()
    line.player.play(np.ones(RATE, np.int16), RATE)
    line.on_sound = lambda sound: None
    line.close()
    assert line.player.take() is None
    assert line.on_sound is None
