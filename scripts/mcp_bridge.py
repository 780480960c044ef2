#!/usr/bin/env python3
"""Connect an assistant's stdio to a camera's MCP server, for assistants that do not support URLs.

    QWEN_CAMERA_TOKEN=... python3 scripts/mcp_bridge.py https://camera.example.org/at/SESSION/mcp

server/features/grants/README.md describes how a person gives the address and the token. The token is read only from
the variable, because all programs on a machine can read each other's arguments. --ca names a PEM file, for a server
with its own certificate authority.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.arguments import restart_in_environment
from server import __version__
from server.core import core_dumps

try:
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import Server
    from mcp.server.stdio import stdio_server
    from mcp.shared.exceptions import MCPError
    from mcp.types import (
        CallToolRequestParams,
        CallToolResult,
        ListToolsResult,
        PaginatedRequestParams,
    )
except ModuleNotFoundError as missing:
    restart_in_environment(missing)

TOKEN = "QWEN_CAMERA_TOKEN"
# An answer may take 80 s.
SECONDS = 90.0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mcp_bridge.py", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "address", help="the address that was given with the access, such as https://…/at/…/mcp"
    )
    parser.add_argument(
        "--ca", type=Path, help="PEM file of the server's own certificate authority"
    )
    given = parser.parse_args()
    if urlsplit(given.address).scheme not in ("http", "https"):
        parser.error("the address does not begin with https:// or http://")
    if not os.environ.get(TOKEN, "").strip():
        parser.error(f"{TOKEN} is empty: set it to the token of the access")
    if given.ca is not None and not given.ca.is_file():
        parser.error(f"{given.ca} is not a file")
    return given


async def serve_bridge(address: str, token: str, ca: Path | None) -> None:
    """Serve stdio until its end, with the tools of the server at `address`."""
    verify = ssl.create_default_context(cafile=ca) if ca is not None else True
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=SECONDS, verify=verify) as http,
        Client(streamable_http_client(address, http_client=http)) as remote,
    ):

        async def list_tools(
            context: ServerRequestContext[Any, Any], params: PaginatedRequestParams | None
        ) -> ListToolsResult:
            return await remote.list_tools()

        async def call_tool(
            context: ServerRequestContext[Any, Any], params: CallToolRequestParams
        ) -> CallToolResult:
            return await remote.call_tool(params.name, params.arguments)

        server: Server[Any] = Server(
            "qwen-camera",
            version=__version__,
            instructions=remote.instructions,
            on_list_tools=list_tools,
            on_call_tool=call_tool,
        )
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())


def iterate_leaf_errors(group: BaseExceptionGroup[Exception]) -> Iterator[BaseException]:
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from iterate_leaf_errors(one)
        else:
            yield one


def main() -> int:
    given = parse_arguments()
    failed: set[str] = set()
    try:
        asyncio.run(serve_bridge(given.address, os.environ[TOKEN].strip(), given.ca))
    except* (MCPError, httpx2.HTTPError, OSError) as group:
        failed = {
            str(one) if isinstance(one, MCPError) else type(one).__name__
            for one in iterate_leaf_errors(group)
        }
    if failed:
        # Standard output is for the assistant, standard error for people.
        print(
            f"The camera's server at {urlsplit(given.address).hostname} did not respond as an MCP server: {' '.join(sorted(failed))}"
            "\nCheck the address; if the access has ended, ask for a new one.",
            file=sys.stderr,
        )
    return int(bool(failed))


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    sys.exit(main())
