"""What will run: its words, and the environment that its process gets. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from server.catalogue import vllm
from server.catalogue.entry import RunMode

# Environment variables whose values nobody is shown
SECRETS = frozenset({vllm.KEY})
HIDDEN = "********"
# What a child gets of this server's environment, a worker as well; all else stays, its secrets among it.
_PASSED = re.compile(
    r"^(PATH|HOME|USER|LOGNAME|LANG|LC_[A-Z]+|TZ|TMPDIR|LD_LIBRARY_PATH|XDG_(CACHE|CONFIG|DATA)_HOME|XDG_RUNTIME_DIR"
    r"|VIRTUAL_ENV|(CUDA|HIP|HSA|ROCM|ROCR|GPU|NVIDIA|NCCL|RCCL|OMP|MKL|OPENBLAS|TORCH|TORCHINDUCTOR|PYTORCH|TRITON|MIOPEN)_\w+"
    r"|HF_HOME|HF_HUB_CACHE|DOCKER_(HOST|CONTEXT|CONFIG|CERT_PATH|TLS_VERIFY)|CONTAINER_HOST|VLLM_\w+)$"
)
# What fetches an image is run here where there is no service that does it.
_PASSED_TO_RUNTIMES = re.compile(
    r"^((HTTPS?|NO|ALL)_PROXY|(https?|no|all)_proxy|SSL_CERT_(FILE|DIR)|REGISTRY_AUTH_FILE"
    r"|CONTAINERS_(CONF|STORAGE_CONF|REGISTRIES_CONF)|DBUS_SESSION_BUS_ADDRESS)$"
)
# Not of those: would write questions or answers down, or is set here.
_NOT_PASSED = re.compile(
    r"^(VLLM_(API_KEY|BASE_URL|DEBUG_LOG_API_SERVER_RESPONSE|TRACE_FUNCTION|LOGGING_\w+))$|(_|^)(TOKEN|SECRET|PASSWORD|KEY)$"
)


@dataclass(frozen=True, slots=True)
class Launch:
    """What will run, word for word."""

    mode: RunMode
    # Without a shell between; empty where nothing is started
    argv: tuple[str, ...]
    # Set for it beside `child_environment`; secrets are in here and nowhere else
    env: Mapping[str, str] = field(repr=False)
    # As one could type it, secrets hidden
    shown: str
    # Where it is started; None: anywhere
    cwd: str | None = None
    # On loopback; None without a server of ours
    port: int | None = None
    # Of its OpenAI-compatible API; empty in-process
    base_url: str = ""
    # The model's name in requests; empty: the first that it lists
    served_name: str = ""
    # Computes on the CPU because that is what it is built for; anything else that says it does was to have a GPU
    for_cpu: bool = False
    # The name of the container that it starts; empty: none
    container: str = ""
    # What ends that one, however its program ended; empty: nothing is left
    cleanup: tuple[str, ...] = ()
    # Sentences on what is probably not meant, or left out
    warnings: tuple[str, ...] = ()


def passed_on(inherited: Mapping[str, str]) -> dict[str, str]:
    """Take from our environment what programs and GPUs need, and no secret. The one filter for all that is started."""
    return {
        name: value
        for name, value in inherited.items()
        if _PASSED.match(name) and not _NOT_PASSED.search(name)
    }


def child_environment(launch: Launch, inherited: Mapping[str, str]) -> dict[str, str]:
    """For the process: what is passed on, and what the launch sets."""
    fetching = inherited.items() if launch.container else ()
    fetch = {name: value for name, value in fetching if _PASSED_TO_RUNTIMES.match(name)}
    return {**passed_on(inherited), **fetch, **launch.env}


def typed(argv: tuple[str, ...], env: Mapping[str, str], cwd: str | None = None) -> str:
    """As one could type it, quoted for a POSIX shell; secrets are hidden."""
    words = [
        f"{name}={HIDDEN if name in SECRETS else shlex.quote(value)}" for name, value in env.items()
    ]
    line = " ".join([*words, shlex.join(argv)])
    return f"cd {shlex.quote(cwd)} && {line}" if cwd else line
