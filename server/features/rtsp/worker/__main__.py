"""Process of one fixed camera: read it until it fails, and send pictures on demand.

Frames (see `shared/processes/wire`) are sent in both directions. In: `camera` first (url, user, password, ca,
clear_password), then `want` (rate, pictures per second) and `taken` after each picture. Out:
`playing` (codec), `alive` (at, fps, decoded, dropped) four times a second while frames arrive, `frame`
(width, height, at, colorspace, color_range; the payload is planar 4:2:0), and at last `failed`
(trouble, detail). The camera's credentials are sent over the pipe, so that neither the command line nor
the environment contains them. Nothing is logged.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import asdict, fields

import av.logging

from server.core import core_dumps
from server.features.rtsp.worker.pictures import DecodedPicture, PictureDecoder, limit_memory
from server.features.rtsp.worker.rtsp import EncodedPicture, FailureReason, SourceFailed
from server.features.rtsp.worker.sources import SourceAddress, read
from server.shared.processes.wire import (
    Channel,
    WireError,
    WorkerMessage,
    claim_input,
    claim_output,
    exit_process,
)
from server.shared.processes.wire import read as read_message

# Seconds between two `alive` messages
ALIVE_SECONDS = 0.25
# Window for the frame rate, seconds
FPS_SECONDS = 3.0


class CameraWorker:
    """One connection: receives frames on the main thread, sends pictures on the decoding thread."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._pictures: PictureDecoder | None = None
        self._rate = 0.0
        # Times of the last frames
        self._arrivals: deque[float] = deque(maxlen=256)
        self._reported = 0.0

    def begin(self, codec: str) -> None:
        self._pictures = pictures = PictureDecoder(codec, self._send)
        pictures.set_rate(self._rate)
        threading.Thread(target=pictures.run, name="decode", daemon=True).start()
        self._channel.send("playing", codec=codec)

    def take(self, unit: EncodedPicture) -> None:
        pictures = self._pictures
        assert pictures is not None
        pictures.put(unit)
        if not unit.data:
            return
        self._arrivals.append(unit.at)
        if unit.at >= self._reported + ALIVE_SECONDS:
            self._reported = unit.at
            while self._arrivals[0] < unit.at - FPS_SECONDS:
                self._arrivals.popleft()
            span = unit.at - self._arrivals[0]
            self._channel.send(
                "alive",
                at=unit.at,
                fps=round((len(self._arrivals) - 1) / span, 1) if span > 0 else 0.0,
                decoded=pictures.decoded,
                dropped=pictures.dropped,
            )

    def _send(self, picture: DecodedPicture) -> None:
        fields = asdict(picture)
        self._channel.send("frame", fields.pop("data"), **fields)

    def on_message(self, message: WorkerMessage) -> None:
        """Handle a message of the server, on the listening thread."""
        if message.type == "want":
            self._rate = float(message.header["rate"])
            if self._pictures is not None:
                self._pictures.set_rate(self._rate)
        elif message.type == "taken" and self._pictures is not None:
            self._pictures.allow_next()


def main() -> None:
    # libav's log lines may contain an address.
    av.logging.set_level(None)
    channel, stream = claim_output(), claim_input()
    first = read_message(stream)
    if first is None or first.type != "camera":
        exit_process(0)
    address = SourceAddress(**{one.name: first.header[one.name] for one in fields(SourceAddress)})
    worker = CameraWorker(channel)

    def listen() -> None:
        try:
            while (message := read_message(stream)) is not None:
                worker.on_message(message)
        except (WireError, OSError):
            pass
        exit_process(0)

    threading.Thread(target=listen, name="listen", daemon=True).start()
    limit_memory()
    try:
        read(address, worker.begin, worker.take)
    except SourceFailed as error:
        failed = error
    except MemoryError:
        failed = SourceFailed(FailureReason.MEMORY)
    except Exception:  # noqa: BLE001
        # The error's text may contain text from the camera.
        failed = SourceFailed(FailureReason.CRASHED)
    else:
        failed = SourceFailed(FailureReason.ENDED)
    channel.send("failed", trouble=failed.trouble.value, detail=failed.detail)
    exit_process(0)


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    main()
