"""Answers about prices: of a thing, in total, by the kilo. Pure."""

from __future__ import annotations

from server.features.builtin import prices, tables
from server.features.builtin.fields import letters
from server.features.builtin.speaker import ITEMS, Answer, Speaker


def total(s: Speaker) -> Answer:
    found = prices.total(s.rows)
    if found is not None:
        return s.say("total", value=found.text), s.row(found.row, found.text)
    return s.say("no_total"), _prices_read(s)


def money_back(s: Speaker) -> Answer:
    found = prices.money_back(s.rows)
    if found is not None:
        return s.say("money_back", value=found.text), s.row(found.row, found.text)
    return s.say("none_price"), s.seen()


def price(s: Speaker) -> Answer:
    """Answer with the named thing's price, else with the only or largest one, else with all."""
    if s.words:
        found = prices.item(s.rows, s.words)
        if found is not None:
            return s.say("item", label=found.label, value=found.text), s.row(
                found.row, found.text, found.label
            )
    sum_of_all = prices.total(s.rows)
    tags = prices.tags(s.rows)
    if not tags:
        by_unit = prices.unit_price(s.rows)
        if by_unit is not None:
            return unit_price(s)
        return s.say("none_price"), s.seen()
    if sum_of_all is not None and not s.words:
        return s.say("total", value=sum_of_all.text), s.row(sum_of_all.row, sum_of_all.text)
    target = " ".join(s.words)
    if target and sum_of_all is not None:
        return s.say("no_item", target=target), s.prices_of("other_prices", prices.bill(s.rows))
    if len(tags) == 1 or tags[0].row.height > 1.3 * tags[1].row.height:
        first = tags[0]
        named = any(tables.names_it(row.text, word) for row in s.rows for word in s.words)
        if target and not named:
            return s.say("price_alone", value=first.text, target=target), s.seen()
        return s.say("price", value=first.text), s.row(first.row, first.text)
    if target and len(s.words) <= 2:
        return s.say("no_item", target=target), s.prices_of("other_prices", tags)
    if (holds := prices.current(tags)) is not None:
        return s.say("price", value=holds.text), s.scripts(s.prices_of("other_prices", tags))
    return s.prices_of("prices", tags, count=len(tags)), s.scripts()


def cheapest(s: Speaker) -> Answer:
    """Answer with the thing of the lowest price; one price alone is told as it is."""
    return _extreme(s, highest=False)


def dearest(s: Speaker) -> Answer:
    """Answer with the thing of the highest price; one price alone is told as it is."""
    return _extreme(s, highest=True)


def _extreme(s: Speaker, *, highest: bool) -> Answer:
    found = prices.extreme(s.rows, highest=highest)
    if not found:
        return price(s)
    if not letters(found[0].label):
        return s.say("price", value=found[0].text), s.scripts()
    said = [s.say("item", label=one.label, value=one.text) for one in found[:ITEMS]]
    return s.sentence(*said), s.scripts()


def unit_price(s: Speaker) -> Answer:
    found = prices.unit_price(s.rows, s.words)
    if found is not None:
        return s.say("unit_price", value=found.text, unit=found.label), s.row(
            found.row, found.text, found.label
        )
    return s.say("none_price"), s.seen()


def _prices_read(s: Speaker) -> str:
    tags = prices.tags(s.rows)
    if not tags:
        return s.seen()
    return s.scripts(s.say("other_prices", items=s.items((one.text for one in tags), ITEMS)))
