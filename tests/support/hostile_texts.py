"""Texts that make a careless reader slow: one piece of text again and again, and a last mark that spoils the match."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

# By kind; "{}" stands before what comes once, at the end.
UNITS: dict[str, str] = {
    "dashes": "-{}x",
    "dashes and spaces": "- {}x",
    "dots": ".",
    "dots and spaces": ". ",
    "dots in a word": "a.",
    "one word": "a{}!",
    "one capital": "A",
    "words": "ab ",
    "digits": "1{}x",
    "numbers": "1 ",
    "numbers with dots": "1.",
    "numbers with commas": "1,",
    "hours": "10:00-",
    "prices": "€1",
    "units": "1/",
    "spaces": " {}x",
    "tabs": "\t{}x",
    "lines": "\n ",
    "line ends": "\r\n",
    "opening brackets": "[",
    "pictures": "![",
    "links": "[a](",
    "links with titles": "[a](b ",
    "nested brackets": "[(",
    "round brackets": "(",
    "curly brackets": '{"a":',
    "closing brackets": "]",
    "brackets": "[]",
    "quotes": '"',
    "quoted letters": '"a',
    "apostrophes": "'",
    "other quotes": "“",
    "backslashes": "\\",
    "escaped quotes": '\\"',
    "pipes": "|",
    "pipes and spaces": "| ",
    "tables": "|--",
    "tags": "<a",
    "control tokens": "<|",
    "closed control tokens": "<|a|>",
    "backticks": "`",
    "fences": "```\n",
    "stars": "*",
    "underscores": "_a",
    "assignments": "a=",
    "secrets": "password=",
    "colons": "a:",
    "addresses": "http://a",
    "mail": "a@",
    "hashes": "#",
    "combining marks": "e\u0301",
    "pictograms": "\U0001f600",
    "joined pictograms": "\U0001f468\u200d",
    "han": "中",
    "kana": "か",
    "hangul": "가",
    "arabic": "ا",
    "devanagari": "क",
    "direction marks": "\u202e",
    "ligatures": "\ufdfa",
    "zeros": "\x00",
}


@lru_cache(maxsize=1024)
def hostile(unit: str, length: int) -> str:
    """Return a text of a kind with so many characters."""
    piece, _, last = unit.partition("{}")
    return (piece * (length // len(piece) + 1))[: length - len(last)] + last


class TooSlow(Exception):
    """A call took more processor time than any that ends soon."""


@contextmanager
def within(limit: float) -> Iterator[None]:
    """Raise TooSlow in the main thread after `limit` seconds of processor time, also inside of an expression."""

    def stop(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def seconds(call: Callable[[], object], *, enough: float = 0.0, times: int = 5) -> float:
    """Return the processor time of the quickest of a few calls; of fewer, once one takes `enough`."""
    best = float("inf")
    for _ in range(times):
        began = time.thread_time()
        with within(5):
            call()
        best = min(best, time.thread_time() - began)
        if best <= enough:
            break
    return best
