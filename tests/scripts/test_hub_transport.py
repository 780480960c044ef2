"""The transport that the hub's client has, with the errors that its callers know."""

from __future__ import annotations

import httpcore2
import httpx2
import pytest

from scripts.models.hub_transport import PoolTransport
from tests.support.fakes_server import free_port

ERRORS = [
    error
    for error in vars(httpcore2).values()
    if isinstance(error, type) and issubclass(error, Exception)
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_errors_are_httpx2s_of_the_same_name(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """huggingface_hub tries again after some of them; what has no such name is raised as it is."""

    def fail(*_: object) -> None:
        raise error("said")

    monkeypatch.setattr(httpcore2.ConnectionPool, "handle_request", fail)
    expected = getattr(httpx2, error.__name__, error)
    with (
        httpx2.Client(transport=PoolTransport(lambda _: None, None, "")) as client,
        pytest.raises(Exception, match="said") as raised,
    ):
        client.get("http://127.0.0.1")
    assert type(raised.value) is expected
    assert (expected is error) == (error is httpcore2.ConnectionNotAvailable)


def test_nobody_there_is_a_failed_connection() -> None:
    """The error of a true connection that is refused."""
    transport = PoolTransport(lambda _: None, None, "")
    with httpx2.Client(transport=transport) as client, pytest.raises(httpx2.ConnectError):
        client.get(f"http://127.0.0.1:{free_port()}")
