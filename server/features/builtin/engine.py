"""The built-in engine, which needs no language model and no download of weights."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import cv2

from server.core.aio import run_in_pool
from server.core.errors import EngineFailed
from server.core.frames import Geometry, JobKind, Part, Picture, QuestionMode, Scene, Verbosity
from server.core.logs import get_location
from server.core.messages import AnswerFact
from server.features.builtin import colours, locate, look_answers, wants
from server.features.builtin.answers import (
    answer_small_talk,
    compose,
    compose_several,
    describe_places,
)
from server.features.builtin.codes import DecodedCode, find_code_uses
from server.features.builtin.detector import PERSON, DetectedThing, ThingFinder, select_things
from server.features.builtin.impressions import (
    Impression,
    Memory,
    SessionStore,
    compare,
    make_impression,
)
from server.features.builtin.intents import Intent, understand
from server.features.builtin.language import LATIN, get_language, get_language_code, warm
from server.features.builtin.lines import (
    LEAST_SCORE,
    Row,
    TextPiece,
    select_legible,
    select_whole,
    sort_into_rows,
    turn_upright,
)
from server.features.builtin.notable import Look, Noticer, select_large_rows
from server.features.builtin.reader import TextReader
from server.features.builtin.speaker import PictureFacts, Shares
from server.features.builtin.thing_words import get_thing_words
from server.features.builtin.wants import Want
from server.features.builtin.watcher import Watcher, explain_unwatchable
from server.media.picture.encode import Bgr, decode
from server.media.picture.grounding import Box
from server.models.base import (
    AnswerPreferences,
    Capabilities,
    Chunk,
    Delta,
    EngineRequest,
    EngineState,
    EngineStatus,
    Finished,
    PointedAt,
    Usage,
)
from server.models.control_tokens import clean
from server.models.prompts import NOTHING_TO_READ, UNCHANGED
from server.models.routing import get_route, plain
from server.shared.dates import get_zone
from server.shared.notices import NoticeContext
from server.shared.watch_answers import parse_conditions

log = logging.getLogger(__name__)

T = TypeVar("T")
# Words with the spaces around them; joined, they are the text
_WORD = re.compile(r"\s*\S+\s*?(?=\s|$)|\s+")
# Maximum number of cameras of a session (see `features/cameras`)
MOST_CAMERAS = 4
# Maximum number of pictures of a request: the present one, and past ones that are searched for an object
_MOST_PICTURES = 8
# Words after which the event loop runs other tasks
_WORDS_A_TURN = 16
# Longest question that is parsed on the event loop, in characters
_SHORT = 40
# Any size is allowed; the factor only has to divide every size.
_GEOMETRY = Geometry(1, 1, 4096 * 4096)
# For operators: how to get a model that understands more
_REMEDY = (
    "load a vision-language model (bash scripts/run.sh --model), "
    "or start vLLM and set VLLM_BASE_URL in .env"
)
# Thresholds for a picture without a scene; those of scenes are in server/media/picture/planes.py.
_DARK = 0.10
_BLURRED_BELOW = 25.0
# Subjects that concern the whole picture, not a part that a person points at
_OF_ALL = frozenset({Want.CHANGE, Want.MOTION})
# Languages whose word for the top also means "on"
_ON_IS_TOP = frozenset({"zh", "ja", "ko", "it", "pt", "tr", "ar", "hi"})


@dataclass(frozen=True, slots=True)
class _FoundAnswer:
    """An answer with its boxes and codes."""

    text: str
    # The requested places; None for a question about something else
    boxes: tuple[Box, ...] | None = None
    codes: tuple[DecodedCode, ...] = ()
    # True: the answer is from one of the earlier pictures.
    remembered: bool = False
    # True: it answers the question.
    known: bool = True
    # The figure that it asked for
    fact: AnswerFact | None = None


class BuiltinEngine:
    """Engine for objects, text, codes, colours, light, faces and changes, without a language model.

    It takes one picture at a time, or one of each camera, examined in turn. All work runs in `heavy`, in
    stages; a cancelled answer ends before the next stage. Libraries load with the first picture or with
    `warm()`.
    """

    name = "builtin"

    def __init__(
        self,
        *,
        heavy: ThreadPoolExecutor,
        now: Callable[[dt.tzinfo | None], dt.datetime] = dt.datetime.now,
        reader: TextReader | None = None,
        finder: ThingFinder | None = None,
    ) -> None:
        """Store the components. `finder`: None to name no objects. `now` returns a zone's time (None: the server's)."""
        self._heavy = heavy
        self._now = now
        self._reader = reader or TextReader()
        self._finder = finder
        self._memory = Memory()
        # By session: the line at which the reading of a text continues, and the last line read
        self._left = SessionStore[tuple[int, str]]()
        self._watcher = Watcher(self._reader, finder)
        self._noticer = Noticer(finder)
        self._microphones: dict[str, Callable[[], Any]] = {}
        self._advised = False
        self._warming: asyncio.Future[None] | None = None
        capabilities = Capabilities(
            grounding=True,
            wants_pixels=True,
            geometry=_GEOMETRY,
            max_concurrency=1,
            max_pictures=_MOST_PICTURES,
            max_cameras=MOST_CAMERAS,
            cannot_watch=partial(explain_unwatchable, things=finder is not None),
        )
        does = "" if finder is None else "names common things, "
        self._status = EngineStatus(
            EngineState.READY,
            f"The built-in engine {does}reads text and codes and names colours; it understands little more. "
            f"For more, {_REMEDY}.",
            "builtin",
            capabilities,
            for_visitors=f"The built-in engine {does}reads text and codes, names colours, counts faces and tells "
            "what moved; it understands little more.",
        )

    @property
    def status(self) -> EngineStatus:
        return self._status

    @property
    def _names_things(self) -> bool:
        return self._finder is not None and not self._finder.broken

    async def probe(self) -> EngineStatus:
        return self._status

    async def warm(self) -> None:
        """Load libraries and models in the pool, before the first question needs them."""
        if self._warming is None:
            self._warming = asyncio.ensure_future(self._run(self._warm))
        try:
            # Another caller may wait for the same future.
            await asyncio.shield(self._warming)
        except Exception as exc:  # noqa: BLE001
            # The first question meets the same error and reports it.
            log.error("built-in engine warm-up failed", extra={"error": type(exc).__name__})

    def _warm(self) -> None:
        self._reader.warm()
        warm()
        for code in LATIN:
            get_thing_words(code)

    async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.answer`. A token is a word here."""
        if request.kind is JobKind.WATCH:
            yield Delta(await self._translate_errors(self._watch(request)))
            yield Finished("stop")
            return
        if request.asks(QuestionMode.READ):
            text, whole = await self._translate_errors(self._read(request))
            yield Delta(text)
            yield Finished("stop" if whole else "length")
            return
        if (context := request.extra(NoticeContext)) is not None:
            yield Delta(await self._translate_errors(self._find_news(request, context)))
            yield Finished("stop")
            return
        question = clean(request.question)
        intent = await self._understand(request, question)
        running = request.kind is JobKind.DESCRIBE
        hears = intent.want is Want.HEARS and self._is_microphone_on(request.session_id)
        said = None if running else answer_small_talk(intent, self._names_things, hears=hears)
        found = (
            _FoundAnswer(said)
            if said is not None
            else await self._translate_errors(self._find_answer(request, intent, running))
        )
        words = _WORD.findall(found.text)
        for count, word in enumerate(words):
            if count == request.max_tokens:
                break
            if count % _WORDS_A_TURN == _WORDS_A_TURN - 1:
                await asyncio.sleep(0)
            yield Delta(word)
        given = min(len(words), request.max_tokens)
        yield Finished(
            "length" if given < len(words) else "stop",
            Usage(None, given, None),
            pictures_left_out=(
                len(request.earlier)
                if request.asks(QuestionMode.PAST) and not found.remembered
                else 0
            ),
            boxes=found.boxes,
            codes=find_code_uses(found.codes),
            fact=found.fact,
            needs_model=not running and not found.known,
        )

    async def _understand(self, request: EngineRequest, question: str) -> Intent:
        preferences = get_preferences(request)
        of_person = preferences.language or None, preferences.page_language
        if is_short(question):
            intent = understand(question, *of_person)
        else:
            intent = await self._run(understand, question, *of_person)
        if request.kind is JobKind.DESCRIBE:
            return Intent(Want.SUMMARY, intent.language)
        if request.extra(PointedAt) and intent.want in _OF_ALL:
            return replace(intent, want=Want.LOOKUP)
        return intent

    def set_microphone(self, session_id: str, microphone: Callable[[], Any]) -> None:
        """Set the function that returns a session's microphone, which may be None."""
        self._microphones[session_id] = microphone

    def _is_microphone_on(self, session_id: str) -> bool:
        find = self._microphones.get(session_id)
        microphone = find() if find is not None else None
        return microphone is not None and microphone.detection is not None

    def forget(self, session_id: str) -> None:
        """Remove the data of a session that has ended."""
        self._microphones.pop(session_id, None)
        self._memory.forget(session_id)
        self._left.forget(session_id)
        self._watcher.forget(session_id)
        self._noticer.forget(session_id)

    async def close(self) -> None:
        """Cancel the warming; the thread pool belongs to its owner."""
        if self._warming is not None:
            self._warming.cancel()

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        """Run a stage of work in the pool."""
        return await run_in_pool(self._heavy, work, *args)

    async def _translate_errors(self, work: Awaitable[T]) -> T:
        """Await work on a picture. Raises EngineFailed in place of a library's error."""
        try:
            return await work
        except (cv2.error, RuntimeError, ValueError, MemoryError) as exc:
            log.error(
                "built-in engine failed",
                extra={"error": type(exc).__name__, "at": get_location(exc.__traceback__)},
            )
            raise EngineFailed(
                "The built-in engine could not look at this frame. Ask again; the server's log names the cause."
            ) from None

    async def _watch(self, request: EngineRequest) -> str:
        """Answer the question about all watches, as a model does."""
        picture = request.picture
        bgr = await self._run(get_pixels, picture)
        conditions = parse_conditions(request.question)
        return await self._run(self._watcher.answer, request.session_id, picture, bgr, conditions)

    async def _find_news(self, request: EngineRequest, context: NoticeContext) -> str:
        """Return the news for a person who carries the camera, or the word for nothing new."""
        bgr = await self._run(get_pixels, request.picture)
        sights = await self._run(self._noticer.look, bgr)
        pieces = await self._run(self._reader.read_large_text, bgr)
        rows, _ = await self._run(make_rows, pieces)
        look = Look(request.picture.captured, tuple(sights), select_large_rows(rows))
        code = get_language_code(get_preferences(request).language)
        return self._noticer.find_news(request.session_id, look, context, code) or UNCHANGED

    async def _read(self, request: EngineRequest) -> tuple[str, bool]:
        """Return the lines that are wholly in a picture, as an answer to the question that features/reading asks.

        The second value is False if time ran out; the next call continues with the remaining lines.
        """
        bgr = await self._run(get_pixels, request.picture)
        left = self._left.take(request.session_id)
        # A question that does not contain the last line is about another text.
        first = left[0] if left is not None and left[1] in request.question else 0
        pieces, following = await self._run(self._reader.read_text_from, bgr, first)
        rows, _ = await self._run(make_rows, select_whole(pieces, bgr.shape[0]))
        if following and rows:
            self._left.put((following, rows[-1].text), request.session_id)
        return "\n".join(row.text for row in rows) or NOTHING_TO_READ, not following

    async def _find_answer(
        self, request: EngineRequest, intent: Intent, running: bool
    ) -> _FoundAnswer:
        """Find the answer in the picture, or in several."""
        if request.pictures[-1].camera and request.earlier:
            return await self._compose_several(request, intent)
        if request.asks(QuestionMode.PAST) and intent.things and self._finder is not None:
            text, boxes = await self._find_in_past(request, intent, self._finder)
            return _FoundAnswer(text, boxes, remembered=boxes is None)
        question = clean(request.question)
        found = None
        if _is_place_question(request, intent, question) and not running:
            found = await self._find(request.picture, intent, question)
        return found or await self._compose(request, intent, running)

    async def _get_today(self, request: EngineRequest) -> dt.date:
        """Return the date in the person's time zone. The pool reads the zone's file."""
        return self._now(await self._run(get_zone, get_preferences(request).time_zone)).date()

    async def _compose(self, request: EngineRequest, intent: Intent, running: bool) -> _FoundAnswer:
        view = await self._look(request, intent, request.picture, request.pictures[-1].camera)
        self._advise(intent.want, running)
        brief = get_preferences(request).verbosity is Verbosity.SHORT
        past, today = request.asks(QuestionMode.PAST), await self._get_today(request)
        saying = partial(compose, intent, view, today, running=running, brief=brief, past=past)
        said = await self._run(saying)
        return _FoundAnswer(said.text, codes=view.codes or (), known=said.known, fact=said.fact)

    async def _compose_several(self, request: EngineRequest, intent: Intent) -> _FoundAnswer:
        """Answer from each camera's picture."""
        looks = [
            (one.camera, await self._look(request, intent, one.picture, one.camera))
            for one in request.pictures
        ]
        self._advise(intent.want, False)
        text, known = await self._run(
            compose_several, intent, looks, await self._get_today(request)
        )
        codes = tuple(code for _, view in looks for code in view.codes or ())
        return _FoundAnswer(text, codes=codes, known=known)

    def _advise(self, want: Want, running: bool) -> None:
        if want in {Want.SUMMARY, Want.LOOKUP, Want.THING} and not running and not self._advised:
            # Logged once: the answer names the limits, and the log names the remedy.
            self._advised = True
            log.info("vision-language model recommended", extra={"reason": _REMEDY})

    async def _find(self, picture: Picture, intent: Intent, question: str) -> _FoundAnswer | None:
        """Return the sentence and the boxes for a question about a place; None if printed text answers it."""
        bgr = await self._run(get_pixels, picture)
        reader = self._reader
        words, names = get_language(intent.language), get_thing_words(intent.language)
        codes: Sequence[DecodedCode] = ()
        boxes: list[Box] = []
        pieces: list[TextPiece] = []
        of_print = False
        seen = await self._find_things(bgr, intent)
        if seen:
            boxes = [
                replace(one.box, label=names.get_singular(one.name)) for one in seen if one.box
            ]
            if not boxes:
                # The object fills the picture.
                what = words.capitalise(names.get_singular(seen[0].name))
                return _FoundAnswer(words.format_pair(what, words.get_place_name("middle")), ())
        elif intent.want is Want.CODE:
            codes = await self._run(reader.read_codes, bgr)
            boxes = [replace(one.box, label=one.name) for one in codes if one.box is not None]
        elif intent.want is Want.FACES or (PERSON in intent.things and len(intent.words) < 2):
            faces: list[Box] | None = await self._run(reader.find_faces, bgr)
            if faces is None:
                return _FoundAnswer(words.say("cannot"), ())
            boxes = [replace(face, label=words.face) for face in faces]
        elif intent.colours:
            spots = await self._run(locate.find_colour_boxes, bgr, intent.colours)
            boxes = [replace(spot, label=words.get_colour_name(spot.label)) for spot in spots]
        else:
            pieces = await self._run(reader.read_placed_text, bgr)
            if reader.ocr_failed:
                return _FoundAnswer(words.say("broken"), ())
            boxes = locate.find_text_boxes(pieces, intent, question)
            pieces = [one for one in pieces if one.score >= LEAST_SCORE]
            # A sentence such as "The mop is in the cellar" is a better answer than the place of its words.
            beside = max((_count_words_beside(one.text, boxes) for one in pieces), default=0)
            least = 1 if len(pieces) >= _PRINTED else _PROSE
            if intent.want is not Want.READ and beside >= least:
                return None
            of_print = True
        if not boxes and (
            pieces or not (intent.things or locate.has_named_target(intent, question))
        ):
            return None
        if not boxes and intent.things and self._names_things:
            missed = words.say("thing_missed", thing=names.get_singular(intent.things[0]))
            return _FoundAnswer(missed, (), known=False)
        # Sentences describe places in the camera's whole picture.
        region, (height, width) = picture.region, bgr.shape[:2]
        there = boxes
        if region is not None:
            height, width = picture.source_height, picture.source_width
            there = [box.moved(region.left, region.top) for box in boxes]
        text = describe_places(
            there, words.code, width, height, self._names_things, of_print=of_print
        )
        said = (words.say("code", format=one.name, text=one.text) for one in codes)
        text = words.join_sentence(text, *said)
        return _FoundAnswer(text, tuple(boxes), tuple(codes), known=bool(boxes))

    async def _find_in_past(
        self, request: EngineRequest, intent: Intent, finder: ThingFinder
    ) -> tuple[str, tuple[Box, ...] | None]:
        """Return the sentence about the place of an object, now or when it was last seen."""
        words, names = get_language(intent.language), get_thing_words(intent.language)
        now = request.picture
        for picture in (now, *(one.picture for one in reversed(request.earlier))):
            bgr = await self._run(get_pixels, picture)
            found = await self._run(finder.find, bgr, intent.things)
            seen = next((one for one in select_things(found, intent.things) if one.box), None)
            if seen is None or seen.box is None:
                continue
            height, width = bgr.shape[:2]
            box = replace(seen.box, label=names.get_singular(seen.name))
            if picture is now:
                return describe_places([box], words.code, width, height), (box,)
            where = [words.get_place_name(one) for one in locate.get_directions(box, width, height)]
            said = words.say(
                "seen_ago",
                seconds=max(1, round(now.captured - picture.captured)),
                thing=box.label,
                where=words.join_words(where),
            )
            return words.capitalise(said), None
        return words.say("thing_missed", thing=names.get_singular(intent.things[0])), None

    async def _find_things(self, bgr: Bgr, intent: Intent) -> list[DetectedThing]:
        """Return the objects that a question names; for a summary all sure objects."""
        if self._finder is None or not (intent.things or intent.want is Want.SUMMARY):
            return []
        found = await self._run(self._finder.find, bgr, intent.things)
        return select_things(found, intent.things) or [
            one for one in found if one.sure and not intent.things
        ]

    def _find_subject_colours(self, bgr: Bgr, intent: Intent) -> Shares:
        """Return the colours of what stands out in the middle.

        For "What color is it?" those of the named object there, if the first colour is not among them.
        """
        found = tuple(colours.find_subject_colours(bgr))
        named = intent.things or intent.words or intent.place or intent.want is not Want.COLOUR
        if self._finder is not None and found and not named:
            height, width = bgr.shape[:2]
            there = [
                one
                for one in self._finder.find(bgr)
                if one.box is not None
                and one.name not in (PERSON, *look_answers.FURNITURE)
                and one.box.encloses(width / 2, height / 2)
            ]
            there.sort(key=lambda one: one.box.area if one.box else 0)
            own = find_thing_colours(bgr, there[:1], [one.name for one in there[:1]])
            if own and found[0][0] not in colours.select_main_colours(own):
                return own
        return found

    def _find_faces(self, bgr: Bgr, place: str) -> list[Box] | None:
        """Return the faces at a place of the picture; None without a face model."""
        height, width = bgr.shape[:2]
        found = self._reader.find_faces(bgr)
        if found is None:
            return None
        return [face for face in found if locate.is_on_side(face, place, width, height)]

    async def _look(
        self, request: EngineRequest, intent: Intent, picture: Picture, camera: str
    ) -> PictureFacts:
        """Find the facts of a picture in stages; a cancellation takes effect between two stages."""
        want = intent.want
        bgr = await self._run(get_pixels, picture)
        reader = self._reader
        pointed = request.extra(PointedAt)
        part = convert_part(pointed.part if pointed else None, picture)

        def is_inside(box: Box) -> bool:
            """Return True if the middle of a box lies in the part, or if `part` is None."""
            return part is None or part.encloses(*box.middle)

        codes: tuple[DecodedCode, ...] | None = None
        rows: tuple[Row, ...] | None = None
        unread = False
        if want in wants.CODES:
            codes = tuple(await self._run(reader.read_codes, bgr))
            codes = tuple(code for code in codes if code.box is None or is_inside(code.box))
        height, width = bgr.shape[:2]
        if want not in wants.NO_TEXT:
            pieces = await self._run(reader.read_text, bgr)
            pieces = [one for one in pieces if is_inside(one.box)]
            across = intent.place in ("left", "right")
            if want is Want.READ and (across or intent.language not in _ON_IS_TOP):
                # "What does it say at the top?"
                pieces = [
                    one for one in pieces if locate.is_on_side(one.box, intent.place, width, height)
                ] or pieces
            rows, unread = await self._run(make_rows, pieces)
            if reader.ocr_failed:
                rows = None
            if codes is None and not rows:
                # A code may hold the answer.
                codes = tuple(await self._run(reader.read_codes, bgr))
        counts = want in (Want.FACES, Want.SUMMARY) or PERSON in intent.things
        # "What does my dog look like?"
        looks_like = want in (Want.LOOKUP, Want.BEYOND) and not (intent.yes_no or rows)
        clothes = intent.wears or (looks_like and PERSON in intent.things)
        looks = counts or clothes
        faces = await self._run(self._find_faces, bgr, intent.place) if looks else None
        worn = await self._run(_find_clothes_colours, bgr, faces or ()) if clothes else ()
        things: tuple[DetectedThing, ...] | None = None
        thing_colours: Shares = ()
        needs = want in wants.THINGS or intent.things or not (rows or want in wants.NO_TEXT)
        if self._finder is not None and needs:
            found = await self._run(self._finder.find, bgr, intent.things)
            if intent.how_many and want is Want.THING:
                found += await self._run(self._finder.find_more, bgr, found, intent.things[0])
            found = [one for one in found if one.box is None or is_inside(one.box)]
            if intent.place in ("left", "right") and len(intent.things) < 2:
                # Applies to "How many people are on the left?", not to "Is the cup left of the plate?" or "on top of the box"
                found = [
                    one
                    for one in found
                    if one.box is None or locate.is_on_side(one.box, intent.place, width, height)
                ]
            things = None if self._finder.broken else remove_screens(found)
            if want is Want.THING and things is not None and _has_missing(things, intent.things):
                # Printed text may name an object that was not detected.
                rows, unread = await self._run(make_rows, await self._run(reader.read_text, bgr))
            if intent.things and (want is Want.COLOUR or (looks_like and not clothes)):
                thing_colours = await self._run(
                    find_thing_colours, bgr, things or (), intent.things[:1]
                )
        texts = tuple(row.text for row in rows) if rows is not None else None
        spots = await self._run(_find_spots, bgr, intent.colours) if intent.colours else ()
        seen = bool(things or texts or codes or faces)
        alone = seen and want is not Want.COLOUR
        stands_out = () if alone else await self._run(self._find_subject_colours, bgr, intent)
        scene, shares, now = await self._run(
            _measure_colours_and_light, bgr, picture, texts, things
        )
        # A part of the picture cannot be compared with whole ones.
        of_all = picture.region is None
        before = self._memory.exchange(request.session_id, now, camera) if of_all else None
        return PictureFacts(
            scene=scene,
            pointed=request.extra(PointedAt) is not None,
            rows=rows,
            small_print=_is_small_print(rows or (), width * height),
            unread=unread,
            ocr_failed=reader.ocr_failed,
            codes=codes,
            colours=shares,
            subject=tuple(stands_out),
            spots=spots,
            faces=len(faces) if counts and faces is not None else None,
            things=things,
            names_things=self._names_things,
            thing_colours=thing_colours,
            worn=worn,
            change=compare(before, now) if before is not None else None,
        )


def is_short(question: str) -> bool:
    """Return True if a question may be parsed on the event loop.

    Both lengths count, because `plain` may turn one ligature into twenty letters.
    """
    return len(question) <= _SHORT and len(plain(question)) <= _SHORT


def get_preferences(request: EngineRequest) -> AnswerPreferences:
    """Return the preferences of the request's person."""
    return request.extra(AnswerPreferences) or AnswerPreferences()


def _is_place_question(request: EngineRequest, intent: Intent, question: str) -> bool:
    """Return True if a question asks for a place, by the request's mode or by its words."""
    if intent.want in (Want.TIME, Want.BEYOND):
        return False
    if len(intent.things) > 1 and intent.place in ("left", "right"):
        # The places of both objects answer "Is the cup on the left of the plate?".
        return True
    return request.asks(QuestionMode.WHERE) or (
        bool(intent.things) and get_route(question) is QuestionMode.WHERE
    )


# Number of further words in a line from which its text is a better answer than its place
_PROSE = 3


def _count_words_beside(text: str, boxes: Sequence[Box]) -> int:
    """Count the words of a line beside those of a box in it; 0 for a line without a box."""
    labels = [len(box.label.split()) for box in boxes if box.label in text]
    return len(text.split()) - max(labels) if labels else 0


def convert_part(part: Part | None, picture: Picture) -> Box | None:
    """Convert a part of the camera's picture into pixels of the region in `picture`; None for the whole picture."""
    if part is None or picture.region is None:
        return None
    left, top = picture.region.left, picture.region.top
    wide, high = picture.source_width, picture.source_height
    x1, y1, x2, y2 = part
    return Box(x1 * wide - left, y1 * high - top, x2 * wide - left, y2 * high - top)


def get_pixels(picture: Picture) -> Bgr:
    """Return a picture's pixels, decoded from its JPEG if it has no others. Raises ValueError."""
    if picture.bgr is not None:
        return picture.bgr
    if picture.jpeg is None:
        raise ValueError("the picture has neither pixels nor a JPEG")
    bgr = decode(picture.jpeg)
    if bgr is None:
        raise ValueError("the picture's JPEG cannot be decoded")
    return bgr


def make_rows(pieces: list[TextPiece]) -> tuple[tuple[Row, ...], bool]:
    """Return the rows in reading order, and True if some printed text was not read."""
    kept, unread = select_legible(pieces)
    return tuple(sort_into_rows(turn_upright(kept))), unread


# Number of rows from which a picture is mostly text, and fraction of the picture below which print is small
_PRINTED, _SMALL_PRINT = 3, 0.01


def remove_screens(things: Sequence[DetectedThing]) -> tuple[DetectedThing, ...]:
    """Return the objects without the screens of laptops, which the detector calls "tv"."""
    laptops = [one.box for one in things if one.name == "laptop" and one.box]
    return tuple(
        one
        for one in things
        if one.name != "tv" or one.box is None or not any(map(one.box.overlap, laptops))
    )


def _is_small_print(rows: Sequence[Row], area: int) -> bool:
    """Return True if print covers so little of a picture of this area that it may belong to something at the edge."""
    covered = sum(row.height * (cell.right - cell.left) for row in rows for cell in row.cells)
    return 0 < covered < _SMALL_PRINT * area


def _has_missing(things: Sequence[DetectedThing], asked: Collection[str]) -> bool:
    """Return True if one of the requested objects was not found."""
    return any(not select_things(things, [name]) for name in asked)


# Ratio of the two tallest faces from which the question is about the nearer person
_NEAREST = 1.5


def _find_clothes_colours(bgr: Bgr, faces: Sequence[Box]) -> Shares:
    """Return the colours that the only person, or the nearest by far, wears; empty if there is no face."""
    if not faces:
        return ()
    first, *others = sorted(faces, key=lambda one: -one.height)
    if others and first.height < _NEAREST * others[0].height:
        return ()
    return tuple(colours.find_clothes_colours(bgr, first))


# Hollow objects are seen from above: their outside is below this fraction of the box's height, without this
# fraction of its width at each side.
_HOLLOW, _OUTSIDE, _BESIDE = frozenset({"cup", "bowl"}), 0.75, 0.2


def find_thing_colours(bgr: Bgr, things: Sequence[DetectedThing], asked: Collection[str]) -> Shares:
    """Return the colours of the first requested object; empty if it has no box."""
    one = next((one for one in select_things(things, asked) if one.box is not None), None)
    if one is None or (box := one.box) is None:
        return ()
    x1, y1, x2, y2 = box.x1, box.y1, box.x2, box.y2
    if one.name in _HOLLOW:
        y1, x1, x2 = y1 + _OUTSIDE * box.height, x1 + _BESIDE * box.width, x2 - _BESIDE * box.width
    elif found := colours.find_subject_colours(bgr, box):
        return tuple(found)
    return tuple(
        colours.measure_shares(bgr[int(y1) : int(y2) + 1, int(x1) : int(x2) + 1], lit=True)
    )


def _measure_colours_and_light(
    bgr: Bgr, picture: Picture, rows: tuple[str, ...] | None, things: Sequence[DetectedThing] | None
) -> tuple[Scene, dict[str, Shares], Impression]:
    scene = picture.scene or _measure_scene(bgr)
    now = make_impression(bgr, rows, picture.captured, things)
    return scene, colours.get_colours_by_place(bgr), now


def _find_spots(bgr: Bgr, names: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the places of the largest spot of each colour, largest first."""
    height, width = bgr.shape[:2]
    found = {
        box.label: tuple(locate.get_directions(box, width, height))
        for box in reversed(locate.find_colour_boxes(bgr, names))
    }
    return tuple(reversed(found.items()))


def _measure_scene(bgr: Bgr) -> Scene:
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    brightness = float(grey.mean()) / 255
    edges = float(cv2.Laplacian(grey, cv2.CV_64F).var())
    return Scene(
        brightness, min(1.0, edges / 500), None, brightness < _DARK, edges < _BLURRED_BELOW
    )
