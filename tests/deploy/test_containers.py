"""deploy/Dockerfile, .dockerignore and docker-compose.yml, as far as they go without an engine that
runs containers.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from config import get_known_keys, load
from scripts.models.checkpoint import Checkpoint
from scripts.models.vllm_command import build
from server.core.addresses import is_trusted
from server.features.hosting.catalogue.command import IMAGES
from server.features.hosting.catalogue.machine import Vendor
from server.features.hosting.catalogue.vllm import IMAGE_FLAGS, Vllm
from server.media.picture.prepare import HIGH_TOKENS
from server.web.serving import STOP_SECONDS
from tests.app.test_main import started
from tests.support.documents import ROOT
from tests.support.programs import ran
from tests.support.vllm_stand_in import recorded

DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "docker-compose.yml"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, lines that go on put together."""
    text = re.sub(r"\\\n\s*", " ", (DEPLOY / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def compose() -> dict[str, Any]:
    return cast(dict[str, Any], yaml.safe_load(COMPOSE.read_text()))


def filled(text: str, **given: str) -> str:
    """With compose's ${NAME:-default}, ${NAME-default} and ${NAME:+other} put in, the innermost first."""

    def value(found: re.Match[str]) -> str:
        name, sign, other = found.groups()
        if sign == ":+":
            return other if given.get(name) else ""
        return given.get(name, other) if sign == "-" else given.get(name) or other

    while (after := re.sub(r"\$\{(\w+)(:-|:\+|-)([^${}]*)\}", value, text)) != text:
        text = after
    return text


def allowed(path: str) -> bool:
    """Return whether .dockerignore lets a path into the build: the last matching line decides."""
    verdict = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        expression = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(f"{expression}(?:/.*)?", path):
            verdict = line.startswith("!")
    return verdict


def test_what_is_copied_is_there_and_let_in() -> None:
    """Each file that the Dockerfile takes from the project exists and is not ignored."""
    sources = [
        source
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert len(sources) >= 4
    for source in sources:
        assert (ROOT / source).exists(), source
        assert allowed(source), source


def test_the_weights_get_in_with_their_notice() -> None:
    """The image has the models that name things, and their licences."""
    things = ROOT / "server" / "features" / "builtin" / "things"
    files = [str(path.relative_to(ROOT)) for path in things.iterdir() if path.is_file()]
    assert sum(path.endswith(".onnx") for path in files) == 2
    assert [path for path in files if not allowed(path)] == []


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        "server/.env",
        ".git/config",
        ".venv/bin/python",
        "tests/support/clients.py",
        "deploy/turnserver.conf",
        "server/__pycache__/main.cpython-311.pyc",
        "key.pem",
        "benchmark_results/a.json",
    ],
)
def test_nothing_else_gets_in(path: str) -> None:
    """No settings, no secrets, no history: what is not named stays out."""
    assert not allowed(path)


def test_the_image_has_what_the_server_imports() -> None:
    """Everything of ours that server/ reads at run time is in the image's folder."""
    copied = {
        source.removeprefix("deploy/")
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert {"config.py", "server", "client", "healthcheck.py"} <= copied
    for path in (ROOT / "server").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) (scripts|tests)\b", path.read_text(), re.M), path


@pytest.mark.slow
async def test_the_health_check(tmp_path: Path) -> None:
    """Status 0 while the server lives, 1 and why when nothing answers."""

    def check(port: int) -> tuple[int, str]:
        command = [sys.executable, str(DEPLOY / "healthcheck.py")]
        env = {"PATH": os.environ["PATH"], "PORT": str(port)}
        done = ran(command, env=env, timeout=20)
        return done.returncode, done.stdout + done.stderr

    async with started(tmp_path, engine="builtin") as process:
        await process.read_greeting()
        port = process.port
        # In the event loop, which has nothing else to do: the server is another process.
        assert check(port) == (0, "Status 200.\n")
        process.signal()
        await process.end()
    assert check(port) == (1, f"No answer on port {port}: ConnectionRefusedError.\n")


def test_compose_takes_the_file() -> None:
    """It holds to the Compose Specification's schema; a misspelt key would not."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = ran([*command, str(COMPOSE)], timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


STACKS = {
    "cpu": {"web", "llama-cpu", "speech", "speech-models"},
    "gpu-8g": {"web", "llama-cuda", "speech", "speech-models"},
    "gpu-24g": {"web", "vllm-cuda", "speech", "speech-models"},
    "mi300x": {"web", "vllm-rocm", "speech", "speech-models"},
    # One model server, as before there were stacks
    "cuda": {"web", "vllm-cuda"},
    "rocm": {"web", "vllm-rocm"},
    "": {"web"},
}


def services(profile: str) -> dict[str, dict[str, Any]]:
    """The services that `docker compose --profile` starts; "" for no profile."""
    return {
        name: service
        for name, service in compose()["services"].items()
        if profile in service.get("profiles", (profile,))
    }


@pytest.mark.parametrize("profile", STACKS)
def test_a_profile_is_a_whole_stack(profile: str) -> None:
    """This server, a model server at its address, a recogniser and a voice; each watched, and nothing of it open to others."""
    found = services(profile)
    assert set(found) == STACKS[profile]
    models = [one for name, one in found.items() if name.startswith(("llama", "vllm"))]
    assert len(models) == (profile != "")
    for model in models:
        assert model["networks"]["default"]["aliases"] == ["vllm"]
        (mount,) = (filled(volume, MODEL_PATH="/srv/model") for volume in model["volumes"])
        assert mount == "/srv/model:/model:ro"
        assert filled(model["healthcheck"]["test"][-1]).count(":8001/health") == 1
    for name, service in found.items():
        ends = service["restart"].startswith("on-failure")
        assert name == "web" or service["healthcheck"].get("disable", False) is ends, name
        assert filled(service["mem_limit"]) == filled(service["memswap_limit"]), name
        if name != "web":
            assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        # The web server does not wait for a model: its built-in engine answers meanwhile.
        assert "depends_on" not in service or name == "speech-models", name


def test_images_are_pinned() -> None:
    """Each image of others names a version, and all but NVIDIA's vLLM of the models' stacks a digest as well."""
    images = {
        name: filled(service["image"])
        for name, service in compose()["services"].items()
        if "build" not in service
    }
    for name, image in images.items():
        assert re.fullmatch(
            r"[a-z.]+/[a-z0-9./-]+:[\w.-]*\d[\w.-]*(@sha256:[0-9a-f]{64})?", image
        ), name
        assert "latest" not in image
    for name in ("llama-cpu", "llama-cuda", "speech", "speech-models", "vllm-rocm"):
        assert "@sha256:" in images[name], name
    assert images["speech"] == images["speech-models"]
    builds = [re.search(r"-(b\d+)@", images[name]) for name in ("llama-cpu", "llama-cuda")]
    assert builds[0]
    assert builds[1]
    assert builds[0][1] == builds[1][1]


def test_the_web_service_speaks_and_hears_with_what_is_fetched() -> None:
    """The models that its settings name are those that the speech server is told to fetch; its log holds no words."""
    web, speech, fetched = (
        compose()["services"][name] for name in ("web", "speech", "speech-models")
    )
    profiles = {"COMPOSE_PROFILES": "cpu"}
    given = {name: filled(value, **profiles) for name, value in web["environment"].items()}
    models = filled(fetched["environment"]["MODELS"]).split()
    assert models == [given["TRANSCRIPTION_MODEL"], given["SPEECH_MODEL"]]
    other = {"TRANSCRIPTION_MODEL": "a/whisper", "SPEECH_MODEL": "b/voice"}
    assert filled(fetched["environment"]["MODELS"], **other).split() == [*other.values()]
    assert given["TRANSCRIPTION_BASE_URL"] == given["SPEECH_BASE_URL"] == "http://speech:8000/v1"
    assert "http://speech:8000/v1/models/" in fetched["command"][0]
    assert fetched["depends_on"] == {"speech": {"condition": "service_healthy"}}
    assert speech["environment"]["LOG_LEVEL"] == "warning"
    # They outlive the container.
    kept = [volume for volume in speech["volumes"] if volume.startswith("speech:")]
    assert len(kept) == 1
    assert "speech" in compose()["volumes"]


def test_roles_are_settings_of_the_stacks() -> None:
    """They come from .env, and nothing of the file takes their place; its head says how."""
    head, _, rest = COMPOSE.read_text().partition("name: qwen-camera")
    example = (ROOT / "env.example").read_text()
    for name in ("WATCHES_BASE_URL", "WATCHES_API_KEY", "WATCHES_MODEL", "READS_BASE_URL"):
        assert name in head
        assert f"\n{name}=" in example
        assert name not in rest


def test_compose_and_env_example_know_the_same_settings() -> None:
    """A variable that compose fills in is a setting of env.example, or one that its own head explains."""
    text = COMPOSE.read_text()
    head = text[: text.index("name: qwen-camera")]
    own = {*re.findall(r"\b[A-Z_]{6,}\b", head)}
    own |= {"TURNSERVER_CONF", "TURN_CERTS", "METRICS_TOKEN_FILE"}
    used = {*re.findall(r"(?<!\$)\$\{(\w+)[:}-]", text)}
    example = {*re.findall(r"^([A-Z_]+)=", (ROOT / "env.example").read_text(), re.M)}
    assert used - own <= example
    assert {"MODEL_PATH", "MODEL_NAME", "SPEECH_VOICE", "VLLM_MEMORY"} <= used


LLAMA_FILES = {
    "both": (["mmproj-small-f16.gguf", "small-q4.gguf"], "small-q4.gguf", "mmproj-small-f16.gguf"),
    "in parts": (
        ["big-00001-of-00002.gguf", "big-00002-of-00002.gguf", "big-mmproj.gguf"],
        "big-00001-of-00002.gguf",
        "big-mmproj.gguf",
    ),
    "no projector": (["small-q4.gguf"], "", ""),
    "no weights": (["mmproj.gguf"], "", ""),
    "nothing": ([], "", ""),
}


@pytest.mark.parametrize("files", LLAMA_FILES)
@pytest.mark.parametrize("name", ["llama-cpu", "llama-cuda"])
def test_llama_server_gets_the_files_of_the_folder(tmp_path: Path, name: str, files: str) -> None:
    """Weights and projector, by their names; without one of them it ends with one sentence."""
    given, weights, projector = LLAMA_FILES[files]
    folder, program = tmp_path / "a folder", tmp_path / "llama-server"
    folder.mkdir()
    for file in given:
        (folder / file).touch()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    service = compose()["services"][name]
    (script,) = service["command"]
    script = script.replace("$$", "$").replace("/app/llama-server", str(program))
    script = script.replace("/model/*.gguf", f'"{folder}"/*.gguf')
    done = ran(
        [*service["entrypoint"], script],
        env={
            "PATH": os.environ["PATH"],
            "MODEL_NAME": filled(service["environment"]["MODEL_NAME"]),
        },
        timeout=20,
    )
    if not weights:
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr == (
            "MODEL_PATH needs a model.gguf and its mmproj.gguf: one of them is missing.\n"
        )
        return
    assert (done.returncode, done.stderr) == (0, "")
    words = done.stdout.splitlines()
    flags = dict(zip(words[::2], words[1::2], strict=False))
    assert flags["--model"] == str(folder / weights)
    assert flags["--mmproj"] == str(folder / projector)
    assert flags["--port"] == "8001"
    settings = load(env_file=None)
    # Each slot holds what the web server counts on, and a picture in its largest form.
    slots = int(flags["--parallel"])
    assert int(flags["--ctx-size"]) == slots * settings.model_max_tokens
    assert int(flags["--image-max-tokens"]) == HIGH_TOKENS <= int(flags["--ubatch-size"])


def test_the_settings_hold() -> None:
    """The web service's settings in compose are valid, and agree with the ports it publishes."""
    web = compose()["services"]["web"]
    given = {name: filled(value) for name, value in web["environment"].items()}
    assert set(given) <= set(get_known_keys())
    settings = load(env_file=None, **{name.lower(): value for name, value in given.items()})
    assert settings.udp_port_range == (50000, 50099)
    assert not settings.warnings
    published = [filled(port, LISTEN="0.0.0.0") for port in web["ports"]]
    # With nginx on the same machine nobody else reaches the page but through it.
    assert published == ["127.0.0.1:8000:8000/tcp", "0.0.0.0:50000-50099:50000-50099/udp"]
    network = compose()["networks"]["default"]["ipam"]["config"][0]
    assert ip_address(network["gateway"]) in ip_network(network["subnet"])
    # Whatever ends on this machine comes from the gateway: it is trusted once it is named.
    assert settings.trusted_proxies == ()
    behind = filled(web["environment"]["TRUSTED_PROXIES"], TRUSTED_PROXIES=network["gateway"])
    trusted = load(env_file=None, trusted_proxies=behind).trusted_proxies
    assert is_trusted(network["gateway"], trusted)
    assert not is_trusted("172.30.91.2", trusted)
    assert f"nginx.conf here it is {network['gateway']}" in COMPOSE.read_text()
    assert settings.port == 8000
    # The model servers' name and port in the containers' own network
    assert settings.vllm_base_url == "http://vllm:8001/v1"
    for name in ("vllm-rocm", "vllm-cuda"):
        model = compose()["services"][name]
        assert model["networks"]["default"]["aliases"] == ["vllm"]
        assert "--port=8001" in model["command"]
        assert all(port.startswith("127.0.0.1:") for port in model["ports"])


def test_it_stops_in_time_and_keeps_nothing() -> None:
    """Time for answers and the rest; a read-only root, no rights, no core dump, no swap, nothing
    that is kept.
    """
    web = compose()["services"]["web"]
    grace = float(re.fullmatch(r"(\d+)s", web["stop_grace_period"])[1])  # type: ignore[index]
    assert load(env_file=None).drain_seconds + STOP_SECONDS <= grace
    assert web["read_only"] is True
    assert web["cap_drop"] == ["ALL"]
    assert web["ulimits"]["core"] == 0
    assert web["mem_limit"] == web["memswap_limit"]
    assert "volumes" not in web
    for name in ("vllm-rocm", "vllm-cuda"):
        model = compose()["services"][name]
        assert filled(model["mem_limit"]) == filled(model["memswap_limit"]) == "64g"
        assert model["mem_swappiness"] == 0
        # Shared memory of its own, and room in it: the 64 MiB of a container are too few.
        assert model["ipc"] == "private"
        assert filled(model["shm_size"]) == "8g"
    # Nobody is relayed to before the server's address is given.
    assert "--allowed-peer-ip=${TURN_PEER:-192.0.2.1}" in compose()["services"]["coturn"]["command"]
    for name, service in compose()["services"].items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["ulimits"]["core"] == 0, name


def test_no_secret_is_in_it() -> None:
    """Names of secrets have no value of their own there."""
    text = COMPOSE.read_text()
    for name in ("SECRET", "PASSWORD", "API_KEY", "ACCESS_CODE", "TOKEN"):
        for match in re.finditer(rf"^\s*(\w*{name}\w*):\s*(.*)$", text, re.M):
            assert filled(match[2]) in ("", '""'), match[0]


def test_model_servers_are_started_as_by_the_script() -> None:
    """One image of each vendor, one list of flags and one of AMD's variables, whoever starts vLLM."""
    services = compose()["services"]
    model = Checkpoint(Path("/model"), {"model_type": "qwen2_5_vl"}, None, ())
    for name, vendor in (("vllm-rocm", Vendor.AMD), ("vllm-cuda", Vendor.NVIDIA)):
        launch = build(
            load(env_file=None),
            model,
            Vllm("0.31", IMAGE_FLAGS, words=("vllm", "serve")),
            amd=vendor is Vendor.AMD,
        )
        assert filled(services[name]["image"]) == IMAGES[vendor]
        words = _joined([*launch.argv[2:]])
        script = {flag.partition("=")[0]: flag.partition("=")[2] for flag in words}
        ours = dict(filled(flag).partition("=")[::2] for flag in services[name]["command"])
        place = ("--host", "--port", "--served-model-name")
        assert {k: plain_value(v) for k, v in ours.items() if k not in place} == {
            k: plain_value(v) for k, v in script.items() if k not in place
        }
        given = services[name]["environment"]
        assert {k: v for k, v in given.items() if k != "VLLM_API_KEY"} == dict(launch.env)


def _joined(words: list[str]) -> list[str]:
    """Flags with their values behind an equals sign."""
    found: list[str] = []
    for word in words:
        if found and found[-1].startswith("--") and "=" not in found[-1] and word[:2] != "--":
            found[-1] += f"={word}"
        else:
            found.append(word)
    return found


def plain_value(text: str) -> Any:
    """Return a flag's value as JSON, or its text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def test_model_servers_log_no_request() -> None:
    """In the words of its version, which is a fixed one; a picture has the pixels that the server
    makes.
    """
    services = compose()["services"]
    for name in ("vllm-rocm", "vllm-cuda"):
        assert "--no-enable-log-requests" in services[name]["command"]
        assert {flag.partition("=")[0] for flag in services[name]["command"][1:]} <= set(
            recorded("0.32")
        )
        flags = dict(filled(flag).partition("=")[::2] for flag in services[name]["command"])
        pixels = json.loads(flags["--mm-processor-kwargs"])
        assert pixels == {"min_pixels": 4 * 28 * 28, "max_pixels": 1280 * 28 * 28}
        settings = load(env_file=None)
        assert float(flags["--gpu-memory-utilization"]) == settings.gpu_memory_utilization
        assert int(flags["--max-model-len"]) == settings.model_max_tokens
        assert flags["--dtype"] == settings.model_dtype
        assert shlex.join(services[name]["entrypoint"]) == "vllm serve"


def application() -> dict[str, Any]:
    whole = yaml.safe_load((DEPLOY / "ray" / "serve.yaml").read_text(encoding="utf-8"))
    (found,) = whole["applications"]
    return dict(found)


def test_its_vllm_is_started_as_in_compose() -> None:
    """Each flag of the containers is an argument here, with the same value."""
    (model,) = application()["args"]["llm_configs"]
    flags = [filled(flag) for flag in compose()["services"]["vllm-cuda"]["command"][1:]]
    own = {"served-model-name", "host", "port"}
    wanted: dict[str, Any] = {}
    for flag in flags:
        name, _, value = flag.removeprefix("--").partition("=")
        if name not in own:
            key = re.sub("^no-", "", name).replace("-", "_")
            wanted[key] = plain_value(value) if value else not name.startswith("no-")
    # vLLM splits a flag with several values.
    wanted["allowed_media_domains"] = wanted["allowed_media_domains"].split()
    assert model["engine_kwargs"] == wanted
    name = next(flag for flag in flags if flag.startswith("--served-model-name="))
    assert model["model_loading_config"]["model_id"] == name.partition("=")[2]


def test_it_keeps_to_the_time_and_port_of_the_web_server() -> None:
    """The address is the default of VLLM_BASE_URL, for this machine alone until it is changed."""
    whole = yaml.safe_load((DEPLOY / "ray" / "serve.yaml").read_text(encoding="utf-8"))
    http = whole["http_options"]
    assert load(env_file=None).vllm_base_url == f"http://{http['host']}:{http['port']}/v1"
    # An answer may take 120 s.
    assert http["request_timeout_s"] > 120
    deployed = application()["args"]["llm_configs"][0]["deployment_config"]
    assert deployed["graceful_shutdown_timeout_s"] >= 120
    scaling = deployed["autoscaling_config"]
    assert scaling["target_ongoing_requests"] <= deployed["max_ongoing_requests"]
