"""A command that will be started: its arguments, and the environment of its process. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from server.catalogue import vllm
from server.catalogue.entry import RunMode

# Environment variables whose values are hidden
SECRETS = frozenset({vllm.KEY})
HIDDEN = "********"
# Variables of this server's environment that child processes and workers get; all others, with the secrets, stay here.
_PASSED = re.compile(
    r"^(PATH|HOME|USER|LOGNAME|LANG|LC_[A-Z]+|TZ|TMPDIR|LD_LIBRARY_PATH|XDG_(CACHE|CONFIG|DATA)_HOME|XDG_RUNTIME_DIR"
    r"|VIRTUAL_ENV|(CUDA|HIP|HSA|ROCM|ROCR|GPU|NVIDIA|NCCL|RCCL|OMP|MKL|OPENBLAS|TORCH|TORCHINDUCTOR|PYTORCH|TRITON|MIOPEN)_\w+"
    r"|HF_HOME|HF_HUB_CACHE|DOCKER_(HOST|CONTEXT|CONFIG|CERT_PATH|TLS_VERIFY)|CONTAINER_HOST|VLLM_\w+)$"
)
# Further variables for container programs, which may fetch an image themselves.
_PASSED_TO_RUNTIMES = re.compile(
    r"^((HTTPS?|NO|ALL)_PROXY|(https?|no|all)_proxy|SSL_CERT_(FILE|DIR)|REGISTRY_AUTH_FILE"
    r"|CONTAINERS_(CONF|STORAGE_CONF|REGISTRIES_CONF)|DBUS_SESSION_BUS_ADDRESS)$"
)
# Exceptions: variables that would log questions or answers, or that are set here.
_NOT_PASSED = re.compile(
    r"^(VLLM_(API_KEY|BASE_URL|DEBUG_LOG_API_SERVER_RESPONSE|TRACE_FUNCTION|LOGGING_\w+))$|(_|^)(TOKEN|SECRET|PASSWORD|KEY)$"
)


@dataclass(frozen=True, slots=True)
class Launch:
    """A command with its environment, as it will be started."""

    mode: RunMode
    # Arguments, started without a shell; empty when nothing is started
    argv: tuple[str, ...]
    # Variables beside `child_environment`; secrets are only here
    env: Mapping[str, str] = field(repr=False)
    # The command for a shell, with secrets hidden
    shown: str
    # Working directory; None: any
    cwd: str | None = None
    # Port on loopback; None without a server of ours
    port: int | None = None
    # Base URL of its OpenAI-compatible API; empty in-process
    base_url: str = ""
    # The model's name in requests; empty: the first that the server lists
    served_name: str = ""
    # True: a build for the CPU. Any other that reports computing on the CPU has failed to use its GPU.
    for_cpu: bool = False
    # Name of the container that it starts; empty for none
    container: str = ""
    # Command that removes the container, however its program ended; empty for none
    cleanup: tuple[str, ...] = ()
    # Sentences about probable mistakes and about flags left out
    warnings: tuple[str, ...] = ()


def passed_on(inherited: Mapping[str, str]) -> dict[str, str]:
    """Filter our environment for a child process: what programs and GPUs need, and no secret. Used for every child."""
    return {
        name: value
        for name, value in inherited.items()
        if _PASSED.match(name) and not _NOT_PASSED.search(name)
    }


def child_environment(launch: Launch, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the process's environment: the filtered one of this server, and the launch's variables."""
    fetching = inherited.items() if launch.container else ()
    fetch = {name: value for name, value in fetching if _PASSED_TO_RUNTIMES.match(name)}
    return {**passed_on(inherited), **fetch, **launch.env}


def typed(argv: tuple[str, ...], env: Mapping[str, str], cwd: str | None = None) -> str:
    """Write a command as one would type it, quoted for a POSIX shell, with secrets hidden."""
    words = [
        f"{name}={HIDDEN if name in SECRETS else shlex.quote(value)}" for name, value in env.items()
    ]
    line = " ".join([*words, shlex.join(argv)])
    return f"cd {shlex.quote(cwd)} && {line}" if cwd else line
