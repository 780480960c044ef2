"""The further cameras of one session: invited, joined, named, chosen for questions, lost and ended."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from server.access.camera_tokens import CameraSecret
from server.camera.camera import Camera
from server.core import messages as wire
from server.core.aio import TaskSet
from server.core.errors import Conflict, NotFound
from server.engines.camera_words import unnamed
from server.session.cameras.admission import (
    MOST_CAMERAS,
    OTHERS,
    OWN,
    Admission,
    Invitation,
    Label,
    clean_name,
    free_name,
)
from server.session.cameras.stills import Stills
from server.session.request.outbox import Outbox
from server.session.request.session_tools import SessionTools

# Seconds without a page after which further cameras end: a page that reconnects is back by then.
UNWATCHED_SECONDS = 120.0


@dataclass(slots=True, eq=False)
class FurtherCamera:
    """A further camera, or an invitation to be one."""

    id: str
    name: str
    admission: Admission
    camera: Camera
    stills: Stills


class Cameras:
    """Owner of the further cameras, at most three beside the session's own. Belongs to the event loop.

    Bounds of further cameras: 3; a fourth is refused. Each counts as a session, and is dropped
    after 10 minutes without a connection; its frames are bounded as any camera's.
    """

    def __init__(
        self,
        session_id: str,
        *,
        own: Camera,
        sample_rate: float,
        outbox: Outbox,
        tools: SessionTools,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session_id = session_id
        self._own = own
        self._sample_rate = sample_rate
        self._outbox = outbox
        self._tools = tools
        self._clock = clock
        self._own_name = ""
        # By id, in the order in which they were invited
        self._further: dict[str, FurtherCamera] = {}
        # Ids of the cameras that questions are about
        self._chosen: tuple[str, ...] = (OWN,)
        self._listening = True
        self._timer: asyncio.TimerHandle | None = None
        # Ends all of them, since no page is there
        self._left: asyncio.TimerHandle | None = None
        self._tasks = TaskSet("cameras")
        # The list that the client has; None before the first
        self._reported: wire.CameraList | None = None
        # Called with the id of a further camera that ends, whose connection is to be closed
        self.on_end: Callable[[str], None] = lambda camera: None

    def __len__(self) -> int:
        """The further cameras, invitations among them."""
        return len(self._further)

    @property
    def ids(self) -> tuple[str, ...]:
        """The further cameras' ids."""
        return tuple(self._further)

    @property
    def own_name(self) -> str:
        """The person's name for the session's own camera; "" when it has none."""
        return self._own_name

    @property
    def all(self) -> list[Camera]:
        """The session's own camera and the further ones."""
        return [self._own, *(one.camera for one in self._further.values())]

    # Joining

    def invite(self, name: str) -> Invitation:
        """Invite a camera with this name. Raises Conflict when there are as many as may be, BadRequest."""
        free = [id for id in OTHERS if id not in self._further]
        if not free:
            raise Conflict(
                f"A session has {MOST_CAMERAS} cameras at most. End one of them, then add another."
            )
        id = free[0]
        taken = [self._name_of(OWN), *(one.name for one in self._further.values())]
        name = free_name(clean_name(name), id, taken)
        camera = Camera(
            sample_rate=self._sample_rate,
            metrics=self._tools.metrics,
            # An invitation alone keeps no session.
            dark_since=-math.inf,
            clock=self._clock,
        )
        # Nothing is asked about it yet.
        camera.watched = False
        further = FurtherCamera(
            id,
            name,
            Admission(self._session_id, id, self._clock()),
            camera,
            Stills(camera=camera, outbox=self._outbox, tools=self._tools, id=id),
        )
        camera.on_status = lambda: self._changed(further)
        further.stills.listen(self._listening)
        further.stills.want(True)
        self._further[id] = further
        self._arm()
        self.report()
        return further.admission.invitation

    def redeem(self, code: CameraSecret) -> tuple[FurtherCamera, str] | None:
        """Change a one-time code for its camera and a token; None for one that is not good."""
        for one in self._further.values():
            token = one.admission.redeem(code, self._clock())
            if token is not None:
                return one, token
        return None

    def admit(self, token: CameraSecret) -> FurtherCamera | None:
        """Find the camera that a token may send as; None for none."""
        now = self._clock()
        found = [one for one in self._further.values() if one.admission.admits(token, now)]
        return found[0] if found else None

    def check(self, further: FurtherCamera, token: CameraSecret) -> None:
        """Raises NotFound for a camera that has ended, and for a token that is over."""
        if self.admit(token) is not further:
            raise NotFound(
                "This camera was ended by its person, or another device has taken its place. Ask for another link."
            )

    # For the person

    def rename(self, id: str, name: str) -> None:
        """Give a camera another name. Raises NotFound, BadRequest."""
        if id != OWN:
            self._find(id)
        others = [OWN, *self._further]
        taken = [self._name_of(one) for one in others if one != id]
        name = free_name(clean_name(name), id, taken)
        if id == OWN:
            self._own_name = name
        else:
            self._further[id].name = name
        self.report()

    async def end(self, id: str) -> None:
        """End a camera; its tokens are over. Raises NotFound."""
        await self._end(self._find(id))

    def choose(self, ids: Sequence[str]) -> None:
        """Ask about these cameras from now on. Unknown ones do not count; without any it is the own."""
        known = (OWN, *self._further)
        self._chosen = tuple(id for id in known if id in ids) or (OWN,)
        for one in self._further.values():
            one.camera.watched = one.id in self._chosen
        self.report()

    # Questions

    @property
    def chosen(self) -> tuple[Label, ...]:
        """The cameras that questions are about."""
        return tuple(Label(id, self._name_of(id)) for id in self._chosen)

    @property
    def around(self) -> bool:
        """True when questions are about more than the session's own camera, or about another one."""
        return self._chosen != (OWN,)

    @property
    def several(self) -> bool:
        """True while the session has more than its own camera."""
        return bool(self._further)

    def camera(self, id: str) -> Camera:
        """Raises NotFound for one that has ended."""
        return self._own if id == OWN else self._find(id).camera

    # Messages

    def listen(self, listening: bool) -> None:
        """Note whether a socket is open."""
        self._listening = listening
        if self._left is not None:
            self._left.cancel()
            self._left = None
        if not listening and self._further:
            loop = asyncio.get_running_loop()
            self._left = loop.call_later(UNWATCHED_SECONDS, self._leave)
        for one in self._further.values():
            one.stills.listen(listening)

    def greet(self) -> None:
        """Tell a new socket of the cameras."""
        if self._further or self._own_name:
            self._reported = None
            self.report()

    def report(self) -> None:
        """Tell the client of the cameras, if anything about them has changed."""
        message = wire.CameraList(
            cameras=[
                wire.CameraInfo(
                    id=id,
                    name=self._name_of(id),
                    state=self.camera(id).state(),
                    asked=id in self._chosen,
                )
                for id in (OWN, *self._further)
            ]
        )
        if message != self._reported:
            self._reported = message
            self._outbox.put(message)

    # End

    async def close(self) -> None:
        """End all of them."""
        for timer in (self._timer, self._left):
            if timer is not None:
                timer.cancel()
        self._timer = self._left = None
        for one in list(self._further.values()):
            await self._end(one)
        await self._tasks.close()

    # Inside

    def _name_of(self, id: str) -> str:
        if id == OWN:
            return self._own_name or unnamed(OWN)
        return self._further[id].name

    def _find(self, id: str) -> FurtherCamera:
        further = self._further.get(id)
        if further is None:
            raise NotFound("This session has no such camera; it was ended, or never joined.")
        return further

    def _changed(self, further: FurtherCamera) -> None:
        if self._further.get(further.id) is not further:
            return
        if further.camera.offered:
            further.admission.came()
        elif further.admission.used:
            further.admission.went(self._clock())
        self._arm()
        self.report()

    async def _end(self, further: FurtherCamera) -> None:
        if self._further.get(further.id) is not further:
            return
        del self._further[further.id]
        self._chosen = tuple(id for id in self._chosen if id != further.id) or (OWN,)
        further.camera.close()
        self.on_end(further.id)
        self._arm()
        self.report()
        await further.stills.close()

    def _arm(self) -> None:
        """Set the timer of the next camera that ends by itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ends = [one.admission.until for one in self._further.values() if not one.camera.offered]
        if ends:
            delay = max(0.05, min(ends) - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._expire)

    def _leave(self) -> None:
        self._left = None
        for one in list(self._further.values()):
            self._tasks.spawn(self._end(one), name="leave")

    def _expire(self) -> None:
        self._timer = None
        now = self._clock()
        over = [one for one in self._further.values() if one.admission.over(now)]
        for one in over:
            self._tasks.spawn(self._end(one), name="end")
        if not over:
            self._arm()
