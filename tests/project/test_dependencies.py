"""The use of other packages: declared, locked, and guarded beyond what they document."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import itertools
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "locks").glob("*.txt"))
# Modules that are called otherwise than their distribution
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "dotenv": "python-dotenv",
    "jose": "python-jose",
    "paho": "paho-mqtt",
    "zxingcpp": "zxing-cpp",
}
PYTHONS = ("3.11.9", "3.12.9", "3.13.9")
MACHINES = (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("win32", "AMD64"))

# Parts of packages that our modules override, call or rely on without documentation, with the first
# digits of their source's SHA-256. When one fails after an upgrade: read the change, adapt our
# module, then update the digits.
GUARDED: dict[str, dict[str, str]] = {
    "config.py": {
        "dotenv.parser:parse_stream": "83b0b4348a79",
        "dotenv.parser:Binding": "94d68448dd24",
    },
    "scripts/models/hub.py": {"huggingface_hub.file_download:http_get": "b2d62dc88935"},
    "server/web/protocols.py": {
        "uvicorn.protocols.http.h11_impl:H11Protocol": "c2573d455fed",
        "uvicorn.protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol": "0bbcec989384",
        "websockets.protocol:Protocol.recv_frame": "4f83d3b90ea6",
        "websockets.protocol:Protocol.parse": "45aaf900644b",
        "websockets.protocol:Protocol.fail": "924ae7075dc7",
    },
    "server/features/mqtt/client.py": {
        "paho.mqtt.client:Client._packet_read": "bbe32d8af1e3",
        "paho.mqtt.client:Client._sock_recv": "c3b9043a46dd",
        "paho.mqtt.client:Client.loop_read": "4fa11ca2d451",
        "paho.mqtt.client:Client._loop_rc_handle": "ee5ad3b78494",
        "aiomqtt.client:Client.__init__": "14860cbfeb71",
        "aiomqtt.client:Client.__aenter__": "4ce04cfce6db",
        "aiomqtt.client:Client.__aexit__": "55f5a92b7618",
        "aiomqtt.client:Client._on_connect": "7864d8930bfb",
        "aiomqtt.client:Client._on_disconnect": "06c47e2b6a3c",
        "aiomqtt.client:Client._on_socket_open": "10263ff51d82",
    },
    "server/web/serving.py": {
        "uvicorn.server:Server.__init__": "c150b55284f7",
        "uvicorn.server:Server.startup": "2aa1d70a244b",
        "uvicorn.server:Server.main_loop": "afccb353a119",
        "uvicorn.server:Server.on_tick": "60ea49b06ccf",
        "uvicorn.server:Server.shutdown": "9b33c5056299",
        "uvicorn.server:Server.capture_signals": "e1bbcd4770d1",
        "uvicorn.server:Server.handle_exit": "553276efa26e",
    },
    "scripts/bench/camera_peer.py": {
        "aiortc.rtcrtpsender:RTCRtpSender._send_keyframe": "26c49629470d",
        "aiortc.rtcrtpsender:RTCRtpSender._send_rtcp": "36c0f53aeac6",
        "aiortc.rtcrtpsender:RTCRtpSender._run_rtcp": "51e0a924eac4",
        "aiortc.rtcrtpsender:RTCRtpSender._handle_rtcp_packet": "a4ee4c7355f8",
    },
    "server/webrtc_server.py": {"aiortc.rtcrtptransceiver:RTCRtpTransceiver": "008f7efb6084"},
    "server/media/patches/receiver.py": {
        "aiortc.rtcrtpreceiver:RTCRtpReceiver.__init__": "3e3b7b5cefba",
        "aiortc.rtcrtpreceiver:RTCRtpReceiver.receive": "d6d8d8d7a0bf",
        "aiortc.rtcrtpreceiver:RTCRtpReceiver.stop": "63734b6894ce",
        "aiortc.rtcrtpreceiver:RTCRtpReceiver._handle_disconnect": "8dfa058c843f",
        "aiortc.rtcrtpreceiver:RTCRtpReceiver._handle_rtcp_packet": "ec9f46214c34",
        "aiortc.rtcrtpreceiver:RTCRtpReceiver._handle_rtp_packet": "4e54983d021a",
        "aiortc.rtcrtpreceiver:RTCRtpReceiver._send_rtcp": "9f0bc9f6a8dd",
        "aiortc.rtcrtpreceiver:RTCRtpReceiver._send_rtcp_nack": "5735e597c91b",
        "aiortc.rtcrtpreceiver:RTCRtpReceiver._send_rtcp_pli": "ae74c43d50f6",
        "aiortc.rtcrtpreceiver:RTCRtpReceiver._set_rtcp_ssrc": "3634d142251f",
        "aiortc.rtcrtpreceiver:StreamStatistics": "9cd41a129375",
        "aiortc.rtcpeerconnection:RTCPeerConnection.__createTransceiver": "00201d6e03cc",
        "aiortc.rtcpeerconnection:RTCPeerConnection.__connect": "9199a73a7cde",
        "aiortc.rtcpeerconnection:RTCPeerConnection.__remoteRtp": "1dc79068e0ca",
        "aiortc.rtcpeerconnection:RTCPeerConnection.createAnswer": "f535f80c96a1",
        "aiortc.rtcdtlstransport:RtpRouter": "75abd1c0faf2",
        "aiortc.rtcdtlstransport:RTCDtlsTransport._set_role": "6f0a82da3298",
        "aiortc.rtcdtlstransport:RTCDtlsTransport._handle_rtp_data": "5def9061cc3d",
        "aiortc.rtcdtlstransport:RTCDtlsTransport._recv_next": "998076720c05",
        "aiortc.rtcdtlstransport:RTCDtlsTransport._register_rtp_receiver": "d35a385b0afb",
        "aiortc.rtp:unwrap_rtx": "9b428a97cc83",
        "aiortc.rtp:HeaderExtensions": "93780084a964",
        "aiortc.rtp:HeaderExtensionsMap": "b2094056d6bc",
        "aiortc.rtp:unpack_header_extensions": "d78a8585d2b6",
    },
    "server/media/patches/ice.py": {
        "aioice.ice:Connection.__init__": "a99ae9c97fc6",
        "aioice.ice:Connection.get_component_candidates": "118597a9fcb7",
        "aioice.ice:Connection.gather_candidates": "d33db28d4d1e",
        "aioice.ice:get_host_addresses": "d4a54f9a68c3",
        "aioice.ice:StunProtocol.request": "97991c38f65e",
        "aioice.ice:Connection.close": "25dcfac536f5",
    },
    "server/features/cameras/whip.py": {
        "aiortc.rtcicetransport:RTCIceTransport.__init__": "b11403aba1c3",
        "aiortc.rtcicetransport:RTCIceTransport.addRemoteCandidate": "16d24c05bd36",
        "aiortc.rtcicetransport:RTCIceTransport.stop": "21ec0a44c16c",
        "aiortc.rtcicetransport:RTCIceTransport._monitor": "f74bb1193339",
        "aiortc.rtcdtlstransport:RTCDtlsTransport._recv_next": "998076720c05",
        "aiortc.rtcdtlstransport:RTCDtlsTransport._send_rtp": "763b02bceb0b",
        "aioice.ice:Connection.__init__": "a99ae9c97fc6",
        "aioice.ice:Connection.recvfrom": "676acc01e4a9",
        "aioice.ice:Connection.get_event": "c6b498f52ee9",
        "aioice.ice:Connection._emit_event": "aa9ce9ddf2a5",
        "aioice.ice:Connection.data_received": "5631b17fab71",
        "aioice.ice:Connection.gather_candidates": "d33db28d4d1e",
        "aioice.ice:Connection.close": "25dcfac536f5",
    },
    "server/features/realtime/channel.py": {
        "aiortc.rtcsctptransport:RTCSctpTransport._handle_data": "8661b724e207",
        "aiortc.rtcsctptransport:RTCSctpTransport._receive_sack_chunk": "4b35ccf1372c",
        "aiortc.rtcsctptransport:RTCSctpTransport._send_chunk": "eb2f909e3c2f",
        "aiortc.rtcsctptransport:RTCSctpTransport._mark_received": "2ac68b6a3934",
        "aiortc.rtcsctptransport:RTCSctpTransport.start": "49e4b76964b2",
        "aiortc.rtcsctptransport:InboundStream": "b63993b481ec",
        "aiortc.rtcdtlstransport:RTCDtlsTransport._recv_next": "998076720c05",
    },
    "server/media/patches/datagrams.py": {
        "aiortc.rtcdtlstransport:RTCDtlsTransport._recv_next": "998076720c05",
        "aiortc.rtcdtlstransport:RTCDtlsTransport._setup_srtp": "75cc6ec308f1",
        "aiortc.rtcdtlstransport:RTCDtlsTransport._handle_rtp_data": "5def9061cc3d",
        "aiortc.rtcdtlstransport:RTCDtlsTransport._handle_rtcp_data": "5469e786d77b",
        "aiortc.rtcdtlstransport:RTCDtlsTransport.__run": "24d63d929a10",
        "aiortc.rtcdtlstransport:RtpRouter": "75abd1c0faf2",
        "aioice.ice:StunProtocol.datagram_received": "ff4c8b910d45",
        "aioice.ice:CandidatePair": "774b28dfe5e6",
        "aioice.ice:Connection.check_incoming": "cb3e32bd47e5",
        "aioice.ice:Connection.query_consent": "fe49173a650a",
        "aioice.ice:Connection.connect": "da51be461901",
        "aioice.ice:Connection.request_received": "dcdc9a3862c1",
        "aioice.ice:Connection.check_start": "7de056d252f4",
        "aioice.ice:Connection._valid_username": "865c96811f80",
        "aioice.ice:Connection.close": "25dcfac536f5",
        "aioice.stun:parse_message": "3a0a63ed663f",
        "aioice.stun:Transaction": "7a9c44cb879b",
    },
    "server/shared/turn_check.py": {
        "aioice.turn:TurnClientMixin": "b475c70f7a66",
        "aioice.turn:TurnStreamMixin": "5c7a34b05986",
        "aioice.turn:TurnClientTcpProtocol": "b42a39376b3f",
        "aioice.turn:TurnClientUdpProtocol": "dad449d497d4",
    },
}
# The same for packages of the models' environment, whose ranges are narrow.
GUARDED_FOR_MODELS: dict[str, dict[str, str]] = {
    "server/features/local_models/worker/loading.py": {
        "transformers.processing_utils:ProcessorMixin.check_argument_for_proper_class": "341a1b833fa1",
        "transformers.models.auto.video_processing_auto:AutoVideoProcessor.from_pretrained": "127289e5b495",
    },
    "scripts/models/convert.py": {
        "compressed_tensors.quantization.utils.helpers:calculate_qparams": "9c3d1a994ba4"
    },
}


def source(name: str) -> str:
    """Read `module:Class.method` from its file, whatever was replaced in this process."""
    module, _, path = name.partition(":")
    found = importlib.util.find_spec(module)
    assert found is not None, module
    assert found.origin is not None, module
    return part_of(Path(found.origin), path)


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def part_of(file: Path, path: str) -> str:
    """Read a class, function or method from a Python file."""
    text = file.read_text("utf-8")
    body: list[ast.stmt] = parsed(file).body
    for part in path.split("."):
        (node,) = (
            statement
            for statement in body
            if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and statement.name == part
        )
        body = node.body
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return "".join(text.splitlines(keepends=True)[first - 1 : node.end_lineno])


@pytest.mark.parametrize(
    ("user", "name", "known"),
    [(user, name, known) for user, names in GUARDED.items() for name, known in names.items()],
)
def test_what_is_relied_on_has_not_changed(user: str, name: str, known: str) -> None:
    """The source of what our module relies on is the one that it was written against."""
    assert (ROOT / user).is_file()
    now = hashlib.sha256(source(name).encode()).hexdigest()[:12]
    assert now == known, f"{name} is another one: read it, change {user} with it, then the digits"


@pytest.mark.parametrize(
    ("user", "name", "known"),
    [
        (user, name, known)
        for user, names in GUARDED_FOR_MODELS.items()
        for name, known in names.items()
    ],
)
def test_what_is_relied_on_for_models_has_not_changed(user: str, name: str, known: str) -> None:
    """The same in the models' environment, which is read and not imported."""
    assert (ROOT / user).is_file()
    module, _, path = name.partition(":")
    found = list((ROOT / ".venv-models").glob(f"lib/*/site-packages/{module.replace('.', '/')}.py"))
    if not found:
        pytest.skip(f"{module} is not installed: bash scripts/models.sh")
    now = hashlib.sha256(part_of(found[0], path).encode()).hexdigest()[:12]
    assert now == known, f"{name} is another one: read it, change {user} with it, then the digits"


def test_guarded_packages_are_pinned_exactly() -> None:
    """A new version comes with a look at the guards, not with an install."""
    modules = {name.split(".")[0].split(":")[0] for names in GUARDED.values() for name in names}
    pins = {canonicalize_name(line.name): line for line in requirements("requirements.txt")}
    for package in {DISTRIBUTIONS.get(module, module) for module in modules} | {"av"}:
        version = importlib.metadata.version(package)
        assert str(pins[canonicalize_name(package)].specifier) == f"=={version}"


def requirements(name: str) -> Iterator[Requirement]:
    """The lines of a requirements file and of those that it includes."""
    for line in (ROOT / name).read_text().splitlines():
        if included := re.match(r"-r (.+)", line):
            yield from requirements(included[1])
        elif line and not line.startswith("#"):
            yield Requirement(line)


def programs() -> list[Path]:
    folders = ("server", "scripts", "benchmarks")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return [ROOT / "config.py", *sorted(found)]


@cache
def imports(path: Path) -> tuple[tuple[str, int], ...]:
    """Dotted names of what a file imports from elsewhere than this project and Python itself, with their lines."""
    names: list[tuple[str, int]] = []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    ours = {"benchmarks", "config", "scripts", "server", "tests", "tools"}
    known = ours | sys.stdlib_module_names
    return tuple((name, line) for name, line in names if name.split(".")[0] not in known)


@pytest.mark.slow
def test_each_import_is_declared() -> None:
    """Directly, where it is installed for: the server, the models' environment or the tests."""
    undeclared = []
    for path in programs():
        files = ["requirements.txt"]
        parts = path.relative_to(ROOT).parts
        if (
            path.stem == "worker"
            or any(part.endswith("worker") for part in parts[:-1])
            or parts[:2] == ("scripts", "models")
            or path.name in ("convert_model.py", "llama_wheel.py")
        ):
            files.append("requirements-models.txt")
        if parts[2:5] == ("voice_out", "worker", path.name):
            files.append("requirements-speech.txt")
        if parts[0] == "benchmarks" or path.name == "report.py":
            files.append("requirements-dev.txt")
        declared = {canonicalize_name(line.name) for name in files for line in requirements(name)}
        for name, line in imports(path):
            module = name.split(".")[0]
            package = canonicalize_name(DISTRIBUTIONS.get(module, module))
            if package not in declared:
                undeclared.append(f"{path}:{line}: {package} is in none of {files}")
    assert undeclared == []


@pytest.mark.slow
def test_no_private_name_is_used() -> None:
    """Neither imported, nor as a part of an imported package. Inherited sources are among the guarded."""
    private = []
    for path in programs():
        found = imports(path)
        private += [f"{path}:{line}: {name}" for name, line in found if re.search(r"(^|\.)_", name)]
        packages = {name.split(".")[0] for name, _ in found}
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Attribute) and re.match(r"_(?!_)", node.attr):
                root = node.value
                while isinstance(root, ast.Attribute):
                    root = root.value
                if isinstance(root, ast.Name) and root.id in packages:
                    private.append(f"{path}:{node.lineno}: {ast.unparse(node)}")
    assert private == []


@cache
def locked(path: Path) -> dict[Requirement, list[str]]:
    """The pins of a lock file with their hashes."""
    pins: dict[Requirement, list[str]] = {}
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.M).replace("\\\n", " ")
    for line in text.splitlines():
        pin, *hashes = line.split("--hash=")
        pins[Requirement(pin)] = [digest.strip() for digest in hashes]
    return pins


def active(path: Path, python: str, machine: tuple[str, str]) -> dict[str, str]:
    """The version of each package that a lock has for this Python on this machine; one of each."""
    platform, processor = machine
    environment = {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": platform,
        "platform_machine": processor,
        "platform_system": {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[platform],
        "os_name": "nt" if platform == "win32" else "posix",
    }
    versions: dict[str, str] = {}
    for pin in locked(path):
        if pin.marker is None or pin.marker.evaluate(environment):
            name = canonicalize_name(pin.name)
            assert name not in versions
            versions[name] = str(pin.specifier).removeprefix("==")
    return versions


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_a_lock_holds_exact_versions_and_hashes(path: Path) -> None:
    """And names no index: where files come from is the affair of whoever installs."""
    pins = locked(path)
    assert pins
    for pin, hashes in pins.items():
        assert re.fullmatch(r"==[^*,]+", str(pin.specifier)), pin
        assert hashes, pin
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes), pin
    text = path.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash=)", text, re.M)


@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements*.txt")), ids=lambda path: path.name)
def test_a_lock_fits_its_requirements(path: Path) -> None:
    """Each requirement has one version that it allows, on each machine; else: bash scripts/lock.sh"""
    for python, machine in itertools.product(PYTHONS, MACHINES):
        check_lock(path, python, machine)


def check_lock(path: Path, python: str, machine: tuple[str, str]) -> None:
    versions = active(ROOT / "locks" / path.name, python, machine)
    if path.name == "requirements-models.txt":
        versions |= active(ROOT / "locks" / "torch.txt", python, machine)
    for line in requirements(path.name):
        if line.name == "torch":
            # The CPU build is the same version, outside of the locks.
            assert str(line.specifier).removesuffix("+cpu") == f"=={versions['torch']}"
        else:
            assert line.specifier.contains(versions[canonicalize_name(line.name)]), line


def test_the_locks_for_one_environment_agree() -> None:
    """run.sh, test.sh and the plots install one set of versions into .venv."""
    for python, machine in itertools.product(PYTHONS, MACHINES):
        all_ = active(ROOT / "locks" / "requirements-dev.txt", python, machine)
        for name in ("requirements.txt", "requirements-plots.txt"):
            assert active(ROOT / "locks" / name, python, machine).items() <= all_.items()


def test_filters_are_locked_in_the_versions_of_the_scripts() -> None:
    """The face model, the NSFW filter and uv, which are installed without what they depend on."""
    text = (ROOT / "scripts" / "venv.sh").read_text()
    for variable in ("FACES", "NSFW", "UV"):
        pin = re.search(rf"^{variable}='((\w+)==[^']+)'$", text, re.M)
        assert pin is not None
        assert [str(line) for line in locked(ROOT / "locks" / f"{pin[2]}.txt")] == [pin[1]]
