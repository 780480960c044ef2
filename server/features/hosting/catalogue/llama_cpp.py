"""Build the arguments of llama.cpp's server from the flags that the installed one lists in its help.

Starts nothing. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# The environment variable with the key that it asks of everybody
KEY = "LLAMA_API_KEY"
PROGRAM = "llama-server"
# Before the sentence with which ours ends (llama_wheel.py)
FAILED = "llama_wheel: "
# Flags of every version that reads pictures; a program without them is no llama-server.
_NEEDED = ("--model", "--mmproj", "--port", "--parallel")
# Answers at a time on a CPU: a question, and beside it a watch or a description. Each makes the
# other slower, and further ones wait.
CPU_SLOTS = 2
GPU_SLOTS = 4
# Bytes of weights with which one thread reads all visual tokens in 3 s (docs/models.md, Speed without a GPU)
_THREAD_BYTES = 92_000_000
# Main memory for prompts that were computed (--cache-ram; its own default is 8 GiB)
_CACHE_SHARE, _MAX_CACHE_BYTES = 0.125, 2_000_000_000
# Copies of a recurrent model's state for each slot (its own default is 32)
_CHECKPOINTS = 8
# Tokens computed at a time (its own default). A picture of more tokens is computed at once, too: some
# models see it whole or not at all.
_BATCH_TOKENS, _MAX_BATCH_TOKENS = 512, 4096
# An option's own line without its explanation, which may name other flags
_OPTION = re.compile(r"^ {0,2}(-\S.*?)(?: {2,}+(?!-)|$)", re.MULTILINE)
_FLAG = re.compile(r"(?<![\w-])--[a-z0-9][a-z0-9-]*")
# "version: 9049 (0d3e9a1)", "version: 0.5.0 (build 9412, commit 0c1e570)"
_VERSION = re.compile(r"^version: (?:\S+ \(build )?(\d+)\b", re.MULTILINE)
# A build that does not know its number calls itself 0 or 1; those that read pictures have one above this.
_MIN_BUILD = 1000


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """A llama-server. `version` is the number of its build; "" when it has none."""

    path: str
    version: str
    flags: frozenset[str]
    # The command's words, the path alone where empty, and its environment
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
    # Answers at a time
    slots: int
    # None: its own choice, the machine's real cores
    threads: int | None
    # Main memory that is free beside the model
    free_bytes: int
    # Least and most tokens of a picture; None: the model's own limits
    picture_tokens: tuple[int, int] | None = None


def read_help(path: str, said: str, version: str) -> LlamaServer | None:
    """Read the texts of --help and --version; None for a program that is no llama-server."""
    flags = frozenset(flag for line in _OPTION.findall(said) for flag in _FLAG.findall(line))
    if not flags.issuperset(_NEEDED):
        return None
    found = _VERSION.search(version)
    number = found[1] if found is not None and int(found[1]) > _MIN_BUILD else ""
    return LlamaServer(path, number, flags)


def picture_share(weights_bytes: int, threads: int) -> float:
    """Return the share of the configured visual tokens that a CPU reads within about 3 s."""
    return min(1.0, threads * _THREAD_BYTES / max(1, weights_bytes))


def serve_arguments(server: LlamaServer, serving: LlamaServing) -> tuple[str, ...]:
    """Return the command line: the flags of every version, and of the others those that this one has."""
    arguments = [
        *(server.words or (server.path,)),
        "--model",
        serving.weights,
        "--mmproj",
        serving.projector,
    ]
    arguments += ["--host", serving.host, "--port", str(serving.port)]
    # Each slot has its share of the context.
    arguments += ["--parallel", str(serving.slots)]
    arguments += ["--ctx-size", str(serving.context * serving.slots)]

    def flag(name: str, *values: str) -> bool:
        if name in server.flags:
            arguments.extend((name, *values))
        return name in server.flags

    flag("--alias", serving.name)
    if serving.threads is not None:
        flag("--threads", str(serving.threads))
    if serving.picture_tokens is not None:
        least, most = serving.picture_tokens
        flag("--image-min-tokens", str(least))
        flag("--image-max-tokens", str(most))
        if most > _BATCH_TOKENS:
            flag(
                "--ubatch-size",
                str(min(_MAX_BATCH_TOKENS, -(-most // _BATCH_TOKENS) * _BATCH_TOKENS)),
            )
    cache = min(int(max(0, serving.free_bytes) * _CACHE_SHARE), _MAX_CACHE_BYTES)
    flag("--cache-ram", str(cache // 1024**2))
    flag("--ctx-checkpoints", str(_CHECKPOINTS))
    # Older ones use the chat template of a model, and tell of their slots, only when they are asked to.
    flag("--jinja")
    flag("--slots")
    flag("--no-webui") or flag("--no-ui")
    flag("--offline")
    flag("--log-colors", "off")
    return tuple(arguments)


def install_hint(platform: str) -> str:
    """Return a sentence with the ways to get llama.cpp for a GPU on a system, by its name in sys.platform."""
    ways = {"win32": "winget install llama.cpp"}.get(
        platform,
        "brew install llama.cpp (Homebrew), nix profile install nixpkgs#llama-cpp (Nix), or a release of"
        " github.com/ggml-org/llama.cpp for this GPU",
    )
    return (
        f"This machine has a GPU, and llama.cpp's server for it ({PROGRAM}) was not found. Install it: {ways}. Where it is not in"
        " the PATH, name it in LLAMA_SERVER."
    )
