"""The built-in engine on drawn scenes: text, codes, colours, light, change; honest about the rest."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from difflib import SequenceMatcher
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
import zxingcpp
from numpy.typing import NDArray

from server.core.aio import in_pool
from server.core.errors import EngineFailed
from server.core.frames import CodeUse, Kind, Picture, Scene
from server.core.messages import FoundCode
from server.features.builtin import colours, locate
from server.features.builtin import reader as reader_module
from server.features.builtin.codes import Code
from server.features.builtin.detector import Thing
from server.features.builtin.engine import BuiltinEngine, believed
from server.features.builtin.engine import rows_of as rows_read
from server.features.builtin.impressions import Memory, impression
from server.features.builtin.intents import understand
from server.features.builtin.language import language
from server.features.builtin.lines import Piece
from server.features.builtin.reader import Reader
from server.media.picture.grounding import Box
from server.models import prompts
from server.models.base import Delta, EarlierPicture, EngineRequest, Finished
from tests.features.builtin.test_fields import rows_of

Bgr = NDArray[np.uint8]
TODAY = dt.date(2026, 11, 20)


def at_noon(zone: dt.tzinfo | None) -> dt.datetime:
    return dt.datetime.combine(TODAY, dt.time(12), zone)


LABEL = [
    "Strawberry jam 450 g",
    "Best before 12.03.2027 LOT 4471-B",
    "Price 3,49 EUR",
    "Call +49 30 1234567",
    "info@example.org",
    "Store in a cool and dry place after opening.",
]


def scene(colour: tuple[int, int, int] = (215, 222, 225)) -> Bgr:
    """A plain 1280x720 picture in this BGR colour, with a camera's noise."""
    return _scene(colour).copy()


@cache
def _scene(colour: tuple[int, int, int]) -> Bgr:
    return np.clip(np.array(colour) + _noise(), 0, 255).astype(np.uint8)


@cache
def _noise() -> NDArray[np.float64]:
    """Make it once: it takes a tenth of a second."""
    return np.random.default_rng(7).normal(0, 3, (720, 1280, 3))


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


class ReadsOnce(Reader):
    """Reads each picture once, and remembers its text for the next test."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[object, tuple[list[Piece], bool, int]] = {}

    def _read(self, bgr: Bgr, first: int | None = None) -> tuple[list[Piece], bool, int]:
        if first is not None:
            return super()._read(bgr, first)
        key = bgr.shape, hashlib.sha256(bgr.tobytes()).digest()
        if key not in self.known:
            self.known[key] = super()._read(bgr)
        pieces, turned, left = self.known[key]
        return list(pieces), turned, left


@pytest.fixture(scope="module")
def reader() -> ReadsOnce:
    return ReadsOnce()


@pytest.fixture
def engine(heavy: ThreadPoolExecutor, reader: Reader) -> BuiltinEngine:
    return BuiltinEngine(heavy=heavy, reader=reader, now=at_noon)


def picture(bgr: Bgr | None, **changes: Any) -> Picture:
    whole = Picture("f", 1.0, None, 1280, 720, 1280, 720, 0, None, bgr, None, 0.002)
    return dataclasses.replace(whole, **changes)


def request(bgr: Bgr | None, question: str, **changes: Any) -> EngineRequest:
    whole = EngineRequest("session", Kind.CHAT, question, picture(bgr), max_tokens=400)
    return dataclasses.replace(whole, **changes)


async def ask(engine: BuiltinEngine, bgr: Bgr, question: str, **changes: Any) -> str:
    text, end = "", None
    async for chunk in engine.answer(request(bgr, question, **changes)):
        if isinstance(chunk, Delta):
            assert chunk.text
            text += chunk.text
        else:
            end = chunk
    assert isinstance(end, Finished)
    return text


@pytest.mark.parametrize(
    ("question", "needs"),
    [
        *(("Why do people like it?", True), ("Translate this into French", True)),
        *(("Warum mögen Leute das?", True), ("What breed is it?", True)),
        *(
            ("What does it cost?", False),
            ("Read this", False),
            ("Is it dark?", False),
            ("Hello", False),
        ),
    ],
)
async def test_an_answer_says_that_only_a_model_could_give_it(
    engine: BuiltinEngine, question: str, needs: bool
) -> None:
    asked = request(write(scene(), LABEL), question)
    chunks = [chunk async for chunk in engine.answer(asked)]
    assert isinstance(chunks[-1], Finished)
    assert chunks[-1].needs_model is needs


async def offered_codes(engine: BuiltinEngine, asked: EngineRequest) -> tuple[FoundCode, ...]:
    chunks = [chunk async for chunk in engine.answer(asked)]
    assert isinstance(chunks[-1], Finished)
    return chunks[-1].codes


CARD = "BEGIN:VCARD\r\nN:Berger;Anna\r\nADR:" + 500 * "x" + "\r\nEND:VCARD"


@pytest.mark.parametrize(
    ("question", "where"), [("Read this", False), ("Where is the QR code?", True)]
)
async def test_what_a_person_may_do_with_a_code_comes_with_the_answer(
    engine: BuiltinEngine, question: str, where: bool
) -> None:
    """All of the code with its lines, also where only its beginning is shown."""
    bgr = put_code(scene(), CARD, zxingcpp.BarcodeFormat.QRCode, at=(300, 60))
    found = await offered_codes(engine, request(bgr, question, where=where))
    assert found == (FoundCode(use=CodeUse.CONTACT, value=CARD.replace("\r", "")),)
    if not where:
        answer = await ask(engine, bgr, question)
        assert answer.endswith("xxx…")
        assert len(answer) < 450
    assert await offered_codes(engine, request(scene(), question, where=where)) == ()


async def test_small_print_is_read_right(engine: BuiltinEngine) -> None:
    """Lines 14 px high on 1280x720: at least 95 % of the letters, in reading order."""
    answer = await ask(engine, write(scene(), LABEL), "Read this")
    got = "".join(answer.partition(":")[2].split())
    wanted = "".join("".join(LABEL).split())
    assert SequenceMatcher(None, got, wanted, autojunk=False).ratio() >= 0.95


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("How much does it cost?", "It costs 3,49 EUR."),
        ("When does it expire?", "It is good until 12.03.2027. That day is still to come."),
        ("Wann läuft es ab?", "Es ist haltbar bis 12.03.2027. Dieser Tag kommt erst noch."),
        ("What is the phone number?", "+49 30 1234567"),
        ("Quelle est l'adresse e-mail ?", "info@example.org"),
        ("How heavy is it?", "450 g"),
        ("Does it say strawberry?", "Yes, it reads “Strawberry jam 450 g”"),
        ("Does it say raspberry?", "No, I do not read “raspberry”."),
        ("What is the lot number?", "4471-B"),
        ("¿Cuánto cuesta?", "Cuesta 3,49 EUR."),
        ("What is the website?", "I find no web address."),
    ],
)
async def test_a_label_answers_what_was_asked(
    engine: BuiltinEngine, question: str, words: str
) -> None:
    """Not the whole text, but the thing in question, in the question's language."""
    answer = await ask(engine, write(scene(), LABEL, height=20), question)
    first, _, second = answer.partition("\n")
    assert words in first
    assert "cool and dry" not in first
    # Below a no is what was read.
    assert ("cool and dry" in second) == ("no" in first.lower().replace(",", "").split())


async def test_an_expired_date_says_so(engine: BuiltinEngine) -> None:
    """The day has passed by the server's clock; with an unclear order of day and month it says nothing."""
    past = await ask(engine, write(scene(), ["Use by 01.02.2026"], height=22), "Is it still good?")
    assert "has passed" in past
    unclear = await ask(
        engine, write(scene(), ["Use by 10/12/2026"], height=22), "When does it expire?"
    )
    assert "10/12/2026" in unclear
    assert "day" not in unclear


async def test_codes_are_read(engine: BuiltinEngine) -> None:
    """QR and EAN in one picture, and an address inside a code answers for a website."""
    bgr = put_code(scene(), "https://example.org/menu", zxingcpp.BarcodeFormat.QRCode)
    bgr = put_code(bgr, "4006381333931", zxingcpp.BarcodeFormat.EAN13, at=(200, 300))
    answer = await ask(engine, bgr, "Scan the code")
    assert "The QR code says: https://example.org/menu" in answer
    assert "The EAN-13 says: 4006381333931" in answer
    assert "\n" not in answer
    assert "https://example.org/menu" in await ask(engine, bgr, "What is the website?")


@pytest.mark.parametrize(
    ("bgr", "name"),
    [
        ((0, 0, 255), "red"),
        ((0, 128, 0), "green"),
        ((255, 0, 0), "blue"),
        ((0, 255, 255), "yellow"),
        ((0, 165, 255), "orange"),
        ((128, 0, 128), "purple"),
        ((203, 192, 255), "pink"),
        ((42, 42, 165), "brown"),
        ((19, 69, 139), "brown"),
        ((208, 224, 64), "turquoise"),
        ((128, 128, 128), "grey"),
        ((255, 255, 255), "white"),
        ((0, 0, 0), "black"),
        ((60, 20, 220), "red"),
        ((180, 105, 255), "pink"),
        ((128, 0, 0), "blue"),
        ((0, 215, 255), "yellow"),
        # Walls in warm light, and a black cat
        ((142, 162, 177), "beige"),
        ((170, 197, 205), "beige"),
        ((132, 160, 194), "beige"),
        ((50, 32, 28), "black"),
        # A wall of a pale green, and one that is nearly grey
        ((157, 180, 155), "green"),
        ((178, 180, 160), "grey"),
    ],
)
def test_colours_have_their_usual_names(bgr: tuple[int, int, int], name: str) -> None:
    """The CSS colours of these names, and some near them."""
    assert colours.shares(scene(bgr))[0][0] == name


async def test_the_colour_in_the_middle_comes_first(engine: BuiltinEngine) -> None:
    """The object that a person points at is distinguished from its surroundings."""
    bgr = scene((255, 255, 255))
    cv2.circle(bgr, (640, 360), 170, (20, 20, 200), -1)
    answer = await ask(engine, bgr, "What colour is it?")
    first, _, whole = answer.partition("\n")
    assert first == "In the middle it is red, on white."
    assert "white" in whole.partition(",")[0]
    assert "In der Mitte ist es rot" in await ask(engine, bgr, "Welche Farbe hat das?")


async def test_light_and_blur_come_from_the_scene(engine: BuiltinEngine) -> None:
    """The room that reads luma knows better than a single picture."""
    dark = picture(scene((8, 8, 8)), scene=Scene(0.03, 0.2, 0.001, True, True))
    assert "dark" in await ask(engine, scene(), "Is it dark?", picture=dark)
    assert "blurred" in await ask(engine, scene(), "Is it sharp?", picture=dark)
    hinted = await ask(engine, scene(), "Read this", picture=dark)
    assert "more light" in hinted
    # One reason is enough.
    assert "blurred" not in hinted
    bright = await ask(engine, scene(), "Is it dark?")
    assert "bright" in bright


@pytest.mark.parametrize(
    ("motion", "words"),
    [(None, "cannot tell yet"), (0.001, "Nothing moves"), (0.02, "a little"), (0.2, "Much")],
)
async def test_motion_comes_from_the_scene(
    engine: BuiltinEngine, motion: float | None, words: str
) -> None:
    """One picture alone moves nothing."""
    one = picture(scene(), scene=Scene(0.8, 0.6, motion, False, False))
    assert words in await ask(engine, scene(), "Is anything moving?", picture=one)


async def test_change_since_the_last_picture(engine: BuiltinEngine) -> None:
    """The first is no change; a new sign is; another session knows nothing of it."""
    before, after = scene(), write(scene(), ["CLOSED TODAY"], height=60, at=(100, 300))
    assert "first picture" in await ask(engine, before, "What changed?")
    later = picture(before, captured=13.0)
    assert "no change since 12 s" in await ask(engine, before, "What changed?", picture=later)
    changed = await ask(engine, after, "What changed?", picture=picture(after, captured=18.0))
    assert "Since 5 s ago" in changed
    assert "on the left" in changed
    assert "New text: CLOSED TODAY" in changed
    gone = await ask(engine, before, "What changed?", picture=picture(before, captured=20.0))
    assert "Gone: CLOSED TODAY" in gone
    assert "first picture" in await ask(engine, after, "What changed?", session_id="other")
    engine.forget("session")
    assert "first picture" in await ask(engine, after, "What changed?")


async def ask_two(engine: BuiltinEngine, kitchen: Bgr, door: Bgr, question: str) -> list[str]:
    """Ask two cameras together; the answer's lines."""
    earlier = (EarlierPicture(picture(kitchen), "Camera Kitchen:", camera="Kitchen"),)
    answer = await ask(
        engine, door, question, earlier=earlier, caption="Camera Door:", camera="Door"
    )
    return answer.split("\n")


RED, BLUE = (30, 30, 200), (200, 40, 30)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (
            "What colour is it?",
            ["Kitchen: In the middle it is red.", "Door: In the middle it is blue."],
        ),
        (
            "Is it red?",
            ["Kitchen: Yes, in the middle it is red.", "Door: No, in the middle it is blue."],
        ),
        ("How many faces are there?", ["Kitchen, Door: I see no face."]),
        (
            "Welche Farbe ist das?",
            ["Kitchen: In der Mitte ist es rot.", "Door: In der Mitte ist es blau."],
        ),
        ("这是什么颜色？", ["Kitchen：中间是红色。", "Door：中间是蓝色。"]),
    ],
)
async def test_cameras_are_told_by_name(
    engine: BuiltinEngine, question: str, answer: list[str]
) -> None:
    """Each is looked at by itself; the answer says once what holds for all."""
    assert await ask_two(engine, scene(RED), scene(BLUE), question) == answer


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("What colour is it?", "Camera 1"),
        ("Welche Farbe ist das?", "Kamera 1"),
        ("ما هو اللون؟", "الكاميرا 1"),
        ("これは何色？", "カメラ 1"),
    ],
)
async def test_a_camera_without_a_name_has_one_in_the_answers_language(
    engine: BuiltinEngine, question: str, name: str
) -> None:
    """A name that somebody gave stays."""
    earlier = (EarlierPicture(picture(scene(RED)), "Camera Camera 1:", camera="Camera 1"),)
    answer = await ask(
        engine, scene(BLUE), question, earlier=earlier, caption="Camera Door 2:", camera="Door 2"
    )
    first, second = answer.split("\n")
    assert first.lstrip("\u2068").startswith(name)
    assert second.lstrip("\u2068").startswith("Door 2")


async def test_text_and_codes_of_several_cameras(engine: BuiltinEngine) -> None:
    """Each camera's own; one sentence on what the engine cannot do."""
    label = write(scene(), ["EXIT"], height=60)
    coded = put_code(scene(), "https://example.org/menu", zxingcpp.BarcodeFormat.QRCode)
    lines = await ask_two(engine, label, scene(), "What does it say?")
    assert lines[0].startswith("Kitchen: ")
    assert "EXIT" in lines[0]
    assert lines[1].startswith("Door: I see no text")
    lines = await ask_two(engine, label, coded, "Scan the code")
    assert lines[0].startswith("Kitchen: I see no QR code")
    assert lines[1].startswith("Door: ")
    assert "example.org/menu" in lines[1]
    lines = await ask_two(engine, label, scene(BLUE), "Is the door closed?")
    assert lines[0] == "Kitchen: What I read: EXIT. I can't tell more."
    assert lines[1].startswith("Door: I cannot tell that")


async def test_where_a_thing_is_may_stand_in_the_next_line(engine: BuiltinEngine) -> None:
    """The line "Key is under the" is told with the next one, and not by its place in the picture."""
    note = write(scene(), ["Hi Sam, at 11.", "Key is under the", "blue pot."], height=30)
    assert "blue pot" in await ask(engine, note, "Where is the key?")


def test_a_laptops_screen_is_no_television() -> None:
    laptop = Thing("laptop", 0.8, Box(400, 430, 720, 700), sure=True)
    screen = Thing("tv", 0.7, Box(450, 420, 690, 660), sure=True)
    apart = dataclasses.replace(screen, box=Box(800, 420, 990, 660))
    assert believed((laptop, screen, apart), None, 1e6) == (laptop, apart)


def test_a_label_that_fills_the_picture_is_no_book() -> None:
    label = Thing("book", 0.6, Box(0, 0, 900, 900), sure=True)
    lying = dataclasses.replace(label, box=Box(0, 0, 400, 400))
    rows = rows_of("Sunnyvale", "chopped tomatoes", "400 g")
    assert believed((label, lying), rows, 1e6) == (lying,)
    assert believed((label, lying), rows[:1], 1e6) == (label, lying)


async def test_each_camera_is_compared_with_itself(engine: BuiltinEngine) -> None:
    """Two cameras that see different things have not changed."""
    question = "What has changed?"
    await ask_two(engine, scene(RED), scene(BLUE), question)
    [again] = await ask_two(engine, scene(RED), scene(BLUE), question)
    assert again.startswith("Kitchen, Door: I see no change")
    engine.forget("session")
    [first] = await ask_two(engine, scene(RED), scene(BLUE), question)
    assert first.startswith("Kitchen, Door: This is the first picture")


def test_memory_is_bounded() -> None:
    """The session unused longest goes first."""
    memory = Memory(sessions=3)
    seen = impression(scene(), ("a",), 1.0)
    for name in "abc":
        memory.exchange(name, seen)
    assert memory.exchange("a", seen) is seen
    memory.exchange("d", seen)
    assert len(memory) == 3
    assert memory.exchange("b", seen) is None


async def test_summary_tells_what_it_can(engine: BuiltinEngine) -> None:
    """The text first, then colours and light in one line."""
    answer = await ask(engine, write(scene(), ["EXIT"], height=60), "What is this?")
    first, _, second = answer.partition("\n")
    assert first == "I read “EXIT”."
    assert second == "In the middle it is white; it is bright."


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is there anything red?", "Yes, on the left it is red."),
        ("Ist hier etwas Rotes?", "Ja, links ist es rot."),
        ("¿Hay algo rojo?", "Sí, a la izquierda es rojo."),
        ("Is there anything purple?", "No, I see nothing purple."),
    ],
)
async def test_a_color_anywhere_in_the_picture(
    engine: BuiltinEngine, question: str, answer: str
) -> None:
    """By the finder of "Where is the red one?", not by the middle of the picture."""
    bgr = scene((60, 160, 60))
    bgr[:, 640:] = (160, 60, 60)
    cv2.rectangle(bgr, (60, 250), (420, 480), (30, 30, 210), -1)
    assert (await ask(engine, bgr, question)).split("\n")[0] == answer


async def test_a_cup_on_a_wooden_table(engine: BuiltinEngine) -> None:
    """A color that the picture's edges have not is that of the thing, though little of the middle."""
    bgr = scene((60, 95, 140))
    cv2.circle(bgr, (640, 360), 75, (30, 30, 200), -1)
    first = (await ask(engine, bgr, "Colour?")).split("\n")[0]
    assert first == "In the middle it is red, on brown."


@pytest.mark.parametrize(
    "question", ["Ist die Tür offen?", "¿Está abierta la puerta?", "Is the door open?"]
)
async def test_a_door_has_no_opening_hours(engine: BuiltinEngine, question: str) -> None:
    first = (
        await ask(engine, write(scene(), ["EXIT", "PULL", "MIND THE STEP"], height=60), question)
    ).split("\n")[0]
    said = language(understand(question).language)
    assert "EXIT · PULL · MIND THE STEP" in first
    assert first.endswith(said.say("no_more"))
    first = (await ask(engine, scene(), question)).split("\n")[0]
    assert first == said.say("cannot_plain")


@pytest.mark.parametrize(
    ("zone", "answer"),
    [
        ("Asia/Tokyo", "No, not now (it is 16:37)."),
        ("", "Yes, until 8:36 (it is 07:37 now)."),
        ("Mars/Base", "Yes, until 8:36 (it is 07:37 now)."),
    ],
)
async def test_now_is_the_persons(
    heavy: ThreadPoolExecutor, reader: Reader, zone: str, answer: str
) -> None:
    """The server's time holds where the zone is not known."""
    server = dt.datetime(2026, 11, 20, 7, 37, tzinfo=dt.UTC)
    engine = BuiltinEngine(
        heavy=heavy, reader=reader, now=lambda zone: server.astimezone(zone or dt.UTC)
    )
    bgr = write(scene(), ["OPEN 6:36 - 8:36"], height=40)
    told = await ask(engine, bgr, "Is it open now?", time_zone=zone)
    assert told.split("\n")[0] == answer


@pytest.mark.parametrize("question", ["Is that a dog?", "What breed is it?", "Ist das ein Hund?"])
async def test_it_never_pretends_to_know(engine: BuiltinEngine, question: str) -> None:
    """Without a finder it says so in one line; what an operator has to do is none of a visitor's business."""
    answer = await ask(engine, scene(), question)
    assert answer == language(understand(question).language).say("cannot_plain")


async def test_what_an_operator_can_do_is_logged_once(
    heavy: ThreadPoolExecutor, reader: Reader, caplog: pytest.LogCaptureFixture
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


async def test_without_text_it_says_how_to_hold_it(engine: BuiltinEngine) -> None:
    """No text is an answer, too."""
    assert "Hold it closer" in await ask(engine, scene(), "What does it say?")


async def test_a_running_description_does_not_explain_itself(engine: BuiltinEngine) -> None:
    """One summary after the other, each without the advice."""
    answer = await ask(engine, scene(), "Describe what you see.", kind=Kind.DESCRIBE)
    assert "VLLM_BASE_URL" not in answer
    assert "in the middle it is white" in answer
    assert "common things" not in answer


@pytest.mark.parametrize(("own", "words"), [("ar-EG", "في الوسط"), ("de", "in der Mitte")])
async def test_a_running_description_is_in_the_pages_language(
    engine: BuiltinEngine, own: str, words: str
) -> None:
    """The words of its question are nobody's; a chosen language comes first."""
    kind = Kind.DESCRIBE
    assert words in await ask(engine, scene(), prompts.DESCRIBE, kind=kind, own_language=own)
    chosen = await ask(
        engine, scene(), prompts.DESCRIBE, kind=kind, own_language=own, language="fr"
    )
    assert "au milieu" in chosen


@pytest.mark.parametrize("question", ["hi", "Thanks!", "what can you do?"])
async def test_talk_about_talking_needs_no_look(heavy: ThreadPoolExecutor, question: str) -> None:
    """One friendly line, at once."""
    slow = Slow()
    answer = await ask(BuiltinEngine(heavy=heavy, reader=slow), scene(), question)
    assert answer
    assert "\n" not in answer
    assert (slow.texts, slow.face_looks) == (0, 0)


class Slow(Reader):
    """Text takes until the test lets it go; counts what was looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.go = threading.Event()
        self.texts = 0
        self.face_looks = 0

    def codes(self, bgr: Bgr) -> list[Code]:
        return []

    def text(self, bgr: Bgr) -> list[Piece]:
        self.texts += 1
        self.begun.set()
        assert self.go.wait(5)
        return []

    def face_boxes(self, bgr: Bgr) -> list[Box] | None:
        self.face_looks += 1
        return [Box(100, 100, 200, 220), Box(400, 100, 500, 220)]


async def test_faces_are_counted_or_it_says_that_it_cannot(heavy: ThreadPoolExecutor) -> None:
    """With and without the face model."""
    slow = Slow()
    engine = BuiltinEngine(heavy=heavy, reader=slow)
    assert "I count at least 2: people." in await ask(engine, scene(), "How many people are there?")
    assert "I count 2 faces." in await ask(engine, scene(), "How many faces are there?")
    assert slow.texts == 0

    class NoFaces(Slow):
        def face_boxes(self, bgr: Bgr) -> list[Box] | None:
            return None

    engine = BuiltinEngine(heavy=heavy, reader=NoFaces())
    answer = await ask(engine, scene(), "How many people are there?")
    assert answer == "I cannot count faces here."


async def test_cancelling_ends_the_work_at_the_next_stage(heavy: ThreadPoolExecutor) -> None:
    """The stage that runs ends unheard; no other begins."""
    slow = Slow()
    engine = BuiltinEngine(heavy=heavy, reader=slow)
    task = asyncio.create_task(ask(engine, scene(), "What is this?"))
    while not slow.begun.is_set():
        await asyncio.sleep(0.002)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    slow.go.set()
    await asyncio.get_running_loop().run_in_executor(heavy, lambda: None)
    assert slow.face_looks == 0


async def test_closing_the_answer_early_stops_it(engine: BuiltinEngine) -> None:
    """aclose() after the first word is clean."""
    stream = engine.answer(request(scene(), "What colour is it?"))
    assert isinstance(await anext(stream), Delta)
    await stream.aclose()


async def test_an_answer_is_cut_at_max_tokens(engine: BuiltinEngine) -> None:
    """A token is a word here, and the answer says that it was cut."""
    chunks = [
        chunk async for chunk in engine.answer(request(scene(), "What colour is it?", max_tokens=4))
    ]
    assert len(chunks) == 5
    end = chunks[-1]
    assert isinstance(end, Finished)
    assert end.finish_reason == "length"
    assert end.usage.completion_tokens == 4


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
    import rapidocr

    def broken(*_: object, **__: object) -> None:
        raise OSError("no model")

    monkeypatch.setattr(rapidocr, "RapidOCR", broken)
    engine = BuiltinEngine(heavy=heavy)
    assert "I cannot read text at the moment" in await ask(engine, scene(), "Read this")
    assert "white" in await ask(engine, scene(), "What colour is it?")


async def test_it_is_ready_and_states_what_it_can(engine: BuiltinEngine) -> None:
    """Pixels at the camera's own size, one picture at a time."""
    status = await engine.probe()
    assert status.ready
    assert status.model == "builtin"
    assert status.capabilities.wants_pixels
    assert status.capabilities.max_concurrency == 1
    assert "VLLM_BASE_URL" in status.detail
    assert "bash" not in status.visitor_detail
    assert "VLLM" not in status.visitor_detail


@pytest.mark.parametrize(
    "question", ["Read this", "Which " + " ".join(f"strawberr{n}" for n in range(80))]
)
async def test_the_loop_stays_free_while_it_looks(
    engine: BuiltinEngine, reader: ReadsOnce, question: str
) -> None:
    """All heavy work runs in the pool: between two turns the loop's own thread computes little, however busy the machine is."""
    await engine.warm()
    reader.known.clear()
    task = asyncio.create_task(ask(engine, write(scene(), LABEL), question))
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
    reader = Reader()
    reader.text(scene())
    began = time.thread_time()
    pieces = reader.text(page)
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
    page, reader = small_print(7, height=12)[:, :560], Reader()
    assert len(reader.text(np.ascontiguousarray(page[:, ::-1]))) == 7
    assert sum(map(len, lines_read)) <= 7 + 4
    lines_read.clear()
    rows, _ = rows_read(reader.text(np.ascontiguousarray(page[::-1, ::-1])))
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
    await in_pool(heavy, int)
    assert read == 1


# Where something is


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("Where is the red thing?", ("red",)),
        ("Where are the blues?", ("blue",)),
        ("Wo ist der rote Ball?", ("red",)),
        ("Wo sind die grünen und die gelben?", ("yellow", "green")),
        ("Où est la verte ?", ("green",)),
        ("Où est la blanche ?", ("white",)),
        ("¿Dónde está la roja?", ("red",)),
        ("Где красная кнопка?", ("red",)),
        ("红色的东西在哪里？", ("red",)),
        ("Where is the greenhouse?", ()),
        ("Where is the exit?", ()),
    ],
)
def test_colours_are_known_in_their_forms(question: str, names: tuple[str, ...]) -> None:
    """As people use them in a question."""
    assert locate.wanted_colours(understand(question), question) == names


async def find(
    engine: BuiltinEngine, bgr: Bgr, question: str, **changes: Any
) -> tuple[str, tuple[Box, ...]]:
    text = ""
    async for chunk in engine.answer(request(bgr, question, where=True, **changes)):
        if isinstance(chunk, Delta):
            text += chunk.text
        elif isinstance(chunk, Finished):
            assert chunk.boxes is not None
            return text, chunk.boxes
    raise AssertionError("no end")


def overlap(box: Box, left: float, top: float, right: float, bottom: float) -> float:
    """Intersection over union with the true edges."""
    wide = max(0.0, min(box.x2, right) - max(box.x1, left))
    high = max(0.0, min(box.y2, bottom) - max(box.y1, top))
    both = (box.x2 - box.x1) * (box.y2 - box.y1) + (right - left) * (bottom - top)
    return wide * high / (both - wide * high)


@pytest.mark.parametrize("question", ["Where is the QR code?", "Wo ist der QR-Code?"])
async def test_a_code_is_pointed_at(engine: BuiltinEngine, question: str) -> None:
    """With its kind as label, also in a picture that is shrunk for the search."""
    assert engine.status.capabilities.grounding
    assert engine.status.capabilities.boxes is None
    bgr = put_code(scene(), "https://example.org", zxingcpp.BarcodeFormat.QRCode, at=(900, 60))
    # It has a quiet zone of four of its squares around.
    side = np.nonzero((bgr[:, :, 0] < 30).any(axis=0))[0]
    left, right = int(side[0]), int(side[-1]) + 1
    top = left - 840
    bottom = top + right - left
    text, (box,) = await find(engine, bgr, question)
    assert box.label == "QR code"
    assert overlap(box, left, top, right, bottom) > 0.95
    assert text in {"QR code: on the right, at the top.", "QR code: rechts, oben."}
    large = np.asarray(cv2.resize(bgr, (2560, 1440)), np.uint8)
    _, (box,) = await find(engine, large, question)
    assert overlap(box, 2 * left, 2 * top, 2 * right, 2 * bottom) > 0.95


async def test_a_colour_is_pointed_at(engine: BuiltinEngine) -> None:
    """Its spots, largest first; not a single pixel, and not another colour."""
    bgr = scene()
    bgr[100:200, 100:300] = (40, 40, 210)
    bgr[500:560, 900:980] = (40, 40, 210)
    bgr[300:500, 500:700] = (210, 90, 40)
    bgr[650, 650] = (40, 40, 210)
    text, (large, small) = await find(engine, bgr, "Where is the red thing?")
    assert overlap(large, 100, 100, 300, 200) > 0.9
    assert overlap(small, 900, 500, 980, 560) > 0.85
    assert (large.label, text.split(".")[0]) == ("red", "Red: on the left, at the top")
    text, (blue,) = await find(engine, bgr, "Wo ist das blaue Ding?", language="de")
    assert blue.label == "blau"


@pytest.mark.parametrize(
    "question",
    ["Where does it say EXIT?", "Wo steht „EXIT“?", "Where is the exit sign?", 'Where is "exit"?'],
)
async def test_a_word_is_pointed_at(engine: BuiltinEngine, question: str) -> None:
    """The word, not the line that it is in."""
    bgr = write(scene(), ["TOILET   EXIT   TICKETS"], height=40, at=(120, 600))
    write(bgr, ["Other words up here"], height=24, at=(120, 100))
    _, boxes = await find(engine, bgr, question)
    (box,) = boxes
    assert "EXIT" in box.label
    assert "TICKETS" not in box.label
    (left, _), _ = (
        cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 40 / 21, 1) for text in ("TOILET   ", "EXIT")
    )
    (wide, _), _ = cv2.getTextSize("EXIT", cv2.FONT_HERSHEY_DUPLEX, 40 / 21, 1)
    assert overlap(box, 120 + left[0], 560, 120 + left[0] + wide, 600) > 0.4


async def test_text_upside_down_is_pointed_at_where_it_is(engine: BuiltinEngine) -> None:
    """Its corners are turned back."""
    bgr = write(scene(), ["EMERGENCY EXIT HERE"], height=40, at=(120, 600))
    turned = np.asarray(cv2.rotate(bgr, cv2.ROTATE_180), np.uint8)
    _, (box,) = await find(engine, turned, "Where does it say emergency?")
    assert box.x1 > 640
    assert box.y2 < 200


async def test_what_it_cannot_find_it_does_not_point_at(engine: BuiltinEngine) -> None:
    """It says what it looks for."""
    text, boxes = await find(engine, write(scene(), ["Some words"]), "Where is the spanner?")
    assert (boxes, text[:17]) == ((), "I do not find it.")
    text, boxes = await find(engine, scene(), "Wo ist das rote Ding?")
    assert (boxes, text[:19]) == ((), "Ich finde es nicht.")
    text, boxes = await find(engine, scene(), "Where is the barcode?")
    assert boxes == ()


async def test_faces_are_pointed_at_where_the_model_is(
    heavy: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, it says so."""
    reader = Reader()
    engine = BuiltinEngine(heavy=heavy, reader=reader, now=at_noon)
    found: list[Box] | None = [Box(900, 300, 1000, 420, "", 0.9)]
    monkeypatch.setattr(reader, "face_boxes", lambda _bgr: found)
    text, (face,) = await find(engine, scene(), "Where is the person?")
    assert (text, face.label, face.confidence) == ("Face: on the right.", "face", 0.9)
    found = None
    text, boxes = await find(engine, scene(), "Where is the person?")
    assert (text, boxes) == ("I cannot count faces here.", ())


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("What just happened?", "a vision-language model can"),
        ("Wo habe ich die Schlüssel hingelegt?", "ein Bildsprachmodell kann"),
        ("刚才发生了什么?", "视觉语言模型可以"),
    ],
)
async def test_it_says_that_it_remembers_nothing(
    engine: BuiltinEngine, question: str, words: str
) -> None:
    """In one sentence, with what can; the text of now still answers where it does. From its second look on it
    tells what has changed since the last one.
    """
    answer = await ask(engine, scene(), question, past=True)
    assert words in answer
    assert "\n" not in answer
    assert words not in await ask(engine, scene(), question)
    changed = scene()
    changed[:, :640] = (30, 30, 200)
    assert words in (told := await ask(engine, changed, question, past=True))
    assert "%" in told.split("\n")[1]
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

    async def look(question: str) -> tuple[set[int], str]:
        chunks = [one async for one in engine.answer(request(page, question, reading=True))]
        text = "".join(one.text for one in chunks if isinstance(one, Delta))
        assert isinstance(chunks[-1], Finished)
        tail.append(text)
        numbers = {int(line.split()[-1]) for line in text.split("\n")}
        return numbers, chunks[-1].finish_reason

    tail: list[str] = []
    seen, reason = await look("Read this to me")
    assert (min(seen), reason) == (0, "length")
    assert min((await look("Read this to me"))[0]) == 0
    for _ in range(4):
        more, _ = await look("Read on. You have read:\n" + tail[-1])
        seen |= more
    assert seen == set(range(12))
    monkeypatch.setattr(reader_module, "MOST_LINES", 50)
    assert (await look("Read this to me"))[1] == "stop"


async def test_where_the_date_is(engine: BuiltinEngine) -> None:
    """A date needs no word beside it; where a code leads is no question about a place."""
    page = np.full((300, 600, 3), 245, np.uint8)
    cv2.putText(page, "LOT 4471", (40, 90), 0, 1.2, (20, 20, 20), 2, cv2.LINE_AA)
    cv2.putText(page, "12.03.2027", (300, 240), 0, 1.2, (20, 20, 20), 2, cv2.LINE_AA)
    found = await ask(engine, page, "Where is the date?", where=True)
    assert found == "“12.03.2027” is written at the bottom."
    leads = await ask(engine, page, "Where does the code lead?", where=True)
    assert leads.startswith("I see no QR code")
