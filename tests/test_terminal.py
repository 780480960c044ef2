"""What the terminal shows of pairing, on a real pseudo-terminal."""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
import pty
import re
import signal
import struct
import termios
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TextIO

import pytest

from server.pairing import PairingCodes, Redeemed
from server.terminal import PairingTerminal, page_urls, pairing_url
from tests.terminal_picture import read_qr

URL = "https://192.168.1.5:8000"


class Screen:
    """The other end of a pseudo-terminal: what was written on it."""

    def __init__(self, columns: int = 80) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.out: TextIO = os.fdopen(slave, "w", encoding="utf-8")
        os.set_blocking(self._master, False)
        self._text = b""

    @property
    def text(self) -> str:
        while True:
            try:
                self._text += os.read(self._master, 65536)
            except BlockingIOError:
                return self._text.decode().replace("\r\n", "\n")

    @property
    def codes(self) -> list[str]:
        return re.findall(r"#pair=([\w-]+)", self.text)

    def close(self) -> None:
        self.out.close()
        os.close(self._master)


@asynccontextmanager
async def showing(
    columns: int = 80, access_code: str | None = None
) -> AsyncIterator[tuple[PairingCodes, Screen]]:
    codes, screen = PairingCodes(), Screen(columns)
    terminal = PairingTerminal(
        codes, [URL, "https://vm.local:8000"], access_code, b"DER", out=screen.out, keys=None
    )
    try:
        terminal.start()
        yield codes, screen
    finally:
        terminal.close()
        screen.close()


async def test_it_shows_a_code_that_works() -> None:
    """The picture holds the address with the code, as the line below it does; the code lets one device in."""
    async with showing(access_code="abcde-fghij") as (codes, screen):
        [code] = screen.codes
        assert read_qr(screen.text) == pairing_url(URL, code)
        assert "https://vm.local:8000" in screen.text
        assert "abcde-fghij" in screen.text
        assert "  BF:FD:28:" in screen.text
        plain = re.sub(r"\x1b\[[\d;]*m", "", screen.text)
        assert max(map(len, plain.splitlines())) <= 80
        assert codes.redeem(code, time.monotonic()) is Redeemed.OK
        assert "A device was let in" in screen.text


async def test_a_signal_brings_another_code() -> None:
    """SIGUSR1 shows a new one, and the one before is over."""
    async with showing() as (codes, screen):
        os.kill(os.getpid(), signal.SIGUSR1)
        async with asyncio.timeout(5):
            while len(screen.codes) < 2:
                await asyncio.sleep(0.01)
        first, second = screen.codes
        assert codes.redeem(first, time.monotonic()) is Redeemed.EXPIRED
        assert codes.redeem(second, time.monotonic()) is Redeemed.OK
        assert "Access code" not in screen.text


async def test_a_narrow_terminal_gets_the_address_alone() -> None:
    """A picture that does not fit would be torn into pieces."""
    async with showing(columns=30) as (_, screen):
        assert "█" not in screen.text
        assert len(screen.codes) == 1


async def test_what_is_no_terminal_gets_nothing_secret() -> None:
    """A log file is told what to do instead, and no code is made."""
    out = io.StringIO()
    codes = PairingCodes()
    terminal = PairingTerminal(codes, [URL], "abcde-fghij", None, out=out, keys=None)
    terminal.start()
    terminal.close()
    assert "ACCESS_CODE" in out.getvalue()
    assert "#pair" not in out.getvalue()
    assert "abcde" not in out.getvalue()
    assert vars(codes)["_codes"] == type(vars(codes)["_codes"])(maxlen=8)


@pytest.mark.parametrize(
    ("host", "urls"),
    [
        ("0.0.0.0", ["https://192.168.1.5:8000", "https://vm.local:8000"]),
        ("::", ["https://192.168.1.5:8000", "https://[fd00::2]:8000", "https://vm.local:8000"]),
        ("127.0.0.1", ["https://127.0.0.1:8000"]),
        ("fd00::2", ["https://[fd00::2]:8000"]),
    ],
)
def test_addresses_are_those_that_it_listens_on(host: str, urls: list[str]) -> None:
    """No IPv6 address on an IPv4 listener; one address alone when it listens on that alone."""
    assert page_urls(host, ("192.168.1.5", "fd00::2", "vm.local"), 8000) == urls
