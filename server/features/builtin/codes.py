"""Contents of codes: their uses, Wi-Fi networks, and the hosts of links. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from server.core.frames import CodeUse
from server.core.messages import FoundCode
from server.media.picture.grounding import Box


@dataclass(frozen=True, slots=True)
class DecodedCode:
    # The text for display, cut to its longest length
    text: str
    # The common name: "QR Code", "EAN-13"
    format: str
    # Its place in the picture; None if unknown
    box: Box | None = field(default=None, compare=False)
    # The full content with its line breaks if `text` is shortened; "" if `text` is complete
    whole: str = ""

    @property
    def name(self) -> str:
        return {"QR Code": "QR code", "Data Matrix": "Data Matrix code"}.get(
            self.format, self.format
        )


@dataclass(frozen=True, slots=True)
class Network:
    """A Wi-Fi network in a code."""

    name: str
    # "" for an open network
    password: str
    code: DecodedCode


_FIELD = re.compile(r"(?<![A-Z])([A-Z]++):((?:\\.|[^;\\])*+);?")


def find_network(codes: Iterable[DecodedCode]) -> Network | None:
    """Return the Wi-Fi network in the first code that contains one (WIFI:T:WPA;S:name;P:password;;)."""
    for code in codes:
        text = code.whole or code.text
        if text[:5].upper() != "WIFI:":
            continue
        parts = {key: re.sub(r"\\(.)", r"\1", value) for key, value in _FIELD.findall(text[5:])}
        name, password = parts.get("S", ""), parts.get("P", "")
        if name:
            return Network(_strip_quotes(name), _strip_quotes(password), code)
    return None


# Fields of a contact or an event for display, in this order
_FIELDS_SHOWN = [
    "FN",
    "N",
    "ORG",
    "TITLE",
    "SUMMARY",
    "DTSTART",
    "DTEND",
    "LOCATION",
    "TEL",
    "EMAIL",
    "ADR",
    "URL",
]
_WHEN = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d).*)?")


def format_code_text(text: str) -> str:
    """Return a code's text for display; of a contact or an event, the values of its fields."""
    if text[:7].upper() == "MECARD:":
        fields = _FIELD.findall(text[7:])
    elif text[:6].upper() == "BEGIN:":
        # "item1.TEL;TYPE=CELL:0770 090"
        lines = (line.partition(":") for line in text.splitlines())
        fields = [(key.partition(";")[0].rpartition(".")[2], value) for key, _, value in lines]
    else:
        return text
    values: dict[str, list[str]] = {}
    for key, value in fields:
        # A value's parts are joined by commas; a backslash escapes the next character.
        parts = (part.strip() for part in re.sub(r"\\(.)", r"\1", value).split(";"))
        if shown := ", ".join(part for part in parts if part):
            is_time = key.upper().startswith("DT")
            values.setdefault(key.upper(), []).append(
                _WHEN.sub(_format_day, shown) if is_time else shown
            )
    if "FN" in values:
        values.pop("N", None)
    return "; ".join(value for key in _FIELDS_SHOWN for value in values.get(key, ())) or text


def _format_day(match: re.Match[str]) -> str:
    year, month, day, hour, minute = match.groups()
    return f"{year}-{month}-{day}" + (f" {hour}:{minute}" if hour else "")


def get_host(url: str) -> str:
    """Return a link's host as a browser reads it: without user name, port and path.

    A host with letters that may be confused with others is returned in ASCII ("xn--...").
    """
    try:
        found = urlsplit(url if "://" in url else f"//{url}").hostname or url
        return found if found.isascii() else found.encode("idna").decode()
    except ValueError:
        return url


# Longest address that is opened, in characters: browsers and servers accept as many.
_LONGEST_LINK = 2000
_LINK = re.compile(r"(?:https?://|www\.)[^\s<>\"]+", re.I)
# By the beginning of a code: the use of its whole content
_WHOLE = {
    "BEGIN:VCARD": CodeUse.CONTACT,
    "MECARD:": CodeUse.CONTACT,
    "BIZCARD:": CodeUse.CONTACT,
    "BEGIN:VCALENDAR": CodeUse.EVENT,
    "BEGIN:VEVENT": CodeUse.EVENT,
}
# Uses of a part of the content, which ends where a message, a subject or another field begins
_PART = (
    (re.compile(r"(?:tel|sms|smsto):([+\d][\d\s().*#/-]*+)", re.I), CodeUse.PHONE),
    (re.compile(r"mailto:([^?\s]++)", re.I), CodeUse.EMAIL),
    (re.compile(r"matmsg:to:([^;\s]++)", re.I), CodeUse.EMAIL),
)


def find_code_uses(codes: Iterable[DecodedCode]) -> tuple[FoundCode, ...]:
    """Return the possible uses of codes, each once.

    An address is opened if it is http or https, names no user and is not too long; others are
    text. An open network has nothing to copy.
    """
    found = (_find_code_use(code) for code in codes)
    return tuple(dict.fromkeys(one for one in found if one is not None))


def _find_code_use(code: DecodedCode) -> FoundCode | None:
    text = code.whole or code.text
    if text[:5].upper() == "WIFI:":
        wifi = find_network([code])
        return (
            FoundCode(use=CodeUse.PASSWORD, value=wifi.password) if wifi and wifi.password else None
        )
    if link := _parse_link(text):
        return FoundCode(use=CodeUse.OPEN, value=link)
    for pattern, use in _PART:
        if part := pattern.match(text):
            return FoundCode(use=use, value=part[1].strip())
    begins = (use for head, use in _WHOLE.items() if text[: len(head)].upper() == head)
    return FoundCode(use=next(begins, CodeUse.TEXT), value=text)


def _parse_link(text: str) -> str:
    """Return the address to open if a text is only an address; "" for any other."""
    if _LINK.fullmatch(text) is None or len(text) > _LONGEST_LINK:
        return ""
    link = text if "://" in text[:8] else f"https://{text}"
    try:
        found = urlsplit(link)
        # Reading an invalid port raises ValueError.
        named = found.hostname and found.port != 0
    except ValueError:
        return ""
    return link if named and found.username is None and found.password is None else ""


def _strip_quotes(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
