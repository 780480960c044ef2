"""Stills: one a second at most, filtered, small, for nobody but who asked and listens."""

from __future__ import annotations

import asyncio
import base64
import math

import cv2
import numpy as np
import pytest

from server.core.frames import Frame
from server.features.cameras import cameras as stills
from server.features.cameras.cameras import (
    AWAY_SECONDS,
    INVITED_SECONDS,
    MAX_CHARS,
    Admission,
    CameraSecret,
    clean_name,
    make_code,
    make_token,
    read_code,
    read_token,
)
from server.features.cameras.messages import CameraSettings
from server.media.picture.encode import STILL_BYTES, STILL_SIDE, Bgr, to_data_url
from server.media.picture.prepare import PicturePreparer
from tests.features.rooms import room
from tests.support.clients import sample, soon
from tests.support.rooms import Filter, Room, make_frame, withhold


def red(bgr: Bgr) -> Bgr:
    """Paint everything red."""
    return np.full_like(bgr, (0, 0, 255))


def decoded(url: str) -> Bgr:
    prefix, _, data = url.partition(",")
    assert prefix == "data:image/jpeg;base64"
    jpeg = base64.b64decode(data)
    assert len(jpeg) <= STILL_BYTES
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image, np.uint8)


def counted(one: Room, result: str) -> float:
    return sample(one.services.metrics, "stills_total", result=result)


def want(one: Room, wanted: bool = True) -> None:
    one.session.handle(CameraSettings(type="settings", stills=wanted))


async def test_one_at_once_then_one_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first comes with the first picture; of many frames after it the newest is shown, a period later."""
    monkeypatch.setattr(stills, "STILL_SECONDS", 0.2)
    async with room() as one:
        one.camera()
        want(one)
        one.frame(width=1280, height=720)
        first = await one.next("still")
        assert decoded(first["image"]).shape == (360, 640, 3)
        assert (first["width"], first["height"], first["withheld"]) == (1280, 720, False)
        began = asyncio.get_running_loop().time()
        for _ in range(5):
            one.frame(width=720, height=1280)
        second = await one.next("still")
        assert asyncio.get_running_loop().time() - began > 0.1
        assert decoded(second["image"]).shape == (640, 360, 3)
        # Nothing new, nothing sent.
        await asyncio.sleep(0.5)
        assert not [m for m in await one.rest() if m["type"] == "still"]
        assert counted(one, "sent") == 2


async def test_nobody_gets_any_who_did_not_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """None before, none after it was switched off, none without a socket; with a new one they go on."""
    monkeypatch.setattr(stills, "STILL_SECONDS", 0.02)
    async with room() as one:
        one.camera()

        async def come() -> bool:
            one.frame()
            await asyncio.sleep(0.15)
            return any(m["type"] == "still" for m in await one.rest())

        assert not await come()
        want(one)
        assert await come()
        want(one, False)
        assert not await come()
        want(one)
        one.session.socket_closed()
        assert not await come()
        one.session.socket_opened()
        assert await come()


async def test_filters_come_first() -> None:
    """The filtered picture is shown."""
    async with room(None, Filter(red)) as one:
        one.camera()
        want(one)
        one.frame()
        image = decoded((await one.next("still"))["image"])
        assert image[:, :, 2].min() > 200
        assert image[:, :, :2].max() < 60


async def test_a_withheld_picture_is_said_and_not_shown() -> None:
    """No image, and it is counted."""
    async with room(None, Filter(withhold)) as one:
        one.camera()
        want(one)
        one.frame()
        assert await one.next("still") == {"type": "still", "withheld": True}
        assert counted(one, "withheld") == 1


async def test_a_fault_with_one_picture_does_not_end_the_stills(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged without its text, and the next picture is shown."""
    monkeypatch.setattr(stills, "STILL_SECONDS", 0.01)

    async with room() as one:
        still, broken = one.services.preparer.make_still, [True]

        def breaks_once(frame: Frame) -> bytes:
            if broken and broken.pop():
                raise RuntimeError("secret words")
            return still(frame)

        monkeypatch.setattr(one.services.preparer, "make_still", breaks_once)
        one.camera()
        want(one)
        one.frame()
        await soon(lambda: bool(caplog.records))
        assert counted(one, "sent") == 0
        one.frame()
        await one.next("still")
    assert "secret words" not in caplog.text


@pytest.mark.parametrize("size", [(4096, 4096), (2, 4000), (16, 16), (1281, 721)])
def test_sizes_are_bounded(size: tuple[int, int]) -> None:
    """Whatever the camera sends, a still keeps within its pixels and bytes."""
    width, height = size
    even = make_frame(width=width // 2 * 2, height=height // 2 * 2)
    jpeg = PicturePreparer((), 512).make_still(even)
    assert max(decoded(to_data_url(jpeg)).shape[:2]) <= STILL_SIDE


# A further camera: who is let in until when, credentials, and names.


def secret(text: str) -> CameraSecret:
    found = read_token(text) or read_code(text)
    assert found is not None
    return found


def test_a_camera_that_came_with_the_token_closes_the_link() -> None:
    admission = Admission("s", "2", 0.0)
    admission.set_connected()
    assert admission.redeem(secret(admission.code), 1.0) is None
    assert admission.accepts_token(secret(admission.token), 1.0)


def test_an_invitation_is_good_for_ten_minutes() -> None:
    admission = Admission("s", "2", 0.0)
    code, token = secret(admission.code), secret(admission.token)
    assert admission.accepts_token(token, INVITED_SECONDS - 1)
    assert not admission.accepts_token(token, INVITED_SECONDS)
    assert admission.redeem(code, INVITED_SECONDS) is None
    assert admission.is_expired(INVITED_SECONDS)


def test_a_camera_that_is_here_stays_and_a_lost_one_may_come_back_for_a_while() -> None:
    admission = Admission("s", "2", 0.0)
    token = secret(admission.token)
    admission.set_connected()
    assert admission.until == math.inf
    assert admission.accepts_token(token, 1e9)
    admission.set_disconnected(1e9)
    assert admission.accepts_token(token, 1e9 + AWAY_SECONDS - 1)
    assert not admission.accepts_token(token, 1e9 + AWAY_SECONDS)


def test_another_places_secrets_are_refused() -> None:
    one, other = Admission("s", "2", 0.0), Admission("s", "3", 0.0)
    assert not one.accepts_token(secret(other.token), 1.0)
    assert one.redeem(secret(other.code), 1.0) is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("  Front   door ", "Front door"),
        ("a\nb\tc\u2028d", "a b c d"),
        ("\u202edoor\u200b", "door"),
        ("Haustür 2", "Haustür 2"),
        ("", ""),
        ("\x00\ud800", ""),
    ],
)
def test_a_name_is_one_line_of_visible_characters(given: str, kept: str) -> None:
    """So it adds no line to a prompt."""
    assert clean_name(given) == kept


def test_what_was_made_is_read() -> None:
    """With the session's id, and a digest in place of the secret."""
    token, kept = make_token("p1-abc_D")
    secret = read_token(token)
    assert secret is not None
    assert secret.session_id == "p1-abc_D"
    assert secret.is_for(kept)
    assert len(token) <= MAX_CHARS
    assert token.rpartition("~")[2].encode() not in kept
    code, digest = make_code("p1-abc_D")
    given = read_code(code)
    assert given is not None
    assert given.is_for(digest)
    assert not given.is_for(kept)
    assert not given.is_for(None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "camera~",
        "camera~a",
        "camera~a~b",
        "camera~~" + "x" * 22,
        "camera~a~" + "x" * 21,
        "camera~a~" + "x" * 23,
        "camera~a~" + "x" * 22 + "\n",
        "camera~" + "a" * 65 + "~" + "x" * 22,
        "camera~a~" + "é" * 22,
        "camera~a/b~" + "x" * 22,
        "camera~" * 1000,
        "\ud800",
    ],
)
def test_other_texts_are_none(text: str) -> None:
    assert read_token(text) is None
