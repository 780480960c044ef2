"""All webhooks: a queue and a task for each receiver, links to pictures, visitors' consent, and the routes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import random
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fastapi import Response

from server.app.api import Api
from server.core.aio import TaskSet, cancel_and_wait, log_failure, supervise
from server.core.errors import BadRequest, NotFound
from server.core.logs import format_time
from server.core.metrics import Metrics
from server.features.webhooks import waiting as retry
from server.features.webhooks.messages import Forward, WebhookOffer, WebhookOffers
from server.features.webhooks.sender import DeliveryResult, WebhookClient
from server.features.webhooks.settings import Evidence, Webhook, WebhookList
from server.features.webhooks.waiting import DeadLetters, Delivery, DeliveryError, DeliveryQueue
from server.session.part import TOOLS, Alert, SessionContext, SessionPart

log = logging.getLogger(__name__)
# Explanations for operators, by error
SENTENCES = {
    DeliveryError.UNREACHABLE: "The receiver cannot be reached. Check the host and port of its url, and that it is running.",
    DeliveryError.CERTIFICATE: "The certificate of the receiver is not trusted. Set ca to a PEM file with its certificate authority.",
    DeliveryError.TIMEOUT: "The receiver did not respond within 15 seconds. It should respond first and process the alert afterwards.",
    DeliveryError.REDIRECT: "The receiver redirects to another address, which is not followed. Write that address into its url if it is right.",
    DeliveryError.STATUS: "The receiver responds with an error status. See its own log for the reason.",
    DeliveryError.GONE: "The receiver has unsubscribed (410), so nothing is sent to it. Send a test or resend an alert to turn it on again.",
    DeliveryError.MALFORMED: "The response of the receiver is not valid HTTP. Check the scheme and port of its url.",
}
# Explanations by HTTP status, which take precedence
STATUS_SENTENCES = {
    **dict.fromkeys(
        (400, 415, 422),
        "The receiver refuses the format of the message. The webhooks guide explains how to reach services with another format.",
    ),
    **dict.fromkeys(
        (401, 403),
        "The receiver refuses the signature or token. Check the secret and the clock on both sides, and the token if it needs one.",
    ),
    **dict.fromkeys(
        (404, 405), "The receiver accepts no messages at this path. Check the path of its url."
    ),
    413: 'The message is too large for the receiver. Set evidence = "link" or evidence = "none" for it.',
    429: "The receiver limits the rate of messages. The next attempt follows after the pause that it asks for.",
}


@dataclass(slots=True)
class _Receiver:
    """A webhook with its queue and state."""

    webhook: Webhook
    waiting: DeliveryQueue = field(default_factory=DeliveryQueue)
    # Set when an attempt may be due earlier than expected
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    delivered: int = 0
    failed: int = 0
    # Error and HTTP status of the last attempt; None after a success and before the first one
    trouble: DeliveryError | None = None
    status: int = 0
    # True if the receiver has unsubscribed (410)
    gone: bool = False
    # The delivery whose attempt is running, and its task
    sending: Delivery | None = None
    task: asyncio.Task[DeliveryResult] | None = None


def _describe_error(hook: _Receiver) -> str:
    if hook.trouble is None:
        return ""
    return STATUS_SENTENCES.get(hook.status) or SENTENCES[hook.trouble]


class Webhooks:
    """Owns the queues of all receivers. Runs on the event loop and writes nothing to disk.

    Bounds of alerts on their way to receivers of webhooks: 64 for each of 8 receivers; 16 of one
    camera, 32 of all visitors; the oldest of the source with too many is dropped. One attempt at a
    time, 7 within half an hour.
    """

    def __init__(
        self,
        listed: WebhookList,
        metrics: Metrics,
        *,
        new_id: Callable[[], str] = secrets.token_urlsafe,
        sender: WebhookClient | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`new_id`: returns an id by which a load balancer finds this process, as it does by a session's id."""
        self._address = listed.address
        self._new_id = new_id
        # result: taken, or a `DeliveryError`
        self._attempts = metrics.counter(
            "webhook_attempts_total",
            "Attempts to deliver alerts to webhooks, by result",
            "result",
        )
        # reason: overflow, ended, gone, forgotten, closed; picture: only the picture behind a link was dropped
        self._dropped = metrics.counter(
            "webhooks_dropped_total", "Alerts for webhooks that were dropped", "reason"
        )
        self._sender = sender or WebhookClient()
        self._clock = clock
        self._hooks = {one.name: _Receiver(one) for one in listed.webhooks}
        self._dead = DeadLetters()
        self.links = PictureLinks()
        self._tasks = TaskSet("webhooks")
        self._closed = False
        metrics.gauge(
            "webhook_waiting",
            "Alerts that wait for receivers of webhooks",
            lambda: sum(len(hook.waiting) for hook in self._hooks.values()),
        )
        metrics.gauge(
            "webhook_dead_letters",
            "Abandoned alerts for webhooks, kept for operators",
            lambda: len(self._dead),
        )

    def start(self) -> None:
        """Start the task of each receiver."""
        for hook in self._hooks.values():
            step = partial(self._run_step, hook)
            self._tasks.spawn(supervise(step, name="webhook"), name=hook.webhook.name)
        if self._hooks:
            self._tasks.spawn(supervise(self._expire, name="webhook links"), name="links")

    @property
    def offered(self) -> tuple[Webhook, ...]:
        """The webhooks that visitors may choose, in the operator's order."""
        return tuple(hook.webhook for hook in self._hooks.values() if hook.webhook.people)

    # Incoming alerts

    def on_alert(self, alert: Alert) -> None:
        """Queue the alert of a fixed camera for the receivers that name the camera. Ignore visitors' alerts."""
        if alert.source is not None and alert.source.camera:
            for hook in self._hooks.values():
                if hook.webhook.accepts_camera(alert.source.camera):
                    self._put(hook, alert)

    def send_for_visitor(self, alert: Alert, agreed: Sequence[str]) -> None:
        """Queue a visitor's alert for the receivers that the visitor has agreed to."""
        for hook in self._hooks.values():
            if hook.webhook.people and hook.webhook.name in agreed:
                self._put(hook, alert)

    def end(self, source: str, kept: Sequence[str] = ()) -> None:
        """Drop the alerts and links of a source and cancel its attempts, except those for the webhooks in `kept`."""
        for name, hook in self._hooks.items():
            if name not in kept:
                self._drop("ended", hook.waiting.end(source))
                if hook.sending is not None and hook.sending.source == source:
                    hook.sending.ended = True
                    self._drop("ended", 1)
                    if hook.task is not None:
                        hook.task.cancel()
        self._drop("ended", self._dead.end(source, kept))
        self.links.end(source, kept)

    def _put(self, hook: _Receiver, alert: Alert) -> None:
        if self._closed:
            return
        if hook.gone:
            self._drop("gone", 1)
            return
        id = f"msg_{secrets.token_urlsafe(18)}"
        self._enqueue(hook, Delivery(id, hook.webhook.name, alert, self._clock()))

    def _enqueue(self, hook: _Receiver, delivery: Delivery) -> None:
        self._drop("overflow", int(hook.waiting.put(delivery) is not None))
        hook.changed.set()

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self._dropped.labels(reason).inc(count)

    # Outgoing alerts

    async def _run_step(self, hook: _Receiver) -> float:
        """Wait until an alert of a receiver is due, and send it. Return the pause before the next step, 0 s."""
        hook.changed.clear()
        delivery = hook.waiting.get_next()
        left = delivery.due - self._clock() if delivery is not None else None
        if delivery is None or (left is not None and left > 0):
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await hook.changed.wait()
            return 0.0
        hook.waiting.remove(delivery)
        hook.sending = delivery
        try:
            outcome = await self._make_attempt(hook, delivery)
        finally:
            hook.sending, hook.task = None, None
        if outcome is not None and not delivery.ended:
            self._record_result(hook, delivery, outcome)
        return 0.0

    async def _make_attempt(self, hook: _Receiver, delivery: Delivery) -> DeliveryResult | None:
        """Make one attempt and return its result; None if the alert was withdrawn meanwhile."""
        alert, webhook = delivery.alert, hook.webhook
        link = None
        if webhook.evidence is Evidence.LINK and alert.jpeg is not None and alert.source:
            now = self._clock()
            token, dropped = self.links.make(alert.jpeg, delivery.source, webhook.name, now)
            self._drop("picture", dropped)
            url = f"{self._address}/at/{self._new_id()}/evidence/{token}"
            link = PictureLink(url, time.time() + LINK_SECONDS)
        content = build_body(alert, inline=webhook.evidence is Evidence.INLINE, link=link)
        signed = make_headers(webhook.key, delivery.id, int(time.time()), content)
        hook.task = asyncio.ensure_future(self._sender.post(webhook, signed, content))
        try:
            await asyncio.wait([hook.task])
        finally:
            await cancel_and_wait([hook.task])
        if hook.task.cancelled():
            return None
        error = hook.task.exception()
        if error is not None:
            log_failure("webhook", error)
            return DeliveryResult(DeliveryError.MALFORMED)
        return hook.task.result()

    def _record_result(self, hook: _Receiver, delivery: Delivery, outcome: DeliveryResult) -> None:
        self._attempts.labels(str(outcome.trouble or "taken")).inc()
        delivery.attempts += 1
        hook.trouble, hook.status = outcome.trouble, outcome.status
        delivery.trouble, delivery.status = outcome.trouble, outcome.status
        if outcome.trouble is None:
            hook.delivered += 1
            return
        hook.failed += 1
        if outcome.trouble is DeliveryError.GONE:
            hook.gone = True
            for one in (delivery, *hook.waiting.clear()):
                self._give_up(hook, one)
            return
        pause = retry.pause(delivery.attempts, random.random(), outcome.pause, outcome.status)
        if pause is None:
            self._give_up(hook, delivery)
            return
        delivery.due = self._clock() + pause
        self._enqueue(hook, delivery)

    def _give_up(self, hook: _Receiver, delivery: Delivery) -> None:
        log.warning(
            "webhook delivery abandoned",
            extra={
                "webhook": hook.webhook.name,
                "reason": str(delivery.trouble),
                "count": delivery.attempts,
            },
        )
        delivery.since = self._clock()
        self._drop("forgotten", self._dead.put(delivery))

    async def _expire(self) -> float:
        self.links.expire(self._clock())
        return 5.0

    # Operators

    def send_test(self, name: str) -> None:
        """Send a signed test without a picture. Raise NotFound for an unknown name."""
        hook = self._hooks.get(name)
        if hook is None:
            raise NotFound(
                "Webhook not found. GET /api/operator/webhooks lists all names, which the file of WEBHOOKS defines."
            )
        hook.gone = False
        self._put(hook, Alert(time.time() * 1000))

    def resend(self, id: str) -> None:
        """Send an abandoned alert again, with all attempts. Raise NotFound for an unknown id."""
        delivery = self._dead.take(id)
        if delivery is None:
            raise NotFound(
                "Delivery not found. It was sent again or dropped, or its consent was withdrawn. GET /api/operator/webhooks lists the rest."
            )
        hook = self._hooks[delivery.webhook]
        hook.gone = False
        delivery.attempts, delivery.due = 0, self._clock()
        self._enqueue(hook, delivery)

    def resend_all(self) -> int:
        """Send all abandoned alerts again; return their number."""
        letters = self._dead.list_all()
        for letter in letters:
            self.resend(letter.id)
        return len(letters)

    def remove_dead(self, id: str) -> None:
        """Drop an abandoned alert. Raise NotFound for an unknown id."""
        if self._dead.take(id) is None:
            raise NotFound("Delivery not found. It may be removed already.")
        self._drop("forgotten", 1)

    def get_status(self) -> dict[str, object]:
        """Return receivers and dead letters for operators, without secrets, pictures and visitors' words."""
        now = self._clock()
        return {
            "webhooks": [self._get_receiver_status(hook) for hook in self._hooks.values()],
            "dead": [
                {
                    "id": one.id,
                    "webhook": one.webhook,
                    "camera": one.alert.source.camera if one.alert.source else "",
                    "attempts": one.attempts,
                    "trouble": str(one.trouble or ""),
                    "status": one.status,
                    "since_seconds": max(0, round(now - one.since)),
                }
                for one in self._dead.list_all()
            ],
        }

    def _get_receiver_status(self, hook: _Receiver) -> dict[str, object]:
        webhook = hook.webhook
        state = "gone" if hook.gone else "failing" if hook.trouble is not None else "ok"
        return {
            "name": webhook.name,
            "host": webhook.host,
            "state": state if hook.delivered or hook.failed else "unused",
            "trouble": str(hook.trouble or ""),
            "detail": _describe_error(hook),
            "status": hook.status,
            "cameras": list(webhook.cameras),
            "people": webhook.people,
            "evidence": webhook.evidence.value,
            "waiting": len(hook.waiting) + (hook.sending is not None),
            "delivered": hook.delivered,
            "failed": hook.failed,
        }

    async def close(self) -> None:
        """Cancel all attempts and drop all alerts. Safe to call twice."""
        self._closed = True
        for hook in self._hooks.values():
            self._drop("closed", len(hook.waiting.clear()) + (hook.sending is not None))
        await self._tasks.close()
        self.links.clear()


# The body of a request: one alert, with its picture inline, as a link, or without it. Pure.

# Most characters of a watch's id, a condition or a reason
MOST_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class PictureLink:
    """The URL of a picture, and the time at which it expires (seconds since the epoch)."""

    url: str = field(repr=False)
    until: float


def build_body(alert: Alert, *, inline: bool = False, link: PictureLink | None = None) -> bytes:
    """Return the body for an alert. `inline`: include the picture; `link`: include its URL instead."""
    if alert.source is None:
        return _to_json(
            {"type": "webhook.test", "timestamp": format_time(alert.at / 1000), "data": {}}
        )
    kind = "camera" if alert.source.camera else "visitor"
    evidence: dict[str, Any] | None = None
    if link is not None:
        evidence = {"type": "image/jpeg", "url": link.url, "expires_at": format_time(link.until)}
    elif inline and alert.jpeg is not None:
        evidence = {"type": "image/jpeg", "base64": base64.b64encode(alert.jpeg).decode()}
    data = {
        "source": {"kind": kind, "name": alert.source.camera},
        "watch": alert.watch[:MOST_CHARACTERS],
        "condition": alert.condition[:MOST_CHARACTERS],
        "reason": alert.reason[:MOST_CHARACTERS],
        "confidence": round(alert.confidence, 2),
        "region": list(alert.region) if alert.region is not None else None,
        "evidence": evidence,
    }
    return _to_json(
        {"type": "watch.alert", "timestamp": format_time(alert.at / 1000), "data": data}
    )


def _to_json(value: dict[str, Any]) -> bytes:
    # Replace lone surrogates, which models may send and UTF-8 cannot encode.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


# Signatures of Standard Webhooks 1.0: HMAC-SHA256 over id, time and body. Pure.


def make_signature(key: bytes, id: str, timestamp: int, body: bytes) -> str:
    """Return the value of `webhook-signature`. The id must not contain a full stop; `timestamp`: seconds since the epoch."""
    signed = b".".join((id.encode(), str(timestamp).encode(), body))
    return f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"


def make_headers(key: bytes, id: str, timestamp: int, body: bytes) -> list[tuple[str, str]]:
    """Return the headers by which a receiver verifies a body."""
    return [
        ("webhook-id", id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", make_signature(key, id, timestamp, body)),
    ]


# Pictures of alerts at unguessable URLs, for a minute. Pure.

# Seconds until a link expires, from the attempt that sends it
LINK_SECONDS = 60.0
# Most links at a time. The oldest link is dropped first.
MOST_LINKS = 128


@dataclass(frozen=True, slots=True)
class _StoredPicture:
    jpeg: bytes = field(repr=False)
    # The id of the session that the picture comes from
    source: str = field(repr=False)
    webhook: str
    # Time at which the link expires, monotonic seconds
    until: float


class PictureLinks:
    """The pictures by their URL tokens. `now` is in monotonic seconds.

    Bounds of pictures of alerts behind links: 128, a minute each; the oldest is dropped.
    """

    def __init__(self) -> None:
        self._linked: OrderedDict[str, _StoredPicture] = OrderedDict()

    def __len__(self) -> int:
        return len(self._linked)

    def make(self, jpeg: bytes, source: str, webhook: str, now: float) -> tuple[str, int]:
        """Keep a picture.

        Return its URL token (256 random bits), and the number of pictures dropped to make room for it.
        """
        self.expire(now)
        token = secrets.token_urlsafe(32)
        self._linked[token] = _StoredPicture(jpeg, source, webhook, now + LINK_SECONDS)
        dropped = 0
        while len(self._linked) > MOST_LINKS:
            self._linked.popitem(last=False)
            dropped += 1
        return token, dropped

    def get(self, token: str, now: float) -> bytes | None:
        """Return a picture as JPEG; None for an unknown or expired token."""
        self.expire(now)
        found = self._linked.get(token)
        return found.jpeg if found is not None and found.until > now else None

    def expire(self, now: float) -> None:
        """Drop the expired pictures, which are the first ones."""
        while self._linked and next(iter(self._linked.values())).until <= now:
            self._linked.popitem(last=False)

    def end(self, source: str, kept: Sequence[str] = ()) -> None:
        """Drop the pictures of a source, except those for the webhooks in `kept`."""
        linked = self._linked
        for token in [
            token
            for token, one in linked.items()
            if one.source == source and one.webhook not in kept
        ]:
            del linked[token]

    def clear(self) -> None:
        self._linked.clear()


# A person's consent to webhooks


class Forwarding(SessionPart):
    """One session's consent to webhooks: empty at first, valid for the session, and revocable at any time."""

    def __init__(self, context: SessionContext, webhooks: Webhooks) -> None:
        self._context = context
        self._webhooks = webhooks
        self._agreed: tuple[str, ...] = ()
        self.handlers = {Forward: self.choose}

    def choose(self, message: Forward) -> None:
        """Send alerts only to these webhooks from now on; drop alerts that wait for other webhooks.

        Raise BadRequest for an unknown webhook; nothing changes then.
        """
        offered = [one.name for one in self._webhooks.offered]
        if unknown := [name for name in message.webhooks if name not in offered]:
            allowed = ", ".join(offered) or "none"
            self.greet()
            raise BadRequest(
                f'"webhooks" names {unknown[0]}, which this server does not offer. Allowed: {allowed}. Choose among these.'
            )
        self._agreed = tuple(dict.fromkeys(message.webhooks))
        self._webhooks.end(self._context.id, kept=self._agreed)
        self.greet()

    def greet(self) -> None:
        """Send the client the list of webhooks, with the ones that get its alerts marked."""
        offers = [
            WebhookOffer(name=one.name, host=one.host, on=one.name in self._agreed)
            for one in self._webhooks.offered
        ]
        if offers:
            self._context.outbox.put(WebhookOffers(webhooks=offers))

    def on_alert(self, alert: Alert) -> None:
        if self._agreed and not alert.watch.startswith(TOOLS):
            self._webhooks.send_for_visitor(alert, self._agreed)


# Routes: for operators the state, a test and the abandoned alerts; for receivers pictures

PREFIX = "/api/operator/webhooks"


def add_routes(api: Api, webhooks: Webhooks) -> None:
    router = api.make_operator_router(PREFIX)

    @router.get("")
    async def get_status() -> dict[str, object]:
        """Return the receivers of webhooks, and the abandoned alerts. `webhooks`: a list of `name`, `host`, `state` (`unused`, `ok`, `failing`, `gone`), `trouble`
        (a word; empty for none), `detail` (a sentence), `status` (of the last response; 0 for none),
        `cameras`, `people`, `evidence`, `waiting`, `delivered`, `failed` (attempts). `dead`: a list
        of `id`, `webhook`, `camera` (empty for a visitor's), `attempts`, `trouble`, `status`,
        `since_seconds`.
        """
        return webhooks.get_status()

    @router.post("/{name}/test", status_code=202)
    async def send_test(name: str) -> dict[str, object]:
        """Send a signed test without a picture. Return 202 and the same state as `GET /api/operator/webhooks`."""
        webhooks.send_test(name)
        return webhooks.get_status()

    @router.post("/dead", status_code=202)
    async def resend_all() -> dict[str, object]:
        """Send all abandoned alerts again. Return 202, and the state with their number as `sent`."""
        return {"sent": webhooks.resend_all(), **webhooks.get_status()}

    @router.post("/dead/{id}", status_code=202)
    async def resend(id: str) -> dict[str, object]:
        """Send this alert again. Return 202 and the same state as `GET /api/operator/webhooks`; 404 for an unknown id."""
        webhooks.resend(id)
        return webhooks.get_status()

    @router.delete("/dead/{id}")
    async def remove_dead(id: str) -> dict[str, object]:
        """Drop this alert. Return the same state as `GET /api/operator/webhooks`; 404 for an unknown id."""
        webhooks.remove_dead(id)
        return webhooks.get_status()

    # The token of 256 random bits is the only access check. By the id before it, load balancers find the process that
    # has the picture.
    @api.make_router().get("/at/{process}/evidence/{word}")
    async def picture(process: str, word: str) -> Response:
        """Return the picture of an alert as JPEG, for a minute; the token in the URL is the only access
        check. 404 for an unknown or expired one.
        """
        jpeg = webhooks.links.get(word, time.monotonic())
        if jpeg is None:
            raise NotFound(
                "Picture not found. Links to pictures expire after a minute, so fetch each one as soon as its alert arrives."
            )
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "no-store"})
