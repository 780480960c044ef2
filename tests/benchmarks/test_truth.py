"""Questions about what is not in the picture: the set, how answers are graded, and who is asked."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import truth
from benchmarks.truth import Question, Verdict, judge_answer, read_questions
from scripts.bench.processes import ServerProcess
from server.models import prompts
from tests.support.fakes_openai import FakeOpenAI


def absent(group: str, words: str, code: str = "en") -> Question:
    return Question("p", group, code, "?", tuple(words.split()), control=False)


def control(words: str, code: str = "en", group: str = "exists") -> Question:
    return Question("p", group, code, "?", tuple(words.split()), control=True)


DOG = absent("property", "dog dogs")
IS_DOG = absent("exists", "dog dogs")


@pytest.mark.parametrize(
    ("question", "answer", "graded"),
    [
        # It says that it is not there.
        (IS_DOG, "No.", Verdict.RIGHT),
        (IS_DOG, "No, only a cat on a sofa.", Verdict.RIGHT),
        (DOG, "There is no dog in the picture.", Verdict.RIGHT),
        (DOG, "I may miss it, but I do not see that: a dog.", Verdict.RIGHT),
        (DOG, "It is not in the picture.", Verdict.RIGHT),
        (absent("count", "car cars"), "Zero.", Verdict.RIGHT),
        (absent("text", "hours opening"), "I find no opening hours.", Verdict.RIGHT),
        # It cannot tell.
        (DOG, "I cannot tell what colour the dog is.", Verdict.HONEST),
        (DOG, "I can't see what the dog is holding.", Verdict.HONEST),
        # It invents, however it begins.
        (DOG, "The dog is brown.", Verdict.INVENTED),
        (DOG, "The dog is not brown, it is black.", Verdict.INVENTED),
        (DOG, "There is no doubt that the dog is brown.", Verdict.INVENTED),
        (DOG, "There is no dog, but it is brown.", Verdict.INVENTED),
        (DOG, "No.", Verdict.INVENTED),
        (IS_DOG, "No, there is a dog.", Verdict.INVENTED),
        (IS_DOG, "Yes, I do not see any cat.", Verdict.INVENTED),
        (IS_DOG, "The picture does not only show a dog.", Verdict.INVENTED),
        (absent("count", "car cars"), "Three cars.", Verdict.INVENTED),
        (DOG, " \n", Verdict.FAILED),
        # Other languages
        (absent("exists", "hund*", "de"), "Nein, da ist kein Hund.", Verdict.RIGHT),
        (absent("property", "hund*", "de"), "Ich sehe den Hund nicht.", Verdict.RIGHT),
        (absent("property", "hund*", "de"), "Das kann ich nicht sagen.", Verdict.HONEST),
        (absent("property", "hund*", "de"), "Der Hund ist nicht braun.", Verdict.INVENTED),
        (absent("exists", "bateau*", "fr"), "Non, il n'y a pas de bateau.", Verdict.RIGHT),
        (absent("where", "clé key", "fr"), "La clé n'est pas visible.", Verdict.RIGHT),
        (absent("where", "clé key", "fr"), "Je ne peux pas le dire.", Verdict.HONEST),
        (absent("where", "clé key", "fr"), "La clé est à gauche.", Verdict.INVENTED),
        (absent("property", "buzo*", "es"), "No hay ningún buzo en la imagen.", Verdict.RIGHT),
        (absent("property", "buzo*", "es"), "No puedo decirlo.", Verdict.HONEST),
        (absent("property", "buzo*", "es"), "El buzo no es azul sino rojo.", Verdict.INVENTED),
        (absent("property", "ваз*", "ru"), "На изображении нет вазы.", Verdict.RIGHT),
        (absent("property", "ваз*", "ru"), "Я не могу этого сказать.", Verdict.HONEST),
        (absent("property", "ваз*", "ru"), "Ваза синяя.", Verdict.INVENTED),
        (absent("property", "锤子", "zh"), "图中没有锤子。", Verdict.RIGHT),
        (absent("property", "锤子", "zh"), "我看不清。", Verdict.HONEST),
        (absent("property", "锤子", "zh"), "没有疑问,锤子是红色的。", Verdict.INVENTED),
        # A model that answers in English all the same
        (absent("property", "锤子 hammer", "zh"), "There is no hammer.", Verdict.RIGHT),
        (absent("property", "锤子 hammer", "zh"), "The hammer is red.", Verdict.INVENTED),
        # Things that are there
        (control("{yes} cat"), "Yes.", Verdict.RIGHT),
        (control("{yes} cat"), "No, there is no cat.", Verdict.DENIED),
        (control("{yes} cat"), "I cannot tell.", Verdict.DENIED),
        (control("{yes} cat"), "A dog.", Verdict.INVENTED),
        (control("7.15", group="text"), "The total is 7,15 EUR.", Verdict.RIGHT),
        (control("7.15", group="text"), "The total is 17.15 EUR.", Verdict.INVENTED),
        (control("{yes} 熊猫", "zh"), "有,一只熊猫。", Verdict.RIGHT),
        (control("{yes} 熊猫", "zh"), "没有熊猫。", Verdict.DENIED),
    ],
)
def test_an_answer_is_graded(question: Question, answer: str, graded: Verdict) -> None:
    assert judge_answer(question, answer) is graded


# The stand-in's stated errors: it invents at every third absent thing, and denies every fifth thing that is there.
def standing_in(body: dict[str, Any], _: bytes | None) -> list[str]:
    """A stand-in for the model, by the question alone."""
    text = body["messages"][-1]["content"][-1]["text"]
    (one,) = (one for one in read_questions() if one.text == text)
    kind = [other for other in read_questions() if other.control is one.control]
    number = kind.index(one)
    word = one.words[-1].rstrip("*")
    if one.control:
        return ["No."] if number % 5 == 0 else [f"Yes: {word}."]
    return [f"The {word} ", "is red."] if number % 3 == 0 else [f"There is no {word}."]


@pytest.mark.slow
async def test_a_model_server_gets_the_programs_prompt_and_each_picture(tmp_path: Path) -> None:
    """And what its stand-in invents and denies is counted."""
    async with FakeOpenAI(answer_for=standing_in) as server:
        args = truth.parse_options(["--engine-url", f"{server.base_url}/"])
        graded = await truth.measure(args)
        sent = [seen for seen in server.requests if seen.jpegs and seen.texts[-1][1] != ""]
    asked = [seen for seen in sent if seen.texts[-1][1] in {one.text for one in read_questions()}]
    assert len(asked) == 80
    assert {seen.texts[0] for seen in asked} == {("system", prompts.SYSTEM)}
    assert len({seen.jpegs[0] for seen in asked}) == len({one.picture for one in read_questions()})
    found = truth.report(graded)
    assert found["counts"] == {
        "not there invented": 20,
        "not there right": 40,
        "there right": 16,
        "there denied": 4,
    }
    told = truth.format_table(graded)
    assert told.splitlines()[-3].split() == ["all", "40", "0", "20", "0", "60"]
    assert told.splitlines()[-1].split() == ["all", "16", "4", "0", "0", "20"]
    assert json.loads(json.dumps(found))["answers"][0]["picture"] == "aloe.jpg"
    assert len(truth.format_wrong(graded).splitlines()) == 24


@pytest.mark.night
@pytest.mark.slow
async def test_the_built_in_engine_and_a_running_server_see_the_picture() -> None:
    """The same questions to both, and both pictures: one asks it here, one through a camera."""
    chosen = [one for one in read_questions() if one.picture in ("chelsea.jpg", "bee.jpg")]
    assert len(chosen) == 3
    here = await truth.measure(truth.parse_options([]), chosen)
    async with ServerProcess(ENGINE="builtin") as server:
        there = await truth.measure(truth.parse_options(["--server-url", server.url]), chosen)
    for graded in (here, there):
        where, exists = (
            next(
                one
                for one in graded
                if one.question.picture == picture and one.question.group == group
            )
            for picture, group in (("bee.jpg", "where"), ("chelsea.jpg", "exists"))
        )
        assert where.verdict is Verdict.RIGHT, where.answer
        assert exists.verdict is Verdict.RIGHT, exists.answer
        assert "cat" in exists.answer
    assert [dataclasses.replace(one, answer="", verdict=Verdict.RIGHT) for one in here] == [
        dataclasses.replace(one, answer="", verdict=Verdict.RIGHT) for one in there
    ]
