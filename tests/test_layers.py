"""The architecture, held by tests: imports point down, pure rooms stay pure, each module has its test."""

from __future__ import annotations

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Highest first. A name ending in ".*" is a folder; a module of its own name goes before its folder.
LEVELS: dict[int, tuple[str, ...]] = {
    6: ("main", "engine_room", "access_room"),
    5: (
        *(
            "routes",
            "whip",
            "request_guard",
            "health_guard",
            "services",
            "sockets",
            "serving",
            "terminal",
        ),
        *("gauges", "operations", "operator_routes", "generation_routes"),
        "session_routes",
    ),
    4: (
        *("session_manager", "session", "answers", "describing", "requests", "stills", "told"),
        *("operator_desk", "operator_panel"),
    ),
    3: (
        *("webrtc_server", "rtc.receiver", "camera", "inference", "fair_queue", "jobs"),
        *("health", "history", "outbox", "logs", "relays", "operator_guard", "devices"),
    ),
    2: (
        "engines.*",
        "fetch.*",
        "generation.*",
        "prompts",
        "token_scale",
        "scene_watch",
        "sending",
        "auth",
        "http_guard",
        "http_errors",
        "ws_protocol",
        "http_protocol",
        "plain_http",
        "redis_store",
        "shared_limits",
        "guesses",
    ),
    1: (
        *("vision.*", "rtc.*", "catalogue.*"),
        *(
            "attempts",
            "bucket",
            "connections",
            "gpu",
            "pairing",
            "qr",
            "relay_check",
            "revoked",
            "ring",
            "sd_notify",
        ),
    ),
    0: (
        *("frames", "messages", "errors", "aio", "metrics", "origins", "addresses"),
        *("setting_text", "tls_files", "redact", "core_dumps"),
    ),
}
# Who may import a neighbour of its own level; folders of one level are open within themselves.
NEIGHBOURS = {
    "main": {"access_room", "engine_room"},
    "messages": {"errors", "frames"},
    "setting_text": {"addresses", "origins"},
    "tls_files": {"setting_text"},
    "guesses": {"shared_limits"},
    "http_guard": {"http_errors"},
    "prompts": {"engines.base"},
    "engines.*": {"prompts"},
    "generation.*": {
        *("engines.wire", "engines.worker_process", "engines.base"),
        *("engines.loaded", "engines.loading", "engines.process_memory", "engines.bounded_http"),
    },
    "inference": {"fair_queue", "jobs"},
    "webrtc_server": {"camera", "rtc.receiver"},
    "session": {"answers", "describing", "requests", "stills", "told"},
    "describing": {"answers", "requests"},
    "stills": {"requests"},
    "told": {"requests"},
    "session_manager": {"session"},
    "services": {"sockets"},
    "request_guard": {"services"},
    "health_guard": {"request_guard", "services"},
    "routes": {"health_guard", "request_guard", "services"},
    "generation_routes": {"operator_routes", "services"},
    "session_routes": {"operator_routes", "services"},
    "whip": {"request_guard", "services"},
    "operator_routes": {"operations", "request_guard", "services"},
}
AIORTC = {"webrtc_server", "rtc.receiver", "rtc.header_extensions"}
AIOICE = {"rtc.datagrams", "rtc.gathering", "rtc.ice_restart", "relay_check"}
# No event loop, no web framework, no network: what they need to know of time is an argument.
PURE = (
    *(
        "vision.*",
        "catalogue.*",
        "rtc.color_space",
        "rtc.payload",
        "rtc.h264_sps",
        "rtc.h264_units",
        "rtc.picture_memory",
        "rtc.silence",
        "rtc.vp8_header",
        "rtc.assemble",
        "rtc.missing",
        "rtc.packet",
        "rtc.packets_ahead",
        "rtc.capture_clock",
        "rtc.rate",
        "rtc.sender_plan",
        "rtc.train",
        "rtc.window_minimum",
    ),
    *(
        "rtc.camera_state",
        "rtc.offer",
        "rtc.answer",
        "rtc.sdpfrag",
        "fair_queue",
        "prompts",
        "history",
        "token_scale",
        "pairing",
        "qr",
        "revoked",
        "scene_watch",
        "sending",
        "ring",
        "attempts",
    ),
    *("frames", "messages", "errors", "origins", "addresses", "setting_text", "tls_files"),
    *("generation.rules", "generation.bounds", "generation.mp4", "generation.wav"),
    "generation.mp4_reader",
    "generation.first_frame",
    *("engines.loading", "engines.manager_status", "redact"),
)
IMPURE = {"asyncio", "fastapi", "starlette", "uvicorn", "aiortc", "aioice", "socket", "openai"}
# Tested through another module's test, with the reason.
TESTED_ELSEWHERE: dict[str, str] = {
    "access_room": "a part of the program: tests/test_session_routes.py, test_routes.py, test_operator_routes.py",
    "errors": "tests/test_error_texts.py, beside tests/test_http_errors.py and tests/test_logs.py",
    "frames": "data without behaviour",
    "fetch.errors": "an exception",
    "requests": "a part of a session: tests/test_session.py",
    "operations": "what it joins: tests/test_operator_routes.py, over a real server",
    "told": "what a session tells: tests/test_session.py, tests/test_sockets.py",
    "engines.base": "a protocol and data without behaviour",
    "engines.discovery": "what an engine's probe finds: tests/test_openai_remote.py, over a real server",
    "engines.chat_stream": "the engine's reading: tests/test_openai_remote.py, over a real server",
    "engines.local_errors": "the local engine's sentences: tests/test_local.py",
    "engines.local_answers": "the answers of a worker: tests/test_local.py, with real workers",
    "engines.worker_process": "the local engine's process: tests/test_local.py, with real workers",
    "engines.local_loaded": "the local engine as the manager runs it: tests/browser/test_page_local.py",
    "engines.worker.*": "tests/test_local.py, with real models; tests/test_worker.py what needs no torch",
    "engines.builtin.*": "tests/test_builtin_engine.py, test_builtin_fields.py, test_builtin_intents.py, test_builtin_scenes.py",
    "engines.builtin.languages.*": "words and phrases: tests/test_builtin_intents.py",
    "request_guard": "what routes ask of it: tests/test_routes.py, tests/test_hostile_http.py",
    "services": "data, and the way of an offer: tests/test_routes.py, tests/test_whip.py",
    "gauges": "what /metrics shows of them: tests/test_metrics.py, over a real server",
    "rtc.packet": "data without behaviour",
    "generation.assembly": "the file of a piece of work: tests/test_making.py",
    "generation.progress": "data without behaviour",
    "generation.worker.*": "what makes videos and sound: tests/test_generator.py, with true models",
    "jobs": "the life of a job: tests/test_inference.py",
    "engines.vllm_help": "tests/test_start_vllm.py, with stand-ins that print what versions print",
    "catalogue.choice": "tests/test_catalogue_command.py",
    "catalogue.families": "tests/test_catalogue_folder.py",
    "catalogue.mount": "tests/test_catalogue_command.py",
    "catalogue.machine": "data, and what tests/test_catalogue_modes.py tries of it",
    "catalogue.weights": "tests/test_catalogue_folder.py",
    "catalogue.vllm_log": "tests/test_start_vllm.py, tests/test_loading.py",
    "engines.keeper": "tests/test_process.py, as the process that it is",
    "engines.process_memory": "tests/test_process.py",
    "engines.model_run": "what the manager runs: tests/test_manager.py, tests/test_manager_real.py",
    "engines.manager_status": "data, and sentences that tests/test_manager.py reads",
    "engines.loaded": "one run of a model: tests/test_manager.py, tests/test_manager_real.py",
    "catalogue.vllm": "tests/test_catalogue_command.py, tests/test_start_vllm.py",
}


def modules() -> dict[str, Path]:
    """Each module of server/ by its name within it."""
    folder = ROOT / "server"
    files = sorted(path for path in folder.rglob("*.py") if path.name != "__init__.py")
    return {".".join(path.relative_to(folder).with_suffix("").parts): path for path in files}


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


def outside(path: Path) -> set[str]:
    """The packages that a file imports."""
    return {name.partition(".")[0] for name in imported(path)}


def matches(module: str, patterns: tuple[str, ...]) -> bool:
    return module in patterns or f"{module.partition('.')[0]}.*" in patterns


def level(module: str) -> int:
    """The module's level; its own name decides before its folder."""
    for number, names in LEVELS.items():
        if module in names:
            return number
    for number, names in LEVELS.items():
        if matches(module, names):
            return number
    pytest.fail(f"server/{module.replace('.', '/')}.py has no level in LEVELS")


@pytest.mark.parametrize("module", modules())
def test_imports_point_down(module: str) -> None:
    """A module imports from lower levels, and from its own only what is noted or in its own folder."""
    for other in ours(modules()[module]):
        same_folder = "." in module and module.partition(".")[0] == other.partition(".")[0]
        if level(other) == level(module) and same_folder:
            continue
        noted = any(
            other in others for name, others in NEIGHBOURS.items() if matches(module, (name,))
        )
        assert level(other) < level(module) or (
            noted and level(other) == level(module)
        ), f"{module} (level {level(module)}) imports {other} (level {level(other)})"


def test_no_circles() -> None:
    """Neighbours do not import each other both ways, over however many corners."""
    graph = {module: ours(path) for module, path in modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports go round in a circle: {' -> '.join(error.args[1])}")


def test_two_modules_know_aiortc() -> None:
    """Only the connection and the receiver import aiortc; aioice is known to four small rooms."""
    for package, allowed in (("aiortc", AIORTC), ("aioice", AIOICE)):
        knowing = {name for name, path in modules().items() if package in outside(path)}
        assert knowing <= allowed


def test_only_main_reads_the_settings() -> None:
    """In server/ the composition root alone imports config; config.py needs no more of it than what checks values."""
    knowing = {name for name, path in modules().items() if "config" in outside(path)}
    assert knowing <= {"main", "access_room", "engine_room"}
    assert ours(ROOT / "config.py") == {"addresses", "origins", "setting_text", "tls_files"}


@pytest.mark.parametrize("module", [name for name in modules() if matches(name, PURE)])
def test_pure_rooms(module: str) -> None:
    """No event loop, web framework or network in the rooms that only compute."""
    assert not outside(modules()[module]) & IMPURE


def test_workers_know_nothing_of_the_server() -> None:
    """They run where only torch and its company are installed: of ours they know what needs no more, and their own folder."""
    allowed = {
        "torch",
        "transformers",
        "numpy",
        "PIL",
        "jinja2",
        "server",
    } | sys.stdlib_module_names
    workers = [name for name in modules() if name.startswith("engines.worker.")]
    assert workers
    bare = {"engines.wire", "catalogue.weights", "core_dumps"}
    for module in [*workers, *bare]:
        path = modules()[module]
        assert outside(path) <= allowed, module
        assert all(n in bare or n.startswith("engines.worker.") for n in ours(path)), module
    for module in bare:
        assert outside(modules()[module]) <= sys.stdlib_module_names, module


# What the engines know of this machine and its programs.
MACHINE = {"engines.vllm_help", "engines.keeper", "engines.process_group", "engines.host"}


def test_scripts_leave_the_server_alone() -> None:
    """Scripts use what the server offers over the network, config.py, and what knows nothing of the server."""
    for path in sorted((ROOT / "scripts").rglob("*.py")):
        rest = {name for name in ours(path) if not name.startswith(("catalogue.", "fetch."))}
        assert rest <= {"relay_check", "gpu", "core_dumps", *MACHINE}, path.name
        assert "server" not in outside(path) or ours(path), path.name
    for name in ("relay_check", "gpu", "core_dumps"):
        assert not ours(ROOT / "server" / f"{name}.py")
    for name, path in modules().items():
        if name.startswith("fetch."):
            assert all(other.startswith(("catalogue.", "fetch.")) for other in ours(path)), name


@pytest.mark.parametrize("module", modules())
def test_each_module_has_its_test(module: str) -> None:
    """server/a/b.py is tested in tests/test_b.py or test_a_b.py, or it says above where else."""
    parts = module.split(".")
    names = ["_".join(parts[at:]) for at in range(len(parts))]
    found = any((ROOT / "tests" / f"test_{name}.py").is_file() for name in names)
    elsewhere = module in TESTED_ELSEWHERE or ".".join([*parts[:-1], "*"]) in TESTED_ELSEWHERE
    assert found or elsewhere, f"write tests/test_{names[-1]}.py"


def test_exceptions_are_still_needed() -> None:
    """No list above names a module that is gone, or excuses one that has its test by now."""
    for module in TESTED_ELSEWHERE:
        if module.endswith(".*"):
            assert any(name.startswith(module[:-1]) for name in modules()), module
            continue
        assert module in modules()
        assert not (ROOT / "tests" / f"test_{module.rpartition('.')[2]}.py").exists(), module
