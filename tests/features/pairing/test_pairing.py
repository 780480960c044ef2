"""One-time pairing codes: good once, for five minutes, one at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.features.pairing.pairing import MAX_CODE_CHARS, PAIRING_SECONDS, PairingCodes, Redeemed


def test_a_code_is_good_once() -> None:
    """The first who brings it gets in and is announced; the second hears that it was used."""
    redeemed: list[bool] = []
    codes = PairingCodes(on_redeemed=lambda: redeemed.append(True))
    code = codes.issue(0)
    assert codes.redeem(code, 1) is Redeemed.OK
    assert codes.redeem(code, 2) is Redeemed.USED
    assert redeemed == [True]


def test_a_code_is_good_for_five_minutes() -> None:
    """To the moment, and used codes stay used when their time is over."""
    codes = PairingCodes()
    code = codes.issue(100)
    assert codes.redeem(code, 100 + PAIRING_SECONDS) is Redeemed.EXPIRED
    other = codes.issue(1000)
    assert codes.redeem(other, 999.9 + PAIRING_SECONDS) is Redeemed.OK
    assert codes.redeem(other, 5000) is Redeemed.USED
    assert PAIRING_SECONDS == 300


def test_a_new_code_ends_the_one_before() -> None:
    """Whoever photographed the screen has nothing once the next one is shown."""
    codes = PairingCodes()
    first, second = codes.issue(0), codes.issue(1)
    assert codes.redeem(first, 2) is Redeemed.EXPIRED
    assert codes.redeem(second, 2) is Redeemed.OK


def test_codes_are_long_and_all_different() -> None:
    """128 random bits: 22 characters of the URL-safe alphabet, short enough for the request."""
    codes = PairingCodes()
    issued = {codes.issue(0) for _ in range(1000)}
    assert len(issued) == 1000
    assert {len(code) for code in issued} == {22}
    assert MAX_CODE_CHARS >= 22


def test_few_old_codes_are_remembered() -> None:
    """However many are made, the oldest are forgotten and then no better than a guess."""
    codes = PairingCodes()
    first = codes.issue(0)
    for _ in range(7):
        codes.issue(0)
    assert codes.redeem(first, 0) is Redeemed.EXPIRED
    codes.issue(0)
    assert codes.redeem(first, 0) is Redeemed.UNKNOWN


def test_no_code_is_kept_in_the_clear() -> None:
    """Memory holds a digest: no log, repr or debugger shows a code that works."""
    codes = PairingCodes()
    code = codes.issue(0)
    assert code not in repr(vars(codes))


@given(st.text(max_size=MAX_CODE_CHARS))
def test_guesses_are_refused(guess: str) -> None:
    """Any text, lone surrogates too, is just not a code; and it costs the right one nothing."""
    codes = PairingCodes()
    assert codes.redeem(guess, 0) is Redeemed.UNKNOWN
    code = codes.issue(0)
    assert codes.redeem(guess, 0) is Redeemed.UNKNOWN
    assert codes.redeem(code, 0) is Redeemed.OK
