"""Delivery of alerts to push services, and a session's subscription."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx2

from server.core.aio import TaskSet
from server.core.errors import BadRequest
from server.core.retry_after import parse_retry_after
from server.features.push.encryption import MOST_BYTES, Identity, decode, encrypt
from server.features.push.messages import PushState, Subscribe
from server.features.push.settings import SERVICES
from server.models.openai.http import load_ca_certificates
from server.session.part import PROGRAMS, Alert, SessionContext, SessionPart

log = logging.getLogger(__name__)

# Seconds for one attempt, and before each further one
ATTEMPT_SECONDS = 10.0
RETRY_SECONDS = (2.0, 10.0, 60.0)
# Seconds for which a push service keeps a message for a device that is off
TTL_SECONDS = 3600
# Alerts of a session that wait; of more, the oldest is dropped.
MOST_WAITING = 8
# Characters of a condition in a message
_MOST_TEXT = 500
_GONE = (404, 410)
_LATER = (408, 425, 429, *range(500, 600))


@dataclass(frozen=True, slots=True)
class Subscription:
    """A device at a push service."""

    endpoint: str = field(repr=False)
    device: bytes = field(repr=False)
    auth: bytes = field(repr=False)

    @property
    def origin(self) -> str:
        parts = urlsplit(self.endpoint)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def host(self) -> str:
        return urlsplit(self.endpoint).netloc


def parse_subscription(message: Subscribe, own: Sequence[str] = ()) -> Subscription:
    """Check a client's subscription. `own`: addresses that the operator allows beside `SERVICES`.

    Raises BadRequest.
    """
    parts = urlsplit(message.endpoint)
    host = parts.hostname or ""
    known = parts.scheme == "https" and any(
        host == service or host.endswith(f".{service}") for service in SERVICES
    )
    allowed = known and parts.netloc == host
    if not allowed and f"{parts.scheme}://{parts.netloc}" not in own:
        raise BadRequest(
            f'"endpoint" is not an address of an allowed push service. Allowed: {", ".join((*SERVICES, *own))}.'
            " The operator can add others with PUSH_SERVICES."
        )
    try:
        one = Subscription(message.endpoint, decode(message.p256dh), decode(message.auth))
        encrypt(b"", one.device, one.auth)
    except ValueError:
        raise BadRequest(
            '"p256dh" and "auth" must be the keys of a PushSubscription, as base64url.'
        ) from None
    if len(one.auth) != 16:
        raise BadRequest('"auth" must have 16 bytes, as base64url.')
    return one


@dataclass(slots=True)
class _Lane:
    """The subscription of a session, with the alerts that wait for it."""

    subscription: Subscription
    on_expired: Callable[[], None]
    waiting: deque[bytes] = field(default_factory=lambda: deque(maxlen=MOST_WAITING))
    task: asyncio.Task[None] | None = None


class PushSender:
    """Sender of encrypted alerts: one at a time for each session, so that a slow service delays no other session."""

    def __init__(self, secret: str, contact: str) -> None:
        self._secret, self._contact = secret, contact
        self._identity: Identity | None = None
        self._lanes: dict[str, _Lane] = {}
        self._tasks = TaskSet("push")
        self._client: httpx2.AsyncClient | None = None

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def identity(self) -> Identity:
        """The server's key pair, derived at first use."""
        self._identity = self._identity or Identity(self._secret)
        return self._identity

    def subscribe(
        self, session: str, subscription: Subscription, on_expired: Callable[[], None]
    ) -> None:
        """Send the alerts of a session to a device from now on. `on_expired`: the device has unsubscribed."""
        self.end(session)
        self._lanes[session] = _Lane(subscription, on_expired)

    def end(self, session: str) -> None:
        """Drop the subscription of a session, and what waits for it."""
        lane = self._lanes.pop(session, None)
        if lane is not None and lane.task is not None:
            lane.task.cancel()

    def send(self, session: str, message: dict[str, object]) -> None:
        """Queue a message for the device of a session."""
        lane = self._lanes[session]
        if len(lane.waiting) == MOST_WAITING:
            log.warning("push message dropped")
        lane.waiting.append(json.dumps(message, ensure_ascii=False).encode()[:MOST_BYTES])
        if lane.task is None or lane.task.done():
            lane.task = self._tasks.spawn(self._run(session, lane), name=session)

    async def _run(self, session: str, lane: _Lane) -> None:
        while lane.waiting and self._lanes.get(session) is lane:
            status = await self._deliver(lane.subscription, lane.waiting.popleft())
            if status in _GONE:
                self._lanes.pop(session, None)
                lane.on_expired()

    async def _deliver(self, subscription: Subscription, plaintext: bytes) -> int:
        """Send a message with retries. Return the last status; 0 if there was no response."""
        status = 0
        for pause in (*RETRY_SECONDS, None):
            status, asked = await self._post(subscription, plaintext)
            if pause is None or (status and status not in _LATER):
                break
            await asyncio.sleep(min(max(pause, asked), RETRY_SECONDS[-1]))
        if not 200 <= status < 300:
            log.warning("push message abandoned", extra={"status": status})
        return status

    async def _post(self, subscription: Subscription, plaintext: bytes) -> tuple[int, float]:
        """Return the status, 0 if there was no response, and the seconds of `Retry-After`."""
        now = time.time()
        headers = {
            "Authorization": self.identity.sign(subscription.origin, self._contact, now),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(TTL_SECONDS),
            "Urgency": "high",
            "User-Agent": "qwen-camera",
        }
        body = encrypt(plaintext, subscription.device, subscription.auth)
        try:
            client = await self._connect()
            async with (
                asyncio.timeout(ATTEMPT_SECONDS),
                client.stream("POST", subscription.endpoint, headers=headers, content=body) as got,
            ):
                asked = parse_retry_after(got.headers.get("retry-after", ""), now)
                return got.status_code, asked or 0.0
        except (TimeoutError, OSError, httpx2.HTTPError, httpx2.InvalidURL):
            return 0, 0.0

    async def _connect(self) -> httpx2.AsyncClient:
        if self._client is None:
            trust = await asyncio.to_thread(load_ca_certificates, "")
            # Another task may have connected meanwhile.
            self._client = self._client or httpx2.AsyncClient(
                verify=trust, trust_env=False, timeout=None
            )
        return self._client

    async def close(self) -> None:
        await self._tasks.close()
        if self._client is not None:
            await self._client.aclose()


class Pushing(SessionPart):
    """One session's subscription: none at first, valid for the session, and revocable at any time."""

    def __init__(self, context: SessionContext, sender: PushSender, own: Sequence[str]) -> None:
        self._context, self._sender, self._own = context, sender, own
        self._subscription: Subscription | None = None
        self.handlers = {Subscribe: self.choose}

    def choose(self, message: Subscribe) -> None:
        """Start or end sending alerts to a device. Raise BadRequest for one that cannot be used; nothing changes then."""
        if message.endpoint:
            self._subscription = parse_subscription(message, self._own)
            self._sender.subscribe(self._context.id, self._subscription, self._on_expired)
        else:
            self._subscription = None
            self._sender.end(self._context.id)
        self.greet()

    def _on_expired(self) -> None:
        self._subscription = None
        self.greet()

    def greet(self) -> None:
        """Send the client the server's key, and whether alerts are sent."""
        one = self._subscription
        self._context.outbox.put(
            PushState(
                key=self._sender.identity.public,
                on=one is not None,
                host=one.host if one else "",
            )
        )

    def on_alert(self, alert: Alert) -> None:
        if self._subscription is not None and not alert.watch.startswith(PROGRAMS):
            condition = alert.condition[:_MOST_TEXT]
            self._sender.send(
                self._context.id, {"id": alert.id, "condition": condition, "at": alert.at}
            )
