"""The settings: defaults, bounds, sentences, cross checks."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from pydantic import SecretStr

import config
from config import ConfigError, Settings, load
from server.core.frames import Role
from server.core.settings import MAKE_A_SECRET, find_secret_weakness
from server.features.hosting.settings import HostingSettings

GOOD_SECRET = "q7Vd0mZp3xKc9LwTfR2yBhN6sJgA1uEoXiC4"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in config.get_known_keys():
        monkeypatch.delenv(key, raising=False)


def read(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    """The settings that this environment gives, without any file."""
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    return load(None)


def refused(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """Return the message with which these settings are refused."""
    with pytest.raises(ConfigError) as caught:
        read(monkeypatch, **environment)
    return caught.value.message


@pytest.mark.parametrize(
    ("key", "low", "high", "below", "above"),
    [
        ("PORT", "0", "65535", "-1", "65536"),
        ("DRAIN_SECONDS", "0", "600", "-0.1", "600.1"),
        ("GPU_MEMORY_UTILIZATION", "0.05", "1", "0.04", "1.01"),
        ("MODEL_MAX_TOKENS", "512", "1048576", "511", "1048577"),
        ("RESPONSE_MAX_TOKENS", "1", "4096", "0", "4097"),
        ("MAX_CONCURRENT_INFERENCES", "0", "256", "-1", "257"),
        ("MAX_QUEUE", "1", "10000", "0", "10001"),
        ("FRAME_SAMPLE_RATE", "0.1", "30", "0.09", "30.1"),
        ("BACKGROUND_TOKENS_PER_MINUTE", "1000", "10000000", "999", "10000001"),
        ("CHANGE_SENSITIVITY", "0.25", "4", "0.24", "4.1"),
        ("VISUAL_TOKEN_BUDGET", "16", "16384", "15", "16385"),
        ("SESSION_TIMEOUT", "1", "604800", "0", "604801"),
        ("MAX_SESSIONS", "1", "1000000", "0", "1000001"),
        ("RATE_LIMIT_PER_MINUTE", "0", "100000", "-1", "100001"),
        ("TURN_TTL", "60", "604800", "59", "604801"),
    ],
)
def test_bounds(
    monkeypatch: pytest.MonkeyPatch, key: str, low: str, high: str, below: str, above: str
) -> None:
    """The bounds themselves hold, one step outside is refused with key, value and what is allowed."""
    for value in (low, high):
        assert float(getattr(read(monkeypatch, **{key: value}), key.lower())) == float(value)
    for value in (below, above, "nan", "many"):
        message = refused(monkeypatch, **{key: value})
        assert message.startswith(f"{key} is '{value}'. Allowed: a ")
        assert f"{low} to {high}" in message
        assert "\n" not in message


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("ENGINE", "gpt", "auto, vllm, local or builtin"),
        ("TRUST_REMOTE_CODE", "some", "true or false"),
        ("LOG_LEVEL", "loud", "debug, info, warning or error"),
        ("MODEL_DTYPE", "int3", "auto, float16, bfloat16 or float32"),
        ("REQUIRE_AUTH", "perhaps", "true or false"),
        ("HOST", "http://here", "an IP address or host name"),
        ("VLLM_BASE_URL", "127.0.0.1:8001", "an http or https URL"),
        ("VLLM_BASE_URL", "http://a/v1?x=1", "an http or https URL"),
        ("VLLM_BASE_URL", "http://a/v1, b:8001", "an http or https URL"),
        ("VLLM_BASE_URL", ",", "an http or https URL"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,proxy", "IP addresses and networks"),
        ("ALLOWED_ORIGINS", "*", "origins like"),
        ("ALLOWED_ORIGINS", "https://a.example/path", "origins like"),
        ("ALLOWED_ORIGINS", "null", "origins like"),
        ("FRAME_ANCESTORS", "https://a.example; script-src *", "origins like"),
        ("STUN_URLS", "stun://stun.example.org", "without //"),
        ("STUN_URLS", "turn:stun.example.org", "URLs like stun:"),
        ("TURN_URLS", "turn:turn.example.org?transport=quic", "URLs like turn:"),
        ("STUN_URLS", "stun.example.org:3478", "URLs like stun:"),
        ("STUN_URLS", "stun:stun.example.org?transport=udp", "URLs like stun:"),
        ("UDP_PORT_RANGE", "40000", "two ports from 1024 to 65535"),
        ("UDP_PORT_RANGE", "40999-40000", "two ports from 1024 to 65535"),
        ("UDP_PORT_RANGE", "1023-2000", "two ports from 1024 to 65535"),
        ("UDP_PORT_RANGE", "65000-65536", "two ports from 1024 to 65535"),
        ("PUBLIC_ADDRESSES", "0.0.0.0", "IP addresses that clients can reach"),
        ("PUBLIC_ADDRESSES", "cam.example.org", "IP addresses that clients can reach"),
        ("LOG_FILE", "/nowhere/at/all.log", "a file in an existing directory"),
        ("CATALOGUE", "/nowhere/models.toml", "the path of a file"),
        ("END_OF_TURN_SHA256", "5f" * 31, "a file's SHA-256, 64 hexadecimal digits"),
        ("END_OF_TURN_SHA256", "g" * 64, "a file's SHA-256, 64 hexadecimal digits"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str, allowed: str
) -> None:
    """One sentence names the key, the value and what may stand there."""
    message = refused(monkeypatch, **{key: value})
    assert message.startswith(f"{key} is '{value}'")
    assert f"Allowed: {allowed}" in message or allowed in message.partition("Allowed: ")[2]
    assert "\n" not in message


def test_a_local_engine_needs_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENGINE=local without a folder is refused; a folder that is never loaded is warned of; ~ is the home."""
    assert "LOCAL_MODEL is empty" in refused(monkeypatch, ENGINE="local")
    assert not read(monkeypatch, ENGINE="local", OPERATOR_TOKEN="x" * 20).warnings
    monkeypatch.delenv("OPERATOR_TOKEN")
    settings = read(monkeypatch, ENGINE="Local", LOCAL_MODEL="~/some", ENGINE_PYTHON="~/bin/python")
    assert HostingSettings.of(settings).local_model == Path("~/some").expanduser()
    assert settings.engine_python == Path("~/bin/python").expanduser()
    assert not settings.warnings
    (warning,) = read(monkeypatch, ENGINE="builtin", LOCAL_MODEL="/some").warnings
    assert "LOCAL_MODEL is set but ENGINE is builtin" in warning


def test_secrets_never_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a sentence nor a repr holds a secret, nor a password within a URL."""
    long = "canary" * 200
    for key in (
        name.upper()
        for name, one in type(load(None)).model_fields.items()
        if isinstance(one.default, SecretStr)
    ):
        message = refused(monkeypatch, **{key: long})
        assert "canary" not in message
        assert f"{key} is (hidden, 1200 characters)" in message
        monkeypatch.delenv(key)
    message = refused(monkeypatch, VLLM_BASE_URL="http://me:canary@host/v1")
    assert "canary" not in message
    assert "VLLM_BASE_URL is '(hidden)@host/v1'" in message
    monkeypatch.delenv("VLLM_BASE_URL")
    message = refused(monkeypatch, JWT_SECRET_KEY="canary", REQUIRE_AUTH="true")
    assert "canary" not in message
    monkeypatch.delenv("REQUIRE_AUTH")
    settings = read(monkeypatch, METRICS_TOKEN="canary", OPERATOR_TOKEN="canary-canary-canary")
    assert "canary" not in repr(settings) + " ".join(settings.warnings)


def test_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists are split at commas, tidied, and empty when nothing is given."""
    settings = read(
        monkeypatch,
        TRUSTED_PROXIES=" 10.1.2.3/8 , ::1,",
        ALLOWED_ORIGINS="https://Cam.Example.org:443/,http://a:8000,http://a:8000",
        STUN_URLS="stun:s.example.org:3478,stuns:s.example.org",
        TURN_URLS="turn:t.example.org?transport=tcp,turns:[2001:db8::1]:5349",
        TURN_SECRET="x",
        PUBLIC_ADDRESSES="203.0.113.9,2001:db8::9",
        UDP_PORT_RANGE="40000-40999",
    )
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert settings.allowed_origins == ("https://cam.example.org", "http://a:8000")
    assert settings.stun_urls == ("stun:s.example.org:3478", "stuns:s.example.org")
    assert len(settings.turn_urls) == 2
    assert settings.public_addresses == (ip_address("203.0.113.9"), ip_address("2001:db8::9"))
    assert settings.udp_port_range == (40000, 40999)
    assert read(monkeypatch, TRUSTED_PROXIES="").trusted_proxies == ()


def test_empty_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty value of a number or a word is the default, as compose files pass unset variables."""
    settings = read(monkeypatch, PORT="", ENGINE=" ", REQUIRE_AUTH="", MODEL_PATH="", LOG_FILE="")
    assert (settings.port, settings.engine, settings.require_auth) == (8000, "auto", False)
    assert settings.model_path == Path.home() / "models/qwen2.5-vl-32b"
    assert settings.log_file is None


def test_of_several_model_servers_the_first_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning says so, and how to use all; a bad one among them is refused."""
    settings = read(monkeypatch, VLLM_BASE_URL="http://a:1/v1/, http://b:1/v1 https://c/v1")
    assert settings.vllm_base_url == "http://a:1/v1"
    (said,) = settings.warnings
    assert "VLLM_BASE_URL has 3 addresses; only http://a:1/v1 is used." in said
    assert 'ROUTER_WORKERS="http://a:1 http://b:1 https://c" bash scripts/start_router.sh' in said
    monkeypatch.delenv("VLLM_BASE_URL")
    settings = read(monkeypatch, WATCHES_BASE_URL="http://a:1/v1,http://b:1/v1")
    own = settings.get_role_settings(Role.WATCHES)
    assert own is not None
    assert own.url == "http://a:1/v1"
    assert "WATCHES_BASE_URL has 2 addresses" in settings.warnings[0]
    message = refused(monkeypatch, VLLM_BASE_URL="http://a:1/v1,http://me:canary@host/v1")
    assert "canary" not in message


def test_the_engine_of_a_role(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its own server, of this server, or another model of the same; a key goes where it belongs."""
    monkeypatch.setenv("VLLM_BASE_URL", "http://b:1/v1")
    monkeypatch.setenv("VLLM_API_KEY", "of-the-large")
    assert [read(monkeypatch).get_role_settings(role) for role in Role] == [None] * 3
    settings = read(monkeypatch, WATCHES_BASE_URL="http://s:1/v1/", READS_BASE_URL="builtin")
    watches, reads = (
        settings.get_role_settings(Role.WATCHES),
        settings.get_role_settings(Role.READS),
    )
    assert watches is not None
    assert (watches.name, watches.url, watches.key) == ("watches", "http://s:1/v1", SecretStr(""))
    assert reads is not None
    assert (reads.name, reads.url) == ("builtin", "")
    monkeypatch.setenv("READS_BASE_URL", "")
    for given in ({"WATCHES_BASE_URL": "http://b:1/v1"}, {"WATCHES_MODEL": "small"}):
        monkeypatch.setenv("WATCHES_BASE_URL", "")
        own = read(monkeypatch, **given).get_role_settings(Role.WATCHES)
        assert own is not None
        assert own.key == SecretStr("of-the-large")
    own = read(monkeypatch, WATCHES_API_KEY="of-the-small").get_role_settings(Role.WATCHES)
    assert own is not None
    assert own.key == SecretStr("of-the-small")
    assert "local or builtin" in refused(monkeypatch, WATCHES_BASE_URL="small")
    message = refused(monkeypatch, WATCHES_BASE_URL="http://me:canary@host/v1")
    assert "canary" not in message


def test_an_access_code_switches_auth_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """ACCESS_CODE implies REQUIRE_AUTH, even beside REQUIRE_AUTH=false."""
    settings = read(
        monkeypatch, ACCESS_CODE="open sesame", JWT_SECRET_KEY=GOOD_SECRET, REQUIRE_AUTH="false"
    )
    assert settings.require_auth
    assert settings.warnings == ()


@pytest.mark.parametrize(
    "secret",
    [
        "",
        GOOD_SECRET[:31],
        "please-change-me-please-change-me-now",
        "your-secret-key-of-thirty-two-characters",
        "a" * 64,
        "abcabcabc" * 6,
        "-----BEGIN PUBLIC KEY-----" + GOOD_SECRET,
    ],
)
def test_a_weak_key_stops_a_guarded_server(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    """With auth on, a missing, short or guessable key is answered with the command for a good one."""
    for switch in ({"REQUIRE_AUTH": "true"}, {"ACCESS_CODE": "open sesame"}):
        message = refused(monkeypatch, JWT_SECRET_KEY=secret, **switch)
        assert message.startswith("JWT_SECRET_KEY ")
        assert 'python3 -c "import secrets; print(secrets.token_urlsafe(48))"' in message
        for key in switch:
            monkeypatch.delenv(key)


def test_a_good_key_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """32 characters are enough, with auth on or off; a token of any making never looks like a placeholder."""
    for auth in ("true", "false"):
        settings = read(monkeypatch, JWT_SECRET_KEY=GOOD_SECRET[:32], REQUIRE_AUTH=auth)
        assert settings.jwt_secret_key.get_secret_value() == GOOD_SECRET[:32]


def test_without_auth_a_key_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """With auth off each run gets a random key; a weak one that was given is replaced with a warning."""
    first, second = load(None), load(None)
    assert not find_secret_weakness(first.jwt_secret_key.get_secret_value())
    assert first.jwt_secret_key != second.jwt_secret_key
    weak = read(monkeypatch, JWT_SECRET_KEY="weak")
    assert len(weak.jwt_secret_key.get_secret_value()) == 64
    assert weak.warnings[0].startswith("JWT_SECRET_KEY has only 4 characters")


@pytest.mark.parametrize(
    ("key", "value", "cause"),
    [
        ("STUN_URLS", "stun:stun.example.org:65536", "a port outside 1 to 65535"),
        ("TURN_URLS", "turn:turn.example.org:0", "a port outside 1 to 65535"),
        ("TURN_URLS", "turns:turn.example.org:443?transport=udp", "browsers do not support"),
        ("TURN_URLS", "turn:user:pass@turn.example.org", "'(hidden)@turn.example.org' does not"),
        ("PUBLIC_ADDRESSES", "fe80::1", "not an address to which clients can send"),
    ],
)
def test_a_bad_address_of_the_transport_says_what_is_wrong_with_it(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str, cause: str
) -> None:
    """Browsers refuse the whole connection for one bad URL, so the start is strict and names the cause."""
    message = refused(monkeypatch, **{key: f"{value},"})
    assert message.startswith(f"{key} is ")
    assert cause in message
    assert "pass" not in message.replace("transport", "")


@pytest.mark.parametrize(
    ("environment", "warning"),
    [
        ({"REQUIRE_AUTH": "true", "JWT_SECRET_KEY": GOOD_SECRET}, "anybody can get a token"),
        ({"ACCESS_CODE": "1234567", "JWT_SECRET_KEY": GOOD_SECRET}, "ACCESS_CODE has only 7"),
        ({"METRICS_TOKEN": "fifteen-letters"}, "METRICS_TOKEN has only 15"),
        ({"TURN_SECRET": "x"}, "no relay is offered"),
        ({"MODEL_MAX_TOKENS": "1000", "RESPONSE_MAX_TOKENS": "500"}, "at least half"),
        ({"UDP_PORT_RANGE": "40000-40098"}, "99 ports, fewer than MAX_SESSIONS (100)"),
    ],
)
def test_probable_mistakes_are_warnings(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], warning: str
) -> None:
    """Settings that are allowed but probably not meant give one warning, and the start goes on."""
    warnings = read(monkeypatch, **environment).warnings
    assert len(warnings) == 1
    assert warning in warnings[0]


def test_a_short_operator_token_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has it starts programs: under 16 characters it is refused with the command that makes a good one."""
    message = refused(monkeypatch, OPERATOR_TOKEN="fifteen-letters")
    assert "OPERATOR_TOKEN has only 15 characters" in message
    assert MAKE_A_SECRET in message
    assert "fifteen-letters" not in message
    assert not read(monkeypatch, OPERATOR_TOKEN="sixteen--letters").warnings


def test_certificate_files_are_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only HTTPS_ENABLED asks for the server's pair; what is wrong with a file stops the start (core/test_setting_text.py)."""
    gone = str(tmp_path / "gone")
    assert read(monkeypatch, SSL_CERT_PATH=gone).ssl_cert_path == Path(gone)
    missing = refused(monkeypatch, HTTPS_ENABLED="true", CA_CERT_PATH=gone).splitlines()
    assert [line.split()[0] for line in missing] == [
        "SSL_CERT_PATH",
        "SSL_KEY_PATH",
        "CA_CERT_PATH",
    ]


def test_the_environment_goes_before_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """.env is read, the environment wins, and arguments win over both."""
    file = tmp_path / ".env"
    file.write_text("# comment\nPORT=9001\nMAX_QUEUE=7\nLOG_LEVEL='debug'\n")
    monkeypatch.setenv("PORT", "9002")
    settings = load(file)
    assert (settings.port, settings.max_queue, settings.log_level) == (9002, 7, "debug")
    assert load(file, port=9003).port == 9003
    monkeypatch.chdir(tmp_path)
    assert load().max_queue == 7


def test_quotation_marks_round_a_value_are_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers get them with the value; others than a pair stay."""
    settings = read(
        monkeypatch,
        ACCESS_CODE='"correct-horse"',
        JWT_SECRET_KEY=f"'{GOOD_SECRET}'",
        MODEL_NAME=" 'm' ",
        PORT='"9001"',
        METRICS_TOKEN="'some-long-token",
    )
    assert settings.access_code.get_secret_value() == "correct-horse"
    assert settings.jwt_secret_key.get_secret_value() == GOOD_SECRET
    assert settings.metrics_token.get_secret_value() == "'some-long-token"
    assert (settings.model_name, settings.port) == ("m", 9001)


def test_a_machine_behind_an_address_of_no_server_is_named() -> None:
    """Pictures would go through a tunnel unasked."""
    machines = "127.0.0.1:8001=gpu.example.org,127.0.0.1:8009=gpu.example.org,speech:8000=here"
    settings = load(
        env_file=None, vllm_base_url="http://localhost:8001/v1", engine_machines=machines
    )
    named = [one for one in settings.warnings if "ENGINE_MACHINES" in one]
    assert [one.split()[2] for one in named] == ["localhost:8009,"]
    for wrong in ("gpu.example.org", "127.0.0.1=gpu.example.org", "127.0.0.1:8001", "a:99999=b"):
        with pytest.raises(ConfigError):
            load(env_file=None, engine_machines=wrong)


def test_a_dollar_in_the_file_is_a_character(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The environment fills in nothing."""
    monkeypatch.setenv("X", "canary")
    secret = f"{GOOD_SECRET}${{X}}$X$$"
    file = tmp_path / ".env"
    file.write_text(f"JWT_SECRET_KEY={secret}\n")
    settings = load(file, require_auth=True)
    assert settings.jwt_secret_key.get_secret_value() == secret


def test_unknown_names_are_named(tmp_path: Path) -> None:
    """And a line that cannot be read; one close to a setting says which may be meant."""
    file = tmp_path / ".env"
    file.write_text(
        "REQIURE_AUTH=true\nCOMPOSE_PROJECT_NAME=cam\nfoo bar baz\nmax_queue=9\nFRAME_RATE=3\n"
    )
    settings = load(file)
    assert settings.max_queue == 9
    assert settings.warnings == (
        "REQIURE_AUTH in .env is not a setting and is ignored; did you mean REQUIRE_AUTH?",
        "COMPOSE_PROJECT_NAME in .env is not a setting and is ignored.",
        "Line 3 of .env cannot be parsed and is ignored.",
        "FRAME_RATE in .env is not a setting and is ignored; did you mean FRAME_SAMPLE_RATE?",
    )


def test_a_file_with_secrets_is_its_owners(tmp_path: Path) -> None:
    """A file that others can read is warned of if a secret is in it."""
    file = tmp_path / ".env"
    file.write_text("max_queue=9\nACCESS_CODE=\n")
    file.chmod(0o644)
    assert not load(file).warnings
    file.write_text("metrics_token=some-long-token-4711\n")
    (warning,) = load(file).warnings
    assert ".env" in warning
    assert "chmod 600" in warning
    file.chmod(0o600)
    assert not load(file).warnings


def test_what_a_feature_that_is_off_would_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is told, since phones would find the door open: nobody is asked for a code."""
    said = "PAIRING_HOSTS is set, but belongs to a feature that FEATURES does not enable."
    for key, value in {"PAIRING_HOSTS": "vm.local", "MQTT_URL": "", "FEATURES": "cluster"}.items():
        monkeypatch.setenv(key, value)
    assert load(tmp_path / "none").warnings == (said,)
    monkeypatch.setenv("FEATURES", "all")
    assert said not in load(tmp_path / "none").warnings
