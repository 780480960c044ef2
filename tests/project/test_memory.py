"""A worker of pytest keeps no server that has ended, and collects no test."""

from __future__ import annotations

import gc
import weakref

from fastapi import FastAPI

from tests.support.memory import forget_servers


class Server:
    """Stands for a program behind its routes."""


def test_a_server_that_ended_is_forgotten() -> None:
    """FastAPI's caches would keep it by its routes."""

    def build() -> weakref.ref[Server]:
        server, app = Server(), FastAPI()

        @app.get("/")
        async def answer() -> str:
            return str(server)

        return weakref.ref(server)

    server = build()
    gc.collect()
    assert server() is not None, "FastAPI keeps no route any more: tests.support.memory can go"
    forget_servers()
    gc.collect()
    assert server() is None


def test_the_collector_leaves_the_tests_alone() -> None:
    """Thousands of tests stay to the end, and tests collect garbage hundreds of times."""
    assert gc.get_freeze_count() > 10_000
