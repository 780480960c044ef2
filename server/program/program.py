"""All parts of the server, built from the settings, and how they begin, drain and close."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from config import Settings
from server import __version__
from server.access.devices import DEVICE_SECONDS
from server.access.shared_limits import DEVICE, SharedEnds, SharedPlaces
from server.camera.camera import FRAME_NOTICE_SECONDS
from server.core.aio import Pools, TaskSet, close_all, watch_lag
from server.core.metrics import Metrics
from server.engines.base import Engine
from server.engines.builtin import BuiltinEngine
from server.inference import Inference
from server.listen.connections import Connections
from server.listen.serving import (
    greeting,
)
from server.listen.terminal import PairingTerminal, page_urls
from server.program.access import AccessParts
from server.program.engines import EngineParts
from server.rtc.patches.gathering import Gathering
from server.session.session import Session, SessionLimits, SessionTools
from server.session_manager import SessionManager
from server.vision.prepare import PictureMaker
from server.vision.privacy import build_filters
from server.web.connection_guard import ConnectionGuard
from server.web.context import Services, forget_device
from server.web.gauges import Limits, add_gauges
from server.web.health import OWN_LIMITS, Health
from server.web.turn_watch import RelayWatch
from server.web.websocket import SocketServer
from server.webrtc_server import WebRTCServer

if TYPE_CHECKING:
    from server.access.redis_store import RedisStore

log = logging.getLogger(__name__)

# What closing all parts may take together. Engines that need longer are ended by their keepers.
CLOSE_SECONDS = 12.0


class Program:
    """All the parts, in the order in which they are built; closed in the opposite one.

    Raises FilterUnavailable when a privacy filter is enabled that cannot run.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # Before anything that would have to be closed: an enabled filter that cannot run stops the start.
        filters = build_filters(settings.enable_face_blur, settings.enable_nsfw_filter)
        self.metrics = Metrics(__version__)
        self.pools = Pools()
        # How long closing waits for threads that are at work, in seconds; None: until they have ended
        self.patience: float | None = None
        # Whether a thread or a task was left at work
        self.unfinished = False
        self.engine_parts = EngineParts(settings, self.pools, self.metrics)
        self.engines = self.engine_parts.selector
        self.inference = Inference(
            self.engines,
            max_concurrent=settings.max_concurrent_inferences,
            max_queue=settings.max_queue,
            metrics=self.metrics,
        )
        gathering = Gathering(
            ports=settings.udp_port_range,
            public=settings.public_addresses,
            stun_url=next((url for url in settings.stun_urls if url.startswith("stun:")), None),
        )
        self.webrtc = WebRTCServer(
            decode_pool=self.pools.decode, trim_pool=self.pools.heavy, gathering=gathering
        )
        self.relays = RelayWatch(
            settings.turn_urls,
            settings.turn_secret.get_secret_value(),
            settings.turn_ttl,
            gathering,
        )
        limits = SessionLimits(
            sample_rate=settings.frame_sample_rate,
            max_tokens=settings.response_max_tokens,
            context_length=settings.model_max_tokens,
            timeout=settings.session_timeout,
        )
        self.maker = PictureMaker(filters, settings.visual_token_budget)
        tools = SessionTools(
            inference=self.inference,
            current_engine=lambda: self.engines.current,
            maker=self.maker,
            prepare_pool=self.pools.prepare,
            metrics=self.metrics,
        )
        self.store = self._make_store()
        self.access = AccessParts(settings, self.store, self.metrics)
        # What tests and the routes look for most
        self.tokens, self.pairing, self.limiter = (
            self.access.tokens,
            self.access.pairing,
            self.access.limiter,
        )
        self.places = (
            SharedPlaces(
                self.store, settings.max_sessions, lambda: [s.id for s in self.sessions.all()]
            )
            if self.store is not None
            else None
        )
        self.sessions = SessionManager(
            lambda session_id: Session(session_id, limits, tools),
            max_sessions=settings.max_sessions,
            timeout=settings.session_timeout,
            on_end=self._session_ended,
            places=self.places,
            max_age=settings.token_max_age,
        )
        # Needs the event loop and the port: made once it listens, by `show_pairing`
        self._terminal: PairingTerminal | None = None
        self._leave_engines: Callable[[], None] = lambda: None
        self.connections = Connections(settings.max_connections, settings.trusted_proxies)
        self.ends = (
            SharedEnds(self.store, max(settings.token_max_age, DEVICE_SECONDS))
            if self.store
            else None
        )
        self.sockets = SocketServer(
            sessions=self.sessions,
            connections=ConnectionGuard(
                tokens=self.tokens,
                origins=self.access.origins,
                metrics=self.metrics,
                trusted_proxies=settings.trusted_proxies,
                home=self.access.home,
            ),
            metrics=self.metrics,
            guard=self.access.guard,
            desk=self.engine_parts.operations.desk,
        )
        self.health = Health(
            version=__version__,
            engine=lambda: self.engines.current,
            sessions=lambda: len(self.sessions),
            cameras=lambda: len(self.webrtc),
            queue=self.inference.depth,
            draining=lambda: self.sessions.draining,
            turn=self.relays.report,
            limits=self.store.report if self.store is not None else lambda: OWN_LIMITS,
            engines=lambda: self.engines.engines,
        )
        self._tasks = TaskSet("program")
        add_gauges(
            self.metrics,
            Limits(settings.max_sessions, settings.max_queue, settings.max_connections),
            sessions=self.sessions,
            inference=self.inference,
            engines=self.engines,
            health=self.health,
            connections=self.connections,
            limiter=self.limiter,
            relays=self.relays,
        )

    def _make_store(self) -> RedisStore | None:
        """None where no limits are shared."""
        settings = self.settings
        url = settings.redis_url.get_secret_value()
        if not url:
            return None
        # Its library takes 0.1 s to load.
        from server.access.redis_store import RedisStore

        return RedisStore(
            url,
            settings.jwt_secret_key.get_secret_value(),
            on_failure=self.metrics.shared_limits_failures.inc,
        )

    def _session_ended(self, session_id: str) -> None:
        self.sockets.gate.forget(session_id)
        for engine in self.engines.engines:
            engine.forget(session_id)
        self._tasks.spawn(self.webrtc.disconnect(session_id), name="disconnect")

    def services(self) -> Services:
        return Services(
            access=self.access.access(),
            tokens=self.tokens,
            pairing=self.pairing,
            devices=self.access.devices,
            origins=self.access.origins,
            limiter=self.access.shared_limiter,
            guesses=self.access.guesses,
            ends=self.ends,
            sessions=self.sessions,
            webrtc=self.webrtc,
            sockets=self.sockets,
            health=self.health,
            metrics=self.metrics,
        )

    async def start(self) -> None:
        self._leave_engines = self.engines.on_change(self._engine_changed)
        await self._share_limits()
        await self.engines.start()
        self.sessions.start()
        self._warm(self.engines.current)
        self._tasks.spawn(self.engine_parts.begin(), name="local")
        self._tasks.spawn(self.relays.run(), name="relays")
        self._tasks.spawn(watch_lag(self.metrics.loop_lag.observe), name="loop_lag")

    async def _share_limits(self) -> None:
        if self.store is None or self.places is None:
            log.info("limits hold for this process alone: REDIS_URL is empty")
            return
        # Once before anybody asks; it has its own time limit.
        await self.store.look()
        await self._hear_ends()
        self._tasks.spawn(self.store.watch(self._look_at_store), name="redis")

    async def _look_at_store(self) -> None:
        if self.places is not None:
            await self.places.keep()
        await self._hear_ends()

    async def _hear_ends(self) -> None:
        """End here what an operator ended at another process."""
        told = await self.ends.look() if self.ends is not None else None
        if told is None:
            return
        for name in told.names:
            device = name.removeprefix(DEVICE)
            if device == name:
                await self.sessions.take_back(name)
            elif device.isdecimal() and len(device) < 12:
                self.access.devices.forget_all(int(device))
                await self.sessions.take_devices_back(int(device))
            else:
                self.access.devices.forget(device, time.time())
                await self.sessions.take_device_back(device)
        await self.sessions.take_all_back(told.before)

    def _warm(self, engine: Engine) -> None:
        """Load the built-in engine's models once it is the one that answers, not before."""
        if isinstance(engine, BuiltinEngine):
            self._tasks.spawn(engine.warm(), name="warm")

    def _engine_changed(self, engine: Engine) -> None:
        log.info("engine", extra={"engine": engine.name, "state": str(engine.status.state)})
        self._warm(engine)
        self.inference.engine_changed()
        for session in self.sessions.all():
            session.greet()

    async def drain(self) -> None:
        """Take no more work; let running answers end within DRAIN_SECONDS; then send everybody away with 1013."""
        if self.sessions.draining:
            return
        self.sessions.draining = True
        log.info("draining")
        # Questions that were taken get into the queue first, if their frames come in the usual time.
        deadline = time.monotonic() + FRAME_NOTICE_SECONDS
        while time.monotonic() < deadline and any(s.waits_for_frame for s in self.sessions.all()):
            await asyncio.sleep(0.01)
        await self.inference.drain(self.settings.drain_seconds)
        self.sessions.close_sockets(1013, "the server is about to stop")
        self.sockets.turn_away()
        deadline = time.monotonic() + 2.0
        while self.sessions.sockets and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Close all parts within CLOSE_SECONDS; what fails or does not end keeps no other part open."""
        # Engines that are stopped now are no news for anybody.
        self._leave_engines()
        if self._terminal is not None:
            self._terminal.close()
        parts: list[tuple[str, Callable[[], Awaitable[object]]]] = [
            ("sessions", self.sessions.close),
            ("inference", self.inference.close),
            ("cameras", self.webrtc.close),
            ("tasks", self._tasks.close),
            ("engines", self.engine_parts.close),
        ]
        if self.store is not None:
            parts.insert(4, ("redis", self.store.close))
        well = await close_all(parts, CLOSE_SECONDS)
        ended = self.pools.close(self.patience)
        self.unfinished = not (well and ended)

    def started(self, port: int) -> None:
        """Tell the terminal that the server listens, and where."""
        settings = self.settings
        sys.stderr.write(self.greeting(port))
        if settings.pairing_hosts:
            scheme = "https" if settings.https_enabled else "http"
            urls = page_urls(scheme, settings.host, settings.pairing_hosts, port)
            made = settings.access_code.get_secret_value() if settings.made_access_code else None
            self._terminal = PairingTerminal(
                self.pairing,
                urls,
                made,
                self.access.authority,
                out=sys.stderr,
                keys=sys.stdin,
                devices=self.access.devices,
                forget=self._forget_device,
            )
            self._terminal.start()

    def _forget_device(self, name: str | None) -> None:
        self._tasks.spawn(forget_device(self.services(), name), name="forget")

    def greeting(self, port: int) -> str:
        settings = self.settings
        engine = self.engines.current
        return greeting(
            scheme="https" if settings.https_enabled else "http",
            host=settings.host,
            port=port,
            engine=engine.name,
            status=engine.status,
            better=settings.vllm_base_url if settings.engine == "auto" else None,
            operator=self.access.guard.on,
        )
