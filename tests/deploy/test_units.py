"""The units, read by systemd's own tools; log rotation, by logrotate; the users, by
systemd-sysusers.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import SecretStr

from config import get_known_keys, load
from deploy.service_settings import SECRETS, empty_secrets, quoted, service_settings
from server.web.serving import STOP_SECONDS
from tests.support.documents import ROOT
from tests.support.programs import ran

DEPLOY = ROOT / "deploy"
WEB, EACH, MODEL = "qwen-webrtc.service", "qwen-webrtc@.service", "qwen-vllm.service"
ROUTER = "qwen-router.service"
UNITS = (WEB, EACH, MODEL, ROUTER)
# Newer than this systemd (Debian 12 has 252), which leaves them out and says so.
SINCE_254 = ("RestartSteps=", "RestartMaxDelaySec=")

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is missing; scripts/test.sh installs it.",
)


def directives(unit: str) -> list[tuple[str, str]]:
    """All of a unit's settings in their order."""
    lines = (DEPLOY / unit).read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line and line[0] not in "#["]
    return [(key, value) for key, _, value in pairs]


def directive(unit: str, key: str) -> str:
    values = [value for name, value in directives(unit) if name == key]
    assert values, f"{unit} has no {key}="
    return " ".join(values)


def seconds(text: str) -> float:
    assert re.fullmatch(r"\d+", text), "write plain seconds"
    return float(text)


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *arguments]
    env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    return ran(command, timeout=60, env=env)


def rendered(folder: Path, unit: str) -> Path:
    """The unit with programs that are there, and without what this systemd is too old for; a
    template as an instance.
    """
    version = int(re.findall(r"\d+", analyze("--version").stdout)[0])
    lines = (DEPLOY / unit).read_text().splitlines()
    kept = [line for line in lines if version >= 254 or not line.startswith(SINCE_254)]
    text = "\n".join(kept).replace("/opt/qwen-camera/.venv/bin/python", "/usr/bin/env")
    text = text.replace("/opt/qwen-router/bin/vllm-router", "/usr/bin/env")
    path = folder / unit.replace("@.", "@8010.")
    path.write_text(text.replace("WorkingDirectory=/opt/qwen-camera", f"WorkingDirectory={ROOT}"))
    return path


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_takes_the_unit(unit: str, tmp_path: Path) -> None:
    """`systemd-analyze verify` finds nothing; a directive that is none would be found."""
    path = rendered(tmp_path, unit)
    done = analyze("verify", "--man=no", "--recursive-errors=no", str(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    path.write_text(path.read_text().replace("NoNewPrivileges=", "NoNewPrivilege="))
    assert "NoNewPrivilege" in analyze("verify", "--man=no", str(path)).stderr


@needs_systemd
@pytest.mark.parametrize(("unit", "below"), [(WEB, 1.5), (EACH, 1.5), (MODEL, 2.0), (ROUTER, 1.5)])
def test_services_are_shut_in(unit: str, below: float, tmp_path: Path) -> None:
    """`systemd-analyze security` gives the web server and the router at most 1.5 and the model server
    at most 2 of 10.
    """
    path = rendered(tmp_path, unit)
    done = analyze("security", "--offline=true", f"--threshold={below * 10:.0f}", str(path))
    rating = re.search(r"Overall exposure level.*: ([\d.]+)", done.stdout)
    assert rating is not None, done.stderr
    assert done.returncode == 0, rating[0]
    assert float(rating[1]) <= below


def test_one_of_several_is_as_the_one() -> None:
    """The template differs from the single unit in its port, its own settings and what it says of
    itself, and in nothing else.
    """
    one, each = directives(WEB), directives(EACH)
    assert [pair for pair in one if pair not in each] == [
        ("Description", "qwen-camera web server"),
        ("ExecStart", "/opt/qwen-camera/.venv/bin/python -m server.main"),
    ]
    # After the common settings, which have a PORT, too.
    assert [pair for pair in each if pair not in one] == [
        ("Description", "qwen-camera web server on port %i"),
        ("EnvironmentFile", "-/etc/qwen-camera/%i.env"),
        (
            "ExecStart",
            "/usr/bin/env PORT=%i PROCESS_NAME=%i /opt/qwen-camera/.venv/bin/python -m server.main",
        ),
    ]


@pytest.mark.parametrize("unit", [WEB, EACH])
def test_stopping_takes_no_longer_than_systemd_waits(unit: str) -> None:
    """With the default DRAIN_SECONDS even without asking for more time; the watchdog is slower than
    a stop's last steps.
    """
    drain = load(env_file=None).drain_seconds
    assert drain + STOP_SECONDS <= seconds(directive(unit, "TimeoutStopSec"))
    assert seconds(directive(unit, "WatchdogSec")) > STOP_SECONDS


@pytest.mark.parametrize("unit", UNITS)
def test_nothing_of_its_memory_reaches_a_disk(unit: str) -> None:
    """No core dump, no swap."""
    assert directive(unit, "LimitCORE") == "0"
    assert directive(unit, "MemorySwapMax") == "0"


def test_the_model_server_gets_no_secret_of_the_web_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads the same settings without them, and without those that cannot be without them."""
    unset = set(directive(MODEL, "UnsetEnvironment").split())
    secret = {
        name.upper()
        for name, field in type(load(env_file=None)).model_fields.items()
        if field.annotation is SecretStr
    }
    assert secret - {"VLLM_API_KEY"} <= unset
    given = {
        "ACCESS_CODE": "some-access-code",
        "REQUIRE_AUTH": "true",
        "TURN_URLS": "turn:turn.example.org",
        "HTTPS_ENABLED": "true",
        "SSL_CERT_PATH": "/nowhere",
        "LOG_FILE": "/nowhere/server.log",
        "GPU_MEMORY_UTILIZATION": "0.5",
    }
    for name in given.keys() - unset:
        monkeypatch.setenv(name, given[name])
    assert load(env_file=None).gpu_memory_utilization == 0.5


def test_the_router_gets_no_setting_and_no_secret() -> None:
    """It reads no file of settings, listens on this machine alone, and has a user of its own that
    is gone with it.
    """
    names = {key for key, _ in directives(ROUTER)}
    assert not {"EnvironmentFile", "LoadCredential", "PassEnvironment"} & names
    given = dict(pair.split("=", 1) for pair in directive(ROUTER, "Environment").split())
    assert given["ROUTER_HOST"] == "127.0.0.1"
    assert not given.keys() & set(get_known_keys())
    assert directive(ROUTER, "DynamicUser") == "yes"
    assert (directive(ROUTER, "IPAddressDeny"), directive(ROUTER, "IPAddressAllow")) == (
        "any",
        "localhost",
    )


@needs_systemd
@pytest.mark.skipif(os.getuid() != 0, reason="Only root makes users.")
def test_the_users(tmp_path: Path) -> None:
    """systemd-sysusers makes both that the units name, without a home and without a shell, once."""
    (tmp_path / "etc").mkdir()
    for _ in range(2):
        done = ran(
            ["systemd-sysusers", f"--root={tmp_path}", str(DEPLOY / "qwen-camera.sysusers.conf")],
            timeout=20,
        )
        assert done.returncode == 0, done.stderr
    lines = (tmp_path / "etc/passwd").read_text().splitlines()
    users = {line.split(":")[0]: line.split(":")[5:] for line in lines}
    assert {directive(unit, "User") for unit in (WEB, EACH, MODEL)} == users.keys()
    assert set(map(tuple, users.values())) == {("/nonexistent", "/usr/sbin/nologin")}
    assert len(lines) == 2
    groups = [line.split(":") for line in (tmp_path / "etc/group").read_text().splitlines()]
    assert {group[0] for group in groups if group[3] == "qwen-vllm"} == {"video", "render"}


@pytest.mark.skipif(os.getuid() != 0, reason="logrotate changes its user.")
def test_log_rotation(tmp_path: Path) -> None:
    """logrotate moves the file, packs the one before, and makes a new one that only the service
    reads.
    """
    if shutil.which("logrotate") is None:
        pytest.skip("logrotate is missing; scripts/test.sh installs it.")
    text = (DEPLOY / "logrotate.conf").read_text()
    assert "/var/log/qwen-camera/" in text
    assert directive(WEB, "LogsDirectory") == "qwen-camera"
    # The service's user is not there.
    text = text.replace("qwen-camera qwen-camera", "root root")
    logs = tmp_path / "logs"
    logs.mkdir()
    configuration = tmp_path / "conf"
    configuration.write_text(text.replace("/var/log/qwen-camera/", f"{logs}/"))
    for round_ in ("first", "second"):
        (logs / "server.log").write_text(f"{round_}\n")
        command = ["logrotate", "-f", "-s", str(tmp_path / "state"), str(configuration)]
        done = ran(command, timeout=20)
        assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in logs.iterdir()) == [
        "server.log",
        "server.log.1",
        "server.log.2.gz",
    ]
    assert (logs / "server.log.1").read_text() == "second\n"
    assert (logs / "server.log").stat().st_mode & 0o777 == 0o600
    assert (logs / "server.log").stat().st_size == 0


SET = "JWT_SECRET_KEY=abc\nACCESS_CODE=def\n"


def read(text: str) -> dict[str, str | None]:
    return dict(dotenv_values(stream=StringIO(text), interpolate=False))


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("PORT=8010  # behind nginx", "8010"),
        ("PORT = 8010", "8010"),
        ("export PORT=8010", "8010"),
        ("PORT='8010' # why", "8010"),
        ('PORT="a # b"', "a # b"),
        ("PORT=a#b", "a#b"),
        ("PORT= # none", ""),
        ("PORT=it's", "it's"),
        (r'PORT="a\"b\\c"', 'a"b\\c'),
        ("PORT=", ""),
        ("PORT=two words", "two words"),
        ("PORT=8010\r", "8010"),
    ],
)
def test_a_value_stands_alone(line: str, value: str) -> None:
    """Without the comment behind it, which systemd would keep; with quotes where both readers need them."""
    made = service_settings(f"# Kept\n{SET}{line}\n")
    assert read(f"{line}\n") == {"PORT": value}
    assert made == f"# Kept\n{SET}PORT={quoted(value)}\n"
    assert read(made)["PORT"] == value


@given(st.text(alphabet="ab #'\"\\$={}\té", max_size=12))
@example("a' #b")
def test_it_reads_as_the_server_does(value: str) -> None:
    """Whatever stands behind the equals sign, what is read before is read afterwards."""
    text = f"{SET}ENGINE={value}\n"
    before = read(text)
    if before.get("ENGINE") is not None and len(before) == 3:
        assert read(service_settings(text)) == before


@pytest.mark.parametrize("given", ["", 'JWT_SECRET_KEY=\nACCESS_CODE=""  # none yet\n', "PORT=1\n"])
def test_empty_secrets_are_filled(given: str) -> None:
    """As those of the example are; each time with others."""
    assert empty_secrets(given) == list(SECRETS)
    one, other = read(service_settings(given)), read(service_settings(given))
    for name in SECRETS:
        assert len(str(one[name])) >= 12
        assert one[name] != other[name]


def test_secrets_of_ones_own_are_kept() -> None:
    assert empty_secrets(SET) == []
    assert service_settings(SET) == SET
