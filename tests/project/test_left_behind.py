"""A test that leaves something behind fails, and the message names the thing."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TESTS = '''
import asyncio, os, socket, threading, time

import pytest

kept = []
end = threading.Event()


async def forever():
    await asyncio.sleep(3600)


def test_nothing():
    """Whoever gives all back passes."""
    thread = threading.Thread(target=time.sleep, args=(0.01,))
    thread.start()
    with open(__file__), socket.socket():
        pass


async def test_a_task_that_ends():
    """Soon is soon enough."""
    kept.append(asyncio.create_task(asyncio.sleep(0.01)))


def test_a_thread():
    threading.Thread(target=end.wait, name="stays", daemon=True).start()


def test_a_file():
    kept.append(open(__file__))


def test_a_socket():
    kept.append(socket.socket())


async def test_a_task():
    kept.append(asyncio.create_task(forever(), name="goes-on"))


def test_a_task_of_a_loop_of_its_own():
    async def main():
        kept.append(asyncio.create_task(forever(), name="goes-on-too"))

    asyncio.run(main())


async def test_a_coroutine_that_nobody_awaits():
    forever()


def test_a_failure():
    """The log says once what is wrong."""
    kept.append(socket.socket())
    raise ValueError

'''
SHARED = '''
import asyncio, socket

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")
kept = []


@pytest.fixture(scope="module")
def lasting():
    kept.append(socket.socket())


async def test_a_shared_loop(lasting):
    """Nothing is left before the module's end."""
    kept.append(asyncio.create_task(asyncio.sleep(3600), name="of-the-module"))


async def test_the_last(lasting):
    """The module's end is this one's."""
'''
# The report at the end of each test.
SAID = {
    "test_a_thread": "thread stays",
    "test_a_file": "descriptor * /*test_leaves.py",
    "test_a_socket": "descriptor * socket:*",
    "test_a_task": "task goes-on, *forever*",
    "test_a_task_of_a_loop_of_its_own": "task goes-on-too, *forever*",
    "test_the_last": "descriptor * socket:*\ntask of-the-module, *sleep*",
}


@pytest.mark.slow
def test_what_a_test_leaves_fails_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread, a file, a socket, a task, a coroutine; not what ends, and a failure is reported once."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest("from tests.support import left_behind\nleft_behind.PATIENCE = 0.2\n")
    pytester.makepyfile(test_leaves=TESTS, test_shared=SHARED)
    done = pytester.runpytest_subprocess(
        *("-p", "tests.support.left_behind", "-o", "asyncio_mode=auto", "-W", "error", "-rA"),
        *("-o", "asyncio_default_fixture_loop_scope=function"),
    )
    done.assert_outcomes(passed=9, failed=2, errors=len(SAID))
    for test, said in SAID.items():
        lines = [f"*{line}*" for line in said.splitlines()]
        done.stdout.fnmatch_lines([f"*ERROR at teardown of {test} *", *lines])
    for test in ("test_a_failure", "test_a_coroutine_that_nobody_awaits"):
        done.stdout.fnmatch_lines([f"FAILED *::{test} *"])
