"""Converts and checks the tiny model in many ways: `python -m tests.real_model.conversions FOLDER`,
some seconds.

Runs in the models' environment, in one process, since importing torch takes longer than all of it.
FOLDER has the taught model (`build`) as `tiny`; one JSON object goes to standard output: what each
case said, and its exit status.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration, logging
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from scripts import convert_model
from scripts.models import disk
from tests.real_model.build import TEMPLATE, picture
from tests.real_model.image_only_processor import ImageOnlyProcessor

FORMS = {"fp8": ["8"], "w8a8": ["8", "--form", "int8"], "w4a16": ["4"]}


class Lesson(NamedTuple):
    system: str
    question: str
    colors: dict[str, list[int]]


def run(*arguments: str | Path) -> dict[str, Any]:
    """Run the script and return its output and exit status."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = convert_model.main([str(one) for one in arguments])
        except SystemExit as ending:
            status = int(ending.code or 0)
    return {"status": status, "out": out.getvalue(), "err": err.getvalue()}


def load(folder: Path) -> Any:
    model, info = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(info.values()), info
    return model.eval()


def split(tiny: Path, source: Path) -> None:
    """As a large model is published: 16-bit floats, in several shards with an index."""
    shutil.copytree(tiny, source, ignore=shutil.ignore_patterns("*.safetensors"))
    load(tiny).to(torch.bfloat16).save_pretrained(source, max_shard_size="60KB")


def said(model: Any, folder: Path, lesson: Lesson) -> tuple[torch.Tensor, list[str]]:
    """The scores at each place of the prompts, and the answers, for a picture of each colour."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    images = Qwen2VLImageProcessorPil.from_pretrained(folder)
    processor = ImageOnlyProcessor(images, tokenizer, chat_template=TEMPLATE)
    rng = np.random.default_rng(3)
    scores, answers = [], []
    for color in lesson.colors.values():
        content = [{"type": "image"}, {"type": "text", "text": lesson.question}]
        messages = [
            {"role": "system", "content": [{"type": "text", "text": lesson.system}]},
            {"role": "user", "content": content},
        ]
        text = processor.apply_chat_template(messages, add_generation_prompt=True)
        inputs = processor(images=[picture(color, rng)], text=[text], return_tensors="pt")
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        with torch.no_grad():
            scores.append(model(**inputs).logits[0].float())
            made = model.generate(**inputs, max_new_tokens=8, do_sample=False)
        new = made[0, inputs["input_ids"].shape[1] :]
        answers.append(tokenizer.decode(new, skip_special_tokens=True))
    return torch.cat(scores), answers


def outputs(folder: Path, lesson: Lesson) -> dict[str, Any]:
    """Each form beside the original: answers, likeness of the scores, and what was left as it was."""
    source = folder / "source"
    before, answers = said(load(source), source, lesson)
    originals = tensors(source)
    found: dict[str, Any] = {"original": {"answers": answers}}
    for form in FORMS:
        made = source.with_name(f"source-{form}")
        after, answers = said(load(made), made, lesson)
        likeness = torch.nn.functional.cosine_similarity(before, after, dim=-1)
        stored = tensors(made)
        config = json.loads((made / "config.json").read_text())["quantization_config"]
        found[form] = {
            "answers": answers,
            "likeness": likeness.mean().item(),
            "same": sorted(
                name
                for name, value in originals.items()
                if name in stored and same(value, stored[name])
            ),
            "changed": sorted(name for name in originals if name not in stored)
            + sorted(
                n for n, v in stored.items() if n in originals and v.dtype != originals[n].dtype
            ),
            "format": config["format"],
            "ignore": config["ignore"],
            "bytes": sum(path.stat().st_size for path in made.glob("*.safetensors")),
        }
    found["original"]["bytes"] = sum(p.stat().st_size for p in source.glob("*.safetensors"))
    return found


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in folder.glob("*.safetensors"):
        found.update(load_file(path))
    return found


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(one.dtype == other.dtype and torch.equal(one, other))


def shard_with(folder: Path, ending: str) -> tuple[Path, str]:
    """The shard that has the first tensor of such a name, and that name."""
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    name = min(name for name in index if name.endswith(ending))
    return folder / index[name], name


def change(folder: Path, ending: str, to: Callable[[torch.Tensor], torch.Tensor | None]) -> None:
    """Another value for one tensor, None for none, written by somebody who writes no record."""
    path, name = shard_with(folder, ending)
    values = load_file(path)
    new = to(values.pop(name))
    if new is not None:
        values[name] = new.contiguous()
    save_file(values, path)
    (folder / "model-files.json").unlink(missing_ok=True)


def flip(folder: Path) -> None:
    path, _ = shard_with(folder, "o_proj.weight")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def cut(folder: Path) -> None:
    path, _ = shard_with(folder, "o_proj.weight")
    path.write_bytes(path.read_bytes()[:-100])
    (folder / "model-files.json").unlink()


def configure(folder: Path, **changes: Any) -> None:
    """Other values in config.json, those of the text model where it has a part of its own."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    place = config if changes.keys() & config.keys() else config["text_config"]
    place.update(changes)
    path.write_text(json.dumps(config))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped bit": flip,
    "cut": cut,
    "shard missing": lambda folder: shard_with(folder, "o_proj.weight")[0].unlink(),
    "nan": lambda folder: change(folder, "norm.weight", lambda v: v.clone().fill_(float("nan"))),
    "nan in 8 bits": lambda folder: change(
        folder, "o_proj.weight", lambda v: torch.full(v.shape, float("nan")).to(v.dtype)
    ),
    "shape": lambda folder: change(folder, "o_proj.weight", lambda v: v[:-8]),
    "dtype": lambda folder: change(folder, "o_proj.weight", lambda v: v.to(torch.bfloat16)),
    "tensor missing": lambda folder: change(folder, "o_proj.weight", lambda _: None),
    "scale": lambda folder: change(folder, "o_proj.weight_scale", lambda v: v * 0),
    "stray shard": lambda folder: (folder / "stray.safetensors").touch(),
    "scale of nothing": lambda folder: change(folder, "o_proj.weight_scale", lambda v: v[:, :0]),
    "scale of all": lambda folder: change(folder, "o_proj.weight_scale", lambda v: v[0, 0]),
    "layers": lambda folder: configure(folder, num_hidden_layers=1),
    "no layers": lambda folder: configure(folder, num_hidden_layers="two"),
    "no heads": lambda folder: configure(folder, num_attention_heads=0),
    "text": lambda folder: configure(folder, text_config=[]),
    "config": lambda folder: (folder / "config.json").write_text("{"),
    "record": lambda folder: (folder / "model-files.json").write_text("[]"),
}


def checks(folder: Path) -> dict[str, Any]:
    """Run --verify-only on whole and on damaged models."""
    found = {
        "original": run("--model-path", folder / "source", "--verify-only"),
        "whole": run("--model-path", folder / "source-fp8", "--verify-only"),
        "4 bits": run("--model-path", folder / "source-w4a16", "--verify-only"),
        "json": run("--model-path", folder / "source-fp8", "--verify-only", "--json"),
        "folder missing": run("--model-path", folder / "none", "--verify-only"),
    }
    other = folder / "other form"
    shutil.copytree(folder / "source-fp8", other)
    configure(other, quantization_config={"quant_method": "awq"})
    found["other form"] = run("--model-path", other, "--verify-only")
    change(other, "o_proj.weight_scale", lambda v: v * float("nan"))
    found["other form, damaged"] = run("--model-path", other, "--verify-only")
    for name, damage in DAMAGES.items():
        copy = folder / "damaged"
        shutil.copytree(folder / "source-fp8", copy)
        damage(copy)
        found[name] = run("--model-path", copy, "--verify-only")
        shutil.rmtree(copy)
    return found


@contextlib.contextmanager
def signalled(number: int, at: str) -> Iterator[None]:
    """The process gets that signal when the script says a line that begins so."""
    say = disk.say

    def told(text: str) -> None:
        say(text)
        if text.startswith(at):
            os.kill(os.getpid(), number)

    with mock.patch.object(convert_model, "say", told):
        yield


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def trouble(folder: Path) -> dict[str, Any]:
    """Interrupted, no room, no permission, wrong models: the messages, and the files left."""
    source, out = folder / "source", folder / "again"
    work = out.with_name("again.partial")
    ask = ("--model-path", source, "--quantize", "8", "--out", out)
    found: dict[str, Any] = {}
    for name, number, at in (
        ("SIGTERM", signal.SIGTERM, "3 of"),
        ("SIGINT", signal.SIGINT, "5 of"),
    ):
        with signalled(number, at):
            found[name] = run(*ask)
        found[name]["left"] = [out.exists(), len(list(work.glob("*.safetensors")))]
    with disk.lock_folder(work):
        found["two at a time"] = run(*ask)
        found["two forms at a time"] = run(*ask[:3], "4", *ask[4:])
        found["two forms at a time"]["left"] = [len(list(work.glob("*.safetensors")))]
    with largest_file(40_000):
        found["write fails"] = run(*ask)
    found["write fails"]["left"] = [out.exists(), work.exists()]
    found["gone on with"] = run(*ask)
    found["gone on with"]["left"] = [out.exists(), work.exists()]
    pairs = [
        (path, out / path.name) for path in (folder / "source-fp8").iterdir() if path.is_file()
    ]
    found["gone on with"]["same"] = all(a.read_bytes() == b.read_bytes() for a, b in pairs)
    found["there already"] = run(*ask)
    shutil.rmtree(out)
    with signalled(signal.SIGTERM, "2 of"):
        run(*ask)
    os.utime(source / "model-00001-of-00011.safetensors")
    found["another original"] = run(*ask)
    shutil.rmtree(out)
    with mock.patch("shutil.disk_usage", return_value=mock.Mock(free=1000)):
        found["no room"] = run(*ask)
    found["no room"]["left"] = [out.exists(), work.exists()]
    found["not writable"] = run(*ask[:-1], "/dev/null/model")
    work.mkdir()
    (work / "mine.txt").touch()
    found["not ours"] = run(*ask)
    found["not ours"]["left"] = [out.exists(), (work / "mine.txt").exists()]
    shutil.rmtree(work)
    found["quantised already"] = run("--model-path", folder / "source-fp8", "--quantize", "8")
    found["inside"] = run(*ask[:-1], source / "fp8")
    found["inside"]["left"] = [(source / "fp8.partial").exists()]
    found["no folder"] = run("--model-path", folder / "none", "--quantize", "8")
    bad: dict[str, Callable[[Path], object]] = {
        "shard missing": lambda f: shard_with(f, "o_proj.weight")[0].unlink(),
        "damaged": lambda f: shard_with(f, "o_proj.weight")[0].write_bytes(b"x" * 100),
        "nan": lambda f: change(f, "o_proj.weight", lambda v: v * float("nan")),
        "another kind": lambda f: (f / "config.json").write_text('{"model_type": "llava"}'),
    }
    for name, damage in bad.items():
        copy = folder / "bad"
        shutil.copytree(source, copy)
        damage(copy)
        found[name] = run("--model-path", copy, "--quantize", "8", "--out", out)
        found[name]["left"] = [out.exists()]
        shutil.rmtree(copy)
        shutil.rmtree(work, ignore_errors=True)
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    lesson = Lesson(**json.load(sys.stdin))
    warnings.simplefilter("ignore")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # More of them are no quicker with so small a model.
    torch.set_num_threads(1)
    split(folder / "tiny", folder / "source")
    made = {
        form: run("--model-path", folder / "source", "--quantize", *words)
        for form, words in FORMS.items()
    }
    found = {
        "made": made,
        "outputs": outputs(folder, lesson),
        "checks": checks(folder),
        "trouble": trouble(folder),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
