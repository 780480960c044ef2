"""Breaks of what is promised of OpenAI's chat interface."""

from __future__ import annotations

from tests.breaks.cases import Break

CAMERA_ALONE = "OpenAI's chat interface looks at the live camera"
BOUNDED = "A program's words reach a model as text within bounds"
REQUESTS = "features/openai_api/test_request.py"
ROUTES = "features/openai_api/test_routes.py"

QUICK = "No input holds the event loop for more than 50 ms"
COST = "project/test_text_cost.py"

COMPLETIONS = (
    Break(
        QUICK,
        "repetition in repetition",
        "server/voice/spoken.py",
        r"(?:[ \t]*+:?-{2,}+:?[ \t]*+\|?)++$",
        r"(?:[ \t]*:?-{2,}:?[ \t]*\|?)+[ \t]*$",
        f"{COST}::test_a_pattern_takes_time_in_proportion",
        slow=True,
    ),
    Break(
        QUICK,
        "a growing answer is looked at from its beginning with each piece",
        "server/voice/sentences.py",
        "        looked = self._looked\n        while looked.at",
        "        looked = self._looked = _Looked()\n        while looked.at",
        f"{COST}::test_a_reader_is_quick",
    ),
    Break(
        QUICK,
        "a long question is looked through as a whole",
        "server/engines/builtin/intents.py",
        "    question = ends(question)\n",
        "",
        f"{COST}::test_a_reader_has_a_bound",
    ),
    Break(
        QUICK,
        "a whole answer in one event is read at once",
        "server/engines/openai/engine.py",
        "                        if part is not piece:\n",
        "                        if False:\n",
        "engines/openai/test_asking.py::test_a_whole_answer_in_one_event_holds_nobody",
    ),
    Break(
        CAMERA_ALONE,
        "other addresses are the camera's next frame",
        "server/features/openai_api/camera_urls.py",
        "    if not url.lower().startswith(_SCHEME):\n",
        '    if not url.lower().startswith(_SCHEME):\n        return PictureChoice("now", detail)\n    if False:\n',
        f"{REQUESTS}::test_only_the_camera_is_looked_at",
    ),
    Break(
        CAMERA_ALONE,
        "pictures of earlier messages are not read",
        "server/features/openai_api/request.py",
        '                look = _look(part, f"messages[{at}].content[{number}].image_url.url")\n'
        "                if at == newest:\n"
        "                    looks.append(look)\n",
        "                if at == newest:\n"
        '                    look = _look(part, f"messages[{at}].content[{number}].image_url.url")\n'
        "                    looks.append(look)\n",
        f"{REQUESTS}::test_only_the_camera_is_looked_at",
    ),
    Break(
        CAMERA_ALONE,
        "the past is sent where none is kept",
        "server/features/openai_api/chat_pictures.py",
        '            if look.what == "past" and not self._recalling.wanted:\n',
        "            if False:\n",
        f"{ROUTES}::test_frames_of_the_past",
    ),
    Break(
        CAMERA_ALONE,
        "a picture of before its access is sent",
        "server/features/openai_api/program_chat.py",
        "pictures.take(request, grant.since)",
        "pictures.take(request, 0.0)",
        f"{ROUTES}::test_frames_of_the_past",
    ),
    Break(
        BOUNDED,
        "pictures have no number",
        "server/features/openai_api/request.py",
        "    if sum(look.frames for look in looks) > MOST_FRAMES:\n",
        "    if False:\n",
        f"{REQUESTS}::test_pictures_are_bounded",
    ),
    Break(
        BOUNDED,
        "schemas may be of any depth",
        "server/features/openai_api/schema.py",
        "        if inner and depth >= MAX_DEPTH:\n",
        "        if False:\n",
        f"{REQUESTS}::test_deep_schemas_and_marks_of_models",
    ),
    Break(
        BOUNDED,
        "marks of models stay in tools",
        "server/features/openai_api/request.py",
        "        if control_tokens.known().clean(text) != text:\n",
        "        if False:\n",
        f"{REQUESTS}::test_deep_schemas_and_marks_of_models",
    ),
    Break(
        BOUNDED,
        "marks of models stay in words",
        "server/engines/conversation.py",
        "        return [_text(family.clean(part.text).strip())]\n",
        "        return [_text(part.text.strip())]\n",
        "engines/test_conversation.py::test_the_programs_words_come_after_ours_and_without_marks",
    ),
    Break(
        BOUNDED,
        "unknown fields are left out in silence",
        "server/features/openai_api/fields.py",
        '    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)\n',
        '    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)\n',
        f"{REQUESTS}::test_what_cannot_be_done_is_named",
    ),
    Break(
        BOUNDED,
        "calls of tools have no end",
        "server/engines/reply.py",
        "            if len(self._calls) > _MOST_CALLS or self._chars > _MOST_CALL_CHARS:\n",
        "            if False:\n",
        "engines/openai/test_conversation.py::test_calls_without_end",
    ),
    Break(
        BOUNDED,
        "a model that refuses a field is asked again without",
        "server/engines/openai/upstream.py",
        '    if "tools" in fields and _NO_TOOLS.search(words):\n',
        "    if False:\n",
        "engines/openai/test_conversation.py::test_a_refusal_names_the_field",
    ),
    Break(
        BOUNDED,
        "requests that cannot be read cost no rate",
        "server/features/openai_api/routes.py",
        "        entered.programs.use(entered.grant, Scope.LOOK)\n",
        "",
        f"{ROUTES}::test_rubbish_costs_the_rate",
    ),
    Break(
        BOUNDED,
        "the model goes on when the program has left",
        "server/features/openai_api/chat_response.py",
        "            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)\n",
        "            await asyncio.wait((answer,))\n",
        f"{ROUTES}::test_leaving_stops_the_model",
    ),
    Break(
        BOUNDED,
        "further bytes hide that the program has left",
        "server/listen/http_protocol.py",
        "            self.flow.resume_reading()\n",
        "            pass\n",
        f"{ROUTES}::test_leaving_stops_the_model_whatever_came_behind",
    ),
    Break(
        BOUNDED,
        "a program that does not read keeps its model",
        "server/features/openai_api/chat_response.py",
        "        async with asyncio.timeout(UNREAD_SECONDS):\n",
        "        async with asyncio.timeout(None):\n",
        "features/openai_api/test_chat_response.py::test_whoever_does_not_read_is_left",
    ),
    Break(
        BOUNDED,
        "schemas may lead elsewhere",
        "server/features/openai_api/schema.py",
        '    if not isinstance(target, str) or not (target == "#" or target.startswith("#/")):\n        return None\n',
        '    if not isinstance(target, str) or not (target == "#" or target.startswith("#/")):\n        return root\n',
        "features/openai_api/test_schema.py::test_references_stay_inside",
    ),
    Break(
        BOUNDED,
        "schemas may be defined by themselves",
        "server/features/openai_api/schema.py",
        "            if state == 1:\n                return True\n",
        "            if state == 1:\n                continue\n",
        "features/openai_api/test_schema.py::test_endless_references",
    ),
    Break(
        BOUNDED,
        "grammars have no end",
        "server/features/openai_api/schema.py",
        "        if count > MAX_COUNT or product > MAX_PRODUCT:\n",
        "        if False:\n",
        "features/openai_api/test_schema.py::test_grammars_without_end",
    ),
    Break(
        BOUNDED,
        "patterns of programs are compiled",
        "server/features/openai_api/schema.py",
        "    product = 1\n    for least, most",
        "    re.compile(pattern)\n    product = 1\n    for least, most",
        "features/openai_api/test_schema.py::test_no_pattern_is_compiled",
    ),
    Break(
        BOUNDED,
        "any number of requests may wait to be read",
        "server/core/aio.py",
        "        if not self._left:\n",
        "        if False:\n",
        "core/test_aio.py::test_a_bounded_pool_keeps_few_waiting",
    ),
    Break(
        BOUNDED,
        "a program's words teach what a model server takes",
        "server/engines/openai/sender.py",
        "                if request.conversation is not None and not other:\n",
        "                if False:\n",
        "engines/openai/test_conversation.py::test_a_programs_own_words_teach_nothing",
    ),
)
