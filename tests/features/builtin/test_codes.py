"""The text of codes, and what a person may do with them."""

from __future__ import annotations

import pytest

from server.features.builtin import codes


@pytest.mark.parametrize(
    ("text", "name", "password"),
    [
        ("WIFI:T:WPA;S:Guest House;P:blue;;", "Guest House", "blue"),
        ("WIFI:S:a\\;b;P:x\\:\\\\y;T:WPA2;;", "a;b", "x:\\y"),
        ("WIFI:T:nopass;S:Open;;", "Open", ""),
    ],
)
def test_a_wifi_code_is_taken_apart(text: str, name: str, password: str) -> None:
    """With what is escaped in it."""
    found = codes.find_network([codes.DecodedCode(text, "QR Code")])
    assert found is not None
    assert (found.name, found.password) == (name, password)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://menu.example.org/table/7", "menu.example.org"),
        ("https://bank.example.com@evil.example.org/login", "evil.example.org"),
        ("www.example.org:8080/x", "www.example.org"),
        ("http://[bad", "http://[bad"),
        # A Cyrillic letter in place of a Latin one
        ("https://www.\u0430pple.com/", "www.xn--pple-43d.com"),
    ],
)
def test_a_link_leads_where_a_browser_would_go(url: str, host: str) -> None:
    """The part before an @ is no address."""
    assert codes.get_host(url) == host


LONG = "https://example.org/?" + "a" * 1979


@pytest.mark.parametrize(
    ("text", "use", "value"),
    [
        ("https://example.org/menu?table=7", "open", None),
        ("HTTP://EXAMPLE.ORG/7", "open", None),
        ("www.example.org", "open", "https://www.example.org"),
        (LONG, "open", None),
        (LONG + "a", "text", None),
        # None of these is opened.
        ("javascript:alert(document.cookie)", "text", None),
        ("data:text/html,<script>alert(1)</script>", "text", None),
        ("https://bank.example.com@evil.example.org/", "text", None),
        ("https://", "text", None),
        ("http://[bad", "text", None),
        ("https://example.org:99999/", "text", None),
        ("https://example.org/ and more", "text", None),
        ("intent://example.org#Intent;scheme=http;end", "text", None),
        ("WIFI:T:WPA;S:a\\;b;P:x\\:\\\\y\\;;;", "password", "x:\\y;"),
        ("tel:+49 30 1234567", "phone", "+49 30 1234567"),
        ("SMSTO:+49301234567:Hello", "phone", "+49301234567"),
        # A number that dials a service of the network
        ("tel:*#06#", "text", None),
        ("mailto:anna@example.org?subject=Hi", "email", "anna@example.org"),
        ("MATMSG:TO:anna@example.org;SUB:Hi;BODY:Yes;;", "email", "anna@example.org"),
        ("BEGIN:VCARD\nVERSION:3.0\nN:Berger;Anna\nEND:VCARD", "contact", None),
        ("MECARD:N:Berger,Anna;TEL:030;;", "contact", None),
        ("BEGIN:VEVENT\nSUMMARY:Tea\nEND:VEVENT", "event", None),
        ("4006381333931", "text", None),
    ],
)
def test_a_code_offers_what_it_is_for(text: str, use: str, value: str | None) -> None:
    """An address to open, or something to copy; None: all of it."""
    (one,) = codes.find_code_uses([codes.DecodedCode(text[:9], "QR Code", whole=text)])
    assert (one.use, one.value) == (use, text if value is None else value)


def test_an_open_network_offers_nothing_and_two_same_codes_offer_one_thing() -> None:
    assert codes.find_code_uses([codes.DecodedCode("WIFI:T:nopass;S:Cafe;;", "QR Code")]) == ()
    assert (
        len(
            codes.find_code_uses(
                [codes.DecodedCode("12", "EAN-8"), codes.DecodedCode("12", "QR Code")]
            )
        )
        == 1
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "BEGIN:VCARD\nN:Petrov;Nadia\nFN:Nadia Petrov\nitem1.TEL;TYPE=CELL:0770 090\nEND:VCARD",
            "Nadia Petrov; 0770 090",
        ),
        ("MECARD:N:Petrov,Nadia;TEL:07700900318;;", "Petrov,Nadia; 07700900318"),
        (
            "BEGIN:VEVENT\nDTSTART:20261201T193000\nSUMMARY:Jazz\\, late\nEND:VEVENT",
            "Jazz, late; 2026-12-01 19:30",
        ),
        ("BEGIN:VCARD\nX-A:1", "BEGIN:VCARD\nX-A:1"),
        ("tel:5", "tel:5"),
    ],
)
def test_a_contact_and_an_event_are_told_by_their_values(text: str, shown: str) -> None:
    assert codes.format_code_text(text) == shown
