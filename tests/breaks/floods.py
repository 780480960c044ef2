"""Breaks of the threat model's first table: what a stranger sends that is malformed, slow, or too
much.
"""

from __future__ import annotations

from tests.breaks.cases import Break

FLOODS = (
    Break(
        "malformed HTTP, JSON, SDP, sockets",
        "a binary message is a bug",
        "server/web/session_socket.py",
        '        if text is None:\n            raise Closing(Close.UNSUPPORTED, "text messages only")\n',
        "",
        "web/test_websocket.py::test_binary_messages_are_1003",
    ),
    Break(
        "malformed HTTP, JSON, SDP, sockets",
        "a malformed message ends the socket",
        "server/web/session_socket.py",
        "            except RequestError as error:\n                session.send_error(error)\n\n    async def _welcome_operator",
        "            except RequestError:\n                return\n\n    async def _welcome_operator",
        "web/test_websocket.py::test_nothing_malformed_ends_the_socket",
    ),
    Break(
        "malformed HTTP, JSON, SDP, sockets",
        "an offer may have any size",
        "server/rtc/offer.py",
        "    if size > MAX_SDP_BYTES:\n",
        "    if False:\n",
        "web/test_hostile_http.py::test_offers_of_any_shape_cost_little",
    ),
    Break(
        "malformed HTTP, JSON, SDP, sockets",
        "a message may be nested without end",
        "server/core/messages/from_client.py",
        "    except (ValueError, RecursionError):\n",
        "    except ValueError:\n",
        "project/test_fuzz_seeds.py::test_every_seed_is_taken_or_refused",
    ),
    Break(
        "pings, fragments, empty messages without end",
        "frames have no number",
        "server/listen/ws_protocol.py",
        "        if not within or self._fragments > MAX_FRAGMENTS:\n",
        "        if self._fragments > MAX_FRAGMENTS:\n",
        "listen/test_ws_protocol.py::test_frames_without_end_are_not_kept",
    ),
    Break(
        "pings, fragments, empty messages without end",
        "a message has pieces without number",
        "server/listen/ws_protocol.py",
        "        if not within or self._fragments > MAX_FRAGMENTS:\n",
        "        if not within:\n",
        "listen/test_ws_protocol.py::test_a_message_has_so_many_pieces_at_most",
    ),
    Break(
        "pings, fragments, empty messages without end",
        "a ping between them begins the count anew",
        "server/listen/ws_protocol.py",
        "        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY):\n",
        "        else:\n",
        "listen/test_ws_protocol.py::test_pings_between_its_pieces_make_room_for_no_more_of_them",
    ),
    Break(
        "pings, fragments, empty messages without end",
        "pings count as any frame",
        "server/listen/ws_protocol.py",
        "            within = self._control.take(now) and within\n",
        "            pass\n",
        "listen/test_ws_protocol.py::test_so_many_pings_and_pongs_and_no_more",
    ),
    Break(
        "pings, fragments, empty messages without end",
        "reading goes on while nothing is taken",
        "server/listen/ws_protocol.py",
        "        self._write_paused = True\n        self.transport.pause_reading()\n",
        "        self._write_paused = True\n",
        "listen/test_ws_protocol.py::test_nothing_is_read_while_nothing_is_taken",
    ),
    Break(
        "pings, fragments, empty messages without end",
        "who never reads is waited for",
        "server/listen/ws_protocol.py",
        "            self._deadline = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)\n",
        "            pass\n",
        "listen/test_ws_protocol.py::test_who_never_reads_is_cut_off",
    ),
    Break(
        "pings, fragments, empty messages without end",
        "the keepalive's end has no deadline",
        "server/listen/ws_protocol.py",
        "        super().keepalive_timeout()\n        self._end_in_time()\n",
        "        super().keepalive_timeout()\n",
        "listen/test_ws_protocol.py::test_who_reads_nothing_is_gone_after_the_keepalive",
    ),
    Break(
        "holds connections with requests that have no end",
        "unfinished requests have no share of their own",
        "server/listen/connections.py",
        "        elif len(self._unproven) > share:\n",
        "        elif False:\n",
        "listen/test_connections.py::test_unproven_ones_have_a_share_of_their_own",
    ),
    Break(
        "holds connections with requests that have no end",
        "an address may have all of that share",
        "server/listen/connections.py",
        "        of_address = max(1, share // UNPROVEN_ADDRESS_PART)\n",
        "        of_address = share\n",
        "listen/test_connections.py::test_an_address_has_a_quarter_of_that_share",
    ),
    Break(
        "holds connections with requests that have no end",
        "a request that began counts as whole",
        "server/listen/http_protocol.py",
        "            self.limits.unproven(self.transport)\n",
        "            pass\n",
        "listen/test_http_protocol.py::test_requests_without_an_end_lock_nobody_out",
    ),
    Break(
        "gives the length twice",
        "it is taken",
        "server/listen/http_protocol.py",
        '                raise h11.RemoteProtocolError("Two lengths")\n',
        "                pass\n",
        "listen/test_http_protocol.py::test_a_length_told_twice_ends_the_connection",
    ),
    Break(
        "compressed bombs",
        "sockets may be compressed",
        "server/listen/ws_protocol.py",
        "        self.conn: BoundedFrames = BoundedFrames(\n"
        "            max_size=self.config.ws_max_size, logger=self.logger\n",
        "        from websockets.extensions import permessage_deflate as deflate\n\n"
        "        self.conn: BoundedFrames = BoundedFrames(\n"
        "            max_size=self.config.ws_max_size,\n"
        "            logger=self.logger,\n"
        "            extensions=[deflate.ServerPerMessageDeflateFactory()],\n",
        "web/test_hostile_http.py::test_compression_is_not_agreed_to",
    ),
    Break(
        "slow writers, slow readers",
        "headers may take for ever",
        "server/listen/http_protocol.py",
        "        if self.waiting and not untaken and now - self.waiting_since >= HEADER_SECONDS:\n",
        "        if False:\n",
        "listen/test_http_protocol.py::test_slow_writers_are_cut_off",
    ),
    Break(
        "slow writers, slow readers",
        "a body may take for ever",
        "server/web/middleware.py",
        "            async with asyncio.timeout(self._seconds):\n",
        "            async with asyncio.timeout(None):\n",
        "web/test_middleware.py::test_a_body_that_does_not_come_is_given_up",
    ),
    Break(
        "slow writers, slow readers",
        "an answer may be taken for ever",
        "server/listen/http_protocol.py",
        "        elif now - self._untaken_since >= TAKE_SECONDS:\n",
        "        elif False:\n",
        "listen/test_http_protocol.py::test_slow_readers_are_cut_off",
    ),
    Break(
        "slow writers, slow readers",
        "an idle connection makes no room",
        "server/listen/connections.py",
        "            if entry.protocol is not None\n",
        "            if False\n",
        "listen/test_http_protocol.py::test_a_new_connection_takes_the_place_of_one_that_asks_for_nothing",
    ),
    Break(
        "uploads something",
        "paths are taken as they are written",
        "server/web/middleware.py",
        '        if _UPLOAD.match(plain_path(scope["path"])):\n',
        '        if _UPLOAD.match(scope["path"]):\n',
        "web/test_middleware.py::test_uploads_are_refused",
    ),
)
