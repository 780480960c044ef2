"""From an operator's choice to what runs: the model found, the machine looked at, the command made. Blocking."""

from __future__ import annotations

import dataclasses
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from server.catalogue.choice import Choice, CommandError
from server.catalogue.command import DEFAULT_CONCURRENT, DEFAULT_CONTEXT, command
from server.catalogue.entry import Catalogue, CatalogueError, Model, RunMode
from server.catalogue.folder import ModelFolderError, find_models, read_model
from server.catalogue.modes import Host
from server.core.errors import BadRequest
from server.core.gpu import GpuError, GpuReader
from server.hosting.host import HostLook
from server.hosting.status import Plan
from server.processes import container

# What `Planner` raises; each has a `message` for people.
REFUSALS = (CommandError, CatalogueError, ModelFolderError)
# For so long whoever looks waits for a vLLM to say what it takes.
LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    models: Catalogue
    # As it is, and as it would be without the model that is loaded
    host: Host
    emptied: Host


class Planner:
    """Looks anew each time. For any number of threads.

    `roots`: folders that are models or hold some. `known`: the catalogue without them, asked each time. `context`: tokens
    at most where the choice names none. `concurrent`: questions that are asked at a time.
    """

    def __init__(
        self,
        host: HostLook,
        roots: Sequence[Path] = (),
        known: Callable[[], Catalogue] = Catalogue.load,
        *,
        context: int = DEFAULT_CONTEXT,
        concurrent: int = DEFAULT_CONCURRENT,
    ) -> None:
        self._host = host
        self._roots = tuple(roots)
        self._known = known
        self._context = context
        self._concurrent = concurrent
        self._gpus: GpuReader | None = None
        self._lock = threading.Lock()
        # As last read
        self.known: tuple[Model, ...] = ()

    def catalogue(self) -> Catalogue:
        """Known models and those that lie in the roots, with what is wrong there. Raises CatalogueError."""
        found = self._known().with_local(*find_models(self._roots))
        self.known = tuple(found)
        return found

    def look(self, ram_back: int = 0, gpu_back: Sequence[int] = ()) -> Seen:
        """The models and the machine; `ram_back`, `gpu_back`: see `plan`. Raises CatalogueError.

        A vLLM that has not said yet what it takes is `pending` there.
        """
        models, host = self.catalogue(), self._host.look(patience=LOOK_SECONDS)
        return Seen(models, host, _with_more(host, ram_back, gpu_back))

    def plan(self, choice: Choice, ram_back: int = 0, gpu_back: Sequence[int] = ()) -> Plan:
        """What would run. `ram_back`, `gpu_back`: bytes that the model now loaded gives back before, of each GPU.

        Raises one of REFUSALS.
        """
        model = self._model(choice)
        subprocess = choice.mode is RunMode.SUBPROCESS
        host = _with_more(self._host.look(vllm=subprocess), ram_back, gpu_back)
        launch = command(
            choice,
            model,
            host,
            api_key=secrets.token_urlsafe(24),
            context=self._context,
            concurrent=self._concurrent,
            container=container.own_name(),
        )
        return Plan(choice, launch, model)

    def _model(self, choice: Choice) -> Model | None:
        if choice.mode is RunMode.REMOTE:
            # A path is one there, and a name: `transformers serve` calls a model by it.
            return self.catalogue().find(choice.model) if choice.model else None
        if choice.model.startswith("/"):
            return read_model(Path(choice.model))
        return self.catalogue().require(choice.model)

    def gpu_free(self) -> tuple[int, ...] | None:
        """Free memory of each GPU, bytes; None where there is no GPU, or one does not tell."""
        with self._lock:
            if self._gpus is None:
                self._gpus = GpuReader()
            if not self._gpus.source:
                return None
            try:
                found = self._gpus.read()
            except GpuError:
                return None
        free = []
        for gpu in found:
            if gpu.memory_total is None or gpu.memory_used is None:
                return None
            free.append(gpu.memory_total - gpu.memory_used)
        return tuple(free) or None


def _with_more(host: Host, ram: int, gpus: Sequence[int]) -> Host:
    """The machine once so much has been given back."""
    found = host.gpus
    if len(gpus) == len(found):
        found = tuple(
            (
                gpu
                if gpu.free_bytes is None
                else dataclasses.replace(gpu, free_bytes=gpu.free_bytes + more)
            )
            for gpu, more in zip(found, gpus, strict=True)
        )
    return dataclasses.replace(host, ram_free_bytes=host.ram_free_bytes + ram, gpus=found)


def usable_port(wanted: int | None, own: int | None = None) -> int:
    """`wanted` when nobody listens there on loopback, or when it is ours (`own`); else a free one."""
    if wanted is not None and wanted == own:
        return wanted
    for port in (wanted, 0):
        if port is not None:
            with suppress(OSError), closing(socket.create_server(("127.0.0.1", port))) as listening:
                found: int = listening.getsockname()[1]
                return found
    raise BadRequest("No port is free on this machine. End what has them.")
