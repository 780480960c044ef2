"""Run a worker's generator in this process, for results that are not visible from outside.

`python -m tests.real_model.generating TINY RANDOM < question.json`, the folders of the tiny model and
of `random_models`. Prints a JSON object.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image

from server.features.local_models.worker import loading, weights
from server.features.local_models.worker.generating import AnswerError, AnswerGenerator, Prompt
from server.features.local_models.worker.loading import LoadedModel
from tests.real_model import hearing

ASKED = json.load(sys.stdin)
PICTURE = Image.new("RGB", (280, 168), tuple(ASKED["color"]))


def loaded(folder: Path) -> LoadedModel:
    named: dict[str, Any] = {"trust_remote_code": True, "local_files_only": True}
    processor = transformers.AutoProcessor.from_pretrained(folder, **named)
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, **named)
    return LoadedModel(model.eval(), processor, weights.read(folder), "cpu", "float32", 8192)


def ask(generator: AnswerGenerator, stop: threading.Event) -> tuple[Any, str]:
    said: list[str] = []
    question = [{"type": "image_url"}, {"type": "text", "text": ASKED["question"]}]
    messages = [
        {"role": "system", "content": ASKED["system"]},
        {"role": "user", "content": question},
    ]
    outcome = generator.answer(Prompt(messages, [PICTURE]), 16, stop, said.append)
    return outcome, "".join(said)


def code(generator: AnswerGenerator) -> str:
    try:
        ask(generator, threading.Event())
    except AnswerError as error:
        return error.code
    return ""


def refused(folder: Path, name: str, content: str | None) -> str:
    """Return the sentence about a folder whose file of that name is gone, or holds this."""
    with tempfile.TemporaryDirectory() as kept:
        copy = Path(kept) / "model"
        shutil.copytree(folder, copy)
        (copy / name).unlink()
        if content is not None:
            (copy / name).write_text(content)
        try:
            options = loading.Options(copy, "float32", "cpu", 8192, True)
            loading.load(options, weights.read(copy), lambda *_: None)
        except loading.LoadError as error:
            return error.message
        return "it was loaded"


def all_refused(folder: Path) -> dict[str, str]:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["intermediate_size"] *= 2
    return {
        "damaged": refused(folder, "tokenizer.json", "{"),
        "no tokenizer": refused(folder, "tokenizer.json", None),
        "no processor": refused(folder, "processor_config.json", None),
        "weights of another model": refused(folder, "config.json", json.dumps(config)),
    }


def no_room(folder: Path) -> list[str]:
    """Return the code and sentence about a model for which the process may not take the memory."""
    with tempfile.TemporaryDirectory() as kept:
        copy = Path(kept) / "model"
        shutil.copytree(folder, copy)
        # A large tensor that nobody needs, as a hole in the file
        file = copy / "model.safetensors"
        raw = file.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length])
        end = len(raw) - 8 - length
        header["large"] = {"dtype": "F32", "shape": [10**9], "data_offsets": [end, end + 4 * 10**9]}
        text = json.dumps(header).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])
        os.truncate(file, 8 + len(text) + end + 4 * 10**9)
        free, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, most))
        try:
            options = loading.Options(copy, "float32", "cpu", 8192, True)
            loading.load(options, weights.read(copy), lambda *_: None)
        except loading.LoadError as error:
            return [error.code, error.message]
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (free, most))
        return ["", "it was loaded"]


def main() -> None:
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    tiny, random = map(Path, sys.argv[1:])
    one = loaded(tiny)
    generator = AnswerGenerator(one)
    layers = one.model.model.language_model.layers
    found: dict[str, Any] = {}

    # Stopped while the first layer works at the prompt
    stop = threading.Event()
    ran: list[int] = []

    def run(number: int) -> Callable[..., None]:
        def told(*_: object) -> None:
            ran.append(number)
            stop.set()

        return told

    hooks = [layer.register_forward_hook(run(number)) for number, layer in enumerate(layers)]
    outcome, _ = ask(generator, stop)
    found["stopped"] = [outcome.reason, outcome.completion_tokens, generator.steps, ran]
    for hook in hooks:
        hook.remove()

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("none left")

    hook = layers[1].register_forward_hook(full)
    found["no memory"] = code(generator)
    hook.remove()
    outcome, said = ask(generator, threading.Event())
    found["after that"] = [outcome.reason, said]
    whole = outcome.prompt_tokens

    # Not even the model's own settings know where it ends.
    known = one.model.generation_config.eos_token_id
    one.model.generation_config.eos_token_id = None
    outcome, said = ask(AnswerGenerator(one), threading.Event())
    found["no end"] = [outcome.reason, said]
    one.model.generation_config.eos_token_id = known

    def overflow(_module: object, _args: object, output: Any) -> Any:
        return (output[0] if isinstance(output, tuple) else output) * float("nan")

    hook = layers[1].register_forward_hook(overflow)
    found["no numbers"] = code(generator)
    hook.remove()

    template = one.processor.chat_template
    one.processor.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + template
    )
    outcome, _ = ask(generator, threading.Event())
    found["no system role"] = whole - outcome.prompt_tokens
    one.processor.chat_template = "{{ raise_exception('nothing') }}"
    found["no template"] = code(generator)
    found["refused"] = all_refused(tiny)
    found["no room"] = no_room(tiny)
    found["heard"] = hearing.found(random)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
