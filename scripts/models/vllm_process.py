"""vLLM as a child: started, its log passed on and read, waited for, ended with all that it started; it ends with us, too."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import IO
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from scripts.models.trouble import ModelError
from server.catalogue import vllm_log
from server.processes import keeper
from server.processes.process_group import ProcessGroup

# Lines of the log that are kept to explain a failure
KEPT = 400
# Longer lines are cut; no line that explains anything is. What comes without an end is not kept either.
LONGEST = 4000
_PIECE = 64 * 1024
TERM_SECONDS = 30.0
PROGRESS_SECONDS = 10.0
_DIRECT = build_opener(ProxyHandler({}))


def answers(url: str, seconds: float = 2.0) -> bool:
    """Whether GET `url` gives 200; the environment's proxies are not asked."""
    try:
        with _DIRECT.open(url, timeout=seconds) as reply:
            return bool(reply.status == 200)
    except (URLError, OSError, ValueError):
        return False


class VllmProcess:
    """One run, kept by `server.processes.keeper`. `hidden` is taken out of every line that is passed on. `cpu`: it is meant to
    compute on the CPU."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        hidden: str = "",
        *,
        cpu: bool = False,
    ) -> None:
        self._hidden = hidden
        self.cpu = cpu
        self.lines: deque[str] = deque(maxlen=KEPT)
        self.phase = "starting"
        # and should not be
        self.on_cpu = False
        # Told when the log has ended, which is when the process and its children have
        self._ended: queue.Queue[None] = queue.Queue()
        held, lifeline = os.pipe()
        # Our end of the keeper's pipe; None once it is closed, which asks vLLM to end
        self._lifeline: int | None = lifeline
        try:
            process = subprocess.Popen(
                keeper.command(TERM_SECONDS, arguments),
                env=dict(environment),
                stdin=held,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # A session of its own: Ctrl+C reaches us alone, and all of it can be ended together.
                start_new_session=True,
            )
        except OSError as error:
            self._close_lifeline()
            raise ModelError(f"{arguments[0]} cannot be started ({error.strerror}).") from None
        finally:
            os.close(held)
        self._group = ProcessGroup(process)
        self._reader = threading.Thread(
            target=self._read, args=(process.stdout,), name="vllm-log", daemon=True
        )
        self._reader.start()

    def _read(self, log: IO[bytes]) -> None:
        begins = True
        with log:
            while raw := log.readline(_PIECE):
                whole, begins = begins, raw.endswith(b"\n")
                if not whole:
                    # More of a line that was cut
                    continue
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                if self._hidden:
                    line = line.replace(self._hidden, "********")
                line = line[:LONGEST]
                self.lines.append(line)
                self.phase = vllm_log.phase(line) or self.phase
                if not self.cpu:
                    self.on_cpu = self.on_cpu or bool(vllm_log.ON_CPU.search(line))
                # Nobody to read it is no reason for vLLM to stand still.
                with contextlib.suppress(OSError, ValueError):
                    print(line, flush=True)
        self._ended.put(None)

    @property
    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return self._group.reap() if self._group.wait(0) else None

    def until_healthy(self, url: str, timeout: float, told: Callable[[str], None]) -> float | None:
        """Seconds until `url` answered, `timeout` 0 being no limit; None when it ended or runs on the CPU.

        Raises ModelError when the time is up.
        """
        began = time.monotonic()
        next_word = began + PROGRESS_SECONDS
        while True:
            if self.on_cpu:
                return None
            if self.status is not None:
                # What it said last
                self._reader.join(5)
                return None
            if answers(url):
                return time.monotonic() - began
            now = time.monotonic()
            if timeout and now - began > timeout:
                raise ModelError(
                    f"vLLM did not answer within {timeout:g} s (last: {self.phase}). Give it longer with --timeout, or"
                    " look at its log above."
                )
            if now >= next_word:
                told(f"Waiting for vLLM, {now - began:.0f} s: {self.phase}.")
                next_word = now + PROGRESS_SECONDS
            with contextlib.suppress(queue.Empty):
                self._ended.get(timeout=min(1.0, 0.05 + (now - began) / 10))

    def wait(self) -> int:
        """Its exit status, when it ends."""
        self._group.wait()
        status = self._group.reap()
        self._close_lifeline()
        self._reader.join(5)
        return status

    def stop(self) -> None:
        """Asks it to end, insists after TERM_SECONDS, and ends what it started. Safe to call twice."""
        self._close_lifeline()
        # With answers under way it may hang for good.
        self._group.wait(TERM_SECONDS + 2 * keeper.KILL_SECONDS)
        # Nothing is there any more, where the keeper could do its work.
        self._group.reap()
        self._reader.join(5)
        sys.stdout.flush()

    def _close_lifeline(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
