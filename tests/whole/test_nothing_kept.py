"""Nothing is kept: a whole session writes no file, seen from below where no library hides it."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.http_json import request
from scripts.bench.live_encoder import LiveEncoder, Scene
from tests.support.fakes_server import READABLE, ServerProcess
from tests.support.unfaithful_server import WAYS, file_of

pytestmark = pytest.mark.slow

# Every way to make, change or name a file.
CALLS = (
    "open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,link,linkat,symlink,"
    "symlinkat,truncate,memfd_create,name_to_handle_at"
)
OPENS = ("open", "openat", "openat2")
WRITING = re.compile(r"\bO_(WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)\b")
# A call's name and its result; strace splits a call that another thread interrupts into two lines.
CALL = re.compile(r"^\d+\s+(?:<\.\.\. )?(\w+)")
RESULT = re.compile(r"\)\s+= (-?\d+)")
PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')

needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None,
    reason="strace is not installed (scripts/test.sh does it): nobody watches the files that are opened",
)


# A program that can write to no file; pipes, sockets and devices are none.
NO_FILE_GROWS = ("sh", "-c", 'ulimit -f 0 && exec "$@"', "sh")


def files_written(trace: str) -> list[str]:
    """The lines of a trace that made, changed or named a file, but devices and the system's own."""
    found = []
    for line in trace.splitlines():
        call = CALL.match(line)
        if call is None or call[1] not in CALLS.split(","):
            continue
        if call[1] in OPENS and not WRITING.search(line):
            continue
        path = PATH.search(line)
        if path is not None and path[1].startswith(("/dev/", "/proc/")):
            continue
        result = RESULT.search(line)
        if result is not None and int(result[1]) < 0:
            continue
        found.append(line)
    return found


async def whole_session(server: ServerProcess) -> list[str]:
    """Camera, questions with thumbnails, a held frame, a still, a description, a past, a watch that
    alerts, health and metrics; the answers.
    """
    scene = Scene(1280, 720)
    scene.text, scene.text_px, scene.clock = "TEA 4711\nOPEN AT NINE", 60, False
    encoder = LiveEncoder(scene, rate=10)
    try:
        async with CameraPeer(server.url, encoder) as peer:
            await peer.send({"type": "settings", "thumbnails": True, "recall": True})
            texts = []
            await peer.wait_live()
            answer = await peer.ask("Read this.", detail="high", timeout=60)
            texts.append(answer.text)
            assert answer.response is not None, answer.error
            assert answer.response["frame"]["thumbnail"].startswith("data:image/jpeg")
            await peer.send({"type": "hold"})
            await peer.wait_for(lambda m: m["type"] == "status" and m["held"])
            texts.append((await peer.ask("Is there a code on it?", timeout=60)).text)
            await peer.send({"type": "release"})
            await peer.send({"type": "settings", "stills": True})
            still = await peer.wait_for(lambda m: m["type"] == "still")
            assert still.message["image"].startswith("data:image/jpeg")
            await peer.send({"type": "settings", "stills": False})
            await peer.wait_for(lambda m: m["type"] == "recall" and m["pictures"] > 0, since=0)
            past = await peer.ask("What just happened?", route="past", timeout=60)
            assert past.response is not None, past.error
            await alerted(server, peer, scene)
            await peer.send({"type": "settings", "describe": True, "sample_rate": 2})
            await peer.wait_for(
                lambda m: m["type"] == "response" and m["kind"] == "describe", timeout=60
            )
            await peer.send({"type": "nonsense"})
            await peer.wait_for(lambda m: m["type"] == "error")
            for path in ("/", "/client/client.js", "/health", "/metrics", "/upload"):
                await request("GET", server.url + path, headers={"Accept": "text/html"})
            return texts
    finally:
        await encoder.close()


async def watch_looks(server: ServerProcess) -> float:
    """The looks for watches that came to an end, of all sessions."""
    text = (await request("GET", f"{server.url}/metrics")).body.decode()
    found = re.findall(r"^qwen_camera_inferences_total\{(.*)\} (\S+)$", text, re.MULTILINE)
    return sum(
        float(count)
        for labels, count in found
        if 'kind="watch"' in labels and 'result="ok"' in labels
    )


async def alerted(server: ServerProcess, peer: CameraPeer, scene: Scene) -> None:
    """A watch from the order to an alert with its picture, which is heard, then called wrong."""
    before = await watch_looks(server)
    await peer.send({"type": "watch", "id": "w", "condition": "you see the word CLOSED"})
    await peer.wait_for(
        lambda m: m["type"] == "watches" and m["watches"][0].get("armed"), timeout=60
    )
    # Until the look at the settled scene, which belongs to the beginning, too
    async with asyncio.timeout(60):
        while await watch_looks(server) < before + 2:
            await asyncio.sleep(0.25)
    scene.text = "CLOSED"
    alert = (await peer.wait_for(lambda m: m["type"] == "alert", timeout=60)).message
    assert alert["image"].startswith("data:image/jpeg")
    for said in ("ack", "false_alarm"):
        await peer.send({"type": said, "id": alert["id"]})
    await peer.send({"type": "unwatch", "id": "w"})
    await peer.wait_for(lambda m: m["type"] == "watches" and not m["watches"], since=0)


@needs_strace
async def test_a_whole_session_opens_no_file_for_writing(tmp_path: Path) -> None:
    """From the first import to the last goodbye the system is asked to make or change one file: the
    configured log. All is answered where no file can grow, and nothing complains.
    """

    async def session(server: ServerProcess) -> None:
        assert "4711" in (await whole_session(server))[0]

    log = tmp_path / "server.log"
    # The limit holds for a log that is a file, too.
    log.symlink_to("/dev/stdout")
    trace = await traced(tmp_path, READABLE, {"LOG_FILE": str(log)}, session, under=NO_FILE_GROWS)
    written = [line for line in files_written(trace) if str(log) not in line]
    assert written == []
    # The log was there, so the trace sees what is opened.
    assert any(str(log) in line for line in files_written(trace))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["server.log", "trace"]


@pytest.mark.night
@needs_strace
async def test_the_watch_sees_each_picture_that_is_kept(tmp_path: Path) -> None:
    """The same with pictures that are deliberately written, on each of a frame's ways, is caught."""
    trace = await traced(tmp_path, "tests.support.unfaithful_server", {"KEEP_IN": str(tmp_path)})
    written = files_written(trace)
    for way in WAYS:
        assert any(file_of(way) in line for line in written), way
        assert (tmp_path / file_of(way)).stat().st_size > 1000


async def traced(
    folder: Path,
    module: str,
    settings: dict[str, str],
    session: Callable[[ServerProcess], Awaitable[object]] = whole_session,
    *,
    calls: str = CALLS,
    under: Sequence[str] = (),
) -> str:
    """A session under strace, and `under` more, that ends well; what strace wrote down."""
    out = folder / "trace"
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", f"trace={calls}", "-o", str(out)]
    async with ServerProcess(settings, wrapper=[*strace, *under], module=module) as server:
        await session(server)
        assert await server.stop() == 0
    assert "Traceback" not in server.text
    assert '"level": "error"' not in server.text
    return out.read_text()


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ('7 openat(AT_FDCWD, "/x/frame.png", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 9', True),
        ('7 openat(AT_FDCWD, "/x/frame.png", O_RDONLY|O_CLOEXEC) = 9', False),
        ('7 openat(AT_FDCWD, "/x/frame.png", O_WRONLY|O_CREAT, 0666) = -1 EACCES (no)', False),
        ('7 openat(AT_FDCWD, "/x/a", O_RDWR|O_CREAT, 0666 <unfinished ...>', True),
        ('7 openat(AT_FDCWD, "/dev/null", O_RDWR) = 3', False),
        ('7 openat(AT_FDCWD, "/proc/self/comm", O_WRONLY) = 3', False),
        ('7 mkdir("/home/x/.cache", 0777) = 0', True),
        ('7 mkdir("/home/x/.cache", 0777) = -1 EEXIST (File exists)', False),
        ('7 rename("/x/a", "/x/b") = 0', True),
        ('7 memfd_create("x", MFD_CLOEXEC) = 5', True),
        ("7 +++ exited with 0 +++", False),
    ],
)
def test_how_a_trace_is_read(line: str, seen: bool) -> None:
    """Only what succeeded, or may have, and makes or changes a file counts."""
    assert bool(files_written(line)) is seen
