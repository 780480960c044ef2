"""A pseudo-terminal for a command, and what a terminal shows, as a picture."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zxingcpp

# Upper and lower half of a character: True is ink.
_INK = {" ": (False, False), "▀": (True, False), "▄": (False, True), "█": (True, True)}
# Black ink on white ground, from here to the reset.
_RUN = re.compile("\x1b\\[38;5;16;48;5;231m([ ▀▄█]*)\x1b\\[0m")


def read_qr(text: str) -> str:
    """The QR code that `text` paints: the last one, when there are several.

    The terminal's own ground is dark.
    """
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if painted := _RUN.search(line):
            blocks[-1].append(painted[1])
        elif blocks[-1]:
            blocks.append([])
    lines = [block for block in blocks if block][-1]
    halves = [[_INK[c][half] for c in line] for line in lines for half in (0, 1)]
    picture = np.where(np.array(halves), 0, 255).astype(np.uint8)
    picture = np.pad(np.kron(picture, np.ones((6, 6), np.uint8)), 40, constant_values=0)
    [found] = zxingcpp.read_barcodes(picture)
    return str(found.text)


def sized_terminal(columns: int, lines: int) -> tuple[int, int]:
    """Open a pseudo-terminal of this size: its two ends."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    return master, slave


def on_screen(text: str, lines: int = 24) -> str:
    """Return the lines of `text` that a terminal of 80 columns shows at the end, with wrapped lines
    and the cursor's line.
    """
    shown: list[str] = []
    for line in text.split("\n"):
        # A colour takes no column; a line that has some is never broken here.
        plain = re.sub(r"\x1b\[[\d;]*m", "", line)
        if len(plain) <= 80:
            shown.append(line)
        else:
            shown += [plain[at : at + 80] for at in range(0, len(plain), 80)]
    return "\n".join(shown[-lines:])


class Terminal:
    """A command in a pseudo-terminal of 80 columns and 24 lines, with what it wrote there."""

    def __init__(self, command: list[str], environment: dict[str, str], cwd: Path) -> None:
        self._master, slave = sized_terminal(80, 24)

        def take_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            command,
            env=environment,
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=take_terminal,
        )
        os.close(slave)
        self._bytes = b""

    @property
    def text(self) -> str:
        return self._bytes.decode(errors="replace").replace("\r\n", "\n")

    def read_until(self, enough: Callable[[str], object], seconds: float) -> str:
        """Raises AssertionError with all that was written when it does not come."""
        end = time.monotonic() + seconds
        while not enough(self.text):
            assert time.monotonic() < end, self.text
            assert self.process.poll() is None, self.text
            if select.select([self._master], [], [], 0.1)[0]:
                self._bytes += os.read(self._master, 65536)
        return self.text

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def close(self) -> int:
        """Ctrl+C, and the exit status."""
        if self.process.poll() is None:
            self.type("\x03")
        try:
            end = time.monotonic() + 20
            while self.process.poll() is None and time.monotonic() < end:
                # Somebody has to take what it writes.
                if select.select([self._master], [], [], 0.1)[0]:
                    try:
                        self._bytes += os.read(self._master, 65536)
                    except OSError:  # Linux's way to say that the other end is closed
                        break
            return self.process.wait(5)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            os.close(self._master)
