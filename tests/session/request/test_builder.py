"""Requests of more than one picture: what goes into the context, and what is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from server.core.errors import EngineRefused, EngineUnavailable, NotConfirmed
from server.core.frames import Detail, JobKind
from server.core.metrics import Metrics
from server.core.sound import SOUND_RATE, Sound, SoundUse
from server.models.base import AnswerPreferences, Capabilities, EngineRequest, ShownPicture, Usage
from server.models.prompts import estimate_audio_tokens, estimate_prompt_tokens
from server.models.scheduler.job import Job, Result
from server.session.request.builder import Allowance, Consent, Purpose
from server.session.request.parts import Draft, Prepared, Spoken, View
from tests.support.fakes import FakeEngine, make_picture, until
from tests.support.rooms import Room, make_frame, room, settings


class Listening:
    """A sink that keeps the request and the end."""

    id = "w1"

    def __init__(self) -> None:
        self.request: EngineRequest | None = None
        self.result: Result | None = None

    def on_request(self, engine: object, request: EngineRequest, queue_seconds: float) -> None:
        self.request = request

    def on_delta(self, text: str) -> None:
        pass

    on_thought = on_delta

    def on_result(self, result: Result) -> None:
        self.result = result

    def on_failure(self, error: Exception) -> None:
        raise error


def counted(metrics: Metrics) -> float:
    return float(metrics.visual_tokens._value.get())


def draft(question: str = "Which?", **fields: Any) -> Draft:
    return Draft(question=question, **{"view": View(make_frame(), Detail.LOW, None), **fields})


async def asked(
    one: Room, *tokens: int, widths: Sequence[int] = (), **fields: Any
) -> EngineRequest:
    """A watch's request with earlier pictures that cost so many tokens, and have these widths."""

    async def earlier(needs: Capabilities) -> Sequence[ShownPicture]:
        return [
            ShownPicture(
                replace(make_picture(visual_tokens=cost), width=widths[number] if widths else 840),
                f"{number}:",
            )
            for number, cost in enumerate(tokens)
        ]

    sink = Listening()
    watch = draft(kind=JobKind.WATCH, earlier=earlier, **fields)
    job: Job = one.session.requests.submit(watch, sink)
    assert job.kind is JobKind.WATCH
    await until(lambda: sink.result is not None)
    assert sink.request is not None
    assert sink.result is not None
    one.session.requests.learn(sink.result)
    return sink.request


async def test_all_pictures_of_a_request_are_counted() -> None:
    """In the metric, and in the room that is left to the answer."""
    async with room(FakeEngine(usage=Usage(700, 3, None))) as one:
        request = await asked(one, 100, 200)
        assert request.visual_tokens - request.picture.visual_tokens == 100 + 200
        assert counted(one.services.metrics) == request.visual_tokens


async def test_the_oldest_pictures_go_when_not_all_fit() -> None:
    """The answer keeps the room that it may take."""
    engine = FakeEngine(capabilities=Capabilities(context_length=2048))
    async with room(engine) as one:
        request = await asked(one, 700, 900, 1000)
        assert [shown.picture.visual_tokens for shown in request.earlier] == [1000]
        assert request.max_tokens == 128


async def test_an_engine_gets_no_more_pictures_than_it_takes() -> None:
    """The newest ones; with one picture in all, none is made."""
    engine = FakeEngine(capabilities=Capabilities(max_pictures=2))
    async with room(engine) as one:
        request = await asked(one, 10, 20, 30)
        assert [shown.picture.visual_tokens for shown in request.earlier] == [30]
        engine.capabilities = Capabilities(max_pictures=1)

        async def none(needs: Capabilities) -> Sequence[ShownPicture]:
            raise AssertionError("made for nothing")

        sink = Listening()
        one.session.requests.submit(draft(kind=JobKind.WATCH, earlier=none), sink)
        await until(lambda: sink.result is not None)
        assert sink.request is not None
        assert sink.request.earlier == ()


async def test_the_tokens_of_the_words_for_a_language_count() -> None:
    async with room(FakeEngine()) as one:
        picture = Prepared(make_picture(), one.engine.capabilities)
        made, bare = (
            one.session.requests.request(
                draft(kind=JobKind.DESCRIBE, own_language=tag), one.engine, picture
            )
            for tag in ("ar", None)
        )
        assert estimate_prompt_tokens(made) > estimate_prompt_tokens(bare)


async def test_the_persons_time_zone_is_for_their_own_questions() -> None:
    """A program's have none, and so the server's."""
    async with room(FakeEngine()) as one:
        one.session.handle(settings(time_zone="Asia/Tokyo"))
        picture = Prepared(make_picture(), one.engine.capabilities)
        for program, zone in (("", "Asia/Tokyo"), ("p", "")):
            asking = draft(program=program)
            preferences = one.session.requests.request(asking, one.engine, picture).extra(
                AnswerPreferences
            )
            assert preferences is not None
            assert preferences.time_zone == zone


async def test_pictures_of_the_past_go_as_a_video_where_the_engine_takes_one() -> None:
    """Two frames have the tokens of one; the number of pictures that the engine takes does not bind."""
    engine = FakeEngine(capabilities=Capabilities(video=True, max_pictures=1))
    async with room(engine) as one:
        request = await asked(one, *[100] * 6, video=True)
        assert (request.video, len(request.earlier)) == (True, 6)
        assert request.visual_tokens - request.picture.visual_tokens == 300
        assert not (await asked(one, *[100] * 6)).video


@pytest.mark.parametrize(
    ("tokens", "widths"), [((100, 100), ()), ((100,) * 5, ()), ((100,) * 4, (840, 840, 840, 448))]
)
async def test_too_few_uneven_or_unequal_pictures_are_no_video(
    tokens: Sequence[int], widths: Sequence[int]
) -> None:
    """A video's frames have one size, and go in pairs."""
    engine = FakeEngine(capabilities=Capabilities(video=True, max_pictures=3))
    async with room(engine) as one:
        request = await asked(one, *tokens, video=True, widths=widths)
        assert (request.video, len(request.earlier)) == (False, 2)


async def test_a_video_that_does_not_fit_loses_its_oldest_pair() -> None:
    """And becomes pictures when few frames are left."""
    engine = FakeEngine(capabilities=Capabilities(video=True, context_length=4096))
    async with room(engine) as one:
        request = await asked(one, *[900] * 8, video=True)
        assert (request.video, len(request.earlier)) == (True, 6)
        request = await asked(one, *[2500] * 4, video=True)
        assert (request.video, len(request.earlier)) == (False, 1)


async def test_a_request_may_state_its_own_answer() -> None:
    """Schema and tokens go to the engine; half of the context stays the most."""
    schema = {"type": "object"}
    async with room(FakeEngine(capabilities=Capabilities(context_length=1024))) as one:
        request = await asked(one, schema=schema, max_tokens=400)
        assert (request.schema, request.max_tokens) == (schema, 400)
        assert (await asked(one, max_tokens=4000)).max_tokens <= 512


# Sound

HEARS = Capabilities(audio_in=True)
SAID = Sound(np.ones(SOUND_RATE, np.int16), 3.0)
SCENE = Sound(np.full(SOUND_RATE, 2, np.int16), 4.0)


class Heard(Listening):
    """A sink that keeps an error, too."""

    error: Exception | None = None

    def on_failure(self, error: Exception) -> None:
        self.error = error


class FakeEar:
    """A microphone that has heard this, and what was asked of it."""

    def __init__(self, heard: Sound | None) -> None:
        self.on, self.talking = True, False
        self.asked: list[tuple[float, float]] = []
        self._heard = heard

    @property
    def recent(self) -> FakeEar:
        return self

    def slice(self, since: float, until: float) -> Sound | None:
        self.asked.append((since, until))
        return self._heard


async def sounding(
    one: Room, question: str = "Which?", heard: Sound | None = None, **fields: Any
) -> Heard:
    """Ask, where the microphone has heard this."""
    ear = FakeEar(heard)
    one.session.requests.audio_in = ear
    sink = Heard()
    view = View(make_frame(captured=100.0), Detail.LOW, None)
    one.session.requests.submit(draft(question, view=view, **fields), sink)
    await until(lambda: sink.result is not None or sink.error is not None)
    assert len(ear.asked) <= 1
    for span in ear.asked:
        assert span == (96.0, 100.0)
    return sink


async def sounded(*about: Any, **more: Any) -> EngineRequest:
    """The request that `sounding` made."""
    request = (await sounding(*about, **more)).request
    assert request is not None
    return request


async def test_the_spoken_question_wins_over_the_scenes_sound() -> None:
    """Sound that is given explicitly goes, even where the scene's sound would be added; even when it is of no use."""
    async with room(FakeEngine(capabilities=HEARS)) as one:
        request = await sounded(one, spoken=Spoken(sound=SAID), scene_sound=True, heard=SCENE)
        assert request.sound is SAID
        assert request.asked_by_sound
        assert request.extra(SoundUse) is SoundUse.HEARD
        short = replace(SAID, samples=SAID.samples[:10])
        request = await sounded(one, spoken=Spoken(sound=short), scene_sound=True, heard=SCENE)
        assert (request.sound, request.extra(SoundUse)) == (None, SoundUse.EMPTY)


async def test_the_scenes_sound_goes_with_pictures() -> None:
    """The seconds before the frame; it is no question."""
    async with room(FakeEngine(capabilities=HEARS)) as one:
        request = await sounded(one, scene_sound=True, heard=SCENE)
        assert request.sound is SCENE
        assert not request.asked_by_sound
        # A question that is about neither the past nor a watch goes as before.
        request = await sounded(one, heard=SCENE)
        assert (request.sound, request.extra(SoundUse)) == (None, None)


async def test_the_scenes_sound_counts_as_background_work() -> None:
    """A watch's: a minute of them would cost as much as pictures do, and nothing would bound it."""
    spent = []
    for sound in (None, SCENE):
        async with room(FakeEngine(capabilities=HEARS)) as one:
            one.session.requests.audio_in = FakeEar(sound)
            allowance = one.session.requests.allowance
            allowance._rate = 1e-9
            before = allowance._left
            request = await asked(one, scene_sound=True)
            assert (request.sound is None) == (sound is None)
            spent.append(before - allowance._left)
    assert spent[1] - spent[0] == estimate_audio_tokens(SCENE)


async def test_a_microphone_that_is_off_is_no_missing_sound() -> None:
    """Nothing is expected of it, so there is no word."""
    async with room(FakeEngine(capabilities=HEARS)) as one:
        for ear in (None, FakeEar(SCENE)):
            if ear is not None:
                ear.on = False
            one.session.requests.audio_in = ear
            request = await asked(one, 100, scene_sound=True)
            assert (request.sound, request.extra(SoundUse)) == (None, None)
        request = await sounded(one, scene_sound=True, heard=None)
        assert request.extra(SoundUse) is SoundUse.MISSING


async def test_engines_that_cannot_hear_never_get_sound() -> None:
    """Not even the person's; the words go, with a note. Nothing is read from the microphone."""
    async with room(FakeEngine()) as one:
        for fields, use in (
            ({"spoken": Spoken(sound=SAID)}, SoundUse.DEAF),
            ({"scene_sound": True}, None),
        ):
            request = await sounded(one, heard=SCENE, **fields)
            assert (request.sound, request.extra(SoundUse)) == (None, use)
            assert request.question == "Which?"


@pytest.mark.parametrize(
    ("needs", "sound", "words"),
    [
        (Capabilities(), SAID, "takes no sound"),
        (HEARS, None, "No sound"),
        (HEARS, Sound(np.zeros(0, np.int16), 0.0), "no sound"),
        (HEARS, Sound(np.zeros(61 * SOUND_RATE, np.int16), 0.0), "longer than 60 seconds"),
        (HEARS, Sound(np.zeros((2, SOUND_RATE), np.int16), 0.0), "could not be read"),
    ],
)
async def test_a_question_with_neither_words_nor_sound(
    needs: Capabilities, sound: Sound | None, words: str
) -> None:
    """The person reads why, and what to do; with words they go alone."""
    async with room(FakeEngine(capabilities=needs)) as one:
        sink = await sounding(one, "", heard=SCENE, spoken=Spoken(sound=sound))
        assert isinstance(sink.error, EngineRefused)
        assert words in sink.error.visitor_message
        assert one.engine.requests == []
        request = await sounded(one, heard=SCENE, spoken=Spoken(sound=sound))
        assert request.sound is None
        assert request.extra(SoundUse) not in (None, SoundUse.HEARD)


async def test_sound_is_resolved_once_a_request() -> None:
    """Another engine that takes over gets the same; `sounding` counts the calls."""
    async with room(FakeEngine(capabilities=HEARS, fail_at=0)) as one:
        one.engine.fail_with = EngineUnavailable("gone")
        spare = FakeEngine("spare", capabilities=HEARS)
        one.engines.spares.append(spare)
        await sounding(one, scene_sound=True, heard=SCENE)
        assert [request.sound for request in one.engine.requests] == [SCENE]
        assert [request.sound for request in spare.requests] == [SCENE]


async def test_sound_needs_the_consent_that_pictures_need() -> None:
    """It goes to no machine that the person has not confirmed."""
    async with room(FakeEngine(capabilities=HEARS)) as one:
        one.engines.current = FakeEngine(capabilities=HEARS, elsewhere="gpu.example.org")
        with pytest.raises(NotConfirmed):
            await sounding(one, spoken=Spoken(sound=SAID))
        assert one.engines.current.requests == []


async def test_sound_takes_room_in_the_context() -> None:
    """Earlier turns are cut to what it leaves."""
    async with room(FakeEngine(capabilities=replace(HEARS, context_length=1024))) as one:
        for n in range(20):
            one.session.history.add(f"A question of some words {n}?", "An answer of some words.")
        bare = await sounded(one)
        one.session.history.clear()
        for n in range(20):
            one.session.history.add(f"A question of some words {n}?", "An answer of some words.")
        long = Sound(np.ones(16 * SOUND_RATE, np.int16), 0.0)
        heard = await sounded(one, spoken=Spoken(sound=long))
        assert len(heard.turns) < len(bare.turns)


# The bound on one session's background work.


def test_background_work_waits_for_the_next_tokens() -> None:
    """600 a minute are ten a second, and 600 at once; the last request may go below zero."""
    allowance = Allowance(600, 0.0)
    for _ in range(3):
        assert allowance.left(0.0)
        allowance.record(JobKind.DESCRIBE, 250, 0.0)
    assert not allowance.left(0.0)
    assert not allowance.left(14.9)
    assert allowance.left(15.2)


def test_the_wait_for_the_next_request_is_known() -> None:
    """Ten tokens a second: 50 below zero are five seconds."""
    allowance = Allowance(600, 0.0)
    assert allowance.wait(0.0) == 0.0
    allowance.record(JobKind.WATCH, 650, 0.0)
    assert allowance.wait(0.0) == 5.0
    assert allowance.wait(4.0) == 1.0
    assert allowance.wait(5.1) == 0.0


def test_unused_tokens_are_not_saved_up() -> None:
    allowance = Allowance(600, 0.0)
    assert allowance.left(1e6)
    allowance.record(JobKind.WATCH, 600, 1e6)
    assert not allowance.left(1e6)


def test_questions_are_counted_and_not_bounded() -> None:
    allowance = Allowance(600, 0.0)
    for _ in range(10):
        allowance.record(JobKind.CHAT, 1000, 0.0)
    allowance.record(JobKind.PREFILL, 100, 0.0)
    assert allowance.left(0.0)
    assert (allowance.questions, allowance.background) == (10, 1)
    assert allowance.visual_tokens == 10_100


# The machines that may get one session's pictures, and what else leaves the server.


class Elsewhere:
    """A machine that gets sound or words, on a machine that a test chooses."""

    def __init__(self, consent: Consent, feature: str, elsewhere: str = "") -> None:
        self.elsewhere = elsewhere
        self.purpose: Purpose = consent.purpose(feature, "Sound", lambda: self.elsewhere)


def consent(*engines: FakeEngine) -> tuple[Consent, list[FakeEngine]]:
    """The consent of a session whose roles have these engines, and the list of them."""
    now = list(engines)
    return Consent(lambda: now), now


def test_a_session_begins_with_this_machine_alone() -> None:
    """Whatever is set up when it begins."""
    far = FakeEngine(elsewhere="there.example")
    one, _ = consent(FakeEngine(), far)
    sound, answers = Elsewhere(one, "in", "there.example"), Elsewhere(one, "out")
    assert one.given_to(FakeEngine())
    assert not one.given_to(far)
    assert not sound.purpose.given
    assert answers.purpose.given


def test_no_picture_goes_where_only_words_or_sound_may() -> None:
    """The machine of the questions or of speech may run another engine later."""
    one, engines = consent(FakeEngine())
    there = Elsewhere(one, "in", "there.example")
    assert one.give(["there.example"], "in")
    assert there.purpose.given
    moved = FakeEngine(elsewhere="there.example")
    assert not one.given_to(moved)
    with pytest.raises(NotConfirmed):
        one.check(moved)
    engines[:] = [moved]
    assert one.give(["there.example"])
    assert one.given_to(moved)


def test_consent_for_sound_is_for_sound() -> None:
    one, _ = consent(FakeEngine())
    sound, answers = (Elsewhere(one, name, "there.example") for name in ("in", "out"))
    with pytest.raises(NotConfirmed, match=r'Sound would go to there\.example.*"feature":"in"'):
        sound.purpose.check()
    one.give(["there.example"], "in")
    sound.purpose.check()
    assert not answers.purpose.given
    assert not one.given_to(FakeEngine(elsewhere="there.example"))
    # Of a feature that is off
    assert not one.give(["there.example"], "another")
    assert not answers.purpose.given


def test_each_machine_behind_an_address_needs_consent() -> None:
    one, _ = consent(FakeEngine())
    there = Elsewhere(one, "in", "a.example, b.example")
    one.give(["a.example"], "in")
    assert not there.purpose.given
    one.give(["b.example"], "in")
    assert there.purpose.given


def test_consent_for_pictures_is_for_all() -> None:
    one, _ = consent(FakeEngine(elsewhere="there.example"))
    there = [Elsewhere(one, name, "there.example") for name in ("in", "out")]
    one.give(["there.example"])
    assert all(each.purpose.given for each in there)


def test_what_changes_nothing_is_told() -> None:
    """The client is greeted again where something may go that could not before."""
    one, _ = consent(FakeEngine(elsewhere="there.example"))
    assert not one.give(["another.example"])
    assert one.give(["there.example"])
    assert not one.give(["there.example"])


def test_the_machine_of_each_role_needs_consent() -> None:
    """Each is agreed to, alone or together with others."""
    large, small = FakeEngine(elsewhere="large.example"), FakeEngine(elsewhere="small.example")
    one, engines = consent(large)
    one.give(["large.example"])
    assert one.for_pictures
    engines.append(small)
    assert (one.elsewhere, one.for_pictures) == ("large.example, small.example", False)
    assert one.given_to(large)
    with pytest.raises(NotConfirmed, match=r"would go to small\.example"):
        one.check(small)
    one.give(["small.exampl", ""])
    assert not one.given_to(small)
    one.give(["small.example"])
    assert one.for_pictures
    one.check(small)
    engines[:] = [small, FakeEngine(elsewhere="a.example"), FakeEngine(elsewhere="b.example")]
    assert not one.for_pictures
    one.give(one.elsewhere.split(", "))
    assert one.for_pictures


def test_a_machine_of_several_is_agreed_to_once() -> None:
    """Servers of one model that come and go are no reason to ask again; a further one is."""
    group = FakeEngine(elsewhere="a.example, b.example")
    one, _ = consent(group)
    one.give(["a.example", "b.example"])
    assert one.given_to(FakeEngine(elsewhere="b.example"))
    assert not one.given_to(FakeEngine(elsewhere="b.example, c.example"))
