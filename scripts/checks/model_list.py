"""Ask an OpenAI-compatible server for its list of models, and say what is wrong when it gives none."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from pydantic import SecretStr

from scripts.bench.http_json import request

SECONDS = 5.0
_MOST_NAME = 256


@dataclass(frozen=True, slots=True)
class Trouble:
    """The fault of a server's list of models; fields as in `Finding`."""

    text: str
    cause: str
    todo: str
    # It answers, but lists no models.
    unlisted: bool = False


async def listed(prefix: str, base_url: str, key: SecretStr, *, start: str) -> list[str] | Trouble:
    """Return the names of its models.

    `prefix`: of its settings, as in "VLLM"; `start`: the command that starts it, if there is one.
    """
    url = f"{prefix}_BASE_URL"
    try:
        reply = await request(
            "GET",
            f"{base_url}/models",
            token=key.get_secret_value() or None,
            timeout=SECONDS,
            tls=ssl.create_default_context(),
        )
    except ssl.SSLCertVerificationError as error:
        return Trouble(
            "Its TLS certificate is not trusted.",
            f"{error.verify_message}.",
            "Install its authority on this machine, or use a name that the certificate has.",
        )
    except TimeoutError:
        return Trouble(
            f"{url} does not answer within {SECONDS:g} s.",
            "It hangs, or a firewall swallows the packets.",
            f"See its log; check the address in {url}.",
        )
    except (OSError, EOFError, ValueError):
        return Trouble(
            f"Nothing answers at {url}.",
            "It does not run, is still loading, or listens elsewhere.",
            (f"Start it ({start}), or correct {url}." if start else f"Start it, or correct {url}."),
        )
    if reply.status in (401, 403):
        return Trouble(
            f"It refuses this key ({reply.status}).",
            "It was started with another --api-key.",
            f"Set {prefix}_API_KEY to the same.",
        )
    try:
        if reply.status == 200:
            return [_shown(str(model["id"])) for model in reply.json()["data"]]
    except (ValueError, KeyError, TypeError):
        pass
    return Trouble(
        f"No model list at {url}/models (status {reply.status}).",
        "Another program answers there, or the path is wrong.",
        f"{url} ends with /v1 as a rule.",
        unlisted=reply.status in (404, 405, 501),
    )


def has(names: list[str]) -> str:
    """Return the sentence about the models that a server has."""
    if not names:
        return "Its list of models is empty."
    return f"It has {', '.join(names[:3])}."


def _shown(name: str) -> str:
    """Return a model's name as a terminal may show it: another program chose it."""
    return "".join(char for char in name[:_MOST_NAME] if char.isprintable())
