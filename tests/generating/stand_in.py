"""A worker without a model: `python -m tests.generating.stand_in MANNER`, with the messages of
`server.features.generation.worker`.

It makes what its manner says: "video", "first" (from a first frame), "sound", "endless" (steps
until it is cancelled), "deaf" (the same, and does not hear that it is), "talks" (thousands of steps at once before its video), "odd" (frames of odd sides),
"huge" (too many frames), "silent" (no sound), "fails", "dies" (by SIGKILL after a step),
"unloadable", "dies-early".
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from typing import Any, BinaryIO

from server.shared.processes import wire

OUT = sys.stdout.buffer
RULES = {
    "video": {"output": "video", "takes": ["negative", "guidance", "steps"]},
    "first": {"output": "video", "takes": ["steps"], "first_frame": "must"},
    "sound": {"output": "sound", "takes": ["steps", "seconds"], "sample_rate": 16_000},
    "silent": {"output": "sound", "takes": []},
}


def send(type: str, payload: bytes = b"", **header: Any) -> None:
    OUT.write(wire.encode({"type": type, **header}, payload))
    OUT.flush()


def waits(stream: BinaryIO, seconds: float) -> bool:
    return bool(select.select([stream], [], [], seconds)[0])


def endless(id: int, deaf: bool, stream: BinaryIO) -> None:
    for step in range(1, 10**6):
        send("step", id=id, step=step, steps=0)
        if waits(stream, 0.01):
            message = wire.read(stream)
            if message is None:
                sys.exit(0)
            if message.type == "cancel" and not deaf:
                send("end", id=id, step=step)
                return


def video(message: wire.WorkerMessage, stream: BinaryIO, *, odd: bool = False) -> None:
    header = message.header
    id, count = header["id"], header["frames"]
    width, height = header["width"] - int(odd), header["height"]
    for step in range(1, header["steps"] + 1):
        send("step", id=id, step=step, steps=header["steps"])
    untaken = 0
    for index in range(count):
        # Darker and darker; the first one as it was given.
        pixels = message.payload if index == 0 and message.payload else None
        pixels = pixels or bytes([250 - index * 5 % 250]) * (width * height * 3)
        send("frame", pixels, id=id, index=index, width=width, height=height)
        untaken += 1
        while untaken == 4:
            taken = wire.read(stream)
            if taken is None:
                sys.exit(0)
            if taken.type == "cancel":
                send("end", id=id, step=0)
                return
            untaken -= taken.type == "took"
    send("end", id=id, step=header["steps"])


def sound(message: wire.WorkerMessage) -> None:
    id, seconds = message.header["id"], message.header.get("seconds", 1.0)
    send("step", id=id, step=1, steps=1)
    send("sound", bytes(2) * int(16_000 * seconds), id=id, rate=16_000, channels=1)
    send("end", id=id, step=1)


def main(manner: str) -> None:
    stream = os.fdopen(os.dup(0), "rb", buffering=0)
    print("a line of its log", file=sys.stderr, flush=True)
    send("loading", phase="weights")
    if manner == "unloadable":
        send("failed", code="no_memory", message="There was not enough memory to load the model.")
        sys.exit(1)
    if manner == "dies-early":
        sys.exit(7)
    rules = RULES.get(manner, RULES["video"])
    send("ready", backend="stand-in", rules=rules, seconds=0.0)
    while (message := wire.read(stream)) is not None:
        if message.type != "generate":
            continue
        id = message.header["id"]
        print(f"asked for {message.header['prompt']}", file=sys.stderr, flush=True)
        # The log is another pipe.
        time.sleep(0.02)
        if manner in ("endless", "deaf"):
            endless(id, manner != "endless", stream)
        elif manner == "fails":
            send("error", id=id, code="no_memory", message="There was not enough memory for this.")
        elif manner == "dies":
            send("step", id=id, step=1, steps=2)
            os.kill(os.getpid(), signal.SIGKILL)
        elif manner == "silent":
            send("end", id=id, step=0)
        elif manner == "sound":
            sound(message)
        else:
            if manner == "huge":
                message.header["frames"] = 1000
            if manner == "talks":
                steps = ({"type": "step", "id": id, "step": at, "steps": 0} for at in range(5000))
                OUT.write(b"".join(map(wire.encode, steps)))
            video(message, stream, odd=manner == "odd")
        time.sleep(0.05)
        print(f"it was {message.header['prompt']}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
