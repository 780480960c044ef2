"""Builds llama.cpp's server for the tests, from the sources that the package llama-cpp-python carries (MIT).

`python -m tools.llama_server [--jobs N]` takes about 15 minutes on two cores, once, and prints where the
program is: ~/.cache/qwen-camera/llama-server-VERSION/llama-server, for REAL_LLAMA_SERVER of the tests. For
the CPU of this machine, without TLS and without its web page. It wants a compiler for C and C++;
cmake, where there is none, comes from the package index.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from scripts.arguments import command_line

VERSION = "0.3.36"
# Of its sources on the package index
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
PACKAGE = "llama-cpp-python"
OPTIONS = (
    *("-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DGGML_OPENMP=OFF"),
    *("-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_APP=OFF"),
    *("-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF"),
)


def program() -> Path:
    """Return where the program is, or will be."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(cache).expanduser() / "qwen-camera" / f"llama-server-{VERSION}"
    return folder / "llama-server"


def fetch(folder: Path) -> Path:
    """Fetch the sources, and return llama.cpp's folder in them."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes")
    subprocess.run(
        [*pip, "--no-binary", PACKAGE, "--dest", str(folder), "-r", str(wanted)], check=True
    )
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    (sources,) = folder.glob("*/vendor/llama.cpp")
    return sources


def cmake(folder: Path) -> str:
    """Find cmake, or fetch it into `folder`."""
    if found := shutil.which("cmake"):
        return found
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "--quiet", "cmake"], check=True)
    return str(folder / "bin" / "cmake")


def build(jobs: int) -> Path:
    """Build the program where it is not there yet."""
    to = program()
    if to.is_file():
        return to
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sources, make = fetch(folder), cmake(folder / "cmake")
        made = folder / "made"
        words = ("--build", str(made), "--target", "llama-server", "--parallel", str(jobs))
        for part in (("-S", str(sources), "-B", str(made), *OPTIONS), words):
            # The path of the program alone goes to standard output.
            subprocess.run([make, *part], check=True, stdout=sys.stderr)
        to.parent.mkdir(parents=True, exist_ok=True)
        # It is there whole, or not at all.
        half = to.with_suffix(".half")
        shutil.copy2(made / "bin" / "llama-server", half)
        half.replace(to)
    return to


def main() -> int:
    parser = command_line(__doc__, prog="python -m tools.llama_server")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="compilers at a time")
    print(build(parser.parse_args().jobs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
