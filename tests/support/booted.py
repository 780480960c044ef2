"""A machine of the tests' own: a real systemd as the first process of its own namespaces, over a
copy of this root.

    with booted(folder, mounts={"/checkout": path}) as machine:
        machine.run("systemctl", "start", "some.service")

What is written there lies in memory and is gone afterwards; its network leads nowhere, its devices
are the harmless ones.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

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
