"""Create a certificate for this machine, from a certificate authority that can certify nothing
else.

Used by `run.sh --https`: prints the server's settings, one per line. The authority is kept in the
user's configuration folder, so that a phone that has accepted it finds the same one at the next
start.

Its name constraints (RFC 5280, section 4.2.1.10) permit only this host's names and single
addresses, not the whole local network, so that a stolen key can impersonate only this machine, not
the router. The cost is a new authority when the address changes; therefore the authorities of the
last networks are kept, and back in the first network its authority, which the phone knows, is used
again.
"""

from __future__ import annotations

import argparse
import fcntl
import ipaddress
import os
import re
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import ifaddr
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# For a start by path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from server.core import core_dumps

# The names and addresses under which devices in the local network reach this machine

Address = IPv4Address | IPv6Address

# Interfaces that no phone reaches: bridges and pairs of containers and virtual machines, and
# tunnels, whose address changes with each start.
_NOT_LAN = re.compile(
    r"docker|br-|veth|virbr|cni|flannel|cali|kube|podman|lxc|lxd|incus|vmnet|vboxnet|vethernet|bridge"
    r"|tun|utun|tap|ppp|awdl|llw|lo\d*$",
    re.IGNORECASE,
)
# Bits of the flags in /proc/net/if_inet6 (linux/if_addr.h).
_TEMPORARY, _DEPRECATED, _TENTATIVE, _PERMANENT = 0x01, 0x20, 0x40, 0x80
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
# Upper bound, so that the certificate stays small.
MAX_ADDRESSES = 16


@dataclass(frozen=True, slots=True)
class Identity:
    """The names and addresses for this machine's certificate, without those of loopback."""

    # Host names in lower case
    names: tuple[str, ...]
    # The address of the default route comes first.
    addresses: tuple[Address, ...]


def host_names(hostname: str) -> tuple[str, ...]:
    """Return the machine's DNS and multicast DNS (RFC 6762) names; empty if its host name is valid for
    neither.

    A host name may be a whole domain name, or already end in .local.
    """
    name = hostname.strip().rstrip(".").lower()
    labels = name.split(".")
    if name in ("", "localhost") or not all(_LABEL.fullmatch(label) for label in labels):
        return ()
    if labels[-1].isdigit():  # an IP address, or what looks like one
        return ()
    return tuple(dict.fromkeys((name, labels[0], f"{labels[0]}.local")))


def is_lan(interface: str, address: Address, stable_ipv6: Iterable[IPv6Address]) -> bool:
    """Return True if devices in the network can reach this address, and it will not change soon."""
    if _NOT_LAN.match(interface):
        return False
    if address.is_loopback or address.is_link_local or address.is_unspecified:
        return False
    return isinstance(address, IPv4Address) or address in stable_ipv6


def parse_stable_ipv6(table: str) -> frozenset[IPv6Address]:
    """Return the IPv6 addresses without a lifetime, from the text of /proc/net/if_inet6.

    The others are privacy addresses (RFC 8981), or have a prefix that the provider changes; each
    change would need a new certificate, which phones would have to accept again.
    """
    found = set()
    for fields in map(str.split, table.splitlines()):
        flags = int(fields[4], 16) if len(fields) == 6 else 0
        if flags & _PERMANENT and not flags & (_TEMPORARY | _DEPRECATED | _TENTATIVE):
            found.add(IPv6Address(int(fields[0], 16)))
    return frozenset(found)


def find_outward_address() -> IPv4Address | None:
    """Return the address of this machine's default route; None if there is none. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # TEST-NET-3 (RFC 5737): routed like any other, but unused.
            probe.connect(("203.0.113.1", 9))
        except OSError:
            return None
        return IPv4Address(probe.getsockname()[0])


def find_identity() -> Identity:
    """Read the current host name and interfaces."""
    try:
        stable = parse_stable_ipv6(Path("/proc/net/if_inet6").read_text(encoding="ascii"))
    except OSError:
        # Not Linux, or no IPv6: stable addresses are unknown.
        stable = frozenset()
    first = find_outward_address()
    found: set[Address] = set()
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            address = ipaddress.ip_address(ip.ip if isinstance(ip.ip, str) else ip.ip[0])
            if is_lan(adapter.nice_name, address, stable):
                found.add(address)
    ordered = sorted(found, key=lambda a: (a != first, a.version, not a.is_private, int(a)))
    return Identity(host_names(socket.gethostname()), tuple(ordered[:MAX_ADDRESSES]))


# The certificate and its authority

LOOPBACK = Identity(("localhost",), (IPv4Address("127.0.0.1"), IPv6Address("::1")))
# Below Apple's limits of 825 days for an authority that the user installed (HT210176) and 398 for a
# public one (HT211025). Long, because a phone that only accepted the certificate asks again for
# each new certificate.
LEAF_DAYS = 397
AUTHORITY_DAYS = 3650
# Validity begins earlier, for phones whose clock is behind.
BACKDATED = timedelta(days=1)

# P-256 with SHA-256, which every browser accepts.
_CURVE = ec.SECP256R1()
Key = ec.EllipticCurvePrivateKey
_ORGANIZATION = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "qwen-camera")


def list_general_names(identity: Identity) -> list[x509.GeneralName]:
    """Return the names and addresses of the identity and of loopback, each once."""
    names = dict.fromkeys((*identity.names, *LOOPBACK.names))
    addresses = dict.fromkeys((*identity.addresses, *LOOPBACK.addresses))
    return [*map(x509.DNSName, names), *map(x509.IPAddress, addresses)]


def to_subtree(name: x509.GeneralName) -> x509.GeneralName:
    """Convert a name to the format of name constraints: an address becomes a network of one address."""
    if isinstance(name, x509.IPAddress):
        return x509.IPAddress(ipaddress.ip_network(name.value))
    return name


def make_authority(
    names: list[x509.GeneralName], label: str, now: datetime
) -> tuple[Key, x509.Certificate]:
    """Create an authority constrained to these names; `label` identifies it in a phone's list."""
    key = ec.generate_private_key(_CURVE)
    common = x509.NameAttribute(NameOID.COMMON_NAME, f"qwen-camera {label}"[:64])
    subject = x509.Name([_ORGANIZATION, common])
    public = key.public_key()
    certificate = (
        _create_builder(subject, subject, public, now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_make_key_usage(certificates=True), critical=True)
        .add_extension(
            x509.NameConstraints([to_subtree(name) for name in names], None), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def make_leaf(
    authority_key: Key, authority: x509.Certificate, names: list[x509.GeneralName], now: datetime
) -> tuple[Key, x509.Certificate]:
    """Create a server's certificate for these names, in subjectAltName only."""
    key = ec.generate_private_key(_CURVE)
    subject = x509.Name([_ORGANIZATION])
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _create_builder(subject, authority.subject, key.public_key(), now, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_make_key_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    return key, certificate


def _create_builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int
) -> x509.CertificateBuilder:
    begin = now - BACKDATED
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=begin,
        # The end is inclusive (RFC 5280, section 4.1.2.5).
        not_valid_after=begin + timedelta(days=days) - timedelta(seconds=1),
    )


def _make_key_usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def to_pem(key: Key | None, certificate: x509.Certificate) -> bytes:
    """Return key and certificate as one text, so that one rename replaces both; the key may be left out."""
    text = certificate.public_bytes(serialization.Encoding.PEM)
    if key is None:
        return text
    return text + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


RENEW_BEFORE_DAYS = 30
# Number of kept authorities, one per network; the least recently used is removed.
MAX_AUTHORITIES = 8
# The minimum of config.py for DEVICE_KEY_PATH
MIN_KEY_CHARS = 32
FORGET_DEVICES = "--forget-devices"


@dataclass(frozen=True, slots=True)
class Authority:
    folder: Path
    key: Key
    certificate: x509.Certificate

    def covers(self, names: list[x509.GeneralName]) -> bool:
        """Return True if the authority's name constraints permit each of these names explicitly."""
        constraints = self.certificate.extensions.get_extension_for_class(x509.NameConstraints)
        permitted = set(constraints.value.permitted_subtrees or ())
        return all(to_subtree(name) in permitted for name in names)


@dataclass(frozen=True, slots=True)
class IssuedFiles:
    """Paths of PEM files: `server` contains the server's key and certificate, `authority` no key."""

    server: Path
    authority: Path
    # True: the authority is new, and each phone has to accept it.
    new_authority: bool


class UnusableFileError(Exception):
    """Raised if a file in the folder cannot be used; the message names the file."""


def write(path: Path, data: bytes) -> None:
    """Write a file atomically, readable only by its owner from the beginning."""
    # mkstemp creates it with mode 0600.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_pair(path: Path) -> tuple[Key, x509.Certificate]:
    """Read a key and its certificate. Raises Unusable, also if others could have read the key."""
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            text = stream.read(65536)
    except OSError as error:
        raise UnusableFileError(f"{path} cannot be read ({error.strerror})") from None
    if status.st_mode & 0o077 or status.st_uid != os.geteuid():
        raise UnusableFileError(f"{path} could be read by others")
    try:
        key = serialization.load_pem_private_key(text, None)
        certificate = x509.load_pem_x509_certificate(text)
    except (ValueError, TypeError):
        raise UnusableFileError(f"{path} is damaged") from None
    if not isinstance(key, Key) or certificate.public_key() != key.public_key():
        raise UnusableFileError(f"{path} is damaged")
    return key, certificate


class CertificateStore:
    """Owns the authorities, each in a folder with `authority.pem` (with key), `ca.crt` and `server.pem`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Sentences about unusable files, for the terminal
        self.remarks: list[str] = []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for this process, and create it if necessary. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def provide(self, identity: Identity, label: str, now: datetime) -> IssuedFiles:
        """Return a server's certificate for `identity`; create it if there is none. Raises OSError."""
        names = list_general_names(identity)
        with self.locked():
            authority = next((a for a in self._read_authorities(now) if a.covers(names)), None)
            new = authority is None
            if authority is None:
                authority = self._make(names, label, now)
            server = authority.folder / "server.pem"
            if not self._is_valid(server, authority, names, now):
                write(server, to_pem(*make_leaf(authority.key, authority.certificate, names, now)))
            shown = authority.folder / "ca.crt"
            write(shown, to_pem(None, authority.certificate))
            # Mark it as used now.
            os.utime(authority.folder)
            for folder in self._list_folders()[MAX_AUTHORITIES:]:
                shutil.rmtree(folder)
        return IssuedFiles(server, shown, new)

    def get_device_key_path(self, *, renew: bool = False) -> Path:
        """Return the file of the key that signs paired devices' tokens.

        `renew` replaces it, which removes all devices. Raises OSError.
        """
        path = self._folder / "device.key"
        with self.locked():
            usable = _is_secret(path)
            if not usable and path.exists():
                self.remarks.append(
                    f"{path} cannot be used: a new key is created, and devices must be paired again."
                )
            if renew or not usable:
                write(path, secrets.token_urlsafe(48).encode() + b"\n")
        return path

    def _read_authorities(self, now: datetime) -> Iterator[Authority]:
        """Yield the usable authorities, most recently used first; report and remove unusable ones."""
        for folder in self._list_folders():
            try:
                key, certificate = read_pair(folder / "authority.pem")
            except UnusableFileError as error:
                self.remarks.append(f"{error}: a new one is created.")
                shutil.rmtree(folder)
                continue
            if certificate.not_valid_after_utc - timedelta(days=LEAF_DAYS) > now:
                yield Authority(folder, key, certificate)

    def _list_folders(self) -> list[Path]:
        folders = [path for path in self._folder.glob("authority-*") if path.is_dir()]
        return sorted(folders, key=lambda path: path.stat().st_mtime_ns, reverse=True)

    def _make(self, names: list[x509.GeneralName], label: str, now: datetime) -> Authority:
        key, certificate = make_authority(names, label, now)
        # mkdtemp creates it with mode 0700; it is renamed once it is complete.
        made = Path(tempfile.mkdtemp(dir=self._folder, prefix=".new-"))
        write(made / "authority.pem", to_pem(key, certificate))
        folder = self._folder / f"authority-{secrets.token_hex(4)}"
        made.rename(folder)
        return Authority(folder, key, certificate)

    def _is_valid(
        self, path: Path, authority: Authority, names: list[x509.GeneralName], now: datetime
    ) -> bool:
        if not path.exists():
            return False
        try:
            _, certificate = read_pair(path)
        except UnusableFileError as error:
            self.remarks.append(f"{error}: a new one is created.")
            return False
        try:
            certificate.verify_directly_issued_by(authority.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return (
            set(alternative.value) == set(names)
            and certificate.not_valid_before_utc <= now
            and certificate.not_valid_after_utc - timedelta(days=RENEW_BEFORE_DAYS) > now
        )


def _is_secret(path: Path) -> bool:
    """Return True if the file is long enough, and nobody else could have read it."""
    try:
        status = path.stat()
        own = status.st_mode & 0o077 == 0 and status.st_uid == os.geteuid()
        return own and len(path.read_bytes().strip()) >= MIN_KEY_CHARS
    except OSError:
        return False


def get_default_folder() -> Path:
    """Return the user's configuration folder by the XDG base directory specification."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # The specification ignores relative paths.
    home = Path(base) if os.path.isabs(base) else Path("~/.config").expanduser()
    return home / "qwen-camera" / "https"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="local_certificate.py",
        description="Create a certificate for this machine, signed by its own certificate authority (kept in"
        " ~/.config/qwen-camera/https), and print the settings for the server. `run.sh --https` runs it.",
    )
    parser.add_argument(
        FORGET_DEVICES, dest="forget", action="store_true", help="end the access of all devices"
    )
    forget_devices: bool = parser.parse_args().forget
    tell = partial(print, file=sys.stderr)
    identity = find_identity()
    now = datetime.now(UTC)
    host = socket.gethostname().partition(".")[0][:32]
    try:
        folder = get_default_folder()
        keeper = CertificateStore(folder)
        issued = keeper.provide(identity, f"on {host}, {now:%Y-%m-%d}", now)
        device_key = keeper.get_device_key_path(renew=forget_devices)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "there is no home directory"
        where = getattr(error, "filename", None) or "~/.config"
        tell(
            f"The certificate for --https cannot be kept in {where}: {reason}. Set XDG_CONFIG_HOME to a folder that"
            " this user may write to."
        )
        return 1
    for remark in keeper.remarks:
        tell(remark)
    if not identity.addresses:
        tell("This machine has no address in a local network: phones cannot reach it yet.")
    if issued.new_authority:
        tell(f"A new certificate authority only for this machine was created in\n{folder}.")
    if forget_devices:
        tell("The access of all paired devices has ended.")
    hosts = [*map(str, identity.addresses), *(n for n in identity.names if n.endswith(".local"))]
    sys.stdout.write(
        "HTTPS_ENABLED=true\n"
        f"SSL_CERT_PATH={issued.server}\n"
        f"SSL_KEY_PATH={issued.server}\n"
        f"CA_CERT_PATH={issued.authority}\n"
        f"DEVICE_KEY_PATH={device_key}\n"
        f"PAIRING_HOSTS={','.join(hosts or ['localhost'])}\n"
    )
    return 0


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    sys.exit(main())
