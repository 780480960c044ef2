"""The command that runs a model: arguments and environment variables. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from server.features.hosting.catalogue import llama_cpp, vllm

# Environment variables whose values are hidden
SECRETS = frozenset({vllm.KEY, llama_cpp.KEY})
HIDDEN = "********"


@dataclass(frozen=True, slots=True)
class Launch:
    """A command with its environment."""

    # Arguments, started without a shell; empty when nothing is started
    argv: tuple[str, ...]
    # Variables in addition to those of `processes.environment`. Only this field contains secrets.
    env: Mapping[str, str] = field(repr=False)
    # The command for a shell, with secrets hidden
    shown: str
    # Port on loopback; None if we start no server
    port: int | None = None
    # Base URL of its OpenAI-compatible API; empty in-process
    base_url: str = ""
    # The model's name in requests; empty: the first that the server lists
    served_name: str = ""
    # True for a build for the CPU. If any other build computes on the CPU, it has failed to use its GPU.
    for_cpu: bool = False
    # Share of VISUAL_TOKEN_BUDGET that this machine reads within about 3 s
    picture_share: float = 1.0
    # Name of the container that it starts; empty if it starts none
    container: str = ""
    # Sentences about probable mistakes and omitted flags
    warnings: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """API key that the server requires; "": none."""
        return next((self.env[name] for name in SECRETS if name in self.env), "")


def format_shell_line(argv: tuple[str, ...], env: Mapping[str, str], cwd: str | None = None) -> str:
    """Return a command for display, quoted for a POSIX shell, with secrets hidden."""
    words = [
        f"{name}={HIDDEN if name in SECRETS else shlex.quote(value)}" for name, value in env.items()
    ]
    line = " ".join([*words, shlex.join(argv)])
    return f"cd {shlex.quote(cwd)} && {line}" if cwd else line
