"""The ASGI application and the program that its routes use."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from fastapi import FastAPI
from starlette.routing import Route

from config import RoleSettings, Settings
from server import __version__
from server.app.api import Additions, Api, check_messages, register
from server.app.features import parse_features
from server.app.greeting import make_greeting
from server.core.aio import Deadline, Pools, TaskSet, close_all, make_async, run_in_pool, watch_lag
from server.core.errors import SocketCloseCode, check_unique
from server.core.metrics import Metrics
from server.inference import Inference
from server.media.camera import FRAME_NOTICE_SECONDS
from server.media.patches.ice import Gathering
from server.media.picture.prepare import PicturePreparer
from server.media.picture.privacy import build_filters
from server.models import routing
from server.models.base import Engine
from server.models.openai import chat_client
from server.models.openai.chat_client import Endpoint, SettingNames, TimeLimits
from server.models.openai.engine import OpenAIEngine, SessionKeys
from server.models.selector import EngineSelector, MissingEngine
from server.models.thinking import ThinkingLimits
from server.session.request.parts import SessionLimits, SessionServices
from server.session.session import Session
from server.session_manager import SessionManager
from server.web.health import Health, add_gauges, add_network_gauges
from server.web.middleware import guard_app, install_error_handlers
from server.web.protocols import Connections
from server.web.request_guard import Access, AuthMethod, Services
from server.web.routes import create_router, create_session_router
from server.web.serving import STOP_SECONDS
from server.web.websocket import SocketServer
from server.webrtc_server import WebRTCServer

log = logging.getLogger(__name__)

# Time limit for closing all parts together, seconds. Engines that need longer are killed by their keepers.
CLOSE_SECONDS = 12.0
# Time limit for features' drains after the last answer, seconds
LAST_SECONDS = 2.0
# Seconds after the start at which word patterns and `openai` are loaded; the first page does not need them
LOAD_SECONDS = 1.0


@dataclass(eq=False)
class Program:
    """All parts of the server. `async with` starts and closes them."""

    settings: Settings
    added: Additions
    # Returns the interface for a feature by name
    api: Callable[[str], Api]
    metrics: Metrics
    pools: Pools
    engines: EngineSelector
    inference: Inference
    webrtc: WebRTCServer
    access: Access
    sessions: SessionManager
    connections: Connections
    health: Health
    services: Services
    sockets: SocketServer
    tasks: TaskSet
    # Names and close functions of parts; the first one closes last
    opened: list[tuple[str, Callable[[], Awaitable[object]]]]
    # Maximum seconds that closing waits for running threads; None: until they end
    patience: float | None = None
    # True if a thread or task was still running at the end
    unfinished: bool = False
    # Deadline of a stop that began with `drain`; None before
    _deadline: Deadline | None = None

    async def __aenter__(self) -> Program:
        """Start all parts; close everything if that fails."""
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Start the active parts. After a failure the caller must also close, as `async with` does."""
        # Closed before the engines, so that their end is not reported as a change
        self.opened.append(("listener", make_async(self.engines.on_change.clear)))
        self.engines.on_change.append(self._on_engine_change)
        await self.engines.start()
        self.sessions.start()
        for start in self.added.starts:
            start()
        self.tasks.spawn(self._load(), name="load")
        self.tasks.spawn(watch_lag(self.metrics.loop_lag.observe), name="loop_lag")

    async def _load(self) -> None:
        await asyncio.sleep(LOAD_SECONDS)
        await run_in_pool(self.pools.heavy, routing.load)
        await run_in_pool(self.pools.heavy, chat_client.load)

    def _on_engine_change(self, engine: Engine) -> None:
        log.info(
            "engine state changed", extra={"engine": engine.name, "state": str(engine.status.state)}
        )
        self.inference.engine_changed()
        for session in self.sessions.list_all():
            session.engine_changed()
        for tell in self.added.engine_changed:
            tell()

    async def drain(self, deadline: Deadline | None = None) -> None:
        """Accept no more work, wait up to DRAIN_SECONDS for running answers, then close all sockets with 1013.

        `deadline`: deadline of the whole stop, including `close`; by default DRAIN_SECONDS plus STOP_SECONDS from now.
        """
        if self.sessions.capacity.draining:
            return
        self.sessions.capacity.draining = True
        drain_seconds = self.settings.drain_seconds
        self._deadline = deadline or Deadline(drain_seconds + STOP_SECONDS)
        log.info("drain started")
        last = Deadline(self._deadline.left(drain_seconds + LAST_SECONDS))
        tasks = TaskSet("drain")
        draining = [tasks.spawn(drain(last), name="drain") for drain in self.added.drains]
        # Accepted questions are queued first, if their frames arrive within the usual time.
        frames = Deadline(self._deadline.left(FRAME_NOTICE_SECONDS))
        while frames.left() and any(
            s.questions.state.waits_for_frame for s in self.sessions.list_all()
        ):
            await asyncio.sleep(0.01)
        await self.inference.drain(self._deadline.left(drain_seconds))
        if draining:
            await asyncio.wait(draining, timeout=self._deadline.left(LAST_SECONDS))
        await tasks.close()
        self.sessions.close_sockets(SocketCloseCode.DRAINING, "the server is about to stop")
        self.sockets.close_unauthenticated()
        sockets = Deadline(self._deadline.left(2.0))
        while self.sessions.sockets and sockets.left():
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Close all parts within CLOSE_SECONDS, and within the deadline of `drain`."""
        left = self._deadline.left if self._deadline is not None else Deadline(math.inf).left
        well = await close_all(self.opened, Deadline(left(CLOSE_SECONDS)))
        ended = self.pools.close(self.patience if self.patience is None else left(self.patience))
        self.unfinished = not (well and ended)

    def on_started(self, port: int) -> None:
        """Write the address of the server to the terminal, and notify features. Called on the event loop."""
        sys.stderr.write(make_greeting(self.settings, port, self.engines))
        for tell in self.added.listening:
            tell(port)


def build(settings: Settings) -> Program:
    """Build all parts without starting them.

    Raises FilterUnavailable if an enabled privacy filter cannot run.
    """
    # First, before anything that needs closing
    filters = build_filters(settings.enable_face_blur, settings.enable_nsfw_filter)
    metrics, pools, added, tasks = Metrics(__version__), Pools(), Additions(), TaskSet("program")
    preparer = PicturePreparer(filters, settings.visual_token_budget)
    engines = _create_engine_selector(settings, metrics)
    inference = Inference(
        engines,
        max_concurrent=settings.max_concurrent_inferences,
        max_queue=settings.max_queue,
        metrics=metrics,
    )
    stun = next((url for url in settings.stun_urls if url.startswith("stun:")), None)
    gathering = Gathering(
        ports=settings.udp_port_range, public=settings.public_addresses, stun_url=stun
    )
    webrtc = WebRTCServer(decode_pool=pools.decode, trim_pool=pools.heavy, gathering=gathering)
    limits = SessionLimits(
        sample_rate=settings.frame_sample_rate,
        max_tokens=settings.response_max_tokens,
        context_length=settings.model_max_tokens,
        timeout=settings.session_timeout,
        sensitivity=settings.change_sensitivity,
        background_tokens_per_minute=settings.background_tokens_per_minute,
    )
    for_sessions = SessionServices(
        inference=inference,
        current_engine=engines.of,
        fallback_notice=engines.get_fallback_notice,
        preparer=preparer,
        prepare_pool=pools.prepare,
        metrics=metrics,
    )

    def session_ended(session_id: str) -> None:
        with ExitStack() as stack:
            for tell in added.session_ended:
                stack.callback(tell, session_id)
            tasks.spawn(webrtc.disconnect(session_id), name="disconnect")
            # The session was part of a reference cycle, and its connection may have ended long before.
            webrtc.trim_soon()

    sessions = SessionManager(
        lambda id: Session(id, limits, for_sessions, added.session_features),
        max_sessions=settings.sessions_here,
        timeout=settings.session_timeout,
        on_end=session_ended,
        max_age=settings.token_max_age,
    )
    added.health_facts.append(lambda: {"sessions": len(sessions), "cameras": len(webrtc)})
    health = Health(
        engines=engines,
        queue=inference.count_waiting,
        draining=lambda: sessions.capacity.closed,
        facts=added.health_facts,
    )
    access = Access(settings)
    services = Services(access, sessions, webrtc, health, metrics)
    sockets = SocketServer(services, added.messages)
    api = partial(
        Api,
        added=added,
        settings=settings,
        services=services,
        pools=pools,
        preparer=preparer,
        engines=engines,
        operator_sockets=sockets.operators,
    )
    register(parse_features(settings.features), api, added.session_features.on)
    check_messages(added.message_types)
    _add_reserves(settings, metrics, engines)
    connections = Connections(settings.max_connections, settings.trusted_proxies)
    most = {
        "sessions": settings.sessions_here,
        "queue": settings.max_queue,
        "connections": settings.max_connections,
    }
    add_gauges(
        metrics, most, sessions=sessions, inference=inference, engines=engines, health=health
    )
    add_network_gauges(metrics, connections, access.limiter)
    opened = [
        ("engines", engines.close),
        *added.last_closes,
        ("tasks", tasks.close),
        ("cameras", webrtc.close),
        ("inference", inference.close),
        ("sessions", sessions.close),
        *added.closes,
    ]
    return Program(
        *(settings, added, api, metrics, pools, engines, inference, webrtc),
        *(access, sessions, connections, health, services, sockets, tasks, opened),
    )


def _create_engine_selector(settings: Settings, metrics: Metrics) -> EngineSelector:
    """Return the selector with the engine of VLLM_BASE_URL, or a placeholder for another ENGINE."""
    first: Engine = MissingEngine(settings.engine)
    if settings.engine in ("auto", "vllm"):
        own = RoleSettings(
            "vllm", settings.vllm_base_url, settings.model_name, settings.vllm_api_key
        )
        first = _create_model_server_engine(settings, metrics, own, voice=settings.model_voice)
    # Names of the engines configured for roles
    roles = {role: own.name for role, own in settings.get_own_roles().items()}
    return EngineSelector(first, roles=roles)


def _add_reserves(settings: Settings, metrics: Metrics, engines: EngineSelector) -> None:
    """Add the model servers of roles after all features' engines."""
    own_roles = settings.get_own_roles()
    for own in own_roles.values():
        if own.url:
            engines.add(_create_model_server_engine(settings, metrics, own), reserve=True)
    for role, own in own_roles.items():
        if all(one.name != own.name for one in engines.engines):
            # Its feature is off.
            log.warning(
                "engine of a role not found",
                extra={"engine": own.name, "field": f"{role}_base_url"},
            )


def _create_model_server_engine(
    settings: Settings, metrics: Metrics, own: RoleSettings, *, voice: str = ""
) -> Engine:
    """Return the engine of a model server. The server gets hashed session names."""
    return OpenAIEngine(
        own.name,
        Endpoint(
            own.url,
            own.key,
            own.model,
            voice=voice,
            thinking=ThinkingLimits(settings.thinking, settings.thinking_max_tokens),
            machines=settings.machines,
            names=SettingNames() if own.name == "vllm" else SettingNames.of(own.name),
        ),
        session_key=SessionKeys(settings.jwt_secret_key.get_secret_value()).of,
        limits=TimeLimits(first_token=settings.model_start_seconds),
        on_retry=lambda reason: metrics.engine_retries.labels(reason).inc(),
    )


def create_app(settings: Settings) -> FastAPI:
    """Return the ASGI application. Raises FilterUnavailable."""
    program = build(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(program)
            for serve in program.added.serving:
                await stack.enter_async_context(serve())
            yield

    app = FastAPI(
        title="qwen-camera",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
    )
    app.state.program = program
    added = program.added
    install_error_handlers(app, program.metrics, added.error_forms)
    on = added.session_features.on
    routers = [
        create_router(
            program.services, program.sockets, added.provided.get(AuthMethod) or AuthMethod(), on
        ),
        create_session_router(program.services),
        *added.routers,
    ]
    for router in routers:
        app.include_router(router)
    app.router.routes.extend(added.routes)
    routes = (*added.routes, *(route for router in routers for route in router.routes))
    check_unique(
        "route",
        (
            (f"{method} {route.path}", route.endpoint.__module__)
            for route in routes
            if isinstance(route, Route)
            for method in route.methods or ()
        ),
    )
    # HSTS only with a trusted certificate: with our own it would block every http page on localhost.
    hsts = settings.https_enabled and settings.ca_cert_path is None
    guard_app(
        app,
        https=hsts,
        allowed_origins=settings.allowed_origins,
        frame_ancestors=settings.frame_ancestors,
        form_paths=added.form_paths,
    )
    return app
