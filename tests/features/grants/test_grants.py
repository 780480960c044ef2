"""Grants of a session: who may do what, until when, and how often."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from typing import Any

import pytest

from server.core.errors import RateLimited, Unauthorized
from server.features.grants.grants import (
    CALL_BURST,
    MAX_TOKEN_CHARS,
    MESSAGE_BURST,
    PREFIX,
    Grant,
    Grants,
    Scope,
    clean_name,
    new_token,
    read_token,
)
from tests.support.clients import page_of, take_token
from tests.support.guides import ROOT, out_of, text_of
from tests.support.running import running

WALL = 1_700_000_000.0


def give(
    grants: Grants, *scopes: Scope, now: float = 0.0, seconds: float = 600, name: str = "Helper"
) -> tuple[Grant, bytes]:
    grant, token = grants.make(name, scopes or tuple(Scope), seconds, now, WALL)
    read = read_token(token)
    assert read is not None
    assert read[0] == "s"
    return grant, read[1]


@pytest.fixture
def grants() -> Grants:
    return Grants("s", 20)


def test_it_expires(grants: Grants) -> None:
    """At its time, for its token and for a call that began before."""
    grant, digest = give(grants, seconds=60)
    assert grants.get_next_expiry() == 60
    assert grants.find(digest, 59.9) is grant
    with pytest.raises(Unauthorized):
        grants.find(digest, 60)
    with pytest.raises(Unauthorized):
        grants.count_call(grant, Scope.LOOK, 60, WALL)
    assert len(grants) == 0
    assert grants.get_next_expiry() is None


def test_looks_are_limited(grants: Grants) -> None:
    """A program has its own rate; all of a session have twice that, whatever their number."""
    one, _ = give(grants)
    for _ in range(5):
        grants.count_look(one, 0)
    with pytest.raises(RateLimited) as caught:
        grants.count_look(one, 0)
    assert caught.value.retry_after == 3
    grants.count_look(one, 3.1)
    assert one.looked == 6
    others = [give(grants)[0] for _ in range(4)]
    for other in others * 5:
        with contextlib.suppress(RateLimited):
            grants.count_look(other, 3.1)
    assert sum(other.looked for other in others) == 6


def test_a_new_grant_gives_no_new_rates() -> None:
    """Ending and making anew does not go around the session's: eight programs, made again and again, have twice those of one."""
    grants = Grants("s", 4)
    done: Counter[str] = Counter()
    for _ in range(50):
        grant, _ = give(grants)
        for _ in range(MESSAGE_BURST + 1):
            with contextlib.suppress(RateLimited):
                grants.count_look(grant, 0)
                done["looks"] += 1
            with contextlib.suppress(RateLimited):
                grants.count_call(grant, None, 0, WALL)
                done["calls"] += 1
            with contextlib.suppress(RateLimited):
                grants.count_message(grant, 0)
                done["messages"] += 1
        grants.end(grant.id)
    assert done == {"looks": 2, "calls": 2 * CALL_BURST, "messages": 2 * MESSAGE_BURST}


def test_others_looks_cost_a_program_none_of_its_own(grants: Grants) -> None:
    """While all together are refused, the one that waits keeps its own looks."""
    first, second, waits = (give(grants)[0] for _ in range(3))
    for grant in (first, second) * 5:
        grants.count_look(grant, 0)
    for _ in range(50):
        with pytest.raises(RateLimited):
            grants.count_look(waits, 0)
    # Six seconds later all together have four.
    for _ in range(4):
        grants.count_look(waits, 6.1)
    assert waits.looked == 4


def test_names_are_one_readable_line() -> None:
    assert clean_name(" My\u202e \n\tnice\x07\u200b program ") == "My nice program"
    assert clean_name("Hanna's Ä 日本") == "Hanna's Ä 日本"


def test_a_grant_shows_no_secret(grants: Grants) -> None:
    grant, token = grants.make("Helper", [Scope.LOOK], 60, 0, WALL)
    assert repr(grant) == f"Grant(id='{grant.id}')"
    assert token.rpartition(".")[2] not in repr(vars(grants))


# Tokens of programs: what is one, and what is kept of it


SESSION = "h1_8010-AAAAAAAAAAAAAAAAAAAAAA"


def test_a_token_leads_to_its_session() -> None:
    token, kept = new_token(SESSION)
    assert token.startswith(f"{PREFIX}{SESSION}.")
    assert read_token(token) == (SESSION, kept)
    assert new_token(SESSION)[0] != token
    assert token.rpartition(".")[2].encode() not in kept


def test_the_longest_token_is_read() -> None:
    token, _ = new_token("a" * 64)
    assert len(token) <= MAX_TOKEN_CHARS
    assert read_token(token) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        PREFIX,
        f"{PREFIX}{SESSION}",
        f"{PREFIX}{SESSION}.short",
        f"{PREFIX}.{'a' * 43}",
        f"{PREFIX}{'a' * 65}.{'a' * 43}",
        f"{PREFIX}{SESSION}.{'a' * 44}",
        f"{PREFIX}{SESSION}.{'ä' * 43}",
        f"{PREFIX}../{SESSION}.{'a' * 43}",
        f"Bearer {PREFIX}{SESSION}.{'a' * 43}",
        f"{PREFIX}{SESSION}.{'a' * 43}\n",
        "a" * 10_000_000,
        "eyJhbGciOiJIUzI1NiJ9.e30.xx",
    ],
)
def test_other_texts_are_none(text: str) -> None:
    assert read_token(text) is None


# server/features/grants/README.md, word for word: its commands run against a server, and its configurations can be read


TEXT = text_of("server/features/grants/README.md")
BLOCKS = re.findall(r"^(?: {4}.*\n)+", TEXT, re.MULTILINE)
CONFIGURATIONS: list[Any] = [json.loads(block) for block in BLOCKS if '"mcpServers"' in block]
COMMANDS = [block for block in BLOCKS if block.lstrip().startswith("curl ")]


def test_its_configurations() -> None:
    """One for an address and one for the bridge, which is there."""
    remote, bridge = (one["mcpServers"]["camera"] for one in CONFIGURATIONS)
    assert remote.keys() == {"type", "url", "headers"}
    script = bridge["args"][0].removeprefix("<this folder>/")
    assert (ROOT / script).is_file()
    assert bridge["env"].keys() == {"QWEN_CAMERA_TOKEN"}


async def test_its_commands_work() -> None:
    give, own = COMMANDS
    async with running() as run:
        session = await take_token(run)
        async with page_of(run, session["token"], session["session_id"]):

            async def answer(command: str, **variables: str) -> Any:
                command = command.replace("https://camera.example.org", run.base_url)
                return json.loads(await out_of("bash", "-euc", command, **variables))

            made = await answer(give, SESSION_TOKEN=session["token"])
            assert (made["name"], made["scopes"]) == ("Kitchen script", ["look"])
            seen = await answer(own, PROGRAM_TOKEN=made["token"])
        assert seen["id"] == made["id"]
        assert "token" not in seen
