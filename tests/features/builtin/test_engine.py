"""The built-in engine on drawn scenes: text, codes, colours, light, change; honest about the rest."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from difflib import SequenceMatcher
from functools import cache
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import zxingcpp
from numpy.typing import NDArray

from server.core.aio import run_in_pool
from server.core.errors import EngineFailed
from server.core.frames import CodeUse, JobKind, Picture, Scene
from server.core.messages import FoundCode
from server.features.builtin import reader as reader_module
from server.features.builtin.codes import DecodedCode
from server.features.builtin.detector import DetectedThing
from server.features.builtin.engine import BuiltinEngine, remove_screens
from server.features.builtin.engine import make_rows as rows_read
from server.features.builtin.impressions import Memory, make_impression
from server.features.builtin.language import get_language
from server.features.builtin.lines import TextPiece
from server.features.builtin.reader import TextReader
from server.media.picture.grounding import Box
from server.models import prompts
from server.models.base import Delta, EngineRequest, Finished, ShownPicture
from tests.support.fakes import make_request

pytestmark = pytest.mark.usefixtures("calculated_once")

Bgr = NDArray[np.uint8]
TODAY = dt.date(2026, 11, 20)


def at_noon(zone: dt.tzinfo | None) -> dt.datetime:
    return dt.datetime.combine(TODAY, dt.time(12), zone)


LABEL = [
    *("Strawberry jam 450 g", "Best before 12.03.2027 LOT 4471-B", "Price 3,49 EUR"),
    *("Call +49 30 1234567", "info@example.org", "Store in a cool and dry place after opening."),
]


def scene(colour: tuple[int, int, int] = (215, 222, 225)) -> Bgr:
    """A plain 1280x720 picture in this BGR colour, with a camera's noise."""
    return _scene(colour).copy()


@cache
def _scene(colour: tuple[int, int, int]) -> Bgr:
    noise = np.random.default_rng(7).normal(0, 3, (720, 1280, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


def write(bgr: Bgr, lines: list[str], *, height: int = 14, at: tuple[int, int] = (200, 120)) -> Bgr:
    """Print lines whose capital letters are so many pixels high."""
    face = cv2.FONT_HERSHEY_DUPLEX
    scale = height / 21.0
    for n, line in enumerate(lines):
        spot = (at[0], at[1] + round(n * height * 2.4))
        cv2.putText(bgr, line, spot, face, scale, (35, 30, 30), 1, cv2.LINE_AA)
    return bgr


def put_code(bgr: Bgr, text: str, format: Any, *, at: tuple[int, int] = (760, 260)) -> Bgr:
    made = np.asarray(zxingcpp.create_barcode(text, format).to_image(scale=4))
    bgr[at[1] : at[1] + made.shape[0], at[0] : at[0] + made.shape[1]] = made[..., None]
    return bgr


@pytest.fixture
def engine(heavy: ThreadPoolExecutor, reader: TextReader) -> BuiltinEngine:
    return BuiltinEngine(heavy=heavy, reader=reader, now=at_noon)


def picture(bgr: Bgr | None, **changes: Any) -> Picture:
    whole = Picture("f", 1.0, None, 1280, 720, 1280, 720, 0, None, bgr, None, 0.002)
    return dataclasses.replace(whole, **changes)


def request(bgr: Bgr | None, question: str, **changes: Any) -> EngineRequest:
    given = {"session_id": "session", "picture": picture(bgr), "max_tokens": 400, **changes}
    return make_request(question, **given)


async def answered(engine: BuiltinEngine, asked: EngineRequest) -> tuple[str, Finished]:
    *parts, end = [chunk async for chunk in engine.answer(asked)]
    assert isinstance(end, Finished)
    texts = [part.text for part in parts if isinstance(part, Delta)]
    assert all(texts)
    return "".join(texts), end


async def ask(engine: BuiltinEngine, bgr: Bgr, question: str, **changes: Any) -> str:
    return (await answered(engine, request(bgr, question, **changes)))[0]


@pytest.mark.parametrize(
    ("question", "needs"),
    [
        *(("Why do people like it?", True), ("Translate this into French", True)),
        *(("What breed is it?", True), ("What does it cost?", False), ("Read this", False)),
        *(("Is it dark?", False), ("Hello", False)),
    ],
)
async def test_an_answer_says_that_only_a_model_could_give_it(
    engine: BuiltinEngine, question: str, needs: bool
) -> None:
    _, end = await answered(engine, request(write(scene(), LABEL), question))
    assert end.needs_model is needs


async def test_what_a_person_may_do_with_a_code_comes_with_the_answer(
    engine: BuiltinEngine,
) -> None:
    """All of the code with its lines, also where only its beginning is shown."""
    card = "BEGIN:VCARD\r\nN:Berger;Anna\r\nADR:" + 500 * "x" + "\r\nEND:VCARD"
    offered = (FoundCode(use=CodeUse.CONTACT, value=card.replace("\r", "")),)
    bgr = put_code(scene(), card, zxingcpp.BarcodeFormat.QRCode, at=(300, 60))
    text, end = await answered(engine, request(bgr, "Read this"))
    assert (end.codes, text[-4:]) == (offered, "xxx…")
    assert len(text) < 450
    _, end = await answered(engine, request(bgr, "Where is the QR code?", where=True))
    assert end.codes == offered


async def test_small_print_is_read_right(engine: BuiltinEngine) -> None:
    """Lines 14 px high on 1280x720: at least 95 % of the letters, in reading order."""
    answer = await ask(engine, write(scene(), LABEL), "Read this")
    got = "".join(answer.partition(":")[2].split())
    wanted = "".join("".join(LABEL).split())
    assert SequenceMatcher(None, got, wanted, autojunk=False).ratio() >= 0.95


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How much does it cost?", "It says: Price 3,49 EUR"),
        ("Wann läuft es ab?", "Best before 12.03.2027: noch 112 Tage."),
        ("Quelle est l'adresse e-mail ?", "Il est écrit : info@example.org"),
        ("What is the website?", "I couldn't find that in the text. It says: Strawberry jam 450 g"),
    ],
)
async def test_a_label_answers_what_was_asked(
    engine: BuiltinEngine, question: str, answer: str
) -> None:
    """With the other print behind it, in the question's language."""
    said = await ask(engine, write(scene(), LABEL, height=20), question)
    assert said.startswith(answer)
    assert "cool and dry" in said


async def test_codes_are_read(engine: BuiltinEngine) -> None:
    """QR and EAN in one picture, and an address inside a code answers for a website."""
    bgr = put_code(scene(), "https://example.org/menu", zxingcpp.BarcodeFormat.QRCode)
    bgr = put_code(bgr, "4006381333931", zxingcpp.BarcodeFormat.EAN13, at=(200, 300))
    answer = await ask(engine, bgr, "Scan the code")
    assert "The QR code says: https://example.org/menu" in answer
    assert "The EAN-13 says: 4006381333931" in answer
    assert "\n" not in answer
    assert "https://example.org/menu" in await ask(engine, bgr, "What is the website?")


async def test_the_colour_in_the_middle_comes_first(engine: BuiltinEngine) -> None:
    """The object that a person points at is distinguished from its surroundings."""
    bgr = scene((255, 255, 255))
    cv2.circle(bgr, (640, 360), 170, (20, 20, 200), -1)
    assert await ask(engine, bgr, "What colour is it?") == "In the middle: red."
    assert "In der Mitte: rot" in await ask(engine, bgr, "Welche Farbe hat das?")
    # A colour that the picture's edges have not is the thing's, though little of the middle.
    table = scene((60, 95, 140))
    cv2.circle(table, (640, 360), 75, (30, 30, 200), -1)
    assert (await ask(engine, table, "Colour?")).startswith("In the middle: red.")


async def test_light_and_blur_come_from_the_scene(engine: BuiltinEngine) -> None:
    """The room that reads luma knows better than a single picture."""
    dark = picture(scene((8, 8, 8)), scene=Scene(0.03, 0.2, 0.001, True, True))
    assert "dark" in await ask(engine, scene(), "Is it dark?", picture=dark)
    hinted = await ask(engine, scene(), "Read this", picture=dark)
    assert "good light" in hinted
    # One reason is enough.
    assert "blurred" not in hinted
    bright = await ask(engine, scene(), "Is it dark?")
    assert "bright" in bright


async def test_motion_comes_from_the_scene(engine: BuiltinEngine) -> None:
    """One picture alone moves nothing."""
    for motion, words in ((None, "first picture"), (0.001, "Nothing moves"), (0.2, "Something")):
        one = picture(scene(), scene=Scene(0.8, 0.6, motion, False, False))
        assert words in await ask(engine, scene(), "Is anything moving?", picture=one)


async def test_change_since_the_last_picture(engine: BuiltinEngine) -> None:
    """The first is no change; a new sign is; another session, and another camera, know nothing of it."""
    before, after = scene(), write(scene(), ["CLOSED TODAY"], height=60, at=(100, 300))
    assert "first picture" in await ask(engine, before, "What changed?")
    later = picture(before, captured=13.0)
    assert "no change since 12 s" in await ask(engine, before, "What changed?", picture=later)
    changed = await ask(engine, after, "What changed?", picture=picture(after, captured=18.0))
    assert "Since 5 s ago" in changed
    assert "on the left" in changed
    assert "Just appeared: CLOSED TODAY" in changed
    gone = await ask(engine, before, "What changed?", picture=picture(before, captured=20.0))
    assert "Gone: CLOSED TODAY" in gone
    assert "first picture" in await ask(engine, after, "What changed?", session_id="other")
    engine.forget("session")
    for said in ("This is the first picture", "I see no change"):
        [one] = await ask_two(engine, scene(RED), scene(BLUE), "What has changed?")
        assert one.startswith(f"Kitchen, Door: {said}")


async def ask_two(engine: BuiltinEngine, kitchen: Bgr, door: Bgr, question: str) -> list[str]:
    """Ask two cameras together; the answer's lines."""
    earlier = (ShownPicture(picture(kitchen), "Camera Kitchen:", camera="Kitchen"),)
    answer = await ask(
        engine, door, question, earlier=earlier, caption="Camera Door:", camera="Door"
    )
    return answer.split("\n")


RED, BLUE = (30, 30, 200), (200, 40, 30)


async def test_cameras_are_told_by_name(engine: BuiltinEngine) -> None:
    """Each is looked at by itself; the answer says once what holds for all."""
    label = write(scene(), ["EXIT"], height=60)
    coded = put_code(scene(), "https://example.org/menu", zxingcpp.BarcodeFormat.QRCode)
    kitchen, door = await ask_two(engine, scene(RED), scene(BLUE), "这是什么颜色？")
    assert (kitchen[:8], kitchen[-3:]) == ("Kitchen：", "红色。")
    assert (door[:5], door[-3:]) == ("Door：", "蓝色。")
    [both] = await ask_two(engine, label, coded, "How many faces are there?")
    assert both == "Kitchen, Door: I don't see a face."
    kitchen, door = await ask_two(engine, label, scene(), "What does it say?")
    assert kitchen == "Kitchen: It says: EXIT"
    assert door.startswith("Door: I don't see any text")
    kitchen, door = await ask_two(engine, label, coded, "Scan the code")
    assert kitchen.startswith("Kitchen: I don't see a QR code")
    assert door == "Door: The QR code says: https://example.org/menu"


async def test_a_camera_without_a_name_has_one_in_the_answers_language(
    engine: BuiltinEngine,
) -> None:
    """A name that somebody gave stays."""
    earlier = (ShownPicture(picture(scene(RED)), "Camera Camera 1:", camera="Camera 1"),)
    named = {"earlier": earlier, "caption": "Camera Door 2:", "camera": "Door 2"}
    first, second = (await ask(engine, scene(BLUE), "これは何色？", **named)).split("\n")
    assert first.lstrip("\u2068").startswith("カメラ 1")
    assert second.lstrip("\u2068").startswith("Door 2")


def test_a_laptops_screen_is_no_television() -> None:
    laptop = DetectedThing("laptop", 0.8, Box(400, 430, 720, 700), sure=True)
    screen = DetectedThing("tv", 0.7, Box(450, 420, 690, 660), sure=True)
    apart = dataclasses.replace(screen, box=Box(800, 420, 990, 660))
    assert remove_screens((laptop, screen, apart)) == (laptop, apart)


def test_memory_is_bounded() -> None:
    """The session unused longest goes first."""
    memory = Memory(sessions=3)
    seen = make_impression(scene(), ("a",), 1.0)
    for name in "abc":
        memory.exchange(name, seen)
    assert memory.exchange("a", seen) is seen
    memory.exchange("d", seen)
    assert len(memory) == 3
    assert memory.exchange("b", seen) is None


async def test_a_color_anywhere_in_the_picture(engine: BuiltinEngine) -> None:
    """By the finder of "Where is the red one?", not by the middle of the picture."""
    bgr = scene((60, 160, 60))
    bgr[:, 640:] = (160, 60, 60)
    cv2.rectangle(bgr, (60, 250), (420, 480), (30, 30, 210), -1)
    assert (await ask(engine, bgr, "Ist hier etwas Rotes?")).startswith("Ja. Links: rot.")
    answer = await ask(engine, bgr, "Is there anything purple?")
    assert answer.startswith("No. I do not see it now.")


@pytest.mark.parametrize(
    ("zone", "when"), [("Asia/Tokyo", "today"), ("", "1 day left"), ("Mars/Base", "1 day left")]
)
async def test_today_is_the_persons(
    heavy: ThreadPoolExecutor, reader: TextReader, zone: str, when: str
) -> None:
    """The server's day holds where the zone is not known."""
    server = dt.datetime(2026, 11, 20, 19, 37, tzinfo=dt.UTC)
    engine = BuiltinEngine(
        heavy=heavy, reader=reader, now=lambda zone: server.astimezone(zone or dt.UTC)
    )
    bgr = write(scene(), ["BEST BY NOV 21 2026"], height=40)
    told = await ask(engine, bgr, "Is it still good?", time_zone=zone)
    assert told == f"BEST BY NOV 21 2026: {when}."


async def test_what_an_operator_can_do_is_logged_once(
    heavy: ThreadPoolExecutor, reader: TextReader, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names the command that adds a model; not with every question."""
    engine = BuiltinEngine(heavy=heavy, reader=reader)
    with caplog.at_level("INFO", "server.features.builtin.engine"):
        for _ in range(3):
            await ask(engine, scene(), "Is that a dog?")
    told = [record.__dict__["reason"] for record in caplog.records if "reason" in record.__dict__]
    assert len(told) == 1
    assert "run.sh --model" in told[0]
    assert "VLLM_BASE_URL" in told[0]


async def test_a_running_description_is_in_the_pages_language(engine: BuiltinEngine) -> None:
    """The words of its question are nobody's; a chosen language comes first."""
    asked = {"kind": JobKind.DESCRIBE, "own_language": "ar-EG"}
    assert "في الوسط" in await ask(engine, scene(), prompts.DESCRIBE, **asked)
    assert "Au milieu" in await ask(engine, scene(), prompts.DESCRIBE, **asked, language="fr")


async def test_talk_about_talking_needs_no_look(heavy: ThreadPoolExecutor) -> None:
    """One friendly line, at once."""
    faces = Faces()
    for question in ("hi", "Thanks!", "what can you do?"):
        answer = await ask(BuiltinEngine(heavy=heavy, reader=faces), scene(), question)
        assert len(answer.splitlines()) == 1
    assert (faces.texts, faces.face_looks) == (0, 0)


class Faces(TextReader):
    """Finds two faces and no text; counts what was looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.texts = 0
        self.face_looks = 0

    def read_codes(self, bgr: Bgr) -> list[DecodedCode]:
        return []

    def read_text(self, bgr: Bgr) -> list[TextPiece]:
        self.texts += 1
        return []

    def find_faces(self, bgr: Bgr) -> list[Box] | None:
        self.face_looks += 1
        return [Box(100, 100, 200, 220), Box(400, 100, 500, 220)]


async def test_faces_are_counted_or_it_says_that_it_cannot(
    heavy: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without the face model."""
    faces = Faces()
    engine = BuiltinEngine(heavy=heavy, reader=faces)
    assert "I count at least 2: people." in await ask(engine, scene(), "How many people are there?")
    assert "Faces toward the camera: 2." in await ask(engine, scene(), "How many faces are there?")
    assert faces.texts == 0
    monkeypatch.setattr(faces, "find_faces", lambda _bgr: None)
    answer = await ask(engine, scene(), "How many people are there?")
    assert answer == "I can't tell."


async def test_an_answer_is_cut_at_max_tokens(engine: BuiltinEngine) -> None:
    """A token is a word here, and the answer says that it was cut; closed after its first word, it ends."""
    asked = request(scene(), "What colour is it?", max_tokens=2)
    text, end = await answered(engine, asked)
    assert len(text.split()) == 2
    assert (end.finish_reason, end.usage.completion_tokens) == ("length", 2)
    stream = engine.answer(asked)
    assert isinstance(await anext(stream), Delta)
    await stream.aclose()


async def test_a_picture_made_for_another_engine_will_do(engine: BuiltinEngine) -> None:
    """A JPEG is decoded; a broken one is an error that says so."""
    ok, jpeg = cv2.imencode(".jpg", write(scene(), ["EXIT"], height=60))
    assert ok
    made = picture(None, jpeg=jpeg.tobytes())
    assert "EXIT" in await ask(engine, scene(), "Read this", picture=made)
    with pytest.raises(EngineFailed):
        await ask(engine, scene(), "Read this", picture=picture(None, jpeg=b"no jpeg"))


async def test_a_text_reader_that_does_not_load_is_said_and_the_rest_works(
    heavy: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken installation answers about colours still."""
    monkeypatch.setattr("rapidocr.RapidOCR", Mock(side_effect=OSError("no model")))
    engine = BuiltinEngine(heavy=heavy)
    assert "I can't read text at the moment" in await ask(engine, scene(), "Read this")
    assert "white" in await ask(engine, scene(), "What colour is it?")


async def test_it_is_ready_and_states_what_it_can(engine: BuiltinEngine) -> None:
    """Pixels at the camera's own size, one picture at a time."""
    status = await engine.probe()
    can = status.capabilities
    assert (status.ready, status.model) == (True, "builtin")
    assert (can.wants_pixels, can.max_concurrency) == (True, 1)
    assert "VLLM_BASE_URL" in status.detail
    assert not {"bash", "VLLM"} & {*status.visitor_detail.replace("_", " ").split()}


@pytest.mark.parametrize(
    "question", ["Read this", "Which " + " ".join(f"strawberr{n}" for n in range(80))]
)
async def test_the_loop_stays_free_while_it_looks(engine: BuiltinEngine, question: str) -> None:
    """All heavy work runs in the pool: between two turns the loop's own thread computes little, however busy the machine is."""
    await engine.warm()
    # No other test reads these lines.
    label = write(scene(), LABEL, at=(180 + len(question) % 40, 150))
    task = asyncio.create_task(ask(engine, label, question))
    worst, last = 0.0, time.thread_time()
    while not task.done():
        await asyncio.sleep(0.002)
        now = time.thread_time()
        worst, last = max(worst, now - last), now
    await task
    assert worst < 0.15


# A page of small print


def small_print(lines: int, height: int = 9) -> Bgr:
    """A page of lines that are as wide as the picture."""
    text = (
        "No part of this contract may be changed without a notice in writing to both of the parties"
    )
    return write(scene(), [f"{text} {n}" for n in range(lines)], height=height, at=(20, 30))


@pytest.fixture
def lines_read(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """The widths of the lines that the network reads at a time, in their heights."""
    from rapidocr import RapidOCR

    recognise, read = RapidOCR.recognize_txt, list[list[float]]()

    def counted(ocr: RapidOCR, crops: list[Bgr]) -> Any:
        read.append([crop.shape[1] / crop.shape[0] for crop in crops])
        return recognise(ocr, crops)

    monkeypatch.setattr(RapidOCR, "recognize_txt", counted)
    return read


@pytest.mark.slow
def test_a_page_of_small_print_is_read_as_long_as_there_is_time(
    lines_read: list[list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line after the other, and a heading first; the answer says that there is more."""
    monkeypatch.setattr(reader_module, "MOST_SECONDS", 1.5)
    page = write(small_print(24), ["CONTRACT"], height=40, at=(400, 690))
    reader = TextReader()
    reader.read_text(scene())
    began = time.thread_time()
    pieces = reader.read_text(page)
    assert time.thread_time() - began < 5
    assert max(map(sum, lines_read)) <= reader_module.MOST_WIDE
    assert sum(map(len, lines_read)) < 20 < len(pieces)
    rows, unread = rows_read(pieces)
    assert "CONTRACT" in [row.text for row in rows]
    assert len(rows) > 1
    assert unread


@pytest.mark.slow
def test_a_few_lines_tell_whether_a_page_is_upside_down(lines_read: list[list[float]]) -> None:
    """Of print that is poor either way, and of print that is not."""
    page, reader = small_print(7, height=12)[:, :560], TextReader()
    assert len(reader.read_text(np.ascontiguousarray(page[:, ::-1]))) == 7
    assert sum(map(len, lines_read)) <= 7 + 4
    lines_read.clear()
    rows, _ = rows_read(reader.read_text(np.ascontiguousarray(page[::-1, ::-1])))
    assert len(rows) == 7
    assert rows[0].text.startswith("No part of this contract")
    assert sum(map(len, lines_read)) <= 7 + 4 + 4


@pytest.mark.slow
async def test_reading_ends_when_nobody_waits_for_it(
    heavy: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the line that was begun; others get the thread."""
    from rapidocr import RapidOCR

    recognise, begun, gate, read = RapidOCR.recognize_txt, asyncio.Event(), threading.Event(), 0
    loop = asyncio.get_running_loop()

    def held(ocr: RapidOCR, crops: list[Bgr]) -> Any:
        nonlocal read
        read += len(crops)
        loop.call_soon_threadsafe(begun.set)
        gate.wait(5)
        return recognise(ocr, crops)

    monkeypatch.setattr(RapidOCR, "recognize_txt", held)
    task = asyncio.create_task(ask(BuiltinEngine(heavy=heavy), small_print(12), "Read this"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    await run_in_pool(heavy, int)
    assert read == 1


async def find(
    engine: BuiltinEngine, bgr: Bgr, question: str, **changes: Any
) -> tuple[str, tuple[Box, ...]]:
    text, end = await answered(engine, request(bgr, question, where=True, **changes))
    assert end.boxes is not None
    return text, end.boxes


async def test_a_code_is_pointed_at(engine: BuiltinEngine) -> None:
    """With its kind as label, also in a picture that is shrunk for the search."""
    assert engine.status.capabilities.grounding
    assert engine.status.capabilities.boxes is None
    bgr = put_code(scene(), "https://example.org", zxingcpp.BarcodeFormat.QRCode, at=(900, 60))
    # It has a quiet zone of four of its squares around.
    side = np.nonzero((bgr[:, :, 0] < 30).any(axis=0))[0]
    left, right = int(side[0]), int(side[-1]) + 1
    top, bottom = left - 840, right - 840
    text, (box,) = await find(engine, bgr, "Wo ist der QR-Code?")
    assert (box.label, text) == (
        "QR code",
        "QR code: rechts, oben. Der QR code lautet: https://example.org",
    )
    assert box.overlap(Box(left, top, right, bottom)) > 0.95
    large = np.asarray(cv2.resize(bgr, (2560, 1440)), np.uint8)
    _, (box,) = await find(engine, large, "Where is the QR code?")
    assert box.overlap(Box(2 * left, 2 * top, 2 * right, 2 * bottom)) > 0.95


async def test_a_colour_is_pointed_at(engine: BuiltinEngine) -> None:
    """Its spots, largest first; not a single pixel, and not another colour."""
    bgr = scene()
    bgr[100:200, 100:300] = (40, 40, 210)
    bgr[500:560, 900:980] = (40, 40, 210)
    bgr[300:500, 500:700] = (210, 90, 40)
    bgr[650, 650] = (40, 40, 210)
    text, (large, small) = await find(engine, bgr, "Where is the red thing?")
    assert large.overlap(Box(100, 100, 300, 200)) > 0.9
    assert small.overlap(Box(900, 500, 980, 560)) > 0.85
    assert (large.label, text.split(".")[0]) == ("red", "Red: on the left, at the top")
    text, (blue,) = await find(engine, bgr, "Wo ist das blaue Ding?", language="de")
    assert blue.label == "blau"


@pytest.mark.parametrize(
    "question", ["Where does it say EXIT?", "Wo steht „EXIT“?", "Where is the exit sign?"]
)
async def test_a_word_is_pointed_at(engine: BuiltinEngine, question: str) -> None:
    """The word, not the line that it is in."""
    bgr = write(scene(), ["TOILET   EXIT   TICKETS"], height=40, at=(120, 600))
    write(bgr, ["Other words up here"], height=24, at=(120, 100))
    _, (box,) = await find(engine, bgr, question)
    assert "EXIT" in box.label
    assert "TICKETS" not in box.label
    (left, _), (wide, _) = (
        cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 40 / 21, 1)[0]
        for text in ("TOILET   ", "EXIT")
    )
    assert box.overlap(Box(120 + left, 560, 120 + left + wide, 600)) > 0.4


async def test_text_upside_down_is_pointed_at_where_it_is(engine: BuiltinEngine) -> None:
    """Its corners are turned back."""
    bgr = write(scene(), ["EMERGENCY EXIT HERE"], height=40, at=(120, 600))
    turned = np.asarray(cv2.rotate(bgr, cv2.ROTATE_180), np.uint8)
    _, (box,) = await find(engine, turned, "Where does it say emergency?")
    assert box.x1 > 640
    assert box.y2 < 200


async def test_what_it_cannot_find_it_does_not_point_at(engine: BuiltinEngine) -> None:
    """It says what it looks for, or what it reads."""
    words = write(scene(), ["Some words"])
    assert await ask(engine, words, "Where is the spanner?", where=True) == "It says: Some words"
    for question, said in (
        ("Wo ist das rote Ding?", "Das sehe ich gerade nicht. Ich lese"),
        ("Where is the barcode?", "I do not see it now. I read"),
    ):
        text, boxes = await find(engine, scene(), question)
        assert (boxes, text[: len(said)]) == ((), said)


@pytest.mark.parametrize("question", ["Where is the face?", "Where is the person?"])
async def test_faces_are_pointed_at_where_the_model_is(
    heavy: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """Without it, it says so."""
    reader = TextReader()
    engine = BuiltinEngine(heavy=heavy, reader=reader, now=at_noon)
    found: list[Box] | None = [Box(900, 300, 1000, 420, "", 0.9)]
    monkeypatch.setattr(reader, "find_faces", lambda _bgr: found)
    text, (face,) = await find(engine, scene(), question)
    assert (text, face.label, face.confidence) == ("Face: on the right.", "face", 0.9)
    found = None
    assert await find(engine, scene(), question) == ("I can't tell.", ())


async def test_it_says_that_it_remembers_nothing(engine: BuiltinEngine) -> None:
    """With what has changed since its last look; the text of now still answers where it does."""
    question = "Wo habe ich die Schlüssel hingelegt?"
    words = get_language("de").say("no_past")
    assert await ask(engine, scene(), question, past=True) == words
    changed = scene()
    changed[:, :640] = (30, 30, 200)
    assert (await ask(engine, changed, question, past=True)).startswith(f"{words}\nSeit")
    label = write(scene(), LABEL, height=20)
    assert "3,49" in await ask(engine, label, "What was the price a minute ago?", past=True)


async def test_a_text_is_read_line_by_line(engine: BuiltinEngine) -> None:
    """Each line is a line, and one that the picture's edge cuts off is left for the next picture."""
    bgr = write(scene(), ["Shake well", "before opening"], height=40, at=(200, 200))
    write(bgr, ["Keep it cold"], height=40, at=(200, bgr.shape[0] + 4))
    text = await ask(engine, bgr, "Read this to me", reading=True)
    assert text.split("\n") == ["Shake well", "before opening"]
    assert await ask(engine, scene(), "Read this to me", reading=True) == "NONE"


@pytest.mark.slow
async def test_a_page_is_read_on_where_the_time_ended(
    engine: BuiltinEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next look begins with the lines that are left, and a new text at its top."""
    monkeypatch.setattr(reader_module, "MOST_LINES", 6)
    page = write(scene(), [f"Paragraph number {n}" for n in range(12)], height=20, at=(100, 40))
    begin, seen = "Read this to me", set[int]()

    async def look(question: str) -> tuple[list[int], str, str]:
        text, end = await answered(engine, request(page, question, reading=True))
        return [int(line.split()[-1]) for line in text.split("\n")], text, end.finish_reason

    for _ in range(2):
        numbers, text, reason = await look(begin)
        assert (min(numbers), reason) == (0, "length")
    for _ in range(4):
        seen.update(numbers)
        numbers, text, _ = await look("Read on. You have read:\n" + text)
    assert seen == set(range(12))
    monkeypatch.setattr(reader_module, "MOST_LINES", 50)
    assert (await look(begin))[2] == "stop"


async def test_where_the_date_is(engine: BuiltinEngine) -> None:
    """A date needs no word beside it; where a code leads is no question about a place."""
    page = np.full((300, 600, 3), 245, np.uint8)
    cv2.putText(page, "LOT 4471", (40, 90), 0, 1.2, (20, 20, 20), 2, cv2.LINE_AA)
    cv2.putText(page, "12.03.2027", (300, 240), 0, 1.2, (20, 20, 20), 2, cv2.LINE_AA)
    found = await ask(engine, page, "Where is the date?", where=True)
    assert found == "“12.03.2027”: at the bottom."
    coded = put_code(scene(), "https://example.org/menu", zxingcpp.BarcodeFormat.QRCode)
    leads = await ask(engine, coded, "Where does the code lead?", where=True)
    assert "https://example.org/menu" in leads
