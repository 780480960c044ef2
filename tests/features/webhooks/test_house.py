"""From a fixed camera to a receiver: a real picture, a real alert, a verified POST."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import sys
import time
from pathlib import Path

import httpx
import pytest

from server.features.webhooks.sender import WebhookClient
from server.features.webhooks.settings import Webhook, read_webhooks
from server.features.webhooks.waiting import DeliveryError
from server.features.webhooks.webhooks import Webhooks, build_body, make_headers
from server.session.part import Alert, AlertSource
from tests.features.rtsp.scripted import begun, flat_jpeg, house, is_red, jpeg_camera, red_jpeg
from tests.features.webhooks.receiver import SECRET, Receiver, hall, receiving, written
from tests.support.clients import metric, soon
from tests.support.running import running

pytestmark = pytest.mark.slow

GUIDE = Path(__file__).parents[3] / "server/features/webhooks/README.md"
DOCUMENT = GUIDE.read_text(encoding="utf-8")


def listed(folder: Path, receiver: Receiver, evidence: str, address: str) -> str:
    lines = ('cameras = ["door"]', f'evidence = "{evidence}"')
    return str(written(folder, f'address = "{address}"\n{hall(receiver.url, *lines)}'))


@pytest.mark.parametrize("evidence", ["inline", "link"])
async def test_an_alert_arrives_signed_with_its_picture(evidence: str, tmp_path: Path) -> None:
    """Though nobody has a page open. A link leads to the picture."""
    shown = flat_jpeg(40, 180, 60)
    async with jpeg_camera(lambda: shown) as port, receiving() as receiver:
        door = f'url = "http://127.0.0.1:{port}/"\nwatches = ["you see red"]'
        hooks = listed(tmp_path, receiver, evidence, "https://cam.example.org")
        async with house(tmp_path, {"webhooks": hooks}, door=door) as (run, _):
            await soon(lambda: begun(run), 60)
            shown = red_jpeg()
            await soon(lambda: bool(receiver.heard), 60)
            (message,) = receiver.messages
            data = message["data"]
            assert data["source"] == {"kind": "camera", "name": "door"}
            assert (data["watch"], data["condition"]) == ("list-1", "you see red")
            found = data["evidence"]
            if evidence == "inline":
                assert is_red(base64.b64decode(found["base64"]))
            else:
                path = found["url"].removeprefix("https://cam.example.org")
                async with httpx.AsyncClient(base_url=run.base_url, trust_env=False) as client:
                    assert is_red((await client.get(path)).content)
            await soon(lambda: metric(run, "webhook_attempts_total", result="taken") == 1, 60)


async def test_without_a_list_nothing_leaves() -> None:
    """The operator's list is the consent for fixed cameras."""
    async with running() as run:
        assert run.program.added.provided[Webhooks].get_status() == {"webhooks": [], "dead": []}
        assert run.program.added.provided[Webhooks].offered == ()


def test_the_list_of_the_document(tmp_path: Path) -> None:
    """As server/features/webhooks/README.md has it: only the secret is ours."""
    (block,) = re.findall(r"^ *```toml\n(.*?)^ *```", DOCUMENT, re.MULTILINE | re.DOTALL)
    path = written(tmp_path, block.replace("whsec_...", SECRET))
    (hook,) = read_webhooks(path).webhooks
    assert (hook.name, hook.cameras, hook.private) == ("hall", ("front-door",), True)
    assert hook.url == "http://127.0.0.1:9000/"


async def test_the_receiver_of_the_document(tmp_path: Path) -> None:
    """As server/features/webhooks/README.md has it: it takes a signed message, and refuses one with another secret."""
    script = DOCUMENT.split("```python\n")[1].split("```")[0]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script),
        env={"SECRET": SECRET, "PORT": str(port)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        other = "whsec_" + base64.b64encode(bytes(32)).decode()
        for secret, trouble in ((other, DeliveryError.STATUS), (SECRET, None)):
            hook = Webhook("hall", f"http://127.0.0.1:{port}/", secret, private=True)
            said = build_body(Alert(0, AlertSource("s", "door"), condition="a dog is there"))
            signed = make_headers(hook.key, "msg_1", int(time.time()), said)
            async with asyncio.timeout(30):
                while (outcome := await WebhookClient().post(hook, signed, said)).status == 0:
                    await asyncio.sleep(0.05)
            assert (outcome.trouble, outcome.status) == (trouble, 401 if trouble else 204)
        assert await process.stdout.readline() == b"watch.alert a dog is there\n"
    finally:
        process.kill()
        await process.wait()
