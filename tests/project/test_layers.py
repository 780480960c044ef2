"""The architecture, held by tests: imports point down, pure rooms stay pure, each module has its test."""

from __future__ import annotations

import ast
import functools
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Folders and their heads, lowest first: a module imports from its own folder and from what stands before it.
ORDER = (
    "core",
    "vision",
    "attention",
    "voice",
    "rtc.rate",
    "rtc",
    "rtc.media",
    "rtc.patches",
    "rtc.sound",
    "catalogue",
    "fetch",
    "webhooks",
    "auth",
    "access",
    "grants",
    "processes",
    "standing.worker",
    "engines",
    "engines.builtin",
    "engines.openai",
    "engines.speech.recogniser_worker",
    "engines.speech.voice_worker",
    "engines.speech",
    "engines.local.worker",
    "engines.local",
    "completions",
    "hosting",
    "generation",
    "generation.worker",
    "camera",
    "webrtc_server",
    "queue",
    "inference",
    "session.request",
    "session.cameras",
    "session.watches",
    "session.background",
    "session.speech",
    "session.questions",
    "session.listening",
    "session",
    "session_manager",
    "standing",
    "mqtt",
    "listen",
    "web",
    "programs",
    "operator",
    "program",
    "main",
)
# Each file at the top of server/ is the head of a folder.
HEADS = {
    "main": "program",
    "webrtc_server": "camera",
    "inference": "queue",
    "session_manager": "session",
    "auth": "access",
}
AIORTC = {"webrtc_server", "rtc.patches", "rtc.sound.section"}
AIOICE = {"rtc.patches", "rtc.turn_check"}
# Folders without event loop, web framework and network, and who in them needs one.
PURE: dict[str, set[str]] = {
    "core": {"aio"},
    "vision": set(),
    "attention": set(),
    "voice": set(),
    "rtc": {"turn_check"},
    "rtc.rate": set(),
    "rtc.media": {"decode", "video_stream"},
    "rtc.sound": {"section"},
    "catalogue": set(),
    "access": {"redis_store"},
    "webhooks": {"sender", "webhooks"},
    "grants": set(),
    "mqtt": {"client", "link", "mqtt"},
    "standing.worker": {"connection"},
    "camera": {"camera"},
    "queue": {"run", "failover"},
    "engines": {"selector"},
    "completions": set(),
}
# Pure modules of other folders
PURE_MODULES = {
    *("hosting.actions", "hosting.events", "hosting.lifecycle", "hosting.status"),
    "standing.reconnect",
}
IMPURE = {
    *("asyncio", "fastapi", "starlette", "uvicorn", "aiortc", "aioice", "socket", "openai"),
    "aiomqtt",
}
# Tested through another module's test, with the reason.
TESTED_ELSEWHERE: dict[str, str] = {
    "web.connection_guard": "what requests and sockets are asked: tests/web/test_routes.py, test_websocket.py, test_hostile_http.py",
    "session.cameras.cameras": "invited, joined, asked, lost and ended: tests/web/test_cameras.py, with true peers",
    "session.questions.around": "frames and pictures of several cameras: tests/web/test_cameras.py",
    "session.entries": "who makes room: tests/session/test_session_manager.py",
    "session.request.shown": "tests/session/request/test_answers.py",
    "programs.mcp_endpoint": "over both transports: tests/programs/test_mcp.py",
    "programs.tools": "each tool: tests/programs/test_mcp.py",
    "programs.guard": "who gets in with which token: tests/programs/test_routes.py",
    "completions.errors": "tests/completions/test_answer.py",
    "completions.fields": "tests/completions/test_request.py",
    "session.programs.chat_pictures": "of now, held and of the past: tests/programs/test_chat_routes.py",
    "session.programs.program_chat": "a program's conversation: tests/programs/test_chat_routes.py",
    "session.programs.program_question": "the way of one: tests/session/programs/test_programs.py",
    "session.questions.hold": "holding and releasing: tests/session/test_session.py",
    "session.questions.questions": "the questions of a session: tests/session/test_session.py, test_picture_reuse.py",
    "session.questions.submitting": "from the frame to the queue: tests/session/test_session.py, tests/session/questions/test_pointing.py, test_reading.py",
    "session.background_work": "its parts: tests/session/test_session.py, tests/session/background/, tests/session/watches/",
    "web.session_socket": "one socket: tests/web/test_websocket.py",
    "core.close_codes": "data without behaviour: tests/project/test_documents.py compares it with docs/protocol.md",
    "program.app": "the program behind its routes: tests/program/test_main.py, and each test of a route",
    "program.program": "its beginning and end: tests/program/test_main.py, as a process",
    "program.draining": "the operator's drain, at two gateways: tests/operator/test_drain_routes.py",
    "program.ends": "ends that another process ordered: tests/access/test_shared_limits.py",
    "program.shared_parts": "over a true Redis: tests/access/test_gateways.py, tests/program/test_moving.py, tests/program/test_main.py",
    "program.access_parts": "a part of the program: tests/operator/test_session_routes.py, tests/web/test_routes.py, tests/operator/test_routes.py",
    "core.errors": "tests/core/test_error_texts.py, beside tests/web/test_http_errors.py and tests/core/test_logs.py",
    "core.frames": "data without behaviour",
    "core.sound": "data without behaviour",
    "core.secret_rules": "tests/project/test_config.py",
    "core.time_limits": "tests/engines/openai/test_engine.py, tests/engines/speech/test_server_recogniser.py",
    "mqtt.client": "bounds around a broker: tests/mqtt/test_link.py, with scripted ones, and tests/mqtt/test_house.py",
    "mqtt.looking": "a look that was ordered: tests/mqtt/test_house.py",
    "mqtt.states": "what goes out when: tests/mqtt/test_mqtt.py",
    "mqtt.device": "data without behaviour",
    "program.house_parts": "a part of the program: tests/mqtt/test_house.py",
    "standing.asking": "a question over HTTP: tests/standing/test_standing.py",
    "standing.reader": "one camera's process: tests/standing/test_standing.py, with true servers",
    "standing.worker.*": "a camera's process: tests/standing/test_standing.py, with true and scripted servers",
    "core.operator_list": "a file of the operator's: tests/core/test_standing_list.py, test_webhook_list.py",
    "core.setting_doubts": "tests/project/test_config.py",
    "core.setting_errors": "tests/project/test_config.py",
    "core.setting_fields": "tests/project/test_config.py",
    "core.setting_file": "tests/project/test_config.py",
    "core.setting_problems": "tests/project/test_config.py",
    "core.messages.*": "tests/core/test_messages.py",
    "attention.alignment": "where a moved camera's change lies: tests/attention/test_gate.py",
    "attention.evidence": "patches and two looks: tests/attention/test_gate.py",
    "attention.luma_change": "objects, weak and slow ones, busy parts: tests/attention/test_gate.py",
    "attention.chroma_change": "other colors: tests/attention/test_gate.py",
    "attention.print_change": "other words on a display: tests/attention/test_gate.py",
    "attention.scratch": "shared by cameras and threads: tests/attention/test_gate.py",
    "camera.no_frame": "the errors of a question without a frame: tests/camera/test_camera.py",
    "operator.service": "what it joins: tests/operator/test_routes.py, over a real server",
    "session.watches.watch_frames": "kept for whom: tests/session/watches/test_watching.py",
    "session.watches.watch_queue": "one request at a time, and again: tests/session/watches/test_watching.py",
    "session.listening.answer_interruption": "speech over an answer: tests/session/listening/test_listening.py",
    "session.listening.spoken_questions": "from turns to questions: tests/session/listening/test_listening.py",
    "session.request.session_tools": "data without behaviour",
    "session.request.preferences": "data without behaviour",
    "session.request.parts": "data without behaviour",
    "session.request.size": "what fits: tests/session/request/test_builder.py",
    "session.session_state": "its steps: tests/session/test_session.py, test_session_manager.py",
    "session.state_messages": "what a session tells: tests/session/test_session.py, tests/web/test_websocket.py",
    "engines.base": "a protocol and data without behaviour",
    "engines.speech.recogniser_worker.*": "tests/engines/speech/test_local_recogniser.py, as the process that it is",
    "engines.speech.base": "protocols and data without behaviour",
    "engines.speech.http_client": "what goes over it: tests/engines/speech/test_synthesis.py, test_transcriptions.py",
    "engines.openai.bounded_socket": "what goes over it: tests/engines/openai/test_answer_socket.py, tests/engines/speech/test_realtime.py",
    "engines.speech.server_state": "what its owners show of it: tests/engines/speech/test_server_recogniser.py, test_server_voice.py",
    "engines.speech.limits": "data: tests/engines/speech/test_synthesis.py, test_transcriptions.py",
    "engines.speech.voice_worker.*": "tests/engines/speech/test_local_voice.py, with a true model",
    "catalogue.kinds": "data without behaviour",
    "engines.order_tables": "words of orders: tests/engines/test_order_words.py",
    "engines.matching": "patterns of words: tests/engines/test_routing.py, tests/engines/builtin/test_intents.py",
    "engines.openai.known_server": "what an engine's probe finds: tests/engines/openai/test_engine.py, tests/engines/openai/test_sight.py",
    "engines.openai.sender": "what a refusal leads to: tests/engines/openai/test_engine.py, test_hearing.py, test_spoken_answer.py",
    "engines.openai.discovery": "what an engine's probe finds: tests/engines/openai/test_engine.py, over a real server",
    "engines.local.errors": "the local engine's sentences: tests/engines/local/test_engine.py",
    "engines.local.worker_messages": "messages of a worker that loads: tests/engines/local/test_engine.py",
    "engines.local.answers": "the answers of a worker: tests/engines/local/test_engine.py, with real workers",
    "hosting.local_runtime": "the local engine as the manager runs it: tests/browser/test_page_local.py",
    "engines.local.worker.*": "tests/engines/local/test_engine.py, with real models; tests/engines/local/test_worker.py what needs no torch",
    "engines.builtin.*": "tests/engines/builtin/test_engine.py, tests/engines/builtin/test_language.py, tests/engines/builtin/test_fields.py, tests/engines/builtin/test_intents.py, tests/engines/builtin/test_scenes.py",
    "web.request_guard": "what routes ask of it: tests/web/test_routes.py, tests/web/test_hostile_http.py",
    "web.context": "data, and forgetting devices: tests/web/test_routes.py, tests/access/test_devices.py",
    "web.offers": "from the page and by WHIP: tests/web/test_routes.py, tests/web/test_whip.py",
    "web.gauges": "what /metrics shows of them: tests/core/test_metrics.py, over a real server",
    "rtc.media.packet": "data without behaviour",
    "rtc.media.far_packets": "restarts of a sender: tests/rtc/media/test_assemble.py",
    "rtc.media.repair_requests": "when they are sent: tests/rtc/media/test_assemble.py",
    "generation.assembly": "the file of a piece of work: tests/generation/test_job.py",
    "generation.worker.*": "what makes videos and sound: tests/generation/test_generator.py, with true models",
    "rtc.rate.reports": "when limits are reported: tests/rtc/rate/test_rate.py",
    "queue.failover": "another engine takes over: tests/queue/test_inference.py",
    "queue.job": "data and a protocol without behaviour",
    "queue.run": "the life of a job: tests/queue/test_inference.py",
    "hosting.vllm_help": "tests/scripts/test_start_vllm.py, with stand-ins that print what versions print",
    "catalogue.choice": "tests/catalogue/test_command.py",
    "catalogue.families": "tests/catalogue/test_folder.py",
    "catalogue.containers": "tests/catalogue/test_command.py",
    "catalogue.launch": "tests/catalogue/test_command.py",
    "catalogue.machine": "data, and what tests/catalogue/test_modes.py tries of it",
    "catalogue.weights": "tests/catalogue/test_folder.py",
    "catalogue.vllm_log": "tests/scripts/test_start_vllm.py, tests/processes/test_log_progress.py",
    "processes.keeper": "tests/processes/test_process.py, as the process that it is",
    "hosting.actions": "data without behaviour: tests/hosting/test_lifecycle.py",
    "hosting.events": "data without behaviour: tests/hosting/test_lifecycle.py",
    "hosting.jobs": "what the manager runs: tests/hosting/test_manager.py, tests/hosting/test_manager_switch.py",
    "hosting.model_run": "what the manager runs: tests/hosting/test_manager.py, tests/hosting/test_manager_real.py",
    "hosting.status": "data, and sentences that tests/hosting/test_manager.py reads",
    "hosting.runtime": "a protocol; what is known about a model: tests/hosting/test_manager.py",
    "hosting.server_runtime": "one run of a model: tests/hosting/test_manager.py, tests/hosting/test_manager_real.py",
    "catalogue.vllm": "tests/catalogue/test_command.py, tests/scripts/test_start_vllm.py",
}


@functools.cache
def modules() -> dict[str, Path]:
    """Each module of server/ by its name within it; a package that others import from counts, too."""
    folder = ROOT / "server"
    files = sorted(path for path in folder.rglob("*.py") if path.name != "__init__.py")
    packages = {"core.messages": folder / "core" / "messages" / "__init__.py"}
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


def outside(path: Path) -> set[str]:
    """The packages that a file imports."""
    return {name.partition(".")[0] for name in imported(path)}


def folder(module: str) -> str:
    """The entry of ORDER that a module belongs to: the nearest of its folders that stands there."""
    parts = module.split(".")
    for at in range(len(parts), 0, -1):
        if (name := ".".join(parts[:at])) in ORDER:
            return name
    pytest.fail(f"server/{module.replace('.', '/')}.py is in no folder of ORDER")


def test_five_files_stand_at_the_top() -> None:
    """Each is the head of a folder; everything else lives in one."""
    top = {path.stem for path in (ROOT / "server").glob("*.py")} - {"__init__"}
    assert top == set(HEADS)
    assert all((ROOT / "server" / name / "__init__.py").is_file() for name in HEADS.values())


def test_each_folder_says_what_lives_there() -> None:
    """In the docstring of its package."""
    for name in sorted({*ORDER} - set(HEADS)):
        path = ROOT / "server" / name.replace(".", "/") / "__init__.py"
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_files_are_short() -> None:
    """At most 400 lines: a longer one has a noun to give away. No file is exempt."""
    found = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in (
            ROOT / "config.py",
            *(
                p
                for name in ("server", "scripts", "benchmarks", "clients")
                for p in (ROOT / name).rglob("*.py")
            ),
        )
    }
    assert found
    assert {path: lines for path, lines in found.items() if lines > 400} == {}


def test_imports_point_down() -> None:
    """A module imports from its own folder and from those below."""
    upward = [
        f"{module} imports {other}"
        for module, path in modules().items()
        for other in ours(path)
        if ORDER.index(folder(other)) > ORDER.index(folder(module))
    ]
    assert upward == []


def test_no_circles() -> None:
    """Neighbours do not import each other both ways, over however many corners."""
    graph = {module: ours(path) for module, path in modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports go round in a circle: {' -> '.join(error.args[1])}")


def test_two_folders_know_aiortc() -> None:
    """Only the connection and the patches import aiortc; aioice is known to the patches and to the check of TURN."""
    for package, allowed in (("aiortc", AIORTC), ("aioice", AIOICE)):
        knowing = {name for name, path in modules().items() if package in outside(path)}
        assert knowing
        assert all(allowed & {name, folder(name)} for name in knowing), knowing


def test_only_main_reads_the_settings() -> None:
    """In server/ the composition root alone imports config; config.py needs no more of it than what checks values."""
    knowing = {name for name, path in modules().items() if "config" in outside(path)}
    assert {folder(name) for name in knowing} <= {"main", "program"}
    assert {folder(name) for name in ours(ROOT / "config.py")} == {"core"}


def test_pure_modules() -> None:
    """Time is an argument there: no event loop, web framework or network, but where it is noted that one is needed."""
    pure = [name for name in modules() if folder(name) in PURE or name in PURE_MODULES]
    assert pure
    noted = {name for name in pure if name.rpartition(".")[2] in PURE.get(folder(name), set())}
    assert {name for name in pure if outside(modules()[name]) & IMPURE} == noted


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
    workers = [name for name in modules() if name.startswith("engines.local.worker.")]
    assert workers
    bare = {
        *("processes.wire", "processes.worker_side", "catalogue.weights", "engines.thinking"),
        *("core.core_dumps", "core.errors"),
    }
    for module in [*workers, *bare]:
        path = modules()[module]
        assert outside(path) <= allowed, module
        assert all(n in bare or n.startswith("engines.local.worker.") for n in ours(path)), module
    for module in bare:
        # Ours among them are of `bare` themselves.
        assert outside(modules()[module]) <= sys.stdlib_module_names | {"server"}, module


# Modules that import nothing of the server.
ALONE = {"rtc.turn_check", "core.gpu", "core.core_dumps"}
# Modules with the engines' knowledge of this machine and its programs.
MACHINE = {"hosting.vllm_help", "processes.environment", "processes.usage", "hosting.host"}
# Modules that a benchmark measures without a server around them.
MEASURED = {
    "gate.py": {"attention.gate", "attention.scratch", "vision.luma"},
    "picture_reuse.py": {"attention.likeness", "attention.scratch"},
    "recall.py": {
        *("attention.attention", "attention.grids", "attention.recall", "attention.scratch"),
        *("core.frames", "engines.past_time", "vision.encode"),
    },
    "room_talk.py": {
        *("core.sound", "voice.barge_in", "voice.detector", "voice.foreground", "voice.turns"),
    },
    "simulate.py": {"core.frames", "core.metrics", "engines.base", "inference", "queue.job"},
    "still_scene.py": {"engines.prompts"},
    "watch_scenes.py": {"attention.watch_answers"},
    "watch_minutes.py": {
        *("attention.attention", "attention.scratch", "attention.watch", "attention.watches"),
        *("attention.watch_answers", "core.frames", "engines.base", "vision.grounding"),
        *("session.watches.watch_request", "session.watches.watch_wakes"),
    },
    "watch_rule.py": {
        "attention.watch",
        "attention.watch_answers",
        "attention.watches",
        "vision.grounding",
        "vision.model_json",
    },
}
# Pure modules with which scripts read a file or a setting as the server does
READ = {"speech.py": {"voice.turn_model"}, "bare_settings.py": {"core.setting_text"}}


def test_scripts_leave_the_server_alone() -> None:
    """Scripts use what the server offers over the network, config.py, and what knows nothing of the server."""
    folders = ("scripts", "benchmarks")
    for path in sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        rest = {name for name in ours(path) if not name.startswith(("catalogue.", "fetch."))}
        own = {*MEASURED.get(path.name, ()), *READ.get(path.name, ())}
        assert rest <= {*ALONE, *MACHINE, *own}, path.name
        assert "server" not in outside(path) or ours(path), path.name
    for name in ALONE:
        assert not ours(modules()[name])
    for name, path in modules().items():
        if name.startswith("fetch."):
            assert all(other.startswith(("catalogue.", "fetch.")) for other in ours(path)), name


def test_scripts_need_no_benchmarks() -> None:
    """A server is installed without them."""
    for folder in ("server", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            assert "benchmarks" not in outside(path), path


def own_test(module: str) -> Path:
    """Return the path of a module's test: in the folder of the same name."""
    module = f"{HEADS[module]}.{module}" if module in HEADS else module
    parent, _, name = module.rpartition(".")
    return ROOT / "tests" / parent.replace(".", "/") / f"test_{name}.py"


def elsewhere(module: str) -> str | None:
    """The entry of TESTED_ELSEWHERE that speaks of a module."""
    names = (module, f"{module.rpartition('.')[0]}.*")
    return next((name for name in names if name in TESTED_ELSEWHERE), None)


def test_each_module_has_its_test() -> None:
    """In the same folder of tests/, or it says above where else."""
    assert modules()
    untested = [name for name in modules() if not own_test(name).is_file() and not elsewhere(name)]
    assert [str(own_test(name)) for name in untested] == []


def test_exceptions_are_still_needed() -> None:
    """No list above names a module that is gone, or excuses one that has its test by now."""
    used = {elsewhere(module) for module in modules() if not own_test(module).is_file()}
    assert set(TESTED_ELSEWHERE) <= used
