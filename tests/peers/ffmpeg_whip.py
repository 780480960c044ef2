"""A WHIP camera of FFmpeg's own muxer, the one inside PyAV.

Arguments: the WHIP address, the bearer token, files of its certificate and key. It prints one JSON
object a line: {"sending": true} once it is connected, {"failed": ...} when it cannot; it ends when
its input does.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from fractions import Fraction
from typing import Any

import av
import numpy as np

FPS = 10


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def main() -> None:
    url, token, certificate, key = sys.argv[1:]
    over = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    options = {"authorization": token, "cert_file": certificate, "key_file": key}
    try:
        output: Any = av.open(url, "w", format="whip", options=options)
        stream = output.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        stream.codec_context.gop_size = FPS
        stream.options = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"}
        output.start_encoding()
    except (OSError, av.FFmpegError) as error:
        say(failed=str(error))
        return
    say(sending=True)
    number = 0
    while not over.is_set():
        picture = np.full((540, 640), 20 + number * 8 % 200, np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts = number
        output.mux(stream.encode(frame))
        number += 1
        time.sleep(1 / FPS)
    output.close()


main()
