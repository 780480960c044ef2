"""Sessions keep to their server, and only those of a lost one move."""

from __future__ import annotations

from collections import Counter

from server.models.openai.group import by_preference

SERVERS = [f"http://10.0.0.{n}:8001/v1" for n in range(1, 5)]
SESSIONS = [f"{n:032x}" for n in range(2000)]


def test_a_session_has_the_same_order_however_the_servers_are_listed() -> None:
    for session in SESSIONS[:50]:
        assert by_preference(session, SERVERS) == by_preference(session, SERVERS[::-1])
        assert sorted(by_preference(session, SERVERS)) == SERVERS


def test_sessions_spread_evenly() -> None:
    counts = Counter(by_preference(session, SERVERS)[0] for session in SESSIONS)
    assert all(400 < counts[server] < 600 for server in SERVERS)


def test_only_the_sessions_of_a_lost_server_move_and_spread() -> None:
    """They go to their second choice, and come back with the server."""
    lost = SERVERS[1]
    left = [one for one in SERVERS if one != lost]
    moved = Counter[str]()
    for session in SESSIONS:
        before, after = by_preference(session, SERVERS), by_preference(session, left)
        if before[0] == lost:
            assert after[0] == before[1]
            moved[after[0]] += 1
        else:
            assert after[0] == before[0]
    assert all(moved[one] > 100 for one in left)
