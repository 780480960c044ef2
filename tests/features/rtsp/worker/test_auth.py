"""Digest and Basic, and what a camera does not get."""

from __future__ import annotations

import base64
import re

import pytest

from server.features.rtsp.worker.connection import Credentials
from server.features.rtsp.worker.trouble import SourceFailed, Trouble


def refused(of: Credentials, *headers: str) -> Trouble:
    with pytest.raises(SourceFailed) as failed:
        of.challenged(headers)
    return failed.value.trouble


def test_the_example_of_the_rfc() -> None:
    """RFC 2069's, without qop, as most cameras ask; the erratum's value."""
    one = Credentials("Mufasa", "CircleOfLife", clear=False)
    assert one.header("GET", "/dir/index.html") == ""
    one.challenged(
        [
            'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",'
            ' opaque="5ccc069c403ebaf9f0171e9517f40e41"'
        ]
    )
    header = one.header("GET", "/dir/index.html")
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in header
    assert 'opaque="5ccc069c403ebaf9f0171e9517f40e41"' in header


def test_the_better_hash_is_chosen() -> None:
    """With qop each request has a count of its own."""
    one = Credentials("u", "p", clear=True)
    one.challenged(
        [
            'Basic realm="x"',
            'Digest realm="x", nonce="1", qop="auth,auth-int"',
            'Digest realm="x", nonce="2", qop="auth", algorithm=SHA-256',
        ]
    )
    first, second = one.header("PLAY", "rtsp://h/x"), one.header("PLAY", "rtsp://h/x")
    assert 'nonce="2"' in first
    assert "algorithm=SHA-256" in first
    assert re.search(r'response="[0-9a-f]{64}"', first)
    assert "nc=00000001" in first
    assert "nc=00000002" in second


def test_no_password_in_clear_text_unless_the_operator_says_so() -> None:
    """Whoever stands between may ask for Basic in the camera's place."""
    assert refused(Credentials("u", "p", clear=False), 'Basic realm="x"') is Trouble.CLEAR_PASSWORD
    one = Credentials("u", "p", clear=True)
    one.challenged(['Basic realm="x"'])
    assert one.header("GET", "/") == f"Basic {base64.b64encode(b'u:p').decode()}"


def test_a_wrong_password_is_tried_once() -> None:
    one = Credentials("u", "p", clear=False)
    one.challenged(['Digest realm="x", nonce="1"'])
    assert refused(one, 'Digest realm="x", nonce="2"') is Trouble.CREDENTIALS
    assert refused(Credentials("", "", clear=True), 'Basic realm="x"') is Trouble.CREDENTIALS
    assert refused(Credentials("u", "p", clear=True), "Bearer") is Trouble.CREDENTIALS


def test_a_stale_nonce_is_replaced() -> None:
    """A few times: a camera cannot have us answer for ever."""
    one = Credentials("u", "p", clear=False)
    one.challenged(['Digest realm="x", nonce="1"'])
    for number in range(2, 12):
        assert f'nonce="{number - 1}"' in one.header("OPTIONS", "rtsp://h/x")
        try:
            one.challenged([f'Digest realm="x", nonce="{number}", stale=true'])
        except SourceFailed:
            assert number > 8
            return
    pytest.fail("it answered for ever")
