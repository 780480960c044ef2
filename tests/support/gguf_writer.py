"""Writes small GGUF files by the package of those who define the format: headers as of true models,
a few weights.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np


def write_weights(path: Path, architecture: str = "qwen3vl") -> None:
    """Write a text model with 24 layers of 2 pairs of heads, 4,096 tokens."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_block_count(24)
    writer.add_context_length(4096)
    writer.add_embedding_length(1024)
    writer.add_head_count(8)
    writer.add_head_count_kv([0, 0, 0, 2] * 6)
    writer.add_token_list([f"word {number}" for number in range(1000)])
    writer.add_token_scores([0.5] * 1000)
    writer.add_chat_template("{# long #}" * 1000)
    rows = np.random.default_rng(3).random((4, 256), np.float32)
    writer.add_tensor("token_embd.weight", rows)
    packed = gguf.quants.quantize(rows, gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("output.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    finish(writer)


def write_projector(path: Path, kind: str = "qwen3vl_merger", rows: int = 4) -> None:
    """Write what reads pictures."""
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_clip_has_vision_encoder(True)
    writer.add_string("clip.projector_type", kind)
    writer.add_tensor("mm.0.weight", np.zeros((rows, 64), np.float16))
    finish(writer)


def finish(writer: gguf.GGUFWriter) -> None:
    """Write the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
