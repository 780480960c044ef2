"""The engine that the settings name without a feature: the model servers of VLLM_BASE_URL."""

from __future__ import annotations

from collections.abc import Callable

from config import Settings
from server.core.metrics import Metrics
from server.engines.base import Engine
from server.engines.missing import MissingEngine
from server.engines.openai import library
from server.engines.openai.engine import OpenAIEngine
from server.engines.openai.group import EngineGroup
from server.engines.openai.retry import Reason
from server.engines.openai.session_key import SessionKeys
from server.engines.thinking import ThinkingLimits


def first_engine(settings: Settings, metrics: Metrics, on_busy: Callable[[], None]) -> Engine:
    """Make the engine of VLLM_BASE_URL, which alone gets the sessions' names; where ENGINE is another one, its place.

    `on_busy` is called when a model server refuses a request since it has enough to do.
    """
    if settings.engine not in ("auto", "vllm"):
        return MissingEngine(settings.engine)
    for url in settings.vllm_base_urls:
        library.load_for(url)
    session_key = SessionKeys(settings.jwt_secret_key.get_secret_value()).of

    def on_retry(reason: Reason) -> None:
        metrics.engine_retries.labels(reason).inc()

    members = [
        OpenAIEngine(
            name="vllm",
            base_url=url,
            api_key=settings.vllm_api_key,
            model=settings.model_name,
            voice=settings.model_voice,
            thinking=ThinkingLimits(settings.thinking, settings.thinking_max_tokens),
            session_key=session_key,
            on_retry=on_retry,
            on_busy=on_busy,
        )
        for url in settings.vllm_base_urls
    ]
    if len(members) == 1:
        return members[0]
    return EngineGroup("vllm", members, session_key=session_key, on_retry=on_retry, on_busy=on_busy)
