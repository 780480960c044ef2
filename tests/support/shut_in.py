"""Runs a command shut in as a unit asks, where no service manager runs: python shut_in.py UNIT
COMMAND ARGUMENT...

Of a unit's directives it does those that can take something away that a program needs: the filter
of system calls and address families, memory that is both written and executed, privileges, core
dumps, a file system to read only.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

# seccomp.h, linux/prctl.h, linux/capability.h
ALLOW, ERRNO, EQUAL = 0x7FFF0000, 0x00050000, 4
PR_CAPBSET_DROP, PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN = 24, 65, 1

libc = ctypes.CDLL(None, use_errno=True)


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp"""

    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


def directives(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def calls(group: str) -> set[str]:
    """The system calls of a group, like @system-service, as this machine's systemd has it."""
    told = subprocess.run(
        ["systemd-analyze", "--no-pager", "syscall-filter", group],
        capture_output=True,
        text=True,
        check=True,
    )
    names = [line.strip() for line in told.stdout.splitlines()[1:]]
    found: set[str] = set()
    for name in names:
        if name.startswith("@"):
            found |= calls(name)
        elif name and not name.startswith("#"):
            found.add(name)
    return found


def allowed_calls(filters: list[str]) -> set[str]:
    allowed = calls("@default")
    for line in filters:
        taken = line.startswith("~")
        for group in line.removeprefix("~").split():
            some = calls(group) if group.startswith("@") else {group}
            allowed = allowed - some if taken else allowed | some
    return allowed


def filter_calls(allowed: set[str], families: list[str]) -> None:
    lib = ctypes.CDLL("libseccomp.so.2")
    lib.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(ERRNO | errno.EPERM)))
    for name in sorted(allowed - {"socket"}):
        number = lib.seccomp_syscall_resolve_name(name.encode())
        # Not one of this machine's
        if number >= 0:
            check(lib.seccomp_rule_add(context, ctypes.c_uint32(ALLOW), number, 0))
    number = lib.seccomp_syscall_resolve_name(b"socket")
    for family in families:
        only = Comparison(0, EQUAL, getattr(socket, family), 0)
        check(
            lib.seccomp_rule_add_array(
                context, ctypes.c_uint32(ALLOW), number, 1, ctypes.byref(only)
            )
        )
    check(lib.seccomp_load(context))


def read_only() -> None:
    """The whole tree, in a mount namespace of its own."""
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--rbind", "/", "/"], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", "/"], check=True)


def check(result: int) -> None:
    if result < 0:
        raise OSError(-result, os.strerror(-result))


def main() -> None:
    asked = directives(Path(sys.argv[1]))
    allowed = allowed_calls(asked["SystemCallFilter"])
    families = asked["RestrictAddressFamilies"][0].split()
    if asked["LimitCORE"] == ["0"]:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if asked["ProtectSystem"] == ["strict"]:
        read_only()
    if asked["CapabilityBoundingSet"] == [""]:
        for capability in range(41):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    if asked["MemoryDenyWriteExecute"] == ["yes"] and libc.prctl(
        PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN, 0, 0, 0
    ):
        sys.exit("this kernel cannot refuse memory that is written and executed (Linux 6.3 can)")
    filter_calls(allowed, families)
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
