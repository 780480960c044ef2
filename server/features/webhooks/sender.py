"""The HTTP client of webhooks: one POST to a receiver, on a new connection."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from dataclasses import dataclass

import httpx2

from server.core import retry_after
from server.features.webhooks import waiting as retry
from server.features.webhooks.settings import Webhook
from server.features.webhooks.waiting import DeliveryError
from server.models.openai.http import load_ca_certificates

# Below this level httpx2 logs URLs, which may contain a secret.
logging.getLogger("httpx2").setLevel(logging.WARNING)

# Seconds for a whole attempt
ATTEMPT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The end of one attempt."""

    # None for success
    trouble: DeliveryError | None
    status: int = 0
    # Seconds of pause that the receiver requests (`Retry-After`)
    pause: float = 0.0


@dataclass(slots=True)
class WebhookClient:
    """Sends bodies to receivers, each on a new connection. `seconds`: for a whole attempt."""

    seconds: float = ATTEMPT_SECONDS

    async def post(
        self, webhook: Webhook, headers: list[tuple[str, str]], body: bytes
    ) -> DeliveryResult:
        """Send a body and return the result, also for an error. Cancelling stops the request.

        Follow no redirect, use no proxy, and read only the head of the response.
        """
        try:
            async with asyncio.timeout(self.seconds):
                return await self._ask(webhook, headers, body)
        except TimeoutError:
            return DeliveryResult(DeliveryError.TIMEOUT)
        except ssl.SSLError:
            return DeliveryResult(DeliveryError.CERTIFICATE)
        except (httpx2.NetworkError, OSError) as error:
            # The connection failed, or the file of `ca` cannot be read.
            found = "CERTIFICATE" in str(error)
            return DeliveryResult(DeliveryError.CERTIFICATE if found else DeliveryError.UNREACHABLE)
        except (httpx2.TransportError, httpx2.InvalidURL, ValueError):
            return DeliveryResult(DeliveryError.MALFORMED)

    async def _ask(
        self, webhook: Webhook, headers: list[tuple[str, str]], body: bytes
    ) -> DeliveryResult:
        fixed = [("Content-Type", "application/json"), ("User-Agent", "qwen-camera")]
        fixed += [("Accept-Encoding", "identity"), ("Connection", "close")]
        if webhook.token:
            fixed.append(("Authorization", f"Bearer {webhook.token}"))
        trust = await asyncio.to_thread(load_ca_certificates, webhook.ca)
        async with (
            httpx2.AsyncClient(verify=trust, trust_env=False, timeout=None) as client,
            client.stream("POST", webhook.url, headers=[*fixed, *headers], content=body) as answer,
        ):
            asked = retry_after.parse_retry_after(
                answer.headers.get("retry-after", ""), time.time()
            )
            return DeliveryResult(
                retry.classify_status(answer.status_code), answer.status_code, asked or 0.0
            )
