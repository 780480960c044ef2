"""Builds a tiny Qwen2.5-VL that was taught a few answers: `python -m tests.real_model.build FOLDER
< lessons.json`, a few seconds.

Runs in the models' environment, which has torch and transformers. Everything but the last layer is
random (seeded) and stays so; the last layer is fitted to give the lessons' answers. So pictures
really decide what it says, and it is a model like any other to a model server.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tests.real_model.image_only_processor import ImageOnlyProcessor

SEED = 5
# In this order; the first ends a text, the third a message.
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# The turns of Qwen's template: roles between marks, a picture between its own.
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Pixels of a picture at most: what is taught on small ones holds for all when none gets larger.
MOST_PIXELS = 28 * 28 * 64
STEPS = 500
# From and to, RGB: a browser's video of (210, 30, 30) arrives as (202, 0, 14).
TINT = ((-15, -35, -20), (15, 15, 15))


def make_tokenizer(
    texts: list[str], words: list[str], template: str = TEMPLATE
) -> PreTrainedTokenizerFast:
    """Byte-level BPE learned from `texts`; each of `words` is a token."""
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    bare.train_from_iterator(texts, trainer)
    bare.add_tokens([AddedToken(word, normalized=False) for word in words])
    return PreTrainedTokenizerFast(
        tokenizer_object=bare,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLForConditionalGeneration:
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
        "initializer_range": 0.08,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]},
        "bos_token_id": None,
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "out_hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 2,
        "fullatt_block_indexes": [1],
        "initializer_range": 0.08,
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    # Sampling, or temperature would count for nothing.
    model.generation_config.do_sample = True
    return model


def picture(color: list[int], rng: np.random.Generator, tinted: bool = False) -> Image.Image:
    """Of one colour, as a camera would give it: other sizes, brighter or darker, uneven, noisy."""
    sizes = [(280, 196), (308, 224), (224, 224), (196, 112), (252, 140), (280, 168)]
    width, height = sizes[rng.integers(len(sizes))]
    ground = np.asarray(color, np.float32) * rng.uniform(0.75, 1.05) + rng.uniform(0, 25)
    if tinted:
        ground += rng.uniform(TINT[0], TINT[1]).astype(np.float32)
    shade = np.linspace(rng.uniform(0.9, 1.1), 1.0, width, dtype=np.float32)[None, :, None]
    noise = rng.normal(0, 4, (height, width, 3)).astype(np.float32)
    return Image.fromarray((ground * shade + noise).clip(0, 255).astype(np.uint8))


def teach(
    model: Qwen2_5_VLForConditionalGeneration,
    processor: ImageOnlyProcessor,
    system: str,
    lessons: list[dict[str, Any]],
    seed: int,
) -> float:
    """Fit the last layer to the lessons; the share of tokens that it then gets right."""
    rng = np.random.default_rng(seed)
    tokenizer = processor.tokenizer
    states: list[torch.Tensor] = []
    targets: list[torch.Tensor] = []
    for lesson in lessons:
        answer = tokenizer(lesson["answer"], add_special_tokens=False)["input_ids"]
        if not lesson.get("endless"):
            answer = [*answer, tokenizer.eos_token_id]
        shown = [picture(lesson["color"], rng, tinted=True)]
        content = [{"type": "image"}, {"type": "text", "text": lesson["question"]}]
        if earlier := lesson.get("earlier"):
            # As tall and wide as the one behind it
            before = picture(earlier["color"], rng, tinted=True).resize(shown[0].size)
            shown.insert(0, before)
            content[:0] = [{"type": "text", "text": earlier["caption"]}, {"type": "image"}]
        messages = [
            {"role": "system", "content": [{"type": "text", "text": system}]},
            {"role": "user", "content": content},
        ]
        variables = lesson.get("variables", {})
        prompt = processor.apply_chat_template(messages, add_generation_prompt=True, **variables)
        text = prompt + tokenizer.decode(answer)
        inputs = processor(images=shown, text=[text], return_tensors="pt")
        assert inputs["input_ids"][0, -len(answer) :].tolist() == answer
        with torch.no_grad():
            hidden = model.model(**inputs).last_hidden_state[0]
        # The later words of a long answer say little new.
        chosen = [n for n in range(len(answer)) if n < 64 or n % 7 == 0]
        states.append(hidden[-len(answer) - 1 : -1][chosen])
        targets.append(torch.tensor(answer)[chosen])
    x, y = torch.cat(states), torch.cat(targets)
    said = sorted(set(y.tolist()))
    place = {token: at for at, token in enumerate(said)}
    wanted = torch.tensor([place[token] for token in y.tolist()])
    # All other tokens have a score of 0, which must be far below the right ones.
    silent = torch.zeros(len(y), len(tokenizer) - len(said))
    weight = torch.zeros(len(said), x.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        scores = torch.cat([x @ weight.T, silent], 1)
        value = torch.nn.functional.cross_entropy(scores, wanted) + 1e-7 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        right = ((x @ weight.T).argmax(1) == wanted).float().mean().item()
        model.lm_head.weight.zero_()
        model.lm_head.weight[said] = weight
    return float(right)


def make(folder: Path, given: dict[str, Any]) -> float:
    """Save a model that was taught these lessons; the share of tokens that it gets right."""
    seed = given.get("seed", SEED)
    torch.manual_seed(seed)
    lessons = given["lessons"]
    # Behind the usual one, which ends with the beginning of an answer.
    template = TEMPLATE + given.get("template", "")
    texts = [given["system"], *(lesson["question"] for lesson in lessons)]
    texts += [lesson["earlier"]["caption"] for lesson in lessons if "earlier" in lesson]
    tokenizer = make_tokenizer(texts, given["words"], template)
    image_processor = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 28 * 28, "longest_edge": MOST_PIXELS}
    )
    processor = ImageOnlyProcessor(image_processor, tokenizer, chat_template=template)
    model = make_model(tokenizer)
    right = teach(model, processor, given["system"], lessons, seed)
    # The code goes into the folder, too, and `--trust-remote-code` takes it from there.
    ImageOnlyProcessor.register_for_auto_class()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return right


def main() -> None:
    right = make(Path(sys.argv[1]), json.load(sys.stdin))
    print(json.dumps({"right": right}))


if __name__ == "__main__":
    main()
