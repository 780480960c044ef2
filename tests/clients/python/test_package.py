"""The Python client as pip makes and installs it, without a network."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import requires
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CLIENT = Path(__file__).parents[3] / "clients" / "python"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir")


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_installed_by_pip(tmp_path: Path) -> None:
    """Into an environment of its own: package, types, licence and command are there, and the tests are not."""
    made = ("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", tmp_path)
    run(*PIP, *made, CLIENT)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    own = {f"qwen_camera/{path.name}" for path in (CLIENT / "src" / "qwen_camera").glob("*.py")}
    assert own | {"qwen_camera/py.typed"} == {one for one in names if ".dist-info/" not in one}
    assert any(one.endswith("licenses/LICENSE") for one in names)
    home = tmp_path / "env"
    run(sys.executable, "-m", "venv", "--without-pip", home)
    python = home / "bin" / "python"
    run(*PIP, "--python", python, "install", "--no-deps", "--no-index", "-q", wheel)
    # Its dependencies come from the environment of the tests.
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    (Path(site) / "tests.pth").write_text(sysconfig.get_path("purelib"))
    assert "exit status" in run(home / "bin" / "qwen-camera", "--help")
    said = run(python, "-c", "import qwen_camera as q; print(q.__file__, q.__version__)")
    where, version = said.split()
    assert where.startswith(site)
    assert f"-{version}-" in wheel.name


def test_its_licence_is_ours() -> None:
    assert (CLIENT / "LICENSE").read_text() == (CLIENT.parents[1] / "LICENSE").read_text()


def test_it_needs_little() -> None:
    """Of packages only httpx; of this project nothing."""
    assert 'dependencies = ["httpx>=0.28,<1"]' in (CLIENT / "pyproject.toml").read_text()
    assert requires("httpx")
    loaded = (
        "import sys, qwen_camera.command; print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", loaded],
        env={"PYTHONPATH": str(CLIENT / "src")},
        cwd=CLIENT,
        capture_output=True,
        text=True,
    )
    assert not {"server", "scripts", "mcp", "openai", "pydantic"} & set(done.stdout.split())
    assert "qwen_camera" in done.stdout
