"""Answers from print and codes about links, addresses, telephone numbers, networks and passwords. Pure."""

from __future__ import annotations

import re

from server.features.builtin import codes, fields, tables
from server.features.builtin.speaker import ITEMS, PAGE, SOME, Answer, Speaker, has_digit
from server.features.builtin.telling import naming
from server.features.builtin.text_answers import NAMES_NETWORK, NETWORK, none_found
from server.features.builtin.wants import Want
from server.features.builtin.wordings import CALLS
from server.models.routing import plain


def contact(s: Speaker) -> Answer:
    want = s.intent.want
    finder = {Want.EMAIL: fields.emails, Want.PHONE: fields.phones, Want.URL: fields.urls}[want]
    found = finder(s.texts)
    if found and s.intent.yes_no and s.words:
        # "Can I call them today?" may be answered beside the number.
        return s.closest_of(row for row in s.rows if finder([row.text]))
    if found:
        return s.say(want.value, value=s.items(found)), ""
    if s.intent.yes_no or s.intent.how_many:
        # "Do I have to give my phone number?" and "How many phones are there?"
        named = naming(s, (*s.words, *s.intent.asked.split()))
        return s.quote(named[0]) if named else s.why_not(s.cannot_here)
    if want is Want.PHONE and len(perhaps := fields.like_phones(s.texts)) == 1:
        return s.say("values", items=perhaps[0]), s.row_with(perhaps[0])
    calls = [row for row in s.rows if has_digit(row) and CALLS.search(plain(row.text))]
    if want is Want.PHONE and calls:
        # "Questions? Call 14 0299": a number that has no other's form
        return s.closest_of(calls[:SOME])
    return none_found(s, f"none_{want.value}")


_PASSWORD = ("password",)


def code(s: Speaker) -> Answer:
    if s.codes:
        return s.code_sentence(), ""
    return s.say("no_code"), ""


def leads(s: Speaker) -> Answer:
    """Answer with the address in a code, else with the one that is printed."""
    for texts in ([code.text for code in s.codes], [row.text for row in s.rows]):
        if found := fields.urls(texts):
            return s.say("url", value=s.items(found)), ""
    if s.codes:
        return s.code_sentence(), ""
    return s.say("no_code"), s.seen()


def safe(s: Speaker) -> Answer:
    """Name the host that a link leads to; the engine cannot know whether it is safe."""
    links = fields.urls(s.texts)
    if not links:
        return s.say("safe_none"), s.seen()
    hosts = list(dict.fromkeys(codes.host(link) for link in links))[:ITEMS]
    shown = ", ".join(hosts)
    return s.say("safe", host=shown), s.say("safe_hint", host=shown)


# Two words that a row gives
_GIVEN = re.compile(r":\s?[^\s/|·:]{1,40}\s?[/|·]\s?\S")


_WIFI_IS = re.compile(r"\b(?:wi-?fi|wlan): ?\S*\d", re.I)


def password(s: Speaker) -> Answer:
    """Answer with the password of a Wi-Fi code, else with the text printed beside the word."""
    found = codes.network(s.codes)
    if found is not None and found.password:
        return (s.say("password", value=found.password), s.say("network", value=found.name))
    printed = tables.beside(s.rows, _PASSWORD)
    if printed is not None and not printed.prose:
        s.sources[printed.row.text] = ""
        return s.say("printed_password", value=printed.value), s.say("alike")
    if found is not None:
        return s.say("open_network", name=found.name), ""
    wifi, coded = naming(s, NETWORK), tables.beside(s.rows, ("code",))
    if wifi and coded is not None and not coded.prose:
        # "Wifi: guest", and below it "Code: cinnamon"
        return s.closest_of((wifi[0], coded.row))
    if named := [row for row in wifi if _GIVEN.search(row.text) or _WIFI_IS.search(row.text)]:
        # "WiFi: guest / teapot88" and "Oat milk +40p · Wifi: kettle2026"
        return s.closest_of(named)
    return none_found(s, "none_password")


def network(s: Speaker) -> Answer:
    found = codes.network(s.codes)
    if found is not None:
        return s.say("network", value=found.name), (
            s.say("password", value=found.password) if found.password else ""
        )
    near = tables.beside(s.rows, ("wifi", "name"))
    if near is not None and tables.names_all(near.label, ("wifi", "name")):
        return s.say("network", value=near.value), s.row(near.row, near.value, near.label)
    # "Free wifi for our guests" has no name.
    groups = NAMES_NETWORK if s.intent.language == "es" else NAMES_NETWORK[:-1]
    found_by = (tables.beside(s.rows, words) for words in groups)
    beside = (one for one in found_by if one is not None and not one.prose)
    # In a list of settings the row below is another one.
    printed = next((one for one in beside if len(s.rows) < PAGE or one.label in one.row.text), None)
    if printed is not None:
        return s.say("network", value=printed.value), s.row(
            printed.row, printed.value, printed.label
        )
    return none_found(s, "none_network")
