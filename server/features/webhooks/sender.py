"""One POST to a receiver, over a connection of its own."""

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
from server.models.openai.http import authorities

# It logs addresses, which may hold a secret, at lower levels.
logging.getLogger("httpx2").setLevel(logging.WARNING)

# Seconds of an attempt in all
ATTEMPT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    # None: it was taken
    trouble: DeliveryError | None
    status: int = 0
    # Seconds that the receiver asks for
    pause: float = 0.0


@dataclass(slots=True)
class WebhookClient:
    """Sends, one connection each time."""

    seconds: float = ATTEMPT_SECONDS

    async def post(
        self, webhook: Webhook, headers: list[tuple[str, str]], body: bytes
    ) -> DeliveryResult:
        """Send a body. Cancelled, it sends nothing more of it.

        No redirect is followed, no proxy used, and of the answer nothing but its head is read.
        """
        try:
            async with asyncio.timeout(self.seconds):
                return await self._ask(webhook, headers, body)
        except TimeoutError:
            return DeliveryResult(DeliveryError.TIMEOUT)
        except ssl.SSLError:
            return DeliveryResult(DeliveryError.CERTIFICATE)
        except (httpx2.NetworkError, OSError) as error:
            # The connection, or the file with the authority of its certificate
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
        trust = await asyncio.to_thread(authorities, webhook.ca)
        async with (
            httpx2.AsyncClient(verify=trust, trust_env=False, timeout=None) as client,
            client.stream("POST", webhook.url, headers=[*fixed, *headers], content=body) as answer,
        ):
            asked = retry_after.parse_retry_after(
                answer.headers.get("retry-after", ""), time.time()
            )
            return DeliveryResult(
                retry.error_for(answer.status_code), answer.status_code, asked or 0.0
            )
