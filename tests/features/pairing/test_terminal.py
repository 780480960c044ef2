"""The pairing messages in the terminal, on a real pseudo-terminal, and the QR code in them."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.pairing.pairing import (
    MAX_CODE_CHARS,
    PAIRING_SECONDS,
    Devices,
    PairingCodes,
    RedeemResult,
)
from server.features.pairing.terminal import (
    MIN_QUIET,
    PairingTerminal,
    list_page_urls,
    make_pairing_url,
    make_qr_lines,
    run_device_command,
)
from tests.support.fakes_terminal import Terminal, on_screen, read_qr, sized_terminal

ROOT = Path(__file__).resolve().parents[3]
URL = "https://192.168.1.5:8000"


class Screen:
    """The other end of a pseudo-terminal: what was written on it."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self._master, slave = sized_terminal(columns, lines)
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
    columns: int = 80, access_code: str | None = None, *, lines: int = 24, url: str = URL
) -> AsyncIterator[tuple[PairingCodes, Screen]]:
    codes, screen = PairingCodes(), Screen(columns, lines)
    terminal = PairingTerminal(
        codes, [url, "https://vm.local:8000"], access_code, b"DER", out=screen.out, keys=None
    )
    try:
        terminal.start()
        yield codes, screen
    finally:
        terminal.close()
        screen.close()


async def test_it_shows_a_code_that_works() -> None:
    """The picture holds the address with the code, like the line below; the code lets one device in."""
    async with showing(access_code="abcde-fghij") as (codes, screen):
        [code] = screen.codes
        assert read_qr(screen.text) == make_pairing_url(URL, code)
        assert "https://vm.local:8000" in screen.text
        assert "abcde-fghij" in screen.text
        assert "  BF:FD:28:" in screen.text
        plain = re.sub(r"\x1b\[[\d;]*m", "", screen.text)
        assert max(map(len, plain.splitlines())) <= 80
        assert codes.redeem(code, time.monotonic()) is RedeemResult.OK
        assert "A device was paired" in screen.text


async def test_a_signal_brings_another_code() -> None:
    async with showing() as (codes, screen):
        os.kill(os.getpid(), signal.SIGUSR1)
        async with asyncio.timeout(5):
            while len(screen.codes) < 2:
                await asyncio.sleep(0.01)
        first, second = screen.codes
        assert codes.redeem(first, time.monotonic()) is RedeemResult.EXPIRED
        assert codes.redeem(second, time.monotonic()) is RedeemResult.OK
        assert "Access code" not in screen.text


# With the code 78 characters leave room for four light modules around it, 80 for two.
@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.2:1",
        "https://192.168.100.100:65535",
        f"https://{'a' * 30}.local:8000",
        f"https://{'a' * 32}.local:8000",
    ],
    ids=len,
)
async def test_the_code_comes_last_and_fits_a_screen_of_24_lines(url: str) -> None:
    """Code, address, how long it is good and how to get another are on one screen of 80 by 24."""
    async with showing(access_code="abcde-fghij", url=url) as (_, screen):
        shown = on_screen(screen.text)
        [code] = screen.codes
        assert read_qr(shown) == read_qr(screen.text) == make_pairing_url(url, code)
        picture = make_qr_lines(make_pairing_url(url, code), MIN_QUIET)
        assert shown.count("\x1b[38;5;16;48;5;231m") >= len(picture)
        assert shown.splitlines()[-2:] == [
            f"{'' if len(url) == 51 else '  '}{make_pairing_url(url, code)}",
            f"  Good for one device and 5 minutes: kill -USR1 {os.getpid()} makes a new code.",
        ]


async def test_an_address_too_long_for_the_screen_is_shown_with_the_reason() -> None:
    """No code that would lose its head, but what it would take; given that much, the code is there."""
    url = "https://[fd00:1234:5678:9abc:def0:1234:5678:9abc]:8000"
    async with showing(url=url) as (_, screen):
        assert "█" not in screen.text
        assert "needs 41 columns and 25 lines, and this terminal has 80 and 24." in screen.text
        assert len(screen.codes) == 1
    async with showing(url=url, lines=25) as (_, screen):
        assert read_qr(on_screen(screen.text, lines=25)) == make_pairing_url(url, screen.codes[0])


async def test_a_terminal_that_tells_no_size_is_taken_for_a_common_one() -> None:
    """Serial lines say 0 columns and 0 lines."""
    async with showing(columns=0, lines=0) as (_, screen):
        assert read_qr(on_screen(screen.text)) == make_pairing_url(URL, screen.codes[0])


async def test_what_is_no_terminal_gets_nothing_secret() -> None:
    """A log file gets a line on what to do instead, and no code is made."""
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
    ids=str,
)
def test_addresses_are_those_that_it_listens_on(host: str, urls: list[str]) -> None:
    """No IPv6 address on an IPv4 listener; one address alone when it listens on that alone."""
    assert list_page_urls("https", host, ("192.168.1.5", "fd00::2", "vm.local"), 8000) == urls


def test_there_is_always_an_address() -> None:
    """A machine that has IPv6 addresses only, on an IPv4 listener, is reached from itself."""
    assert list_page_urls("http", "0.0.0.0", ("fd00::2",), 1) == ["http://localhost:1"]


def test_devices_are_listed_and_removed_by_typed_commands() -> None:
    devices, gone = Devices("k" * 32), list[str | None]()

    def answer(line: str) -> str:
        return run_device_command(line, devices, gone.append)

    assert "No paired device" in answer("devices")
    _, phone = devices.pair("iPhone", time.time())
    assert f"{phone.name}   iPhone       paired just now, seen just now" in answer("devices")
    assert "No device with that name" in answer("forget somebody")
    assert gone == []
    assert "That device is forgotten" in answer(f"forget {phone.name}")
    assert "All devices are forgotten" in answer("forget all")
    assert gone == [phone.name, None]
    assert answer("help").startswith("  Enter shows a new code;")


PROGRAM = """
import asyncio, sys
from server.features.pairing import terminal
from server.features.pairing.pairing import PairingCodes
terminal.FOREGROUND_CHECK_SECONDS = 0.05
async def main():
    terminal.PairingTerminal(PairingCodes(), ["https://a:1"], None, None, out=sys.stderr, keys=sys.stdin).start()
    await asyncio.sleep(30)
asyncio.run(main())
"""


@pytest.mark.slow
def test_a_program_in_the_background_leaves_the_keyboard_alone(tmp_path: Path) -> None:
    """A line typed there is the shell's, reading it would stop the server; in front, Enter counts."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    # A shell with job control: its jobs have process groups of their own, and only one is in front.
    script = f"set -m; '{sys.executable}' '{program}' & read go; sleep 0.3; jobs; read line; echo got $line; fg"
    terminal = Terminal(
        ["bash", "-c", script], {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}, ROOT
    )

    def shown(text: str) -> int:
        return text.count("#pair=")

    try:
        terminal.read_until(lambda text: shown(text) == 1, 20)
        # The second line lies there for a while, and nobody may take it.
        terminal.type("go\nhello\n")
        text = terminal.read_until(lambda text: "got hello" in text, 10)
        assert shown(text) == 1
        assert "Running" in text
        # Until it was noticed that it is in front, Enter waits in the terminal.
        terminal.type("\n")
        terminal.read_until(lambda text: shown(text) == 2, 10)
        # Ctrl+D is no Enter, and no end.
        terminal.type("\x04")
        time.sleep(0.2)
        assert terminal.process.poll() is None
        assert shown(terminal.text) == 2
    finally:
        terminal.close()


# One-time pairing codes: good once, for five minutes, one at a time


def test_a_code_is_good_once() -> None:
    redeemed: list[bool] = []
    codes = PairingCodes()
    codes.on_redeemed.append(lambda: redeemed.append(True))
    code = codes.issue(0)
    assert codes.redeem(code, 1) is RedeemResult.OK
    assert codes.redeem(code, 2) is RedeemResult.USED
    assert redeemed == [True]


def test_a_code_is_good_for_five_minutes() -> None:
    """To the moment, and used codes stay used when their time is over."""
    codes = PairingCodes()
    code = codes.issue(100)
    assert codes.redeem(code, 100 + PAIRING_SECONDS) is RedeemResult.EXPIRED
    other = codes.issue(1000)
    assert codes.redeem(other, 999.9 + PAIRING_SECONDS) is RedeemResult.OK
    assert codes.redeem(other, 5000) is RedeemResult.USED
    assert PAIRING_SECONDS == 300


def test_a_new_code_ends_the_one_before() -> None:
    """Whoever photographed the screen has nothing once the next one is shown."""
    codes = PairingCodes()
    first, second = codes.issue(0), codes.issue(1)
    assert codes.redeem(first, 2) is RedeemResult.EXPIRED
    assert codes.redeem(second, 2) is RedeemResult.OK


def test_codes_are_long_and_all_different() -> None:
    """128 random bits: 22 characters of the URL-safe alphabet, short enough for the request."""
    codes = PairingCodes()
    issued = {codes.issue(0) for _ in range(1000)}
    assert len(issued) == 1000
    assert {len(code) for code in issued} == {22}
    assert MAX_CODE_CHARS >= 22


def test_no_code_is_kept_in_the_clear() -> None:
    """Memory holds a digest: no log, repr or debugger shows a code that works."""
    codes = PairingCodes()
    code = codes.issue(0)
    assert code not in repr(vars(codes))


@given(st.text(max_size=MAX_CODE_CHARS))
def test_guesses_are_refused(guess: str) -> None:
    """Any text, lone surrogates too, is just not a code; and it costs the right one nothing."""
    codes = PairingCodes()
    assert codes.redeem(guess, 0) is RedeemResult.UNKNOWN
    code = codes.issue(0)
    assert codes.redeem(guess, 0) is RedeemResult.UNKNOWN
    assert codes.redeem(code, 0) is RedeemResult.OK
