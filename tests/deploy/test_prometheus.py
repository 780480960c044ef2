"""Debian's Prometheus with deploy/prometheus.yml and deploy/alerts.yml, watching a server that
somebody visits.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from scripts.bench.camera_peer import CameraPeer
from scripts.bench.http_json import request, request_json
from tests.support.answering import answering
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_rtc import live_encoder
from tests.support.fakes_server import ServerProcess, free_port
from tests.support.promql import (
    DEPLOY,
    VLLM_METRICS,
    all_queries,
    filled_in,
    panel_queries,
    selectors,
    served,
)

pytestmark = pytest.mark.slow

TOKEN = "canary-metrics-token-Zq92"
QUESTION = "canaryquestion-Zq93"


class Prometheus:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.output = bytearray()

    async def get(self, path: str) -> Any:
        answer = await request_json("GET", f"{self.url}/api/v1/{path}")
        assert answer["status"] == "success", (path, answer)
        return answer["data"]

    async def query(self, expression: str) -> list[Any]:
        """An instant query's samples.

        Raises HttpError for one that Prometheus does not understand.
        """
        found = await self.get(f"query?query={quote(expression)}")
        result: list[Any] = found["result"]
        return result

    async def firing(self) -> set[str]:
        """The critical ones: a machine that is busy with other tests may well be late."""
        alerts = (await self.get("alerts"))["alerts"]
        return {
            one["labels"]["alertname"]
            for one in alerts
            if one["state"] == "firing" and one["labels"]["severity"] == "critical"
        }


def hurried(folder: Path, server: str, vllm: str) -> Path:
    """deploy/prometheus.yml with these targets, looking twice a second, and alerts that wait one
    second.
    """
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    web, model = config["scrape_configs"]
    (folder / "token").write_text(f"{TOKEN}\n")
    web["authorization"]["credentials_file"] = "token"
    # As a fleet has it: found in files that change.
    for job, target, name in ((web, server, "gateways"), (model, vllm, "engines")):
        del job["static_configs"]
        (found,) = job["file_sd_configs"]
        (pattern,) = found["files"]
        assert Path(pattern).name == f"{name}*.yml"
        found["files"] = [f"{name}*.yml"]
        (folder / f"{name}-h1.yml").write_text(
            yaml.safe_dump([{"targets": [target], "labels": {"host": "h1"}}])
        )
    shutil.copy(DEPLOY / "recording.yml", folder)
    alerts = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
    for group in alerts["groups"]:
        for rule in group["rules"]:
            rule["for"] = "1s"
    (folder / "alerts.yml").write_text(yaml.safe_dump(alerts))
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@asynccontextmanager
async def prometheus(config: Path) -> AsyncIterator[Prometheus]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is missing; bash scripts/test.sh installs it where it may.")
    port = free_port()
    running = Prometheus(port)
    process = await asyncio.create_subprocess_exec(
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={config.parent / 'data'}",
        # Names and secrets stay readable for the search at the end.
        "--no-storage.tsdb.wal-compression",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=debug",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None

    async def read(stream: asyncio.StreamReader) -> None:
        while data := await stream.read(65536):
            running.output += data

    reader = asyncio.create_task(read(process.stdout), name="prometheus-output")
    try:
        await until(lambda: ready(running, process))
        yield running
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await reader


async def ready(running: Prometheus, process: asyncio.subprocess.Process) -> bool:
    assert process.returncode is None, running.output.decode(errors="replace")
    try:
        return (await request("GET", f"{running.url}/-/ready")).status == 200
    except (OSError, EOFError):
        return False


async def until(check: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await check():
            await asyncio.sleep(0.1)


async def test_a_real_prometheus_watches_a_real_server(tmp_path: Path) -> None:
    """Both targets are up, each query of rules and dashboard is understood and finds what there is
    to find, nothing critical fires while all is well, and a server that goes sets off its alert;
    neither token nor question is found in what it keeps.
    """
    async with (
        FakeOpenAI() as fake,
        live_encoder() as encoder,
        answering(VLLM_METRICS.read_text(), kind="text/plain; version=0.0.4") as vllm,
        ServerProcess(
            {
                "METRICS_TOKEN": TOKEN,
                "ENGINE": "auto",
                "VLLM_BASE_URL": fake.base_url,
                "DRAIN_SECONDS": "1",
            }
        ) as server,
        prometheus(
            hurried(tmp_path, f"127.0.0.1:{server.port}", f"127.0.0.1:{vllm.port}")
        ) as watch,
        CameraPeer(server.url, encoder) as peer,
    ):
        answer = await peer.ask(QUESTION, timeout=20)
        assert answer.response is not None, answer.error

        async def seen() -> bool:
            counted = await watch.query("qwen_camera_loop_lag_seconds_count >= 1")
            asked = await watch.query('qwen_camera_inference_seconds_count{kind="chat"} >= 1')
            return bool(counted and asked and await watch.query("count_over_time(up[1m]) >= 3"))

        await until(seen)
        targets = (await watch.get("targets"))["activeTargets"]
        assert {target["labels"]["job"] for target in targets} == {"qwen-camera", "vllm"}
        assert {target["health"] for target in targets} == {"up"}
        assert {target["labels"]["host"] for target in targets} == {"h1"}
        for _, expression in all_queries():
            await watch.query(expression)
        await finds_what_there_is(watch)
        assert await watch.firing() == set()
        await peer.close()
        await server.stop()

        async def fired() -> bool:
            return "QwenCameraDown" in await watch.firing()

        await until(fired)
        alerts = (await watch.get("alerts"))["alerts"]
        down = next(one for one in alerts if one["labels"]["alertname"] == "QwenCameraDown")
        assert down["labels"]["severity"] == "critical"
        assert down["annotations"]["summary"] == f"127.0.0.1:{server.port} does not answer"
        assert "systemctl status qwen-webrtc" in down["annotations"]["remedy"]
        assert len((await watch.get("rules"))["groups"]) == 4
    kept = bytes(watch.output) + b"".join(
        path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()
    )
    assert b"qwen_camera_sessions" in kept
    for secret in (TOKEN, QUESTION, peer.session_id, peer.token):
        assert secret.encode() not in kept


async def finds_what_there_is(watch: Prometheus) -> None:
    """A panel's query is empty only where one of its metrics has no sample with these labels."""
    for title, expression in panel_queries():
        expression = filled_in(expression)
        if await watch.query(expression):
            continue
        missing = False
        for selector in selectors(expression):
            assert selector.metric in served()
            matchers = ",".join(
                f'{label}=~"{"|".join(wanted)}"'
                for label, wanted in selector.labels.items()
                if wanted and label not in ("instance", "state")
            )
            missing = missing or not await watch.query(f"{selector.metric}{{{matchers}}}")
        assert missing, (title, expression)
