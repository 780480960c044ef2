"""The architecture, held by tests: imports point down, pure rooms stay pure, each folder has its tests."""

from __future__ import annotations

import ast
import functools
import importlib
import json
import re
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from server.app.features import EXAMPLES, FEATURES
from tests.support.programs import ran

ROOT = Path(__file__).parents[2]

# Folders and their heads, lowest first: a module imports from its own folder and from what stands before it.
ORDER = (
    "core",
    "media.picture",
    "media",
    "media.video",
    "media.patches",
    "auth",
    "models",
    "models.openai",
    "media.camera",
    "webrtc_server",
    "models.scheduler",
    "inference",
    "session.request",
    "session.part",
    "session.hold",
    "session.submitting",
    "session.questions",
    "session",
    "session_manager",
    "web",
    "app",
    "main",
    "shared",
    "shared.processes",
    "shared.attention",
    "shared.speech",
    "shared.sound",
)
# The modules with an entry of their own: folders beside them use them.
MODULES = {
    "media.camera",
    "session.part",
    "session.hold",
    "session.submitting",
    "session.questions",
    "shared.speech",
}
# Each file at the top of server/ is the head of a folder.
HEADS = {
    "main": "app",
    "webrtc_server": "media",
    "inference": "models.scheduler",
    "session_manager": "session",
    "auth": "web",
}
AIORTC = {"webrtc_server", "media.patches", "shared.sound.line", "features.realtime.channel"}
AIOICE = {"media.patches", "shared", "features.cameras"}
# Folders without event loop, web framework and network, and who in them needs one.
PURE: dict[str, set[str]] = {
    "core": {"aio"},
    "media.picture": set(),
    "media": set(),
    "media.video": {"decode", "video_stream"},
    "media.camera": {"camera"},
    "models": {"selector"},
    "models.scheduler": {"job"},
    "shared": {"network", "turn_check"},
    "shared.sound": {"line"},
    "shared.attention": set(),
}
# Pure modules of other folders
PURE_MODULES = {
    *("features.watches.rule", "features.recall.memory", "features.recall.grids"),
    *("features.pointing.boxes", "features.pointing.claims", "features.reading.text"),
    *("features.voice_in.detector", "features.voice_in.foreground", "features.voice_in.turns"),
    *("features.voice_in.turn_model", "features.voice_out.sentences"),
}
# Known models, and the command that runs one: a part of hosting that scripts use, too
CATALOGUE = "features.hosting.catalogue."
IMPURE = {
    *("asyncio", "fastapi", "starlette", "uvicorn", "aiortc", "aioice", "socket", "openai"),
    "aiomqtt",
}


@functools.cache
def modules() -> dict[str, Path]:
    """Each module of server/ by its name within it; a package that others import from counts, too."""
    folder = ROOT / "server"
    files = sorted(path for path in folder.rglob("*.py") if path.name != "__init__.py")
    names = ("core.messages", "models.families")
    packages = {name: folder.joinpath(*name.split("."), "__init__.py") for name in names}
    named = {".".join(path.relative_to(folder).with_suffix("").parts): path for path in files}
    return named | packages


@functools.cache
def imported(path: Path) -> set[str]:
    """Every dotted name that a file imports, wherever in it; `from a import b` gives a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: write imports from the top"
            assert node.module is not None
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def ours(path: Path) -> set[str]:
    """The modules of server/ that a file imports."""
    names = {name.removeprefix("server.") for name in imported(path) if name.startswith("server.")}
    return names & modules().keys()


def features() -> list[str]:
    """The packages of features."""
    return sorted(path.parent.name for path in (ROOT / "server/features").glob("*/__init__.py"))


@functools.cache
def needed(module: str) -> tuple[str, ...]:
    """The features that a module's feature says it needs."""
    package = importlib.import_module(f"server.{folder(module)}")
    return tuple(f"features.{name}" for name in getattr(package, "NEEDS", ()))


@functools.cache
def types_alone(path: Path) -> set[str]:
    """The modules of server/ that a file imports for types alone."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            names |= {
                n.module for n in ast.walk(node) if isinstance(n, ast.ImportFrom) and n.module
            }
    return {name.removeprefix("server.") for name in names}


def outside(path: Path) -> set[str]:
    """The packages that a file imports."""
    return {name.partition(".")[0] for name in imported(path)}


def folder(module: str) -> str:
    """The entry of ORDER that a module belongs to: the nearest of its folders that stands there."""
    parts = module.split(".")
    if parts[0] == "features":
        return ".".join(parts[:2])
    for at in range(len(parts), 0, -1):
        if (name := ".".join(parts[:at])) in ORDER:
            return name
    pytest.fail(f"server/{module.replace('.', '/')}.py is in no folder of ORDER")


def test_five_files_stand_at_the_top() -> None:
    """Each is the head of a folder; everything else lives in one."""
    top = {path.stem for path in (ROOT / "server").glob("*.py")} - {"__init__"}
    assert top == set(HEADS)
    folders = (ROOT / "server" / name.replace(".", "/") for name in HEADS.values())
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_each_folder_says_what_lives_there() -> None:
    """In the docstring of its package."""
    names = {*ORDER, *(f"features.{name}" for name in features())}
    for name in sorted(names - set(HEADS) - MODULES):
        path = ROOT / "server" / name.replace(".", "/") / "__init__.py"
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_imports_point_down() -> None:
    """A module of the core imports from its own folder and from those below: never from a feature."""
    order = {name: number for number, name in enumerate(ORDER)}
    upward = [
        f"{module} imports {other}"
        for module, path in modules().items()
        if not module.startswith("features.")
        for other in ours(path)
        if order.get(folder(other), len(order)) > order[folder(module)]
    ]
    assert upward == []


def test_what_features_share_knows_the_core_alone() -> None:
    """Neither the composition root, nor HTTP, nor a feature."""
    strays = [
        f"{module} imports {other}"
        for module, path in modules().items()
        if module.startswith("shared.")
        for other in ours(path)
        if other.startswith(("features.", "app.", "web.", "main"))
    ]
    assert strays == []


def test_features_stand_alone() -> None:
    """A feature imports the core and itself; of the composition root what it registers with, of others types alone."""
    found = features()
    assert set(found) == {*FEATURES, *EXAMPLES} & set(found) != set()
    strays = [
        f"{module} imports {other}"
        for module, path in modules().items()
        if module.startswith("features.")
        for other in ours(path) - types_alone(path)
        if folder(other) not in (folder(module), *needed(module))
        and (
            other.startswith(("features.", "main"))
            or (folder(other) == "app" and other != "app.api")
        )
    ]
    assert strays == []


def test_the_cores_tests_know_no_feature() -> None:
    """A test of the core, and what a session or a client is in tests, import none; the whole program is app's."""
    folders = [ROOT / "tests" / name for name in ("core", "media", "models", "session", "web")]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    files += [ROOT / "tests/support" / f"{name}.py" for name in ("clients", "fakes", "rooms")]
    assert len(files) > 90
    knows = re.compile(r"^\s*(?:from|import) (?:server|tests)\.features\b", re.MULTILINE)
    assert [str(path) for path in files if knows.search(path.read_text("utf-8"))] == []


def test_what_is_off_is_not_imported() -> None:
    """Neither by the settings nor by the program."""
    code = (
        "import sys; from config import load; from server.app.app import create_app\n"
        "create_app(load(None, features='', engine='builtin'))\n"
        "print(*(name for name in sys.modules if name.startswith('server.features.')))"
    )
    done = ran([sys.executable, "-c", code], cwd=ROOT, check=True)
    # What is there is found by looking for its settings, which reads each one's first file.
    assert [name for name in done.stdout.split() if name.count(".") > 2] == []


def test_no_circles() -> None:
    """Neighbours do not import each other both ways, over however many corners, nor for types alone."""
    graph = {module: set(ours(path)) for module, path in modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports go round in a circle: {' -> '.join(error.args[1])}")


def test_two_folders_know_aiortc() -> None:
    """Only the connection and the patches import aiortc; aioice is known to the patches, WHIP and the check of TURN."""
    for package, allowed in (("aiortc", AIORTC), ("aioice", AIOICE)):
        knowing = {name for name, path in modules().items() if package in outside(path)}
        assert knowing
        assert all(allowed & {name, folder(name)} for name in knowing), knowing


def test_only_main_reads_the_settings() -> None:
    """In server/ the composition root alone imports config; config.py needs no more of it than what checks values."""
    knowing = {name for name, path in modules().items() if "config" in outside(path)}
    assert {folder(name) for name in knowing} <= {"main", "app"}
    assert {folder(name) for name in ours(ROOT / "config.py")} == {"core", "app"}


def test_pure_modules() -> None:
    """Time is an argument there: no event loop, web framework or network, but where it is noted that one is needed."""
    pure = [
        name
        for name in modules()
        if folder(name) in PURE or name in PURE_MODULES or name.startswith(CATALOGUE)
    ]
    assert pure
    noted = {name for name in pure if name.rpartition(".")[2] in PURE.get(folder(name), set())}
    # A timer runs on the event loop, whoever imports that.
    loops = {name for name in pure if "server.core.aio.Timer" in imported(modules()[name])}
    assert loops | {name for name in pure if outside(modules()[name]) & IMPURE} == noted


def test_workers_know_nothing_of_the_server() -> None:
    """They run where only torch and its company are installed: of ours they know what needs no more, and their own folder."""
    allowed = {"torch", "transformers", "numpy", "PIL", "jinja2", "server"}
    allowed |= sys.stdlib_module_names
    workers = [name for name in modules() if name.startswith("features.local_models.worker.")]
    assert workers
    bare = {
        *(
            "shared.processes.wire",
            "features.hosting.control_groups",
            "features.hosting.catalogue.weights",
        ),
        *("models.files", "models.thinking", "core.core_dumps", "core.errors"),
    }
    for module in [*workers, *bare]:
        path = modules()[module]
        assert outside(path) <= allowed, module
        assert all(
            n in bare or n.startswith("features.local_models.worker.")
            for n in ours(path) - types_alone(path)
        ), module
    for module in bare:
        # Ours among them are of `bare` themselves.
        assert outside(modules()[module]) <= sys.stdlib_module_names | {"server"}, module


# Modules that import nothing of the server.
ALONE = {
    *("shared.turn_check", "features.hosting.gpu", "features.hosting.control_groups"),
    "core.core_dumps",
}
# What is known of models before any is asked
MODELS = {"models.families", "models.files"}
# Modules with the engines' knowledge of this machine and its programs.
MACHINE = {
    *("features.hosting.host", "features.hosting.llama_wheel", "features.hosting.settings"),
    *("shared.processes.environment", "shared.processes.usage"),
}
# Modules that a benchmark measures without a server around them.
MEASURED = {
    "guidance.py": {
        *(
            "core.frames",
            "core.metrics",
            "media.picture.grounding",
            "shared.boxes",
            "session.request.parts",
        ),
        *("features.builtin.beside", "features.builtin.detector", "features.builtin.finder"),
        "features.builtin.reader",
        *("features.builtin.seeking", "features.guidance.leading", "features.guidance.messages"),
    },
    "simulate.py": {
        "core.frames",
        "core.metrics",
        "models.base",
        "inference",
        "models.scheduler.job",
    },
    "machine_run.py": {"media.picture.encode", "models.prompts"},
    "truth.py": {
        *("core.errors", "core.frames", "features.builtin.detector", "features.builtin.engine"),
        *("media.picture.prepare", "models.base", "models.openai.chat_client"),
        *("models.openai.engine", "models.prompts", "models.routing"),
    },
    "voice_line.py": {"shared.sound.line"},
    "watch_scenes.py": {"shared.watch_answers"},
}
# Pure modules with which scripts read a file or a setting as the server does
READ = {
    "local.py": {"features.voice_in.turn_model", "shared.onnx_file"},
    "bare_settings.py": {"core.setting_text"},
}


def test_scripts_leave_the_server_alone() -> None:
    """Scripts use what the server offers over the network, config.py, and what knows nothing of the server."""
    folders = ("scripts", "benchmarks")
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        rest = {name for name in ours(path) if not name.startswith(CATALOGUE)}
        own = {*MEASURED.get(path.name, ()), *READ.get(path.name, ())}
        assert rest <= {*ALONE, *MODELS, *MACHINE, *own}, path.name
        assert "server" not in outside(path) or ours(path), path.name
    for name in ALONE:
        assert not ours(modules()[name])
    for name, path in modules().items():
        if name.startswith(CATALOGUE):
            rest = {other for other in ours(path) if not other.startswith((CATALOGUE, "core."))}
            assert rest <= {*MODELS}, name


def test_scripts_need_neither_benchmarks_nor_tools() -> None:
    """A server is installed without them."""
    for folder in ("server", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not {"benchmarks", "tools"} & outside(path), path


def test_each_folder_has_its_tests() -> None:
    """In the folder of the same name. A worker's may start it in its own environment, in the folder above."""
    lacking = []
    packages = {HEADS.get(name, name) for name in ORDER} - MODULES
    for name in sorted(packages | {f"features.{name}" for name in features()}):
        folder = ROOT / "tests" / name.replace(".", "/")
        folders = [folder, *([folder.parent] if name.endswith("worker") else [])]
        if not any(path for one in folders for path in one.glob("test_*.py")):
            lacking.append(name)
    assert lacking == []


def test_what_is_too_complex_is_listed() -> None:
    """pyproject.toml names the files with a function of more than 12 branches or 7 parameters, and no other one."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
    listed = {name for name, ignored in rules["per-file-ignores"].items() if "C901" in ignored}
    limits = (
        f"lint.mccabe.max-complexity={rules['mccabe']['max-complexity']}",
        f"lint.pylint.max-args={rules['pylint']['max-args']}",
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--exit-zero"),
            *("--select", "C901,PLR0913", "--output-format", "json"),
            *(word for limit in limits for word in ("--config", limit)),
            *("server", "scripts", "tools", "benchmarks", "clients", "deploy", "config.py"),
        ],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    found = {str(Path(one["filename"]).relative_to(ROOT)) for one in json.loads(done.stdout)}
    assert listed - {"tests/**"} == found
