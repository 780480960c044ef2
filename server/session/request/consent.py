"""The machines that may get one session's pictures and sound."""

from __future__ import annotations

import json
from collections.abc import Iterable

from server.core.errors import BadRequest, NotConfirmed
from server.engines.base import Engine
from server.engines.speech.base import Recogniser, Voice

# Confirmed machines that a session remembers
_MOST_HOSTS = 16


class Consent:
    """The machines that may get one session's pictures, sound and answers.

    Always this one; also the engine's, the recogniser's and the voice's at the session's beginning,
    and those that the person confirmed since. A machine with consent for pictures may have the
    rest, too; no other consent counts for pictures. Of each the newest 16 are remembered.

    Bounds of machines to which pictures may go: 16; the one confirmed longest ago is dropped.
    """

    def __init__(
        self, engine: Engine, recogniser: Recogniser | None = None, voice: Voice | None = None
    ) -> None:
        self._recogniser = recogniser
        self._voice = voice
        # For all, for sound and for answers
        self._hosts = dict.fromkeys(("", engine.status.elsewhere))
        self._sound_hosts = dict.fromkeys((self.sound_elsewhere,))
        self._voice_hosts = dict.fromkeys((self.voice_elsewhere,))

    @property
    def voice_elsewhere(self) -> str:
        """The other machine to which the voice sends the words of answers; "" for none."""
        return self._voice.elsewhere if self._voice is not None else ""

    @property
    def voice_given(self) -> bool:
        """True when the voice may have this session's answers."""
        return self.voice_elsewhere in ("", *self._hosts, *self._voice_hosts)

    def give_voice(self) -> None:
        """Note that the person has switched speech on, where the page names the voice's machine."""
        _keep(self._voice_hosts, self.voice_elsewhere)

    @property
    def sound_elsewhere(self) -> str:
        """The other machine to which the recogniser sends sound; "" for none."""
        return self._recogniser.elsewhere if self._recogniser is not None else ""

    def given(self, engine: Engine) -> bool:
        return engine.status.elsewhere in ("", *self._hosts)

    @property
    def sound_given(self) -> bool:
        """True when the recogniser may have this session's sound."""
        return self.sound_elsewhere in ("", *self._hosts, *self._sound_hosts)

    def check_sound(self) -> None:
        """Raise NotConfirmed for a recogniser on a machine without consent."""
        if not self.sound_given:
            raise _not_confirmed("Sound", self.sound_elsewhere)

    def check(self, engine: Engine) -> None:
        """Raise NotConfirmed for an engine on a machine without consent."""
        if not self.given(engine):
            raise _not_confirmed(
                "Another engine answers now, and pictures", engine.status.elsewhere
            )

    def allow(self, hosts: Iterable[str]) -> None:
        """Consent to machines that the operator has named for a camera of the house."""
        for host in hosts:
            _keep(self._hosts, host)

    def give(self, engine: Engine, host: str) -> None:
        """Consent to the engine's or the recogniser's machine. Raises BadRequest for another one."""
        if host not in (engine.status.elsewhere, self.sound_elsewhere):
            where = engine.status.elsewhere or "no other machine"
            raise BadRequest(
                f'"host" of a confirm message is not where pictures go; they go to {where} now.'
            )
        _keep(self._hosts if host == engine.status.elsewhere else self._sound_hosts, host)


def _keep(hosts: dict[str, None], host: str) -> None:
    hosts[host] = None
    while len(hosts) > _MOST_HOSTS:
        del hosts[next(iter(hosts))]


def _not_confirmed(what: str, host: str) -> NotConfirmed:
    word = json.dumps({"type": "confirm", "host": host}, separators=(",", ":"))
    return NotConfirmed(
        f"{what} would go to {host}. Nothing was sent there. Agree on the page; a"
        f" client without one shows this to its person, sends {word} on this socket, and asks again."
    )
