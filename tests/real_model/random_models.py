"""Tiny models of other makes with random weights: `python -m tests.real_model.random_models
FOLDER < lessons.json`, a few seconds.

In the same process, since torch takes most of the time, one that was taught the lessons: `switch`.
Their folders have the files that such models have on the hub, processors of the library's own
included.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    WhisperFeatureExtractor,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from tests.real_model.build import SEED, SPECIAL, TEMPLATE, make_tokenizer
from tests.real_model.build import make as make_taught

TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 2048,
}
# SmolVLM2's: roles in words, no mark before a turn but the first, one text or picture after the
# other.
SMOL_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}:{% else %}: {% endif %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% elif part['type'] == 'image' %}<image>{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)

# Gemma 3's: no role for the system, which stands before the first words; turns have to alternate.
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% set before = '' %}{% if messages[0]['role'] == 'system' %}"
    "{% set before = messages[0]['content'][0]['text'] + '\n\n' %}{% set messages = messages[1:] %}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{% if loop.first %}{{ before }}{% endif %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<start_of_image>{% else %}{{ part['text'] | trim }}{% endif %}{% endfor %}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
GEMMA_MARKS = (
    *("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
    *("<start_of_image>", "<end_of_image>", "<image_soft_token>"),
)


# Qwen-Omni's: a sound between marks of its own
OMNI_TEMPLATE = TEMPLATE.replace(
    "{% else %}<|vision_start|>",
    "{% elif part['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>{% else %}<|vision_start|>",
)


def finish(folder: Path, model: Any, tokenizer: Any, images: Any, **named: Any) -> None:
    """Save all, with the processor named as on the hub, where it is the one for torchvision."""
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    images.save_pretrained(folder)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | named))


def qwen3_vl(folder: Path) -> None:
    tokenizer = make_tokenizer(["What is this? Sing a long song."], [" la"])
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]}
    text = TEXT | {
        "vocab_size": len(tokenizer),
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "bos_token_id": None,
        "rope_parameters": rope | {"mrope_interleaved": True},
    }
    vision: dict[str, Any] = {
        "depth": 2,
        "hidden_size": 64,
        "out_hidden_size": 64,
        "intermediate_size": 128,
    }
    vision |= {"num_heads": 2, "deepstack_visual_indexes": [0], "num_position_embeddings": 256}
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    finish(
        folder,
        Qwen3VLForConditionalGeneration(config),
        tokenizer,
        Qwen2VLImageProcessorPil(
            patch_size=16, size={"shortest_edge": 65_536, "longest_edge": 16_777_216}
        ),
        image_processor_type="Qwen2VLImageProcessorFast",
        processor_class="Qwen3VLProcessor",
    )
    video = {"video_processor_type": "Qwen3VLVideoProcessor", "processor_class": "Qwen3VLProcessor"}
    (folder / "video_preprocessor_config.json").write_text(json.dumps(video))


def smolvlm(folder: Path) -> None:
    tokenizer = make_tokenizer(["What is this? Sing a long song."], [" la"])
    marks = ["<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>"]
    marks += [f"<row_{row}_col_{col}>" for row in range(1, 5) for col in range(1, 5)]
    tokenizer.add_tokens(
        [AddedToken(mark, normalized=False) for mark in marks], special_tokens=True
    )
    tokenizer.eos_token = "<end_of_utterance>"
    tokenizer.chat_template = SMOL_TEMPLATE
    text = TEXT | {"model_type": "llama", "vocab_size": len(tokenizer), "pad_token_id": 0}
    text |= {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": 1}
    vision = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    vision |= {"num_attention_heads": 2, "image_size": 64, "patch_size": 16}
    config = SmolVLMConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )
    finish(
        folder,
        SmolVLMForConditionalGeneration(config),
        tokenizer,
        SmolVLMImageProcessorPil(size={"longest_edge": 512}, max_image_size={"longest_edge": 64}),
        image_processor_type="SmolVLMImageProcessor",
        processor_class="SmolVLMProcessor",
    )
    processor = {"processor_class": "SmolVLMProcessor", "image_seq_len": 4}
    (folder / "processor_config.json").write_text(json.dumps(processor))


def gemma3(folder: Path) -> None:
    # As SentencePiece has it: letters, spaces as a mark, bytes for what is neither.
    bare = Tokenizer(
        models.BPE(
            {
                word: at
                for at, word in enumerate(
                    [*GEMMA_MARKS, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "\n"]
                    + [chr(code) for code in range(33, 127)]
                )
            },
            [],
            byte_fallback=True,
            unk_token="<unk>",
        )
    )
    bare.normalizer = normalizers.Replace(" ", "▁")
    bare.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    bare.add_special_tokens([AddedToken(mark, normalized=False) for mark in GEMMA_MARKS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare,
        **{f"{name}_token": f"<{name}>" for name in ("bos", "eos", "pad", "unk")},
        extra_special_tokens={
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
        chat_template=GEMMA_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in GEMMA_MARKS}
    text = TEXT | {"vocab_size": len(tokenizer), "sliding_window": 64, "query_pre_attn_scalar": 32}
    vision = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    vision |= {"num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    config = Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=4,
        boi_token_index=ids["<start_of_image>"],
        eoi_token_index=ids["<end_of_image>"],
        image_token_index=ids["<image_soft_token>"],
    )
    model = Gemma3ForConditionalGeneration(config)
    model.generation_config.eos_token_id = [ids["<eos>"], ids["<end_of_turn>"]]
    finish(
        folder,
        model,
        tokenizer,
        Gemma3ImageProcessorPil(size={"height": 56, "width": 56}),
        image_processor_type="Gemma3ImageProcessor",
        processor_class="Gemma3Processor",
    )
    processor = {"processor_class": "Gemma3Processor", "image_seq_length": 4}
    (folder / "processor_config.json").write_text(json.dumps(processor))


def qwen2_5_omni(folder: Path) -> None:
    ears = ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
    learned = make_tokenizer(["What is this? Sing a long song."], [" la"])
    learned.add_tokens([AddedToken(mark, normalized=False) for mark in ears], special_tokens=True)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=learned.backend_tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=OMNI_TEMPLATE,
        extra_special_tokens={
            "image_token": "<|image_pad|>",
            "video_token": "<|video_pad|>",
            "audio_token": ears[0],
            "vision_bos_token": "<|vision_start|>",
            "vision_eos_token": "<|vision_end|>",
            "audio_bos_token": ears[1],
            "audio_eos_token": ears[2],
        },
    )
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in (*SPECIAL, *ears)}
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]}
    text = {name: value for name, value in TEXT.items() if name != "head_dim"} | {
        "vocab_size": len(tokenizer),
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "bos_token_id": None,
        "rope_parameters": rope,
    }
    eyes = {"depth": 2, "hidden_size": 64, "out_hidden_size": 64, "intermediate_size": 128}
    hears = {"d_model": 64, "encoder_layers": 1, "encoder_ffn_dim": 64, "output_dim": 64}
    thinker = {
        "text_config": text,
        "vision_config": eyes | {"num_heads": 2, "fullatt_block_indexes": [1]},
        "audio_config": hears | {"encoder_attention_heads": 2, "num_mel_bins": 80},
        "pad_token_id": ids["<|endoftext|>"],
    }
    names = {"image": "<|image_pad|>", "video": "<|video_pad|>", "audio": ears[0]}
    thinker |= {f"{name}_token_index": ids[mark] for name, mark in names.items()}
    for name, begin, end in (
        ("vision", "<|vision_start|>", "<|vision_end|>"),
        ("audio", ears[1], ears[2]),
    ):
        thinker |= {f"{name}_start_token_id": ids[begin], f"{name}_end_token_id": ids[end]}
    # The speaking part is large in every form, so it is left out.
    config = Qwen2_5OmniConfig(thinker_config=thinker, enable_audio_output=False)
    images = Qwen2VLImageProcessorPil(size={"shortest_edge": 3136, "longest_edge": 12_845_056})
    heard = {"feature_extractor_type": "WhisperFeatureExtractor"}
    finish(
        folder,
        Qwen2_5OmniForConditionalGeneration(config),
        tokenizer,
        images,
        **json.loads(WhisperFeatureExtractor().to_json_string()) | heard,
        image_processor_type="Qwen2VLImageProcessor",
        processor_class="Qwen2_5OmniProcessor",
    )


MAKES = {"qwen3_vl": qwen3_vl, "smolvlm": smolvlm, "gemma3": gemma3, "qwen2_5_omni": qwen2_5_omni}


def main() -> None:
    folder = Path(sys.argv[1])
    torch.manual_seed(SEED)
    for name, make in MAKES.items():
        make(folder / name)
    print(json.dumps({"right": make_taught(folder / "switch", json.load(sys.stdin))}))


if __name__ == "__main__":
    main()
