"""Wire messages of the built-in engine."""

from __future__ import annotations

from typing import ClassVar, Literal

from server.core.messages import ServerMessage


class Glance(ServerMessage):
    """Things, print, codes and people in front of the camera, so that a client can offer questions about it.

    It comes while the built-in engine answers, whenever it differs from the one before.
    """

    type: Literal["glance"] = "glance"
    newest_only: ClassVar[bool] = True
    # Print that could be read
    text: bool
    # A QR code or a barcode that was read
    code: bool
    # One of them is an address to open
    link: bool = False
    # The print has an expiry date
    date: bool = False
    # The print has a price, and is no list of them
    price: bool = False
    # Number of persons that were seen, 3 at most
    people: int
    # Other things in the language of the client's words, such as "a cup"; 2 at most, the surest first
    things: list[str]
