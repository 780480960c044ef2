"""Build the arguments of llama.cpp's server, with the flags that the installed one lists in its help. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# Environment variable with the API key that the server requires
KEY = "LLAMA_API_KEY"
PROGRAM = "llama-server"
# Prefix of the error with which llama_wheel.py ends
FAILED = "llama_wheel: "
# Flags of every version that accepts pictures
_NEEDED = ("--model", "--mmproj", "--port", "--parallel")
# Concurrent answers on a CPU (a question, and a watch or a description) and on a GPU; others wait. On a CPU, concurrent
# answers slow each other down.
CPU_SLOTS = 2
GPU_SLOTS = 4
# Bytes of weights with which a thread processes the default visual tokens in 3 s (docs/models.md, Speed without a GPU)
_THREAD_BYTES = 92_000_000
# Cache of computed prompts (--cache-ram, by default 8 GiB): share of free memory, and most bytes
_CACHE_SHARE, _MAX_CACHE_BYTES = 0.125, 2_000_000_000
# Saved states of a recurrent model per slot (--ctx-checkpoints, by default 32)
_CHECKPOINTS = 8
# Tokens per batch (--ubatch-size): the default, and the maximum. A picture must fit into one batch, because some models
# attend to the whole picture.
_BATCH_TOKENS, _MAX_BATCH_TOKENS = 512, 4096
# The line of an option in the help, without its explanation, which may name other flags
_OPTION = re.compile(r"^ {0,2}(-\S.*?)(?: {2,}+(?!-)|$)", re.MULTILINE)
_FLAG = re.compile(r"(?<![\w-])--[a-z0-9][a-z0-9-]*")
# "version: 9049 (0d3e9a1)", "version: 0.5.0 (build 9412, commit 0c1e570)"
_VERSION = re.compile(r"^version: (?:\S+ \(build )?(\d+)\b", re.MULTILINE)
# Builds without a number report 0 or 1; those that accept pictures have numbers above this.
_MIN_BUILD = 1000


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """A llama-server. `version`: its build number; "" if unknown."""

    path: str
    version: str
    flags: frozenset[str]
    # Arguments that start it (empty: the path), and additional environment variables
    words: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LlamaServing:
    """The model, address and limits of a server."""

    weights: str
    projector: str
    # The model's name in requests
    name: str
    host: str
    port: int
    # Tokens of one answer with its prompt
    context: int
    # Concurrent answers
    slots: int
    # None: its default, the physical cores
    threads: int | None
    # Bytes of main memory that are free in addition to the model's
    free_bytes: int
    # Minimum and maximum tokens of a picture; None: the model's own limits
    picture_tokens: tuple[int, int] | None = None


def read_help(path: str, said: str, version: str) -> LlamaServer | None:
    """Parse the output of --help and --version; return None if the program is not a llama-server."""
    flags = frozenset(flag for line in _OPTION.findall(said) for flag in _FLAG.findall(line))
    if not flags.issuperset(_NEEDED):
        return None
    found = _VERSION.search(version)
    number = found[1] if found is not None and int(found[1]) > _MIN_BUILD else ""
    return LlamaServer(path, number, flags)


def compute_picture_share(weights_bytes: int, threads: int) -> float:
    """Return the fraction of VISUAL_TOKEN_BUDGET that a CPU processes within about 3 s, at most 1."""
    return min(1.0, threads * _THREAD_BYTES / max(1, weights_bytes))


def build_arguments(server: LlamaServer, serving: LlamaServing) -> tuple[str, ...]:
    """Return the command line, with the optional flags that this version supports."""
    arguments = [
        *(server.words or (server.path,)),
        "--model",
        serving.weights,
        "--mmproj",
        serving.projector,
    ]
    arguments += ["--host", serving.host, "--port", str(serving.port)]
    # The slots divide this context evenly.
    arguments += ["--parallel", str(serving.slots)]
    arguments += ["--ctx-size", str(serving.context * serving.slots)]

    def add_flag(name: str, *values: str) -> bool:
        if name in server.flags:
            arguments.extend((name, *values))
        return name in server.flags

    add_flag("--alias", serving.name)
    if serving.threads is not None:
        add_flag("--threads", str(serving.threads))
    if serving.picture_tokens is not None:
        least, most = serving.picture_tokens
        add_flag("--image-min-tokens", str(least))
        add_flag("--image-max-tokens", str(most))
        if most > _BATCH_TOKENS:
            add_flag(
                "--ubatch-size",
                str(min(_MAX_BATCH_TOKENS, -(-most // _BATCH_TOKENS) * _BATCH_TOKENS)),
            )
    cache = min(int(max(0, serving.free_bytes) * _CACHE_SHARE), _MAX_CACHE_BYTES)
    add_flag("--cache-ram", str(cache // 1024**2))
    add_flag("--ctx-checkpoints", str(_CHECKPOINTS))
    # Older versions use the chat template, and report slots, only with these flags.
    add_flag("--jinja")
    add_flag("--slots")
    add_flag("--no-webui") or add_flag("--no-ui")
    add_flag("--offline")
    add_flag("--log-colors", "off")
    return tuple(arguments)


def install_hint(platform: str) -> str:
    """Return a sentence on how to install llama.cpp for a GPU. `platform`: as sys.platform."""
    ways = {"win32": "winget install llama.cpp"}.get(
        platform,
        "brew install llama.cpp (Homebrew), nix profile install nixpkgs#llama-cpp (Nix), or a release of"
        " github.com/ggml-org/llama.cpp for this GPU",
    )
    return (
        f"This machine has a GPU, and llama.cpp's server for it ({PROGRAM}) was not found. Install it: {ways}. If it is not on"
        " the PATH, set LLAMA_SERVER to its path."
    )
