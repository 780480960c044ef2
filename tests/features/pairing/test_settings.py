"""The settings of pairing."""

from __future__ import annotations

import re

import pytest

from config import load
from server.features.pairing.settings import PairingSettings
from tests.project.test_config import GOOD_SECRET, read, refused


def test_pairing_hosts_let_nobody_in_without_a_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """They switch auth on and make an access code and a signing key for the run, another one each time."""
    first = read(monkeypatch, PAIRING_HOSTS="192.168.1.5, FD00::0:2,Vm.local", REQUIRE_AUTH="false")
    second = load(None)
    assert PairingSettings.of(first).pairing_hosts == ("192.168.1.5", "fd00::2", "vm.local")
    assert first.require_auth
    assert first.made_access_code
    assert re.fullmatch(
        r"[a-km-np-z2-9]{5}-[a-km-np-z2-9]{5}", first.access_code.get_secret_value()
    )
    assert first.access_code != second.access_code
    assert first.jwt_secret_key != second.jwt_secret_key
    # In the clear, with a warning.
    assert [w.partition(" ")[0] for w in first.warnings] == ["PAIRING_HOSTS"]


def test_an_own_access_code_goes_before_a_made_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then its signing key is the operator's affair as ever, and the code is not shown."""
    said = refused(monkeypatch, PAIRING_HOSTS="vm.local", ACCESS_CODE="open sesame")
    assert said.startswith("JWT_SECRET_KEY is empty")
    settings = read(monkeypatch, JWT_SECRET_KEY=GOOD_SECRET)
    assert settings.access_code.get_secret_value() == "open sesame"
    assert not settings.made_access_code
    monkeypatch.delenv("ACCESS_CODE")
    assert refused(monkeypatch, JWT_SECRET_KEY="short").startswith("JWT_SECRET_KEY has only")


@pytest.mark.parametrize("hosts", ["a b", "https://vm.local", "vm_1", "-a", "fd00::g"])
def test_pairing_hosts_are_names_and_addresses(hosts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(monkeypatch, PAIRING_HOSTS=hosts).startswith("PAIRING_HOSTS is ")


def test_a_list_of_origins_without_this_machine_is_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages that phones open would be refused; with one of them in the list there is no warning."""
    settings = read(monkeypatch, PAIRING_HOSTS="fd00::2,vm.local", ALLOWED_ORIGINS="https://a.test")
    assert "ALLOWED_ORIGINS has no address of this machine" in " ".join(settings.warnings)
    listed = read(monkeypatch, ALLOWED_ORIGINS="https://[fd00::2]:8000")
    assert "ALLOWED_ORIGINS" not in " ".join(listed.warnings)
