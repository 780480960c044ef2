"""The settings of several processes."""

from __future__ import annotations

import pytest

from config import load
from server.features.cluster.settings import ClusterSettings, redis_url
from tests.project.test_config import GOOD_SECRET, read, refused


def test_shared_limits_need_a_shared_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """REDIS_URL is for several processes, whose tokens have to be good at each; its password shows nowhere."""
    url = "redis://:canary@127.0.0.1:6379/0"
    message = refused(monkeypatch, REDIS_URL=url)
    assert message.startswith("JWT_SECRET_KEY is empty. With REDIS_URL all processes need")
    settings = read(monkeypatch, REDIS_URL=url, JWT_SECRET_KEY=GOOD_SECRET)
    assert ClusterSettings.of(settings).redis_url.get_secret_value() == url
    assert "canary" not in repr(settings)
    message = refused(monkeypatch, REDIS_URL="http://:canary@127.0.0.1", JWT_SECRET_KEY=GOOD_SECRET)
    assert message.startswith("REDIS_URL is (hidden, 24 characters): it does not have this form.")
    assert "redis://127.0.0.1:6379/0" in message


def test_the_sessions_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """GATEWAY_SESSIONS is its part of MAX_SESSIONS, which bounds it."""
    for here, most in ((0, 9), (4, 4), (10, 9)):
        settings = load(env_file=None, max_sessions=9, gateway_sessions=here)
        assert settings.sessions_here == most


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:6379",
        "redis://h:65536",
        "redis://h/0?socket_timeout=9",
        "unix://redis.sock",
    ],
)
def test_no_url_of_redis(url: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        redis_url(url)
