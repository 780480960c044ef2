"""install.sh and the units on a machine of their own, with a real systemd: started, watched,
killed, upgraded, removed.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from scripts.local_certificate import make_authority, make_leaf, pem
from tests.deploy.test_install import project
from tests.scripts.test_start_vllm import ROCM
from tests.support.booted import Machine, booted, why_not
from tests.support.programs import ran

WEB = "qwen-webrtc.service"
HOME = "/opt/qwen-camera"
# The packages that the tests have installed, as seen inside the machine
SITE = "/opt/site"
SECRET = "wJ4uYcE0qk7hTz2mXbN9sRvD5gLf8aPq"
# Blocks the event loop when told to, as a bug would.
BLOCK = (
    "import signal, time; signal.signal(signal.SIGUSR2, lambda *_, sleep=time.sleep: sleep(600))\n"
)

QUESTION = "Where is walrus4711?"
# Asks it, with a camera.
ASK = f"""
import asyncio, os
from scripts.bench.camera_peer import CameraPeer
from scripts.bench.live_encoder import LiveEncoder, Scene

async def main():
    encoder = LiveEncoder(Scene(320, 240), rate=5.0)
    try:
        async with CameraPeer("http://127.0.0.1:8000", encoder, access_code=os.environ["ACCESS_CODE"]) as peer:
            answer = await peer.ask({QUESTION!r}, timeout=30)
            print(answer.response["finish_reason"])
    finally:
        await encoder.close()

asyncio.run(main())
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "one can be booted"),
]


def system_python() -> str:
    """One of the tests' own version that services can run: none in somebody's home."""
    own = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    for candidate in (own, "/usr/bin/python3", f"/usr/bin/python3.{sys.version_info.minor}"):
        if candidate.startswith(("/root/", "/home/", "/tmp/")) or not Path(candidate).exists():
            continue
        ask = "import sys, ensurepip; print(*sys.version_info[:2])"
        done = ran([candidate, "-c", ask])
        if done.stdout.split() == [str(number) for number in sys.version_info[:2]]:
            return candidate
    pytest.skip("There is no Python of this version that a service could run.")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Installed, with the tests' own libraries in place of those that pip would fetch."""
    python = system_python()
    base = Path(tempfile.mkdtemp(prefix="qwen-camera-"))
    checkout = base / "checkout"
    checkout.mkdir()
    project(checkout)
    shutil.copytree(
        Path(__file__).parents[2] / "server/features/builtin", checkout / "server/features/builtin"
    )
    settings = f"ENGINE=builtin\nHOST=127.0.0.1\nDRAIN_SECONDS=1\nJWT_SECRET_KEY={SECRET}\n"
    settings += "REQUIRE_AUTH=false\nMODEL_PATH=/srv/models/small\n"
    (checkout / ".env").write_text(settings)
    folder = tmp_path_factory.mktemp("machine")
    mounts = {
        "/checkout": checkout,
        SITE: Path(sysconfig.get_path("purelib")),
        "/opt/stand-in": Path(__file__).parents[1],
    }
    try:
        with booted(folder, mounts) as it:
            said = it.run(
                *("bash", "/checkout/deploy/install.sh"),
                PYTHON=python,
                PIP_NO_INDEX="1",
                PIP_CONFIG_FILE=os.devnull,
            )
            assert "make the users qwen-camera and qwen-vllm" in said
            assert "a new value for what is empty there: ACCESS_CODE" in said
            minor = sys.version_info.minor
            packages = f"{HOME}/.venv/lib/python3.{minor}/site-packages"
            it.write(f"{packages}/tests.pth", f"{SITE}\n{BLOCK}")
            yield it
    finally:
        shutil.rmtree(base)


def ask(machine: Machine, port: int, path: str = "/health/live") -> str:
    """The status of an answer, as somebody on that machine gets it."""
    code = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{port}{path}', timeout=5).status)"
    return machine.run("python3", "-c", code).strip()


def until(machine: Machine, unit: str, name: str, value: str, *, same: bool = True) -> None:
    """Until a property of the unit has that value, or another one when not `same`."""
    deadline = time.monotonic() + 30
    while (machine.property(unit, name) == value) != same:
        assert time.monotonic() < deadline, machine.run("systemctl", "status", unit, check=False)
        time.sleep(0.1)


def test_it_serves_shut_in(machine: Machine) -> None:
    """Started when it listens, by a user without rights; everything that a page needs works in
    there.
    """
    machine.run("systemctl", "start", WEB)
    assert machine.property(WEB, "ActiveState") == "active"
    assert machine.property(WEB, "StatusText") == "Listening on port 8000"
    assert ask(machine, 8000) == "200"
    pid = machine.property(WEB, "MainPID")
    status = machine.run("cat", f"/proc/{pid}/status").splitlines()
    facts = {key: value.split() for key, _, value in (line.partition(":") for line in status)}
    assert facts["NoNewPrivs"] == ["1"]
    assert facts["Seccomp"] == ["2"]
    assert int(facts["CapEff"][0], 16) == int(facts["CapBnd"][0], 16) == 0
    assert facts["Uid"][0] == machine.run("id", "-u", "qwen-camera").strip() != "0"
    limits = machine.run("cat", f"/proc/{pid}/limits")
    assert [line.split()[4:6] for line in limits.splitlines() if "core file" in line] == [
        ["0", "0"]
    ]
    file = "/etc/qwen-camera/qwen-camera.env"
    code = machine.run("sed", "-n", "s/^ACCESS_CODE=//p", file).strip()
    assert len(code) == 12
    said = machine.run(
        *(f"{HOME}/.venv/bin/python", f"{HOME}/scripts/doctor.py"),
        *("--server-url", "http://127.0.0.1:8000", "--access-code", code),
        check=False,
        PYTHONDONTWRITEBYTECODE="1",
    )
    assert "ok      Picture (UDP)" in said, said
    assert "FAILED" not in said, said
    python = ("env", "-C", HOME, f"{HOME}/.venv/bin/python", "-B", "-c", ASK)
    assert machine.run(*python, ACCESS_CODE=code).split() == ["stop"]
    machine.run("systemctl", "stop", WEB)
    assert machine.property(WEB, "Result") == "success"
    assert machine.property(WEB, "ExecMainStatus") == "0"


def test_a_blocked_loop_is_replaced(machine: Machine) -> None:
    """No sign of life: killed, where it stood is in the journal, and another serves; no core dump
    is left.
    """
    machine.write(f"/etc/systemd/system/{WEB}.d/test.conf", "[Service]\nWatchdogSec=4\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", WEB)
    pid = machine.property(WEB, "MainPID")
    machine.run("kill", "-USR2", pid)
    until(machine, WEB, "NRestarts", "0", same=False)
    until(machine, WEB, "ActiveState", "active")
    assert machine.property(WEB, "MainPID") != pid
    assert ask(machine, 8000) == "200"
    journal = machine.run("journalctl", "--no-pager", "-u", WEB)
    assert "Watchdog timeout" in journal
    assert "Fatal Python error: Aborted" in journal
    assert "core-dump" not in journal.replace("dumped=no", "")
    machine.run("systemctl", "stop", WEB)
    machine.run("rm", "-r", f"/etc/systemd/system/{WEB}.d")
    machine.run("systemctl", "daemon-reload")


def test_settings_that_do_not_hold_are_said_once(machine: Machine) -> None:
    """Status 2 is not tried again."""
    machine.run("cp", "-p", "/etc/qwen-camera/qwen-camera.env", "/root/kept.env")
    machine.write("/etc/qwen-camera/qwen-camera.env", "ENGINE=best\n")
    machine.run("systemctl", "start", WEB, check=False)
    assert machine.property(WEB, "ActiveState") == "failed"
    assert machine.property(WEB, "ExecMainStatus") == "2"
    assert machine.property(WEB, "NRestarts") == "0"
    assert "ENGINE is 'best'" in machine.run("journalctl", "--no-pager", "-u", WEB)
    machine.run("cp", "-p", "/root/kept.env", "/etc/qwen-camera/qwen-camera.env")
    machine.run("systemctl", "reset-failed", WEB)


def test_the_model_server(machine: Machine) -> None:
    """Ready once it answers, with a stand-in for vLLM: it finds program, GPU and model, and sees no
    secret but its own.
    """
    programs = {
        "/opt/qwen-vllm/bin/vllm": "exec python3 -S -E /opt/stand-in/support/vllm_stand_in.py 0.32 serve"
        ' /var/cache/qwen-vllm "$@"',
        "/opt/rocm/bin/rocm-smi": f"echo '{ROCM}'",
    }
    for path, text in programs.items():
        machine.write(path, f"#!/bin/sh\n{text}\n")
        machine.run("chmod", "755", path)
    machine.write("/srv/models/small/config.json", '{"model_type": "qwen2_5_vl"}')
    machine.write("/srv/models/small/model.safetensors", "0" * 1000)
    # Read by its group alone, which the installer sees, and then by nobody.
    install = ("bash", "/checkout/deploy/install.sh", "--dry-run")
    machine.run("chgrp", "-R", "video", "/srv/models")
    machine.run("chmod", "-R", "u=rwX,g=rX,o=", "/srv/models")
    assert "nothing was changed" in machine.run(*install, PYTHON=system_python())
    machine.run("chgrp", "-R", "root", "/srv/models")
    said = machine.run(*install, PYTHON=system_python(), check=False)
    assert "cannot be read by the user qwen-vllm, which serves it: /srv/models is shut" in said
    machine.run("chgrp", "-R", "video", "/srv/models")
    unit = "qwen-vllm.service"
    machine.run("systemctl", "start", unit)
    assert machine.property(unit, "ActiveState") == "active"
    assert ask(machine, 8001, "/health") == "200"
    processes = machine.run("systemctl", "show", "--value", "--property=MainPID", unit).split()
    processes += machine.run("pgrep", "-u", "qwen-vllm").split()
    # The unit's main process is vLLM itself.
    assert "vllm_stand_in.py" in machine.run("cat", f"/proc/{processes[0]}/cmdline")
    for pid in processes:
        assert SECRET not in machine.run("cat", f"/proc/{pid}/environ")
    machine.run("systemctl", "stop", unit)
    assert machine.property(unit, "Result") == "success"
    # One that fails while it loads: whoever starts it hears at once, and the journal is
    # explained.
    failing = programs["/opt/qwen-vllm/bin/vllm"].replace(" serve ", " oom ", 1)
    machine.write("/opt/qwen-vllm/bin/vllm", f"#!/bin/sh\n{failing}\n")
    machine.run("systemctl", "start", unit, check=False)
    assert machine.property(unit, "ActiveState") != "active"
    machine.run("systemctl", "stop", unit)
    journal = machine.run("journalctl", "--no-pager", "-o", "cat", "-u", unit)
    assert "vLLM ended before it was ready." in journal
    assert "torch.OutOfMemoryError" in journal


def test_nginx_looks_at_its_file_first(machine: Machine) -> None:
    """A file that nginx refuses is set aside so that nginx can start; an accepted one stays."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is missing; scripts/test.sh installs it.")
    target = "/etc/nginx/conf.d/qwen-camera.conf"

    def install(*options: str) -> str:
        script = "/checkout/deploy/install.sh"
        return machine.run("bash", script, *options, PYTHON=system_python())

    said = install("--nginx")
    assert f"so it is put by as {target}.to-change" in said
    assert "fullchain.pem" in said
    assert machine.run("ls", "/etc/nginx/conf.d").split() == ["qwen-camera.conf.to-change"]
    machine.run("nginx", "-t")
    assert "nothing was changed" in install("--nginx")
    name = x509.DNSName("camera.example.org")
    key, authority = make_authority([name], "test", datetime.now(UTC))
    leaf, certificate = make_leaf(key, authority, [name], datetime.now(UTC))
    folder = "/etc/letsencrypt/live/camera.example.org"
    machine.write(f"{folder}/fullchain.pem", pem(None, certificate).decode())
    machine.write(f"{folder}/privkey.pem", pem(leaf, certificate).decode())
    machine.run("rm", f"{target}.to-change")
    assert "nginx takes its new configuration" in install("--nginx")
    assert machine.run("ls", "/etc/nginx/conf.d").split() == ["qwen-camera.conf"]
    assert "nothing was changed" in install()


def test_several_and_an_upgrade_of_them(machine: Machine) -> None:
    """Each on the port of its name; an upgrade restarts them one after another; removing takes all
    of it away.
    """
    units = ("qwen-webrtc@8010.service", "qwen-webrtc@8011.service")
    machine.write("/etc/qwen-camera/8011.env", "LOG_FILE=/var/log/qwen-camera/server.log\n")
    machine.run("systemctl", "enable", "--now", "--quiet", *units)
    assert [ask(machine, port) for port in (8010, 8011)] == ["200", "200"]
    before = [machine.property(unit, "MainPID") for unit in units]
    machine.write("/checkout/server/new_room.py", "NEW = True\n")
    said = machine.run("bash", "/checkout/deploy/install.sh", PYTHON=system_python())
    assert all(f"Restarting {unit}" in said for unit in units)
    assert all(machine.property(unit, "MainPID") not in before for unit in units)
    assert [ask(machine, port) for port in (8010, 8011)] == ["200", "200"]
    said = machine.run("bash", "/checkout/deploy/install.sh", PYTHON=system_python())
    assert "nothing was changed" in said
    journal = machine.run("journalctl", "--no-pager")
    log = machine.run("cat", "/var/log/qwen-camera/server.log")
    assert '"message": "draining"' in log
    for secret in (SECRET, "eyJ", "walrus"):
        assert secret not in journal + log
    said = machine.run("bash", "/checkout/deploy/install.sh", "--uninstall", "--nginx")
    assert "Kept: the logs in /var/log/qwen-camera" in said
    for user in ("qwen-camera", "qwen-vllm"):
        assert machine.run("getent", "passwd", user, check=False) == ""
    found = machine.run(
        *("find", "/opt/qwen-camera", "/etc", "/usr/local/lib/systemd", "-name", "*qwen-*"),
        *("-o", "-path", "/etc/qwen-camera/*"),
        check=False,
    )
    kept = [line for line in found.splitlines() if not line.startswith("find:")]
    assert sorted(kept) == ["/etc/qwen-camera", "/etc/qwen-camera/8011.env"]
    assert "8010" not in machine.run("systemctl", "list-units", "--all", "--no-pager")
