"""Fixtures that several test files share: models that take seconds to make."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests.real_model.server import build, build_random, missing

# The same examples in each run, and as much time for each as a busy machine takes
settings.register_profile("qwen-camera", deadline=None, derandomize=True)
settings.load_profile("qwen-camera")

# Of the libraries that start as many threads as there are processors. Other tests keep those busy, and
# threads that wait for one another spin: a comparison of speech took five times its time.
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")

pytest_plugins = [
    "tests.support.left_behind",
    "tests.support.memory",
    "tests.support.order",
    "tests.support.parts",
    "pytester",
]


def pytest_configure() -> None:
    """Let Ctrl+C end the programs that tests start, and let them calculate in one thread.

    A shell without job control starts a program in the background (`&`) with SIGINT ignored, and
    every child inherits that.
    """
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> None:
    """Give tests with a page its fixtures, wherever they are."""
    if file_path.name.startswith("test_page_"):
        parent.config.pluginmanager.import_plugin("tests.browser.fixtures")


def _needed() -> None:
    if lacking := missing():
        assert "REAL_MODEL_REQUIRED" not in os.environ, lacking
        pytest.skip(lacking)


def _made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Path]) -> Path:
    """Return what `make` gives for a folder of this name; of a run's workers the first makes it."""
    _needed()
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "done"
        if not done.exists():
            done.write_text(str(make(folder)), encoding="utf-8")
        return Path(done.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny Qwen2.5-VL that names colours (see `tests.real_model.build`).

    Nobody changes it.
    """
    return _made_once(tmp_path_factory, "model", build)


@pytest.fixture(scope="session")
def random_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny models of other makes, whose words mean nothing (see
    `tests.real_model.random_models`), and three that think.
    """
    return _made_once(tmp_path_factory, "random", build_random)
