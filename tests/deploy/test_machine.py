"""install.sh and the units on a machine of their own, with a real systemd: started, watched,
killed, upgraded, removed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from scripts.local_certificate import make_authority, make_leaf, to_pem
from tests.deploy.test_install import project
from tests.scripts.test_start_vllm import ROCM
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
    async with (
        LiveEncoder(Scene(320, 240), rate=5.0) as encoder,
        CameraPeer("http://127.0.0.1:8000", encoder, access_code=os.environ["ACCESS_CODE"]) as peer,
    ):
        answer = await peer.ask({QUESTION!r}, timeout=30)
        print(answer.response["finish_reason"])

asyncio.run(main())
"""

# Booting


SYSTEMD = Path("/lib/systemd/systemd")
CGROUPS = Path("/sys/fs/cgroup")
PREFIX = "qct-booted"
# Of a machine's start what would reach beyond the namespaces, or is of no use in them.
_MASKED = (
    *("systemd-sysctl.service", "systemd-modules-load.service", "systemd-binfmt.service"),
    *("proc-sys-fs-binfmt_misc.automount", "dev-hugepages.mount", "dev-mqueue.mount"),
    *("sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-fs-fuse-connections.mount"),
    *("systemd-tmpfiles-setup-dev.service", "systemd-tmpfiles-setup.service", "tmp.mount"),
    *("systemd-remount-fs.service", "systemd-update-utmp.service", "systemd-random-seed.service"),
    *("systemd-udevd.service", "systemd-udev-trigger.service", "systemd-timesyncd.service"),
    *("systemd-logind.service", "systemd-resolved.service", "systemd-networkd.service"),
    *("systemd-journal-flush.service", "systemd-ask-password-console.path", "nginx.service"),
)
_BOOT = r"""
set -e
root=$1/root
mount --make-rprivate /
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" none "$root"
cd "$root"
mount -t proc none proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro none sys
mount -t tmpfs none sys/fs/cgroup
if [ "$2" = hybrid ]; then
    mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd none sys/fs/cgroup/systemd
    mount -t cgroup2 none sys/fs/cgroup/unified
else
    mount -t cgroup2 none sys/fs/cgroup
fi
mount -t tmpfs none run
mount -t tmpfs none tmp
mount -t tmpfs none dev
for device in null zero full random urandom tty; do
    touch dev/$device
    mount --bind /dev/$device dev/$device
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 none dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs none dev/shm
ip link set lo up
ip link add qct0 type veth peer name qct1
ip address add 192.0.2.1/24 dev qct0
ip link set qct0 up
ip link set qct1 up
rm -rf etc/systemd/system/*.wants
shift 2
while [ "$1" != -- ]; do
    mkdir -p ".$2"
    mount --bind "$1" ".$2"
    shift 2
done
shift
for unit in "$@"; do ln -sf /dev/null etc/systemd/system/$unit; done
# No mere chroot: in one nobody can make user namespaces (PrivateUsers=).
mkdir -p run/old
pivot_root . run/old
umount -l /run/old
exec /usr/bin/env -i container=qct PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=basic.target --log-target=journal --show-status=0
"""


class Machine:
    def __init__(self, pid: int) -> None:
        # Its first process
        self.pid = pid

    def run(
        self, *command: str, timeout: float = 60, check: bool = True, **environment: str
    ) -> str:
        """Run a command as root of that machine, and return its output.

        A failure fails the test, unless `check` is False.
        """
        inside = ["nsenter", f"--target={self.pid}", "--all", "--root", "--wd"]
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        done = subprocess.run(
            [*inside, *command],
            env={"PATH": path, "LANG": "C.UTF-8", "HOME": "/root"} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode != 0:
            journal = self.run("journalctl", "--no-pager", "--lines=30", check=False)
            pytest.fail(f"{' '.join(command)}: {done.returncode}\n{done.stdout[-3000:]}\n{journal}")
        return done.stdout

    def property(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def write(self, path: str, text: str) -> None:
        inside = Path(f"/proc/{self.pid}/root{path}")
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_text(text)


@functools.cache
def why_not() -> str:
    """Return the reason why no machine can be booted here; "" when one can."""
    if os.getuid() != 0:
        return "Only root can boot one."
    for name in ("unshare", "nsenter", "ip", "systemctl", "systemd-sysusers"):
        if shutil.which(name) is None:
            return f"{name} is missing; scripts/test.sh installs it."
    if not SYSTEMD.exists():
        return "systemd is missing; scripts/test.sh installs it."
    hierarchies = _hierarchies(PREFIX)
    if not all(path.parent.is_dir() and os.access(path.parent, os.W_OK) for path in hierarchies):
        return "Control groups cannot be made here."
    probe = ["unshare", "--mount", "--pid", "--fork", "--net", "--cgroup", "--ipc", "--uts", "true"]
    if subprocess.run(probe, capture_output=True).returncode != 0:
        return "Namespaces cannot be made here."
    return ""


def _hierarchies(name: str) -> list[Path]:
    """Its control group in each hierarchy it gets: version 2's, perhaps version 1's beside it."""
    if (CGROUPS / "cgroup.procs").exists():
        return [CGROUPS / name]
    return [CGROUPS / "systemd" / name, CGROUPS / "unified" / name]


@contextlib.contextmanager
def booted(folder: Path, mounts: Mapping[str, Path]) -> Iterator[Machine]:
    """`mounts`: paths in the machine and what is seen there.

    Skips the test where none can be booted.
    """
    if reason := why_not():
        pytest.skip(reason)
    groups = _hierarchies(f"{PREFIX}-{os.getpid()}")
    for group in groups:
        group.mkdir()
    # It has to be in its group before it gets a namespace of groups.
    join = "".join(f"echo $$ >{group}/cgroup.procs\n" for group in groups)
    kind = "hybrid" if len(groups) == 2 else "unified"
    pairs = [word for path, source in mounts.items() for word in (str(source), path)]
    unshare = "exec unshare --mount --pid --net --uts --ipc --cgroup --fork --kill-child=SIGKILL"
    script = f'{join}{unshare} bash -c "$0" boot "$@"'
    process = subprocess.Popen(
        ["bash", "-c", script, _BOOT, str(folder), kind, *pairs, "--", *_MASKED],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield Machine(_first_process(process))
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for group in groups:
            _remove(group)


def _first_process(process: subprocess.Popen[bytes]) -> int:
    """Waits until it is up."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            assert process.stdout is not None
            pytest.fail(f"It did not boot: {process.stdout.read().decode()}")
        pids = children.read_text().split()
        if pids and Path(f"/proc/{pids[0]}/comm").read_text() == "systemd\n":
            machine = Machine(int(pids[0]))
            state = machine.run("systemctl", "is-system-running", "--wait", check=False).strip()
            if state in ("running", "degraded"):
                return machine.pid
        time.sleep(0.05)
    pytest.fail("It did not boot within 30 s.")


def _remove(group: Path) -> None:
    """Remove the control group once its last process has ended."""
    deadline = time.monotonic() + 10
    while group.exists() and time.monotonic() < deadline:
        for path in sorted(group.rglob("*"), reverse=True):
            if path.is_dir():
                with contextlib.suppress(OSError):
                    path.rmdir()
        with contextlib.suppress(OSError):
            group.rmdir()
        time.sleep(0.02)


# Tests

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


def install(machine: Machine, *options: str, check: bool = True) -> str:
    script = "/checkout/deploy/install.sh"
    return machine.run("bash", script, *options, check=check, PYTHON=system_python())


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
        *("--server-url", "http://127.0.0.1:8000"),
        check=False,
        ACCESS_CODE=code,
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
        "/opt/rocm/bin/amd-smi": f"echo '{ROCM}'",
    }
    for path, text in programs.items():
        machine.write(path, f"#!/bin/sh\n{text}\n")
        machine.run("chmod", "755", path)
    machine.write("/srv/models/small/config.json", '{"model_type": "qwen2_5_vl"}')
    machine.write("/srv/models/small/model.safetensors", "0" * 1000)
    # Read by its group alone, which the installer sees, and then by nobody.
    machine.run("chgrp", "-R", "video", "/srv/models")
    machine.run("chmod", "-R", "u=rwX,g=rX,o=", "/srv/models")
    assert "nothing was changed" in install(machine, "--dry-run")
    machine.run("chgrp", "-R", "root", "/srv/models")
    said = install(machine, "--dry-run", check=False)
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
    said = install(machine, "--nginx")
    assert f"so it is put by as {target}.to-change" in said
    assert "fullchain.pem" in said
    assert machine.run("ls", "/etc/nginx/conf.d").split() == ["qwen-camera.conf.to-change"]
    machine.run("nginx", "-t")
    assert "nothing was changed" in install(machine, "--nginx")
    name = x509.DNSName("camera.example.org")
    key, authority = make_authority([name], "test", datetime.now(UTC))
    leaf, certificate = make_leaf(key, authority, [name], datetime.now(UTC))
    folder = "/etc/letsencrypt/live/camera.example.org"
    machine.write(f"{folder}/fullchain.pem", to_pem(None, certificate).decode())
    machine.write(f"{folder}/privkey.pem", to_pem(leaf, certificate).decode())
    machine.run("rm", f"{target}.to-change")
    assert "nginx takes its new configuration" in install(machine, "--nginx")
    assert machine.run("ls", "/etc/nginx/conf.d").split() == ["qwen-camera.conf"]
    assert "nothing was changed" in install(machine)


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
    said = install(machine)
    assert all(f"Restarting {unit}" in said for unit in units)
    assert all(machine.property(unit, "MainPID") not in before for unit in units)
    assert [ask(machine, port) for port in (8010, 8011)] == ["200", "200"]
    assert "nothing was changed" in install(machine)
    journal = machine.run("journalctl", "--no-pager")
    log = machine.run("cat", "/var/log/qwen-camera/server.log")
    assert '"message": "drain started"' in log
    for secret in (SECRET, "eyJ", "walrus"):
        assert secret not in journal + log
    said = install(machine, "--uninstall", "--nginx")
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
