"""The phase of a starting engine, read from lines as the programs write them."""

from __future__ import annotations

from typing import Any

import pytest

from server.features.hosting.catalogue.engine_log import (
    LoadingLog,
    LoadProgress,
    explanation,
    first_error,
)


def read(*lines: str) -> list[LoadProgress]:
    log = LoadingLog()
    return [found for line in lines if (found := log.read(line)) is not None]


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
        ("loading the model", None),
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


def test_a_download_counts_bytes() -> None:
    (one,) = read("model.safetensors:  45%|####5     | 1.20G/2.70G [00:10<00:12, 120MB/s]")
    assert (one.phase, one.percent) == ("fetching files", 45.0)
    assert (one.done_bytes, one.total_bytes) == (1_200_000_000, 2_700_000_000)


def test_docker_pull() -> None:
    """By layers without sizes, by bytes with them; each layer counts once."""
    found = read(
        "Unable to find image 'vllm/vllm-openai:v0.32.0' locally",
        "v0.32.0: Pulling from vllm/vllm-openai",
        "4f4fb700ef54: Pulling fs layer",
        "0a1b2c3d4e5f: Pulling fs layer",
        "4f4fb700ef54: Pull complete",
        "0a1b2c3d4e5f: Already exists",
        "Digest: sha256:" + "0" * 64,
    )
    assert {one.phase for one in found} == {"fetching the image"}
    assert [one.percent for one in found] == [None, None, 0.0, 0.0, 50.0, 100.0, 100.0]
    last = read(
        "4f4fb700ef54: Downloading [=====>     ]  30MB/60MB",
        "0a1b2c3d4e5f: Downloading [=>         ]  10MB/100MB",
        "4f4fb700ef54: Extracting [=>         ]  1MB/60MB",
    )[-1]
    assert (last.percent, last.done_bytes, last.total_bytes) == (25.0, 40_000_000, 160_000_000)


def test_podman_pull() -> None:
    found = read(
        "Trying to pull docker.io/vllm/vllm-openai:v0.32.0...",
        "Getting image source signatures",
        "Copying blob sha256:" + "ab" * 32,
        "Copying blob " + "cd" * 6 + " [====>-----] 12.0MiB / 48.0MiB",
        "Copying blob " + "ab" * 6 + " done   |",
        "Writing manifest to image destination",
    )
    assert {one.phase for one in found} == {"fetching the image"}
    assert found[3].total_bytes == 48 * 2**20
    assert found[3].percent == 25.0
    assert found[-1].percent == 100.0


def test_layers_are_bounded() -> None:
    log = LoadingLog()
    for number in range(10_000):
        log.read(f"{number:012x}: Pulling fs layer")
    assert len(log._layers) <= 256


def test_other_lines_say_nothing() -> None:
    log = LoadingLog()
    before = log.progress
    for line in ("", "hello", "50%", "INFO 127.0.0.1 - GET /v1/models", "a | b", "%|[", "x" * 2000):
        assert log.read(line) is None
    assert log.progress is before


def test_the_first_error_of_a_log_is_told() -> None:
    """As vLLM 0.32.0 and a plain traceback have it, bounded; words about errors are none."""
    log = [
        "INFO: ValueErrors are counted: none",
        "(Worker pid=11353) ERROR 11-21 01:36:51 [multiproc_executor.py:953] Traceback (most recent call last):",
        "(Worker pid=11353) ERROR 11-21 01:36:51 [multiproc_executor.py:953] RuntimeError: start (0) is too far.",
        "RuntimeError: Engine core initialization failed. See root cause above.",
    ]
    assert first_error(log) == "Its log says: RuntimeError: start (0) is too far."
    assert first_error([f"torch.OutOfMemoryError: {'x' * 1000}"]) == (
        f"Its log says: torch.OutOfMemoryError: {'x' * 176}."
    )
    assert first_error(log[:2]) == first_error([]) == ""


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
    assert explanation(log, for_cpu=True).startswith("Main memory does not hold what vLLM sets")
    assert "finds no GPU" in explanation(log)


@pytest.mark.parametrize(
    ("line", "what_to_do"),
    [
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", "systemctl start"),
        ('docker: Error response: could not select device driver "" with', "container toolkit"),
        (
            "RuntimeError: start (0) + length (256) exceeds dimension size (128).",
            "of another model",
        ),
        ("Error response from daemon: manifest for x not found: manifest unknown", "its name"),
        (
            'Error: short-name "vllm/vllm-openai:v0.32.0" did not resolve to an alias and no unqualified-search registries',
            "docker.io/",
        ),
        (
            'docker: Error response from daemon: Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io',
            "podman pull",
        ),
        (
            "Error: initializing source docker://vllm/vllm-openai:v0.32.0: pinging container registry registry-1.docker.io",
            "docker pull",
        ),
        (
            'unable to start container process: exec: "vllm": executable file not found in $PATH',
            "empty",
        ),
        ('"exec: vllm: OCI runtime attempted to invoke a command that was not found', "empty"),
        (
            'invalid mount config for type "bind": bind source path does not exist: /x',
            "another way",
        ),
        ("Error: setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=all", "toolkit"),
        ('while adding custom device "/dev/kfd": error gathering device information', "driver"),
        ("failed to register layer: write /x: no space left on device", "system df"),
        ("PermissionError: [Errno 13] Permission denied: '/model/config.json'", "chmod -R a+rX"),
        (
            'Error: creating container storage: the container name "nn" is already in use by 600c77e7',
            "rm --force NAME",
        ),
        ("OSError: [Errno 98] address already in use", "Choose another one"),
        ("please pass the argument `trust_remote_code=True`", "TRUST_REMOTE_CODE=true"),
        ("huggingface_hub.errors.LocalEntryNotFoundError: Cannot find", "Fetch it"),
        ("RuntimeError: DefaultCPUAllocator: can't allocate memory", "smaller model"),
        ("torch.OutOfMemoryError: HIP out of memory.", "Lower the share (now 0.9)"),
        ("safetensors_rust.SafetensorError: Error while deserializing header", "--verify-only"),
    ],
)
def test_failures_end_with_what_to_do(line: str, what_to_do: str) -> None:
    named = {"memory": "the share (now 0.9)", "context": "the context", "dtype": "auto"}
    settings: dict[str, Any] = {
        **named,
        "elsewhere": "choose another port",
        "port": 8,
        "path": "/m",
    }
    assert what_to_do in explanation(["INFO before", line, "INFO after"], **settings)
    assert not explanation(["INFO all is well"], **settings)
