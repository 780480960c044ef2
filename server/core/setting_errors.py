"""One sentence for each setting that cannot be used; never with a secret's text."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from server.core.setting_text import shown


class Problems(ValueError):
    """Problems between settings that are each right alone; `sentences` has one for each.

    Outside the tree of errors: pydantic makes its own error of a ValueError.
    """

    def __init__(self, sentences: Iterable[str]) -> None:
        self.sentences = tuple(sentences)
        super().__init__(" ".join(self.sentences))


def sentences_of(
    error: ValidationError, fields: Mapping[str, FieldInfo], secrets: Collection[str]
) -> list[str]:
    """`fields`: all settings by their name in lower case; `secrets`: names whose values are hidden."""
    sentences: dict[str, None] = {}
    for problem in error.errors(include_url=False):
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, Problems):
            sentences.update(dict.fromkeys(cause.sentences))
            continue
        name = str(problem["loc"][0]).lower()
        value = problem["input"]
        if name in secrets:
            value_shown = f"(hidden, {len(value) if isinstance(value, str) else 0} characters)"
        else:
            value_shown = shown(value)
        why = f": {cause}" if isinstance(cause, ValueError) else ""
        sentence = f"{name.upper()} is {value_shown}{why}. Allowed: {fields[name].description}."
        sentences[sentence] = None
    return list(sentences)
