"""A stand-in for the engine manager, steered by a test: it loads nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from server.catalogue.command import Choice, CommandError, Launch, command
from server.catalogue.entry import Catalogue
from server.catalogue.modes import Host
from server.errors import BadRequest


@dataclass(frozen=True, slots=True)
class FakeProgress:
    phase: str
    percent: float | None = None
    done_bytes: int | None = None
    total_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class FakeStanding:
    state: str = "idle"
    model: str = ""
    model_type: str | None = None
    mode: str | None = None
    progress: FakeProgress | None = None
    memory_bytes: int | None = None
    shown: str = ""
    error: str = ""


class FakeManager:
    """`standing` may be replaced with `stand`; `asked` keeps what was to be started."""

    def __init__(self, catalogue: Catalogue, host: Host) -> None:
        self._catalogue, self._host = catalogue, host
        self.standing = FakeStanding()
        self.asked: list[Choice] = []
        self.stopped = 0
        self.changed: Callable[[], None] = lambda: None

    def stand(self, **fields: object) -> None:
        self.standing = replace(self.standing, **fields)  # type: ignore[arg-type]
        self.changed()

    async def preview(self, choice: Choice) -> Launch:
        try:
            return command(choice, self._catalogue.find(choice.model), self._host)
        except CommandError as error:
            raise BadRequest(error.message) from None

    async def start(self, choice: Choice) -> None:
        launch = await self.preview(choice)
        self.asked.append(choice)
        self.stand(
            state="loading",
            model=choice.model,
            mode=str(choice.mode),
            progress=FakeProgress("starting"),
            shown=launch.shown,
            error="",
        )

    async def stop(self) -> None:
        self.stopped += 1
        self.standing = FakeStanding()
        self.changed()
