"""The errors of a question that gets no frame."""

from __future__ import annotations

from server.core.errors import CameraFrozen, CameraStalled, NoCamera
from server.core.frames import CameraState


def no_camera() -> NoCamera:
    return NoCamera(
        "No camera is connected to this session. Press Start Camera (or send an offer to "
        "/api/webrtc/offer), then ask again."
    )


def no_frame(state: CameraState, refusal: str, seconds: float) -> CameraStalled | CameraFrozen:
    """Say why no frame came within `seconds`. `refusal`: "" or why pictures are refused (`Feed`)."""
    if state is CameraState.FROZEN:
        return CameraFrozen(
            "The camera is connected but its picture stands still: it delivers no new frames. Check that "
            "no other program uses it and that it is not covered or paused, or stop and start it."
        )
    if refusal == "format":
        return CameraStalled(
            "The camera sends H.264 that this server does not decode: only 4:2:0 with 8 bits, without slice groups, "
            "slices out of order and data partitions. Choose constrained baseline, main or high, or VP8, in the program "
            "that sends, and ask again."
        )
    if refusal == "size":
        return CameraStalled(
            "The camera's pictures are larger than this server decodes: at most 4096 pixels a side, and of H.264 at that "
            "size no more than two reference pictures. Send smaller ones, and ask again."
        )
    if refusal:
        return CameraStalled(
            "The camera's pictures are too large for the memory that is free now; up to 1920×1080 there always is room. "
            "Send smaller ones, or ask again when other cameras have left."
        )
    return CameraStalled(
        f"No new picture came from the camera within {seconds:g} s, so this was not answered from an old "
        "one. Check the connection and ask again."
    )
