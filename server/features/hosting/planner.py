"""Plan an operator's choice: find the model, examine the machine, build the command. Blocking."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from server.core.errors import BadRequest
from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.command import DEFAULT_CONTEXT, command
from server.features.hosting.catalogue.entry import Catalogue, Model, RunMode
from server.features.hosting.catalogue.folder import find_models, read_model
from server.features.hosting.host import HostProbe
from server.features.hosting.runtime import Plan


@dataclass(eq=False)
class Planner:
    """Plans with fresh data each time. Thread-safe."""

    host: HostProbe
    # Models' folders, or folders with such
    roots: Sequence[Path] = ()
    # Returns the catalogue without them
    load: Callable[[], Catalogue] = Catalogue.load
    # Most tokens when the choice names none
    context: int = DEFAULT_CONTEXT
    # Concurrent questions
    concurrent: int = 0
    # The models at the last reading
    known: tuple[Model, ...] = field(default=(), init=False)

    def catalogue(self) -> Catalogue:
        """Return the known models and those in the roots, with troubles. Raises CatalogueError."""
        found = self.load().with_local(*find_models(self.roots))
        self.known = tuple(found)
        return found

    def plan(self, choice: Choice) -> Plan:
        """Raises BadRequest."""
        model = self._model(choice)
        launch = command(
            choice,
            model,
            self.host.probe(vllm=choice.mode is RunMode.SUBPROCESS),
            api_key=secrets.token_urlsafe(24),
            context=self.context,
            concurrent=self.concurrent,
            container=f"qwen-camera-engine-{secrets.token_hex(6)}",
        )
        return Plan(choice, launch, model)

    def _model(self, choice: Choice) -> Model | None:
        if choice.mode is RunMode.REMOTE:
            # On a remote server a path may be a model's name, as with `transformers serve`.
            return self.catalogue().find(choice.model) if choice.model else None
        if choice.model.startswith("/"):
            return read_model(Path(choice.model))
        return self.catalogue().require(choice.model)


def usable_port(wanted: int | None, own: int | None = None) -> int:
    """Return `wanted` if it is free on loopback, or already ours (`own`); else a free port."""
    if wanted is not None and wanted == own:
        return wanted
    for port in (wanted, 0):
        if port is not None:
            with suppress(OSError), closing(socket.create_server(("127.0.0.1", port))) as listening:
                found: int = listening.getsockname()[1]
                return found
    raise BadRequest("No port is free on this machine. End what has them.")
