"""Stopping a model in the middle of its work."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any


class Stopped(Exception):
    """The work was cancelled. Outside the tree of errors: it stays in the worker's process."""


class Stop:
    """Says whether the work now going on is to end."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def heed(self, event: threading.Event) -> None:
        """Take the event of the work that begins now."""
        self._event = event

    def check(self) -> None:
        """Raises Stopped once it is set."""
        if self._event.is_set():
            raise Stopped


def watch(modules: Iterable[Any], stop: Stop) -> int:
    """Have each block of these torch modules check `stop` before its work; return the number of
    blocks.

    A block is a child of a `ModuleList`: a layer of a transformer, a stage of an autoencoder. So a
    cancelled step ends within one layer, not when the step is over.
    """
    import torch

    def check(*_: object) -> None:
        stop.check()

    blocks = {
        id(block): block
        for module in modules
        if isinstance(module, torch.nn.Module)
        for parent in module.modules()
        if isinstance(parent, torch.nn.ModuleList)
        for block in parent
    }
    for block in blocks.values():
        block.register_forward_pre_hook(check)
    return len(blocks)
