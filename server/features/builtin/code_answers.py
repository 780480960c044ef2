"""Answers about codes, links and Wi-Fi networks. Pure."""

from __future__ import annotations

from server.features.builtin import codes, fields, tables
from server.features.builtin.speaker import ITEMS, Answer, Speaker

_PASSWORD = ("password",)
_NETWORK = ("wifi", "ssid", "network", "wlan", "netzwerk", "réseau", "red")


def code_sentence(s: Speaker) -> str:
    """Return all codes in one line."""
    found = codes.network(s.codes)
    said = []
    for code in s.codes:
        if found is not None and code is found.code and found.password:
            said.append(
                s.say("code_wifi", format=code.name, name=found.name, password=found.password)
            )
        elif found is not None and code is found.code:
            said.append(s.say("open_network", name=found.name))
        else:
            said.append(s.say("code", format=code.name, text=code.text))
    return s.capital("; ".join(said))


def code(s: Speaker) -> Answer:
    if s.codes:
        return code_sentence(s), ""
    return s.say("no_code"), ""


def leads(s: Speaker) -> Answer:
    """Answer with the address in a code, else with the one that is printed."""
    for texts in ([code.text for code in s.codes], [row.text for row in s.rows]):
        if found := fields.urls(texts):
            return s.say("url", value=s.items(found)), ""
    if s.codes:
        return code_sentence(s), ""
    return s.say("no_code"), s.seen()


def safe(s: Speaker) -> Answer:
    """Name the host that a link leads to; the engine cannot know whether it is safe."""
    links = fields.urls(s.texts)
    if not links:
        return s.say("safe_none"), s.seen()
    hosts = list(dict.fromkeys(codes.host(link) for link in links))[:ITEMS]
    shown = ", ".join(hosts)
    return s.say("safe", host=shown), s.say("safe_hint", host=shown)


def password(s: Speaker) -> Answer:
    """Answer with the password of a Wi-Fi code, else with the text printed beside the word."""
    found = codes.network(s.codes)
    if found is not None and found.password:
        return (
            s.say("password", value=found.password),
            s.say("network", value=found.name),
        )
    printed = tables.beside(s.rows, _PASSWORD)
    if printed is not None:
        return s.say("printed_password", value=printed.value), s.say("alike")
    if found is not None:
        return s.say("open_network", name=found.name), ""
    return s.say("none_password"), s.seen()


def network(s: Speaker) -> Answer:
    found = codes.network(s.codes)
    if found is not None:
        return s.say("network", value=found.name), (
            s.say("password", value=found.password) if found.password else ""
        )
    printed = tables.beside(s.rows, ("ssid",)) or tables.beside(s.rows, _NETWORK)
    if printed is not None:
        return s.say("network", value=printed.value), s.row(
            printed.row, printed.value, printed.label
        )
    return s.say("none_network"), s.seen()
