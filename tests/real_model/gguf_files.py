"""Writes the tiny Qwen2.5-VL of `tests.real_model.build` as GGUF files for llama.cpp: the same
weights, the same words, the same template.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.support.gguf_writer import finish

Array = NDArray[np.float32]

WEIGHTS, PROJECTOR = "tiny-F32.gguf", "mmproj-tiny-F32.gguf"
NORMAL, CONTROL = 1, 3
# Qwen's picture has pixels of so much
MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def write(folder: Path, to: Path, *, name: str = "Tiny") -> Path:
    """Write both files of the model in `folder` to the folder `to`, which is returned."""
    to.mkdir(parents=True, exist_ok=True)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    weights = dict(_tensors(folder / "model.safetensors"))
    _write_text(folder, config, weights, to / WEIGHTS, name)
    _write_pictures(config, weights, to / PROJECTOR, name)
    return to


def _tensors(path: Path) -> Iterator[tuple[str, Array]]:
    """Read all tensors, of 32 bits each."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    for name, about in json.loads(content[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        assert about["dtype"] == "F32", f"{name} has {about['dtype']}"
        start, end = (8 + length + at for at in about["data_offsets"])
        yield name, np.frombuffer(content[start:end], "<f4").reshape(about["shape"])


def _write_text(
    folder: Path, config: Mapping[str, Any], weights: Mapping[str, Array], path: Path, name: str
) -> None:
    text = config["text_config"]
    writer = gguf.GGUFWriter(path, "qwen2vl")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_block_count(text["num_hidden_layers"])
    writer.add_context_length(text["max_position_embeddings"])
    writer.add_embedding_length(text["hidden_size"])
    writer.add_feed_forward_length(text["intermediate_size"])
    writer.add_head_count(text["num_attention_heads"])
    writer.add_head_count_kv(text["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(text["rms_norm_eps"])
    rope = text["rope_parameters"]
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_sections([*rope["mrope_section"], 0])
    _add_words(writer, folder, text["vocab_size"], text["eos_token_id"], text["pad_token_id"])
    writer.add_chat_template((folder / "chat_template.jinja").read_text("utf-8"))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2VL, text["num_hidden_layers"])
    for tensor, values in weights.items():
        if not tensor.startswith("visual."):
            writer.add_tensor(names.get_name(tensor, (".weight", ".bias")) or tensor, values)
    finish(writer)


def _add_words(writer: gguf.GGUFWriter, folder: Path, size: int, end: int, pad: int) -> None:
    known = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    words = {number: word for word, number in known["model"]["vocab"].items()}
    kinds = dict.fromkeys(words, NORMAL)
    for one in known["added_tokens"]:
        words[one["id"]] = one["content"]
        # 4: a word of its own in any text
        kinds[one["id"]] = CONTROL if one["special"] else 4
    merges = [one if isinstance(one, str) else " ".join(one) for one in known["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([words[number] for number in range(size)])
    writer.add_token_types([kinds[number] for number in range(size)])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(end)
    writer.add_pad_token_id(pad)
    writer.add_add_bos_token(False)


def _write_pictures(
    config: Mapping[str, Any], weights: Mapping[str, Array], path: Path, name: str
) -> None:
    vision = config["vision_config"]
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(gguf.VisionProjectorType.QWEN25VL)
    writer.add_vision_projection_dim(config["text_config"]["hidden_size"])
    writer.add_vision_image_size(560)
    writer.add_vision_patch_size(vision["patch_size"])
    writer.add_vision_embedding_length(vision["hidden_size"])
    writer.add_vision_feed_forward_length(vision["intermediate_size"])
    writer.add_vision_block_count(vision["depth"])
    writer.add_vision_head_count(vision["num_heads"])
    writer.add_vision_image_mean(MEAN)
    writer.add_vision_image_std(SPREAD)
    writer.add_vision_attention_layernorm_eps(1e-6)
    writer.add_vision_use_silu(True)
    writer.add_vision_n_wa_pattern(vision["fullatt_block_indexes"][0] + 1)
    # The merger has parts up to number 2, which count as blocks.
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, max(3, vision["depth"]))
    for tensor, values in weights.items():
        for part, piece in _pieces(tensor, values):
            written = names.get_name(part, (".weight", ".bias"))
            writer.add_tensor(written or part, np.ascontiguousarray(piece))
    finish(writer)


def _pieces(name: str, values: Array) -> Iterator[tuple[str, Array]]:
    """A tensor of the part for pictures as llama.cpp has it; nothing of any other."""
    if not name.startswith("visual."):
        return
    if ".qkv." in name:
        for part, piece in zip("qkv", np.split(values, 3), strict=True):
            yield name.replace("qkv", part), piece
    elif name == "visual.patch_embed.proj.weight":
        # Two frames deep
        yield "v.patch_embd.weight", values[:, :, 0]
        yield "v.patch_embd.weight.1", values[:, :, 1]
    else:
        yield name, values
