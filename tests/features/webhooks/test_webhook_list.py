"""The list of webhooks: what stands in it, and what is refused without a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import ConfigError, load
from server.features.webhooks.settings import (
    MOST_WEBHOOKS,
    Evidence,
    WebhookList,
    WebhookSettings,
    read_webhooks,
)
from tests.features.webhooks.receiver import SECRET, written

HALL = f"""
[[webhook]]
name = "hall"
url = "https://hooks.example.org:8443/camera?key=canary"
secret = "{SECRET}"
cameras = ["front-door"]
"""
ONE = f'[[webhook]]\nname = "a"\nurl = "https://h/x"\nsecret = "{SECRET}"\ncameras = ["*"]\n'


def test_a_list(tmp_path: Path) -> None:
    """An address is shown without its path and query."""
    text = 'address = "https://cam.example.org/"\n' + HALL
    text += ONE + 'evidence = "link"\npeople = true\nprivate = true\n'
    found = read_webhooks(written(tmp_path, text))
    hall, other = found.webhooks
    assert found.address == "https://cam.example.org"
    assert (hall.host, hall.key) == ("hooks.example.org:8443", bytes(range(32)))
    assert (hall.evidence, hall.people, hall.private) == (Evidence.INLINE, False, False)
    assert (other.evidence, other.people, other.private) == (Evidence.LINK, True, True)
    assert hall.accepts_camera("front-door")
    assert not hall.accepts_camera("yard")
    assert other.accepts_camera("yard")
    for secret in (SECRET, "canary"):
        assert secret not in repr(found)
    assert read_webhooks(written(tmp_path, "")) == WebhookList()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ONE.replace('"a"', '"A b"'), "no name"),
        (ONE.replace("https", "ftp"), "no url"),
        (ONE.replace("https://h", "https://u:p@h"), "without a user"),
        (ONE.replace("h/x", "h/x#y"), "fragment"),
        (ONE.replace("h/x", "h:0/x"), "port"),
        (ONE.replace("h/x", "h:99999/x"), "port"),
        (ONE.replace("h/x", "h/\\r\\nX: y"), "one line"),
        (ONE.replace("https", "http"), "private = true"),
        (ONE.replace("whsec_", ""), "needs a secret of whsec_"),
        (ONE.replace(SECRET, "whsec_c2hvcnQ="), "24 to 64"),
        (ONE + 'token = "a b"\n', "token"),
        (ONE.replace(SECRET, "whsec_!!"), "needs a secret"),
        (ONE.replace('["*"]', '"*"'), "not a list of names"),
        (ONE.replace('["*"]', '["Front Door"]'), "not a list of names"),
        (ONE.replace('["*"]', "[]"), "gets no alerts"),
        (ONE + 'evidence = "mail"\n', "inline, link, none"),
        (ONE + 'evidence = "link"\n', "no address"),
        (ONE + "people = 1\n", "neither true"),
        (ONE + "retries = 1\n", "allowed keys"),
        (ONE * 2, "two webhooks"),
        ('address = "cam.example.org"\n', "not a URL"),
        ('address = "https://cam.example.org/path"\n', "not a URL"),
        ("address = 1\n", "not a URL"),
        ("webhook = [1]\n", "not a table"),
        ("[[camera]]\n", "something other"),
        ("x = ", "not TOML"),
        ("".join(ONE.replace('"a"', f'"a{n}"') for n in range(MOST_WEBHOOKS + 1)), "at most 8"),
    ],
)
def test_what_is_refused(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        read_webhooks(written(tmp_path, text))
    assert SECRET not in str(refused.value)


def test_secrets_are_for_the_owner_alone(tmp_path: Path) -> None:
    path = written(tmp_path, ONE, 0o644)
    with pytest.raises(ConfigError) as refused:
        load(env_file=None, webhooks=str(path))
    assert "chmod 600" in refused.value.message
    assert SECRET not in refused.value.message
    path.chmod(0o600)
    assert WebhookSettings.of(load(env_file=None, webhooks=str(path))).webhooks == path


def test_what_it_names_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="WEBHOOKS"):
        load(env_file=None, webhooks=str(tmp_path / "none.toml"))
    path = written(tmp_path, ONE + 'ca = "/nowhere/ca.pem"\n')
    with pytest.raises(ConfigError, match="ca that cannot be read"):
        load(env_file=None, webhooks=str(path))
    path = written(tmp_path, HALL)
    with pytest.raises(ConfigError, match="the camera front-door"):
        load(env_file=None, webhooks=str(path))
    cameras = tmp_path / "cameras.toml"
    cameras.write_text('[[camera]]\nname = "front-door"\nurl = "/dev/video0"\n', encoding="utf-8")
    assert WebhookSettings.of(
        load(env_file=None, webhooks=str(path), standing_cameras=str(cameras))
    ).webhooks
