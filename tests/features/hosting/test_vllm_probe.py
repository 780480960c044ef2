"""A vLLM that is asked for what it takes, and takes its time: stand-ins with the help of a recorded
version.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from server.features.hosting import host as vllm_probe
from server.features.hosting import vllm_help
from server.features.hosting.host import HostProbe, VllmProbe
from tests.support.vllm_stand_in import install


class Slow:
    """A vLLM that says nothing until it may, and counts how often it was asked."""

    def __init__(self, folder: Path) -> None:
        self._may, self._calls = folder / "may", folder / "calls"
        (folder / "behind").mkdir()
        behind = install(folder / "behind", "0.32")
        self.program = folder / "vllm"
        wait = f"while [ ! -e '{self._may}' ]; do sleep 0.02; done"
        self.program.write_text(
            f"#!/bin/sh\necho asked >> '{self._calls}'\n{wait}\nexec '{behind}' \"$@\"\n"
        )
        self.program.chmod(0o755)

    def speak(self) -> None:
        self._may.touch()

    @property
    def asked(self) -> int:
        return len(self._calls.read_text().split())


def test_nobody_waits_for_one_that_takes_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it has spoken it is pending, and it is asked once for all who look; whoever has to know
    waits.
    """
    slow = Slow(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    probe = HostProbe()
    for _ in range(3):
        found = probe.probe(patience=0.2)
        assert (found.vllm, found.vllm_trouble) == (None, "")
        assert found.vllm_pending == str(slow.program)
    assert slow.asked == 1
    slow.speak()
    found = probe.probe()
    assert (found.vllm, found.vllm_version) == (str(slow.program), "0.32")
    assert found.vllm_pending == ""
    before = slow.asked
    assert probe.probe(patience=0.0).vllm_version == "0.32"
    assert slow.asked == before


def test_it_is_asked_anew_when_it_is_another(tmp_path: Path) -> None:
    """A program that has changed is asked again: the older one's answer is dropped."""
    probe, program = VllmProbe(), str(install(tmp_path, "0.9.2"))
    first = probe.probe(program, 1).vllm
    install(tmp_path, "0.32")
    again, then = probe.probe(program, 1).vllm, probe.probe(program, 2).vllm
    assert first is not None
    assert then is not None
    assert (first.version, then.version) == ("0.9.2", "0.32")
    assert again is first


def test_what_failed_is_asked_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at once, for it may take its time to fail."""
    probe, program = VllmProbe(), tmp_path / "vllm"
    told = probe.probe(str(program), 1)
    assert told.vllm is None
    assert "There is no" in told.trouble
    install(tmp_path, "0.32")
    assert probe.probe(str(program), 1) is told
    monkeypatch.setattr(vllm_probe, "_AGAIN_SECONDS", 0.0)
    assert probe.probe(str(program), 1).vllm is not None


def test_a_fault_of_ours_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who wait do not wait for ever."""

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(vllm_help, "ask", broken)
    told = VllmProbe().probe("/bin/vllm", 1)
    assert (told.vllm, told.pending) == (None, False)
    assert "cannot be asked what it takes (RuntimeError)" in told.trouble
