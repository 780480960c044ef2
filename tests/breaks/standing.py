"""Breaks of what is promised of the cameras of the house."""

from __future__ import annotations

from tests.breaks.cases import Break

STANDING = (
    Break(
        "A camera of the house is spoken to at its own address alone",
        "a description's address is connected to",
        "server/standing/worker/rtsp.py",
        "    if found is None or int(found[1]) > 254:\n        raise SourceFailed(Trouble.REFUSED)\n",
        "    if found is None or int(found[1]) > 254:\n        return 0\n",
        "standing/test_standing.py::test_a_description_leads_to_no_other_host",
        slow=True,
    ),
    Break(
        "A camera of the house is spoken to at its own address alone",
        "a password goes in clear text",
        "server/standing/worker/auth.py",
        "            if not self._clear:\n",
        "            if False:\n",
        "standing/worker/test_auth.py::test_no_password_in_clear_text_unless_the_operator_says_so",
    ),
    Break(
        "A camera of the house is spoken to at its own address alone",
        "others read the passwords",
        "server/core/standing_list.py",
        "    if others_read and any(one.password for one in cameras):\n",
        "    if False:\n",
        "core/test_standing_list.py::test_passwords_are_for_the_owner_alone",
    ),
    Break(
        "A camera of the house is seen and asked by operators alone",
        "its routes have no guard",
        "server/operator/camera_routes.py",
        "    router = APIRouter(prefix=PREFIX, dependencies=for_operators(services, operators))\n",
        "    for_operators(services, operators)\n    router = APIRouter(prefix=PREFIX)\n",
        "operator/test_camera_routes.py::test_only_an_operator",
    ),
    Break(
        "A camera of the house is seen and asked by operators alone",
        "another camera takes its place",
        "server/session_manager.py",
        "        if session_id in self._entries and self._entries[session_id].standing:\n",
        "        if False:\n",
        "standing/test_standing.py::test_it_is_no_visitor",
        slow=True,
    ),
    Break(
        "A camera of the house is seen and asked by operators alone",
        "everything is decoded",
        "server/standing/worker/pictures.py",
        "                if self._rate and self._units and (not self._alone or ready):\n",
        "                if self._units and (not self._alone or ready):\n",
        "standing/worker/test_pictures.py::test_nothing_is_decoded_that_nobody_needs",
    ),
    Break(
        "frames, JPEGs, heads and descriptions without end",
        "a frame has no end",
        "server/standing/worker/rtp.py",
        "        if self._size > MAX_FRAME_BYTES:\n",
        "        if False:\n",
        "standing/worker/test_rtp.py::test_a_frame_without_an_end_is_dropped",
    ),
    Break(
        "frames, JPEGs, heads and descriptions without end",
        "frames that wait have no bound",
        "server/standing/worker/pictures.py",
        "            if len(self._units) > KEPT_UNITS or self._bytes > KEPT_BYTES:\n",
        "            if False:\n",
        "standing/worker/test_pictures.py::test_what_waits_is_bounded",
    ),
    Break(
        "pictures that cost more than they show",
        "sizes of H.265 are not read",
        "server/standing/worker/h265.py",
        "    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):\n",
        "    if False:\n",
        "standing/worker/test_h265.py::test_sizes",
    ),
    Break(
        "pictures that cost more than they show",
        "memory has no bound",
        "server/standing/worker/limits.py",
        "    resource.setrlimit(resource.RLIMIT_AS, (most, most))\n",
        "",
        "standing/worker/test_limits.py",
    ),
    Break(
        "an endless series of short connections",
        "pauses do not grow",
        "server/standing/reconnect.py",
        "        pause = min(last, first * 2.0 ** min(self._failures, 16))\n",
        "        pause = first\n",
        "standing/test_reconnect.py::test_pauses_grow_to_a_bound",
    ),
)
