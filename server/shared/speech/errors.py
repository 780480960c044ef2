"""The errors of recognising speech, and of a voice for an answer."""

from __future__ import annotations

from typing import ClassVar

from server.core.errors import QwenCameraError


class SpeechError(QwenCameraError):
    """Speech could not be recognised, or an answer not spoken. `message` is for operators and the log.

    `visitors`: the text for visitors in place of the usual one of its kind.
    """

    code = "speech_failed"
    status = 503
    retryable = True
    for_visitors: ClassVar[str] = "Speech did not work this time. Say it again, or type it."

    @property
    def visitor_message(self) -> str:
        return self._visitors or self.for_visitors


class SpeechUnavailable(SpeechError):
    """Nothing recognises or speaks now."""

    code = "speech_unavailable"
    for_visitors = "Speech is not available right now. Type your question, and read the answer."


class SpeechTimeout(SpeechError):
    """Recognising or speaking took too long."""

    code = "speech_timeout"
    for_visitors = "Speech took too long this time. Say it again, or type it."


class SpeechRefused(SpeechError):
    """The sound or the text was refused."""

    code = "speech_refused"
    retryable = False
    for_visitors = (
        "Speech does not work with this text or sound. Type your question, and read the answer."
    )


class SpeechFailed(SpeechError):
    """Recognising or speaking failed."""

    code = "speech_failed"
