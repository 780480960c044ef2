"""The certificate of `run.sh --https`: what it says, who trusts it, what its authority cannot do,
how it is kept.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from scripts.local_certificate import (
    LEAF_DAYS,
    CertificateStore,
    Identity,
    IssuedFiles,
    host_names,
    is_lan,
    list_general_names,
    make_leaf,
    parse_stable_ipv6,
    read_pair,
    to_pem,
)
from server.features.pairing.settings import read_secret
from tests.support.documents import ROOT
from tests.support.programs import ran

NOW = datetime.now(UTC).replace(microsecond=0)


def identity(*addresses: str, name: str = "vm") -> Identity:
    return Identity((name, f"{name}.local"), tuple(map(ipaddress.ip_address, addresses)))


HOME = identity("192.168.1.5", "fd00::2")


def provide(
    folder: Path, who: Identity = HOME, now: datetime = NOW
) -> tuple[IssuedFiles, x509.Certificate, x509.Certificate]:
    """The paths, the server's certificate and the authority's."""
    issued = CertificateStore(folder).provide(who, "on vm", now)
    return (
        issued,
        x509.load_pem_x509_certificate(issued.server.read_bytes()),
        x509.load_pem_x509_certificate(issued.authority.read_bytes()),
    )


def shake_hands(server: Path, authority: Path, host: str) -> None:
    """A TLS handshake of Python's own client, which trusts `authority` alone.

    Raises ssl.SSLCertVerificationError.
    """
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(server)
    asking = ssl.create_default_context(cafile=str(authority))
    asking.verify_flags |= ssl.VERIFY_X509_STRICT
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(down, up, server_hostname=host)
    other = serving.wrap_bio(up, down, server_side=True)
    waiting = [client, other]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass


@pytest.mark.parametrize(
    "host", ["192.168.1.5", "fd00::2", "vm", "vm.local", "localhost", "127.0.0.1", "::1"]
)
def test_whoever_trusts_the_authority_trusts_the_server(host: str, tmp_path: Path) -> None:
    """By each name and address of this machine, with strict checks of the chain."""
    issued, _, _ = provide(tmp_path)
    shake_hands(issued.server, issued.authority, host)


@pytest.mark.parametrize("host", ["192.168.1.6", "vm.example", "fd00::3"])
def test_it_is_no_certificate_for_others(host: str, tmp_path: Path) -> None:
    """Another host's name or address does not match."""
    issued, _, _ = provide(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake_hands(issued.server, issued.authority, host)


@pytest.mark.parametrize("host", ["192.168.1.1", "bank.example", "local", "fd00::1", "8.8.8.8"])
def test_a_stolen_authority_can_pretend_to_be_nobody_else(host: str, tmp_path: Path) -> None:
    """Certificates that its key signs for a router or a bank are refused: the constraints hold."""
    issued, _, _ = provide(tmp_path)
    key, certificate = read_pair(issued.authority.parent / "authority.pem")
    try:
        name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        name = x509.DNSName(host)
    forged = tmp_path / "forged.pem"
    forged.write_bytes(to_pem(*make_leaf(key, certificate, [name], NOW)))
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        shake_hands(forged, issued.authority, host)


def test_what_the_certificates_say(tmp_path: Path) -> None:
    """The authority signs leaves and nothing below them, for this host alone; the leaf is a
    server's, within Apple's limits.
    """
    _, leaf, authority = provide(tmp_path)
    extensions = authority.extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature
    constraints = extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    permitted = {str(name.value) for name in constraints.value.permitted_subtrees or ()}
    assert permitted == {
        *("vm", "vm.local", "localhost", "192.168.1.5/32", "fd00::2/128"),
        *("127.0.0.1/32", "::1/128"),
    }
    purpose = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [use.dotted_string for use in purpose] == ["1.3.6.1.5.5.7.3.1"]
    assert leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == list_general_names(HOME)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc < timedelta(days=LEAF_DAYS)
    assert LEAF_DAYS <= 398
    assert leaf.not_valid_before_utc <= NOW - timedelta(days=1)
    assert leaf.signature_hash_algorithm is not None
    assert leaf.signature_hash_algorithm.name == "sha256"
    leaf.verify_directly_issued_by(authority)
    mine = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    its = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert mine.key_identifier == its.digest


def test_the_next_start_uses_what_is_there(tmp_path: Path) -> None:
    """Same authority, same certificate: a phone that accepted either is not asked again."""
    first, leaf, authority = provide(tmp_path)
    second, *again = provide(tmp_path, now=NOW + timedelta(days=300))
    assert first.new_authority
    assert not second.new_authority
    assert again == [leaf, authority]


def test_a_certificate_near_its_end_is_made_anew(tmp_path: Path) -> None:
    """With less than a month left, by the same authority."""
    _, leaf, authority = provide(tmp_path)
    later = NOW + timedelta(days=LEAF_DAYS - 30)
    second, renewed, same = provide(tmp_path, now=later)
    assert not second.new_authority
    assert renewed != leaf
    assert same == authority
    assert renewed.not_valid_after_utc > later + timedelta(days=300)


def test_an_authority_near_its_end_is_made_anew(tmp_path: Path) -> None:
    """It must outlive what it signs."""
    provide(tmp_path)
    later, leaf, authority = provide(tmp_path, now=NOW + timedelta(days=3300))
    assert later.new_authority
    assert leaf.not_valid_after_utc <= authority.not_valid_after_utc


def test_a_clock_that_went_back_gets_a_certificate_that_is_valid(tmp_path: Path) -> None:
    """One that begins in the future would be refused by every phone."""
    provide(tmp_path)
    past = NOW - timedelta(days=30)
    _, leaf, _ = provide(tmp_path, now=past)
    assert leaf.not_valid_before_utc <= past


def test_another_network_gets_its_own_authority_and_the_first_comes_back(tmp_path: Path) -> None:
    """The old constraints miss a new address; back home the phone knows the authority again."""
    _, _, home = provide(tmp_path)
    away, leaf, office = provide(tmp_path, identity("10.0.0.7"))
    assert away.new_authority
    assert office != home
    shake_hands(away.server, away.authority, "10.0.0.7")
    back, _, authority = provide(tmp_path)
    assert (back.new_authority, authority) == (False, home)
    # An address that is gone needs no new authority, only a certificate without it.
    fewer, leaf, authority = provide(tmp_path, identity("192.168.1.5"))
    assert (fewer.new_authority, authority) == (False, home)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == list_general_names(identity("192.168.1.5"))


def test_keys_are_their_owners_alone(tmp_path: Path) -> None:
    """Folders 0700, files 0600, also under a careless umask; the file to give away holds no key."""
    before = os.umask(0)
    try:
        issued, _, _ = provide(tmp_path / "new")
    finally:
        os.umask(before)
    folders = [tmp_path / "new", issued.server.parent]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    keys = [path for path in issued.server.parent.iterdir() if b"PRIVATE KEY" in path.read_bytes()]
    assert sorted(path.name for path in keys) == ["authority.pem", "server.pem"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}


@contextmanager
def damaged(path: Path, how: str) -> Iterator[None]:
    text = path.read_bytes()
    match how:
        case "empty":
            path.write_bytes(b"")
        case "half":
            path.write_bytes(text[: len(text) // 2])
        case "readable":
            path.chmod(0o640)
        case "gone":
            path.unlink()
    yield


@pytest.mark.parametrize("how", ["empty", "half", "readable", "gone"])
@pytest.mark.parametrize("name", ["authority.pem", "server.pem"])
def test_what_can_not_be_used_is_made_anew(name: str, how: str, tmp_path: Path) -> None:
    """Damaged, or readable by others so the key may be known: a new one, and a sentence on it."""
    issued, leaf, _ = provide(tmp_path)
    with damaged(issued.server.parent / name, how):
        reaper = CertificateStore(tmp_path)
        again = reaper.provide(HOME, "on vm", NOW)
    assert again.new_authority is (name == "authority.pem")
    renewed = x509.load_pem_x509_certificate(again.server.read_bytes())
    assert renewed != leaf
    shake_hands(again.server, again.authority, "192.168.1.5")
    told = " ".join(reaper.remarks)
    assert ("a new one is created" in told and name in told) is (
        how != "gone" or name == "authority.pem"
    )


def test_two_starts_at_once_make_one_authority(tmp_path: Path) -> None:
    """The second waits and finds what the first made."""
    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(lambda _: CertificateStore(tmp_path).provide(HOME, "on vm", NOW), range(4))
        )
    assert sum(issued.new_authority for issued in results) == 1
    assert len({issued.authority for issued in results}) == 1


def test_the_key_of_paired_devices_is_kept(tmp_path: Path) -> None:
    """From start to start, for its owner alone; made anew when that is asked for, or when others
    could have read it.
    """
    reaper = CertificateStore(tmp_path)
    path = reaper.get_device_key_path()
    first = read_secret(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert CertificateStore(tmp_path).get_device_key_path() == path
    assert read_secret(path) == first
    assert not reaper.remarks
    reaper.get_device_key_path(renew=True)
    second = read_secret(path)
    assert second != first
    path.chmod(0o640)
    reaper.get_device_key_path()
    assert read_secret(path) not in (first, second)
    path.write_text("short")
    reaper.get_device_key_path()
    assert len(read_secret(path)) == 64
    assert len(reaper.remarks) == 2


def test_the_command_prints_settings(tmp_path: Path) -> None:
    """A line each for run.sh, the folder below XDG_CONFIG_HOME; a sentence if it cannot write."""
    command = [sys.executable, "-m", "scripts.local_certificate"]
    bare = {"PATH": os.environ["PATH"]}
    done = ran(command, cwd=ROOT, env={**bare, "XDG_CONFIG_HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    settings = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert settings["HTTPS_ENABLED"] == "true"
    assert settings["SSL_CERT_PATH"].startswith(f"{tmp_path}/qwen-camera/https/")
    assert settings["PAIRING_HOSTS"]
    shake_hands(Path(settings["SSL_CERT_PATH"]), Path(settings["CA_CERT_PATH"]), "localhost")
    key = Path(settings["DEVICE_KEY_PATH"])
    assert key.parent == tmp_path / "qwen-camera/https"
    assert (key.stat().st_mode & 0o777, len(read_secret(key))) == (0o600, 64)
    (tmp_path / "file").touch()
    failed = ran(command, cwd=ROOT, env={**bare, "XDG_CONFIG_HOME": str(tmp_path / "file")})
    assert failed.returncode == 1
    assert "XDG_CONFIG_HOME" in failed.stderr
    assert failed.stdout == ""


# Names and addresses


@pytest.mark.parametrize(
    ("hostname", "names"),
    [
        ("Desk-7", ("desk-7", "desk-7.local")),
        ("mac.local", ("mac.local", "mac")),
        ("cam.example.org", ("cam.example.org", "cam", "cam.local")),
        ("cam.example.org.", ("cam.example.org", "cam", "cam.local")),
        *((nothing, ()) for nothing in ("", "localhost", "a_b", "-a", "192.168.1.5", "a" * 64)),
    ],
)
def test_host_names(hostname: str, names: tuple[str, ...]) -> None:
    """As DNS and multicast DNS have it; what is no name gives none."""
    assert host_names(hostname) == names


@pytest.mark.parametrize(
    ("interface", "address", "counts"),
    [
        ("eth0", "192.168.1.5", True),
        ("wlan0", "10.1.2.3", True),
        ("en0", "172.20.0.4", True),
        ("tailscale0", "100.64.0.9", True),
        ("docker0", "172.17.0.1", False),
        ("br-1234567890ab", "172.18.0.1", False),
        ("veth1234", "172.18.0.2", False),
        ("virbr0", "192.168.122.1", False),
        ("tun0", "10.8.0.2", False),
        ("lo", "127.0.0.1", False),
        ("lo", "10.0.0.1", False),
        ("eth0", "169.254.3.4", False),
        ("eth0", "fe80::1", False),
        ("eth0", "fd00::2", True),
        ("eth0", "fd00::dead", False),
    ],
)
def test_what_a_phone_reaches(interface: str, address: str, counts: bool) -> None:
    """Addresses of networks with phones; no loopback, link-local, containers or tunnels."""
    stable = {ipaddress.IPv6Address("fd00::2")}
    assert is_lan(interface, ipaddress.ip_address(address), stable) is counts


def test_only_lasting_ipv6_addresses_count() -> None:
    """A privacy address is another one tomorrow, and so is one with a lifetime: the provider's
    prefix changes.
    """
    table = (
        "fd000000000000000000000000000002 04 40 00 82     eth0\n"
        "20010db8000000000000000000000003 04 40 00 00     eth0\n"
        "20010db8000000000000000000000004 04 40 00 01     eth0\n"
        "20010db8000000000000000000000005 04 40 00 a0     eth0\n"
        "20010db8000000000000000000000006 04 40 00 c0     eth0\n"
        "nonsense\n"
    )
    assert parse_stable_ipv6(table) == {ipaddress.IPv6Address("fd00::2")}
