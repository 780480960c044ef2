"""Measure what an unchanged scene saves, with a vLLM that runs: `python -m benchmarks.still_scene
--vllm URL`.

    .venv-models/bin/python -m tests.real_model.still_model FOLDER
    vllm serve FOLDER --port 8001 --trust-remote-code --enforce-eager --max-model-len 4096 --block-size 32
    .venv/bin/python -m benchmarks.still_scene --vllm http://127.0.0.1:8001/v1

A block that is not full is computed again: vLLM's default on a CPU, 128 tokens, hides what is saved.
The whole server answers a simulated camera. Each round is a session of its own, with one question
before the measured one. "Text alone" is such a conversation without a picture, new to vLLM and
asked beside a camera that sends, as all others are; "text again" was asked before, and alone.
"""

from __future__ import annotations

import asyncio
import statistics
import time

import httpx

from scripts.arguments import call
from scripts.bench.camera_peer import CameraPeer
from scripts.bench.live_encoder import LiveEncoder, Scene
from server.core import core_dumps
from server.models.prompts import system_text
from tests.support.running import Running, running

FIRST, QUESTION = "What is on the table?", "And which colour does it have now?"
WAYS = ("text again", "text alone", "new scene", "still scene", "typed ahead")


def still(seed: int) -> Scene:
    scene = Scene(seed=seed)
    scene.clock = scene.moving = False
    return scene


async def text_alone(client: httpx.AsyncClient, url: str, model: str, first: str) -> float:
    """Ask vLLM itself two questions without a picture; return seconds to the second first token."""
    said = [
        {"role": "system", "content": system_text()},
        {"role": "user", "content": first},
        {"role": "assistant", "content": "a table"},
        {"role": "user", "content": QUESTION},
    ]
    seconds = 0.0
    for messages in (said[:2], said):
        body = {"model": model, "max_tokens": 16, "stream": True, "messages": messages}
        began, seconds = time.perf_counter(), 0.0
        async with client.stream("POST", f"{url}/chat/completions", json=body) as reply:
            reply.raise_for_status()
            async for line in reply.aiter_lines():
                if line.startswith("data: {") and not seconds:
                    # vLLM sends the first event with the first token
                    seconds = time.perf_counter() - began
        if not seconds:
            raise RuntimeError("vLLM sent nothing")
    return seconds


async def beside_a_camera(
    run: Running, client: httpx.AsyncClient, url: str, model: str, seed: int
) -> float:
    """Ask so while a camera sends; the words are new to vLLM."""
    encoder = LiveEncoder(still(seed), rate=4.0)
    try:
        async with CameraPeer(run.base_url, encoder):
            await asyncio.sleep(3)
            return await text_alone(client, url, model, f"Table {seed}: {FIRST}")
    finally:
        await encoder.close()


async def counted(client: httpx.AsyncClient, url: str) -> tuple[float, float]:
    """Return vLLM's own counts of tokens looked up in its prefix cache, and found there."""
    text = (await client.get(f"{url.removesuffix('/v1')}/metrics")).text
    sums = {"queries": 0.0, "hits": 0.0}
    for line in text.splitlines():
        for name in sums:
            if line.startswith(f"vllm:prefix_cache_{name}_total"):
                sums[name] += float(line.rsplit(" ", 1)[1])
    return sums["queries"], sums["hits"]


async def one_round(run: Running, way: str, seed: int) -> tuple[float, int, int]:
    """Return the second question's seconds to its first token, its prompt and cached tokens."""
    encoder = LiveEncoder(still(seed), rate=4.0)
    try:
        async with CameraPeer(run.base_url, encoder) as peer:
            # The encoder settles: a VP8 picture gets sharper within its first two seconds.
            await asyncio.sleep(3)
            await peer.ask(FIRST)
            if way != "still scene":
                encoder.scene = still(seed + 1000)
                await asyncio.sleep(3)
            if way == "typed ahead":
                await peer.send({"type": "typing"})
                await asyncio.sleep(4)
            answer = await peer.ask(QUESTION)
    finally:
        await encoder.close()
    message = answer.response
    if message is None:
        raise RuntimeError(f"no answer: {answer.error}")
    usage = message["usage"]
    return (
        message["timings"]["first_token_ms"] / 1000,
        usage.get("prompt_tokens", 0),
        usage.get("cached_tokens", 0),
    )


async def measure(vllm: str, rounds: int = 10) -> None:
    """`vllm`: its base URL, with /v1."""
    url = vllm.rstrip("/")
    async with (
        httpx.AsyncClient(trust_env=False, timeout=120) as client,
        running(engine="vllm", vllm_base_url=url, response_max_tokens=16) as run,
    ):
        model = (await client.get(f"{url}/models")).json()["data"][0]["id"]
        found: dict[str, list[tuple[float, int, int]]] = {way: [] for way in WAYS}
        before = await counted(client, url)
        for seed in range(-1, rounds):
            for way in WAYS:
                if way == "text again":
                    one = (await text_alone(client, url, model, FIRST), 0, 0)
                elif way == "text alone":
                    number = int(time.time())
                    one = (await beside_a_camera(run, client, url, model, number), 0, 0)
                else:
                    one = await one_round(run, way, (seed + 1) * 10 + WAYS.index(way))
                if seed >= 0:  # the first round warms up
                    found[way].append(one)
        after = await counted(client, url)
    base = statistics.median(seconds for seconds, _, _ in found["text alone"])
    for way, ones in found.items():
        seconds = sorted(one[0] for one in ones)
        middle = statistics.median(seconds)
        prompt, cached = ones[-1][1:]
        print(
            f"{way:12} first token p50 {middle * 1000:7.1f} ms, most {seconds[-1] * 1000:7.1f} ms, "
            f"{middle / base:5.2f} x text alone; prompt {prompt}, cached {cached}"
        )
    queries, hits = (late - early for late, early in zip(after, before, strict=True))
    print(f"prefix cache: {hits:.0f} of {queries:.0f} tokens found")


if __name__ == "__main__":
    core_dumps.forbid()
    call(measure, __doc__)
