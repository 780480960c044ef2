"""The operator's route for MQTT: who gets in, and what it says without a broker."""

from __future__ import annotations

import json

from tests.support.clients import bearer, http, soon, take_token
from tests.support.running import running

OPERATOR = "operator-token-of-this-test"
PATH = "/api/operator/mqtt"


async def test_only_an_operator() -> None:
    """Neither nobody nor a visitor; and no user or password is shown to anybody."""
    url = "mqtt://viewer:secret-word@127.0.0.1:9"
    async with (
        running(mqtt_url=url, operator_token=OPERATOR, rate_limit_per_minute=0) as run,
        http(run) as client,
    ):
        visitor = (await take_token(run))["token"]
        for headers in ({}, bearer(visitor)):
            assert (await client.get(PATH, headers=headers)).status_code == 401
        client.headers["Authorization"] = f"Bearer {OPERATOR}"
        link = run.program.feature("mqtt")._link
        assert link is not None
        await soon(lambda: link.trouble is not None, 20)
        seen = (await client.get(PATH)).json()
        assert seen["trouble"] == "unreachable"
        assert seen["detail"].startswith("Nothing answers")
        assert (seen["broker"], seen["cameras"]) == ("mqtt://127.0.0.1:9", [])
        shown = json.dumps(seen) + run.program.metrics.render().decode()
        assert "secret-word" not in shown
        assert "viewer" not in shown


async def test_without_a_broker() -> None:
    async with running(operator_token=OPERATOR) as run, http(run, OPERATOR) as client:
        assert (await client.get(PATH)).json() == {
            "broker": "",
            "state": "off",
            "prefix": "qwen-camera",
            "cameras": [],
            "visitors": 0,
        }
