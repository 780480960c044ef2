"""How far a starting engine is and why it failed, read from lines as the programs write them."""

from __future__ import annotations

import pytest

from server.features.hosting.catalogue.engine_log import (
    LoadProgress,
    explain_failure,
    find_last_error,
    parse_progress,
)


def read(*lines: str) -> list[LoadProgress]:
    return [found for line in lines if (found := parse_progress(line)) is not None]


@pytest.mark.parametrize(
    ("lines", "phases"),
    [
        pytest.param(
            [
                "[transformers] Loading /models/tiny@main",
                "Loading weights:   0%|          | 0/57 [00:00<?, ?it/s]",
                "Loading weights:  46%|####5     | 26/57 [00:01<00:01, 33.82it/s]",
                "INFO:     Application startup complete.",
                'INFO:     127.0.0.1:37640 - "GET /health HTTP/1.1" 200 OK',
            ],
            [("loading weights", 0.0), ("loading weights", 46.0)],
            id="transformers serve 5.23",
        ),
        pytest.param(
            [
                "(APIServer pid=20251) WARNING 11-20 22:46:37 [vllm.py:1703] Enforce eager set, disabling torch.compile, CUDAGraphs",
                "INFO 11-20 12:00:00 [gpu_model_runner.py:4721] Starting to load model /models/q...",
                "Loading safetensors checkpoint shards:  25% Completed | 1/4 [00:02<00:06,  2.1s/it]",
                "INFO [backends.py:559] Dynamo bytecode transform time: 4.5 s",
                "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  10%|#  | 7/67 [00:01<00:09, 6.2it/s]",
            ],
            [
                ("loading weights", None),
                ("loading weights", 25.0),
                ("compiling", None),
                ("compiling", 10.0),
            ],
            id="vLLM",
        ),
        pytest.param(
            [
                "0.00.011.994 I srv    load_model: loading model '/models/tiny-F32.gguf'",
                "0.00.462.715 I srv    load_model: loaded multimodal model, '/models/mmproj-tiny-F32.gguf'",
            ],
            [("loading weights", None)],
            id="llama.cpp",
        ),
    ],
)
def test_how_far_each_engine_is(lines: list[str], phases: list[tuple[str, float | None]]) -> None:
    found = read(*lines)
    assert [(one.phase, one.percent) for one in found] == phases
    # Counts of tensors are no bytes.
    assert all(one.total_bytes is None for one in found)


def test_an_image_is_fetched() -> None:
    """By docker or podman, which count no bytes without a terminal."""
    found = read(
        "Unable to find image 'vllm/vllm-openai:v0.32.0' locally",
        "v0.32.0: Pulling from vllm/vllm-openai",
        "4f4fb700ef54: Pulling fs layer",
        "Trying to pull docker.io/vllm/vllm-openai:v0.32.0...",
        "Copying blob " + "ab" * 6 + " done   |",
    )
    assert found == [LoadProgress("fetching the image")] * 5


def test_other_lines_say_nothing() -> None:
    assert not read("", "hello", "50%", "INFO 127.0.0.1 - GET /v1/models", "a | b", "%|[", "x" * 99)


def test_the_first_error_of_a_log_is_told() -> None:
    """As vLLM 0.32.0 and a plain traceback have it, bounded; else the last line."""
    log = [
        "INFO: ValueErrors are counted: none",
        "(Worker pid=11353) ERROR 11-21 01:36:51 [multiproc_executor.py:953] Traceback (most recent call last):",
        "(Worker pid=11353) ERROR 11-21 01:36:51 [multiproc_executor.py:953] RuntimeError: start (0) is too far.",
        "RuntimeError: Engine core initialization failed. See root cause above.",
    ]
    assert find_last_error(log) == "Its log says: RuntimeError: start (0) is too far."
    assert find_last_error([f"torch.OutOfMemoryError: {'x' * 1000}"]) == (
        f"Its log says: torch.OutOfMemoryError: {'x' * 176}."
    )
    assert find_last_error([log[0], "GGML_ASSERT(a) failed", " "]) == (
        "Its log says: GGML_ASSERT(a) failed."
    )
    assert find_last_error([]) == ""


def test_a_vllm_for_the_cpu_is_not_blamed_for_it() -> None:
    """0.32.0's build for the CPU names its device; what it failed for comes after that."""
    log = [
        "(EngineCore pid=1) INFO [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: device_config=cpu, x=1",
        "(Worker pid=17979) ERROR 11-20 23:11:49 [multiproc_executor.py:1063] ValueError: Available memory on node 0"
        " (13.04/16.96 GiB) on kv cache allocation is less than requested memory for kv (9999.0 GiB). Decrease"
        " --kv-cache-memory-bytes, VLLM_CPU_KVCACHE_SPACE, or reduce CPU memory used by other processes.",
    ]
    assert explain_failure(log, for_cpu=True).startswith("Main memory does not hold")
    assert "finds no GPU" in explain_failure(log)


@pytest.mark.parametrize(
    ("line", "what_to_do"),
    [
        ('docker: Error response: could not select device driver "" with', "container toolkit"),
        ("safetensors_rust.SafetensorError: Error while deserializing header", "--verify-only"),
        ("E gguf_init_from_reader: failed to read magic", "in /m is missing, damaged"),
        ("mismatch between text model (n_embd = 64) and mmproj (n_embd = 128)", "in /m is missing"),
        ("failed to register layer: write /x: no space left on device", "A disk is full"),
        ("OSError: [Errno 98] address already in use", "Another program has port 8."),
        ("couldn't bind HTTP server socket, hostname: 127.0.0.1", "choose another port"),
        ("RuntimeError: DefaultCPUAllocator: can't allocate memory", "smaller model"),
        ("torch.OutOfMemoryError: HIP out of memory.", "Lower the share (now 0.9)"),
        ("load_hparams: unknown projector type: qwen9", "is newer. Upgrade the engine"),
        ("model architectures ['New'] are not supported for now", "is newer. Upgrade the engine"),
        (
            "ValueError: bfloat16 is not supported on this device",
            "does not support the precision auto",
        ),
    ],
)
def test_failures_end_with_what_to_do(line: str, what_to_do: str) -> None:
    said = explain_failure(
        ["INFO before", line, "INFO after"],
        memory="the share (now 0.9)",
        dtype="the precision auto",
        port=8,
        path="/m",
    )
    assert what_to_do in said
    assert not explain_failure(["INFO all is well"])
