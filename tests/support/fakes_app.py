"""A small guarded application with an address for each thing that can go wrong, and its calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx
from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.responses import StreamingResponse
from starlette.types import Message
from starlette.websockets import WebSocket

from server.core.errors import Busy, EngineRefused, NotFound, RateLimited, Unauthorized
from server.core.metrics import Metrics
from server.web.middleware import CONTENT_SECURITY_POLICY, guard_app, install_error_handlers
from tests.support.clients import sample

CANARY = "canary-7f3a"


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")
    sdp: str = Field(max_length=5)
    type: Literal["offer"] = "offer"
    names: dict[str, int] = {}

    @field_validator("sdp")
    @classmethod
    def _check(cls, value: str) -> str:
        if value == "no":
            raise ValueError(CANARY)
        return value


def make_app(**guard: Any) -> FastAPI:
    """A small application with an address for each thing that can go wrong."""
    app = FastAPI(openapi_url=None)
    install_error_handlers(app, Metrics("test"))

    @app.get("/fine")
    async def fine() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/api/json")
    async def body(body: Body) -> dict[str, int]:
        return {"length": len(body.sdp)}

    @app.post("/raw")
    async def raw(request: Request) -> dict[str, int]:
        return {"length": len(await request.body())}

    @app.get("/raise/{name}")
    async def fail(name: str) -> None:
        raise {
            "gone": NotFound("There is no such thing."),
            "token": Unauthorized("No token."),
            "slow": RateLimited("Slow down.", retry_after=1.2),
            "busy": Busy("All taken.", retry_after=0.01),
            "refused": EngineRefused("The engine refused."),
            "bug": RuntimeError(CANARY),
            "group": ExceptionGroup(CANARY, [ValueError(CANARY)]),
        }[name]

    @app.get("/half")
    async def half() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"half"
            raise RuntimeError(CANARY)

        return StreamingResponse(pieces())

    @app.websocket("/socket/{name}")
    async def socket(websocket: WebSocket, name: str) -> None:
        if name == "accepted":
            await websocket.accept()
        raise NotFound(CANARY) if name == "ours" else RuntimeError(CANARY)

    guard_app(app, **{"https": False, **guard})
    return app


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client that gets an application's exceptions if it raises any."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://cam", trust_env=False
    ) as client:
        yield client


def counted(app: FastAPI, code: str) -> float:
    """Return the metric's value for this code."""
    return sample(app.state.metrics, "errors_total", code=code)


def assert_error(response: httpx.Response, status: int, code: str, *, retryable: bool) -> None:
    """The status, and exactly the body that every error has."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    message = body["detail"]
    assert body == {
        "error": {"code": code, "message": message, "retryable": retryable},
        "detail": message,
    }
    assert len(message.split()) > 1
    assert response.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert response.headers["cache-control"] == "no-store"
    assert CANARY not in response.text


def scope_of(method: str, path: str, **headers: str) -> dict[str, Any]:
    """An HTTP scope as uvicorn makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ],
        "client": ("192.0.2.1", 1),
        "server": ("cam", 80),
        "state": {},
    }


async def raw_call(app: FastAPI, scope: dict[str, Any], messages: list[Message]) -> list[Message]:
    """Call with these messages; afterwards the client is gone.

    `messages` keeps what was not received.
    """
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(dict(message))

    if not messages and scope["type"] == "http":
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    await app(scope, receive, send)
    return sent
