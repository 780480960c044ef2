"""The parts of the built-in engine that take seconds to load, once for each file of tests."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from server.features.builtin.reader import TextReader

# Results of networks that are kept: one takes up to 4 MB.
KEPT = 64


@pytest.fixture(scope="module")
def heavy() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, "heavy") as pool:
        # Its thread is the module's, not the first test's.
        pool.submit(int).result()
        yield pool


@pytest.fixture(scope="module")
def reader() -> TextReader:
    return TextReader()


@pytest.fixture(scope="module")
def calculated_once() -> Iterator[None]:
    """Each network calculates once for the same input. All that is done with the result is done anew.

    For tests that ask many questions about few pictures.
    """
    run = InferenceSession.run
    kept: OrderedDict[tuple[Any, ...], list[NDArray[Any]]] = OrderedDict()

    def once(
        network: InferenceSession, names: Sequence[str] | None, given: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[Any]]:
        key = (network, *(names or ()), *(_digest(name, one) for name, one in given.items()))
        if key not in kept:
            kept[key] = run(network, names, given)
            if len(kept) > KEPT:
                kept.popitem(last=False)
        kept.move_to_end(key)
        return [one.copy() for one in kept[key]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InferenceSession, "run", once)
        yield


def _digest(name: str, values: NDArray[Any]) -> tuple[str, tuple[int, ...], bytes]:
    return name, values.shape, hashlib.sha1(np.ascontiguousarray(values).data).digest()
