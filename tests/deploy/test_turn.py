"""deploy/turnserver.conf and deploy/nginx-turn-sni.conf, read by the real programs."""

from __future__ import annotations

import ipaddress
import re
import shutil
from pathlib import Path

import pytest

from tests.support.namespaces import Network, require
from tests.support.programs import ran
from tests.support.turn_server import configuration, make_certificate, turn_server

DEPLOY = Path(__file__).parents[2] / "deploy"
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


def settings() -> list[tuple[str, str]]:
    lines = (DEPLOY / "turnserver.conf").read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return [(key, value) for key, _, value in pairs]


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "169.254.169.254", "100.64.0.1"),
        *("224.0.0.1", "255.255.255.255", "0.0.0.0", "198.18.0.1", "1.1.1.1", "203.0.113.5"),
        *(
            "::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2002:a00:1::",
        ),
        *("2606:4700::1111", "2a00:1450::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ],
)
def test_what_the_relay_must_not_reach(address: str) -> None:
    """Anything, inside, on the machine itself or in the internet, but for the server that is named."""
    wanted = ipaddress.ip_address(address)
    within = []
    for key, value in settings():
        # Nobody is allowed before the operator has named the server.
        assert key != "allowed-peer-ip"
        if key == "denied-peer-ip":
            low, _, high = value.partition("-")
            first, last = ipaddress.ip_address(low), ipaddress.ip_address(high)
            # coturn takes an unspecified IPv6 bound as none, for both families at once.
            assert not (first.version == 6 and first.is_unspecified)
            if first.version == wanted.version:
                within.append(int(first) <= int(wanted) <= int(last))
    assert any(within)


def test_the_relay_is_hardened() -> None:
    """Fresh credentials only, quotas, UDP relays only, no old TLS, no control port, and no secret
    that works.
    """
    found = dict(settings())
    for flag in (
        *("use-auth-secret", "fingerprint", "no-tcp-relay", "no-multicast-peers", "no-cli"),
        *("no-tlsv1", "no-tlsv1_1", "no-software-attribute", "no-dtls"),
    ):
        assert flag in found
    assert not {"no-auth", "allow-loopback-peers", "user", "cli-password"} & found.keys()
    for key in ("user-quota", "total-quota", "max-bps", "bps-capacity", "stale-nonce"):
        assert int(found[key]) > 0
    assert found["static-auth-secret"] == "CHANGE-ME"


async def test_coturn_starts_with_it(tmp_path: Path) -> None:
    """The real one takes every line, says nothing of wrong ones, and denies all the ranges."""
    require("turnserver")
    with Network() as net:
        relay, other = net.namespace("relay"), net.namespace("other")
        net.cable(relay, "10.99.2.1/24", other, "10.99.2.2/24")
        text = configuration("10.99.2.1", make_certificate(tmp_path, "10.99.2.1"))
        async with turn_server(relay, "10.99.2.1", tmp_path, text) as coturn:
            ranges = re.findall(r"Black listing: (\S+)", coturn.said)
            assert ranges == [value for key, value in settings() if key == "denied-peer-ip"]
            for word in ("Bad configuration", "WARNING: ", "Wrong", "rror", "unknown"):
                assert word not in coturn.said, coturn.said


def test_nginx_takes_the_stream_configuration(tmp_path: Path) -> None:
    """`nginx -t` finds nothing wrong with it."""
    if shutil.which("nginx") is None or not STREAM_MODULE.exists():
        pytest.skip("nginx or its stream module is missing; scripts/test.sh installs both.")
    whole = tmp_path / "nginx.conf"
    whole.write_text(
        f"load_module {STREAM_MODULE};\npid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\n"
        f'include "{DEPLOY}/nginx-turn-sni.conf";\n'
    )
    done = ran(["nginx", "-t", "-c", str(whole), "-p", str(tmp_path)])
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr
