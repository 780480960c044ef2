"""Stands in for an engine's program: a small server that shows the process-level behaviour that its
argument names.

Run as a program: `python -S engine_stand_in.py BEHAVIOUR [PORT]`. It never sees a picture; what
answers is a fixed text.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "stand-in"
CARD = {"id": MODEL, "max_model_len": 4096, "owned_by": "vllm"}
# Words of a long answer, and seconds between two
WORDS, PAUSE = 200, 0.05


def say(text: str, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()


def sleeper(*, apart: bool) -> int:
    """A child that would sleep for a minute, in our group or in one of its own."""
    return subprocess.Popen(["sleep", "60"], start_new_session=apart).pid


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Words sent so far, over all answers
    sent = 0
    # Hangs up on whoever asks
    mute = False
    # As vLLM 0.32.0 does whose EngineCore was killed: an error inside the answer, then models are
    # listed on, at /health stands 503, and after some seconds it ends
    loses_worker = lost_worker = False
    words = WORDS
    # Takes nobody's key
    locked = False

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""

    def _json(self, body: object, status: int = 200) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def do_GET(self) -> None:
        if self.mute:
            self.close_connection = True
            return
        if self.path == "/health":
            self._json({}, 503 if self.lost_worker else 200)
            return
        if self.path == "/readiness":
            # vLLM has none; its router has.
            self._json({"detail": "Not Found"}, 404)
            return
        key = os.environ.get("VLLM_API_KEY")
        if self.locked or (key and self.headers.get("Authorization") != f"Bearer {key}"):
            self._json({"error": "no"}, 401)
        elif self.path == "/sent":
            self._json({"sent": Handler.sent, "pid": os.getpid()})
        else:
            self._json({"object": "list", "data": [CARD]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked.get("stream") is False:
            # The test for pictures asks for one word.
            message = {"role": "assistant", "content": "0"}
            self._json({"choices": [{"index": 0, "message": message, "finish_reason": "length"}]})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            for number in range(self.words):
                if self.loses_worker and number == 3:
                    Handler.lost_worker = True
                    self._event(
                        {"error": {"message": "EngineCore encountered an issue.", "code": 500}}
                    )
                    say(
                        "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue."
                    )
                    threading.Timer(2.0, os._exit, (0,)).start()
                    return
                choice = {"index": 0, "delta": {"content": f"{number} "}, "finish_reason": None}
                self._event({"choices": [choice]})
                Handler.sent += 1
                time.sleep(PAUSE)
            self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            self.wfile.write(b"data: [DONE]\n\n")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _event(self, body: object) -> None:
        self.wfile.write(f"data: {json.dumps(body)}\n\n".encode())
        self.wfile.flush()


def serve(port: int, *, mute: bool = False, host: str = "127.0.0.1") -> None:
    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        say(f"ERROR: [Errno {error.errno}] error while attempting to bind: address already in use")
        sys.exit(1)
    server.daemon_threads = True
    if mute:
        threading.Timer(0.4, setattr, (Handler, "mute", True)).start()
    server.serve_forever(poll_interval=0.05)


def main() -> None:
    behaviour = sys.argv[1]
    port = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2].isdigit() else 0
    if behaviour in ("serve", "stubborn", "dies", "slow"):
        for share in (0, 50, 100):
            say(f"Loading weights: {share:3}%|###   | {share}/100 [00:00<00:00, 9it/s]", end="\r")
        say("")
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        say(f"children {sleeper(apart=False)} {sleeper(apart=True)}")
    elif behaviour == "dies":
        threading.Timer(0.5, lambda: os._exit(3)).start()
    elif behaviour == "slow":
        time.sleep(60)
    elif behaviour == "oom":
        say("torch.OutOfMemoryError: HIP out of memory. Tried to allocate 270.00 MiB.")
        sys.exit(1)
    elif behaviour == "raises":
        say("(Worker pid=7) ERROR [executor.py:9] RuntimeError: what nobody has seen before")
        sys.exit(1)
    elif behaviour == "cpu":
        say("INFO 11-20 12:00:00 [__init__.py:243] Automatically detected platform cpu.")
        time.sleep(60)
    elif behaviour == "leaves":
        # Ends at once, and would leave two behind that hold its log open.
        say(f"children {sleeper(apart=False)} {sleeper(apart=True)}")
        sys.exit(7)
    elif behaviour == "floods":
        line = "x" * 99 + "\n"
        for _ in range(30):
            sys.stdout.write(line * 1000)
        say("the last line")
        sys.exit(0)
    elif behaviour == "brief":
        Handler.words = 20
    elif behaviour == "locked":
        Handler.locked = True
    elif behaviour == "loses_worker":
        Handler.loses_worker = True
    elif behaviour == "echo":
        for text in sys.argv[2:]:
            say(text)
        say(json.dumps(sorted(os.environ)))
        sys.exit(0)
    serve(port, mute=behaviour == "mute")


if __name__ == "__main__":
    main()
