"""The part of the composition root that several processes share over Redis."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from config import Settings
from server.access.devices import DEVICE_SECONDS, Devices
from server.access.gateways import Gateways
from server.access.shared_limits import DEVICE, SharedEnds, SharedSlots
from server.core.aio import TaskSet
from server.core.metrics import Metrics
from server.session_manager import SessionManager

if TYPE_CHECKING:
    from server.access.redis_store import RedisStore

log = logging.getLogger(__name__)


class SharedParts:
    """The shared store, with slots for sessions and the list of ended ones; each is None without REDIS_URL."""

    def __init__(
        self, settings: Settings, metrics: Metrics, holders: Callable[[], dict[str, float | None]]
    ) -> None:
        """`holders()`: the sessions and further cameras of this process, whose slots it keeps."""
        self.store = store = _make_store(settings, metrics)
        self.slots = SharedSlots(store, settings.max_sessions, holders) if store else None
        seconds = max(settings.token_max_age, DEVICE_SECONDS)
        self.ends = SharedEnds(store, seconds) if store else None

    async def start(
        self, gateways: Gateways, devices: Devices, sessions: SessionManager, tasks: TaskSet
    ) -> None:
        """Ask the store once before anybody else does, then keep what is shared up to date in a task of `tasks`."""
        store = self.store
        if store is None:
            log.info("limits hold for this process alone: REDIS_URL is empty")
            return

        async def keep() -> None:
            if self.slots is not None:
                await sessions.make_room(await self.slots.keep())
            await self._exchange(gateways, devices, sessions)

        # It has its own time limit.
        await store.probe()
        await self._exchange(gateways, devices, sessions)
        tasks.spawn(store.watch(keep), name="redis")

    async def _exchange(
        self, gateways: Gateways, devices: Devices, sessions: SessionManager
    ) -> None:
        """Report this process, and end here what an operator ended at another one."""
        await gateways.report(time.monotonic())
        if self.ends is not None:
            await carry_out(self.ends, sessions, devices)


def _make_store(settings: Settings, metrics: Metrics) -> RedisStore | None:
    url = settings.redis_url.get_secret_value()
    if not url:
        return None
    # Its library takes 0.1 s to load.
    from server.access.redis_store import RedisStore

    return RedisStore(
        url,
        settings.jwt_secret_key.get_secret_value(),
        on_failure=metrics.shared_limits_failures.inc,
    )


# Carry out here the ends of sessions and devices that an operator ordered at another process.


async def carry_out(ends: SharedEnds, sessions: SessionManager, devices: Devices) -> None:
    """Read the shared list and end what is on it; without an answer of Redis nothing happens."""
    listed = await ends.read()
    if listed is None:
        return
    for name in listed.names:
        device = name.removeprefix(DEVICE)
        if device == name:
            await sessions.take_back(name)
        elif device.isdecimal() and len(device) < 12:
            devices.forget_all(int(device), time.time())
            await sessions.take_devices_back(int(device))
        else:
            devices.forget(device, time.time())
            await sessions.take_device_back(device)
    await sessions.take_all_back(listed.before)
