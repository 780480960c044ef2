"""Read the help of this machine's vLLM in the background, because that takes up to minutes."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass

from server.catalogue import vllm_log
from server.catalogue.vllm import Vllm, VllmError
from server.hosting import vllm_help

# A failed reading is repeated after this time.
_AGAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Found:
    """The result.

    `vllm` None: it does not run, with the reason in `trouble`, or the reading is `pending`.
    """

    vllm: Vllm | None = None
    trouble: str = ""
    pending: bool = False


class _Question:
    def __init__(self, about: Hashable) -> None:
        self.about = about
        self.answered = threading.Event()
        self.found = Found(pending=True)
        self.at = 0.0

    def ask(self, path: str) -> None:
        try:
            found = Found(vllm_help.ask(path))
        except VllmError as error:
            runs = vllm_log.ON_CPU.search(error.output) is None
            found = Found(
                trouble=error.message if runs else f"{path} does not run. {vllm_log.NO_GPU}"
            )
        except Exception as error:  # noqa: BLE001
            # Any error has to reach the waiting callers.
            found = Found(trouble=f"{path} cannot be asked what it takes ({type(error).__name__}).")
        self.found, self.at = found, time.monotonic()
        self.answered.set()

    def stands(self) -> bool:
        """True when the result is still valid, or pending."""
        failed = self.answered.is_set() and self.found.vllm is None
        return not failed or time.monotonic() - self.at < _AGAIN_SECONDS


class VllmProbe:
    """Reads one program at a time, in a thread of its own. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._question: _Question | None = None

    def probe(self, path: str, changed: Hashable, patience: float | None = None) -> Found:
        """Return the result for the program at `path`; read again when `changed` differs.

        Waits at most `patience` seconds; None: until it is known.
        """
        with self._lock:
            question = self._question
            if question is None or question.about != (path, changed) or not question.stands():
                question = self._question = _Question((path, changed))
                ask = threading.Thread(target=question.ask, args=(path,), name="vllm", daemon=True)
                ask.start()
        question.answered.wait(patience)
        return question.found
