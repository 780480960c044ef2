"""One session's questions: each waits for its frame, is queued and ends. A new question replaces the previous one."""

from __future__ import annotations

import itertools
import logging
import time
from dataclasses import replace
from functools import partial

from server.core import messages as wire
from server.core.errors import (
    Draining,
    Internal,
    NotFound,
    QwenCameraError,
)
from server.core.frames import Detail, Frame, Part, Picture, VoiceCommand
from server.media.camera import QuestionTime
from server.models.base import EngineRequest
from server.models.routing import FEATURE_COMMANDS, choose, is_stop, parse_command, repeat_mode
from server.models.scheduler.job import Result
from server.session.hold import HeldFrame
from server.session.part import FeatureParts, SessionContext
from server.session.request.answers import AnswerListener, Toolbox, make_cancelled_response
from server.session.request.asking import Asking, Stage
from server.session.request.parts import Spoken
from server.session.request.question import Question
from server.session.request.sent_pictures import SentPictures
from server.session.submitting import QuestionSubmitter

log = logging.getLogger(__name__)


class QuestionState:
    """The running question of a session, and facts about the last one.

    Bounds of the last spoken question with its frame, for corrections: one; the next question
    replaces it.

    Bounds of the last question's words, for "look twice" and the like: one; the next question replaces it.

    Bounds of the end of the last question, repeated to a client that sends the same question
    again: one, without its picture; the next one replaces it.
    """

    def __init__(self, context: SessionContext) -> None:
        self._services, self._outbox = context.services, context.outbox
        # The question that waits or runs; None if there is none
        self.running: Asking | None = None
        self.clear()

    def clear(self) -> None:
        """Forget the last question."""
        # The question whose answer was spoken last; None before
        self.voiced: Asking | None = None
        # The last spoken question; None before, and after a typed one
        self.spoken: Asking | None = None
        # The id and words of the last question; None before
        self.last: tuple[str, str] | None = None
        # The key and end of the last question; None before
        self._ended: tuple[tuple[str, float], wire.ServerMessage] | None = None

    @property
    def waits_for_frame(self) -> bool:
        """True while the running question is not in the queue yet."""
        return self.running is not None and self.running.stage in (Stage.FRAME, Stage.AGAIN)

    def resend(self, key: tuple[str, float]) -> bool:
        """Resend the messages of a repeated question. Return True if it was one."""
        if self._ended is not None and self._ended[0] == key:
            self._outbox.put(self._ended[1])
            return True
        if self.running is None or self.running.question.key != key:
            return False
        if self.running.publisher is not None:
            self.running.publisher.again()
        return True

    def begin(self, asking: Asking) -> None:
        self.running = asking
        if asking.question.text.strip():
            self.last = asking.id, asking.question.text
        self.spoken = asking if asking.question.spoken is not None else None

    def end(self, asking: Asking, message: wire.ServerMessage | None) -> None:
        """Store the end of a question, with its last message. The question may already have been replaced."""
        if self.running is asking:
            self.running = None
        key = asking.question.key
        if key is not None and message is not None and not asking.abandoned:
            self._ended = (key, message)

    def cancel(self, id: str | None, reason: str) -> None:
        """Stop the running question, if it has this id; None: in any case."""
        asking = self.running
        if asking is None or (id is not None and id != asking.id):
            return
        self.running = None
        asking.abandoned = reason == "socket_closed"
        if asking.job is not None:
            self._services.inference.cancel(asking.job, reason)
            return
        if asking.task is not None:
            asking.task.cancel()
        if asking.looks is not None:
            asking.looks.stop(reason)
            return
        # No engine has received it.
        self._services.metrics.cancellations.labels(reason).inc()
        if asking.stage is Stage.AGAIN and asking.publisher is not None:
            asking.publisher.stop(reason)
            return
        asking.end()
        response = make_cancelled_response(asking.question, self._services.current_engine(), reason)
        self._outbox.put(response)
        self.end(asking, response)

    def forget(self, id: str | None) -> None:
        """Forget the last question, if it has this id; None: in any case."""
        self._ended = None
        if self.last is not None and id in (None, self.last[0]):
            self.last = None
        if self.spoken is not None and id in (None, self.spoken.id):
            self.spoken = None
        if self.voiced is not None and id in (None, self.voiced.id):
            self.voiced = None


class Commands:
    """Spoken or typed commands instead of questions; the client executes them."""

    def __init__(self, context: SessionContext, features: FeatureParts) -> None:
        self._context = context
        self._features = features

    def take(self, message: wire.Chat, spoken: Spoken | None) -> bool:
        """Send the command in a message to the client. Return False if the message is a question."""
        text = message.content
        command = parse_command(text) or self._features.parse_command(text)
        if command is None or not message.id or not self.includes(*command, message, spoken):
            return False
        self.send(message.id, *command)
        return True

    def includes(
        self, command: VoiceCommand, condition: str, message: wire.Chat, spoken: Spoken | None
    ) -> bool:
        """Return whether this is a command: any spoken command, or a typed command that a feature supports."""
        if self._features.handles_command(command, condition):
            return spoken is not None or message.orders
        return spoken is not None and command not in FEATURE_COMMANDS

    def send(self, id: str, command: VoiceCommand, condition: str) -> None:
        """Send a command to the client, and stop a spoken answer."""
        self._context.speech.interrupt("user")
        self._context.outbox.put(
            wire.Transcript(id=id, text="", final=True, order=command, condition=condition or None)
        )


class QuestionService:
    """The questions of one session, and its held frame.

    Call all methods on the event loop; questions and holds are tasks of the session.

    Bounds of the held frame: one; a new hold replaces it.
    """

    def __init__(
        self,
        context: SessionContext,
        features: FeatureParts,
        sent: SentPictures,
        toolbox: Toolbox,
    ) -> None:
        """`features`: the session's parts, including parts added later. `sent`: pictures that were sent to engines."""
        self._context = context
        self._outbox = context.outbox
        self._history = context.history
        self._features = features
        self._toolbox = toolbox
        self._services = context.services
        self._hold = HeldFrame(context)
        self._submitter = QuestionSubmitter(context, features, self._hold, partial(_Progress, self))
        self._pictures = sent
        self.state = QuestionState(context)
        self._commands = Commands(context, features)
        # The part of the picture for spoken questions; None: the whole picture
        self._part: Part | None = None
        self._numbers = itertools.count(1)

    @property
    def held_frame(self) -> Frame | None:
        """The held frame, or None if there is none."""
        return self._hold.frame

    def handle(self, message: wire.ClientMessage) -> bool:
        """Handle a client's message. Return False if it is of another kind.

        Raises QwenCameraError.
        """
        match message:
            case wire.Chat():
                self.ask(message)
            case wire.PointAt():
                self._part = message.part
            case wire.CorrectTranscript():
                self.correct(message)
            case wire.Cancel():
                for part in self._features:
                    part.cancel(message.id)
                self._interrupt_speech(message.id, "user")
                self.state.cancel(message.id, "user")
            case wire.DeleteAnswer():
                self._interrupt_speech(message.id, "user")
                self.drop(message.id)
            case wire.Hold():
                self._hold.begin()
            case wire.Release():
                self._hold.release()
            case wire.Typing():
                if self._context.speech.audible:
                    self._context.speech.interrupt("typing")
                # The question being typed needs a frame soon.
                self._context.camera.wake()
                self._features.expect(self._hold.frame)
            case _:
                return False
        return True

    def _interrupt_speech(self, id: str | None, reason: str) -> None:
        if id in (None, self._context.speech.id):
            self._context.speech.interrupt(reason)

    def ask(self, message: wire.Chat, spoken: Spoken | None = None) -> None:
        """Ask a question, which replaces the running one; resend the answer to a repeated message.

        `spoken`: the sound and frame of a spoken question, whose words may be corrected later.
        """
        key = None
        if message.id is not None and message.sent_at is not None:
            key = (message.id, message.sent_at)
            if self.state.resend(key):
                return
        if is_stop(message.content) and self._stop(message, spoken):
            return
        if self._commands.take(message, spoken):
            return
        asked = QuestionTime(
            at=time.monotonic(),
            wall=time.time(),
            sent=message.sent_at / 1000 if message.sent_at is not None else None,
        )
        id = message.id or f"a{next(self._numbers)}"
        question, wish = message.content, message.route
        if (
            wish is None
            and (wish := repeat_mode(question)) is not None
            and self.state.last is not None
        ):
            # "Look twice" repeats the last question, not these words and their sound.
            question = self.state.last[1]
            spoken = replace(spoken, sound=None) if spoken is not None else None
        route, detail = choose(question, message.detail, wish)
        part = message.part if spoken is None else self._part
        self._begin(Asking(Question(id, question, asked, route, detail, key, spoken, part=part)))

    def _stop(self, message: wire.Chat, spoken: Spoken | None) -> bool:
        """Stop speech, a feature's work, or an answer by several requests. Return False if this is a question."""
        running, id = self.state.running, message.id
        is_command = self._commands.includes(VoiceCommand.STOP, "", message, spoken)
        if not is_command and (running is None or running.stage is not Stage.LOOKS):
            return False
        self._context.speech.interrupt("user")
        self.state.cancel(None, "user")
        if is_command and id is not None:
            # A command, not a question
            self._commands.send(id, VoiceCommand.STOP, "")
        elif id is not None:
            stop = Question(id, "", QuestionTime.now())
            self._outbox.put(make_cancelled_response(stop, self._services.current_engine(), "user"))
        return True

    def correct(self, message: wire.CorrectTranscript) -> None:
        """Ask the last spoken question with corrected words, about the same frame.

        Remove its answer from the history. Raises NotFound for another question.
        """
        last = self.state.spoken
        if last is None or last.id != message.id:
            raise NotFound(
                "Only the words of the last spoken question can be corrected. Ask this one anew."
            )
        if not self._services.inference.draining:
            # Before the turn is removed, because stopping adds the part of the answer that was played.
            self._context.speech.interrupt("replaced")
            if last.turn is not None:
                self._history.remove(last.turn)
        route, detail = choose(message.text, Detail.AUTO, None)
        spoken = replace(last.question.spoken or Spoken(), sound=None)
        question = Question(last.id, message.text, QuestionTime.now(), route, detail, spoken=spoken)
        question = replace(question, part=last.question.part, corrected=True)
        self._begin(Asking(question, views=last.views))

    def _begin(self, asking: Asking) -> None:
        if self._services.inference.draining:
            # Keep the running answer, which may still finish.
            self._context.send_error(
                Draining("The server is about to stop and takes no new questions. Ask again soon."),
                asking.id,
            )
            return
        self._context.speech.interrupt("replaced")
        self.state.cancel(None, "replaced")
        self.state.begin(asking)
        asking.task = self._context.tasks.spawn(self._ask(asking), name="question")
        if self._hold.empty:
            self._context.camera.wake()

    async def _ask(self, asking: Asking) -> None:
        """Submit a question; its answer continues without this task."""
        try:
            await self._submitter.submit(asking)
        except QwenCameraError as error:
            self._end_unsubmitted(asking, error)
        except Exception as exc:  # noqa: BLE001
            # End the question even after a bug. The exception's text is not logged, because it may contain
            # what people said.
            log.error("question failed", extra={"error": type(exc).__name__})
            self._end_unsubmitted(
                asking,
                Internal("Something went wrong with this question on the server. Ask again."),
            )

    def on_called(self, asking: Asking, result: Result) -> bool:
        """Handle the tool calls of an answer. Return True if the question is asked again.

        This is the case if a tool needs another picture, and after an answer without text or effect.
        """
        calls = self._toolbox.read(asking.question, result.calls)
        again = next((call.again for call in calls if call.again is not None), None)
        asking.calls = [call.shown for call in calls]
        asking.note = " ".join(note for call in calls if (note := call.note))
        if asking.publisher is not None:
            asking.publisher.calls = asking.calls
        if again is None and (result.text.strip() or asking.note):
            return False
        asking.on_called(again or asking.question)
        asking.task = self._context.tasks.spawn(self._ask(asking), name="question")
        return True

    def _end_unsubmitted(self, asking: Asking, error: QwenCameraError) -> None:
        self.state.end(asking, None)
        if asking.stage is Stage.AGAIN and asking.publisher is not None:
            asking.publisher.on_failure(error)
            return
        asking.end()
        self._send_failure(asking, error)

    def _send_failure(self, asking: Asking, error: QwenCameraError) -> None:
        self._context.send_error(error, asking.id)
        self.state.end(asking, wire.Error.of(error, asking.id))

    def on_interrupted(self, id: str, heard: str, reason: str) -> None:
        """Keep only the heard part of an answer in the history, and stop it if it is running."""
        asking = self.state.voiced
        if asking is None or asking.id != id:
            return
        asking.heard = heard
        if asking.turn is not None:
            self._history.remove(asking.turn)
            words = asking.question.words
            asking.turn = self._history.add(words, heard, id) if heard else None
        if self.state.running is asking:
            self.state.cancel(id, "replaced" if reason == "replaced" else "user")

    def drop(self, id: str | None) -> None:
        """Stop a question, and forget its answer and pictures; None: all questions."""
        self.state.cancel(id, "user")
        if id is None:
            self._history.clear()
            self._pictures.clear()
        else:
            self._history.drop(id)
            self._pictures.drop(id)
        self._on_prompt_lost()
        self.state.forget(id)

    def _on_prompt_lost(self) -> None:
        for part in self._features:
            part.prompt_lost()

    def forget(self) -> None:
        self._hold.frame = None
        self.state.clear()


class _Progress(AnswerListener):
    """Listener of the answer to one question."""

    def __init__(self, service: QuestionService, asking: Asking) -> None:
        self._service = service
        self._asking = asking
        # True if the engine speaks the answer itself
        self._by_engine = False

    def on_sent(self, request: EngineRequest) -> None:
        for part in self._service._features:
            part.question_sent(request)
        self._by_engine = request.speak

    def on_started(self) -> None:
        self._service.state.voiced = self._asking
        self._service._context.speech.begin(self._asking.id, by_engine=self._by_engine)

    def on_text(self, text: str) -> None:
        self._service._context.speech.write(self._asking.id, text)

    def on_called(self, result: Result) -> bool:
        return self._service.on_called(self._asking, result)

    def on_counted(self, result: Result) -> None:
        self._service._context.requests.learn(result)

    def on_end(self, text: str, whole: bool) -> None:
        service, asking = self._service, self._asking
        service._context.touch()
        asking.end()
        if asking.heard is not None:
            text, whole = asking.heard, True
        elif whole or not text:
            # Speak the part of a failed answer that was received.
            service._context.speech.finish(asking.id)
        else:
            service._context.speech.drop()
        if whole and (said := f"{text} {asking.note}".strip()):
            asking.turn = service._history.add(asking.question.words, said, asking.id)
        service.state.end(
            asking, asking.publisher.response if asking.publisher is not None else None
        )

    def on_error(self, error: QwenCameraError) -> None:
        self._service._on_prompt_lost()
        self._service._send_failure(self._asking, error)

    def keep(self, id: str, picture: Picture) -> str | None:
        return self._service._pictures.keep(id, picture)
