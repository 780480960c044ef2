"""Messages from a client to the server, and their parser."""

from __future__ import annotations

import json
from typing import Annotated, Literal, get_args

from pydantic import Field, ValidationError

from server.core.errors import BadRequest, TooLong, UnknownType
from server.core.frames import LEAST_SENSITIVITY, MOST_SENSITIVITY, Detail, Length, Route, Verbosity
from server.core.messages.base import (
    MAX_MESSAGE_BYTES,
    MAX_QUESTION_CHARS,
    PROTOCOL,
    ClientMessage,
    Identifier,
)
from server.core.sound import MicrophoneMode

DayMinute = Annotated[int, Field(ge=0, le=1439)]


class Auth(ClientMessage):
    type: Literal["auth"]
    token: str = Field(max_length=4096)


class Chat(ClientMessage):
    type: Literal["chat"]
    # `parse` checks MAX_QUESTION_CHARS; any bound here makes pydantic refuse lone surrogates, which UTF-8 cannot encode.
    content: str = Field(max_length=MAX_MESSAGE_BYTES)
    id: Identifier | None = None
    # Milliseconds since the epoch by the page's clock: performance.timeOrigin + performance.now().
    sent_at: float | None = None
    detail: Detail = Detail.AUTO
    # Where to look; None: the words of the question decide.
    route: Route | None = None


class Correct(ClientMessage):
    """The words of a heard question were wrong: ask it anew in its place."""

    type: Literal["correct"]
    id: Identifier = Field(min_length=1)
    # As `Chat.content`
    text: str = Field(max_length=MAX_MESSAGE_BYTES)


class Cancel(ClientMessage):
    type: Literal["cancel"]
    id: Identifier | None = None


class Hold(ClientMessage):
    type: Literal["hold"]


class Release(ClientMessage):
    type: Literal["release"]


class Settings(ClientMessage):
    """Change settings of the session; fields that are absent keep their value."""

    type: Literal["settings"]
    describe: bool | None = None
    # Question of the running description; empty for the default.
    prompt: str | None = Field(default=None, max_length=MAX_QUESTION_CHARS)
    sample_rate: float | None = Field(default=None, ge=0.1, le=30)
    max_tokens: int | None = Field(default=None, ge=1, le=4096)
    # BCP 47, such as "de" or "pt-BR"; empty: the language of the question.
    language: str | None = Field(
        default=None, max_length=35, pattern=r"^([A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*)?$"
    )
    # The same of the words on the page: of descriptions where `language` is empty.
    page_language: str | None = Field(
        default=None, max_length=35, pattern=r"^([A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*)?$"
    )
    thumbnails: bool | None = None
    # Length of a description; see `Length`.
    length: Length | None = None
    # Sensitivity to changes, of descriptions and watches: more of it finds smaller and weaker ones.
    # 1 is the measured default.
    sensitivity: float | None = Field(default=None, ge=LEAST_SENSITIVITY, le=MOST_SENSITIVITY)
    # A `change` message at each look at the scene
    changes: bool | None = None
    # The same for the watches
    watch_changes: bool | None = None
    # One picture per second, for a page whose camera is another device.
    stills: bool | None = None
    # Keep pictures of the recent past; false drops them, too.
    recall: bool | None = None
    # Answers are spoken.
    speak: bool | None = None
    # Words of an answer; see `Verbosity`.
    verbosity: Verbosity | None = None
    # Hints how to move the camera
    guidance: bool | None = None
    # Way in which the microphone is heard; see `MicrophoneMode`.
    microphone: MicrophoneMode | None = None
    # Silence that ends a spoken question, hands-free
    silence_ms: int | None = Field(default=None, ge=200, le=2000)
    # The page keeps a `handover` message after each change of the chat.
    handover: bool | None = None
    # Ids of the cameras that questions are about, in a session with several
    cameras: tuple[Identifier, ...] | None = Field(default=None, max_length=8)


class Resume(ClientMessage):
    """Go on with the chat of an earlier session, before this one's first question."""

    type: Literal["resume"]
    # The last `Handover`; access/handover.py checks its length, so that its error says more.
    handover: str = Field(max_length=MAX_MESSAGE_BYTES)
    # A token of the earlier session
    token: str = Field(max_length=4096)


class Said(ClientMessage):
    """The page's own voice has read an answer up to `end`."""

    type: Literal["said"]
    id: Identifier
    end: int = Field(ge=0, le=10_000_000)


class Forget(ClientMessage):
    """Drop the pictures of the recent past."""

    type: Literal["forget"]


class Drop(ClientMessage):
    """Forget a question with its answer and pictures; without an id, all of them."""

    type: Literal["drop"]
    id: Identifier | None = None


class Typing(ClientMessage):
    type: Literal["typing"]


class Push(ClientMessage):
    """The button of push-to-talk is pressed or released."""

    type: Literal["push"]
    down: bool


class Ping(ClientMessage):
    type: Literal["ping"]


class Confirm(ClientMessage):
    """The visitor agrees that pictures go to this machine (`Ready.elsewhere`)."""

    type: Literal["confirm"]
    host: str = Field(max_length=253)


class Watch(ClientMessage):
    """Begin a watch, in place of one with the same id."""

    type: Literal["watch"]
    id: Identifier = Field(min_length=1)
    # The person's words; the session checks them, so that its error has the id.
    condition: str = Field(max_length=MAX_MESSAGE_BYTES)
    # True: ring each time that it begins; False: once
    repeat: bool = False
    # Seconds after the end of a seen event in which nothing rings
    cooldown: float = Field(default=60, ge=0, le=86_400)
    # Seconds until it ends by itself; None: never
    expires: float | None = Field(default=None, gt=0, le=31_536_000)
    # First and last minute of the day in the person's time; may go over midnight; None: always
    hours: tuple[DayMinute, DayMinute] | None = None
    # The person's time: minutes east of UTC, and the zone's name, which knows summer time
    zone: int | None = Field(default=None, ge=-840, le=840)
    zone_name: str | None = Field(default=None, max_length=64, pattern=r"^[\w+/-]*$")
    # The bar that the watch had in an earlier session; None for a new watch
    bar: float | None = Field(default=None, ge=0, le=1)


class Unwatch(ClientMessage):
    """End a watch."""

    type: Literal["unwatch"]
    id: Identifier


class Heard(ClientMessage):
    """The page has shown a ring; the next one that it missed may follow."""

    type: Literal["heard"]
    id: Identifier


class Wrong(ClientMessage):
    """A ring was false: the bar of its watch rises."""

    type: Literal["wrong"]
    id: Identifier


class Operator(ClientMessage):
    """Request `engine` and `log` messages on this socket until it closes."""

    type: Literal["operator"]
    token: str = Field(max_length=4096)


_CORE = (
    Auth,
    Chat,
    Correct,
    Cancel,
    Hold,
    Release,
    Settings,
    Resume,
    Said,
    Forget,
    Drop,
    Typing,
    Push,
    Ping,
    Confirm,
    Watch,
    Unwatch,
    Heard,
    Wrong,
    Operator,
)


# Types of earlier protocols, with those that took their place
_REMOVED = {"tell": "forward and home_assistant"}


class Parser:
    """Parses text messages: the core's, and those that features bring."""

    def __init__(self) -> None:
        self._models: dict[str, type[ClientMessage]] = {}
        self.add(*_CORE)

    def add(self, *models: type[ClientMessage]) -> None:
        """Know these messages, too, each by the value of its `type`."""
        for model in models:
            (name,) = get_args(model.model_fields["type"].annotation)
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
            if data["type"] in _REMOVED:
                raise UnknownType(
                    f"This server speaks protocol {PROTOCOL}, where {data['type']} has become"
                    f" {_REMOVED[data['type']]} (see docs/protocol.md)."
                )
            raise UnknownType(
                f"This message's type is unknown. Known types: {', '.join(self._models)}."
            )
        try:
            message = model.model_validate(data)
        except ValidationError as exc:
            problem = exc.errors(include_input=False, include_url=False, include_context=False)[0]
            where = ".".join(str(part) for part in problem["loc"]) or "message"
            raise BadRequest(f'"{where}" of a {data["type"]} message: {problem["msg"]}.') from None
        if isinstance(message, Chat):
            _check_question("content", message.type, message.content)
        elif isinstance(message, Correct):
            _check_question("text", message.type, message.text)
        return message


def _check_question(field: str, kind: str, question: str) -> None:
    if not question.strip():
        raise BadRequest(f'"{field}" of a {kind} message is empty. Put the question there.')
    if len(question) > MAX_QUESTION_CHARS:
        raise TooLong(
            f"The question has {len(question)} characters; at most {MAX_QUESTION_CHARS} are allowed. Shorten it."
        )
