"""What a service gets from a .env file: the values that the server itself reads from it, and no empty secret."""

from __future__ import annotations

from io import StringIO

import pytest
from dotenv import dotenv_values
from hypothesis import example, given
from hypothesis import strategies as st

from deploy.service_settings import SECRETS, empty_secrets, quoted, service_settings

SET = "JWT_SECRET_KEY=abc\nACCESS_CODE=def\n"


def read(text: str) -> dict[str, str | None]:
    return dict(dotenv_values(stream=StringIO(text), interpolate=False))


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("PORT=8010  # behind nginx", "8010"),
        ("PORT = 8010", "8010"),
        ("export PORT=8010", "8010"),
        ("PORT='8010' # why", "8010"),
        ('PORT="a # b"', "a # b"),
        ("PORT=a#b", "a#b"),
        ("PORT= # none", ""),
        ("PORT=it's", "it's"),
        (r'PORT="a\"b\\c"', 'a"b\\c'),
        ("PORT=", ""),
        ("PORT=two words", "two words"),
        ("PORT=8010\r", "8010"),
    ],
)
def test_a_value_stands_alone(line: str, value: str) -> None:
    """Without the comment behind it, which systemd would keep; with quotes where both readers need them."""
    made = service_settings(f"# Kept\n{SET}{line}\n")
    assert read(f"{line}\n") == {"PORT": value}
    assert made == f"# Kept\n{SET}PORT={quoted(value)}\n"
    assert read(made)["PORT"] == value


@given(st.text(alphabet="ab #'\"\\$={}\té", max_size=12))
@example("a' #b")
def test_it_reads_as_the_server_does(value: str) -> None:
    """Whatever stands behind the equals sign, what is read before is read afterwards."""
    text = f"{SET}ENGINE={value}\n"
    before = read(text)
    if before.get("ENGINE") is not None and len(before) == 3:
        assert read(service_settings(text)) == before


@pytest.mark.parametrize("given", ["", 'JWT_SECRET_KEY=\nACCESS_CODE=""  # none yet\n', "PORT=1\n"])
def test_empty_secrets_are_filled(given: str) -> None:
    """As those of the example are; each time with others."""
    assert empty_secrets(given) == list(SECRETS)
    one, other = read(service_settings(given)), read(service_settings(given))
    for name in SECRETS:
        assert len(str(one[name])) >= 12
        assert one[name] != other[name]


def test_secrets_of_ones_own_are_kept() -> None:
    assert empty_secrets(SET) == []
    assert service_settings(SET) == SET
