"""Build the command line of a model's container: its image, its GPUs, and the folder to mount."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from server.features.hosting.catalogue.choice import Choice, CommandError, shown
from server.features.hosting.catalogue.machine import Host, Vendor

LOOPBACK = "127.0.0.1"
MOUNTED_AT = "/model"
# Within the container
PORT = 8000
# Images of the vLLM project, each pinned to the newest release whose tag was seen, by its digest where it is known.
IMAGES = {
    Vendor.NVIDIA: "docker.io/vllm/vllm-openai:v0.32.0",
    Vendor.AMD: "docker.io/vllm/vllm-openai-rocm:v0.31.0"
    "@sha256:749f6f3f944f12af49966ac523c1f8573e4b229594b541954bd5f879b4496b1f",
}


def words(
    choice: Choice, folder: Path, host: Host, name: str, variables: Iterable[str]
) -> tuple[tuple[str, ...], str]:
    """Return the arguments up to `serve`, and the model's path in the container.

    Raises CommandError. `variables`: names of the environment variables that are passed to the
    container.
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
        # vLLM's processes share pictures and weights in shared memory; the default of 64 MiB is too
        # small.
        *("--ipc=private", "--shm-size=8g"),
        *_no_swap(host.ram_total_bytes),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        # Otherwise SELinux hides the folder, or requires relabelling it.
        *("--security-opt", "label=disable"),
        *("--ulimit", "core=0", "--log-driver", "none"),
        # A proxy's URL may contain a password, and the container downloads nothing.
        *(("--http-proxy=false",) if podman else ()),
        # Removal waits for this time; the server has already been asked to stop.
        *(("--stop-timeout", "1") if podman else ()),
        *("--mount", f"type=bind,src={mounted},dst={MOUNTED_AT},readonly"),
        *("--publish", f"{LOOPBACK}:{choice.port}:{PORT}"),
        # Names only, so that the values do not appear in the process list.
        *(word for key in variables for word in ("--env", key)),
        *("--entrypoint", "vllm"),
        choice.image or IMAGES[host.gpus[0].vendor],
        "serve",
    ), inside


def _no_swap(ram_bytes: int) -> tuple[str, ...]:
    """Return flags that keep pictures and questions out of swap; none where the machine's memory is
    unknown.

    Memory and swap together may be as large as memory alone, which leaves no swap. The bound itself
    is the whole machine.
    """
    return (f"--memory={ram_bytes}b", f"--memory-swap={ram_bytes}b") if ram_bytes else ()


def mount(folder: Path) -> tuple[Path, str]:
    """Return the folder to mount at `MOUNTED_AT`, and the model's path in the container.

    Raises CommandError. The folder is the model's own, or for a hub's cache the one that also
    contains the files its links lead to.
    """
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
    """Return the name of a file in `folder` whose link leads out of `seen`; "" without one."""
    within = seen.resolve()
    try:
        links = [path for path in folder.rglob("*") if path.is_symlink()]
        return next((one.name for one in links if not one.resolve().is_relative_to(within)), "")
    except (OSError, RuntimeError):
        # Missing, unreadable, or a link to itself: loading the model reports it.
        return ""
