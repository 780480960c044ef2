"""deploy/install.sh into a scratch root, again, over a person's changes, interrupted, and away again;
without a network.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripts.test_choose_model import CATALOGUE
from tests.support.children import alive
from tests.support.documents import ROOT
from tests.support.gguf_writer import write_projector, write_weights
from tests.support.hub_stand_in import Model, running_hub
from tests.support.programs import ran
from tests.support.wheels import locked, wheel, write_empty_locks

PROGRAM = ("server", "client", "scripts", "deploy", "docs", "config.py", "env.example", "LICENSE")
DOCUMENTS = ("README.md", "DEPLOY.md", "SECURITY.md", "ARCHITECTURE.md", "CHANGELOG.md")
UNITS = ("qwen-webrtc.service", "qwen-webrtc@.service", "qwen-vllm.service", "qwen-router.service")

Result = subprocess.CompletedProcess[str]
# A file's mode, time of change and content, or a link's target
Seen = dict[str, tuple[int, int, str]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="It installs on Linux only."),
]
as_root = pytest.mark.skipif(os.getuid() != 0, reason="Only root can mount, or be somebody else.")


def project(folder: Path) -> Path:
    """A checkout with nothing to install from the network."""
    quiet = shutil.ignore_patterns("__pycache__", "*.pyc", "builtin")
    for name in (*PROGRAM, *DOCUMENTS):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=quiet)
        else:
            shutil.copy(source, folder / name)
    shutil.copy(ROOT / "requirements.txt", folder)
    write_empty_locks(folder)
    return folder


@pytest.fixture(scope="module")
def checkout() -> Iterator[Path]:
    """A copy of the project that everybody may read, in a path with a space."""
    base = Path(tempfile.mkdtemp(prefix="qwen-camera-"))
    base.chmod(0o755)
    folder = base / "a checkout"
    folder.mkdir()
    yield project(folder)
    shutil.rmtree(base)


def environment() -> dict[str, str]:
    return {
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        "HOME": "/nonexistent",
        "PYTHON": sys.executable,
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
    }


def install(checkout: Path, root: Path | None, *options: str, **more: str) -> Result:
    prefix = ["--prefix", str(root)] if root is not None else []
    return ran(
        ["bash", str(checkout / "deploy" / "install.sh"), *prefix, *options],
        env=environment() | more,
        cwd="/",
        stdin=subprocess.DEVNULL,
        timeout=120,
    )


def seen(root: Path) -> Seen:
    """Everything below a folder, to be compared; the folder itself aside."""
    found: Seen = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        if path.is_symlink():
            content = str(path.readlink())
        else:
            content = path.read_bytes().hex() if path.is_file() and status.st_size < 65536 else ""
        found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, content)
    return found


def names(found: Seen) -> set[str]:
    return set(found)


@pytest.fixture(scope="module")
def fresh(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root into which it was installed once; tests take copies."""
    root = tmp_path_factory.mktemp("install") / "root"
    done = install(checkout, root)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("Done.\n")
    # The copies share pip, a thousand files.
    (pip,) = root.glob("opt/qwen-camera/.venv/lib/python*/site-packages/pip")
    shared = root.parent / "pip"
    pip.rename(shared)
    pip.symlink_to(shared)
    return root


@pytest.fixture
def installed(fresh: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fresh, tmp_path / "root", symlinks=True))


def test_help_names_every_option(checkout: Path) -> None:
    """And what an exit status means."""
    done = install(checkout, None, "--help")
    assert done.returncode == 0
    for word in (
        "--dry-run",
        "--uninstall",
        "--prefix",
        "--with",
        "--model",
        "--nginx",
        "--no-nginx",
    ):
        assert word in done.stdout
    assert "Exit status" in done.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--nonsense"], "--nonsense is not known"),
        (["extra"], "extra is not known"),
        (["--prefix"], "--prefix needs a value"),
        (["--prefix", "relative"], "an absolute path"),
        (["--prefix="], "an absolute path"),
        (["--prefix", "/a/../b"], "without . and .."),
        (["--with", "wings"], "face-blur, nsfw"),
        (["--with="], "face-blur, nsfw"),
        (["--uninstall", "--with", "nsfw"], "not for --uninstall"),
        (["--uninstall", "--model", "small"], "not for --uninstall"),
        (["--model="], "a name of the catalogue"),
        (["--model", "/srv/models/own"], "a name of the catalogue"),
        (["--dry-run=yes"], "--dry-run=yes is not known"),
    ],
)
def test_wrong_options_get_a_sentence(checkout: Path, options: list[str], says: str) -> None:
    """Exit 2, what is wrong, and where to look."""
    done = install(checkout, None, *options)
    assert done.returncode == 2
    assert says in done.stderr
    assert "install.sh --help" in done.stderr


def test_a_dry_run_says_all_and_writes_nothing(checkout: Path, tmp_path: Path) -> None:
    """Neither installing nor, in what is installed, removing."""
    before = seen(tmp_path)
    done = install(checkout, tmp_path / "root", "--dry-run", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    for word in ("opt/qwen-camera", *UNITS, "qwen-camera.env", "logrotate.d", "sysusers.d"):
        assert word in done.stderr
    assert seen(tmp_path) == before


def test_what_is_installed(checkout: Path, fresh: Path) -> None:
    """Program, environment, units, users, log rotation, settings with secrets of their own that
    only root reads.
    """
    for unit in UNITS:
        text = (fresh / "usr/local/lib/systemd/system" / unit).read_text()
        assert text == (ROOT / "deploy" / unit).read_text()
    assert (fresh / "etc/sysusers.d/qwen-camera.conf").is_file()
    assert (fresh / "etc/logrotate.d/qwen-camera").stat().st_mode & 0o777 == 0o644
    settings = fresh / "etc/qwen-camera/qwen-camera.env"
    assert settings.stat().st_mode & 0o777 == 0o600
    text = settings.read_text()
    secrets = re.findall(r"^(?:JWT_SECRET_KEY|ACCESS_CODE)=(.+)$", text, re.M)
    assert [len(secret) for secret in secrets] == [64, 12]
    # Whoever installs has a home, the services have none.
    assert "\nMODEL_PATH=/srv/models/qwen2.5-vl-32b\n" in text
    home = fresh / "opt/qwen-camera"
    done = ran([home / ".venv/bin/python", "-c", "import server; print(server.__file__)"], cwd=home)
    assert done.stdout == f"{home}/server/__init__.py\n", done.stderr
    for path in home.rglob("*"):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o004, f"{path} cannot be read by the services"
    assert not (home / "tests").exists()
    compiled = next((home / "server/__pycache__").glob("main.*.pyc")).read_bytes()
    assert b"/opt/qwen-camera/server/main.py" in compiled
    assert str(fresh).encode() not in compiled


def test_again_changes_nothing(checkout: Path, installed: Path) -> None:
    """Not even a time, and it says so."""
    before = seen(installed)
    done = install(checkout, installed)
    assert done.returncode == 0
    assert "nothing was changed" in done.stderr
    assert seen(installed) == before


def test_uninstall_leaves_nothing(checkout: Path, installed: Path) -> None:
    """As it was before, folders too; again, it says that there is nothing."""
    keep = installed.parent / "kept"
    keep.mkdir()
    dry = install(checkout, installed, "--uninstall", "--dry-run")
    assert dry.returncode == 0
    assert (installed / "opt/qwen-camera/server/main.py").exists()
    done = install(checkout, installed, "--uninstall")
    assert done.returncode == 0, done.stderr
    # The copy's own root was not made by it: folders that were are gone.
    assert names(seen(installed)) == set()
    again = install(checkout, installed, "--uninstall")
    assert (again.returncode, "not installed" in again.stderr) == (0, True)
    assert keep.exists()


def test_what_was_changed_by_hand_is_kept(checkout: Path, installed: Path) -> None:
    """By another run, by an upgrade and when all else is removed; each is named."""
    settings = installed / "etc/qwen-camera/qwen-camera.env"
    settings.write_text(settings.read_text() + "MAX_SESSIONS=50\n")
    own = installed / "etc/qwen-camera/8010.env"
    own.write_text("LOG_LEVEL=debug\n")
    rotation = installed / "etc/logrotate.d/qwen-camera"
    rotation.write_text("# mine\n")
    stranger = installed / "opt/qwen-camera/client/mine.txt"
    stranger.write_text("mine")
    done = install(checkout, installed)
    assert done.returncode == 0
    assert f"Kept: {rotation}" in done.stderr
    assert "nothing was changed" in done.stderr
    done = install(checkout, installed, "--uninstall")
    assert done.returncode == 0, done.stderr
    for path in (settings, rotation, stranger.parent.parent):
        assert str(path) in done.stderr
    left = {name for name in names(seen(installed)) if (installed / name).is_file()}
    assert left == {
        *("etc/qwen-camera/qwen-camera.env", "etc/qwen-camera/8010.env"),
        *("etc/logrotate.d/qwen-camera", "opt/qwen-camera/client/mine.txt"),
    }


def test_an_upgrade(checkout: Path, installed: Path, tmp_path: Path) -> None:
    """New and changed files come, old ones go, units are renewed, the environment and what is the
    operator's stay.
    """
    newer = Path(shutil.copytree(checkout, tmp_path / "newer"))
    (newer / "server/new_room.py").write_text("NEW = True\n")
    (newer / "server/web/serving.py").unlink()
    (newer / "deploy/qwen-webrtc.service").write_text("# newer\n")
    (newer / "env.example").write_text("BRAND_NEW=1\n" + (newer / "env.example").read_text())
    home = installed / "opt/qwen-camera"
    (home / ".venv/marker").touch()
    (home / "mine.txt").write_text("mine")
    (home / "server/auth.py").write_text("# changed\n")
    settings = (installed / "etc/qwen-camera/qwen-camera.env").read_text()
    done = install(newer, installed)
    assert done.returncode == 0, done.stderr
    assert (home / "server/new_room.py").is_file()
    assert not (home / "server/web/serving.py").exists()
    assert (home / ".venv/marker").exists()
    assert (home / "mine.txt").read_text() == "mine"
    assert (home / "server/auth.py").read_text() == (ROOT / "server/auth.py").read_text()
    assert (home / "server/auth.py.changed-by-hand").read_text() == "# changed\n"
    unit = installed / "usr/local/lib/systemd/system/qwen-webrtc.service"
    assert unit.read_text() == "# newer\n"
    assert (installed / "etc/qwen-camera/qwen-camera.env").read_text() == settings
    assert "BRAND_NEW" in done.stderr
    assert sorted(path.name for path in (installed / "opt").iterdir()) == ["qwen-camera"]
    assert "nothing was changed" in install(newer, installed).stderr


def test_a_failed_upgrade_changes_nothing(checkout: Path, installed: Path, tmp_path: Path) -> None:
    """The error names the package that cannot be installed; the installation stays as it was."""
    newer = Path(shutil.copytree(checkout, tmp_path / "newer"))
    (newer / "locks/requirements.txt").write_text(locked("no-such-package-of-qwen-camera", "1"))
    before = seen(installed)
    done = install(newer, installed)
    assert done.returncode == 1
    assert "no-such-package-of-qwen-camera" in done.stderr
    assert done.stderr.endswith("Nothing was changed.\n")
    changed = {name for name, what in seen(installed).items() if before.get(name) != what}
    # The folder in which it was prepared
    assert changed <= {"opt"}
    assert names(seen(installed)) == names(before)


def test_damage_is_put_right(checkout: Path, installed: Path) -> None:
    """A file that is gone and a unit that is gone come back; what a killed run left is cleared
    away.
    """
    home = installed / "opt/qwen-camera"
    (home / "server/main.py").unlink()
    unit = installed / "usr/local/lib/systemd/system" / UNITS[0]
    unit.unlink()
    (installed / "opt/.qwen-camera.new").mkdir()
    done = install(checkout, installed)
    assert done.returncode == 0, done.stderr
    assert "server/main.py" in done.stderr
    assert (home / "server/main.py").is_file()
    assert unit.is_file()
    assert not (installed / "opt/.qwen-camera.new").exists()


@pytest.mark.parametrize(
    ("number", "status", "trap"),
    [(signal.SIGINT, 130, ""), (signal.SIGTERM, 143, "trap '' TERM; ")],
    ids=["INT", "TERM, to one that does not listen"],
)
def test_interrupted(checkout: Path, tmp_path: Path, number: int, status: int, trap: str) -> None:
    """At once, with a sentence; nothing of it is left, and nobody goes on writing, whoever started
    whom.
    """
    root, started = tmp_path / "root", tmp_path / "started"
    python = tmp_path / "python"
    # The program that makes the environment starts another one, which goes on.
    pid = f"echo $BASHPID >{started}.new; mv {started}.new {started}"
    work = f'({trap}{pid}; while :; do sleep 0.1; done) & "{sys.executable}" "$@"; wait'
    python.write_text(
        f'#!/bin/bash\n[ "$1 $2" != "-m venv" ] || {{ {work}; exit; }}\nexec "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    command = ["bash", str(checkout / "deploy/install.sh"), "--prefix", str(root)]
    with subprocess.Popen(
        command,
        env=environment() | {"PYTHON": str(python)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that was started with SIGINT ignored, as in another one's background, cannot take
        # it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:
        deadline = time.monotonic() + 30
        while not ((root / "opt/.qwen-camera.new/.venv/bin").exists() and started.exists()):
            assert time.monotonic() < deadline
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(number)
        _, said = running.communicate(timeout=20)
    assert running.returncode == status
    assert "Interrupted: nothing was changed." in said
    assert not root.exists()
    assert not alive(int(started.read_text()))


def test_what_it_did_not_make_is_left_alone(checkout: Path, tmp_path: Path) -> None:
    """A folder of that name by somebody else is neither taken over nor removed."""
    theirs = tmp_path / "opt/qwen-camera/file"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    for options in ([], ["--uninstall"]):
        done = install(checkout, tmp_path, *options)
        assert done.returncode == 1
        assert "not made by this script" in done.stderr
    assert theirs.exists()


def test_two_at_a_time(checkout: Path, installed: Path, tmp_path: Path) -> None:
    """The second says so, and leaves alone what the first has prepared."""
    prepared = installed / "opt/.qwen-camera.new/file"
    prepared.parent.mkdir()
    prepared.touch()
    folder = os.open(installed / "opt", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        done = install(checkout, installed)
    finally:
        os.close(folder)
    assert done.returncode == 1
    assert "Another install.sh is at work" in done.stderr
    assert prepared.exists()


@as_root
def test_not_root(checkout: Path) -> None:
    """It asks for the right to make services, and changes nothing."""
    script = str(checkout / "deploy/install.sh")
    done = ran(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bash", script],
        env=environment() | {"PYTHON": "python3"},
        cwd="/",
    )
    assert done.returncode == 1
    assert "needs root" in done.stderr


@as_root
def test_a_model_that_the_service_can_not_read(checkout: Path, tmp_path: Path) -> None:
    """The folder or file that is shut is named, before anything is done; open, it is taken."""
    base = Path(tempfile.mkdtemp(prefix="qwen-camera-"))
    source = Path(shutil.copytree(checkout, tmp_path / "source"))
    try:
        base.chmod(0o755)
        model = base / "shut" / "model"
        model.mkdir(parents=True)
        weights = model / "model.safetensors"
        weights.touch(0o644)
        (source / ".env").write_text(f'ENGINE=vllm\nMODEL_PATH="{model}"\n')
        for path, mode in ((model.parent, 0o700), (weights, 0o600)):
            path.chmod(mode)
            done = install(source, tmp_path / "root", "--dry-run")
            path.chmod(0o755)
            assert done.returncode == 1
            assert f"{path} is shut" in done.stderr
            assert f"chmod -R o+rX '{path}'" in done.stderr
        done = install(source, tmp_path / "root", "--dry-run")
        assert done.returncode == 0, done.stderr
        assert "MODEL_PATH" not in done.stderr
        shutil.rmtree(model)
        done = install(source, tmp_path / "root", "--dry-run")
        assert (done.returncode, f"{model}, where there is nothing" in done.stderr) == (0, True)
    finally:
        shutil.rmtree(base)


def test_a_model_with_its_server(installed: Path, checkout: Path, tmp_path: Path) -> None:
    """Both lie where the service reads them, and the settings name the model; without the network the rest stays."""
    write_weights(tmp_path / "tiny-Q4_K_M.gguf")
    write_projector(tmp_path / "mmproj-F16.gguf")
    files = {path.name: path.read_bytes() for path in tmp_path.glob("*.gguf")}
    (tmp_path / "models.toml").write_text(CATALOGUE.format(revision=""))
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    checkout = shutil.copytree(checkout, tmp_path / "checkout")
    lock = wheel(wheels, "xllamacpp", "2026.1.9999")
    (checkout / "locks" / "requirements-llama.txt").write_text(lock)
    (packages,) = installed.glob("opt/qwen-camera/.venv/lib/python*/site-packages")
    (packages / "these.pth").write_text(sysconfig.get_path("purelib") + "\n")
    settings = installed / "etc/qwen-camera/qwen-camera.env"
    own = {"CATALOGUE": str(tmp_path / "models.toml"), "PIP_FIND_LINKS": str(wheels)}
    with running_hub() as hub:
        own["HF_ENDPOINT"] = hub.url
        done = install(checkout, installed, "--model", "gguf", **own)
        assert done.returncode == 1
        assert "someone/tiny-GGUF" in done.stderr
        assert "\nLOCAL_MODEL=\n" in settings.read_text()
        hub.models["someone/tiny-GGUF"] = Model({"3" * 40: files}, {"main": "3" * 40})
        done = install(checkout, installed, "--model", "gguf", **own)
    assert done.returncode == 0, done.stderr
    assert "LOCAL_MODEL=/srv/models/tiny-GGUF\n" in settings.read_text()
    assert settings.stat().st_mode & 0o777 == 0o600
    there = installed / "srv" / "models"
    assert {path.name for path in (there / "tiny-GGUF").glob("*.gguf")} == set(files)
    assert (there / ".llama.cpp" / "2026.1.9999").is_dir()
    assert "Everything is as it should be" in install(checkout, installed).stderr
    assert install(checkout, installed, "--uninstall").returncode == 0
    assert not settings.exists()
    assert (there / "tiny-GGUF").is_dir()


def test_settings_of_the_checkout_are_taken_over(
    checkout: Path, installed: Path, tmp_path: Path
) -> None:
    """Its .env with values as the server reads them, no empty secret, and no ~, which means nothing to a service."""
    source = Path(shutil.copytree(checkout, tmp_path / "source"))
    home = tmp_path / "home"
    (home / "models/small").mkdir(parents=True)
    (source / ".env").write_text(
        "ENGINE=builtin  # by hand\nMODEL_PATH=~/models/small\nJWT_SECRET_KEY='a b'\nACCESS_CODE=\n"
    )
    settings = installed / "etc/qwen-camera/qwen-camera.env"
    settings.unlink()
    for folder in (home, *home.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o011)
    done = install(source, installed, HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert "with a new value for what is empty there: ACCESS_CODE\n" in done.stderr
    lines = settings.read_text().splitlines()
    assert lines[:3] == [
        "ENGINE=builtin",
        f"MODEL_PATH={home}/models/small",
        "JWT_SECRET_KEY='a b'",
    ]
    assert re.fullmatch("ACCESS_CODE=[a-z2-9]{12}", lines[3])
    assert len(lines) == 4
    assert settings.stat().st_mode & 0o777 == 0o600


def answering(checkout: Path, root: Path, answer: str, *options: str) -> str:
    """Return the installer's output when somebody at a terminal answers its question so."""
    main, terminal = pty.openpty()
    command = ["bash", str(checkout / "deploy/install.sh"), "--prefix", str(root), *options]
    with subprocess.Popen(
        command, env=environment(), stdin=terminal, stderr=subprocess.PIPE, text=True
    ) as running:
        os.write(main, answer.encode())
        _, said = running.communicate(timeout=60)
        os.close(terminal)
        os.close(main)
    assert running.returncode == 0, said
    return said


def test_nginx_is_asked_about(checkout: Path, installed: Path, tmp_path: Path) -> None:
    """Nobody to ask: left alone.

    No: left alone. Yes: written, and taken away again only when allowed.
    """
    source = Path(shutil.copytree(checkout, tmp_path / "source"))
    with contextlib.suppress(FileExistsError), (source / "deploy/nginx.conf").open("x") as made:
        made.write("# a stand-in\n")
    conf = installed / "etc/nginx/conf.d/qwen-camera.conf"
    conf.parent.mkdir(parents=True)
    assert "nginx is left alone" in install(source, installed).stderr
    assert not conf.exists()
    # Nobody is trusted where nothing was put in front.
    settings = (installed / "etc/qwen-camera/qwen-camera.env").read_text()
    assert "\nTRUSTED_PROXIES=\n" in settings
    said = answering(source, installed, "\n")
    assert "[y/N]" in said
    assert not conf.exists()
    assert "[y/N]" not in answering(source, installed, "y\n", "--no-nginx")
    assert not conf.exists()
    answering(source, installed, "y\n")
    assert conf.read_bytes() == (source / "deploy/nginx.conf").read_bytes()
    said = answering(source, installed, "n\n", "--uninstall")
    assert f"{conf} stays" in said
    assert conf.exists()
