"""`run.sh --https` as a person starts it: in a terminal, with a configuration folder of their own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography import x509

from server.features.pairing.pairing import COOKIE
from tests.support.documents import ROOT
from tests.support.fakes_server import free_port
from tests.support.fakes_terminal import Terminal, on_screen, read_qr
from tests.support.wheels import write_empty_locks

pytestmark = pytest.mark.slow


def project(folder: Path) -> Path:
    """The project itself, with a .venv of its own that finds this one's packages: no downloads."""
    folder.mkdir()
    for name in ("server", "client", "config.py", "scripts"):
        if name == "scripts":  # a link would lead run.sh back to the first project
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            (folder / name).symlink_to(ROOT / name)
    write_empty_locks(folder)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    packages = next((folder / ".venv" / "lib").glob("python*")) / "site-packages"
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@contextmanager
def started(folder: Path, port: int, home: Path, *options: str, **more: str) -> Iterator[Terminal]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "PYTHON": sys.executable,
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "ENGINE": "builtin",
        **more,
    }
    command = ["bash", "scripts/run.sh", "--https", "--port", str(port), *options]
    terminal = Terminal(command, environment, folder)
    try:
        yield terminal
    finally:
        terminal.close()


def trusting(home: Path) -> ssl.SSLContext:
    [authority] = (home / ".config" / "qwen-camera" / "https").glob("authority-*/ca.crt")
    return ssl.create_default_context(cafile=str(authority))


CODE_SHOWN = r"#pair=[\w-]{22}\n"


def test_a_phone_gets_in_by_the_code_on_the_screen(tmp_path: Path) -> None:
    """The QR code leads to the page over https, its certificate good for whoever trusts the
    authority; the code opens one session and no second one; Enter brings another; the next start
    has the same authority and another code.
    """
    folder, home, port = project(tmp_path / "a project"), tmp_path / "home", free_port()
    home.mkdir()
    with started(folder, port, home) as terminal:
        text = terminal.read_until(lambda text: re.search(CODE_SHOWN, text), 90)
        assert "created in" in text
        # The log's lines are for people.
        told = re.compile(r"^\d\d:\d\d:\d\d \S*info", re.M)
        text = terminal.read_until(told.search, 5)
        assert '{"time"' not in text
        end = "for a new code.\n"
        text = terminal.read_until(lambda text: end in text, 5)
        text = text[: text.index(end) + len(end)]
        # The code and all that belongs to it are on the screen, under everything else.
        url = read_qr(on_screen(text))
        assert [line.strip() for line in text.splitlines()[-2:]] == [
            url,
            "Good for one device and 5 minutes: press Enter here for a new code.",
        ]
        assert text.index("SHA-256 fingerprint") < text.index("\x1b[38;5;16;48;5;231m")
        seen = urlsplit(url)
        assert (seen.scheme, seen.port, seen.path) == ("https", port, "/")
        code = seen.fragment.removeprefix("pair=")
        context = trusting(home)
        # Whichever address this machine has: the page is asked for there.
        with httpx.Client(
            verify=context, base_url=f"https://{seen.netloc}", trust_env=False
        ) as phone:
            page = phone.get("/", headers={"accept": "text/html"})
            assert "Start Camera" in page.text
            assert "strict-transport-security" not in page.headers
            authority = phone.get("/ca.crt")
            assert authority.headers["content-type"] == "application/x-x509-ca-cert"
            x509.load_der_x509_certificate(authority.content)
            assert phone.post("/api/token", json={}).status_code == 401
            granted = phone.post("/api/token", json={"pairing_code": code})
            assert granted.status_code == 200
            # The page's request after a reload.
            page_itself = {"Origin": f"https://{seen.netloc}", "Sec-Fetch-Site": "same-origin"}
            [cookie] = phone.cookies.jar
            assert (cookie.name, cookie.secure, cookie.path) == (COOKIE, True, "/api/token")
            assert phone.post("/api/token", json={}, headers=page_itself).status_code == 200
            kept = str(cookie.value)
            again = phone.post("/api/token", json={"pairing_code": code})
            assert again.status_code == 401
            assert "used already" in again.json()["detail"]
            terminal.read_until(lambda text: "A device was paired" in text, 5)
            terminal.type("\n")
            text = terminal.read_until(lambda text: len(re.findall(CODE_SHOWN, text)) == 2, 5)
            other = urlsplit(read_qr(text)).fragment.removeprefix("pair=")
            assert phone.post("/api/token", json={"pairing_code": other}).status_code == 200
            typed = re.search(r"Access code +([\w-]+)", text)
            assert typed
            answer = phone.post("/api/token", json={"access_code": typed[1]})
            assert answer.status_code == 200
            terminal.type("devices\n")
            text = terminal.read_until(lambda text: "To end their access" in text, 5)
            assert len(re.findall(r"^  [0-9a-f]{12}   Device .* seen just now", text, re.M)) == 2
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"https://{seen.netloc}/", trust_env=False)
        # The tokens and codes stood on the screen and in answers; no line of the log has one.
        logged = [line for line in terminal.text.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
        assert logged
        assert not [line for line in logged if code in line or other in line]
    assert terminal.process.returncode == 0
    # The next start: the device gets in, until a command forgets all.
    for option, status in (("--https", 200), ("--forget-devices", 401)):
        with started(folder, port, home, option) as terminal:
            terminal.read_until(lambda text: re.search(CODE_SHOWN, text), 30)
            with httpx.Client(verify=context, trust_env=False) as phone:
                headers = {**page_itself, "Cookie": f"{COOKIE}={kept}"}
                reply = phone.post(f"https://{seen.netloc}/api/token", json={}, headers=headers)
                assert reply.status_code == status
            if status == 200:
                terminal.type("forget all\n")
                terminal.read_until(lambda text: "All devices are forgotten." in text, 5)
                reply = httpx.post(
                    f"https://{seen.netloc}/api/token",
                    json={},
                    headers=headers,
                    verify=context,
                    trust_env=False,
                )
                assert reply.status_code == 401
            assert kept not in terminal.text
        assert terminal.process.returncode == 0
    # Then: installed, the same authority, a code of its own; the operator's access code is not
    # shown.
    own = {"ACCESS_CODE": "tulip-meadow-27", "JWT_SECRET_KEY": "wQ7mZr4TfL1xUe0aKc9sVd3gHb6nJy8P"}
    with started(folder, port, home, "--host", "127.0.0.1", **own) as terminal:
        text = terminal.read_until(lambda text: re.search(CODE_SHOWN, text), 30)
        assert "created in" not in text
        assert read_qr(text).startswith(f"https://127.0.0.1:{port}/#pair=")
        assert code not in text
        assert "Access code" not in text
        assert "tulip" not in text
        terminal.process.send_signal(signal.SIGUSR1)
        terminal.read_until(lambda text: len(re.findall(CODE_SHOWN, text)) == 2, 5)
    assert terminal.process.returncode == 0
