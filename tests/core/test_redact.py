"""Other programs' output is shown on one line, without credentials and control characters."""

from __future__ import annotations

import json

import pytest

from server.core.redact import hash_session_id, redact, remove_controls

# Nothing of it may be seen, wherever it stands.
SECRET = "hunter2"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzaWQiOiJ4In0.c2ln"


@pytest.mark.parametrize(
    "text",
    [
        # Headers
        "Authorization: Bearer hunter2",
        "authorization: bearer hunter2",
        "Authorization: Basic hunter2",
        "Authorization: Token hunter2",
        "Authorization: hunter2",
        "Proxy-Authorization: Basic hunter2==",
        'Authorization: Digest username="x", nonce="y", response="hunter2"',
        "Authorization: AWS4-HMAC-SHA256 Credential=AKIA/20261120, Signature=hunter2",
        "{'Authorization': 'Basic hunter2', 'Accept': '*/*'}",
        "headers=[(b'Host', b'x'), (b'Authorization', b'Basic hunter2'), (b'X-Api-Key', b'hunter2')]",
        "X-Api-Key: hunter2",
        "Cookie: a=hunter2; b=hunter2",
        "set-cookie: session=hunter2; HttpOnly",
        "Sec-WebSocket-Protocol: qwen-camera, bearer.hunter2",
        # Settings and environments
        "HF_TOKEN=hunter2",
        "export HUGGING_FACE_HUB_TOKEN=hunter2",
        'HF_TOKEN="hunter2 hunter2"',
        "AWS_SECRET_ACCESS_KEY=hunter2",
        "PGPASSWORD=hunter2 psql",
        "DB_PASS=hunter2",
        "MYSQL_PWD=hunter2",
        "environ({'HOME': '/root', 'OPENAI_API_KEY': 'hunter2'})",
        'os.environ["HF_TOKEN"] = "hunter2"',
        "docker run --env HF_TOKEN=hunter2 vllm",
        # Names of other makes
        *("password: hunter2", "passphrase = hunter2", "client_secret=hunter2"),
        *("accessToken: hunter2", "apiKey=hunter2", "apikey: hunter2", "db.password => hunter2"),
        "credentials=hunter2",
        "assert token == 'hunter2'",
        # Quoted, in lists, in JSON, in JSON in JSON
        'password="hunter2"',
        "password='hunter2'",
        'password="with \\" a quote hunter2"',
        '{"api_key": "hunter2"}',
        "Namespace(api_key=['hunter2', 'hunter2'], port=8000)",
        '{"event": "{\\"api_key\\": \\"hunter2\\"}"}',
        "password='hunter2 is cut",
        "password=a,hunter2;hunter2",
        "password=a&hunter2",
        # Command lines
        "vllm serve m --api-key hunter2 --port 8000",
        "['serve', '--api-key', 'hunter2', '--port', '8000']",
        "--hf-token=hunter2",
        "curl -u me:hunter2 https://x",
        "machine example.org login me password hunter2",
        # Addresses
        "https://me:hunter2@example.org/x",
        "redis://:hunter2@localhost:6379/0",
        "https://me:p@hunter2@example.org/x",
        "https://me:a/hunter2@example.org",
        "postgresql+asyncpg://me:hunter2@db/x",
        "https:\\/\\/me:hunter2@example.org",
        "https://hunter2@example.org/x",
        "the proxy me:hunter2@10.0.0.1:3128",
        "turn:me:hunter2@turn.example.org",
        "GET /v1?api_key=hunter2&x=1 HTTP/1.1",
        "https://cdn.example.org/m?X-Amz-Signature=hunter2&Policy=hunter2&x",
        "https://x/#access_token=hunter2&state=hunter2",
        "https://x/#pair=hunter2",
        "POST /token body=access_code%3Dhunter2",
        '{"pairing_code": "hunter2"}',
        "code=hunter2",
        # By its shape alone
        "use hf_hunter2hunter2hunter2 now",
        "a\\nhf_hunter2hunter2hunter2",
        "key sk-proj-hunter2-hunter2-hunter2",
        "ghp_hunter2hunter2hunter2",
        "nvapi-hunter2hunter2hunter2",
        "glpat-hunter2hunter2hunter2",
        "-----BEGIN RSA PRIVATE KEY-----\\nhunter2\\nhunter2\\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_credentials_are_hidden(text: str) -> None:
    """Each kind of them, wherever it stands in a line; once more makes no difference."""
    for line in (text, f"INFO 11-20 22:00:00 [api.py:1] {text} and so on", f"({text})"):
        shown = redact(remove_controls(line))
        assert "(hidden)" in shown
        assert SECRET not in shown
        assert SECRET not in redact(shown)


def test_a_jwt_is_hidden_whole() -> None:
    """And one with five parts, as encrypted ones have."""
    assert redact(f"got {JWT}.") == "got (hidden)"
    assert redact(f"got {JWT}.c2ln.c2ln now") == "got (hidden) now"


def test_what_is_around_stays() -> None:
    """Whoever reads the line still sees what it is about."""
    for text, shown in (
        ("GET /v1?key=hunter2 HTTP/1.1 200", "GET /v1?(hidden) HTTP/1.1 200"),
        ("https://me:hunter2@example.org:80/x", "https://(hidden)@example.org:80/x"),
        ("api_key='hunter2', port=8000", "api_key=(hidden), port=8000"),
        ("vllm serve m --api-key hunter2 --port 1", "vllm serve m --api-key (hidden) --port 1"),
        ('{"token": "hunter2", "port": 8000}', '{"token": (hidden), "port": 8000}'),
    ):
        assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Größe 100 % 模型 модель ████",
        "a key frame, the bearer, code 4401, exit code=137",
        "api_key=None, hf_token=None, use_auth_token=False",
        "time per token: 13.5 ms, max_tokens=512, eos_token_id=2",
        "hf_transfer is not installed; hf_hub_download is used",
        "http://127.0.0.1:8002/v1/models, models/org@rev, vllm/vllm-openai:v0.32.0@sha256:9f86d08",
        "Loading safetensors checkpoint shards: 50% Completed | 1/2 [00:01<00:01, 1.2it/s]",
        "INFO 11-20 22:00:00 [core.py:73] Initializing with config: model='/m', tokenizer='/m'",
        "task-queue-of-the-scheduler-process-1 begins",
        "Could it be? x == y",
        "Invalid bearer token",
        "KeyError: 'qwen9_vl'",
    ],
)
def test_words_stay(text: str) -> None:
    """Text without credentials and control characters stays unchanged."""
    assert redact(remove_controls(text)) == text


def test_a_line_is_plain() -> None:
    """Colours, cursor movements, bells, marks that turn text round are gone; a tab is a space."""
    nasty = "\x1b[1;31mred\x1b[0m \x1b]0;title\x07a\tb\x07\x00\r\n\u202egpj\u2066\u200bend\x9b2J"
    assert remove_controls(nasty) == "red a bgpjend2J"
    # tput's way back to normal, a string for the device, a reset, marks that are seen as nothing
    assert (
        remove_controls("\x1b(B\x1b[mok\x1bP+q544e\x1b\\\x1bc \xadh\u061ce\U000e0041y") == "ok hey"
    )


def test_a_mark_within_a_secret_saves_it_not() -> None:
    """Colours and characters that are seen as nothing go first."""
    for mark in ("\x1b[1m", "\u200b", "\x00", "\u2060", "\xad"):
        line = f"use hf_hun{mark}ter2hun{mark}ter2abcdefgh and tok{mark}en=hunter2"
        assert redact(remove_controls(line)) == "use (hidden) and token=(hidden)"


@pytest.mark.parametrize(
    "text",
    [
        "https://me:hunter2@example.org/x",
        "the proxy me:hunter2@10.0.0.1:3128",
        "use hf_hunter2hunter2hunter2 now",
        "Authorization: Digest username=x, response=hunter2",
        "api_key='hunter2 hunter2', port=8000",
        "GET /v1?x=1&api_key=hunter2&x=1 HTTP/1.1",
        f"got {JWT}.hunter2",
    ],
)
def test_no_half_of_a_credential_is_left_at_the_cut(text: str) -> None:
    """The shown part of a long line is the beginning of its fully redacted text."""
    for before in ("x " * 990, "token=aaaaaaaaa " * 120):
        for shift in range(60):
            line = f"{before}{'y' * shift} {text} and more of it {'z ' * 900}"
            shown = redact(line, 2000)
            assert len(shown) <= 2000
            assert redact(line, 100_000).startswith(shown)
    assert len(redact("x" * 5000)) == 2000


def test_by_which_way_a_relay_is_reached_stays() -> None:
    """Two relays that differ in it alone can be distinguished; nothing else hides behind it."""
    for url in ("turn:relay.example.org:3478?transport=udp", "turns:a.example:443?transport=tcp"):
        assert redact(url) == url
        assert redact(f"({url})") == f"({url})"
    for text in ("?transport=udphunter2", "?transport=udp&key=hunter2", "?transport=hunter2"):
        assert SECRET not in redact(text)


def test_json_can_be_read_before_it_is_redacted() -> None:
    """A log's own fields are redacted one by one: their JSON stays JSON."""
    value = 'password="hunter2 \\" x", {"token":"hunter2'
    assert SECRET not in json.dumps({"message": redact(value)})


def test_the_hash_is_short_and_stable() -> None:
    """The same session has the same name in every log line, whatever its id holds."""
    assert hash_session_id("abc") == "ba7816bf8f01"
    assert hash_session_id("\ud800") != hash_session_id("abc")
