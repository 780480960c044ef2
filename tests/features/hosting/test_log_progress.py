"""How far a starting engine is and why it failed, read from lines as the programs write them."""

from __future__ import annotations

import pytest

from server.features.hosting.catalogue.engine_log import (
    LoadProgress,
    explanation,
    last_words,
    progress,
)


def read(*lines: str) -> list[LoadProgress]:
    return [found for line in lines if (found := progress(line)) is not None]


def test_transformers_serve() -> None:
    """Its whole way up, as 5.23 writes it."""
    found = read(
        "[transformers] Loading /models/tiny@main",
        "Loading weights:   0%|          | 0/57 [00:00<?, ?it/s]",
        "Loading weights:  46%|####5     | 26/57 [00:01<00:01, 33.82it/s]",
        "INFO:     Started server process [12550]",
        "INFO:     Waiting for application startup.",
        "INFO:     Application startup complete.",
        'INFO:     127.0.0.1:37640 - "GET /health HTTP/1.1" 200 OK',
    )
    assert [(one.phase, one.percent) for one in found] == [
        ("reading the model's files", None),
        ("loading weights", 0.0),
        ("loading weights", 46.0),
        ("starting the server", None),
        ("starting the server", None),
        ("opening the port", None),
    ]
    # Counts of tensors are no bytes.
    assert all(one.total_bytes is None for one in found)


def test_vllm() -> None:
    found = read(
        "INFO 11-20 12:00:00 [gpu_model_runner.py:4721] Starting to load model /models/q...",
        "Loading safetensors checkpoint shards:  25% Completed | 1/4 [00:02<00:06,  2.1s/it]",
        "INFO [default_loader.py:268] Loading weights took 12.00 seconds",
        "INFO [backends.py:559] Dynamo bytecode transform time: 4.5 s",
        "INFO [kv_cache_utils.py:864] GPU KV cache size: 1,000 tokens",
        "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  10%|#  | 7/67 [00:01<00:09, 6.2it/s]",
    )
    assert [(one.phase, one.percent) for one in found][:2] == [
        ("loading weights", None),
        ("loading weights", 25.0),
    ]
    assert [one.phase for one in found][2:] == [
        "weights are loaded",
        "compiling",
        "room for the context is set aside",
        "recording graphs",
    ]


def test_vllm_on_the_cpu() -> None:
    found = read(
        "(APIServer pid=20251) INFO 11-20 22:46:36 [model.py:733] Resolved architecture: Qwen2_5_VLForConditionalGeneration",
        "(APIServer pid=20251) WARNING 11-20 22:46:37 [vllm.py:1703] Enforce eager set, disabling torch.compile, CUDAGraphs,"
        " and JIT kernel warmup. This is equivalent to setting -cc.mode=none -cc.cudagraph_mode=none",
        "(EngineCore pid=23793) INFO 11-20 22:47:17 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='/m'",
        "(Worker pid=26487) INFO 11-20 22:48:06 [cpu_model_runner.py:68] Starting to load model /m...",
        "Loading safetensors checkpoint shards:   0% Completed | 0/1 [00:00<?, ?it/s]",
        "Loading safetensors checkpoint shards: 100% Completed | 1/1 [00:00<00:00, 80.41it/s]",
        "(Worker pid=26487) INFO 11-20 22:48:07 [default_loader.py:501] Loading weights took 0.03 seconds",
        "(EngineCore pid=23793) INFO 11-20 22:48:13 [kv_cache_utils.py:2327] CPU KV cache size: 4,194,304 tokens, Maximum"
        " concurrency for 4,096 tokens per request: 1024.00x",
    )
    assert [(one.phase, one.percent) for one in found] == [
        ("reading the model's files", None),
        ("starting the engine", None),
        ("loading weights", None),
        ("loading weights", 0.0),
        ("loading weights", 100.0),
        ("weights are loaded", None),
        ("room for the context is set aside", None),
    ]


def test_llama_cpp() -> None:
    found = read(
        "0.00.009.637 I cmn  common_param: common_params_print_info: verbosity = 3",
        "0.00.011.994 I srv    load_model: loading model '/models/tiny-F32.gguf'",
        "0.00.462.715 I srv    load_model: loaded multimodal model, '/models/mmproj-tiny-F32.gguf'",
        "0.00.509.887 I srv    load_model: initializing, n_slots = 2, n_ctx_slot = 4096, kv_unified = 'false'",
        "0.00.523.963 I srv  llama_server: model loaded",
        "0.03.567.954 I slot launch_slot_: id  1 | task 1 | processing task, is_child = 0",
    )
    assert [one.phase for one in found] == [
        "loading weights",
        "preparing for pictures",
        "room for the context is set aside",
        "opening the port",
    ]


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
    assert last_words(log) == "Its log says: RuntimeError: start (0) is too far."
    assert last_words([f"torch.OutOfMemoryError: {'x' * 1000}"]) == (
        f"Its log says: torch.OutOfMemoryError: {'x' * 176}."
    )
    assert last_words([log[0], "GGML_ASSERT(a) failed", " "]) == (
        "Its log says: GGML_ASSERT(a) failed."
    )
    assert last_words([]) == ""


def test_what_vllm_was_given_is_no_reason() -> None:
    """As 0.32.0 lists it before anything has gone wrong."""
    given = (
        "(APIServer pid=31812) INFO 11-20 22:30:26 [api_utils.py:286] non-default args: {'host': '127.0.0.1',"
        " 'trust_remote_code': True, 'max_model_len': 4096}"
    )
    assert not explanation([given])


def test_a_vllm_for_the_cpu_is_not_blamed_for_it() -> None:
    """0.32.0's build for the CPU names its device; what it failed for comes after that."""
    log = [
        "(EngineCore pid=1) INFO [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: device_config=cpu, x=1",
        "(Worker pid=17979) ERROR 11-20 23:11:49 [multiproc_executor.py:1063] ValueError: Available memory on node 0"
        " (13.04/16.96 GiB) on kv cache allocation is less than requested memory for kv (9999.0 GiB). Decrease"
        " --kv-cache-memory-bytes, VLLM_CPU_KVCACHE_SPACE, or reduce CPU memory used by other processes.",
    ]
    assert explanation(log, for_cpu=True).startswith("Main memory does not hold")
    assert "finds no GPU" in explanation(log)


@pytest.mark.parametrize(
    ("line", "what_to_do"),
    [
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", "systemctl start"),
        ('docker: Error response: could not select device driver "" with', "container toolkit"),
        ('while adding custom device "/dev/kfd": error gathering device information', "driver"),
        ("RuntimeError: start (0) + length (256) exceeds dimension size (128).", "Fetch the model"),
        ("safetensors_rust.SafetensorError: Error while deserializing header", "--verify-only"),
        ("E gguf_init_from_reader: failed to read magic", "in /m is missing, damaged"),
        ("E clip_init: load_tensors: failed to seek for tensor v.blk.0.attn_k.weight", "damaged"),
        ("Error response from daemon: manifest for x not found: manifest unknown", "whole name"),
        ('Error: short-name "vllm/vllm-openai" did not resolve to an alias', "docker.io/"),
        (
            'docker: Error response from daemon: Get "https://registry-1.docker.io/v2/"',
            "podman pull",
        ),
        ('exec: "vllm": executable file not found in $PATH', "Install it anew"),
        ("error: invalid argument: --nonsense", "does not take what it lists"),
        ("failed to register layer: write /x: no space left on device", "A disk is full"),
        ("OSError: [Errno 98] address already in use", "Another program has port 8."),
        ("couldn't bind HTTP server socket, hostname: 127.0.0.1", "choose another port"),
        ("please pass the argument `trust_remote_code=True`", "TRUST_REMOTE_CODE=true"),
        ("RuntimeError: DefaultCPUAllocator: can't allocate memory", "smaller model"),
        (
            "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer",
            "Lower the context",
        ),
        ("torch.OutOfMemoryError: HIP out of memory.", "Lower the share (now 0.9)"),
        ("load_hparams: unknown projector type: qwen9", "is newer. Upgrade it"),
        ("model architectures ['New'] are not supported for now", "is newer. Upgrade it"),
        ("mismatch between text model (n_embd = 64) and mmproj (n_embd = 128)", "Put the mmproj"),
        ("ImportError: libgomp.so.1: cannot open shared object file", "apt install libgomp1"),
        (
            "ValueError: bfloat16 is not supported on this device",
            "does not take the precision auto",
        ),
    ],
)
def test_failures_end_with_what_to_do(line: str, what_to_do: str) -> None:
    said = explanation(
        ["INFO before", line, "INFO after"],
        memory="the share (now 0.9)",
        dtype="the precision auto",
        port=8,
        path="/m",
    )
    assert what_to_do in said
    assert not explanation(["INFO all is well"])
