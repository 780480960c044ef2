"""Verify a model's shards: index, shapes, dtypes, values, checksums. Reads all of them once."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from scripts.models import record
from scripts.models.checkpoint import (
    FAMILIES,
    FORMS,
    INDEX,
    SINGLE,
    TEXT_LAYER,
    Checkpoint,
    QuantizedFormat,
    get_text_shapes,
    get_text_size,
)
from scripts.models.disk import ModelError, format_bytes

# Dtypes in which a weight that is not quantised may be stored, by their names in safetensors
FLOATS = ("BF16", "F16", "F32")
MOST_PROBLEMS = 5
# Layers of the text model and of the vision tower
_LAYER = re.compile(r"\b(layers|blocks)\.\d+\.")


@dataclass(slots=True)
class ShardReport:
    name: str
    size: int = 0
    tensors: int = 0
    dtypes: Counter[str] = field(default_factory=Counter)
    # Sentences; empty if the shard is valid
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    shards: list[ShardReport]
    # Problems that do not belong to a single shard
    problems: list[str]
    checksums: bool
    # Checks that could not be made
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems and not any(shard.problems for shard in self.shards)


@dataclass(frozen=True, slots=True)
class _Tensor:
    shard: str
    shape: tuple[int, ...]
    dtype: str


def verify(model: Checkpoint, progress: Callable[[str], None] = lambda _: None) -> Report:
    """Verify a model. `progress` gets a line before each shard. Raises ModelError if the record is damaged."""
    known = record.read(model.folder)
    checksums = {} if known is None else known["files"]
    seen: dict[str, _Tensor] = {}
    reports = []
    for number, name in enumerate(model.shards, 1):
        progress(f"Checking {number} of {len(model.shards)}: {name}")
        reports.append(_check_shard(model, name, checksums.get(name), seen))
    by_name = {report.name: report for report in reports}
    problems, notes = _find_unnamed_shards(model), []
    form = _find_form(model)
    if model.quantization is not None and form is None:
        kind = model.quantization.get("format") or model.quantization.get("quant_method")
        notes.append(
            f"shapes and dtypes were not compared with config.json, whose quantization_config ({str(kind)[:40]})"
            " is an unknown format"
        )
    else:
        problems += _check_layout(model, form, seen, by_name)
    return Report(reports, problems, bool(checksums), notes)


def _find_form(model: Checkpoint) -> QuantizedFormat | None:
    """Return the format of a model's weights; None if it is not a supported quantised format."""
    found = str((model.quantization or {}).get("format"))
    return next((form for form in FORMS.values() if form.format == found), None)


def _check_shard(
    model: Checkpoint, name: str, known: dict[str, Any] | None, seen: dict[str, _Tensor]
) -> ShardReport:
    report = ShardReport(name)
    path = model.folder / name
    wrong = report.problems.append
    if not path.is_file():
        wrong(f"is missing{f', though {INDEX} names it' if model.index is not None else ''}")
        return report
    try:
        report.size = path.stat().st_size
        if known is not None and report.size != known["size"]:
            wrong(f"has {report.size} bytes instead of {known['size']}")
        elif known is not None and record.compute_sha256(path) != known["sha256"]:
            wrong("does not match its checksum: it was changed after it was written")
        with safe_open(path, "pt") as file:
            inside = set(file.keys())
            for tensor in sorted(inside):
                part = file.get_slice(tensor)
                found = _Tensor(name, tuple(part.get_shape()), str(part.get_dtype()))
                if tensor in seen:
                    wrong(f"{tensor} is in {seen[tensor].shard}, too")
                seen[tensor] = found
                report.tensors += 1
                report.dtypes[found.dtype] += 1
                if bad := _find_bad_values(file.get_tensor(tensor), tensor):
                    wrong(bad)
    except SafetensorError as error:
        wrong(f"is damaged: {str(error).splitlines()[0][:120]}")
        return report
    except OSError as error:
        wrong(f"cannot be read ({error.strerror})")
        return report
    if model.index is not None:
        expected = {tensor for tensor, shard in model.index.items() if shard == name}
        report.problems += [f"lacks {one}" for one in _shorten_list(expected - inside)]
        report.problems += [
            f"contains {one}, which is not in {INDEX}" for one in _shorten_list(inside - expected)
        ]
    return report


def _find_bad_values(values: torch.Tensor, name: str) -> str:
    if not values.is_floating_point():
        return ""
    # 8-bit floats have no isfinite on a CPU; e4m3fn has NaN and no infinity.
    wide = values if values.dtype.itemsize > 1 else values.to(torch.float16)
    if not bool(torch.isfinite(wide).all()):
        kind = "NaN" if bool(torch.isnan(wide).any()) else "infinity"
        count = int((~torch.isfinite(wide)).sum())
        return f"{name} has {kind} in {count} of {values.numel()} values"
    if name.endswith("_scale") and not bool((wide > 0).all()):
        return f"{name} has scales that are not above zero"
    return ""


def _find_unnamed_shards(model: Checkpoint) -> list[str]:
    """Return a sentence for each shard that is not named, because a model server loads every *.safetensors file."""
    there = {path.name for path in model.folder.glob("*.safetensors")}
    return [
        f"{name} is in the folder and not in {INDEX if model.index is not None else SINGLE}: remove it"
        for name in _shorten_list(there - set(model.shards))
    ]


def _check_layout(
    model: Checkpoint,
    form: QuantizedFormat | None,
    seen: dict[str, _Tensor],
    reports: dict[str, ShardReport],
) -> list[str]:
    """Compare names, shapes and dtypes with config.json. Problems are added to the reports of the shards."""
    problems: list[str] = []
    known = model.config.get("model_type") in FAMILIES
    kinds: dict[str, list[tuple[str, _Tensor]]] = defaultdict(list)
    for name, tensor in seen.items():
        layer, _, ending = name.rpartition(".")
        weight = ending in ("weight", "weight_packed") and TEXT_LAYER.fullmatch(layer)
        if not (known and weight):
            kinds[_LAYER.sub(r"\1.N.", name)].append((name, tensor))
    if known:
        try:
            problems += _check_text_layers(model, seen, reports, form is not None and form.stored)
        except ModelError as error:
            problems.append(error.message)
    # Other tensors that occur in each layer have the same shape and dtype in all.
    for alike in kinds.values():
        usual = Counter((one.shape, one.dtype) for _, one in alike).most_common(1)[0][0]
        for name, one in alike:
            if (one.shape, one.dtype) != usual and name not in _format_problems(reports[one.shard]):
                reports[one.shard].problems.append(
                    f"{name} is {_format(one)}, in the other layers it is {list(usual[0])} {usual[1]}"
                )
    stored = () if form is None else (form.stored, "I64")
    for name, one in seen.items():
        if one.dtype not in (*FLOATS, *stored) and name not in _format_problems(reports[one.shard]):
            reports[one.shard].problems.append(f"{name} is {one.dtype}, which is not expected")
    return problems


def _check_text_layers(
    model: Checkpoint, seen: dict[str, _Tensor], reports: dict[str, ShardReport], stored: str | bool
) -> list[str]:
    shapes = get_text_shapes(model)
    layers = get_text_size(model, "num_hidden_layers")
    missing = {f"layer {layer}: {part}" for layer in range(layers) for part in shapes}
    for name, tensor in seen.items():
        match = TEXT_LAYER.fullmatch(name.rpartition(".")[0])
        ending = name.rpartition(".")[2]
        if match is None or ending not in ("weight", "weight_packed"):
            continue
        missing.discard(f"layer {match['layer']}: {match['part']}")
        wrong = reports[tensor.shard].problems.append
        if int(match["layer"]) >= layers:
            wrong(f"{name} belongs to an unexpected layer; config.json says {layers} layers")
        rows, columns = shapes[match["part"]]
        if stored and tensor.dtype != stored:
            wrong(f"{name} is {tensor.dtype}, config.json says it is quantised to {stored}")
        elif not stored and tensor.dtype not in FLOATS:
            wrong(f"{name} is {tensor.dtype}, and config.json has no quantization_config")
        if tensor.shape != (rows, columns // 8 if ending == "weight_packed" else columns):
            wrong(f"{name} is {_format(tensor)}, by config.json it is {[rows, columns]}")
        if stored:
            scale = seen.get(f"{name.rpartition('.')[0]}.weight_scale")
            if scale is None:
                wrong(f"{name} has no weight_scale")
            elif not _has_fitting_scales(scale.shape, rows, columns):
                wrong(f"the weight_scale of {name} is {_format(scale)}, which does not fit")
    return [
        f"there is no weight for {place}; config.json says {layers} layers"
        for place in _shorten_list(missing)
        if not any(report.problems for report in reports.values())
    ]


def _has_fitting_scales(scale: tuple[int, ...], rows: int, columns: int) -> bool:
    """Return True if the scales are per row, or per group of columns in each row."""
    return len(scale) == 2 and scale[0] == rows and scale[1] > 0 and columns % scale[1] == 0


def _format_problems(report: ShardReport) -> str:
    return " ".join(report.problems)


def _format(tensor: _Tensor) -> str:
    return f"{list(tensor.shape)} {tensor.dtype}"


def _shorten_list(found: Iterable[str]) -> list[str]:
    return sorted(found)[:MOST_PROBLEMS]


def format_table(report: Report) -> str:
    """Format a report for a terminal: a line for each shard with its problems below, then the other problems."""
    width = max(len(shard.name) for shard in report.shards)
    lines = [f"{'shard':<{width}}  {'size':>10}  {'tensors':>7}  {'dtypes':<24}  state"]
    for shard in report.shards:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(shard.dtypes.items()))
        state = "BAD" if shard.problems else "ok"
        lines.append(
            f"{shard.name:<{width}}  {format_bytes(shard.size):>10}  {shard.tensors:>7}  {kinds:<24}  {state}"
        )
        lines += [f"    {problem}" for problem in shard.problems[:MOST_PROBLEMS]]
        if (more := len(shard.problems) - MOST_PROBLEMS) > 0:
            lines.append(f"    and {more} more")
    lines += [f"Besides: {problem}." for problem in report.problems]
    lines += [f"Look: {note}." for note in report.notes]
    if not report.checksums:
        lines.append(f"No checksums were compared: there is no {record.NAME}.")
    return "\n".join(lines)


def to_json(report: Report, folder: Path) -> str:
    content = {
        "folder": str(folder),
        "ok": report.ok,
        "checksums": report.checksums,
        "problems": report.problems,
        "notes": report.notes,
        "shards": [
            {
                "name": shard.name,
                "bytes": shard.size,
                "tensors": shard.tensors,
                "dtypes": dict(shard.dtypes),
                "problems": shard.problems,
            }
            for shard in report.shards
        ],
    }
    return json.dumps(content, indent=2)
