"""A question about several cameras, or another one than the session's own: a frame of each, and their pictures with names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from server.camera.camera import Asked
from server.core.errors import CameraError, CameraLost, CameraStalled, NoCamera, NotFound
from server.core.frames import Detail, Frame
from server.engines.base import Capabilities, EarlierPicture
from server.engines.camera_words import captions
from server.session.cameras.admission import OWN
from server.session.cameras.cameras import Cameras
from server.session.request.answers import Asking, Shot
from server.session.request.builder import RequestBuilder, too_many_pictures
from server.session.request.parts import Extras, View

# Gets the own camera's frame of a question, and True for a held one.
OwnFrame = Callable[[Asking], Awaitable[tuple[Frame, bool]]]


async def shots(
    cameras: Cameras,
    asking: Asking,
    needs: Capabilities,
    own: OwnFrame,
    waits: Callable[[], None],
) -> tuple[Shot, ...]:
    """Wait for a frame of each chosen camera, all within the time that one has.

    Raises CameraError with the camera's name, EngineRefused when the engine takes fewer pictures.
    """
    if asking.shots is not None:
        # Its words were corrected: they are about the frames that it had.
        return asking.shots
    chosen = cameras.chosen
    most = needs.most_pictures(together=len(chosen) > 1)
    if most is not None and len(chosen) > most:
        raise too_many_pictures(most)
    found = []
    for label in chosen:
        try:
            camera = cameras.camera(label.id)
            if label.id == OWN:
                (frame, held), scene = await own(asking), camera.scene
            else:
                # Another device has a clock of its own: the time of the question here counts.
                asked = Asked(at=asking.asked.at, wall=asking.asked.wall, sent=None)
                frame, held = await camera.frame_after(asked, waits), False
                scene = camera.scene_of(frame)
        except (CameraError, NotFound) as error:
            raise _named(error, label.name) from None
        found.append(Shot(label.id, label.name, frame, held, scene))
    return tuple(found)


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


def view_of(shot: Shot, detail: Detail) -> View:
    """Return the view of one camera."""
    return View(shot.frame, detail, shot.scene, shot.held)


def with_others(
    extras: Extras, taken: Sequence[Shot], detail: Detail, requests: RequestBuilder
) -> Extras:
    """Add the pictures of all cameras but the last one, whose picture is the request's own."""
    words = captions([shot.name for shot in taken])
    before = list(zip(taken[:-1], words, strict=False))
    own = taken[-1].name

    async def make(needs: Capabilities) -> Sequence[EarlierPicture]:
        return [
            EarlierPicture(
                await requests.prepare(view_of(shot, detail), needs), caption, camera=shot.name
            )
            for shot, caption in before
        ]

    return replace(
        extras,
        earlier=make if before else None,
        together=bool(before),
        caption=words[-1],
        camera=own,
    )
