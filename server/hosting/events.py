"""The events of `lifecycle`: what an operator asks for, and what happens to a model. Data without behaviour."""

from __future__ import annotations

from dataclasses import dataclass

from server.hosting.status import Order, Plan


@dataclass(frozen=True, slots=True)
class Start:
    order: Order


@dataclass(frozen=True, slots=True)
class Stop:
    pass


@dataclass(frozen=True, slots=True)
class Close:
    pass


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model answers."""


@dataclass(frozen=True, slots=True)
class NotLoaded:
    """The model could not be loaded, and nothing of it is left. `port_taken`: another port may do."""

    why: str
    port_taken: bool = False


@dataclass(frozen=True, slots=True)
class Moved:
    """The model was planned on another port."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Ended:
    """A model that answered has ended or hangs. `calm`: it had run for long."""

    how: str
    calm: bool = False


@dataclass(frozen=True, slots=True)
class Waited:
    """The pause before it is loaded again is over."""


@dataclass(frozen=True, slots=True)
class Emptied:
    """Nothing is left of the models that had to go."""


@dataclass(frozen=True, slots=True)
class Broke:
    """The runner's job raised something unforeseen."""


Event = Start | Stop | Close | Loaded | NotLoaded | Moved | Ended | Waited | Emptied | Broke
