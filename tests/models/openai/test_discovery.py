"""A model server's machine, its list of models and what it says of them, from every kind of server."""

from __future__ import annotations

import pytest

from config import load
from server.media.patches.ice import own_addresses
from server.models.openai.chat_client import Endpoint
from server.models.openai.discovery import other_machine
from server.models.openai.engine import OpenAIEngine
from tests.support.fakes_openai import FakeOpenAI

# The machine


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("http://127.0.0.1:8001/v1", "gpu-1.example.org, gpu-2.example.org"),
        ("http://localhost:8001/v1", "gpu-1.example.org, gpu-2.example.org"),
        ("http://[::1]:8001/v1", "gpu-1.example.org, gpu-2.example.org"),
        ("http://127.0.0.1:8002/v1", ""),
        ("http://vllm:8001/v1", ""),
        ("http://vllm:8002/v1", "vllm"),
        ("http://192.0.2.7:8001/v1", ""),
        ("http://192.0.2.7:8002/v1", "192.0.2.7"),
        ("https://models.example.org/v1", "gpu.example.org"),
    ],
)
async def test_the_operator_names_the_machines_behind_an_address(url: str, other: str) -> None:
    """A router or a tunnel on this machine leads elsewhere; a container's name or an own address may not."""
    text = (
        "127.0.0.1:8001=gpu-1.example.org, 127.0.0.1:8001=gpu-2.example.org, vllm:8001=here,"
        " 192.0.2.7:8001=here, models.example.org:443=gpu.example.org"
    )
    machines = load(env_file=None, engine_machines=text).machines
    assert other_machine(url, machines) == other
    engine = OpenAIEngine("vllm", Endpoint(url, machines=machines))
    assert engine.status.elsewhere == other
    await engine.close()


async def test_an_address_of_this_machine_is_another_until_it_is_named() -> None:
    """Who has an address or a name changes with the network; the setting does not."""
    mine = [address for address in own_addresses() if ":" not in address]
    if not mine:
        pytest.skip("This machine has no address beyond loopback.")
    async with FakeOpenAI(host="0.0.0.0") as server:
        at = f"{mine[0]}:{server.port}"
        for machines, other in (({}, mine[0]), ({at: ""}, "")):
            engine = OpenAIEngine("vllm", Endpoint(f"http://{at}/v1", machines=machines))
            status = await engine.probe()
            await engine.close()
            assert (status.ready, status.elsewhere) == (True, other)
