"""The sound of one answer that a model speaks itself, as it comes beside its text. Pure.

OpenAI's form is base64 PCM in `delta.audio.data`, vLLM-Omni's a base64 WAV file in `delta.content`
of an event with `modality` "audio"; `chat_stream` finds both.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any

from server.media.sound.pcm import NotPcm, PcmReader, VoiceChunk
from server.models.openai.model_choice import modalities, names_sound

# Paths of servers whose models speak in their answers: plain vLLM has none of them.
_SPEAKING_PATHS = frozenset(("/v1/audio/speech", "/v1/audio/voices"))


class SpokenAnswer:
    """Turns the sound of one answer into chunks."""

    def __init__(self) -> None:
        self._reader = PcmReader()
        # That of the sound so far; 0 before any
        self._rate = 0
        # Some sound has come.
        self.begun = False
        # The reason why none of it is played, the end of a sentence on the server; "" so far
        self.fault = ""

    def take(self, data: str) -> VoiceChunk | None:
        """Return the samples of a piece; None without any, and once there is a fault."""
        if self.fault:
            return None
        try:
            sound = base64.b64decode(data, validate=True)
            if sound.startswith(b"RIFF"):
                # Each piece may be a file of its own.
                self._reader = PcmReader(self._reader.rate)
            chunk = self._reader.take(sound)
            if chunk is not None and chunk.rate != (self._rate or chunk.rate):
                # Each change would cost a resampler of its own.
                raise NotPcm("changes its sampling rate in the middle")
        except (binascii.Error, ValueError) as exc:
            self.fault = str(exc) if isinstance(exc, NotPcm) else "sends sound that is no base64"
            return None
        if chunk is not None:
            self.begun, self._rate = True, chunk.rate
        return chunk


class SpeechOut:
    """The knowledge of whether a server's model speaks its answers itself."""

    def __init__(self) -> None:
        # The model can, by its files or its name; None before a model is known
        self._able = False
        # The server's interface has speech; None while it was not asked
        self._offered: bool | None = None
        # Its card says so.
        self._named = False
        # It sent sound that nobody asked for: it speaks unless it is asked for text alone.
        self.heard = False
        # It spoke when it was asked to, and did not.
        self.spoke = self.mute = False
        # It does not take the field `modalities`.
        self.unasked = False

    def of_model(self, able: bool) -> None:
        """Start again with another model."""
        self._able, self._offered = able, None
        self.heard = self.mute = self.spoke = self.unasked = False

    @property
    def asks(self) -> bool:
        """True when the server's interface would tell."""
        return self._able and self._offered is None

    def offered(self, paths: Iterable[str]) -> None:
        """Learn the paths of the server's interface; none where it does not show them."""
        self._offered = not _SPEAKING_PATHS.isdisjoint(paths)

    def silent(self) -> None:
        """Note an answer without sound: one that has spoken before has had nothing to say."""
        self.mute = self.mute or not self.spoke

    def of_card(self, card: Mapping[str, Any]) -> bool:
        """Read the model's card, as the server lists it, where nothing said means no; return `speaks`."""
        self._named = names_sound(modalities(card, "output"))
        return self.speaks

    @property
    def speaks(self) -> bool:
        """True when the model speaks its answers if it is asked to."""
        return self.states and not self.mute

    @property
    def states(self) -> bool:
        """True when each request states what is wanted: a model that speaks does it unasked."""
        known = self.heard or self._named or (self._able and self._offered is True)
        return known and not self.unasked
