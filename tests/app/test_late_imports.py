"""A start loads no library that only some need; the tests of what needs it have what it does."""

from __future__ import annotations

import sys

import pytest

from tests.support.programs import ran

# Each takes a tenth of a second or more. Loaded for the first program, with the first connection to a broker, once a
# model server is there, once a GPU or a picture is looked at, a second after the start.
LATE = {
    "mcp",
    "aiomqtt",
    "paho",
    "openai",
    "pynvml",
    "rapidocr",
    "onnxruntime",
    "zxingcpp",
    "redis",
}


@pytest.mark.slow
def test_a_start_does_not_load_them() -> None:
    code = (
        "import sys, server.main; from config import load; from server.app.app import create_app\n"
        "create_app(load(None))\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = ran([sys.executable, "-c", code], timeout=120)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "fastapi" in loaded
    assert not loaded & LATE
