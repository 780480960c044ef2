"""One connection of a client: its settings, its conversation, and what each event does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from server.core.aio import cancel_and_wait
from server.core.errors import Conflict, QwenCameraError
from server.features.grants.grants import Scope
from server.features.grants.guard import ProgramAccess
from server.features.grants.program_question import MOST_WAIT
from server.features.openai_api.answer import MODEL
from server.features.openai_api.errors import FieldRefused, ModelUnknown
from server.features.openai_api.request import BoundedPool, read
from server.features.realtime import events
from server.features.realtime.config import SOUND_FORMAT, Config
from server.features.realtime.conversation import Conversation, KeptItem, new_id
from server.features.realtime.events import SendEvent
from server.features.realtime.hearing import Hearing
from server.features.realtime.responses import Responder, Running
from server.features.realtime.speech import EventSpeech, Speech, TrackSpeech
from server.session.part import PROGRAMS
from server.shared.services import Recogniser, Voices
from server.shared.sound.line import VoiceLine


def check_model(name: str | None, access: ProgramAccess) -> None:
    """Raise ModelUnknown for any model but the one that answers now."""
    if name not in (None, MODEL, access.programs.model):
        raise ModelUnknown(
            f'Model not found. Use "{MODEL}", which stands for the model that answers now.',
            "session.model",
            "model_not_found",
        )


@dataclass(frozen=True, slots=True)
class ConnectionTools:
    """Resources that connections share."""

    # Parses requests
    pool: BoundedPool
    # None if the feature is off
    recogniser: Recogniser | None
    voices: Voices | None


class Connection:
    """Handles the events of one client. All methods run on the event loop."""

    def __init__(
        self,
        access: ProgramAccess,
        tools: ConnectionTools,
        send: SendEvent,
        has_room: Callable[[], bool],
        line: VoiceLine | None = None,
    ) -> None:
        """`has_room()`: True if more sound may be sent. `line`: the sound of a call; None if sound comes and goes as events."""
        self.access = access
        self._tools = tools
        self.send = send
        self._id = new_id("sess")
        self._conversation = Conversation()
        self._line = line
        self.speech: Speech = (
            TrackSpeech(line.player, send)
            if line is not None
            else EventSpeech(lambda *sound: self.responder.write_sound(*sound), has_room)
        )
        self.responder = Responder(
            access, self._conversation, tools.pool, send, tools.voices, self.speech
        )
        self._hearing = Hearing(self, tools.recogniser)
        self.config = Config(
            modality="audio" if not self._get_speech_problem() else "text",
            turn_detection=events.TurnDetection(type="server_vad")
            if self._hearing.available
            else None,
            transcription=events.Transcription() if self._hearing.available else None,
        )
        # Follows the alerts of the program's watches; None without the scope
        self._following: asyncio.Task[None] | None = None

    def greet(self) -> None:
        """Send the first event, and begin to listen."""
        if self._line is not None and self._hearing.available:
            self._hearing.follow(self._line)
        self.send("session.created", session=self._shown())
        if Scope.WATCH in self.access.grant.scopes:
            self._following = asyncio.create_task(self._follow_alerts(), name="realtime/alerts")

    async def handle(self, event: Any) -> None:
        """Handle an event. Raise QwenCameraError if it is refused; the connection goes on."""
        match event:
            case events.SessionUpdate():
                await self._update(event)
            case events.ResponseCreate():
                await self._respond(event)
            case events.ResponseCancel():
                self.responder.cancel(event.response_id)
            case events.SoundAppend():
                await self._hearing.append(event.audio)
            case events.ItemCreate():
                self.add(KeptItem.of(event.item), event.previous_item_id)
            case events.BareEvent():
                actions = {
                    "input_audio_buffer.commit": self._hearing.commit,
                    "input_audio_buffer.clear": self._hearing.clear,
                    "output_audio_buffer.clear": self.speech.stop,
                }
                actions[event.type]()
            case _:
                self._handle_item(event, self._conversation.find(event.item_id))

    async def close(self) -> None:
        """Stop everything."""
        if self._following is not None:
            await cancel_and_wait((self._following,))
        await self._hearing.close()
        await self.responder.close()

    # Settings

    def _shown(self) -> dict[str, Any]:
        grant = self.access.grant
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": self._id,
            "model": self.access.programs.model or MODEL,
            "expires_at": round(grant.made_at + grant.until - grant.since),
            **self.config.shown,
            "audio": {"input": self.config.shown_input, "output": {"format": SOUND_FORMAT}},
            "truncation": "auto",
            "tracing": None,
            "prompt": None,
        }

    async def _update(self, event: events.SessionUpdate) -> None:
        check_model(event.session.model, self.access)
        config = await self._updated(event.session)
        await self._check(config)
        self.config = config
        self.send("session.updated", session=self._shown())
        if config.own_tools:
            tools = [{**one, "input_schema": one["parameters"]} for one in config.own_tools]
            item = {"type": "mcp_list_tools", "server_label": "camera", "tools": tools}
            self.send("conversation.item.done", item={"id": new_id("mcpl"), **item})
            self.send("mcp_list_tools.completed", item_id=self._id)

    async def _updated(self, given: events.SessionFields | events.ResponseFields) -> Config:
        if given.tools:
            # The server's own tools are loaded at their first use, which takes a second.
            return await asyncio.to_thread(self.config.updated, given)
        return self.config.updated(given)

    async def _check(self, config: Config) -> None:
        """Raise QwenCameraError for settings that the server, the model or the access does not allow."""
        self._check_voice(config)
        if config.tools:
            if config.own_tools:
                self.access.programs.grants.allow(self.access.grant, Scope.WATCH, time.monotonic())
            # The chat interface checks names and schemas.
            chats = self.access.session.part("openai_api")
            bare = replace(config, instructions="")
            await self._tools.pool.run(read, bare.chat_body((), 1), chats.takes_tools)

    def _check_voice(self, config: Config) -> None:
        if config.modality == "audio" and (why := self._get_speech_problem()):
            text = f'{why} Use "output_modalities": ["text"].'
            raise FieldRefused(text, "output_modalities", "invalid_value")

    def _get_speech_problem(self) -> str:
        """Return why answers cannot be spoken; "" if they can."""
        voices, consent = self._tools.voices, self.access.session.requests.consent
        if Scope.SPEAK not in self.access.grant.scopes:
            return "This access lacks the scope speak."
        if voices is None or not voices.ready:
            return "This server has no voice now."
        if self._line is not None and not self._line.connected:
            return "This call plays no sound."
        if not consent.allows(voices.elsewhere, "voice_out"):
            return "The person has not agreed that answers go to the voice's machine."
        return ""

    # Items

    def add(self, item: KeptItem, after: str | None = None) -> str | None:
        """Add an item to the conversation. Return the id of the one before it. Raise what `Conversation.add` raises."""
        before, dropped = self._conversation.add(item, after)
        for one in dropped:
            self.send("conversation.item.deleted", item_id=one.id)
        for name in ("conversation.item.added", "conversation.item.done"):
            self.send(name, previous_item_id=before, item=item.shown())
        return before

    def _handle_item(self, event: events.ItemLookup | events.ItemTruncate, item: KeptItem) -> None:
        if isinstance(event, events.ItemTruncate):
            if item.body.get("role") != "assistant" or not item.body["content"]:
                raise Conflict("Only the assistant's spoken messages can be truncated. Name one.")
            self.send("conversation.item.truncated", **item.truncate(event.audio_end_ms))
        elif event.type == "conversation.item.retrieve":
            self.send("conversation.item.retrieved", item=item.shown())
        else:
            self._conversation.remove(item)
            self.send("conversation.item.deleted", item_id=item.id)

    # Responses

    async def _respond(self, event: events.ResponseCreate) -> None:
        given = event.response or events.ResponseFields()
        config = await self._updated(given)
        self._check_voice(config)
        items: Sequence[KeptItem] = self._conversation.all()
        if given.input is not None:
            items = [
                self._conversation.find(one.id)
                if isinstance(one, events.ReferenceItem)
                else KeptItem.of(one)
                for one in given.input
            ]
        kept = given.conversation != "none"
        self.responder.create(Running(config, items, dict(given.metadata or {}), kept))

    def on_speech(self) -> None:
        """Stop an answer over which somebody speaks."""
        detection = self.config.turn_detection
        if detection is None or not detection.interrupt_response:
            return
        if self.responder.busy:
            self.responder.cancel(reason="turn_detected")
        elif self._line is not None:
            self.speech.stop()

    def on_turn(self) -> None:
        """Answer a spoken turn."""
        detection = self.config.turn_detection
        if detection is not None and detection.create_response and not self.responder.busy:
            self.responder.create(Running(self.config, self._conversation.all(), {}, kept=True))

    async def _follow_alerts(self) -> None:
        """Begin a response for each alert of the program's own watches, once no other one is in progress."""
        watches, grant = self.access.programs.watches, self.access.grant
        after, wait = 0, 0.0
        while True:
            try:
                found = await watches.wait_alerts(grant, after, wait)
            except QwenCameraError:
                # Watches are off, or the access has ended, which closes the socket.
                return
            after = max([after, *(one.number for one in found)])
            for one in found if wait else ():
                if not one.watch.startswith(f"{PROGRAMS}{grant.id}:"):
                    continue
                while self.responder.busy:
                    await self.responder.idle.wait()
                about = {"alert": one.id, "watch": one.watch, "captured_at": f"{one.at:.0f}"}
                text = f"{one.firing.condition}. {one.firing.reason}"
                self.responder.create(Running(self.config, (), about, kept=True), text)
            # Alerts from before the connection are old news.
            wait = MOST_WAIT
