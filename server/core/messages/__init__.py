"""WebSocket messages by direction: `from_client` defines those the server reads, `to_client` those it sends.

All names are available here, as `messages.Chat`, and for the page in client/core/live/messages.d.ts.
"""

# ruff: noqa: F403
from server.core.messages.from_client import *
from server.core.messages.to_client import *
