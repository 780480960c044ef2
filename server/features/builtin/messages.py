"""Wire messages of the built-in engine."""

from __future__ import annotations

from typing import ClassVar, Literal

from server.core.messages import ServerMessage


class Glance(ServerMessage):
    """Objects, printed text, codes and people in front of the camera, so that a client can suggest questions.

    It is sent while the built-in engine answers, whenever it differs from the previous one.
    """

    type: Literal["glance"] = "glance"
    newest_only: ClassVar[bool] = True
    # True: printed text is visible
    text: bool
    # True: a QR code or a barcode is visible
    code: bool
    # True: a code is an address to open
    link: bool = False
    # True: the text has an expiry date
    date: bool = False
    # True: the text has a price, and is not a price list
    price: bool = False
    # Number of persons, 3 at most
    people: int
    # Names of other objects in the page's language, such as "a cup"; 2 at most, the surest first
    things: list[str]
