"""Make a Qwen2.5-VL of 30 M random parameters: `python -m tests.real_model.still_model FOLDER`, in the
models' environment.

Large enough that a picture's prompt takes a second of two cores, and small enough for them. Its
words mean nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from server.models import prompts
from tests.real_model.build import SEED, SPECIAL, TEMPLATE, make_tokenizer
from tests.real_model.image_only_processor import ImageOnlyProcessor
from tests.support.real_vllm import with_videos

SIZE = {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 1600}


def main() -> None:
    folder = Path(sys.argv[1])
    torch.manual_seed(SEED)
    tokenizer = make_tokenizer([prompts.system_text()], [])
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 512,
            "intermediate_size": 1408,
            "num_hidden_layers": 8,
            "num_attention_heads": 8,
            "num_key_value_heads": 8,
            "max_position_embeddings": 8192,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [8, 12, 12],
            },
            "bos_token_id": None,
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 6,
            "hidden_size": 256,
            "out_hidden_size": 512,
            "intermediate_size": 704,
            "num_heads": 4,
            "fullatt_block_indexes": [5],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    processor = ImageOnlyProcessor(
        Qwen2VLImageProcessorPil(size=SIZE), tokenizer, chat_template=with_videos(TEMPLATE)
    )
    ImageOnlyProcessor.register_for_auto_class()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    video = {
        "video_processor_type": "Qwen2VLVideoProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "size": SIZE,
    }
    (folder / "video_preprocessor_config.json").write_text(json.dumps(video))
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters in {folder}")


if __name__ == "__main__":
    main()
