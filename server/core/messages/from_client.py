"""Messages from a client to the server, and their parser."""

from __future__ import annotations

import json
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from server.core.errors import BadRequest, TooLong, UnknownType
from server.core.frames import (
    LEAST_PART,
    LEAST_SENSITIVITY,
    MOST_SENSITIVITY,
    Detail,
    Part,
    QuestionMode,
    Verbosity,
)

# The number of this protocol, which changes when a message or a field gets another name or goes.
PROTOCOL = 2
MAX_QUESTION_CHARS = 4000
MAX_MESSAGE_BYTES = 64 * 1024
ID_PATTERN = r"^[\w.:-]*$"
# Of a language in BCP 47, or empty
LanguageTag = Annotated[
    str, Field(max_length=35, pattern=r"^([A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*)?$")
]
Identifier = Annotated[str, Field(max_length=64, pattern=ID_PATTERN)]


class ClientMessage(BaseModel):
    # Unknown fields are ignored, so that a newer page can talk to an older server. What checks them is made with
    # the first message: those of all take a tenth of a start.
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, defer_build=True)

    # An error about it has its id.
    named: ClassVar[bool] = False


class Auth(ClientMessage):
    """The token, as the first message, for a client that can send it neither as a subprotocol nor
    as a header.
    """

    type: Literal["auth"]
    # The session's token
    token: str = Field(max_length=4096)


def _in_picture(part: Part) -> Part:
    """Cut a part at the picture's edges. Raises ValueError for one that is none, or too small."""
    x1, y1, x2, y2 = (min(1.0, max(0.0, edge)) for edge in part)
    if min(x2 - x1, y2 - y1) < LEAST_PART - 1e-9:
        raise ValueError(
            "these are left, top, right and bottom as shares of the picture from 0 to 1, and both sides"
            f" have {LEAST_PART:.0%} of it at least"
        )
    return x1, y1, x2, y2


GivenPart = Annotated[Part, AfterValidator(_in_picture)]


class Chat(ClientMessage):
    """Ask a question."""

    type: Literal["chat"]
    # The question, 1 to 4000 characters
    content: str = Field(
        # `parse` checks MAX_QUESTION_CHARS; any bound here makes pydantic refuse lone surrogates,
        # which UTF-8 cannot encode.
        max_length=MAX_MESSAGE_BYTES
    )
    # Names the question in every message about it; without it the server chooses one.
    id: Identifier | None = None
    # The time of the question by the client's clock, with which it gets a frame captured after it:
    # performance.timeOrigin + performance.now() in a page
    sent_at: float | None = None
    # Pixels of the picture; `auto` decides by the question.
    detail: Detail = Detail.AUTO
    # Where to look; without it the words of the question decide.
    route: QuestionMode | None = None
    # The part of the own camera's picture that the person points at: left, top, right, bottom, as
    # shares of its width and height, 0 to 1, each side 0.02 at least. The question is about it.
    part: GivenPart | None = None
    # The client carries out orders: `transcript` with the order `guide_to`, `scan`, `where_was`,
    # `notable` or `watch_off`, or `stop` while it leads somewhere, looks around or describes, may follow in
    # place of an answer.
    orders: bool = False


class PointAt(ClientMessage):
    """Point at a part of the picture with what is said: spoken questions are about it from now on."""

    type: Literal["point_at"]
    # As in `chat`; without it they are about all of the picture again.
    part: GivenPart | None = None


class CorrectTranscript(ClientMessage):
    """The words of a spoken question were understood wrongly: ask it anew in its place, about the
    same picture.
    """

    type: Literal["correct_transcript"]
    named: ClassVar[bool] = True
    # The last question's
    id: Identifier = Field(min_length=1)
    # The right words, 1 to 4000 characters
    text: str = Field(max_length=MAX_MESSAGE_BYTES)


class Cancel(ClientMessage):
    """Stop a question, and its speech."""

    type: Literal["cancel"]
    # The question's; without it the running one stops.
    id: Identifier | None = None


class Hold(ClientMessage):
    """Keep the sharpest frame from now on, for the next questions."""

    type: Literal["hold"]


class Release(ClientMessage):
    """Give up the held frame."""

    type: Literal["release"]


class Settings(ClientMessage):
    """Change settings of the session; those that are absent keep their value."""

    type: Literal["settings"]
    # Frames a second that are compared with the one last described; more than 2.5 count as 2.5.
    sample_rate: float | None = Field(default=None, ge=0.1, le=30)
    # Longest answer; RESPONSE_MAX_TOKENS limits it.
    max_tokens: int | None = Field(default=None, ge=1, le=4096)
    # Language of answers in BCP 47, such as "de" or "pt-BR"; empty: the language of the question
    language: LanguageTag | None = None
    # Language of the client's words: that of a description without a `prompt` of its own where
    # `language` is empty. Empty: English
    page_language: LanguageTag | None = None
    # IANA time zone of the person, such as Europe/Berlin. Unknown or empty: the server's
    time_zone: str | None = Field(default=None, max_length=64)
    # `response` has a small picture of its frame.
    thumbnails: bool | None = None
    # The session's own camera is a shared screen or window, of which black is no darkness.
    screen: bool | None = None
    # Sensitivity to changes, of the description and the watches: more of it finds smaller and
    # weaker ones. 1 is the measured default.
    sensitivity: float | None = Field(default=None, ge=LEAST_SENSITIVITY, le=MOST_SENSITIVITY)
    # Words of an answer; `normal` at first
    verbosity: Verbosity | None = None
    # The person agrees that the model calls tools for the person's own questions, and the client shows
    # and carries out the `calls` of a `response`; false at first.
    tools: bool | None = None


class ClearRecall(ClientMessage):
    """Drop the pictures of the recent past, and those of answers."""

    type: Literal["clear_recall"]


class DeleteAnswer(ClientMessage):
    """Forget a question with its answer and pictures, in the history, too, and stop it if it runs."""

    type: Literal["delete_answer"]
    # The question's; without it all questions are forgotten.
    id: Identifier | None = None


class Typing(ClientMessage):
    """A question is coming: wake the camera."""

    type: Literal["typing"]


class Ping(ClientMessage):
    """Ask for a `pong`. It does not count as activity of the session."""

    type: Literal["ping"]


class Confirm(ClientMessage):
    """The person agrees that pictures, or what a feature sends beside them, go to other machines.

    A client sends it when a socket opens, with the machines that its person has agreed to, and after each agreement.
    """

    type: Literal["confirm"]
    # Machines as an `elsewhere` of `ready` names them, with a comma and a space between
    host: str = Field(max_length=4096)
    # The feature that sends something else, such as `voice_in` (sound) or `voice_out` (answers to be spoken); empty:
    # pictures, and all else
    feature: str = Field(default="", max_length=64)


class Operator(ClientMessage):
    """Ask for `engine` and `log` messages, and the operator's texts in others, until this socket
    closes.
    """

    type: Literal["operator"]
    # OPERATOR_TOKEN
    token: str = Field(max_length=4096)


_CORE = (
    Auth,
    Chat,
    PointAt,
    CorrectTranscript,
    Cancel,
    Hold,
    Release,
    Settings,
    ClearRecall,
    DeleteAnswer,
    Typing,
    Ping,
    Confirm,
    Operator,
)


# Types of earlier protocols, with those that took their place
_RENAMED = {
    "tell": "forward and home_assistant",
    "heard": "ack",
    "wrong": "false_alarm",
    "correct": "correct_transcript",
    "said": "speech_progress",
    "push": "push_to_talk",
    "drop": "delete_answer",
    "forget": "clear_recall",
}


class Parser:
    """Parses text messages: the core's, and those that features bring."""

    def __init__(self) -> None:
        self._models: dict[str, type[ClientMessage]] = {}
        self.add(*_CORE)

    def add(self, *models: type[ClientMessage]) -> None:
        """Know these messages, too, each by the value of its `type`; a class of `Settings` adds its fields."""
        for model in models:
            (name,) = get_args(model.model_fields["type"].annotation)
            if name == "settings" and name in self._models:
                # Its fields join those of the others.
                model = type("Settings", (model, self._models[name]), {})
            self._models[name] = model

    def parse(self, raw: str) -> ClientMessage:
        """Parse one text message.

        Raises BadRequest, UnknownType or TooLong; none of them quotes the message.
        """
        try:
            data = json.loads(raw)
        except (ValueError, RecursionError):
            raise BadRequest(
                "This message is not JSON. Send one JSON object per message."
            ) from None
        if not isinstance(data, dict) or not isinstance(data.get("type"), str):
            raise BadRequest(
                'A message is a JSON object with a "type", like {"type":"chat","content":"What do you see?"}.'
            )
        model = self._models.get(data["type"])
        if model is None:
            if data["type"] in _RENAMED:
                raise UnknownType(
                    f"This server speaks protocol {PROTOCOL}, where {data['type']} has become"
                    f" {_RENAMED[data['type']]} (see docs/protocol.md)."
                )
            raise UnknownType(
                f"This message's type is unknown. Known types: {', '.join(self._models)}."
            )
        try:
            message = model.model_validate(data)
        except ValidationError as exc:
            problem = exc.errors(include_input=False, include_url=False, include_context=False)[0]
            where = ".".join(str(part) for part in problem["loc"]) or "message"
            words = problem["msg"].removeprefix("Value error, ")
            if ID_PATTERN in words:
                words = "Only letters, digits and _ . : - may stand there"
            raise BadRequest(f'"{where}" of a {data["type"]} message: {words}.') from None
        if isinstance(message, Chat):
            _check_question("content", message.type, message.content)
        elif isinstance(message, CorrectTranscript):
            _check_question("text", message.type, message.text)
        return message


def _check_question(field: str, kind: str, question: str) -> None:
    if not question.strip():
        raise BadRequest(f'"{field}" of a {kind} message is empty. Put the question there.')
    if len(question) > MAX_QUESTION_CHARS:
        raise TooLong(
            f"The question has {len(question)} characters; at most {MAX_QUESTION_CHARS} are allowed. Shorten it."
        )
