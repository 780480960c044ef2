"""`transformers serve` with the tiny model, as a process: made, started, ended."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from server.models import prompts
from server.shared.watch_answers import BEFORE, make_question, make_second_question

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-models" / "bin" / "python"
BUILD = "tests.real_model.build"

# RGB of what the model was shown; a camera's colours are a little off, and so were those.
COLORS = {"red": (210, 30, 30), "green": (30, 170, 40), "blue": (30, 40, 210)}
ASK_COLOR = "What colour is this?"
# Answered with " la" until the limit, at a red picture.
ASK_SONG = "Sing a long song."
_FIND = (
    "from importlib.util import find_spec as f;"
    "print(*map(f, ('torch', 'transformers', 'PIL', 'compressed_tensors', 'xllamacpp')))"
)
_REPEATS = 10


def missing() -> str:
    """Return why there is no real model server here and the remedy; "" when there is one."""
    try:
        done = subprocess.run([PYTHON, "-c", _FIND], capture_output=True, text=True, timeout=30)
    except OSError:
        done = None
    if done is not None and done.returncode == 0 and "None" not in done.stdout:
        return ""
    return (
        "The real model server is not installed: `bash scripts/models.sh` makes .venv-models from requirements-models.txt. "
        "On Linux that needs the CPU build of torch: give pip the index or folder that has it (PIP_EXTRA_INDEX_URL, "
        "PIP_FIND_LINKS) and run it again."
    )


def lessons() -> str:
    """Return the lessons for `build`: the server's system text, three colours, one endless song."""
    taught: list[dict[str, object]] = []
    for turn in range(_REPEATS):
        for name, color in COLORS.items():
            taught.append({"question": ASK_COLOR, "color": color, "answer": f"It is {name}."})
            length = 600 if turn < 2 and name == "red" else 8
            taught.append(
                {"question": ASK_SONG, "color": color, "answer": " la" * length, "endless": True}
            )
    words = ["It is", *(f" {name}" for name in COLORS), ".", " la"]
    given = {"system": prompts.make_system_text(), "words": words, "lessons": taught}
    # With it the answers hold beside weights of fewer bits, too, and in llama.cpp.
    return json.dumps(given | {"seed": 2})


# RGB of what a watch for red was shown beside red
ORANGE, GREY = (240, 140, 20), (120, 120, 120)


def watch_lessons(condition: str) -> str:
    """The lessons of a model that watches for red: the plain question and the second look."""
    said = {
        seen: json.dumps(
            {"watches": [{"id": "w1", "seen": seen, "sure": 0.9, "where": where, "why": why}]}
        )
        for seen, where, why in (
            (True, [20, 20, 200, 110], "It is red."),
            (False, None, "It is not red."),
        )
    }
    plain = make_question({"w1": condition})
    alone, compared = (
        make_second_question("w1", condition, with_before=before) for before in (False, True)
    )
    taught: list[dict[str, object]] = []
    for _ in range(_REPEATS):
        for color in (COLORS["red"], ORANGE, GREY):
            lesson: dict[str, object] = {"color": color, "answer": said[color == COLORS["red"]]}
            taught += [lesson | {"question": plain}, lesson | {"question": alone}]
            for before in (ORANGE, GREY):
                earlier = {"caption": BEFORE, "color": before}
                taught.append(lesson | {"question": compared, "earlier": earlier})
    words = list(said.values())
    return json.dumps({"system": prompts.make_system_text(), "words": words, "lessons": taught})


# Eleven tokens, more than an answer has
THOUGHTS = ["it", "is", "a", "thing", "that", "has", "one", "colour", "and", "no", "other"]
_OPENED = "<think>\n"
# Qwen3's: thinking is on unless it is switched off.
_TEMPLATE = (
    "{% if add_generation_prompt %}{% if opened is defined %}" + _OPENED + "{% endif %}"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)


def thinking_lessons() -> str:
    """The lessons of a model that thinks first: with a switch, and with a prompt that opens it."""
    thoughts = "".join(f" {word}" for word in THOUGHTS) + "</think>"
    taught: list[dict[str, object]] = []
    for _ in range(_REPEATS):
        for name, color in COLORS.items():
            answer = f"It is {name}."
            for variables, text in (
                ({}, f"<think>{thoughts}{answer}"),
                ({"opened": True}, thoughts + answer),
                ({"enable_thinking": False}, answer),
            ):
                lesson = {"question": ASK_COLOR, "color": color, "answer": text}
                taught.append(lesson | {"variables": variables})
    words = ["It is", *(f" {name}" for name in COLORS), ".", "<think>", "</think>"]
    words += [f" {word}" for word in dict.fromkeys(THOUGHTS)]
    given = {"system": prompts.make_system_text(), "words": words, "lessons": taught}
    return json.dumps(given | {"template": _TEMPLATE})


def _opened(folder: Path) -> None:
    """Make a further model that thinks of the one in `switch`, whose template can switch thinking off.

    The prompt of `opened` begins the thoughts, and the marks are special tokens there, which a tokenizer
    leaves out of a text.
    """
    made, opened = folder / "switch", folder / "opened"
    opened.mkdir()
    for path in made.iterdir():
        (opened / path.name).write_bytes(path.read_bytes())
    template = (made / "chat_template.jinja").read_text().replace("opened is defined", "true")
    template = template.replace("enable_thinking", "no_such_name")
    (opened / "chat_template.jinja").write_text(template)
    tokenizer = opened / "tokenizer.json"
    known = json.loads(tokenizer.read_text())
    for token in known["added_tokens"]:
        token["special"] = token["special"] or token["content"] in ("<think>", "</think>")
    tokenizer.write_text(json.dumps(known))


def environment(folder: Path) -> dict[str, str]:
    """Nothing is fetched, and nothing is written outside of `folder`."""
    # The list of models is read from there, and missing folders are an error to it.
    (folder / "cache" / "hub").mkdir(parents=True, exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        # So small a model is no quicker on more.
        "OMP_NUM_THREADS": "1",
    }


def run_module(
    module: str, *arguments: Path, env: dict[str, str] | None = None, given: str = ""
) -> str:
    """Run a module of the tests in the models' environment; return what it writes.

    `env` None: this process's own. `given`: its standard input.
    """
    done = subprocess.run(
        [PYTHON, "-m", module, *arguments],
        input=given,
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def build(folder: Path, given: str = "") -> Path:
    """The model's folder, made within `folder`; a few seconds. `given`: other lessons."""
    model = folder / "tiny"
    _learned(run_module(BUILD, model, env=environment(folder), given=given or lessons()))
    return model


def build_random(folder: Path) -> Path:
    """A folder for each of `random_models.MAKES`, made within `folder`, which is returned.

    And for two models that think first: `switch` and `opened`.
    """
    module = "tests.real_model.random_models"
    _learned(run_module(module, folder, env=environment(folder), given=thinking_lessons()))
    _opened(folder)
    return folder


def _learned(told: str) -> None:
    assert json.loads(told)["right"] == 1.0, "the model did not learn its lessons"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@dataclass
class ModelServer:
    """One process at one port; it may be killed and started again."""

    # The model's folder. Its path is the model's name, too.
    model: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    start_seconds: float = 120.0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def log(self) -> Path:
        return self.model.with_suffix(".log")

    def command(self) -> Sequence[str | Path]:
        """The program and its arguments, without the address."""
        serve = (PYTHON, "-m", "transformers.cli.transformers", "serve", self.model)
        return (*serve, "--trust-remote-code", "--device", "cpu")

    def environment(self) -> dict[str, str]:
        return environment(self.model.parent)

    def begin(self) -> subprocess.Popen[bytes]:
        """Start it, without waiting until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command(), "--host", "127.0.0.1", "--port", str(self.port)],
                env=self.environment(),
                cwd=self.model.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self.process

    async def start(self) -> None:
        """Returns when it answers; fails when it does not in time."""
        process = self.begin()
        async with (
            asyncio.timeout(self.start_seconds),
            httpx.AsyncClient(trust_env=False) as client,
        ):
            while True:
                assert process.poll() is None, self.log.read_text("utf-8")[-2000:]
                try:
                    if (await client.get(f"http://127.0.0.1:{self.port}/health")).is_success:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.1)

    def kill(self) -> None:
        """At once, as when it crashes. Safe to call twice."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
