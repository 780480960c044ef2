"""llama.cpp's server: its command by what it lists, and where it may run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.core.frames import Geometry
from server.features.hosting.catalogue.choice import Choice, CommandError, make_choice_from_settings
from server.features.hosting.catalogue.command import build_command
from server.features.hosting.catalogue.entry import Library, RunMode
from server.features.hosting.catalogue.launch import Launch
from server.features.hosting.catalogue.llama_cpp import KEY, LlamaServer, install_hint, read_help
from server.features.hosting.catalogue.machine import GB, Host
from server.features.hosting.catalogue.modes import check_modes
from tests.features.hosting.catalogue.test_command import value
from tests.features.hosting.catalogue.test_modes import ALL, LAPTOP, MODEL

HELP = (Path(__file__).parents[3] / "data" / "llama_help.txt").read_text("utf-8")
BUILTIN_FILE = "version: 9412 (0c1e570)\nbuilt with GNU 12.2.0 for Linux x86_64\n"
SECRET = "keyOfTheTestThatNobodyMaySee"
GGUF = MODEL.model_copy(
    update={
        "library": Library.LLAMA_CPP,
        "architecture": "qwen3_vl",
        "geometry": Geometry(32, 65_536, 16_777_216),
        "needs": {"llama.cpp": "b9049"},
        "quantization": "Q4_K_M",
        "weights_bytes": 3 * GB,
        "memory_bytes": 4 * GB,
        "context_length": 262_144,
        "weights_file": "model-Q4_K_M.gguf",
        "projector_file": "mmproj-F16.gguf",
    }
)


def installed(**changes: Any) -> LlamaServer:
    found = read_help("/usr/bin/llama-server", HELP, BUILTIN_FILE)
    assert found is not None
    return replace(found, **changes)


HERE = replace(LAPTOP, llama=installed())


def built(host: Host = HERE, model: Any = GGUF, concurrent: int = 8, **fields: object) -> Launch:
    choice = Choice.read({"model": "some/model", "mode": "subprocess", **fields})
    return build_command(choice, model, host, api_key=SECRET, concurrent=concurrent)


def test_flags_are_those_that_the_help_lists() -> None:
    """Also behind a short one, on a line of its own, or with several names; not those in sentences."""
    flags = installed().flags
    assert {"--model", "--hf-repo", "--ctx-checkpoints", "--swa-checkpoints", "--no-webui"} <= flags
    assert "--no-mmproj" not in flags


@pytest.mark.parametrize(
    ("said", "version"),
    [
        (BUILTIN_FILE, "9412"),
        ("version: 0.5.0 (build 9412, commit 0c1e570)", "9412"),
        ("version: 0.5.0-dev (build 1, commit 0c1e570)", ""),
        ("version: 0 (unknown)", ""),
        ("", ""),
    ],
)
def test_the_version_is_the_number_of_its_build(said: str, version: str) -> None:
    """One without a number is tried with any model."""
    found = read_help("x", HELP, said)
    assert found is not None
    assert found.version == version


def test_another_program_is_no_llama_server() -> None:
    assert read_help("x", "usage: x [--model FILE] [--port N]", BUILTIN_FILE) is None
    assert read_help("x", HELP.replace("--mmproj FILE", "--other FILE"), BUILTIN_FILE) is None


def test_the_command_on_a_laptop() -> None:
    """Both files, on loopback, the key in the environment alone, the sizes of pictures as the model has
    them; each slot has the whole context.
    """
    launch = built(context=4096, visual_tokens=700)
    words = launch.argv
    assert words[0] == "/usr/bin/llama-server"
    assert {word for word in words if word.startswith("--")} <= installed().flags
    assert value(words, "--model") == "/models/some/model-Q4_K_M.gguf"
    assert value(words, "--mmproj") == "/models/some/mmproj-F16.gguf"
    assert (value(words, "--host"), value(words, "--port")) == ("127.0.0.1", "8002")
    assert value(words, "--alias") == launch.served_name == "some/model"
    assert (value(words, "--parallel"), value(words, "--ctx-size")) == ("2", "8192")
    assert value(words, "--image-min-tokens") == "64"
    assert value(words, "--image-max-tokens") == "700"
    assert value(words, "--ubatch-size") == "1024"
    # An eighth of 100 GB is more than is ever kept.
    assert value(words, "--cache-ram") == "1907"
    assert {"--no-webui", "--offline", "--jinja", "--slots"} <= set(words)
    assert "--threads" not in words
    assert launch.env == {KEY: SECRET}
    assert launch.key == SECRET
    assert SECRET not in launch.shown
    assert (launch.base_url, launch.port) == ("http://127.0.0.1:8002/v1", 8002)


def test_it_takes_what_the_machine_has() -> None:
    """Cores that it may use, room for few contexts, little memory for old prompts; more with a GPU."""
    small = replace(HERE, ram_total_bytes=int(5.2 * GB), cores=2)
    words = built(small, context=8192).argv
    assert value(words, "--threads") == "1"
    assert int(value(words, "--cache-ram")) < 250
    gpu = replace(HERE, gpus=ALL.gpus)
    assert value(built(gpu).argv, "--parallel") == "4"
    assert value(built(gpu, concurrent=1).argv, "--parallel") == "1"
    tight = GGUF.model_copy(update={"memory_bytes": 8 * GB})
    full = replace(HERE, ram_total_bytes=int(9.1 * GB))
    assert value(built(full, tight).argv, "--parallel") == "1"


@pytest.mark.parametrize(
    ("cores", "threads", "share"),
    [(1, "1", 0.125), (2, "1", 0.125), (5, "4", 0.5), (9, "8", 1.0), (64, "63", 1.0)],
)
def test_a_slow_machine_gets_smaller_pictures(cores: int, threads: str, share: float) -> None:
    """A core is left to this program. One thread reads 64 visual tokens of a model of 0.74 GB in 3 s."""
    model = GGUF.model_copy(update={"weights_bytes": 736_000_000})
    launch = built(replace(HERE, cores=cores), model)
    assert value(launch.argv, "--threads") == threads
    assert launch.picture_share == pytest.approx(share)
    assert built(replace(HERE, cores=cores, gpus=ALL.gpus), model).picture_share == 1.0


def test_an_older_one_gets_the_flags_that_it_lists() -> None:
    flags = {"--model", "--mmproj", "--host", "--port", "--parallel", "--ctx-size", "--no-ui"}
    old = replace(HERE, llama=installed(flags=frozenset(flags)))
    assert {word for word in built(old).argv if word.startswith("--")} == flags


def test_pictures_of_a_model_without_known_sizes_are_its_own_affair() -> None:
    words = built(model=GGUF.model_copy(update={"geometry": None})).argv
    assert "--image-max-tokens" not in words
    assert "--image-min-tokens" not in words
    assert "--ubatch-size" not in words


@pytest.mark.parametrize(
    ("host", "model", "says"),
    [
        (
            replace(LAPTOP, llama_error="It was not found. Install it."),
            GGUF,
            "It was not found. Install it.",
        ),
        (
            replace(HERE, llama=installed(version="9000")),
            GGUF,
            "It needs llama.cpp b9049 or newer, and 9000 is installed (/usr/bin/llama-server). Upgrade it",
        ),
        (
            replace(HERE, ram_total_bytes=4 * GB),
            GGUF,
            "It needs about 4.0 GB of memory, and this machine has 3.0 GB for it. Choose a smaller",
        ),
        (HERE, GGUF.model_copy(update={"folder": None}), "Its files (3.0 GB) are not on this"),
    ],
)
def test_what_keeps_it_from_running_is_said(host: Host, model: Any, says: str) -> None:
    found = check_modes(model, host)[RunMode.SUBPROCESS]
    assert not found.ok
    assert says in found.reason
    with pytest.raises(CommandError):
        built(host, model)


def test_it_is_the_only_way_for_gguf_files() -> None:
    found = check_modes(GGUF, HERE)
    assert found[RunMode.SUBPROCESS].reason == "llama.cpp's server 9412 on the CPU."
    for mode in (RunMode.IN_PROCESS, RunMode.CONTAINER):
        assert (
            "is a GGUF file, which llama.cpp's server runs: choose subprocess."
            in found[mode].reason
        )


def test_local_model_is_run_by_what_runs_it(tmp_path: Path) -> None:
    (tmp_path / "gguf").mkdir()
    file = tmp_path / "gguf" / "a.gguf"
    file.touch()
    assert make_choice_from_settings(file, "auto").mode is RunMode.SUBPROCESS
    assert make_choice_from_settings(file.parent, "auto").mode is RunMode.SUBPROCESS
    (tmp_path / "gguf" / "model.safetensors").touch()
    assert make_choice_from_settings(file.parent, "auto").mode is RunMode.IN_PROCESS
    assert make_choice_from_settings(tmp_path / "none", "auto").mode is RunMode.IN_PROCESS


@pytest.mark.parametrize(
    ("platform", "way"),
    [("win32", "winget install"), ("linux", "a release of")],
)
def test_the_way_to_get_it_is_that_of_the_system(platform: str, way: str) -> None:
    said = install_hint(platform)
    assert way in said
    assert said.endswith("If it is not on the PATH, set LLAMA_SERVER to its path.")
