"""scripts/doctor.py for real: against servers that run, are down, refuse, or that nobody trusts."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import ipaddress
import json
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.http_json import Reply
from scripts.bench.live_encoder import LiveEncoder
from scripts.bench.program import add_server
from scripts.checks import media, web
from scripts.checks.finding import Finding, State
from scripts.doctor import parse_options, run_checks
from scripts.local_certificate import (
    CertificateStore,
    Identity,
    IssuedFiles,
    make_leaf,
    read_pair,
    to_pem,
)
from server.core.frames import Role
from tests.support import onnx_model
from tests.support.answering import answering
from tests.support.clients import soon
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_server import free_port
from tests.support.running import running
from tests.support.speech_server import SpeechServer, TranscriptionServer

CODE, SECRET, KEY = "canary-code-5xk2p", "canary-of-the-relay-7f3a9b52", "k3Jw9fQ2" * 5
PRIVATE = {"access_code": CODE, "jwt_secret_key": KEY, "rate_limit_per_minute": 0}


async def look(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Return the JSON output by check; under "" True when nothing failed."""
    ok = await run_checks(parse_options(["--json", *arguments]))
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is ok
    return {check["id"]: check for check in told["checks"]} | {"": ok}


def env_file(folder: Path, **settings: object) -> str:
    path = folder / "settings.env"
    path.touch(0o600)
    path.write_text("".join(f"{key.upper()}={value}\n" for key, value in settings.items()))
    return str(path)


async def test_a_server_that_is_down_and_a_port_that_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its settings: the port is free, so nothing runs; or it is another program's.

    Both say what to do.
    """
    port = free_port()
    where = env_file(tmp_path, port=port, host="127.0.0.1", engine="builtin")
    found = await look(capsys, "--env-file", where)
    assert (found["settings"]["state"], found["server"]["state"], found[""]) == (
        "ok",
        "failed",
        False,
    )
    assert f"Port {port} is free" in found["server"]["cause"]
    assert "run.sh" in found["server"]["todo"]
    other = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
    async with other:
        found = await look(capsys, "--env-file", where)
    assert f"Another program uses port {port}" in found["server"]["cause"]


@pytest.mark.slow
async def test_a_wrong_code_and_wrong_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code is refused and not shown; settings with which no server starts are named by key,
    without their values.
    """
    monkeypatch.setattr("getpass.getpass", lambda prompt: "canary-wrong")
    where = env_file(tmp_path, jwt_secret_key="canary-too-short", require_auth="true")
    async with running(**PRIVATE) as run:
        arguments = ["--server-url", run.base_url, "--env-file", where]
        found = await look(capsys, *arguments, "--access-code")
    assert found["access"]["state"] == "failed"
    assert "--access-code" in found["access"]["todo"]
    assert "socket" not in found
    assert found["settings"]["state"] == "failed"
    assert "JWT_SECRET_KEY" in found["settings"]["cause"]
    assert "canary" not in str(found)


@pytest.mark.parametrize("given", [["--access-code", CODE], [f"--access-code={CODE}"]])
def test_an_access_code_is_no_argument(
    given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Doctor and benchmarks refuse a code on the command line, which every account can read."""
    monkeypatch.setattr("getpass.getpass", lambda prompt: "typed")
    benchmark = argparse.ArgumentParser()
    add_server(benchmark)
    for parse in (parse_options, benchmark.parse_args):
        with pytest.raises(SystemExit):
            parse(given)
    assert benchmark.parse_args(["--access-code"]).access_code == "typed"


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> IssuedFiles:
    reaper = CertificateStore(tmp_path_factory.mktemp("certificate"))
    return reaper.provide(Identity((), ()), "on test", datetime.now(UTC))


@pytest.mark.slow
async def test_certificates(
    issued: IssuedFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The own authority is a warning until trusted; another name and a past end do not hold."""
    https: dict[str, Any] = {"https_enabled": True, "ca_cert_path": issued.authority}
    nothing = ("--env-file", env_file(tmp_path))
    async with running(**https, ssl_cert_path=issued.server, ssl_key_path=issued.server) as run:
        found = await look(capsys, "--server-url", run.base_url, *nothing)
        assert found["certificate"]["state"] == "warn"
        assert "own authority" in found["certificate"]["text"]
        assert found["socket"]["state"] == found["direct"]["state"] == "ok"
        authority = ("--authority", str(issued.authority))
        found = await look(capsys, "--server-url", run.base_url, *nothing, *authority)
        assert found["certificate"]["state"] == "ok"
        plain = await look(capsys, "--server-url", f"http://127.0.0.1:{run.port}", *nothing)
        assert "https://" in plain["server"]["todo"]
    key, certificate = read_pair(issued.authority.parent / "authority.pem")
    cases = [
        (ipaddress.ip_address("127.0.0.2"), datetime.now(UTC), "other names: 127.0.0.2"),
        (ipaddress.ip_address("127.0.0.1"), datetime.now(UTC) - timedelta(days=900), "It expired"),
    ]
    for name, made, cause in cases:
        path = tmp_path / "wrong.pem"
        path.write_bytes(to_pem(*make_leaf(key, certificate, [x509.IPAddress(name)], made)))
        async with running(**https, ssl_cert_path=path, ssl_key_path=path) as run:
            finding, trusted = await web.check_certificate(run.base_url, [issued.authority])
        assert (finding.state, trusted) == (State.FAILED, False)
        assert cause in finding.cause


async def test_the_code_of_a_named_server_is_no_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed server has its own settings, which the user who asks may not read."""
    monkeypatch.setenv("ACCESS_CODE", CODE)
    async with running(**PRIVATE) as run:
        where = env_file(tmp_path, engine="builtin")
        found = await look(capsys, "--server-url", run.base_url, "--env-file", where)
    assert (found["settings"]["state"], found["access"]["state"]) == ("ok", "ok")


async def test_the_code_goes_to_nobody_who_is_not_trusted(
    issued: IssuedFiles,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Elsewhere, with a certificate that is not trusted here: no access is tried with a code."""
    monkeypatch.setattr("scripts.doctor.LOOPBACK", ())
    monkeypatch.setenv("ACCESS_CODE", CODE)
    https: dict[str, Any] = {"https_enabled": True, "ssl_cert_path": issued.server}
    async with running(**https, ssl_key_path=issued.server, **PRIVATE) as run:
        found = await look(capsys, "--server-url", run.base_url)
    assert found["certificate"]["state"] == "failed"
    assert found["access"]["state"] == "skipped"
    assert "settings" not in found


async def test_engines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There without the model that is asked for in its list, and down."""
    async with FakeOpenAI() as model:
        settings: dict[str, Any] = {"engine": "vllm", "vllm_base_url": model.base_url}
        where = env_file(tmp_path, **settings, model_name="no-such-model")
        async with running(**settings) as run:
            found = await look(capsys, "--server-url", run.base_url, "--env-file", where)
        assert (found["engine"]["state"], found["model_server"]["state"]) == ("ok", "warn")
        assert "MODEL_NAME" in found["model_server"]["todo"]
        await model.close()
        async with running(**settings) as run:
            found = await look(capsys, "--server-url", run.base_url, "--env-file", where)
        assert (found["engine"]["state"], found["model_server"]["state"]) == ("failed", "failed")
        assert "VLLM_BASE_URL" in found["engine"]["todo"]
        assert "Nothing listens" in found["model_server"]["text"]


async def test_speech(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Servers that answer, refuse the key, lack the model, are gone; a folder without a model; nothing set."""
    plain = await look(capsys, "--env-file", env_file(tmp_path, engine="builtin"))
    assert not {"recogniser", "voice"} & set(plain)
    async with SpeechServer() as voice, TranscriptionServer() as words:
        urls = {"speech_base_url": voice.base_url, "transcription_base_url": words.base_url}
        found = await look(capsys, "--env-file", env_file(tmp_path, engine="builtin", **urls))
        assert (found["voice"]["text"], found["voice"]["state"]) == ("It has speaker.", "ok")
        assert (found["recogniser"]["text"], found["recogniser"]["state"]) == (
            "It has whisper.", "ok",
        )  # fmt: skip
        words.models = None
        voice.key = "another"
        found = await look(capsys, "--env-file", env_file(tmp_path, engine="builtin", **urls))
        assert found["recogniser"]["state"] == "ok"
        assert found["voice"]["state"] == "warn"
        assert "refuses this key" in found["voice"]["text"]
        assert "SPEECH_API_KEY" in found["voice"]["todo"]
        words.models = ["whisper"]
        wrong = env_file(tmp_path, engine="builtin", transcription_model="other", **urls)
        found = await look(capsys, "--env-file", wrong)
        assert "TRANSCRIPTION_MODEL" in found["recogniser"]["todo"]
        # Another program chose the names: no command for the terminal, and not without end
        words.models = ["whis\x1b[2Jper", "x" * 100_000]
        found = await look(capsys, "--env-file", env_file(tmp_path, engine="builtin", **urls))
        assert "whis[2Jper" in found["recogniser"]["text"]
        assert len(found["recogniser"]["text"]) < 1000
    found = await look(capsys, "--env-file", env_file(tmp_path, engine="builtin", **urls))
    assert "Nothing listens at SPEECH_BASE_URL." in found["voice"]["text"]
    assert "browser" in found["voice"]["cause"]
    folder = tmp_path / "voice"
    folder.mkdir()
    here = env_file(tmp_path, engine="builtin", speech_local_model=folder)
    found = await look(capsys, "--env-file", here)
    assert "config.json" in found["voice"]["cause"]
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    assert (await look(capsys, "--env-file", here))["voice"]["state"] == "ok"


async def test_the_end_of_turn_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Read as the server reads it, and as the running server has it."""
    file, sha256 = onnx_model.written(tmp_path, onnx_model.turn_model(0.9))

    async def found(*arguments: str, **settings: Any) -> dict[str, Any] | None:
        where = env_file(tmp_path, engine="builtin", **settings)
        return (await look(capsys, *arguments, "--env-file", where)).get("end_of_turn")

    given: dict[str, Any] = {"end_of_turn_model": file, "end_of_turn_sha256": sha256}
    assert await found() is None
    assert await found(**given, microphone="false") is None
    plain = await found(**given)
    assert plain is not None
    assert (plain["state"], "turn.onnx can be loaded" in plain["text"]) == ("ok", True)
    async with running(**given) as run:
        seen = await found("--server-url", run.base_url, **given)
        assert seen is not None
        assert (seen["state"], seen["text"]) == ("ok", "turn.onnx is ready.")
    wrong = {**given, "end_of_turn_sha256": "0" * 64}
    for settings, why in (
        (wrong, "SHA-256 differs"),
        ({**given, "end_of_turn_model": tmp_path / "none.onnx"}, "cannot be read"),
    ):
        seen = await found(**settings)
        assert seen is not None
        assert seen["state"] == "warn"
        assert why in seen["cause"]
        assert "only silence" in seen["cause"]
    file.write_bytes(b"no model")
    sha256 = hashlib.sha256(b"no model").hexdigest()
    seen = await found(**{**given, "end_of_turn_sha256": sha256})
    assert seen is not None
    assert "not an end-of-turn model" in seen["cause"]
    async with running(**given) as run:
        # The server began with another file, and does not look again.
        file.write_bytes(onnx_model.turn_model(0.9))
        seen = await found("--server-url", run.base_url, **given)
        assert seen is not None
        assert (seen["state"], seen["text"]) == ("warn", "turn.onnx is not ready.")


@pytest.mark.slow
async def test_the_server_of_each_role_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its address, its key, its model, by its own settings; trouble is a warning, since another engine does its work."""
    async with (
        FakeOpenAI(model="large-vl") as large,
        FakeOpenAI(model="small-vl", api_key="the right key") as small,
    ):
        settings: dict[str, Any] = {
            "engine": "vllm",
            "vllm_base_url": large.base_url,
            "watches_base_url": small.base_url,
            "watches_api_key": "the right key",
            "reads_model": "large-vl",
        }

        async def found(**more: Any) -> dict[str, Any]:
            where = env_file(tmp_path, **settings, **more)
            return await look(capsys, "--server-url", run.base_url, "--env-file", where)

        async with running(**settings) as run:
            seen = await found()
            assert {one: seen[one]["state"] for one in ("watches_server", "reads_server")} == {
                "watches_server": "ok",
                "reads_server": "ok",
            }
            assert "small-vl" in seen["watches_server"]["text"]
            assert "vllm (large-vl): ready. watches (small-vl) watches." in seen["engine"]["text"]
            assert seen["engine"]["state"] == "ok"
            settings |= {"watches_api_key": "another key", "reads_model": "reader-vl"}
            seen = await found()
            assert "WATCHES_API_KEY" in seen["watches_server"]["todo"]
            assert "READS_MODEL" in seen["reads_server"]["todo"]
            assert "another key" not in str(seen)
            await small.close()
            await soon(lambda: run.program.engines.uses_fallback(Role.WATCHES), 15)
            seen = await found()
    assert seen["engine"]["state"] == "warn"
    assert "The engine of watches does not respond" in seen["engine"]["cause"]
    assert seen["model_server"]["state"] == "ok"
    assert seen["watches_server"]["state"] == "warn"
    assert "WATCHES_BASE_URL" in seen["watches_server"]["todo"]


async def test_udp_ports_that_are_all_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The range is bound port by port; when none is left, that is what fails."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        port = taken.getsockname()[1]
        settings = {"port": free_port(), "udp_port_range": f"{port}-{port}", "engine": "builtin"}
        found = await look(capsys, "--env-file", env_file(tmp_path, **settings))
    assert found["udp_ports"]["state"] == "failed"
    found = await look(capsys, "--env-file", env_file(tmp_path, **settings))
    assert found["udp_ports"]["state"] == "ok"


async def test_a_proxy_without_websockets_and_a_way_without_udp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both are reported with their cause; a relay makes the second one a warning."""
    async with LiveEncoder() as encoder, answering(status=400) as proxy, running() as run:
        peer = CameraPeer(proxy.url, encoder)
        peer.token = peer.session_id = "x"
        found = await media.check_socket(peer)
        assert (found.state, "status 400" in found.text) == (State.FAILED, True)
        assert "Upgrade" in found.todo
        monkeypatch.setattr(media, "CONNECT_SECONDS", 0.0)
        for relays, state in ((False, State.FAILED), (True, State.WARN)):
            peer = CameraPeer(run.base_url, encoder)
            found = await media.check_picture(peer, watched=False, relays=relays)
            await peer.close()
            assert (found.state, "UDP" in found.cause) == (state, True)


def test_clocks() -> None:
    """The Date header counts whole seconds; over ten apart is reported, without one nothing is."""
    now = datetime.now(UTC)

    def at(seconds: float) -> Finding:
        date = format_datetime(now + timedelta(seconds=seconds), usegmt=True)
        return web.check_clock(Reply(200, {"date": date}, b""), now.timestamp())

    assert at(0).ok
    assert at(9).ok
    assert (at(600).state, "600 s behind" in at(600).text) == (State.WARN, True)
    assert "ahead" in at(-60).text
    assert web.check_clock(Reply(200, {}, b""), 0.0).state is State.SKIPPED


def test_what_is_told_is_clean() -> None:
    """Secrets go wherever they are; addresses keep their start, loopback and versions stay."""
    found = Finding(
        "a", "A", State.OK, "203.0.113.7:3478 via 2001:db8::17", "s3cret 127.0.0.1", "0.1.0"
    )
    clean = found.without_secrets(["s3cret", ""])
    assert (clean.text, clean.cause, clean.todo) == (
        *("203.0.x.x:3478 via 2001:x", "[removed] 127.0.0.1", "0.1.0"),
    )


async def test_what_nobody_set_is_no_trouble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a model server the built-in engine answers, which is the default."""
    where = env_file(tmp_path)
    async with running(engine="builtin") as run:
        found = await look(capsys, "--server-url", run.base_url, "--env-file", where)
    assert found["model_server"]["state"] == "skipped"
