"""A program's log shows no credential, wherever a line ends, and no line takes long to read."""

from __future__ import annotations

import time

import pytest

from server.core.redact import remove_controls
from server.shared.processes.redactor import Redactor

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzaWQiOiJ4In0.c2ln"


def lines(*texts: str) -> list[str]:
    redactor = Redactor()
    return [redactor.line(remove_controls(text)) for text in texts]


def test_what_goes_over_the_end_of_a_line_is_hidden() -> None:
    """A name whose value comes in the next line, one cut in two, a private key of many lines."""
    assert lines("api_key=", "hunter2", "then") == ["api_key=", "(hidden)", "then"]
    assert lines('"token":', '  "hunter2",') == ['"token":', "  (hidden),"]
    assert lines("Authorization: Bearer", "hunter2 x")[1] == "(hidden) x"
    assert lines("│ password = │", "│ 'hunter2' │")[1] == "│ (hidden) │"
    first, second = "token=aaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbb"
    assert lines(first, f"{second} end") == ["token=(hidden)", "(hidden) end"]
    assert lines(f"got {JWT}", "hunter2hunter2.x", "end") == ["got (hidden)", "(hidden)", "end"]
    key = ["-----BEGIN PRIVATE KEY-----", "hunter2", "hunter2", "-----END PRIVATE KEY-----"]
    assert lines("a", *key, "b") == ["a", *["(hidden)"] * 4, "b"]


def test_one_line_does_not_hide_all_that_follow() -> None:
    """A key without an end is believed for 200 lines; an ordinary line after a credential stays."""
    assert lines("-----BEGIN PRIVATE KEY-----", *["x"] * 300).count("(hidden)") == 201
    name = "server.features.local_models.runtime"
    assert lines("api_key=hunter2", name)[1] == name


# Texts that each pattern looks for, in part or whole.
ATOMS = (
    *("a-", "-", "--", "--a", "--token", "--key ", "a.", "token", "token=", "token='", 'token="'),
    *("a://", "a://b:", "://", "a@", "@", "a:b@", "a:b", "a:", "a:bcd@e", "w:x@y.", "x:y/", "?a="),
    *("?a", "&a=", "bearer ", "bearer", "authorization: ", "authorization: a ", "cookie: "),
    *("digest ", "-u ", "-u a", "-u", "--user", "login ", "login a password ", "eyJ", "hf_"),
    *("sk-", "AKIA", "xoxa-"),
    *("\\", "\\'", '"', "'", "b'", "=", "==", "=>", ":", "%3A", "[", "key=[", "[{'", "key='' "),
    *("password='\\", 'password="\\', "password=['a'", "api-key ", "credentials", "_pwd", "code="),
    *(
        "-----BEGIN ",
        " PRIVATE KEY-----",
        "-----END",
        "-----BEGIN PRIVATE KEY-----",
        "\x1b]",
        "\x1b[1;",
    ),
    *("\x1b#", " ", "│", ",", ";", "a", "1", "_", "<a>", "transport=udp", "?transport="),
)


def cost(text: str, most: int, *, times: int = 3) -> float:
    """Seconds of processor time for a line, the least of some."""
    least = 1e9
    for _ in range(times):
        began = time.thread_time()
        Redactor().line(remove_controls(text), most)
        least = min(least, time.thread_time() - began)
    return least


@pytest.mark.parametrize("end", ["", "x", "=", "'"])
@pytest.mark.parametrize("begin", ["", "token=", "-u", "bearer", "a aaaaaaaaaaaaaaaaaaaaaaaaaaaa"])
def test_no_line_takes_long(begin: str, end: str) -> None:
    """It is read on the event loop: four times the text takes about four times as long."""
    ordinary = cost("The quick brown fox jumps over the lazy dog. " * 90, 4000)
    for atom in ATOMS:
        short, long = (begin + (atom * n)[: n - 40] + end for n in (1000, 4000))
        # Short times cannot be measured well, and long ones are measured again.
        if cost(long, 4000, times=1) > 3 * ordinary and (took := cost(long, 4000)) > 3 * ordinary:
            assert took < 9 * cost(short, 4000), (begin, atom, end)
            assert took < 12 * ordinary, (begin, atom, end)


def test_a_line_of_any_length_takes_no_longer() -> None:
    """Text beyond the cut is not read."""
    assert cost("--" * 4_000_000, 2000) < 0.5
