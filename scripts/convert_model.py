#!/usr/bin/env python3
"""Quantise a vision-language model for vLLM, or check the weights of one.

    python3 scripts/convert_model.py --model-path P --quantize 8       8-bit floats (FP8), in P-fp8
    python3 scripts/convert_model.py --model-path P --quantize 4       4-bit weights, 16-bit activations, in P-w4a16
    python3 scripts/convert_model.py --model-path P --verify-only      checks every shard of P and prints a table

It needs as much free disk space as the size of the model. It writes to O.partial, verifies that, and renames it to O
at the end. After an interruption, the same command continues. It needs memory for one shard, and no GPU.

Exit status: 0 for success, 1 for a failure, 2 for wrong options, 130 or 143 if it was interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.arguments import create_parser, restart_in_environment
from scripts.models import checkpoint
from scripts.models.checkpoint import FORMS
from scripts.models.disk import format_bytes, get_partial_folder, run_script, say
from server.core import core_dumps


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = create_parser(__doc__)
    add = parser.add_argument
    add("--model-path", type=Path, required=True, help="the model's folder")
    add("--quantize", type=int, choices=(8, 4), help="bits of a weight")
    add(
        "--form",
        choices=("fp8", "int8"),
        help="the 8-bit format: fp8 (the default; vLLM runs it on AMD's MI300 and on NVIDIA from Ada on) or int8"
        " (older NVIDIA; not on AMD, according to vLLM's table of supported hardware)",
    )
    add("--out", type=Path, help="the new folder (beside the model, with the format in its name)")
    add("--verify-only", action="store_true", help="check the shards without changes")
    add("--json", action="store_true", help="with --verify-only: print JSON")
    chosen = parser.parse_args(arguments)
    if chosen.verify_only and (chosen.out or chosen.form):
        parser.error("--verify-only checks only --model-path: remove --out and --form.")
    if not chosen.verify_only and chosen.quantize is None:
        parser.error("Choose what to do: --quantize 8, --quantize 4 or --verify-only.")
    if chosen.json and not chosen.verify_only:
        parser.error("--json requires --verify-only.")
    if chosen.quantize == 4 and chosen.form:
        parser.error(
            f"--form {chosen.form} is an 8-bit format: remove --form, or use --quantize 8."
        )
    chosen.model_path = Path(chosen.model_path).expanduser()
    chosen.form = FORMS["int4" if chosen.quantize == 4 else chosen.form or "fp8"]
    out = chosen.out or chosen.model_path.resolve()
    chosen.out = (
        Path(out).expanduser() if chosen.out else out.with_name(f"{out.name}-{chosen.form.name}")
    )
    return chosen


def check(chosen: argparse.Namespace) -> int:
    from scripts.models import verify

    model = checkpoint.read(chosen.model_path)
    if not chosen.json:
        say(f"{model.folder} has {len(model.shards)} shards, {format_bytes(model.get_size())}.")
    report = verify.verify(model, (lambda _: None) if chosen.json else say)
    if chosen.json:
        print(verify.to_json(report, model.folder))
        return 0 if report.ok else 1
    print(verify.format_table(report))
    if report.ok:
        print(f"All shards are valid: {model.folder}")
        return 0
    print(
        f"Incomplete or damaged: {model.folder}. Download or convert it again; only damaged shards are fetched."
    )
    return 1


def make(chosen: argparse.Namespace) -> int:
    import torch

    from scripts.models import convert

    model = checkpoint.read(chosen.model_path)
    say(
        f"{model.folder} ({format_bytes(model.get_size())}, {len(model.shards)} shards) is converted to {chosen.out}"
        f" ({chosen.form.preset})."
    )
    with torch.no_grad():
        convert.convert(model, chosen.form, chosen.out, say)
    made = checkpoint.read(chosen.out)
    say(
        f"Done: {chosen.out} ({format_bytes(made.get_size())}). To serve it, set MODEL_PATH={chosen.out}"
    )
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse_options(arguments)

    def convert() -> int:
        try:
            # After checking the options, because importing torch takes seconds.
            import torch  # noqa: F401

            from scripts.models import convert  # noqa: F401
        except ModuleNotFoundError as missing:
            restart_in_environment(missing, ".venv-models", "bash scripts/models.sh")
        return check(chosen) if chosen.verify_only else make(chosen)

    def explain_stop() -> str:
        if chosen.verify_only:
            return "Stopped: nothing was changed."
        place = get_partial_folder(chosen.out)
        kept = f" Finished shards are kept in {place}: the same command resumes."
        if not place.exists():
            kept = ""
        return f"Stopped: {chosen.out} was not created.{kept}"

    return run_script(convert, explain_stop)


if __name__ == "__main__":
    core_dumps.forbid_core_dumps()
    sys.exit(main())
