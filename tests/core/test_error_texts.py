"""The errors' two texts: what visitors read names no address, no setting and no command."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import get_known_keys
from server.core import errors
from server.core.errors import EngineError, NoCamera
from server.core.messages import Error, make_error_body
from server.models.base import EngineState, EngineStatus

SERVER = Path(errors.__file__).parents[1]
ENGINE_ERRORS = [
    one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, EngineError)
]
NAMES = {one.__name__ for one in ENGINE_ERRORS}
SETTINGS = set(get_known_keys())
CANARY = "http://10.1.2.3:8001/v1 VLLM_BASE_URL bash scripts/run.sh"
_NOT_FOR_VISITORS = re.compile(
    r"https?:|\b\d{1,3}(?:\.\d{1,3}){3}\b|\blocalhost\b|\bbash\b|\bscripts/|\.env\b|\.sh\b|\bpip\b|--\w|/\w+/|\boperator\b"
)


def for_visitors(text: str) -> bool:
    """Return True when a text names nothing that is for operators."""
    words = set(re.findall(r"\b[A-Z][A-Z_]{3,}\b", text))
    return not (words & SETTINGS) and _NOT_FOR_VISITORS.search(text) is None


def public_texts() -> Iterator[tuple[str, str]]:
    """Yield the place and the fixed parts of each text for visitors in the server's source."""
    for path in sorted(SERVER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            given = {word.arg: word.value for word in node.keywords}
            public = given.get("public")
            is_error = isinstance(node.func, ast.Name) and node.func.id in NAMES
            if is_error and isinstance(public, ast.Constant) and public.value is True:
                yield f"{path.name}:{node.lineno}", _fixed(node.args[0])
            if "for_visitors" in given:
                yield f"{path.name}:{node.lineno}", _fixed(given["for_visitors"])


def _fixed(text: ast.expr) -> str:
    return " ".join(
        part.value
        for part in ast.walk(text)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )


@pytest.mark.parametrize("kind", ENGINE_ERRORS, ids=lambda one: one.__name__)
def test_an_engine_s_error_is_for_operators(kind: type[EngineError]) -> None:
    """Visitors read a text of its kind, by socket and HTTP; operators and the log all of it."""
    error = kind(CANARY)
    told = Error.of(error, "q1")
    assert "10.1.2.3" not in told.encode() + json.dumps(make_error_body(error))
    assert for_visitors(told.message)
    assert len(told.message.split()) > 4
    assert json.loads(told.for_operators().encode())["message"] == error.message == CANARY
    assert make_error_body(error, operator=True)["detail"] == CANARY


@pytest.mark.slow
def test_what_the_source_says_to_visitors() -> None:
    """Each text that is marked as public, anywhere in the server."""
    found = list(public_texts())
    assert len(found) > 10
    assert [one for one in found if not for_visitors(one[1])] == []


def test_an_engine_s_state_in_two_texts() -> None:
    """In any state its detail is for operators alone; a model's folder is no part of its name."""
    for state in EngineState:
        status = EngineStatus(state, CANARY, "/srv/models/Qwen2.5-VL-32B")
        assert for_visitors(status.visitor_detail)
        assert bool(status.visitor_detail) is (state is not EngineState.READY)
        assert status.model_name == "Qwen2.5-VL-32B"
    assert EngineStatus(EngineState.READY, "", "Qwen/Qwen2.5-VL-3B").model_name.count("/") == 1


def test_errors_of_requests_have_one_text() -> None:
    """Errors about a request are shown to its sender."""
    error = NoCamera("There is no camera. Start it.")
    assert Error.of(error).message == error.visitor_message == error.message


def test_the_measure_itself() -> None:
    """It finds what has to stay out."""
    for text in ("Set VLLM_BASE_URL.", "at http://cam", "10.0.0.1", "bash run", "/srv/models"):
        assert not for_visitors(text)
    assert for_visitors("The model is busy (HTTP 503). Ask again in a moment.")


def exceptions() -> Iterator[tuple[Path, ast.ClassDef]]:
    """Each class of the server that is raised, by the name of its first base."""
    for path in sorted(SERVER.rglob("*.py")):
        text = path.read_text("utf-8")
        # Most files have none, and need no parsing.
        if not re.search(r"class \w+\([^)]*(?:Error|Exception)", text):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and node.bases:
                base = ast.unparse(node.bases[0]).rpartition(".")[2]
                if base.endswith(("Error", "Exception", "ValueError")):
                    yield path, node


def test_there_is_one_tree_of_errors() -> None:
    """Each error that leaves its module joins it, or its docstring says why not."""
    tree = {name for name, one in vars(errors).items() if isinstance(one, type)}
    # A few parts have a base of their own.
    tree |= {"SpeechError"}
    found = [one for one in exceptions() if not one[1].name.startswith("_")]
    assert len(found) > 40
    for path, node in found:
        base = ast.unparse(node.bases[0]).rpartition(".")[2]
        if base not in tree and node.name != "QwenCameraError":
            said = " ".join((ast.get_docstring(node) or "").split())
            outside = re.search(
                r"\boutside the (server's )?tree of errors|\bnot a QwenCameraError",
                said,
                re.IGNORECASE,
            )
            assert outside, f"{path.name}: {node.name}"


def test_visitors_read_nothing_that_is_for_operators() -> None:
    """A part of the machine that fails has a text of its own for them."""
    error = errors.OperatorError(CANARY)
    assert error.message == str(error) == CANARY
    assert for_visitors(error.visitor_message)
