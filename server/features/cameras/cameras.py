"""The further cameras of one session: invited, joined, named, chosen for questions, lost and ended."""

from __future__ import annotations

import asyncio
import hmac
import math
import re
import secrets
import time
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from server.auth import digest
from server.core.aio import TaskSet, Timer, in_pool, supervise
from server.core.errors import (
    BadRequest,
    CameraError,
    CameraStalled,
    Conflict,
    FrameWithheld,
    NoCamera,
    NotFound,
)
from server.core.frames import CameraState, Frame
from server.core.metrics import Metrics
from server.features.cameras.messages import CameraInfo, CameraList, CameraSettings, Still
from server.media.camera import Camera, CameraConnection
from server.media.picture.encode import data_url
from server.models.base import Capabilities
from server.models.prompts import default_camera_name
from server.session.part import OwnFrame, SessionContext, SessionPart
from server.session.request.builder import too_many_pictures
from server.session.request.outbox import Outbox
from server.session.request.parts import SessionServices, View
from server.session.request.question import Question
from server.session.session import Session
from server.session_manager import SessionManager

# Seconds without a page after which further cameras end: a page that reconnects is back by then.
UNWATCHED_SECONDS = 120.0


class CameraLost(CameraError):
    """A further camera that a question is about gives no picture."""

    code = "camera_lost"


@dataclass(slots=True, eq=False)
class SessionCamera:
    """A camera of a session: its own one, a further one, or an invitation to be one."""

    id: str
    # The person's name for it; "" for none
    name: str
    camera: Camera
    stills: Stills
    # Of another device that sends it or may; None where only the page does
    admission: Admission | None = None

    @property
    def shown(self) -> str:
        """The name of it, or that of a camera without one."""
        return self.name or default_camera_name(self.id)


class Cameras(SessionPart):
    """Owner of the further cameras, at most three beside the session's own. Belongs to the event loop.

    Bounds of further cameras: 3; a fourth is refused. Each counts as a session, and is dropped
    after 10 minutes without a connection; its frames are bounded as any camera's.
    """

    def __init__(self, context: SessionContext, ended: Callable[[str, str], None]) -> None:
        """`ended(session_id, camera)` is called for each one that ends, whose connection is to be closed."""
        self._session_id = context.id
        self._sample_rate = context.limits.sample_rate
        self._outbox = context.outbox
        self._services = context.services
        self._ended = ended
        # Its stills are for a page whose session's own camera is another device.
        stills = Stills(camera=context.camera, outbox=self._outbox, services=self._services)
        self._own = SessionCamera(OWN, "", context.camera, stills)
        self.handlers = {CameraSettings: self._set}
        # By id: the own one, and the others in the order in which they were invited
        self._all = {OWN: self._own}
        # What sent when another device was invited to be the session's own camera
        self._before: CameraConnection | None = None
        # Ids of the cameras that questions are about
        self._chosen: tuple[str, ...] = (OWN,)
        self._listening = True
        # Ends those that nobody sends to, and all of them where no page is there
        self._timer, self._left = Timer(), Timer()
        self._tasks = TaskSet("cameras")
        # The list that the client has; None before the first
        self._reported: CameraList | None = None

    @property
    def _further(self) -> list[SessionCamera]:
        return list(self._all.values())[1:]

    @property
    def own_name(self) -> str:
        """The person's name for the session's own camera; "" when it has none."""
        return self._own.name

    @property
    def cameras(self) -> list[Camera]:
        return [one.camera for one in self._further]

    @property
    def slots(self) -> list[str]:
        return [connection_key(self._session_id, one.id) for one in self._further]

    def _set(self, message: CameraSettings) -> None:
        if message.stills is not None:
            self._own.stills.want(message.stills)
        if message.cameras is not None:
            self.choose(message.cameras)

    # Joining

    def invite(self, name: str) -> Admission:
        """Invite a camera with this name. Raises Conflict when there are as many as may be, BadRequest."""
        free = [id for id in OTHERS if id not in self._all]
        if not free:
            raise Conflict(
                f"A session has {MOST_CAMERAS} cameras at most. End one of them, then add another."
            )
        id = free[0]
        name = free_name(clean_name(name), id, [one.shown for one in self._all.values()])
        camera = Camera(
            sample_rate=self._sample_rate,
            metrics=self._services.metrics,
            # An invitation alone keeps no session.
            dark_since=-math.inf,
        )
        # Nothing is asked about it yet.
        camera.measures_scenes = False
        stills = Stills(camera=camera, outbox=self._outbox, services=self._services, id=id)
        admission = Admission(self._session_id, id, time.monotonic())
        further = SessionCamera(id, name, camera, stills, admission)
        camera.on_status.append(lambda: self._changed(further, admission))
        stills.listen(self._listening)
        stills.want(True)
        self._all[id] = further
        self._arm()
        self.report()
        return admission

    def invite_own(self) -> Admission:
        """Invite another device to be the session's own camera, in place of who was invited before.

        The invitation ends with the next connection of the page's own camera.
        """
        self._own.admission = admission = Admission(self._session_id, OWN, time.monotonic())
        self._before = self._own.camera.feed
        return admission

    def redeem(self, code: CameraSecret) -> tuple[str, str, str] | None:
        """Change a one-time code for its camera's id and name, and a token; None for one that is not good."""
        for admission in self._admissions:
            token = admission.redeem(code, time.monotonic())
            if token is not None:
                return admission.camera, self._find(admission.camera).shown, token
        return None

    def admit(self, token: CameraSecret) -> Admission | None:
        """Find the admission of a token; None for none."""
        now = time.monotonic()
        return next((one for one in self._admissions if one.admits(token, now)), None)

    def check(self, admission: Admission, token: CameraSecret) -> None:
        """Raises NotFound for a camera that has ended, and for a token that is over."""
        if self.admit(token) is not admission:
            raise NotFound(
                "This camera was ended by its person, or another device has taken its place. Ask for another link."
            )

    # For the person

    def rename(self, id: str, name: str) -> None:
        """Give a camera another name. Raises NotFound, BadRequest."""
        camera = self._find(id)
        taken = [one.shown for one in self._all.values() if one is not camera]
        camera.name = free_name(clean_name(name), id, taken)
        self.report()

    async def end(self, id: str) -> None:
        """End a camera; its tokens are over. Of the own one only another device that sends ends. Raises NotFound."""
        if id == OWN:
            self._own.admission = None
            feed = self._own.camera.feed
            # The page's own: switched on again while the request to end the device was on its way
            if feed is None or not feed.sender_controlled:
                self._ended(self._session_id, OWN)
        else:
            await self._end(self._find(id))

    def choose(self, ids: Sequence[str]) -> None:
        """Ask about these cameras from now on. Unknown ones do not count; without any it is the own."""
        self._chosen = tuple(id for id in self._all if id in ids) or (OWN,)
        for one in self._further:
            one.camera.measures_scenes = one.id in self._chosen
        self.report()

    # Questions

    @property
    def frame_source(self) -> Cameras | None:
        return self if self._chosen != (OWN,) else None

    async def views(
        self, question: Question, needs: Capabilities, own: OwnFrame, waits: Callable[[], None]
    ) -> tuple[View, ...]:
        """Wait for a frame of each chosen camera, all within the time that one has.

        Raises CameraError with the camera's name, EngineRefused when the engine takes fewer pictures.
        """
        # Those that are chosen meanwhile are for the next question.
        chosen = [(id, self._find(id).shown) for id in self._chosen]
        most = needs.most_pictures(together=len(chosen) > 1)
        if most is not None and len(chosen) > most:
            raise too_many_pictures(most)
        found = []
        for id, name in chosen:
            try:
                camera = self.camera(id)
                if id == OWN:
                    (frame, held), scene = await own(), camera.scene
                else:
                    # Another device has a clock of its own: the time of the question here counts.
                    asked = replace(question.asked, sent=None)
                    frame, held = await camera.frame_after(asked, waits), False
                    scene = camera.scene_of(frame)
            except (CameraError, NotFound) as error:
                raise _named(error, name) from None
            found.append(View(frame, question.detail, scene, held, camera=id, name=name))
        return tuple(found)

    def camera(self, id: str) -> Camera:
        """Raises NotFound for one that has ended."""
        return self._find(id).camera

    # Messages

    def on_reported(self) -> None:
        self._look_after_guest()
        if self._further:
            self.report()

    def set_connected(self, connected: bool) -> None:
        self._listening = connected
        self._left.cancel()
        if not connected and self._admissions:
            self._left.set(UNWATCHED_SECONDS, self._leave)
        for one in self._all.values():
            one.stills.listen(connected)

    def greet(self) -> None:
        """Tell a new socket of the cameras."""
        if self._further or self.own_name:
            self._reported = None
            self.report()

    def report(self) -> None:
        """Tell the client of the cameras, if anything about them has changed."""
        message = CameraList(
            cameras=[
                CameraInfo(
                    id=id, name=one.shown, state=one.camera.state(), asked=id in self._chosen
                )
                for id, one in self._all.items()
            ]
        )
        if message != self._reported:
            self._reported = message
            self._outbox.put(message)

    # End

    async def close(self) -> None:
        self._left.cancel()
        # The last one ends the other timer.
        for one in self._further:
            await self._end(one)
        await self._own.stills.close()
        await self._tasks.close()

    # Inside

    @property
    def _admissions(self) -> list[Admission]:
        return [one.admission for one in self._all.values() if one.admission is not None]

    def _look_after_guest(self) -> None:
        """Note that the guest sends, or has gone; end the invitation when the page's own camera is back."""
        guest, feed = self._own.admission, self._own.camera.feed
        if guest is None:
            return
        if feed is None:
            if guest.here:
                guest.went(time.monotonic())
        elif not feed.sender_controlled:
            guest.came()
        elif feed is not self._before:
            self._own.admission = None

    def _find(self, id: str) -> SessionCamera:
        camera = self._all.get(id)
        if camera is None:
            raise NotFound("This session has no such camera; it was ended, or never joined.")
        return camera

    def _changed(self, further: SessionCamera, admission: Admission) -> None:
        if self._all.get(further.id) is not further:
            return
        if further.camera.offered:
            admission.came()
        elif admission.used:
            admission.went(time.monotonic())
        self._arm()
        self.report()

    async def _end(self, further: SessionCamera) -> None:
        if self._all.get(further.id) is not further:
            return
        del self._all[further.id]
        self._chosen = tuple(id for id in self._chosen if id != further.id) or (OWN,)
        further.camera.close()
        self._ended(self._session_id, further.id)
        self._arm()
        self.report()
        await further.stills.close()

    def _arm(self) -> None:
        """Set the timer of the next camera that ends by itself."""
        self._timer.cancel()
        ends = [
            one.admission.until
            for one in self._further
            if one.admission is not None and not one.camera.offered
        ]
        if ends:
            self._timer.set(max(0.05, min(ends) - time.monotonic()), self._expire)

    def _leave(self) -> None:
        if self._own.admission is not None:
            self._tasks.spawn(self.end(OWN), name="leave")
        for one in self._further:
            self._tasks.spawn(self._end(one), name="leave")

    def _expire(self) -> None:
        now = time.monotonic()
        for one in self._further:
            if one.admission is not None and one.admission.over(now):
                self._tasks.spawn(self._end(one), name="end")
        # Those that end are timed no more by then.
        self._arm()


def _named(error: CameraError | NotFound, name: str) -> CameraError:
    """Say which camera has no frame."""
    if isinstance(error, NoCamera | NotFound):
        return CameraLost(
            f"The camera {name} is not connected. Connect it again, or choose other cameras, and ask again."
        )
    if isinstance(error, CameraStalled):
        return CameraLost(
            f"No new picture came from the camera {name}, so this was not answered from an old one."
            " Check its connection, or choose other cameras, and ask again."
        )
    return error


def cameras_of(session: Session) -> Cameras:
    """Return a session's cameras. Raises Conflict for a fixed camera's session."""
    cameras: Cameras | None = session.part("cameras")
    if cameras is None:
        raise Conflict("This session belongs to a fixed camera, which no other camera can replace.")
    return cameras


async def invite(sessions: SessionManager, session_id: str, name: str) -> Admission:
    """Invite a further camera, with one of the slots that all processes share.

    Raises what `SessionManager.check_room` and `Cameras.invite` raise.
    """
    sessions.check_room(session_id)
    cameras = cameras_of(sessions.find(session_id))
    invited = cameras.invite(name)
    if not await sessions.replicas.take(connection_key(session_id, invited.camera)):
        # It may have ended meanwhile.
        with suppress(NotFound):
            await cameras.end(invited.camera)
        raise sessions.capacity.full()
    return invited


def admitted(sessions: SessionManager, token: str) -> tuple[Session, Admission] | None:
    """Find an invited camera by its token; None for none."""
    secret = read_token(token)
    session = sessions.get(secret.session_id) if secret is not None else None
    if secret is None or session is None:
        return None
    cameras: Cameras | None = session.part("cameras")
    admission = cameras.admit(secret) if cameras is not None else None
    return (session, admission) if admission is not None else None


# A further camera's admission to a session: its name, who may send, and how long it waits for
# nobody. Pure.

# Cameras of a session, its own among them
MOST_CAMERAS = 4
# The id of the session's own camera, and those of the others
OWN = "1"
OTHERS = tuple(str(number) for number in range(2, MOST_CAMERAS + 1))
# Seconds that an invitation is good for, and that a lost camera is kept
INVITED_SECONDS = 600.0
AWAY_SECONDS = 600.0
MAX_NAME_CHARS = 40


class Admission:
    """The token that may send an invited camera's pictures, and its end. `now` is monotonic seconds."""

    def __init__(self, session_id: str, camera: str, now: float) -> None:
        self._session_id = session_id
        self.camera = camera
        # The two ways to join, with their digests, of which the first one that is used closes the other: a token for
        # a device that speaks WHIP, and a code for a page, whose digest is None once it is closed
        self._code: bytes | None
        self.token, self._token = make_token(session_id)
        self.code, self._code = make_code(session_id)
        # The camera ends then by itself.
        self.until = now + INVITED_SECONDS
        # False until a camera has sent here
        self.used = False

    def over(self, now: float) -> bool:
        return now >= self.until

    @property
    def here(self) -> bool:
        """True while a camera sends here."""
        return self.until == math.inf

    def redeem(self, secret: CameraSecret, now: float) -> str | None:
        """Change the one-time code for another token, once; None for a wrong, a used or a late one."""
        if self.over(now) or self._code is None or not secret.is_for(self._code):
            return None
        self._code = None
        # The one that was shown beside the code ends with it.
        token, self._token = make_token(self._session_id)
        return token

    def admits(self, secret: CameraSecret, now: float) -> bool:
        """Find whether a token is this camera's."""
        return not self.over(now) and secret.is_for(self._token)

    def came(self) -> None:
        """Note that a camera sends: the code is over, and the token good while it is here."""
        self._code = None
        self.used, self.until = True, math.inf

    def went(self, now: float) -> None:
        """Note that it has gone; it may come back with its token for a while."""
        self.until = now + AWAY_SECONDS


def connection_key(session_id: str, camera: str) -> str:
    """The key of a camera's connection: of a further one with a character that no session's id has."""
    return session_id if camera == OWN else f"{session_id}~{camera}"


def clean_name(given: str) -> str:
    """Return a name as it is kept: one line of visible characters; "" for none.

    Raises BadRequest for a long one.
    """
    # The categories of control, format and surrogate characters, and of line ends
    plain = "".join(
        " " if unicodedata.category(char)[0] in "CZ" else char
        for char in given[: 4 * MAX_NAME_CHARS]
    )
    name = " ".join(plain.split())
    if len(name) > MAX_NAME_CHARS:
        raise BadRequest(
            f"A camera's name has at most {MAX_NAME_CHARS} characters. Give a shorter one."
        )
    return name


def free_name(wanted: str, number: str, taken: list[str]) -> str:
    """Return a name that no other camera has: the wanted one, or "Camera" and its number.

    Raises BadRequest when another camera has the wanted one.
    """
    others = [name.casefold() for name in taken]
    if wanted and wanted.casefold() in others:
        raise BadRequest("Another camera has this name. Give each one a name of its own.")
    if wanted:
        return wanted
    name = default_camera_name(number)
    while name.casefold() in others:
        name += "+"
    return name


# Begins a token; a session's token is three parts of base64 with dots between, and never begins so.
_TOKEN = "camera~"
_PARTS = re.compile(r"([A-Za-z0-9_-]{1,64})~([A-Za-z0-9_-]{22})", re.ASCII)
MAX_CHARS = 100


@dataclass(frozen=True, slots=True)
class CameraSecret:
    """The parts of a token or a code."""

    session_id: str
    digest: bytes

    def is_for(self, kept: bytes | None) -> bool:
        """Compare with a kept digest, in a time that depends on neither."""
        return kept is not None and hmac.compare_digest(self.digest, kept)


def make_code(session_id: str) -> tuple[str, bytes]:
    """Make a one-time code, and its digest to keep."""
    text = f"{session_id}~{secrets.token_urlsafe(16)}"
    return text, digest(text)


def make_token(session_id: str) -> tuple[str, bytes]:
    """Make a token, and its digest to keep."""
    text, kept = make_code(session_id)
    return _TOKEN + text, kept


def read_token(text: str) -> CameraSecret | None:
    """Read a bearer token; None for one of another kind, or malformed."""
    return read_code(text.removeprefix(_TOKEN)) if text.startswith(_TOKEN) else None


def read_code(text: str) -> CameraSecret | None:
    """Read a one-time code; None for a malformed one."""
    found = _PARTS.fullmatch(text) if len(text) <= MAX_CHARS else None
    return CameraSecret(found[1], digest(text)) if found is not None else None


# Least time between two stills
STILL_SECONDS = 1.0


def counter(metrics: Metrics) -> Any:
    # result: sent, late, withheld, unusable
    return metrics.counter("stills_total", "Stills for pages of another device's camera", "result")


class Stills:
    """One camera's stills, made while the page wants them and a socket is open. None is kept.

    No frame is made into a still twice. A further camera's still gives way to one that waits.
    """

    def __init__(
        self, *, camera: Camera, outbox: Outbox, services: SessionServices, id: str | None = None
    ) -> None:
        """`id`: of a further camera; None for the session's own."""
        self._id = id
        self._camera = camera
        self._outbox = outbox
        self._services = services
        self._wanted = False
        self._listening = True
        self._tasks = TaskSet("stills")
        # The task that makes them; None while they are not needed
        self._task: asyncio.Task[None] | None = None

    def want(self, wanted: bool) -> None:
        self._wanted = wanted
        self._settle()

    def listen(self, listening: bool) -> None:
        """Note whether a socket is open."""
        self._listening = listening
        self._settle()

    def _settle(self) -> None:
        wanted = self._wanted and self._listening
        if wanted and self._task is None:
            self._task = self._tasks.spawn(self._run(), name="stills")
        elif not wanted and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        last: Frame | None = None

        async def step() -> float:
            nonlocal last
            frame = self._camera.newest
            live = self._camera.state() is CameraState.LIVE
            if frame is not None and frame is not last and live and not self._gives_way():
                last = frame
                await self._send(frame)
            # The first one follows the first frame at once.
            return STILL_SECONDS if last is not None else 0.05

        await supervise(step, name="stills", after_failure=STILL_SECONDS)

    def _gives_way(self) -> bool:
        """Find whether a slow client has not taken the last still of any camera."""
        return self._id is not None and self._outbox.waits(Still)

    async def _send(self, frame: Frame) -> None:
        stills = counter(self._services.metrics)
        try:
            jpeg = await in_pool(self._services.prepare_pool, self._services.preparer.still, frame)
        except FrameWithheld:
            stills.labels("withheld").inc()
            self._outbox.put(Still(withheld=True, camera=self._id))
        except BadRequest:
            # An answer to a question about this frame has the reason; here it is only not shown.
            stills.labels("unusable").inc()
        else:
            stills.labels("sent").inc()
            if self._gives_way():
                stills.labels("late").inc()
                return
            image, width, height = data_url(jpeg), frame.width, frame.height
            self._outbox.put(Still(image=image, width=width, height=height, camera=self._id))

    async def close(self) -> None:
        self.want(False)
        await self._tasks.close()
