"""The readers of text that strangers, models, codes, cameras and brokers write, with the most that each gets at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from server.core.errors import BadRequest, UploadRefused
from server.core.frames import Detail
from server.core.messages import MAX_QUESTION_CHARS
from server.core.redact import redact, remove_controls
from server.features.builtin import intents, language
from server.features.builtin.engine import is_short
from server.features.openai_api.request import read_url
from server.features.pointing import boxes as pointing
from server.features.voice_out.sentences import Sentences, to_speakable
from server.models import control_tokens, prompts, routing
from server.models.answer_parser import AnswerText
from server.shared import watch_answers


def in_pieces(text: str) -> None:
    sentences = Sentences()
    for begin in range(0, len(text), 5):
        sentences.add(text[begin : begin + 5])
    sentences.end()


def answer(text: str) -> None:
    reply = AnswerText()
    reply.feed(text)
    reply.feed("", ended=True)


def shown(text: str) -> None:
    sentence = pointing.Sentence()
    for begin in range(0, len(text), 5):
        sentence.feed(text[begin : begin + 5])
    sentence.end()


def address(text: str) -> None:
    with contextlib.suppress(BadRequest, UploadRefused):
        read_url(text)


# Readers of others' text, with the most characters that they get at once
READERS: dict[str, tuple[Callable[[str], object], int]] = {
    "a question's order": (routing.parse_command, MAX_QUESTION_CHARS),
    "a question's detail": (routing.wants_detail, MAX_QUESTION_CHARS),
    "a question's route": (
        lambda text: routing.choose(text, Detail.AUTO, None),
        MAX_QUESTION_CHARS,
    ),
    "words to be read": (routing.wants_reading, MAX_QUESTION_CHARS),
    "a stop": (routing.is_stop, MAX_QUESTION_CHARS),
    "a short question's intent": (lambda text: is_short(text) and intents.understand(text), 40),
    "an answer's language": (language.detect_language, 300),
    "control tokens of a question": (control_tokens.clean, MAX_QUESTION_CHARS),
    "an event of an answer": (answer, 16_000),
    "a sentence before boxes": (shown, 1_000),
    "conditions in a question": (watch_answers.parse_conditions, 4_000),
    "sentences of an answer": (in_pieces, 1_000),
    "words for a voice": (to_speakable, 1_000),
    "a line of a log": (redact, 2_000),
    "an error": (remove_controls, 2_000),
    "a picture's address": (address, 2_000),
    "pictures that an answer names": (lambda text: prompts.find_cited_numbers(text, 8), 4_000),
}
