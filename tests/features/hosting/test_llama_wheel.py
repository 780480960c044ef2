"""llama.cpp's server out of xllamacpp: the options that this project gives to `llama-server`, and its end."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from server.features.hosting.catalogue.llama_cpp import Serving, serve_arguments
from server.features.hosting.host import ask_llama
from tests.real_model.gguf_files import PROJECTOR, WEIGHTS, write
from tests.support.clients import bearer, trusted
from tests.support.real_llama import LOADS, LlamaServer, SlowFile

PROGRAM = Path(__file__).parents[2] / "support" / "llama-server"


@dataclass
class Planned(LlamaServer):
    """Started as the manager starts it, with every option that it may be given."""

    key: str = "k"

    def command(self) -> Sequence[str | Path]:
        server, trouble = ask_llama(str(PROGRAM))
        assert server is not None, trouble
        assert server.version
        return serve_arguments(
            server,
            Serving(
                weights=str(self.model / WEIGHTS),
                projector=str(self.model / PROJECTOR),
                name="some/model",
                host="127.0.0.1",
                port=self.port,
                context=4096,
                slots=2,
                threads=1,
                free_bytes=800_000_000,
                picture_tokens=(16, 1024),
            ),
        )


@pytest.fixture
async def server(tiny_model: Path, tmp_path: Path) -> AsyncIterator[Planned]:
    one = Planned(write(tiny_model, tmp_path / "colors"))
    yield one
    one.kill()


async def test_it_takes_the_options_of_llama_server(server: Planned) -> None:
    """Each that the manager may give; and the server is as they say."""
    given = {str(word) for word in server.command() if str(word).startswith("--")}
    optional = {"--alias", "--threads", "--ubatch-size", "--cache-ram", "--ctx-checkpoints"}
    assert given >= optional | {"--image-min-tokens", "--image-max-tokens", "--no-ui", "--offline"}
    await server.start()
    async with httpx.AsyncClient(trust_env=False, verify=trusted()) as client:
        url = server.base_url.removesuffix("/v1")
        assert (await client.get(f"{url}/props")).status_code == 401
        props = (await client.get(f"{url}/props", headers=bearer("k"))).json()
        assert (await client.get(url, headers=bearer("k"))).status_code == 404
    assert (props["total_slots"], props["model_alias"]) == (2, "some/model")
    assert props["default_generation_settings"]["n_ctx"] == 4096
    assert props["modalities"]["vision"]


async def test_it_ends_while_it_loads(server: Planned) -> None:
    SlowFile(server.model / PROJECTOR)
    process = server.begin()
    until = time.monotonic() + LOADS
    while b"load_model: loading model" not in server.log.read_bytes():
        assert time.monotonic() < until
        time.sleep(0.05)
    process.terminate()
    assert process.wait(LOADS) == -signal.SIGTERM
