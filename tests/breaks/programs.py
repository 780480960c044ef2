"""Breaks of what is promised of other programs that people let look."""

from __future__ import annotations

from tests.breaks.cases import Break

ACCESS = "Another program sees a session only with its person's grant"
SAME_WAY = "A program's look passes the same filters"
APART = "A program learns nothing of the person's chat"
MCP = "An assistant gets in at the MCP server by its token alone"
PAGE = "browser/test_page_programs.py"
LOOKS = "session/programs/test_programs.py"

PROGRAMS = (
    Break(
        ACCESS,
        "scopes are not looked at",
        "server/grants/grants.py",
        "        if scope is not None and scope not in grant.scopes:\n",
        "        if False:\n",
        f"{LOOKS}::test_only_with_its_scope",
    ),
    Break(
        ACCESS,
        "it never expires",
        "server/grants/grants.py",
        "        over = [grant for grant in self._grants.values() if grant.until <= now]\n",
        "        over: list[Grant] = []\n",
        "grants/test_grants.py",
    ),
    Break(
        ACCESS,
        "looks have no rate",
        "server/grants/grants.py",
        "        if not grant.looks.take(now) or not self._looks.take(now):\n",
        "        if False:\n",
        "grants/test_grants.py",
    ),
    Break(
        ACCESS,
        "any token opens a session",
        "server/grants/grants.py",
        "            if hmac.compare_digest(grant.digest, digest):\n",
        "            if True:\n",
        "programs/test_routes.py::test_nobody_gets_in_without_a_grant",
    ),
    Break(
        ACCESS,
        "wrong tokens have no limit",
        "server/programs/guard.py",
        "        if wait is None:\n            return error\n",
        "        if True:\n            return error\n",
        "programs/test_routes.py::test_wrong_tokens_are_limited",
    ),
    Break(
        ACCESS,
        "it looks though no page is open",
        "server/session/programs/programs.py",
        "        if not (self._listening or self.unattended):\n",
        "        if False:\n",
        f"{LOOKS}::test_nobody_looks_unseen",
    ),
    Break(
        ACCESS,
        "a look goes on after the end",
        "server/session/programs/programs.py",
        "        for task in turn.tasks if turn is not None else ():\n            task.cancel()\n",
        "",
        f"{LOOKS}::test_one_tap_ends_it_while_it_looks",
    ),
    Break(
        ACCESS,
        "it hears of rings after the end",
        "server/session/programs/program_watches.py",
        "            wait.cancel()\n",
        "            pass\n",
        "session/programs/test_program_watches.py::test_the_end_of_its_access_ends_a_wait_for_rings",
    ),
    Break(
        ACCESS,
        "the page does not see the picture",
        "server/session/programs/programs.py",
        "            picture = answer.frame.thumbnail if answer.frame is not None else None\n",
        "            picture = None\n",
        f"{LOOKS}::test_a_look_is_answered_and_shown",
    ),
    Break(
        ACCESS,
        "a program ends the person's watches",
        "server/session/programs/program_watches.py",
        "        if id not in self._living(grant):\n",
        "        if False:\n",
        f"{LOOKS}::test_a_program_has_watches_of_its_own",
    ),
    Break(
        ACCESS,
        "the page shows no look",
        "client/programs/panel.js",
        "      const begun = this.#looks.receive(message);\n",
        "      const begun = false;\n",
        f"{PAGE}::test_an_assistant_looks_is_seen_and_ended",
        slow=True,
    ),
    Break(
        ACCESS,
        "the page has no light",
        "client/programs/view.js",
        "    show(this.#button, names.length > 0);\n",
        "",
        f"{PAGE}::test_an_assistant_looks_is_seen_and_ended",
        slow=True,
    ),
    Break(
        SAME_WAY,
        "machines are not checked before the picture is made",
        "server/session/request/consent.py",
        "        if not self.given(engine):\n            raise _not_confirmed(\n",
        "        if False:\n            raise _not_confirmed(\n",
        f"{LOOKS}::test_no_picture_without_consent",
    ),
    Break(
        SAME_WAY,
        "it is as urgent as the person",
        "server/session/request/builder.py",
        "            kind=Kind.PROGRAM if extras.program else kind,\n",
        "            kind=kind,\n",
        f"{LOOKS}::test_the_persons_question_goes_first",
    ),
    Break(
        APART,
        "it gets the chat",
        "server/session/request/builder.py",
        "        if extras.program:\n            turns = newest_fitting",
        "        if False:\n            turns = newest_fitting",
        f"{LOOKS}::test_chats_are_apart",
    ),
    Break(
        APART,
        "it sees the past of before",
        "server/session/background/recalling.py",
        " if one.captured >= since]",
        "]",
        f"{LOOKS}::test_the_past_before_its_access_stays_closed",
    ),
    Break(
        MCP,
        "another session's address does",
        "server/programs/guard.py",
        "        if session_id is not None and session_id != named:\n",
        "        if False:\n",
        "programs/test_mcp.py::test_who_gets_in",
        slow=True,
    ),
    Break(
        MCP,
        "scopes are not looked at",
        "server/programs/tools.py",
        "        if tool.scope is not Scope.LOOK:\n",
        "        if False:\n",
        "programs/test_mcp.py::test_only_what_was_allowed",
        slow=True,
    ),
    Break(
        MCP,
        "a program that has left is answered",
        "server/programs/mcp_endpoint.py",
        "            if not serving.done():\n                await cancel_and_wait((serving,))\n",
        "            await serving\n",
        "programs/test_mcp.py::test_a_program_that_leaves_is_not_answered",
        slow=True,
    ),
)
