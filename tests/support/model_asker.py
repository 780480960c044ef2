"""A process that asks model servers and says what each cost: `python -m tests.support.model_asker`.

Every line of its input is `probe|answer|videos|request URL`, every line of its output a JSON
object.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scripts.bench.http_json import request
from server.core.errors import EngineError
from server.core.frames import Kind, Picture
from server.features.generation.videos_api import VideosApi
from server.features.hosting.runtime import StartFailed
from server.models.base import Delta, EngineRequest
from server.models.openai.chat_client import Endpoint, TimeLimits
from server.models.openai.engine import OpenAIEngine
from tests.support.children import memory_mib
from tests.support.engine_plans import WAN

LIMITS = TimeLimits(connect=2, first_token=3, between_tokens=2, total=4, probe=3)
# Address space after which a faulty run fails by itself, bytes.
_MOST_ADDRESSES = 3 * 2**30


async def watched(busy: list[float]) -> None:
    """Note the longest computing between two turns of the event loop: other processes do not count."""
    before = time.thread_time()
    while True:
        await asyncio.sleep(0.01)
        now = time.thread_time()
        busy[0] = max(busy[0], now - before)
        before = now


async def probe(url: str) -> dict[str, Any]:
    engine = OpenAIEngine("vllm", Endpoint(url), limits=LIMITS)
    try:
        status = await engine.probe()
        return {"state": status.state, "said": status.detail, "model": status.model}
    finally:
        await engine.close()


async def answer(url: str) -> dict[str, Any]:
    engine = OpenAIEngine("vllm", Endpoint(url, model="m"), limits=LIMITS)
    picture = Picture("f1", 1.0, None, 64, 64, 64, 64, 9, b"\xff\xd8\xff\xd9", None, None, 0.0)
    text = ""
    try:
        async for chunk in engine.answer(EngineRequest("s", Kind.CHAT, "What?", picture)):
            text += chunk.text if isinstance(chunk, Delta) else ""
        return {"state": "answered", "said": text[:100]}
    except EngineError as error:
        return {"state": error.code, "said": error.message}
    finally:
        await engine.close()


async def videos(url: str) -> dict[str, Any]:
    with ThreadPoolExecutor(1) as pool:
        api = VideosApi(WAN, url, "", pool=pool)
        try:
            await api.start()
            return {"state": "probed", "said": ""}
        except StartFailed as error:
            return {"state": "probed", "said": error.message}
        finally:
            await api.stop()


async def script_request(url: str) -> dict[str, Any]:
    """As the monitor, the doctor and the benchmark ask."""
    try:
        reply = await request("GET", f"{url}/models", timeout=3)
    except (OSError, ValueError, IndexError, EOFError) as error:
        return {"state": type(error).__name__, "said": str(error)[:100]}
    return {"state": "replied", "said": str(reply.status), "bytes": len(reply.body)}


KINDS = {"probe": probe, "answer": answer, "videos": videos, "request": script_request}


async def measured(kind: str, url: str) -> dict[str, Any]:
    busy = [0.0]
    gc.collect()
    # Forgets the peak.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, began = memory_mib(), time.monotonic()
    watching = asyncio.create_task(watched(busy))
    found = await KINDS[kind](url)
    await asyncio.sleep(0.05)  # the watch has its turn, too
    watching.cancel()
    figures = {
        "grown_mib": round(memory_mib(name="VmHWM") - before, 1),
        "busy_seconds": round(busy[0], 3),
        "seconds": round(time.monotonic() - began, 2),
    }
    return found | figures


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_ADDRESSES, _MOST_ADDRESSES))
    for line in sys.stdin:
        print(json.dumps(asyncio.run(measured(*line.split()))), flush=True)
