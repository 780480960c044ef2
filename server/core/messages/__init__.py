"""WebSocket messages, by direction: `from_client` has those that the server reads; `state` and
`answers` have those that it sends. `base` has what they share.

All names are available here, as `messages.Chat`. client/core/live/messages.js mirrors them for the page.
"""

# ruff: noqa: F403
from server.core.messages.answers import *
from server.core.messages.base import *
from server.core.messages.from_client import *
from server.core.messages.state import *
