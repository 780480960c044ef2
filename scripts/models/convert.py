"""Quantise a model folder shard by shard, so that only one shard is in memory and an interrupted run can be resumed.

Tensor names are unchanged, so each vLLM version that loads the original also loads the result. Weights are quantised
with the compressed-tensors library (Apache-2.0, part of the vLLM project, which loads the same format) without data: a
weight's scale depends only on the weight, and activations are scaled while the model runs, so no pictures or texts are
needed. The vision tower, the embeddings and the last layer keep their precision, as in the published quantised Qwen-VL
models.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import compressed_tensors
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import (
    QuantizationConfig,
    QuantizationScheme,
    preset_name_to_scheme,
)
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from scripts.models import checkpoint, disk, record, verify
from scripts.models.checkpoint import INDEX, TEXT_LAYER, Checkpoint, QuantizedFormat
from scripts.models.disk import ModelError

PROGRESS = "progress.json"
LIBRARY_VERSION = str(compressed_tensors.__version__)
# These names are the same in transformers, in vLLM, and in old and new checkpoints.
IGNORED = ["re:.*visual.*", "re:.*lm_head"]
GROUPS = (128, 64, 32)
# Files of other programs or of the download, which do not belong to the model
_LEFT_OUT = (".cache", ".git", record.NAME)


def convert(
    model: Checkpoint, form: QuantizedFormat, out: Path, progress: Callable[[str], None]
) -> None:
    """Quantise a model into `out`, which is created only if complete and verified. Raises ModelError."""
    checkpoint.require_known(model)
    if model.quantization is not None:
        raise ModelError(
            f"{model.folder} is already quantised (quantization_config in its config.json)."
            " Convert the original model; bash scripts/download_model.sh fetches it."
        )
    if out.exists():
        raise ModelError(
            f"{out} already exists. Check it with --verify-only --model-path {out}, remove it, or choose another"
            " name with --out."
        )
    if model.folder.resolve() in out.resolve().parents:
        raise ModelError(
            f"{out} is inside the model's folder. Choose an output folder outside of it with --out."
        )
    shapes = checkpoint.get_text_shapes(model)
    fitting = fit_group(form, {columns for _, columns in shapes.values()})
    if fitting is None:
        raise ModelError(
            f"{form.bits} bits need layers whose columns divide by {min(GROUPS)}; this model's do not."
            " Use --quantize 8."
        )
    lost = [name for name in model.shards if not (model.folder / name).is_file()]
    if lost:
        raise ModelError(
            f"{model.folder} lacks {', '.join(lost[:5])}. Download it again: existing files are kept and checked."
        )
    work = disk.get_partial_folder(out)
    # As much space as the model: an upper bound for the result.
    what, needed = "the converted model", model.get_size()
    if not work.exists():
        # Before any file is written
        disk.require_space(work, needed, what)
    disk.make_folder(work)
    try:
        with disk.lock_folder(work):
            done = _resume(model, fitting, work, progress)
            written = sum(entry["size"] for entry in done.values())
            disk.require_space(work, max(0, needed - written), what)
            _write_shards(model, fitting, work, done, progress)
            _finish(model, fitting, work, done, progress)
            _sync_file(work)
            work.rename(out)
    except OSError as error:
        raise ModelError(
            f"{work} could not be written ({error.strerror or error}). Free some space or repair the disk; the"
            " same command resumes."
        ) from None


def _make_identity(model: Checkpoint, form: QuantizedFormat) -> dict[str, Any]:
    """Return the inputs of the finished shards: the state of the source, and the format."""
    files = {}
    for name in model.shards:
        state = (model.folder / name).stat()
        files[name] = [state.st_size, state.st_mtime_ns]
    return {
        "form": [form.name, form.group, LIBRARY_VERSION],
        "source": str(model.folder.resolve()),
        "files": files,
    }


def _resume(
    model: Checkpoint, form: QuantizedFormat, work: Path, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Return the shards finished by an earlier run, by name; empty `work` if that run had other inputs."""
    if not any(work.iterdir()):
        return {}
    try:
        content = json.loads((work / PROGRESS).read_text("utf-8"))
        same = content["identity"] == _make_identity(model, form)
        done: dict[str, Any] = content["done"]
        whole = all((work / name).stat().st_size == e["size"] for name, e in done.items())
    except (OSError, ValueError, KeyError, TypeError):
        same = whole = False
    if same and whole:
        progress(f"Resuming: {len(done)} of {len(model.shards)} shards are done in {work}.")
        return done
    if not (work / PROGRESS).is_file():
        raise ModelError(
            f"{work} exists, but was not created by this program. Remove it, or choose another --out."
        )
    progress(f"Starting again: {work} is from another model, format or library version.")
    for path in work.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return {}


def _note(work: Path, model: Checkpoint, form: QuantizedFormat, done: dict[str, Any]) -> None:
    content = {"identity": _make_identity(model, form), "done": done}
    record.write_whole(work / PROGRESS, json.dumps(content))


def _write_shards(
    model: Checkpoint,
    form: QuantizedFormat,
    work: Path,
    done: dict[str, Any],
    progress: Callable[[str], None],
) -> None:
    _note(work, model, form, done)
    for number, name in enumerate(model.shards, 1):
        if name in done:
            continue
        tensors = _convert_shard(model, name, form)
        half = work / f"{name}.tmp"
        try:
            save_file(tensors, half, metadata={"format": "pt"})
        except SafetensorError as error:
            half.unlink(missing_ok=True)
            raise OSError(str(error).splitlines()[0]) from None
        half.replace(work / name)
        path = work / name
        done[name] = {
            "size": path.stat().st_size,
            "sha256": record.compute_sha256(path),
            "tensors": sorted(tensors),
        }
        del tensors
        _note(work, model, form, done)
        progress(
            f"{number} of {len(model.shards)}: {name} ({disk.format_bytes(done[name]['size'])})"
        )


def _convert_shard(model: Checkpoint, shard: str, form: QuantizedFormat) -> dict[str, torch.Tensor]:
    chosen = make_scheme(form)
    shapes = checkpoint.get_text_shapes(model)
    tensors: dict[str, torch.Tensor] = {}
    try:
        with safe_open(model.folder / shard, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                value = file.get_tensor(name)
                if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                    raise ModelError(
                        f"{name} in {shard} contains NaN or infinity: the original is damaged. Check it with --verify-only"
                        " and download it again."
                    )
                layer, _, ending = name.rpartition(".")
                match = TEXT_LAYER.fullmatch(layer)
                if match is None or ending != "weight":
                    tensors[name] = value
                    continue
                if tuple(value.shape) != shapes[match["part"]]:
                    raise ModelError(
                        f"{name} in {shard} is {list(value.shape)}, by config.json it is"
                        f" {list(shapes[match['part']])}. Download the model again."
                    )
                for part, made in quantize(value, chosen, form).items():
                    tensors[f"{layer}.{part}"] = made.contiguous()
    except SafetensorError as error:
        raise ModelError(
            f"{model.folder / shard} is damaged: {str(error).splitlines()[0][:120]}. Check all shards with"
            " --verify-only, then download the model again: intact files are kept."
        ) from None
    return tensors


def _finish(
    model: Checkpoint,
    form: QuantizedFormat,
    work: Path,
    done: dict[str, Any],
    progress: Callable[[str], None],
) -> None:
    """Write everything except the shards: other files, index, config.json and record; and verify the model."""
    for path in sorted(model.folder.iterdir()):
        weights = path.name.endswith((".safetensors", ".bin", ".pth", ".pt", ".part"))
        if path.name in _LEFT_OUT or weights or path.name == INDEX:
            continue
        if path.is_dir():
            shutil.copytree(path, work / path.name, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, work / path.name)
    if model.index is not None:
        places = {tensor: name for name, entry in done.items() for tensor in entry["tensors"]}
        total = sum(entry["size"] for entry in done.values())
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
        record.write_whole(work / INDEX, json.dumps(index, indent=2) + "\n")
    config = {**model.config, "quantization_config": make_configuration(form)}
    record.write_whole(work / "config.json", json.dumps(config, indent=2) + "\n")
    # Left behind by a run that was killed while writing
    for path in work.glob("*.tmp"):
        path.unlink()
    report = verify.verify(checkpoint.read(work), progress)
    if not report.ok:
        raise ModelError(
            f"The copy in {work} is damaged:\n{verify.format_table(report)}\nRemove that folder and try again; if"
            " it happens again, the disk or the memory is faulty."
        )
    origin = record.read(model.folder)
    source = {"form": form.name, "of": origin["source"] if origin else model.folder.name}
    files = {name: {"size": e["size"], "sha256": e["sha256"]} for name, e in sorted(done.items())}
    record.write(work, source, files)
    (work / PROGRESS).unlink()


def _sync_file(folder: Path) -> None:
    """Sync the written data to the disk before the file gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


# Quantising


def fit_group(form: QuantizedFormat, columns: set[int]) -> QuantizedFormat | None:
    """Return the format with the largest group that divides every weight's columns; None if there is none."""
    if form.group is None:
        return form
    for group in GROUPS:
        if all(count % group == 0 for count in columns):
            return replace(form, group=group)
    return None


def make_scheme(form: QuantizedFormat) -> QuantizationScheme:
    chosen = preset_name_to_scheme(form.preset, ["Linear"])
    if form.group is not None:
        chosen.weights.group_size = form.group
    return chosen


def quantize(
    weight: torch.Tensor, chosen: QuantizationScheme, form: QuantizedFormat
) -> dict[str, Any]:
    """Return the stored tensors of a weight (rows, columns), by the last part of their names."""
    if form.group is None:
        low, high = torch.aminmax(weight, dim=1, keepdim=True)
    else:
        low, high = torch.aminmax(weight.unflatten(-1, (-1, form.group)), dim=-1)
    scale, _ = calculate_qparams(low, high, chosen.weights)
    compressor = BaseCompressor.get_value_from_registry(form.format)
    return dict(compressor.compress({"weight": weight, "weight_scale": scale}, chosen))


def make_configuration(form: QuantizedFormat) -> dict[str, Any]:
    """Return the `quantization_config` of the new config.json."""
    chosen = make_scheme(form)
    # vLLM 0.9.2 uses version 0.10.2 of the library, which reads the format at the top level.
    whole = QuantizationConfig(
        config_groups={"group_0": chosen},
        ignore=IGNORED,
        format=form.format,
        quantization_status="compressed",
    )
    plain: dict[str, Any] = json.loads(whole.model_dump_json(exclude_none=True))
    return {**plain, "quant_method": "compressed-tensors", "version": LIBRARY_VERSION}
