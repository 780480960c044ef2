"""A person's live camera, for a program with access."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Literal

from qwen_camera.answers import (
    Access,
    Earlier,
    Event,
    Found,
    Json,
    Snapshot,
    Watch,
    number,
    objects,
    text,
    whole,
)
from qwen_camera.connection import Connection
from qwen_camera.errors import Busy, CameraError, RateLimited, ServerGone
from qwen_camera.stream import Asking

Detail = Literal["auto", "low", "high"]
# Seconds for which one request waits for an event; minimum and maximum pause between two attempts
_WAIT, _LEAST_PAUSE, _MOST_PAUSE = 25.0, 1.0, 30.0
# Minimum interval in seconds between requests for events: a token allows two calls per second.
_BETWEEN = 0.6


class Camera:
    """Camera to which a person has granted this program access.

        async with Camera("https://camera.example.org", token) as camera:
            async for piece in camera.ask("What is on the table?"):
                print(piece, end="", flush=True)

    All methods raise `CameraError`, and may be called concurrently in one event loop: the server handles the looks of a
    program one at a time, and queues at most four.
    """

    def __init__(
        self,
        address: str | None = None,
        token: str | None = None,
        *,
        ca: str | os.PathLike[str] | None = None,
        plain_http: bool = False,
    ) -> None:
        """Prepare the connection; nothing is sent yet.

        `address`: the server's URL, or one that the page shows with the token; default QWEN_CAMERA_URL. `token`: access
        token; default QWEN_CAMERA_TOKEN. `ca`: PEM file with a private certificate authority. `plain_http`: allow
        http:// to another machine. Raises BadInput.
        """
        self._connection = Connection(address, token, ca=ca, plain_http=plain_http)

    def __repr__(self) -> str:
        return f"Camera({self._connection.base!r})"

    async def __aenter__(self) -> Camera:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections, and end running questions."""
        await self._connection.close()

    # Looks

    def ask(
        self,
        question: str,
        *,
        detail: Detail = "auto",
        picture: str = "camera://now",
        instructions: str = "",
    ) -> Asking:
        """Ask about a picture.

        `await` the result for the whole answer, or iterate over it with `async for` for its text. `picture`:
        camera://now, camera://held, or several as in camera://-30s..now?frames=8. `detail`: high for small text; low is
        faster. `instructions`: text sent before the question, such as: Answer in one word.
        """
        shown = {"type": "image_url", "image_url": {"url": picture, "detail": detail}}
        content = [{"type": "text", "text": question}, shown]
        messages: list[Json] = [{"role": "user", "content": content}]
        if instructions:
            messages.insert(0, {"role": "system", "content": instructions})
        body = {"model": "camera", "messages": messages, "stream": True}
        return Asking(lambda: self._connection.events(body))

    async def snapshot(self) -> Snapshot:
        """Return the camera's current picture."""
        said = await self._connection.call("snapshot", {})
        if not said.pictures:
            raise ServerGone("The server sent no picture. Try again.")
        facts = said.facts
        age = number(facts.get("age_ms")) or 0.0
        return Snapshot(
            said.pictures[0], age, whole(facts.get("width")), whole(facts.get("height"))
        )

    async def find(self, what: str) -> Found:
        """Return the places of an object in the current picture."""
        said = await self._connection.call("find", {"what": what})
        return Found.read(said.text, said.facts)

    async def recall(self, question: str) -> Earlier:
        """Ask about the last minutes, at most as far back as the beginning of this program's access.

        Raises NotPossible if the person keeps no recent pictures.
        """
        said = await self._connection.call("recall", {"question": question})
        return Earlier.read(said.text, said.facts)

    # Watches

    async def watch(self, condition: str, *, repeat: bool = False) -> Watch:
        """Add a watch for a condition; `events` yields its alerts. A program can have three watches.

        `repeat`: alert each time the condition becomes true, not only once.
        """
        said = await self._connection.call("watch_add", {"condition": condition, "repeat": repeat})
        return Watch(text(said.facts.get("id")), condition)

    async def watches(self) -> list[Watch]:
        """Return the watches of this program, oldest first."""
        said = await self._connection.call("watch_list", {})
        return [Watch.read(one) for one in objects(said.facts.get("watches"))]

    async def unwatch(self, watch: Watch | str) -> None:
        """End a watch of this program. Raises BadInput for an unknown one."""
        id = watch.id if isinstance(watch, Watch) else watch
        await self._connection.call("watch_remove", {"id": id})

    async def events(
        self,
        *,
        after: int = 0,
        pictures: bool = False,
        on_trouble: Callable[[CameraError], None] | None = None,
    ) -> AsyncIterator[Event]:
        """Yield each alert of the camera's watches, including the person's own watches. The iteration does not end.

        It begins with the alerts since the beginning of this access that the server still has (16 at most), or with
        those of them whose number is above `after`. `pictures`: include the pictures of the newest two alerts of each
        response.

        If the server is unreachable for a while, or busy, `on_trouble` is called and the iteration continues
        automatically. It raises errors for which a retry does not help, and ServerGone if even the first request does
        not arrive.
        """
        loop = asyncio.get_running_loop()
        reached, pause = False, _LEAST_PAUSE
        while True:
            began = loop.time()
            asked = {"after": after, "wait_seconds": _WAIT, "pictures": pictures}
            try:
                said = await self._connection.call("events", asked, _WAIT + 15)
            except (ServerGone, Busy, RateLimited) as error:
                if not reached and isinstance(error, ServerGone):
                    raise
                if on_trouble is not None:
                    on_trouble(error)
                # Add jitter, so that programs do not all retry at once.
                await asyncio.sleep(max(error.retry_after or 0.0, pause * random.uniform(0.5, 1)))
                pause = min(pause * 2, _MOST_PAUSE)
                continue
            reached, pause = True, _LEAST_PAUSE
            for facts in objects(said.facts.get("events")):
                event = Event.read(facts, said.pictures)
                if event.number > after:
                    after = event.number
                    yield event
            await asyncio.sleep(max(0.0, began + _BETWEEN - loop.time()))

    # The access itself

    async def access(self) -> Access:
        """Return what this program may do, and until when."""
        return Access.read(await self._connection.get("/api/program"))
