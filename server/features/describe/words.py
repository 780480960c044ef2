"""Questions of the running description, and the test for answers without news. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from server.features.describe.messages import Length
from server.models.control_tokens import clean
from server.models.prompts import DESCRIBE, UNCHANGED

_DESCRIBE = {
    Length.SHORT: DESCRIBE,
    Length.MEDIUM: "Describe in two or three sentences what the camera shows now.",
    Length.LONG: "Describe in six to eight sentences what the camera shows now: things, people, their places, and text.",
}
_SENTENCES = {
    Length.SHORT: "one short sentence",
    Length.MEDIUM: "one or two sentences",
    Length.LONG: "two to four sentences",
}
# Other phrases that models use for `UNCHANGED`
_ALSO_UNCHANGED = (UNCHANGED.casefold(), "unchanged", "nothing has changed", "no change")
_MARKS = " \t\n.!\"'`*()[]=:"
# Number of characters of an earlier description that the next question includes
_MOST_SAID = 600


def make_describe_question(prompt: str, length: Length, said: str) -> str:
    """Return the question of a running description.

    `prompt`: the person's own question; "" for the default. `said`: the last description if it may still apply, else
    ""; if it is given, the question asks only for news.
    """
    prompt = prompt.strip()
    if not said:
        return prompt or _DESCRIBE[length]
    last = f"Your last answer about this camera was: {said[:_MOST_SAID]}\n"
    if prompt:
        return (
            f"{prompt}\n{last}If that answer still holds, answer only with the word {UNCHANGED}. Otherwise "
            "answer anew."
        )
    return (
        f"{last}Say in {_SENTENCES[length]} only what is different now, such as what was put down, taken away, opened, "
        f"or who came. If nothing that matters is different, answer only with the word {UNCHANGED}."
    )


def make_notable_question(said: Sequence[str]) -> str:
    """Return the question about what a person who carries the camera needs to know.

    `said`: the notices of the last minute, which the answer should not repeat.
    """
    told = "".join(f"\n- {clean(one)[:_MOST_SAID]}" for one in said)
    return (
        "Somebody who may not see carries this camera. Say only what they would want to know now: something close that they "
        "could walk into, a step or stairs, a person who comes, print that matters (a warning, a price, the name of a street "
        "or on a door), or what has changed. The closest comes first, in at most two short sentences. Never say that the way "
        "is free."
        + (
            f"\nYou have told them in the last minute:{told}\nDo not repeat what still holds."
            if told
            else ""
        )
        + f"\nIf there is nothing of this kind, answer only with the word {UNCHANGED}."
    )


def is_unchanged(text: str, said: str) -> bool:
    """Return True if an answer says nothing new: it is a phrase such as `UNCHANGED`, or repeats the text of `said`."""
    plain = _normalise(text)
    return plain in _ALSO_UNCHANGED or (bool(plain) and plain == _normalise(said))


def may_be_unchanged(text: str, said: str) -> bool:
    """Return True if the beginning of an answer may become an answer for which `is_unchanged` is true."""
    plain = _normalise(text)
    return any(whole.startswith(plain) for whole in (*_ALSO_UNCHANGED, _normalise(said)))


def _normalise(text: str) -> str:
    return " ".join(text.casefold().split()).strip(_MARKS)
