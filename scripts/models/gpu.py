"""The GPUs that vLLM will find, or the sentence that there is none."""

from __future__ import annotations

from scripts.models.trouble import ModelError
from server.features.hosting.gpu import Gpu, GpuError, GpuReader


def gpus() -> tuple[list[Gpu], bool]:
    """Return this machine's GPUs, at least one, and True where they are AMD's.

    Raises ModelError with the reason for none.
    """
    reader = GpuReader()
    reason = reader.why_none
    if not reason:
        try:
            if found := reader.read():
                return found, reader.source != "NVIDIA"
            reason = f"No GPU was found ({reader.source} lists none)."
        except GpuError as error:
            reason = f"The GPU cannot be read: {error}."
    raise ModelError(
        f"{reason} vLLM would run on the CPU, where an answer of a large model takes minutes, so it is not started. Install"
        " the GPU's driver, give this user access to it (AMD: the groups render and video; in a container also /dev/kfd"
        " and /dev/dri), and look with rocm-smi or nvidia-smi. A small model can be served with --cpu by vLLM's build for"
        " the CPU."
    )
