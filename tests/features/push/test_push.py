"""Alerts at a push service: encrypted for one device, signed, tried again, and ended with the subscription."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec

from server.core.errors import BadRequest
from server.core.messages import ServerMessage
from server.features.push import push
from server.features.push.encryption import Identity, decode
from server.features.push.messages import PushState
from server.features.push.push import MOST_WAITING, Pushing, PushSender, parse_subscription
from server.features.push.settings import PushSettings
from server.session.part import PROGRAMS, Alert
from server.session.request.outbox import Outbox
from tests.features.push.service import CURVE, Device, PushService
from tests.support.clients import soon
from tests.support.rooms import bare_context

CONTACT = "mailto:operator@example.org"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "RETRY_SECONDS", (0.01, 0.01))


@pytest_asyncio.fixture
async def sender() -> AsyncIterator[PushSender]:
    made = PushSender("a secret of at least 32 characters", CONTACT)
    yield made
    await made.close()


@pytest_asyncio.fixture
async def service() -> AsyncIterator[PushService]:
    async with PushService() as made:
        yield made


class Client(Outbox):
    """The states that were sent to it, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.on: list[bool] = []

    def put(self, message: ServerMessage) -> None:
        assert isinstance(message, PushState)
        self.on.append(message.on)


def pushing(sender: PushSender, service: PushService, id: str = "s1") -> tuple[Pushing, Client]:
    outbox = Client()
    return Pushing(bare_context(outbox, id=id), sender, [service.origin]), outbox


def alert(condition: str = "a person comes", watch: str = "w1") -> Alert:
    return Alert(1_700_000_000_000.0, watch=watch, condition=condition, jpeg=b"jpeg", id="a1")


def test_a_message_of_rfc_8291_is_read() -> None:
    """By the device of these tests: section 5, whose body was made elsewhere."""
    private = int.from_bytes(decode("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"))
    device = Device(ec.derive_private_key(private, CURVE), decode("BTBZMqHH6r4Tts7J_aSIgg"))
    body = (
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl"
        "7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )
    assert device.decrypt(decode(body)) == b"When I grow up, I want to be a watermelon"


def test_the_key_stays_the_same_and_differs_by_secret() -> None:
    assert Identity("one").public == Identity("one").public != Identity("two").public
    assert len(decode(Identity("one").public)) == 65


async def test_an_alert_arrives_without_a_picture(sender: PushSender, service: PushService) -> None:
    part, client = pushing(sender, service)
    device = Device()
    part.greet()
    part.on_alert(alert())
    part.choose(device.subscribe(f"{service.origin}/send/1"))
    assert client.on == [False, True]
    part.on_alert(alert())
    await soon(lambda: len(service.requests) == 1)
    assert service.message(device) == {
        "id": "a1",
        "condition": "a person comes",
        "at": 1_700_000_000_000.0,
    }
    [request] = service.requests
    assert request.path == "/send/1"
    assert request.headers["content-encoding"] == "aes128gcm"
    assert request.headers["urgency"] == "high"
    claims = service.claims(request)
    assert claims["sub"] == CONTACT
    assert 0 < claims["exp"] - time.time() < 24 * 3600
    assert b"person" not in request.body

    part.on_alert(alert(watch=f"{PROGRAMS}1"))
    part.choose(device.subscribe(""))
    part.on_alert(alert())
    await asyncio.sleep(0.05)
    assert len(service.requests) == 1
    assert len(sender) == 0


@pytest.mark.parametrize("status", [404, 410])
async def test_a_device_that_has_unsubscribed_gets_no_more(
    sender: PushSender, service: PushService, status: int
) -> None:
    service.statuses = [status]
    part, client = pushing(sender, service)
    part.choose(Device().subscribe(service.origin))
    part.on_alert(alert())
    await soon(lambda: len(sender) == 0)
    assert client.on == [True, False]
    part.on_alert(alert())
    await asyncio.sleep(0.05)
    assert len(service.requests) == 1


async def test_a_service_that_fails_is_tried_again(
    sender: PushSender, service: PushService
) -> None:
    """Up to a limit; a refusal is final."""
    service.statuses = [503, 429, 201]
    part, _ = pushing(sender, service)
    device = Device()
    part.choose(device.subscribe(service.origin))
    part.on_alert(alert())
    await soon(lambda: len(service.requests) == 3)
    service.statuses = [403, 201]
    part.on_alert(alert("the second"))
    part.on_alert(alert("the third"))
    await soon(lambda: len(service.requests) == 5)
    assert service.message(device)["condition"] == "the third"
    service.statuses = [500]
    part.on_alert(alert())
    await soon(lambda: len(service.requests) == 8)
    await asyncio.sleep(0.05)
    assert len(service.requests) == 8


async def test_a_silent_service_delays_no_other_session(
    sender: PushSender, service: PushService
) -> None:
    """What waits for it is bounded, the newest stays, and its end takes all of it along."""
    async with PushService([0]) as silent:
        stuck, _ = pushing(sender, silent, "stuck")
        stuck.choose(Device().subscribe(silent.origin))
        for n in range(3 * MOST_WAITING):
            stuck.on_alert(alert(str(n)))
        await soon(lambda: len(silent.requests) == 1)
        part, _ = pushing(sender, service)
        device = Device()
        part.choose(device.subscribe(service.origin))
        began = time.monotonic()
        part.on_alert(alert())
        await soon(lambda: len(service.requests) == 1)
        assert time.monotonic() - began < 1
        sender.end("stuck")
        assert len(sender) == 1
        assert len(silent.requests) == 1


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://fcm.googleapis.com/x",
        "https://fcm.googleapis.com:8443/x",
        "https://fcm.googleapis.com.example.org/x",
        "https://user@fcm.googleapis.com/x",
        "https://127.0.0.1/x",
        "https://examplefcm.googleapis.com/x",
        "file:///etc/passwd",
    ],
)
def test_other_hosts_are_refused(endpoint: str) -> None:
    with pytest.raises(BadRequest, match="allowed push service"):
        parse_subscription(Device().subscribe(endpoint))


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://fcm.googleapis.com/fcm/send/x",
        "https://updates.push.services.mozilla.com/wpush/v2/x",
        "https://web.push.apple.com/x",
        "https://db5p.notify.windows.com/w/?token=x",
    ],
)
def test_the_browsers_services_are_allowed(endpoint: str) -> None:
    assert parse_subscription(Device().subscribe(endpoint)).endpoint == endpoint


def test_keys_that_cannot_be_used_are_refused(sender: PushSender, service: PushService) -> None:
    """And the subscription before them stays."""
    part, _ = pushing(sender, service)
    good = Device().subscribe(service.origin)
    part.choose(good)
    for changed in ({"p256dh": "AAAA"}, {"p256dh": "!"}, {"auth": "AAAA"}, {"auth": ""}):
        with pytest.raises(BadRequest, match="auth"):
            part.choose(good.model_copy(update=changed))
    assert len(sender) == 1


def test_the_operators_services() -> None:
    settings = PushSettings.model_validate(
        {"push_services": "push.example.com, http://10.0.0.2:8080"}
    )
    assert settings.push_services == ("https://push.example.com", "http://10.0.0.2:8080")
    for wrong in ("ftp://example.com", "https://example.com/path", "https://"):
        with pytest.raises(ValueError, match="must be hosts"):
            PushSettings.model_validate({"push_services": wrong})
    [error] = PushSettings(push_contact="someone").find_errors()
    assert "PUSH_CONTACT" in error


async def test_a_long_condition_fits(sender: PushSender, service: PushService) -> None:
    part, _ = pushing(sender, service)
    device = Device()
    part.choose(device.subscribe(service.origin))
    part.on_alert(alert("ü" * 2000))
    await soon(lambda: len(service.requests) == 1)
    assert len(service.requests[0].body) <= 4096
    assert json.dumps(service.message(device))
