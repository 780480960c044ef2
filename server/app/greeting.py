"""The start message on the terminal."""

from __future__ import annotations

import textwrap

from config import Settings
from server import __version__
from server.models.base import Engine
from server.models.selector import EngineSelector


def make_greeting(settings: Settings, port: int, engines: EngineSelector) -> str:
    """Return the page's address, the engines, and how to get a better one."""
    host, scheme = settings.host, "https" if settings.https_enabled else "http"
    engine = engines.current
    everywhere = host in ("0.0.0.0", "::")
    shown = "localhost" if everywhere or host == "127.0.0.1" else host
    page = f"{scheme}://{shown}:{port}"
    rows = [("Open", page)]
    if settings.operator_token.get_secret_value():
        rows.append(("Engine panel", f"{page}/#operator (asks for OPERATOR_TOKEN)"))
    if engine.name == "builtin":
        taken = (
            f"now {settings.vllm_base_url}; it is taken up as soon as it answers"
            if settings.engine == "auto"
            else "and ENGINE=auto in place of ENGINE=builtin"
        )
        rows += [
            ("Engine", engine.status.visitor_detail or engine.name),
            (
                "A better one",
                "bash scripts/run.sh --model proposes a vision-language model for this machine and fetches it; "
                f"or start vLLM with a large one and set VLLM_BASE_URL in .env, {taken}",
            ),
        ]
    else:
        rows += _make_engine_rows("Engine", engine)
    for role in settings.get_own_roles():
        rows += _make_engine_rows(role.capitalize(), engines.of(role))
    if everywhere and scheme == "http":
        rows.append(
            (
                "Other devices",
                "browsers give a camera only to https pages or localhost: bash scripts/run.sh --https",
            )
        )
    told = "\n".join(_format_row(name, text) for name, text in rows)
    return f"\n  qwen-camera {__version__}\n{told}\n\n"


def _make_engine_rows(work: str, engine: Engine) -> list[tuple[str, str]]:
    """Return the rows about the engine of a role: its model, and why it is unavailable if it is."""
    status = engine.status
    model = f" ({status.model})" if status.model not in ("", engine.name) else ""
    trouble = [] if status.ready else [("", f"{status.state}: {status.detail}")]
    return [(work, f"{engine.name}{model}"), *trouble]


def _format_row(name: str, text: str) -> str:
    """Return a row with a name and a text, wrapped at 80 columns."""
    return textwrap.fill(
        text,
        width=80,
        initial_indent=f"  {name:<16}",
        subsequent_indent=" " * 18,
        break_long_words=False,
        break_on_hyphens=False,
    )
