"""Further cameras of one session: invitations, names, selection for questions, and stills."""

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

from server.auth import compute_digest
from server.core.aio import TaskSet, Timer, run_in_pool, supervise
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
from server.media.picture.encode import to_data_url
from server.models.base import Capabilities
from server.models.prompts import get_default_camera_name
from server.session.part import OwnFrame, SessionContext, SessionPart
from server.session.request.builder import make_too_many_pictures_error
from server.session.request.outbox import Outbox
from server.session.request.parts import SessionServices, View
from server.session.request.question import Question
from server.session.session import Session
from server.session_manager import SessionManager

# Seconds without a page after which further cameras are removed; reconnecting takes less.
UNWATCHED_SECONDS = 120.0


class CameraLost(CameraError):
    """Raised if a further camera chosen for a question has no picture."""

    code = "camera_lost"


@dataclass(slots=True, eq=False)
class SessionCamera:
    """Camera of a session: its own, a further camera, or an invitation for one."""

    id: str
    # Name given by the person; "" if there is none
    name: str
    camera: Camera
    stills: Stills
    # Admission of another device; None if only the page sends
    admission: Admission | None = None

    @property
    def display_name(self) -> str:
        """The camera's name, or a default name."""
        return self.name or get_default_camera_name(self.id)


class AdditionalCameras(SessionPart):
    """Owner of the further cameras of a session. Call all methods on the event loop.

    Bounds of further cameras: 3; a fourth is refused. Each counts as a session, and ends after 10
    minutes without a connection; its frames are bounded like any camera's.
    """

    def __init__(self, context: SessionContext, ended: Callable[[str, str], None]) -> None:
        """`ended(session_id, camera)`: called for each camera that ends, to close its connection."""
        self._context = context
        self._session_id = context.id
        self._sample_rate = context.limits.sample_rate
        self._outbox = context.outbox
        self._services = context.services
        self._ended = ended
        # Stills for a page whose own camera is another device
        stills = Stills(camera=context.camera, outbox=self._outbox, services=self._services)
        self._own = SessionCamera(OWN, "", context.camera, stills)
        self.handlers = {CameraSettings: self._set}
        # By id: the own one, then the others in order of invitation
        self._all = {OWN: self._own}
        # The connection at the time when another device was invited as own camera
        self._before: CameraConnection | None = None
        # Ids of the cameras chosen for questions
        self._chosen: tuple[str, ...] = (OWN,)
        self._listening = True
        # Timers that remove cameras without a connection, and all further cameras without a page
        self._timer, self._left = Timer(), Timer()
        # Monotonic time at which the page has gone
        self._left_at = 0.0
        self._tasks = TaskSet("cameras")
        # The list last sent to the client; None before the first
        self._reported: CameraList | None = None

    @property
    def _further(self) -> list[SessionCamera]:
        return list(self._all.values())[1:]

    @property
    def own_name(self) -> str:
        """Name given by the person to the session's own camera; "" if there is none."""
        return self._own.name

    @property
    def cameras(self) -> list[Camera]:
        return [one.camera for one in self._further]

    @property
    def slots(self) -> list[str]:
        return [make_connection_key(self._session_id, one.id) for one in self._further]

    def _set(self, message: CameraSettings) -> None:
        if message.stills is not None:
            self._own.stills.set_wanted(message.stills)
        if message.cameras is not None:
            self.choose(message.cameras)

    # Joining

    def invite(self, name: str) -> Admission:
        """Invite a camera. Raises Conflict beyond `MOST_CAMERAS`, BadRequest for a bad name."""
        free = [id for id in OTHERS if id not in self._all]
        if not free:
            raise Conflict(
                f"A session has at most {MOST_CAMERAS} cameras. End one of them, then add another."
            )
        id = free[0]
        name = free_name(clean_name(name), id, [one.display_name for one in self._all.values()])
        camera = Camera(
            sample_rate=self._sample_rate,
            metrics=self._services.metrics,
            # An invitation alone must not keep the session alive.
            dark_since=-math.inf,
        )
        # It is not chosen for questions yet.
        camera.measures_scenes = False
        stills = Stills(camera=camera, outbox=self._outbox, services=self._services, id=id)
        admission = Admission(self._session_id, id, time.monotonic())
        further = SessionCamera(id, name, camera, stills, admission)
        camera.on_status.append(lambda: self._on_changed(further, admission))
        stills.set_listening(self._listening)
        stills.set_wanted(True)
        self._all[id] = further
        self._arm()
        self.report()
        return admission

    def invite_own(self) -> Admission:
        """Invite another device as the session's own camera, replacing an earlier invitation.

        The invitation ends with the next connection of the page's own camera.
        """
        self._own.admission = admission = Admission(self._session_id, OWN, time.monotonic())
        self._before = self._own.camera.feed
        return admission

    def redeem(self, code: CameraSecret) -> tuple[str, str, str] | None:
        """Exchange a one-time code for camera id, name and token; None for an invalid code."""
        for admission in self._admissions:
            token = admission.redeem(code, time.monotonic())
            if token is not None:
                return admission.camera, self._find(admission.camera).display_name, token
        return None

    def admit(self, token: CameraSecret) -> Admission | None:
        """Return the admission of a token; None for an invalid token."""
        now = time.monotonic()
        return next((one for one in self._admissions if one.accepts_token(token, now)), None)

    def check(self, admission: Admission, token: CameraSecret) -> None:
        """Raise NotFound for a removed camera or an expired token."""
        if self.admit(token) is not admission:
            raise NotFound(
                "This camera was removed, or replaced by another device. Ask for a new link."
            )

    # Actions of the person

    def rename(self, id: str, name: str) -> None:
        """Rename a camera. Raises NotFound, BadRequest."""
        camera = self._find(id)
        taken = [one.display_name for one in self._all.values() if one is not camera]
        camera.name = free_name(clean_name(name), id, taken)
        self.report()

    async def end(self, id: str) -> None:
        """Remove a camera and revoke its tokens; for the own camera, only remove another device. Raises NotFound."""
        if id == OWN:
            self._own.admission = None
            feed = self._own.camera.feed
            # Not if the page's own camera was switched on again meanwhile
            if feed is None or not feed.sender_controlled:
                self._ended(self._session_id, OWN)
        else:
            await self._end(self._find(id))

    def choose(self, ids: Sequence[str]) -> None:
        """Choose the cameras for later questions. Unknown ids are ignored; if none is left, choose the own camera."""
        self._chosen = tuple(id for id in self._all if id in ids) or (OWN,)
        for one in self._further:
            one.camera.measures_scenes = one.id in self._chosen
        self.report()

    # Questions

    @property
    def frame_source(self) -> AdditionalCameras | None:
        return self if self._chosen != (OWN,) else None

    async def views(
        self, question: Question, needs: Capabilities, own: OwnFrame, waits: Callable[[], None]
    ) -> tuple[View, ...]:
        """Wait for a frame of each chosen camera, all within the time limit of one.

        Raises CameraError with the camera's name, EngineRefused if the engine takes fewer pictures.
        """
        # A later selection counts for the next question only.
        chosen = [(id, self._find(id).display_name) for id in self._chosen]
        most = needs.get_max_pictures(together=len(chosen) > 1)
        if most is not None and len(chosen) > most:
            raise make_too_many_pictures_error(most)
        found = []
        for id, name in chosen:
            try:
                camera = self.get_camera(id)
                if id == OWN:
                    (frame, held), scene = await own(), camera.scene
                else:
                    # Another device has a different clock: use the question's time on this machine.
                    asked = replace(question.asked, sent=None)
                    frame, held = await camera.wait_for_frame(asked, waits), False
                    scene = camera.get_scene(frame)
            except (CameraError, NotFound) as error:
                raise _with_camera_name(error, name) from None
            found.append(View(frame, question.detail, scene, held, camera=id, name=name))
        return tuple(found)

    def get_camera(self, id: str) -> Camera:
        """Return a camera by its id. Raises NotFound for a removed camera."""
        return self._find(id).camera

    # Messages

    def on_reported(self) -> None:
        self._update_guest()
        if self._further:
            self.report()

    def set_connected(self, connected: bool) -> None:
        self._listening = connected
        self._left.cancel()
        if not connected and self._admissions:
            self._left_at = time.monotonic()
            self._left.set(UNWATCHED_SECONDS, self._leave)
        for one in self._all.values():
            one.stills.set_listening(connected)

    def greet(self) -> None:
        """Send the list of cameras to a new socket."""
        if self._further or self.own_name:
            self._reported = None
            self.report()

    def report(self) -> None:
        """Send the list of cameras to the client if it has changed."""
        message = CameraList(
            cameras=[
                CameraInfo(
                    id=id,
                    name=one.display_name,
                    state=one.camera.state(),
                    asked=id in self._chosen,
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
        # Removing the last one cancels the other timer.
        for one in self._further:
            await self._end(one)
        await self._own.stills.close()
        await self._tasks.close()

    # Inside

    @property
    def _admissions(self) -> list[Admission]:
        return [one.admission for one in self._all.values() if one.admission is not None]

    def _update_guest(self) -> None:
        """Update the guest's admission; end it once the page's own camera is back."""
        guest, feed = self._own.admission, self._own.camera.feed
        if guest is None:
            return
        if feed is None:
            if guest.connected:
                guest.set_disconnected(time.monotonic())
        elif not feed.sender_controlled:
            guest.set_connected()
        elif feed is not self._before:
            self._own.admission = None

    def _find(self, id: str) -> SessionCamera:
        camera = self._all.get(id)
        if camera is None:
            raise NotFound("Camera not found in this session: it was removed, or never joined.")
        return camera

    def _on_changed(self, further: SessionCamera, admission: Admission) -> None:
        if self._all.get(further.id) is not further:
            return
        if further.camera.offered:
            admission.set_connected()
        elif admission.used:
            admission.set_disconnected(time.monotonic())
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
        """Set the timer for the next camera to expire."""
        self._timer.cancel()
        ends = [
            one.admission.until
            for one in self._further
            if one.admission is not None and not one.camera.offered
        ]
        if ends:
            self._timer.set(max(0.05, min(ends) - time.monotonic()), self._expire)

    def _leave(self) -> None:
        """End other devices' cameras; the own one only when no watch needs it any more."""
        left = self._left_at + self._context.away_seconds - time.monotonic()
        if self._own.admission is not None and left > 0:
            self._left.set(min(left, UNWATCHED_SECONDS), self._leave)
        elif self._own.admission is not None:
            self._tasks.spawn(self.end(OWN), name="leave")
        for one in self._further:
            self._tasks.spawn(self._end(one), name="leave")

    def _expire(self) -> None:
        now = time.monotonic()
        for one in self._further:
            if one.admission is not None and one.admission.is_expired(now):
                self._tasks.spawn(self._end(one), name="end")
        # Cameras that are ending are skipped.
        self._arm()


def _with_camera_name(error: CameraError | NotFound, name: str) -> CameraError:
    """Return the error with the camera's name."""
    if isinstance(error, NoCamera | NotFound):
        return CameraLost(
            f"The camera {name} is not connected. Connect it again, or choose other cameras, and ask again."
        )
    if isinstance(error, CameraStalled):
        return CameraLost(
            f"The camera {name} sent no new picture, and questions are not answered from old ones."
            " Check its connection, or choose other cameras, and ask again."
        )
    return error


def get_cameras(session: Session) -> AdditionalCameras:
    """Return a session's cameras. Raises Conflict for a fixed camera's session."""
    cameras: AdditionalCameras | None = session.part("cameras")
    if cameras is None:
        raise Conflict("This session belongs to a fixed camera, which no other camera can replace.")
    return cameras


async def invite(sessions: SessionManager, session_id: str, name: str) -> Admission:
    """Invite a further camera, and take one of the slots shared by all processes.

    Raises the errors of `SessionManager.check_room` and `AdditionalCameras.invite`.
    """
    sessions.check_room(session_id)
    cameras = get_cameras(sessions.find(session_id))
    invited = cameras.invite(name)
    if not await sessions.replicas.take(make_connection_key(session_id, invited.camera)):
        # The camera may have ended meanwhile.
        with suppress(NotFound):
            await cameras.end(invited.camera)
        raise sessions.capacity.make_busy_error()
    return invited


def find_admission(sessions: SessionManager, token: str) -> tuple[Session, Admission] | None:
    """Return the session and admission of a camera's token; None for an invalid token."""
    secret = read_token(token)
    session = sessions.get(secret.session_id) if secret is not None else None
    if secret is None or session is None:
        return None
    cameras: AdditionalCameras | None = session.part("cameras")
    admission = cameras.admit(secret) if cameras is not None else None
    return (session, admission) if admission is not None else None


# Admission of a further camera to a session: its name, its tokens, and its expiry. Pure.

# Maximum cameras of a session, including its own
MOST_CAMERAS = 4
# Id of the session's own camera, and ids of the others
OWN = "1"
OTHERS = tuple(str(number) for number in range(2, MOST_CAMERAS + 1))
# Validity of an invitation, and time for which a disconnected camera is kept, seconds
INVITED_SECONDS = 600.0
AWAY_SECONDS = 600.0
MAX_NAME_CHARS = 40


class Admission:
    """Token and expiry of an invited camera. `now` is monotonic seconds."""

    def __init__(self, session_id: str, camera: str, now: float) -> None:
        self._session_id = session_id
        self.camera = camera
        # Two alternatives, with their digests, of which the first use invalidates the other: a token for a WHIP
        # device, and a code for a page, whose digest is None once it is invalid
        self._code: bytes | None
        self.token, self._token = make_token(session_id)
        self.code, self._code = make_code(session_id)
        # Time of expiry
        self.until = now + INVITED_SECONDS
        # True once a camera has connected
        self.used = False

    def is_expired(self, now: float) -> bool:
        return now >= self.until

    @property
    def connected(self) -> bool:
        """True while a camera is connected."""
        return self.until == math.inf

    def redeem(self, secret: CameraSecret, now: float) -> str | None:
        """Exchange the one-time code for another token; None for a wrong, used or expired code."""
        if self.is_expired(now) or self._code is None or not secret.is_for(self._code):
            return None
        self._code = None
        # The token shown next to the code becomes invalid.
        token, self._token = make_token(self._session_id)
        return token

    def accepts_token(self, secret: CameraSecret, now: float) -> bool:
        """Return True if a token belongs to this camera."""
        return not self.is_expired(now) and secret.is_for(self._token)

    def set_connected(self) -> None:
        """Record a connection: the code becomes invalid, and the token stays valid while connected."""
        self._code = None
        self.used, self.until = True, math.inf

    def set_disconnected(self, now: float) -> None:
        """Record a disconnection: the token stays valid for `AWAY_SECONDS`."""
        self.until = now + AWAY_SECONDS


def make_connection_key(session_id: str, camera: str) -> str:
    """Return the key of a camera's connection. That of a further camera contains ~; no session id does."""
    return session_id if camera == OWN else f"{session_id}~{camera}"


def clean_name(given: str) -> str:
    """Return a name as one line of visible characters; "" if there is none.

    Raises BadRequest if it is too long.
    """
    # Unicode categories of control, format and surrogate characters, and of separators
    plain = "".join(
        " " if unicodedata.category(char)[0] in "CZ" else char
        for char in given[: 4 * MAX_NAME_CHARS]
    )
    name = " ".join(plain.split())
    if len(name) > MAX_NAME_CHARS:
        raise BadRequest(
            f"The camera's name is too long (limit: {MAX_NAME_CHARS} characters). Choose a shorter one."
        )
    return name


def free_name(wanted: str, number: str, taken: list[str]) -> str:
    """Return a unique name: the requested name, or a default name with the camera's number.

    Raises BadRequest if another camera has the wanted name.
    """
    others = [name.casefold() for name in taken]
    if wanted and wanted.casefold() in others:
        raise BadRequest("Another camera already has this name. Choose a different one.")
    if wanted:
        return wanted
    name = get_default_camera_name(number)
    while name.casefold() in others:
        name += "+"
    return name


# Prefix of a camera's token. A session's token, a JWT, never begins with it.
_TOKEN = "camera~"
_PARTS = re.compile(r"([A-Za-z0-9_-]{1,64})~([A-Za-z0-9_-]{22})", re.ASCII)
MAX_CHARS = 100


@dataclass(frozen=True, slots=True)
class CameraSecret:
    """Parsed token or code."""

    session_id: str
    digest: bytes

    def is_for(self, kept: bytes | None) -> bool:
        """Return True if a stored digest matches. Constant time."""
        return kept is not None and hmac.compare_digest(self.digest, kept)


def make_code(session_id: str) -> tuple[str, bytes]:
    """Return a new one-time code and its digest."""
    text = f"{session_id}~{secrets.token_urlsafe(16)}"
    return text, compute_digest(text)


def make_token(session_id: str) -> tuple[str, bytes]:
    """Return a new token and its digest."""
    text, kept = make_code(session_id)
    return _TOKEN + text, kept


def read_token(text: str) -> CameraSecret | None:
    """Parse a camera's bearer token; None for a malformed token or one of another kind."""
    return read_code(text.removeprefix(_TOKEN)) if text.startswith(_TOKEN) else None


def read_code(text: str) -> CameraSecret | None:
    """Parse a one-time code; None if malformed."""
    found = _PARTS.fullmatch(text) if len(text) <= MAX_CHARS else None
    return CameraSecret(found[1], compute_digest(text)) if found is not None else None


# Minimum time between two stills
STILL_SECONDS = 1.0


def register_stills_counter(metrics: Metrics) -> Any:
    # result: sent, late, withheld, unusable
    return metrics.counter("stills_total", "Stills for pages of another device's camera", "result")


class Stills:
    """Stills of one camera, sent while the page wants them and a socket is open; not stored.

    Each frame becomes at most one still. A further camera skips a still while another one is queued.
    """

    def __init__(
        self, *, camera: Camera, outbox: Outbox, services: SessionServices, id: str | None = None
    ) -> None:
        """`id`: id of a further camera; None for the session's own."""
        self._id = id
        self._camera = camera
        self._outbox = outbox
        self._services = services
        self._wanted = False
        self._listening = True
        self._tasks = TaskSet("stills")
        # Task that sends the stills; None while not needed
        self._task: asyncio.Task[None] | None = None

    def set_wanted(self, wanted: bool) -> None:
        self._wanted = wanted
        self._update()

    def set_listening(self, listening: bool) -> None:
        """Set whether a socket is open."""
        self._listening = listening
        self._update()

    def _update(self) -> None:
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
            if frame is not None and frame is not last and live and not self._should_skip():
                last = frame
                await self._send(frame)
            # Send the first still as soon as there is a frame.
            return STILL_SECONDS if last is not None else 0.05

        await supervise(step, name="stills", after_failure=STILL_SECONDS)

    def _should_skip(self) -> bool:
        """Return True if the client has not received the last still of any camera yet."""
        return self._id is not None and self._outbox.waits(Still)

    async def _send(self, frame: Frame) -> None:
        stills = register_stills_counter(self._services.metrics)
        try:
            jpeg = await run_in_pool(
                self._services.prepare_pool, self._services.preparer.make_still, frame
            )
        except FrameWithheld:
            stills.labels("withheld").inc()
            self._outbox.put(Still(withheld=True, camera=self._id))
        except BadRequest:
            # A question about this frame reports the reason; here the still is only skipped.
            stills.labels("unusable").inc()
        else:
            stills.labels("sent").inc()
            if self._should_skip():
                stills.labels("late").inc()
                return
            image, width, height = to_data_url(jpeg), frame.width, frame.height
            self._outbox.put(Still(image=image, width=width, height=height, camera=self._id))

    async def close(self) -> None:
        self.set_wanted(False)
        await self._tasks.close()
