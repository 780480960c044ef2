"""Turn an operator's choice into a plan: find the model, examine the machine, build the command. Calls block."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from server.core.errors import BadRequest
from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.command import DEFAULT_CONTEXT, build_command
from server.features.hosting.catalogue.entry import Catalogue, Model, RunMode
from server.features.hosting.catalogue.folder import find_models, read_model
from server.features.hosting.host import HostProbe
from server.features.hosting.runtime import Plan


@dataclass(eq=False)
class Planner:
    """Makes plans; reads catalogue, folders and machine at each call. Thread-safe."""

    host: HostProbe
    # Folders of models, or folders that contain folders of models
    roots: Sequence[Path] = ()
    # Read the catalogue, without the models of `roots`.
    load: Callable[[], Catalogue] = Catalogue.load
    # Context in tokens if the choice does not set it
    context: int = DEFAULT_CONTEXT
    # Concurrent answers
    concurrent: int = 0
    # The models of the last `read_catalogue` call
    known: tuple[Model, ...] = field(default=(), init=False)

    def read_catalogue(self) -> Catalogue:
        """Return the models of the catalogue and of the roots, with errors. Raises CatalogueError."""
        found = self.load().with_local(*find_models(self.roots))
        self.known = tuple(found)
        return found

    def plan(self, choice: Choice) -> Plan:
        """Return the plan of a choice. Raises BadRequest if it cannot run here."""
        model = self._find_model(choice)
        launch = build_command(
            choice,
            model,
            self.host.probe(vllm=choice.mode is RunMode.SUBPROCESS),
            api_key=secrets.token_urlsafe(24),
            context=self.context,
            concurrent=self.concurrent,
            container=f"qwen-camera-engine-{secrets.token_hex(6)}",
        )
        return Plan(choice, launch, model)

    def _find_model(self, choice: Choice) -> Model | None:
        if choice.mode is RunMode.REMOTE:
            # A remote server may use a path as the name of a model, as `transformers serve` does.
            return self.read_catalogue().find(choice.model) if choice.model else None
        if choice.model.startswith("/"):
            return read_model(Path(choice.model))
        return self.read_catalogue().require(choice.model)


def find_port(wanted: int | None, own: int | None = None) -> int:
    """Return `wanted` if it is free on loopback or equals `own`, the port of our running model; else a free port.

    Raises BadRequest if no port is free.
    """
    if wanted is not None and wanted == own:
        return wanted
    for port in (wanted, 0):
        if port is not None:
            with suppress(OSError), closing(socket.create_server(("127.0.0.1", port))) as listening:
                found: int = listening.getsockname()[1]
                return found
    raise BadRequest(
        "No TCP port is free on this machine. End programs that use ports, and try again."
    )
