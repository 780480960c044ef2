"""The items of one conversation, and their form as messages of the chat interface. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.core.errors import Conflict, NotFound
from server.features.realtime import events
from server.models import prompts
from server.models.prompts import estimate_tokens

MAX_ITEMS = 64
MAX_CHARS = 128 * 1024
_NOW = {"type": "image_url", "image_url": {"url": "camera://now"}}


def new_id(kind: str) -> str:
    """Return a new id, such as "item_..."."""
    return f"{kind}_{secrets.token_hex(10)}"


@dataclass(slots=True, eq=False)
class KeptItem:
    """An item of a conversation in the protocol's form."""

    # message, function_call or function_call_output, and the fields of this type
    body: dict[str, Any]
    id: str = field(default_factory=lambda: new_id("item"))
    status: str = "completed"
    # Length of its sound, if it was spoken
    spoken_ms: float = 0.0

    @classmethod
    def of(cls, given: events.MessageItem | events.CallItem | events.OutputItem) -> KeptItem:
        """Return the item that a client has sent."""
        body = given.model_dump(exclude={"id"}, exclude_none=True)
        return cls(body, given.id or new_id("item"))

    @property
    def text(self) -> str:
        """Its words: the text and the transcripts of a message, the arguments of a call, the output of a function."""
        if self.body["type"] != "message":
            return str(self.body.get("arguments", self.body.get("output", "")))
        parts = (part.get("text") or part.get("transcript") or "" for part in self.body["content"])
        return "\n".join(part for part in parts if part)

    def truncate(self, milliseconds: int) -> dict[str, Any]:
        """Keep only the words of a spoken message that were heard until this time. Return the fields of the event."""
        part = self.body["content"][0]
        words = self.text
        if self.spoken_ms > milliseconds:
            heard = words[: round(len(words) * milliseconds / self.spoken_ms)]
            words = heard.rpartition(" ")[0] if " " in heard else ""
        part["transcript" if "transcript" in part else "text"] = words
        return {"item_id": self.id, "content_index": 0, "audio_end_ms": milliseconds}

    def shown(self) -> dict[str, Any]:
        """Return it for an event."""
        return {"id": self.id, "object": "realtime.item", "status": self.status, **self.body}


class Conversation:
    """The items of one connection, oldest first.

    Bounds of a conversation: 64 items and 128 Ki characters; the oldest are dropped.
    """

    def __init__(self) -> None:
        self.id = new_id("conv")
        self._items: list[KeptItem] = []

    def __len__(self) -> int:
        return len(self._items)

    def all(self) -> list[KeptItem]:
        """Return all items."""
        return list(self._items)

    def find(self, id: str) -> KeptItem:
        """Return an item. Raise NotFound for an unknown id."""
        for item in self._items:
            if item.id == id:
                return item
        raise NotFound("Item not found. It was deleted, or never created. Use the id of an item.")

    def add(self, item: KeptItem, after: str | None = None) -> tuple[str | None, list[KeptItem]]:
        """Add an item at the end, or after the item `after` ("root": at the beginning).

        Return the id of the item before it, and the items that were dropped for it. Raise Conflict for an id
        that is taken, NotFound for an unknown `after`, and Conflict for the output of an unknown call.
        """
        if any(one.id == item.id for one in self._items):
            raise Conflict("This item id is taken. Choose another one, or leave it out.")
        if item.body["type"] == "function_call_output" and not any(
            one.body.get("call_id") == item.body["call_id"] for one in self._items
        ):
            raise Conflict(
                "No function call of this conversation has this call_id. Send its output with the id of the call."
            )
        at = len(self._items)
        if after is not None:
            at = 0 if after == "root" else self._items.index(self.find(after)) + 1
        self._items.insert(at, item)
        dropped = self._bound(item)
        at = self._items.index(item)
        return self._items[at - 1].id if at else None, dropped

    def remove(self, item: KeptItem) -> None:
        """Remove an item."""
        self._items.remove(item)

    def _bound(self, newest: KeptItem) -> list[KeptItem]:
        dropped = []
        while len(self._items) > MAX_ITEMS or sum(len(one.text) for one in self._items) > MAX_CHARS:
            oldest = next((one for one in self._items if one is not newest), None)
            if oldest is None:
                break
            self._items.remove(oldest)
            dropped.append(oldest)
        return dropped


def chat_messages(
    items: Iterable[KeptItem], instructions: str, most_tokens: int
) -> list[dict[str, Any]]:
    """Return the messages of a chat request about the camera's next picture.

    The oldest items are left out if all have more than `most_tokens`.
    """
    said = _fitting(list(items), most_tokens)
    found: list[dict[str, Any]] = []
    if instructions.strip():
        found.append({"role": "system", "content": instructions})
    calls: set[str] = set()
    for item in said:
        body, last = item.body, found[-1] if found else {}
        if body["type"] == "message":
            if text := item.text:
                found.append({"role": body["role"], "content": text})
        elif body["type"] == "function_call":
            calls.add(body["call_id"])
            function = {"name": body["name"], "arguments": body["arguments"]}
            call = {"id": body["call_id"], "type": "function", "function": function}
            if last.get("tool_calls"):
                last["tool_calls"].append(call)
            else:
                found.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif body["type"] == "mcp_call":
            function = {"name": body["name"], "arguments": body["arguments"]}
            call = {"id": item.id, "type": "function", "function": function}
            found.append({"role": "assistant", "content": None, "tool_calls": [call]})
            found.append({"role": "tool", "tool_call_id": item.id, "content": body["output"]})
        elif body["call_id"] in calls:
            found.append({"role": "tool", "tool_call_id": body["call_id"], "content": item.text})
    asked = next((one for one in reversed(found) if one["role"] == "user"), None)
    if asked is None:
        asked = {"role": "user", "content": prompts.DESCRIBE}
        found.append(asked)
    asked["content"] = [_NOW, {"type": "text", "text": asked["content"]}]
    return found


def _fitting(items: Sequence[KeptItem], most_tokens: int) -> Sequence[KeptItem]:
    left = most_tokens
    for at in reversed(range(len(items))):
        left -= estimate_tokens(items[at].text) + 12
        if left < 0:
            # The newest item is always sent, so that a text that is too long gets its error.
            return items[min(at + 1, len(items) - 1) :]
    return items
