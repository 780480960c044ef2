"""Fixed cameras: the operators' routes, the list with its secrets, and the pauses before the next attempt."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import ConfigError, load
from server.features.grants.programs import get_programs
from server.features.rtsp.reader import (
    FIRST_PICTURE_SECONDS,
    GOOD_SECONDS,
    LAST_MENDED_PAUSE,
    LAST_PAUSE,
    LEAST_SHARE,
    MENDED_PAUSE,
    FixedCameraState,
    Reconnect,
)
from server.features.rtsp.settings import MOST_CAMERAS, FixedCamera, RtspSettings, read_list
from server.features.rtsp.worker.rtsp import FailureReason
from tests.features.rtsp.scripted import CAMERAS, OPERATOR, house, listed
from tests.support.clients import bearer, http
from tests.support.fakes_app import assert_error

ROUTES = [
    ("GET", ""),
    ("GET", "/door/picture"),
    ("POST", "/door/ask"),
    ("POST", "/door/retry"),
    ("POST", "/door/token"),
    ("POST", "/door/grants"),
    ("GET", "/door/grants"),
    ("DELETE", "/door/grants"),
    ("DELETE", "/door/grants/x"),
]
DOOR = {"door": 'url = "rtsp://127.0.0.1:9/x"'}
BOTH = DOOR | {"yard": 'url = "rtsp://127.0.0.1:9/y"'}
NO_RATE = {"rate_limit_per_minute": 0}
GRANT: dict[str, Any] = {"name": "Kitchen script", "scopes": ["look"], "seconds": 600}


async def test_what_is_refused(tmp_path: Path) -> None:
    async with house(tmp_path, **DOOR) as (_, client):
        for method, path in ROUTES[1:]:
            reply = await client.request(
                method, CAMERAS + path.replace("door", "cellar"), json={"content": "x"} | GRANT
            )
            assert_error(reply, 404, "not_found", retryable=False)
        for content in ("", "  ", 1, None, "x" * 4001):
            reply = await client.post(f"{CAMERAS}/door/ask", json={"content": content})
            assert_error(reply, 400, "bad_request", retryable=False)
        for body in (GRANT | {"scopes": []}, GRANT | {"seconds": 1}, GRANT | {"name": ""}):
            reply = await client.post(f"{CAMERAS}/door/grants", json=body)
            assert_error(reply, 400, "bad_request", retryable=False)
        reply = await client.delete(f"{CAMERAS}/door/grants/x")
        assert_error(reply, 404, "not_found", retryable=False)
        reply = await client.get(f"{CAMERAS}/door/picture")
        assert_error(reply, 503, "no_camera", retryable=True)


async def test_a_program_gets_one_camera_until_it_is_ended(tmp_path: Path) -> None:
    """It opens nothing else: no other camera, and no route of operators."""
    async with house(tmp_path, **BOTH) as (run, client):
        reply = await client.post(f"{CAMERAS}/door/grants", json=GRANT)
        assert reply.status_code == 201, reply.text
        made = reply.json()
        token = made.pop("token")
        program = bearer(token)
        assert (await client.get(f"{made['openai']}/models", headers=program)).status_code == 200
        assert (await client.get(CAMERAS, headers=program)).status_code == 401

        seen = {
            one["name"]: one["programs"] for one in (await client.get(CAMERAS)).json()["cameras"]
        }
        assert seen["yard"] == []
        (shown,) = seen["door"]
        assert (shown["id"], shown["name"], shown["scopes"]) == (
            made["id"],
            GRANT["name"],
            ["look"],
        )
        assert shown["last_used"] is not None
        assert 0 < shown["expires_at"] / 1000 - time.time() <= GRANT["seconds"]
        assert (await client.get(f"{CAMERAS}/door/grants")).json()["programs"] == [shown]
        assert token not in (await client.get(CAMERAS)).text

        assert (await client.delete(f"{CAMERAS}/yard/grants/{made['id']}")).status_code == 404
        reply = await client.delete(f"{CAMERAS}/door/grants/{made['id']}")
        assert reply.json() == {"ended": 1}
        assert (await client.get(f"{made['openai']}/models", headers=program)).status_code == 401
        more = [(await client.post(f"{CAMERAS}/door/grants", json=GRANT)).json() for _ in range(2)]
        assert (await client.delete(f"{CAMERAS}/door/grants")).json() == {"ended": 2}
        for one in more:
            program = bearer(one["token"])
            assert (await client.get("/v1/models", headers=program)).status_code == 401
        assert (await client.get(f"{CAMERAS}/door/grants")).json()["programs"] == []

        last = (await client.post(f"{CAMERAS}/door/grants", json=GRANT)).json()
        session = run.program.sessions.get(last["openai"].split("/")[2])
        assert session is not None
        get_programs(session).grants.all()[0].until = time.monotonic()
        program = bearer(last["token"])
        assert (await client.get("/v1/models", headers=program)).status_code == 401
        assert (await client.get(f"{CAMERAS}/door/grants")).json()["programs"] == []


async def test_a_program_gives_itself_nothing(tmp_path: Path) -> None:
    """Within its scopes alone; and its token opens no other camera, and gives or ends no access."""
    operator = bearer(OPERATOR)
    async with house(tmp_path, NO_RATE, **BOTH) as (run, _), http(run) as client:
        door, yard = [
            (
                await client.post(
                    f"{CAMERAS}/{name}/grants",
                    json=GRANT | {"scopes": ["events"]},
                    headers=operator,
                )
            ).json()
            for name in ("door", "yard")
        ]
        program = bearer(door["token"])
        own = await client.get("/api/program", headers=program)
        assert own.json()["scopes"] == ["events"]
        reply = await client.get(f"{door['openai']}/models", headers=program)
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "forbidden")
        for address in (f"{yard['openai']}/models", yard["mcp"]):
            assert (await client.get(address, headers=program)).status_code == 401
        for method, route in ROUTES:
            reply = await client.request(method, CAMERAS + route, headers=program, json=GRANT)
            assert reply.status_code == 401, route
        reply = await client.post("/api/grants", headers=program, json=GRANT)
        assert reply.status_code == 401
        (left,) = (await client.get(f"{CAMERAS}/door/grants", headers=operator)).json()["programs"]
        assert left["id"] == door["id"]


# The list of fixed cameras: what stands in it, and what is refused without a secret.

SECRET = "hunter2-of-the-door"
LISTED = f"""
[[camera]]
name = "front-door"
url = "rtsp://192.168.1.20:554/stream1?channel=1"
user = "viewer"
password = "{SECRET}"
watches = ["a parcel lies at the door"]
engines = ["GPU.example.org"]
ignore = [[0.7, 0.9, 1, 1]]
"""


def test_a_list(tmp_path: Path) -> None:
    """Credentials stand beside the URL; what is shown of an address has no path and no query."""
    path = listed(tmp_path, LISTED + '[[camera]]\nname = "yard"\nurl = "/dev/video0"\n')
    door, yard = read_list(path)
    assert (door.name, door.user, door.password) == ("front-door", "viewer", SECRET)
    assert (door.watches, door.engines) == (("a parcel lies at the door",), ("gpu.example.org",))
    assert (door.ignore, yard.ignore) == (((0.7, 0.9, 1.0, 1.0),), ())
    assert door.where == "rtsp://192.168.1.20:554"
    assert (yard.where, yard.describe, yard.clear_password) == ("/dev/video0", False, False)
    assert SECRET not in repr(door)
    assert "stream1" not in repr(door)
    assert read_list(listed(tmp_path, "")) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[camera]]\nname = "a"\nurl = "rtsp://u:p@host/x"\n', "the keys user and password"),
        ('[[camera]]\nname = "a"\nurl = "file:///etc/passwd"\n', "no url"),
        ('[[camera]]\nname = "a"\nurl = "udp://host:1"\n', "no url"),
        ('[[camera]]\nname = "a"\nurl = "/etc/passwd"\n', "no url"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://host/\\r\\nX: y"\n', "not one line of text"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://host:99999/x"\n', "port"),
        ('[[camera]]\nname = "A b"\nurl = "rtsp://host/x"\n', "no name"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://host/x"\npassword = "p"\n', "no user"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://host/x"\nuser = "a:b"\n', "colon"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://host/x"\nfps = 3\n', "allowed keys"),
        (
            '[[camera]]\nname = "a"\nurl = "rtsp://host/x"\nignore = [0, 0, 1, 1]\n',
            "invalid ignore",
        ),
        (
            '[[camera]]\nname = "a"\nurl = "rtsp://host/x"\nignore = [[0, 0, 0, 1]]\n',
            "invalid ignore",
        ),
        ('[[camera]]\nname = "a"\nurl = "rtsp://host/x"\nwatches = "x"\n', "list of texts"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://host/x"\ndescribe = 1\n', "neither true"),
        ('[[camera]]\nname = "a"\nurl = "rtsp://host/x"\n' * 2, "two cameras"),
        ("[camera]\n", "something other"),
        ("camera = [1]\n", "not a table"),
        ("x = ", "not TOML"),
        (
            "".join(
                f'[[camera]]\nname = "c{n}"\nurl = "rtsp://h/x"\n' for n in range(MOST_CAMERAS + 1)
            ),
            "at most 16",
        ),
        ("#" * 70_000, "bytes"),
    ],
)
def test_a_list_that_is_refused(text: str, words: str, tmp_path: Path) -> None:
    """Each with a sentence that says what is allowed."""
    with pytest.raises(ValueError, match=words):
        read_list(listed(tmp_path, text))


def test_no_secret_is_in_an_error(tmp_path: Path) -> None:
    """Neither when the file is not TOML at the password's line, nor when a URL has it."""
    for text in (
        f'[[camera]]\nname = "a"\npassword = "{SECRET}\n',
        f'[[camera]]\nname = "a"\nurl = "rtsp://viewer:{SECRET}@host/x"\n',
        f'[[camera]]\nname = "a"\n{SECRET} = 1\n'.replace("hunter2", "x@hunter2"),
    ):
        with pytest.raises(ValueError) as refused:
            read_list(listed(tmp_path, text))
        assert SECRET not in str(refused.value)


def test_passwords_are_for_the_owner_alone(tmp_path: Path) -> None:
    """A list with passwords that others can read stops the start; one without needs no care."""
    path = listed(tmp_path, LISTED, 0o644)
    with pytest.raises(ConfigError) as refused:
        load(env_file=None, standing_cameras=str(path))
    assert "chmod 600" in refused.value.message
    assert SECRET not in refused.value.message
    assert RtspSettings.of(
        load(env_file=None, standing_cameras=str(listed(tmp_path, LISTED)))
    ).standing_cameras
    plain = listed(tmp_path, '[[camera]]\nname = "a"\nurl = "rtsp://host/x"\n', 0o644)
    assert read_list(plain) == (FixedCamera("a", "rtsp://host/x"),)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="STANDING_CAMERAS"):
        load(env_file=None, standing_cameras=str(tmp_path / "none.toml"))


# Pauses before the next attempt: they grow, with jitter, up to a bound.


def test_pauses_grow_to_a_bound() -> None:
    life = Reconnect(0.0)
    pauses = [life.fail(0.0, FailureReason.UNREACHABLE, 1.0) for _ in range(10)]
    assert pauses == [1, 2, 4, 8, 16, 32, LAST_PAUSE, LAST_PAUSE, LAST_PAUSE, LAST_PAUSE]


@pytest.mark.parametrize(
    "trouble", [FailureReason.CREDENTIALS, FailureReason.UDP_ONLY, FailureReason.WEB_PAGE]
)
def test_a_wrong_password_is_tried_seldom(trouble: FailureReason) -> None:
    """Cameras lock users out; whoever has to mend it needs minutes anyway."""
    life = Reconnect(0.0)
    pauses = [life.fail(0.0, trouble, 0.0) for _ in range(8)]
    assert pauses[0] == MENDED_PAUSE * LEAST_SHARE
    assert pauses[-1] == LAST_MENDED_PAUSE * LEAST_SHARE


def test_a_good_connection_makes_the_next_pause_short() -> None:
    """One that ends at once does not: a camera that restarts for ever is not hammered."""
    life = Reconnect(0.0)
    for _ in range(5):
        life.fail(0.0, FailureReason.UNREACHABLE, 1.0)
    life.begin(10.0)
    life.set_live(11.0)
    assert life.fail(12.0, FailureReason.ENDED, 1.0) == 32
    life.set_live(100.0)
    assert life.trouble is None
    assert life.fail(100.0 + GOOD_SECONDS, FailureReason.ENDED, 1.0) == 1
    assert (life.state, life.since) == (FixedCameraState.WAITING, 100.0 + GOOD_SECONDS)


def test_an_attempt_without_a_picture_ends() -> None:
    life = Reconnect(0.0)
    life.begin(1.0)
    assert not life.is_overdue(FIRST_PICTURE_SECONDS)
    assert life.is_overdue(1.0 + FIRST_PICTURE_SECONDS)
    life.set_live(2.0)
    assert not life.is_overdue(1000.0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(FailureReason), st.floats(0, 1), st.floats(0, 100), st.booleans()
        ),
        max_size=40,
    )
)
def test_pauses_are_bounded(steps: list[tuple[FailureReason, float, float, bool]]) -> None:
    """Whatever happens, the next attempt lies in the future, and not beyond the bound."""
    now = 0.0
    life = Reconnect(now)
    for trouble, chance, later, live in steps:
        now += later
        life.begin(now)
        if live:
            life.set_live(now)
        pause = life.fail(now, trouble, chance)
        assert LEAST_SHARE <= pause <= LAST_MENDED_PAUSE
        assert life.due == now + pause
