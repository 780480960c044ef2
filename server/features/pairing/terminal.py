"""Pairing in the terminal: show QR codes at the start and on request; list and remove devices."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

import segno

from server.core.aio import Timer
from server.features.pairing.pairing import PAIRING_SECONDS, Devices, PairingCodes

_UNTIL_RESTART = "This holds until the server stops. To remove all devices permanently, start it with --forget-devices."
# Size of a terminal that does not report its own
_SIZE = os.terminal_size((80, 24))
# Seconds between two checks whether a background program has come to the foreground
FOREGROUND_CHECK_SECONDS = 2.0


def list_page_urls(scheme: str, host: str, pairing_hosts: Sequence[str], port: int) -> list[str]:
    """Return the page's URLs for phones, best first; at least one. `host`: the listening address."""
    if host == "0.0.0.0":
        hosts = [name for name in pairing_hosts if ":" not in name]
    elif host == "::":
        hosts = list(pairing_hosts)
    else:
        hosts = [host]
    hosts = hosts or ["localhost"]
    return [f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}" for name in hosts]


def make_pairing_url(url: str, code: str) -> str:
    """Return the URL with a pairing code in its fragment, which appears in no request, log or Referer."""
    return f"{url}/#pair={code}"


def _format_age(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return "just now"


def make_fingerprint(authority: bytes) -> tuple[str, str]:
    """Return a certificate's SHA-256 as phones show it, in two halves that fit a terminal. `authority`: DER."""
    text = hashlib.sha256(authority).digest().hex(":").upper()
    return text[:47], text[48:]


class PairingTerminal:
    """Shows a code at the start, on Enter and on SIGUSR1; reports used and expired codes.

    Writes no secret if `out` is not a terminal, because it may be a file. Enter works only in the foreground, because a
    background program must not read from its terminal.
    """

    def __init__(
        self,
        codes: PairingCodes,
        urls: Sequence[str],
        access_code: str | None,
        authority: bytes | None,
        *,
        out: TextIO,
        keys: TextIO | None,
        run_command: Callable[[str], str] = lambda line: "",
    ) -> None:
        """`access_code`: shown, if it was generated for this run. `authority`: DER of the certificate that phones should
        trust. `keys`: the input. `run_command(line)` runs a typed command and returns its output.
        """
        self._run_command = run_command
        self._codes = codes
        self._urls = urls
        self._access_code = access_code
        self._authority = authority
        self._out = out
        self._keys = keys.fileno() if keys is not None and keys.isatty() else None
        self._shows = out.isatty()
        self._ask_again = (
            "press Enter here for a new code"
            if self._keys is not None
            else f"kill -USR1 {os.getpid()} makes a new code"
        )
        self._expiry = Timer()
        # Next check for the foreground
        self._foreground_check = Timer()

    def start(self) -> None:
        """Show a code, and begin to read keys and signals. Call it on the event loop of the main thread."""
        if not self._shows:
            self._write("  Phones          no terminal to show a pairing code in: set ACCESS_CODE")
            return
        self._codes.on_redeemed.append(self._on_redeemed)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.show)
        self._watch_keys()
        if self._authority is not None:
            first, second = make_fingerprint(self._authority)
            self._write(
                "  SHA-256 fingerprint of the certificate that phones may be asked to trust:\n"
                f"  {first}\n  {second}\n"
            )
        self.show()

    def close(self) -> None:
        self._expiry.cancel()
        self._foreground_check.cancel()
        if self._shows:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)
            self._stop_watching_keys()

    def show(self) -> None:
        """Show a new code, which invalidates the previous one. The QR code, its URL and its lifetime come last."""
        url = make_pairing_url(self._urls[0], self._codes.issue(time.monotonic()))
        lines = []
        if len(self._urls) > 1:
            lines.append(f"  Other addresses {'  '.join(self._urls[1:])}")
        if self._access_code is not None:
            lines.append(
                f"  Access code     {self._access_code}   (to be typed instead; a new one each start)"
            )
        lines.append(
            "  Scan it with the phone's camera, accept the certificate, press Start Camera."
        )
        columns, rows = self._get_size()
        below = [
            # Indented if it fits on one line
            f"  {url}" if len(url) + 2 <= columns else url,
            f"  Good for one device and {PAIRING_SECONDS / 60:g} minutes: {self._ask_again}.",
        ]
        self._write("\n".join([*lines, *self._draw_qr_code(url, below, columns, rows), *below]))
        self._expiry.set(
            PAIRING_SECONDS, self._write, f"  This code has expired: {self._ask_again}."
        )

    def _draw_qr_code(self, url: str, below: Sequence[str], columns: int, rows: int) -> list[str]:
        """Return the lines of the QR code if it fits above the lines `below`; otherwise lines with the reason."""
        try:
            "▀".encode(self._out.encoding or "ascii")
            drawn = os.environ.get("TERM") != "dumb"
        except UnicodeEncodeError:
            drawn = False
        if not drawn:
            return ["  No QR code: this terminal cannot display it. Type the address."]

        for quiet in (QUIET, MIN_QUIET):
            picture = make_qr_lines(url, quiet)
            wide = len(picture[0])
            # Includes the lines below, and one for the cursor
            high = len(picture) + sum(-(-len(line) // max(wide, columns)) for line in below) + 1
            if wide <= columns and high <= rows:
                indent = "  " if columns > wide + 2 else ""
                return [f"{indent}{_BLACK_ON_WHITE}{line}{_RESET}" for line in picture]
        return [
            f"  No QR code: it needs {wide} columns and {high} lines, and this terminal has {columns} and {rows}.",
            "  Enlarge it and request a new code, or type the address.",
        ]

    def _get_size(self) -> os.terminal_size:
        try:
            size = os.get_terminal_size(self._out.fileno())
        except OSError:
            return _SIZE
        # 0: unknown
        return os.terminal_size((size.columns or _SIZE.columns, size.lines or _SIZE.lines))

    def _on_redeemed(self) -> None:
        self._expiry.cancel()
        self._write(
            "  A device was paired with this code, and has access for 30 days"
            f"{' (type devices to list them)' if self._keys is not None else ''}.\n"
            f"  To pair another one: {self._ask_again}."
        )

    def _write(self, text: str) -> None:
        # A closed terminal must not stop the server.
        with suppress(OSError):
            self._out.write(f"{text}\n")
            self._out.flush()

    def _is_in_foreground(self) -> bool:
        try:
            return self._keys is not None and os.tcgetpgrp(self._keys) == os.getpgrp()
        except OSError:
            return False

    def _watch_keys(self) -> None:
        if self._keys is None:
            return
        if self._is_in_foreground():
            asyncio.get_running_loop().add_reader(self._keys, self._on_key, self._keys)
        else:
            # No signal reports that a program comes to the foreground, so check again later.
            self._foreground_check.set(FOREGROUND_CHECK_SECONDS, self._watch_keys)

    def _stop_watching_keys(self) -> None:
        if self._keys is not None:
            asyncio.get_running_loop().remove_reader(self._keys)

    def _on_key(self, keys: int) -> None:
        if not self._is_in_foreground():
            # The line is meant for the foreground program.
            self._stop_watching_keys()
            self._watch_keys()
            return
        typed = b""
        with suppress(OSError):
            # Terminals deliver complete lines.
            typed = os.read(keys, 4096)
        line = typed.decode("utf-8", "replace").strip()
        if not typed:  # closed, or Ctrl+D
            self._stop_watching_keys()
        elif line:
            self._write(self._run_command(line))
        else:
            self.show()


def run_device_command(line: str, devices: Devices, forget: Callable[[str | None], object]) -> str:
    """Run a typed command about devices, and return its output. `forget(name)` removes a device, `forget(None)` all."""
    command, _, name = line.partition(" ")
    listed = devices.list_seen()
    if command == "forget" and name == "all":
        forget(None)
        return f"  All devices are forgotten. {_UNTIL_RESTART}"
    if command == "forget" and name in {one.device.name for one in listed}:
        forget(name)
        return f"  That device is forgotten. {_UNTIL_RESTART}"
    if command == "forget":
        return "  No device with that name was seen since the start. Type devices to list them."
    if command == "devices" and listed:
        now = time.time()
        lines = [
            f"  {one.device.name}   {one.kind:10}   paired {_format_age(now - one.device.since)},"
            f" seen {_format_age(now - one.last_seen)}"
            for one in listed
        ]
        return "\n".join(
            [*lines, "  To end their access, type forget and the name, or forget all."]
        )
    if command == "devices":
        return "  No paired device was seen since the start."
    return "  Enter shows a new code; devices lists the paired devices; forget NAME or forget all ends their access."


# QR codes as text for terminals. Pure.

# Black on white in any colour scheme, because scanners need dark modules.
_BLACK_ON_WHITE = "\x1b[38;5;16;48;5;231m"
_RESET = "\x1b[0m"
# Character by (upper module dark, lower module dark)
_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}
# Quiet zone in modules (ISO/IEC 18004, section 6.3.8), and the minimum for small terminals: phones still find a code
# with two.
QUIET = 4
MIN_QUIET = 2


def make_qr_lines(text: str, quiet: int) -> list[str]:
    """Return the lines of a QR code in half blocks, two rows of modules per line, without colours.

    `quiet`: the quiet zone in modules. A URL of up to 78 characters takes 41 columns and 21 lines.
    """
    code = segno.make(text, error="l", micro=False)
    rows = [[bool(module) for module in row] for row in code.matrix_iter(border=quiet)]
    # An odd number of rows needs an empty lower half.
    rows += [[False] * len(rows[0])] * (len(rows) % 2)
    return [
        "".join(_HALVES[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    ]
