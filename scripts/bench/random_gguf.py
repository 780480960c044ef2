"""Write a model of Qwen3.5's shape as GGUF files for llama.cpp: true sizes and number formats, random weights.

Speed and memory do not depend on the values of weights. The vocabulary has its true size and contains the words
of the given texts, so that a text has about as many tokens as with the true one. Sources of the shapes:
transformers' configuration `qwen3_5`, llama.cpp's src/models/qwen35.cpp, and for the vision encoder
huggingface/pytorch-image-models pull request 2765.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

WEIGHTS, PROJECTOR = "model.gguf", "mmproj-F16.gguf"
FORMATS = ("Q4_K_M", "Q8_0")
# The numbers of ggml's types
F32, F16, Q8_0, Q4_K, Q5_K, Q6_K = 0, 1, 8, 12, 13, 14
# For each type: the numbers in a block, its bytes, and its 16-bit scales by position. All other bytes may have any
# value: with these scales the numbers are around 0, of about 0.02.
_BLOCKS: Mapping[int, tuple[int, int, Mapping[int, float]]] = {
    F32: (1, 4, {}),
    F16: (1, 2, {}),
    Q8_0: (32, 34, {0: 2.7e-4}),
    Q4_K: (256, 144, {0: 1e-4, 2: 7.5e-4}),
    Q5_K: (256, 176, {0: 5e-5, 2: 7.5e-4}),
    Q6_K: (256, 210, {208: 1.5e-5}),
}
_ALIGNED = 32
# Bytes of random weights that each tensor repeats
_RANDOM = 8 * 1024**2
_MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_MARKS += ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% else %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """The dimensions of a model: first the text model, then the vision encoder."""

    width: int
    inner: int
    picture_width: int
    picture_inner: int
    picture_layers: int
    picture_heads: int
    layers: int = 24
    heads: int = 8
    pairs: int = 2
    recurrent_heads: int = 16
    words: int = 248_320


SHAPES = {
    "Qwen3.5-0.8B": Shape(1024, 3584, 768, 3072, 12, 12),
    "Qwen3.5-2B": Shape(2048, 6144, 1024, 4096, 24, 16),
    # For tests
    "tiny": Shape(
        256, 256, 64, 64, 1, 2, layers=4, heads=1, pairs=1, recurrent_heads=2, words=2048
    ),
}
# Sizes of one head: of attention, and of the recurrent layers. Every fourth layer has attention.
_HEAD, _RECURRENT_HEAD, _INTERVAL = 256, 128, 4
_PATCH, _POSITIONS = 16, 2304

# A tensor: its name, sizes (the innermost first) and type
Tensor = tuple[str, tuple[int, ...], int]


def write(folder: Path, shape: Shape, form: str, texts: Sequence[str]) -> int:
    """Write both files of a model to `folder`. Return their size in bytes. `form`: one of FORMATS."""
    kinds = (7, Q8_0) if form == "Q8_0" else (15, Q4_K)
    text = {**_make_text_fields(shape, kinds[0]), **_make_vocabulary_fields(shape.words, texts)}
    _write(folder / WEIGHTS, text, list(_list_text_tensors(shape, kinds[1])))
    _write(folder / PROJECTOR, _make_picture_fields(shape), list(_list_picture_tensors(shape)))
    return sum((folder / name).stat().st_size for name in (WEIGHTS, PROJECTOR))


def _make_text_fields(shape: Shape, file_type: int) -> dict[str, Any]:
    fields = {
        "context_length": 262_144,
        "embedding_length": shape.width,
        "block_count": shape.layers,
        "feed_forward_length": shape.inner,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.pairs,
        "attention.key_length": _HEAD,
        "attention.value_length": _HEAD,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.dimension_sections": [11, 11, 10, 0],
        "rope.dimension_count": _HEAD // 4,
        "rope.freq_base": 1e7,
        "ssm.conv_kernel": 4,
        "ssm.state_size": _RECURRENT_HEAD,
        "ssm.group_count": shape.recurrent_heads,
        "ssm.time_step_rank": shape.recurrent_heads,
        "ssm.inner_size": shape.recurrent_heads * _RECURRENT_HEAD,
        "full_attention_interval": _INTERVAL,
    }
    return _make_general_fields("qwen35", file_type) | {
        f"qwen35.{name}": fields[name] for name in fields
    }


def _make_general_fields(architecture: str, file_type: int) -> dict[str, Any]:
    return {"general.architecture": architecture, "general.file_type": file_type}


def _make_vocabulary_fields(size: int, texts: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a vocabulary with the words of `texts`, with and without a leading space."""
    letters = [*range(33, 127), *range(161, 173), *range(174, 256)]
    # GPT-2's encoding of bytes: those without a printable character get one from 256 on.
    byte = {one: chr(one) for one in letters}
    byte |= {one: chr(256 + at) for at, one in enumerate(set(range(256)) - set(letters))}
    found = {word for text in texts for word in re.findall(r"[^\W\d_]+|\d|[^\w\s]+|\n+", text)}
    written = ("".join(byte[one] for one in word.encode()) for word in sorted(found))
    words = dict.fromkeys(byte.values())
    words |= dict.fromkeys(one for word in written for one in (word, byte[32] + word))
    words = dict.fromkeys([*words][: size - len(_MARKS)])
    words |= dict.fromkeys(f"{byte[32]}w{at}" for at in range(size - len(words) - len(_MARKS)))
    start = len(words)
    return {
        "tokenizer.ggml.model": "gpt2",
        # Finds whole words of the vocabulary without merges
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": [*words, *_MARKS],
        # 1: a word; 3: a control token
        "tokenizer.ggml.token_type": [1] * start + [3] * len(_MARKS),
        "tokenizer.ggml.merges": [f"{byte[32]} {byte[32]}"],
        "tokenizer.ggml.eos_token_id": start + _MARKS.index("<|im_end|>"),
        "tokenizer.ggml.padding_token_id": start,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": _TEMPLATE,
    }


def _list_text_tensors(shape: Shape, kind: int) -> Iterator[Tensor]:
    """Return the tensors. In Q4_K_M some have more bits, as in llama.cpp's own conversion."""
    more, most = (Q5_K, Q6_K) if kind == Q4_K else (kind, kind)
    width, layers, heads = shape.width, shape.layers, shape.recurrent_heads
    state = heads * _RECURRENT_HEAD
    yield "token_embd.weight", (width, shape.words), most
    yield "output_norm.weight", (width,), F32
    for at in range(layers):
        eighth = layers // 8
        between = (at - eighth) % 3 == 2
        careful = most if at < eighth or at >= 7 * layers // 8 or between else kind
        matrices = [("ffn_gate", width, shape.inner, kind), ("ffn_up", width, shape.inner, kind)]
        matrices += [("ffn_down", shape.inner, width, careful)]
        rows: list[tuple[str, tuple[int, ...]]] = [("attn_norm.weight", (width,))]
        rows += [("post_attention_norm.weight", (width,))]
        if (at + 1) % _INTERVAL:
            matrices += [("attn_qkv", width, 3 * state, more), ("attn_gate", width, state, kind)]
            matrices += [("ssm_out", state, width, kind)]
            matrices += [(f"ssm_{one}", width, heads, kind) for one in ("alpha", "beta")]
            rows += [("ssm_conv1d.weight", (4, 3 * state)), ("ssm_norm.weight", (_RECURRENT_HEAD,))]
            rows += [("ssm_dt.bias", (heads,)), ("ssm_a", (heads,))]
        else:
            all_heads, pairs = shape.heads * _HEAD, shape.pairs * _HEAD
            matrices += [("attn_q", width, 2 * all_heads, kind), ("attn_k", width, pairs, kind)]
            matrices += [("attn_v", width, pairs, careful), ("attn_output", all_heads, width, kind)]
            rows += [(f"attn_{one}_norm.weight", (_HEAD,)) for one in "qk"]
        for name, columns, lines, its_kind in matrices:
            yield f"blk.{at}.{name}.weight", (columns, lines), its_kind
        for name, sizes in rows:
            yield f"blk.{at}.{name}", sizes, F32


def _make_picture_fields(shape: Shape) -> dict[str, Any]:
    vision = {
        "image_size": 768,
        "patch_size": _PATCH,
        "spatial_merge_size": 2,
        "embedding_length": shape.picture_width,
        "feed_forward_length": shape.picture_inner,
        "projection_dim": shape.width,
        "block_count": shape.picture_layers,
        "attention.head_count": shape.picture_heads,
        "attention.layer_norm_epsilon": 1e-6,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    return {
        **_make_general_fields("clip", F16),
        "clip.has_vision_encoder": True,
        "clip.projector_type": "qwen3vl_merger",
        "clip.use_gelu": True,
        **{f"clip.vision.{name}": vision[name] for name in vision},
    }


def _list_picture_tensors(shape: Shape) -> Iterator[Tensor]:
    width, inner = shape.picture_width, shape.picture_inner
    matrices = {"mm.0": (4 * width, 4 * width), "mm.2": (4 * width, shape.width)}
    norms = ["v.post_ln"]
    for at in range(shape.picture_layers):
        norms += [f"v.blk.{at}.ln1", f"v.blk.{at}.ln2"]
        matrices |= {
            f"v.blk.{at}.attn_qkv": (width, 3 * width),
            f"v.blk.{at}.attn_out": (width, width),
            f"v.blk.{at}.ffn_up": (width, inner),
            f"v.blk.{at}.ffn_down": (inner, width),
        }
    for frame in ("", ".1"):
        yield f"v.patch_embd.weight{frame}", (_PATCH, _PATCH, 3, width), F16
    yield "v.patch_embd.bias", (width,), F32
    yield "v.position_embd.weight", (width, _POSITIONS), F32
    for name, (columns, lines) in matrices.items():
        yield f"{name}.weight", (columns, lines), F16
        yield f"{name}.bias", (lines,), F32
    for name in norms:
        yield f"{name}.weight", (width,), F32
        yield f"{name}.bias", (width,), F32


# The format: github.com/ggml-org/ggml docs/gguf.md


def _write(path: Path, fields: Mapping[str, Any], tensors: Sequence[Tensor]) -> None:
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields)))
        for name, value in fields.items():
            kind, content = _encode_value(value)
            file.write(_encode_text(name) + struct.pack("<I", kind) + content)
        place = 0
        for name, sizes, kind in tensors:
            dimensions = struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes)
            file.write(_encode_text(name) + dimensions + struct.pack("<IQ", kind, place))
            place += -(-_count_bytes(sizes, kind) // _ALIGNED) * _ALIGNED
        file.write(bytes(-file.tell() % _ALIGNED))
        pools = {kind: _make_random_blocks(kind) for kind in {one[2] for one in tensors} - {F32}}
        for name, sizes, kind in tensors:
            _write_tensor(file, name, _count_bytes(sizes, kind), pools.get(kind))
            file.write(bytes(-file.tell() % _ALIGNED))


def _encode_text(text: str) -> bytes:
    content = text.encode()
    return struct.pack("<Q", len(content)) + content


def _encode_value(value: Any) -> tuple[int, bytes]:
    """Return the number of a value's type, and the encoded value."""
    match value:
        case bool():
            return 7, struct.pack("<?", value)
        case int():
            return 4, struct.pack("<I", value)
        case float():
            return 6, struct.pack("<f", value)
        case str():
            return 8, _encode_text(value)
    kinds, contents = zip(*map(_encode_value, value), strict=True)
    # Lists of integers are signed.
    kind = {4: 5}.get(kinds[0], kinds[0])
    return 9, struct.pack("<IQ", kind, len(contents)) + b"".join(contents)


def _count_bytes(sizes: Sequence[int], kind: int) -> int:
    numbers, size, _ = _BLOCKS[kind]
    return int(np.prod(sizes)) // numbers * size


def _make_random_blocks(kind: int) -> bytes:
    """Return random blocks of a type."""
    random = np.random.default_rng(kind)
    if kind == F16:
        some = random.standard_normal(_RANDOM // 2, np.float32) * 0.02
        return some.astype("<f2").tobytes()
    _, size, scales = _BLOCKS[kind]
    blocks = random.integers(0, 256, (_RANDOM // size, size), np.uint8)
    for place, scale in scales.items():
        blocks[:, place : place + 2] = np.array([scale], "<f2").view(np.uint8)
    return blocks.tobytes()


def _write_tensor(file: BinaryIO, name: str, size: int, random: bytes | None) -> None:
    if random is None:
        norm = name.endswith(("norm.weight", "ln1.weight", "ln2.weight", "ln.weight"))
        # The decay must be negative.
        value = 1.0 if norm else -1.0 if name.endswith("ssm_a") else 0.02
        file.write(np.full(size // 4, value, "<f4").tobytes())
        return
    for start in range(0, size, len(random)):
        file.write(random[: min(len(random), size - start)])
