"""Carry out here the ends of sessions and devices that an operator ordered at another process."""

from __future__ import annotations

import time

from server.access.devices import Devices
from server.access.shared_limits import DEVICE, SharedEnds
from server.session_manager import SessionManager


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
