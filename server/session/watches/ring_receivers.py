"""The receivers to which a person lets the rings of this session go: none, until the person says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from server.core import messages as wire
from server.core.errors import BadRequest, QwenCameraError
from server.session.request.outbox import Outbox
from server.session.request.session_tools import Home
from server.session.watches.rings import Event
from server.webhooks.alarm import Source
from server.webhooks.webhooks import Webhooks


class RingReceivers:
    """One session's consent. It begins empty, holds for the session, and ends at once."""

    def __init__(
        self,
        id: str,
        outbox: Outbox,
        webhooks: Webhooks | None,
        home: Callable[[], Home | None] = lambda: None,
    ) -> None:
        """`webhooks`: None where there are none; `home` returns None where cameras become no devices."""
        self._id = id
        self._outbox = outbox
        self._webhooks = webhooks
        self._homes = home
        self._source = Source(id)
        self._agreed: tuple[str, ...] = ()
        # Of a camera of the house, whose operator agreed with the list; else None
        self._on_ring: Callable[[Event], None] | None = None

    def stand(self, on_ring: Callable[[Event], None]) -> None:
        """Belong to a camera of the house: no person chooses here."""
        self._on_ring = on_ring

    def choose(self, names: Sequence[str], *, home: bool = False) -> None:
        """Let rings go to these receivers alone, from now on; `home`: this camera is a device of Home Assistant.

        Nothing more leaves for those that were named before. Raises BadRequest for an unknown one,
        Conflict when Home Assistant has too many, RateLimited after too many changes; all stays as it was.
        """
        offered = [one.name for one in self._offered]
        if unknown := [name for name in names if name not in offered]:
            allowed = ", ".join(offered) or "none"
            self.report()
            raise BadRequest(
                f'"webhooks" has {unknown[0]}, which is not offered. Allowed: {allowed}.'
            )
        try:
            self._choose_home(home)
        except QwenCameraError:
            self.report()
            raise
        self._agreed = tuple(dict.fromkeys(names))
        if self._webhooks is not None:
            self._webhooks.end(self._id, kept=self._agreed)
        self.report()

    def _choose_home(self, wanted: bool) -> None:
        home = self._home
        if home is None and wanted:
            raise BadRequest('"home" is true, and no Home Assistant is offered. Leave it out.')
        if home is not None and wanted:
            home.begin(self._id)
        elif home is not None:
            home.end(self._id)

    @property
    def _home(self) -> Home | None:
        return self._homes() if self._on_ring is None else None

    @property
    def _offered(self) -> Sequence[wire.WebhookOffer]:
        if self._webhooks is None or self._on_ring is not None:
            return ()
        return [
            wire.WebhookOffer(name=one.name, host=one.host, on=one.name in self._agreed)
            for one in self._webhooks.offered
        ]

    def report(self) -> None:
        """Tell the client which receivers there are, and which of them get the rings."""
        offered, home = self._offered, self._home
        if not offered and home is None:
            return
        offer = None
        if home is not None:
            offer = wire.HomeOffer(host=home.host, on=home.has(self._id))
        self._outbox.put(wire.WebhookOffers(webhooks=list(offered), home=offer))

    def rang(self, event: Event) -> None:
        if self._on_ring is not None:
            self._on_ring(event)
            return
        if self._agreed and self._webhooks is not None:
            self._webhooks.rang_for(event.alarm(self._source), self._agreed)
        home = self._home
        if home is not None and home.has(self._id):
            home.rang(event.alarm(self._source))
