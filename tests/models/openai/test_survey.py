"""What a server says of its models is kept from one probe to the next, until another may have its address."""

from __future__ import annotations

from collections import Counter

import httpx2

from server.models.openai.chat_client import ChatClient, Endpoint, TimeLimits
from server.models.openai.survey import ModelSurvey

URL = "http://127.0.0.1:8001/v1"


def surveyed(asked: Counter[str], model: str = "") -> ModelSurvey:
    """The survey of a llama.cpp server with one model; `asked` counts the paths."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked[request.url.path] += 1
        card = {"id": "a.gguf", "owned_by": "llamacpp"}
        return httpx2.Response(
            200, json={"data": [card], "modalities": {"vision": True}, "total_slots": 2}
        )

    endpoint = Endpoint(URL, "", model)
    client = ChatClient(endpoint, TimeLimits(), httpx2.MockTransport(answer))
    return ModelSurvey(client, endpoint, 5.0, lambda: False)


async def test_its_own_interface_is_asked_once_until_it_is_forgotten() -> None:
    asked: Counter[str] = Counter()
    survey = surveyed(asked)
    for _ in range(2):
        (found,) = await survey.models(await survey.cards(), "")
        assert (found.name, found.sees, found.slots) == ("a.gguf", True, 2)
    assert asked == {"/v1/models": 2, "/props": 1}
    survey.forget()
    await survey.models(await survey.cards(), "")
    assert asked["/props"] == 2


async def test_a_name_of_the_settings_that_is_not_listed_is_doubted() -> None:
    survey = surveyed(Counter(), "b.gguf")
    (card,) = await survey.cards()
    assert card["id"] == "b.gguf"
    (doubt,) = survey.find_warnings()
    assert "does not have b.gguf" in doubt
    assert "a.gguf" in doubt
