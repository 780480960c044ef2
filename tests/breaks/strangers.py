"""Breaks of the threat model's first table: who a stranger pretends to be."""

from __future__ import annotations

from tests.breaks.cases import Break

STRANGERS = (
    Break(
        "ends connections with forged DTLS alerts",
        "any address may send what is not STUN",
        "server/rtc/patches/datagrams.py",
        '            reason = "stranger"\n',
        '            reason = ""\n',
        "rtc/patches/test_datagrams.py::test_only_checked_addresses_may_send_anything_but_stun",
    ),
    Break(
        "ends connections with forged DTLS alerts",
        "the check is not installed",
        "server/rtc/patches/datagrams.py",
        "    aioice.ice.StunProtocol.datagram_received = _CHECKED  # type: ignore[method-assign,assignment]\n",
        "",
        "whole/test_hostile_network.py::test_a_hundred_connects_under_hostile_datagrams",
        slow=True,
    ),
    Break(
        "STUN: wrong passwords",
        "another connection's user name goes on",
        "server/rtc/patches/datagrams.py",
        '        if not receiver._valid_username(message.attributes.get("USERNAME", "")):\n            return "stun"\n',
        "",
        "rtc/patches/test_datagrams.py::test_stun_that_is_not_meant_for_this_connection_gets_no_answer",
    ),
    Break(
        "STUN: wrong passwords",
        "responses that nobody waits for go on",
        "server/rtc/patches/datagrams.py",
        "        kind != _REQUEST and data[8:20] not in protocol.transactions\n",
        "        False\n",
        "rtc/patches/test_datagrams.py::test_whole_stun_that_nobody_waits_for_does_not_go_on",
    ),
    Break(
        "STUN: wrong passwords",
        "attributes of a wrong size are an error",
        "server/rtc/patches/datagrams.py",
        "    except (ValueError, struct.error):\n",
        "    except ValueError:\n",
        "rtc/patches/test_datagrams.py::test_attributes_of_a_wrong_size_are_no_error",
    ),
    Break(
        "STUN: wrong passwords",
        "large messages are read",
        "server/rtc/patches/datagrams.py",
        "        if len(data) > MAX_DATAGRAM:\n",
        "        if False:\n",
        "rtc/patches/test_datagrams.py::test_large_stun_is_not_read",
    ),
    Break(
        "stands in the middle of the media",
        "any certificate will do",
        "server/rtc/patches/transport_guard.py",
        "    transport_class._setup_srtp = bounded_setup\n",
        "    transport_class._setup_srtp = bounded_setup\n    transport_class._validate_peer_identity = lambda self, parameters: None\n",
        "whole/test_hostile_network.py::test_another_certificate_than_the_offers_gets_nothing_in",
    ),
    Break(
        "forges tokens",
        "the algorithm is the token's own choice",
        "server/auth.py",
        '            if header.get("alg") != _ALGORITHM or "crit" in header:\n'
        '                raise TokenRefused("malformed")\n'
        "            claims = jwt.decode(\n"
        "                token,\n"
        "                self._secret,\n"
        "                algorithms=[_ALGORITHM],\n",
        "            claims = jwt.decode(\n"
        "                token,\n"
        "                self._secret,\n"
        '                algorithms=[header.get("alg")],\n',
        "web/test_hostile_http.py::test_no_forged_token_opens_any_door",
    ),
    Break(
        "forges tokens",
        "a token never ends",
        "server/auth.py",
        'options={"require_exp": True, "require_iat": True, "require_jti": True},',
        'options={"verify_exp": False},',
        "access/test_auth.py::test_missing_expired_and_foreign",
    ),
    Break(
        "forges tokens",
        "types of claims are not looked at",
        "server/auth.py",
        "        if type(iat) is not int or type(exp) is not int or exp <= iat:\n"
        '            raise TokenRefused("malformed")\n',
        "",
        "access/test_auth.py::test_claims_must_be_there_and_of_their_type",
    ),
    Break(
        "forges tokens",
        "`crit` is ignored",
        "server/auth.py",
        ' or "crit" in header:',
        ":",
        "access/test_auth.py::test_critical_headers_are_refused",
    ),
    Break(
        "guesses codes, from one address or from many",
        "a wrong code costs one request",
        "server/core/addresses.py",
        "WRONG_CODE_COST = 3\n",
        "WRONG_CODE_COST = 1\n",
        "core/test_addresses.py::test_a_wrong_code_takes_more_and_never_below_nothing",
    ),
    Break(
        "guesses codes, from one address or from many",
        "case does not matter",
        "server/auth.py",
        "return same_secret(given.strip() if given is not None else None, expected)",
        'return same_secret((given or "").strip().lower(), expected.lower())',
        "access/test_auth.py::test_codes_compare_exactly",
    ),
    Break(
        "guesses codes, from one address or from many",
        "there is no end to all together",
        "server/access/guesses.py",
        "FLOOR, BUDGET, WINDOW = 20, 120, 1200.0\n",
        "FLOOR, BUDGET, WINDOW = 20, 120_000, 1200.0\n",
        "access/test_guesses.py::test_many_addresses_have_one_budget_and_lock_nobody_out",
    ),
    Break(
        "lets another site's page act for a visitor",
        "origins are not compared",
        "server/core/origins.py",
        '        return asking == normalise_origin(f"{scheme}://{host}")\n',
        "        return True\n",
        "web/test_hostile_http.py::test_no_door_opens_to_a_foreign_origin",
    ),
    Break(
        "lets another site's page act for a visitor",
        "sockets are open to every origin",
        "server/web/websocket.py",
        "        self._connections.origin(websocket)\n",
        "",
        "web/test_hostile_http.py::test_no_door_opens_to_a_foreign_origin",
    ),
    Break(
        "has a session's id",
        "a socket needs no token of this session",
        "server/web/websocket.py",
        "claims = self._connections.verify(token, session_id=session_id)",
        "claims = self._connections.verify(token)",
        "web/test_websocket.py::test_a_token_that_is_not_good_is_4401",
    ),
    Break(
        "has a session's id",
        "whether it is there shows before the token is looked at",
        "server/web/websocket.py",
        "        claims = await self._authenticate(websocket, socket, session_id, offered)\n",
        "        if session_id not in self._sessions:\n"
        '            raise Closing(Close.NO_SESSION, "no such session")\n'
        "        claims = await self._authenticate(websocket, socket, session_id, offered)\n",
        "web/test_hostile_http.py::test_a_sessions_id_opens_nothing_and_tells_nothing",
    ),
    Break(
        "says that it comes from another address",
        "anybody's X-Forwarded-For counts",
        "server/core/addresses.py",
        "            if not _within(address, trusted) or (before := parse_address(hop)) is None:\n",
        "            if (before := parse_address(hop)) is None:\n",
        "web/test_routes.py::test_whose_forwarded_address_counts",
    ),
)
