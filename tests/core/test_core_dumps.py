"""No process of ours leaves its memory in a core dump or open to its user: true crashes."""

from __future__ import annotations

import ast
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.shared.processes import reaper

ROOT = Path(__file__).resolve().parents[2]
SECRET = "k3JHvT8s0QmXr5WbZp1LdYc7NfGa9UeR2i"
SLEEP = [sys.executable, "-I", "-S", "-c", "import time; print('up', flush=True); time.sleep(60)"]


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="core(5) and /proc are Linux's")


def unlimited() -> None:
    """Allow core dumps as far as this user may."""
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))


@contextmanager
def started(words: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """With no limit to its core dumps, which would lie in `folder` if files; then it is gone."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "JWT_SECRET_KEY": SECRET,
        "ENGINE": "builtin",
        "HOST": "127.0.0.1",
        "PORT": "0",
    }
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=unlimited,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def crash(process: subprocess.Popen[bytes], number: signal.Signals, pid: int = 0) -> int:
    """Send a signal to a process and return the code of its end.

    CLD_DUMPED: a file or a program kept its memory; CLD_KILLED: nothing did.
    """
    os.kill(pid or process.pid, number)
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    return ended.si_code


def crashed_by_itself(words: Sequence[str], folder: Path) -> bool:
    """Return whether a program that crashes at its start leaves no core dump."""
    with started(words, folder) as process:
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        return (ended.si_status, ended.si_code) == (signal.SIGSEGV, os.CLD_KILLED)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for core dumps. Skips where a process without protection leaves none either."""
    for name in ("control", "model_to_crash"):
        (tmp_path / name).mkdir()
    with started(SLEEP, tmp_path / "control") as process:
        assert process.stdout is not None
        process.stdout.readline()
        if crash(process, signal.SIGABRT) != os.CLD_DUMPED:
            pytest.skip("this machine keeps no core dumps")
    return tmp_path / "model_to_crash"


def shut(pid: int) -> bool:
    """Return True when the process forbids its dumps: a limit of 0, and no memory in a dump."""
    folder = Path(f"/proc/{pid}")
    limit = next(
        line for line in (folder / "limits").read_text().splitlines() if "core file" in line
    )
    kept = int((folder / "coredump_filter").read_text(), 16)
    return limit.split()[4:6] == ["0", "0"] and kept == 0


@pytest.mark.slow
def test_a_server_that_crashes_leaves_no_core_dump(folder: Path) -> None:
    """While it serves, with the system's limit lifted."""
    with started([sys.executable, "-m", "server.main"], folder) as process:
        assert process.stdout is not None
        while b"http://" not in process.stdout.readline():
            assert process.poll() is None
        assert crash(process, signal.SIGSEGV) == os.CLD_KILLED
    assert list(folder.iterdir()) == []


def test_a_server_that_crashes_while_it_starts_leaves_no_core_dump(folder: Path) -> None:
    """A library that this processor cannot run crashes while loaded: secrets are there by then."""
    # The first of the libraries that the server asks for
    (folder / "fastapi.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)\n")
    assert crashed_by_itself([sys.executable, "-m", "server.main"], folder)
    assert {path.name for path in folder.iterdir()} <= {"fastapi.py", "__pycache__"}


def test_none_is_left_where_the_limit_does_not_count(folder: Path) -> None:
    """The kernel ignores the limit where dumps go to a program (core_pattern)."""
    script = (
        "import resource; resource.setrlimit = lambda *_: None; from server.core import core_dumps;"
        "core_dumps.forbid_core_dumps(); print('up', flush=True); input()"
    )
    with started([sys.executable, "-c", script], folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert crash(process, signal.SIGSEGV) == os.CLD_KILLED
    assert list(folder.iterdir()) == []


def test_nobody_else_of_its_user_reads_its_memory(tmp_path: Path) -> None:
    """Nor its environment. Root may: there it becomes another user's process."""
    script = (
        "import ctypes, os, sys\n"
        "from server.core import core_dumps\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        # A change of the user's number has forbidden it.
        "ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)\n"
        "if sys.argv[1:]: core_dumps.forbid_core_dumps()\n"
        "pid = os.getppid() if os.fork() == 0 else 0\n"
        "if not pid: os.wait(); sys.exit()\n"
        "for name in ('environ', 'smaps', 'auxv'):\n"
        "    try: open(f'/proc/{pid}/{name}', 'rb').read(1); print('read')\n"
        "    except PermissionError: print('refused')\n"
    )
    for arguments, answer in (([], "read"), (["forbid"], "refused")):
        with started([sys.executable, "-c", script, *arguments], tmp_path) as process:
            said, _ = process.communicate()
        assert said.decode().split() == [answer] * 3, said


def test_each_protection_stands_by_itself(tmp_path: Path) -> None:
    """The limit and the filter, which children inherit, and that nobody may read the process."""
    script = (
        "import ctypes, subprocess\n"
        "from server.core import core_dumps\n"
        "core_dumps.forbid_core_dumps()\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)\n"
        "subprocess.run(['cat', '/proc/self/coredump_filter', '/proc/self/limits'], check=True)\n"
    )
    with started([sys.executable, "-c", script], tmp_path) as process:
        said, _ = process.communicate()
    dumpable, kept, *limits = said.decode().splitlines()
    limit = next(line for line in limits if "core file" in line)
    assert (dumpable, int(kept, 16), limit.split()[4:6]) == ("0", 0, ["0", "0"])


# Crashes as soon as the program opens a file of its model.
CRASHING = """
import os, runpy, signal, sys
def crash(event, arguments):
    if event == "open" and "model_to_crash" in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGSEGV)
sys.addaudithook(crash)
sys.argv[:1] = []
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    "module", ["server.features.local_models.worker", "server.features.generation.worker"]
)
def test_workers_leave_none(folder: Path, module: str) -> None:
    """Nor do the processes that a model runs in: pictures and chats are in them."""
    for name in ("config.json", "model_index.json"):
        (folder / name).write_text("{}")
    words = [sys.executable, "-c", CRASHING, module, "--model", str(folder)]
    assert crashed_by_itself(words, folder)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model_index.json"}


def test_nor_does_what_keeps_an_engine_or_the_engine_itself(tmp_path: Path) -> None:
    """The engine is another's program: its dump has the limit, and no memory if that is ignored."""
    read = (
        "import time; print(open('/proc/self/coredump_filter').read(), flush=True); time.sleep(60)"
    )
    words = reaper.make_command(1.0, [sys.executable, "-I", "-S", "-c", read], lifeline=3)
    with started(["sh", "-c", 'exec 3<&0; exec "$@"', "sh", *words], tmp_path) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline(), 16) == 0
        assert shut(process.pid)
        (engine,) = reaper.list_descendants(process.pid)
        limits = Path(f"/proc/{engine}/limits").read_text().splitlines()
        limit = next(line for line in limits if "core file" in line)
        assert limit.split()[4:6] == ["0", "0"]
        # The keeper ends by its program's signal.
        assert crash(process, signal.SIGSEGV, engine) == os.CLD_KILLED
    assert list(tmp_path.iterdir()) == []


def programs() -> list[str]:
    """Each file that is a program of its own."""
    folders = ("server", "scripts", "benchmarks")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    found = [path for path in files if '__name__ == "__main__"' in path.read_text("utf-8")]
    return sorted(str(path.relative_to(ROOT)) for path in found)


@pytest.mark.parametrize("program", programs())
def test_every_program_of_ours_forbids_them_first(program: str) -> None:
    """Before its `main` is called, and for the server before the first library is loaded."""
    tree = ast.parse((ROOT / program).read_text("utf-8"))
    starts = [
        node.body[0]
        for node in tree.body
        if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)
    ]
    # One that has no secret may find the module first.
    calls = [ast.unparse(node) for node in starts]
    assert calls[0] in ("core_dumps.forbid_core_dumps()", "_forbid_core_dumps()")
