"""llama.cpp's server: its command by what it lists, where it may run, and its log in sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.core.frames import Geometry
from server.features.hosting.catalogue.choice import Choice, CommandError, own_choice
from server.features.hosting.catalogue.command import command
from server.features.hosting.catalogue.engine_log import LoadingLog, llama_explanation
from server.features.hosting.catalogue.entry import Library, RunMode
from server.features.hosting.catalogue.launch import Launch
from server.features.hosting.catalogue.llama_cpp import KEY, LlamaServer, how_to_get, read_help
from server.features.hosting.catalogue.machine import GB, Host
from server.features.hosting.catalogue.modes import Server, modes, subprocess_server
from tests.features.hosting.catalogue.test_command import value
from tests.features.hosting.catalogue.test_modes import ALL, LAPTOP, MODEL

HELP = (Path(__file__).parents[3] / "data" / "llama_help.txt").read_text("utf-8")
OURS = "version: 9412 (0c1e570)\nbuilt with GNU 12.2.0 for Linux x86_64\n"
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
    found = read_help("/usr/bin/llama-server", HELP, OURS)
    assert found is not None
    return replace(found, **changes)


HERE = replace(LAPTOP, llama=installed())


def built(host: Host = HERE, model: Any = GGUF, concurrent: int = 8, **fields: object) -> Launch:
    choice = Choice.read({"model": "some/model", "mode": "subprocess", **fields})
    return command(choice, model, host, api_key=SECRET, concurrent=concurrent)


def test_flags_are_those_that_the_help_lists() -> None:
    """Also behind a short one, on a line of its own, or with several names; not those in sentences."""
    flags = installed().flags
    assert {"--model", "--hf-repo", "--ctx-checkpoints", "--swa-checkpoints", "--no-webui"} <= flags
    assert "--no-mmproj" not in flags


@pytest.mark.parametrize(
    ("said", "version"),
    [
        (OURS, "9412"),
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
    assert read_help("x", "usage: x [--model FILE] [--port N]", OURS) is None
    assert read_help("x", HELP.replace("--mmproj FILE", "--other FILE"), OURS) is None


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
    small = replace(HERE, ram_free_bytes=int(5.2 * GB), cores=2)
    words = built(small, context=8192).argv
    assert value(words, "--threads") == "1"
    assert int(value(words, "--cache-ram")) < 250
    gpu = replace(HERE, gpus=ALL.gpus)
    assert value(built(gpu).argv, "--parallel") == "4"
    assert value(built(gpu, concurrent=1).argv, "--parallel") == "1"
    tight = GGUF.model_copy(update={"memory_bytes": 8 * GB})
    full = replace(HERE, ram_free_bytes=int(9.1 * GB))
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


def test_a_context_that_holds_no_picture_is_doubted() -> None:
    (said,) = built(context=2048).warnings
    assert "too small for 4 pictures of 1280 tokens" in said


@pytest.mark.parametrize(
    ("host", "model", "says"),
    [
        (
            replace(LAPTOP, llama_trouble="It was not found. Install it."),
            GGUF,
            "It was not found. Install it.",
        ),
        (
            replace(HERE, llama=installed(version="9000")),
            GGUF,
            "It needs llama.cpp b9049 or newer, and 9000 is installed (/usr/bin/llama-server): upgrade it",
        ),
        (
            replace(HERE, ram_free_bytes=4 * GB),
            GGUF,
            "It takes about 4.0 GB of memory and 4.0 GB are free here. Choose a smaller model or one with fewer bits",
        ),
        (HERE, GGUF.model_copy(update={"folder": None}), "Its files (3.0 GB) are not on this"),
    ],
)
def test_what_keeps_it_from_running_is_said(host: Host, model: Any, says: str) -> None:
    found = modes(model, host)[RunMode.SUBPROCESS]
    assert not found.ok
    assert says in found.reason
    with pytest.raises(CommandError):
        built(host, model)


def test_it_is_the_only_way_for_gguf_files() -> None:
    found = modes(GGUF, HERE)
    assert found[RunMode.SUBPROCESS].reason == "llama.cpp's server 9412 on the CPU."
    assert subprocess_server(GGUF, HERE) is Server.LLAMA_CPP
    for mode in (RunMode.IN_PROCESS, RunMode.CONTAINER):
        assert (
            "is a GGUF file, which llama.cpp's server runs: choose subprocess."
            in found[mode].reason
        )
    assert subprocess_server(MODEL, HERE) is not Server.LLAMA_CPP


def test_local_model_is_run_by_what_runs_it(tmp_path: Path) -> None:
    (tmp_path / "gguf").mkdir()
    file = tmp_path / "gguf" / "a.gguf"
    file.touch()
    assert own_choice(file, "auto").mode is RunMode.SUBPROCESS
    assert own_choice(file.parent, "auto").mode is RunMode.SUBPROCESS
    (tmp_path / "gguf" / "model.safetensors").touch()
    assert own_choice(file.parent, "auto").mode is RunMode.IN_PROCESS
    assert own_choice(tmp_path / "none", "auto").mode is RunMode.IN_PROCESS


@pytest.mark.parametrize(
    ("platform", "way"),
    [("win32", "winget install"), ("linux", "a release of")],
)
def test_the_way_to_get_it_is_that_of_the_system(platform: str, way: str) -> None:
    said = how_to_get(platform)
    assert way in said
    assert said.endswith("Where it is not in the PATH, name it in LLAMA_SERVER.")


def test_its_steps_are_seen_while_it_loads() -> None:
    log = LoadingLog()
    lines = (
        "0.00.009.637 I cmn  common_param: common_params_print_info: verbosity = 3",
        "0.00.011.994 I srv    load_model: loading model '/models/tiny-F32.gguf'",
        "0.00.462.715 I srv    load_model: loaded multimodal model, '/models/mmproj-tiny-F32.gguf'",
        "0.00.509.887 I srv    load_model: initializing, n_slots = 2, n_ctx_slot = 4096, kv_unified = 'false'",
        "0.00.523.963 I srv  llama_server: model loaded",
        "0.00.523.981 I srv  llama_server: listening on http://127.0.0.1:18099",
        "0.03.567.954 I slot launch_slot_: id  1 | task 1 | processing task, is_child = 0",
    )
    found = [one.phase for line in lines if (one := log.read(line))]
    assert found == [
        "loading weights",
        "preparing for pictures",
        "room for the context is set aside",
        "opening the port",
        "opening the port",
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "E llama_model_load: error loading model: unknown model architecture: 'qwen9xl'",
            "does not know the kind of this model, which is newer. Upgrade it, or this program",
        ),
        (
            "E clip_init: failed to load model 'p.gguf': load_hparams: unknown projector type: qwen9",
            "does not know the kind of this model, which is newer. Upgrade it, or this program",
        ),
        (
            "E llama_model_load: error loading model: tensor 'blk.1.ffn_gate.weight' data is not within the file bounds,"
            " model is corrupted or incomplete",
            "A file of the model in /models/some is missing, damaged or cut off. Remove it",
        ),
        (
            "E clip_init: failed to load model 'm.gguf': load_tensors: failed to seek for tensor v.blk.0.attn_k.weight",
            "A file of the model in /models/some is missing, damaged or cut off.",
        ),
        (
            "E gguf_init_from_file: failed to open GGUF file '/nowhere.gguf' (No such file or directory)",
            "A file of the model in /models/some is missing, damaged or cut off.",
        ),
        (
            "E gguf_init_from_reader: failed to read magic",
            "A file of the model in /models/some is missing, damaged or cut off.",
        ),
        (
            "E ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 2048131072",
            "Memory does not hold the model and its context. Lower the context (now 4096)",
        ),
        (
            "E srv         start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 18097",
            "Another program has the port.",
        ),
        ("error: invalid argument: --nonsense", "does not take an option that its help lists"),
        (
            "E mtmd_init_from_file: error: mismatch between text model (n_embd = 64) and mmproj (n_embd = 128)",
            "is of another model than the weights. Put the mmproj of the same model there.",
        ),
        (
            "E mtmd_init_from_file: error: Failed to load CLIP model from /models/some/tiny-F32.gguf",
            "cannot load the mmproj file in /models/some, which reads pictures.",
        ),
        (
            "E llama_model_load: error loading model: CLIP cannot be used as main model, use it with --mmproj instead",
            "cannot load the mmproj file in /models/some, which reads pictures.",
        ),
        (
            "ImportError: libgomp.so.1: cannot open shared object file: No such file or directory",
            "Install it: apt install libgomp1",
        ),
        ("/src/ggml/src/ggml.c:1: GGML_ASSERT(a) failed", "met a fault of its own"),
        ("I srv  llama_server: model loaded", ""),
    ],
)
def test_the_cause_of_a_failure_is_a_sentence(line: str, says: str) -> None:
    said = llama_explanation(
        ["I srv  llama_server: initializing ...", line],
        context="the context (now 4096)",
        path="/models/some",
    )
    assert says in said
    assert bool(says) is bool(said)
