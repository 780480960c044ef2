"""How a container is started: its image, the GPUs that it gets, what it sees of this machine."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from server.catalogue.choice import Choice, CommandError, shown
from server.catalogue.machine import Host, Vendor

LOOPBACK = "127.0.0.1"
MOUNTED_AT = "/model"
# Within the container
PORT = 8000
# Published by the vLLM project, each of one release, so that what was tried is what runs: the newest whose tag was seen.
IMAGES = {
    Vendor.NVIDIA: "docker.io/vllm/vllm-openai:v0.32.0",
    Vendor.AMD: "docker.io/vllm/vllm-openai-rocm:v0.31.0",
}
# What vLLM 0.30 and newer all list, for images whose help nobody has asked.
IMAGE_FLAGS = frozenset(
    {
        *("--served-model-name", "--host", "--port", "--dtype", "--gpu-memory-utilization"),
        *("--max-model-len", "--limit-mm-per-prompt", "--mm-processor-kwargs"),
        *("--tensor-parallel-size", "--trust-remote-code", "--enable-prefix-caching"),
        *("--max-num-seqs", "--no-enable-log-requests", "--allowed-media-domains"),
        "--enable-prompt-tokens-details",
    }
)


def words(
    choice: Choice, folder: Path, host: Host, name: str, variables: Iterable[str]
) -> tuple[tuple[str, ...], str]:
    """The words up to `serve`, and where the model is in the container. Raises CommandError.

    `variables`: names of environment variables that the container gets with their values.
    """
    program = host.container_program or ""
    podman = program == host.podman
    mounted, inside = mount(folder)
    amd = host.gpus[0].vendor is Vendor.AMD
    if amd:
        groups = "keep-groups" if podman else "video"
        gpu: tuple[str, ...] = (
            *("--device", "/dev/kfd", "--device", "/dev/dri"),
            *("--group-add", groups),
        )
    else:
        gpu = ("--device", "nvidia.com/gpu=all") if podman else ("--gpus", "all")
    return (
        *(program, "run", "--rm", "--name", name),
        *gpu,
        # Its processes share pictures and weights through memory of its own; a container's 64 MiB are too few.
        *("--ipc=private", "--shm-size=8g"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        # SELinux would else hide the folder, or have it relabelled.
        *("--security-opt", "label=disable"),
        *("--ulimit", "core=0", "--log-driver", "none"),
        # A proxy's address may hold a password; what is fetched is fetched before.
        *(("--http-proxy=false",) if podman else ()),
        # Removing it waits for so long; by then it was asked to end and had its time.
        *(("--stop-timeout", "1") if podman else ()),
        *("--mount", f"type=bind,src={mounted},dst={MOUNTED_AT},readonly"),
        *("--publish", f"{LOOPBACK}:{choice.port}:{PORT}"),
        # By name alone: the values stay out of the list of processes.
        *(word for key in variables for word in ("--env", key)),
        *("--entrypoint", "vllm"),
        choice.image or IMAGES[host.gpus[0].vendor],
        "serve",
    ), inside


def mount(folder: Path) -> tuple[Path, str]:
    """What of this machine a container has to see, and where the model is in it. Raises CommandError."""
    inside, seen = MOUNTED_AT, folder
    if outside := _leads_out(folder, folder):
        # The hub's cache: snapshots/COMMIT holds links to ../../blobs.
        seen = folder.parents[1] if folder.parent.name == "snapshots" else folder
        inside = f"{MOUNTED_AT}/{folder.relative_to(seen)}"
        if outside := _leads_out(folder, seen):
            raise CommandError(
                f"{shown(outside)} in the model's folder is a link that leads out of it, and would lead nowhere in a container."
                f" Make a copy without links (cp -rL {shlex.quote(str(folder))} COPY), or choose another way."
            )
    if any(char in str(seen) for char in ',"\n'):
        raise CommandError(
            f"The folder {shown(str(seen))} cannot be mounted: its path has a comma, a quote or a line's end. Rename it."
        )
    return seen, inside


def _leads_out(folder: Path, seen: Path) -> str:
    """The name of a file in `folder` whose link leads out of `seen`; empty where there is none."""
    within = seen.resolve()
    try:
        links = [path for path in folder.rglob("*") if path.is_symlink()]
        return next((one.name for one in links if not one.resolve().is_relative_to(within)), "")
    except (OSError, RuntimeError):
        # Not there, not to be read, a link to itself: whoever loads the model says so.
        return ""
