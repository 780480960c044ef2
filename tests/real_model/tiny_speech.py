"""Make a tiny Qwen3-TTS with random weights, in the files that the true ones come in.

    PYTHON -m tests.real_model.tiny_speech FOLDER

PYTHON has the package qwen-tts. Its sound is noise; it is made by the package's own code, frame by
frame, as that of a true model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

SEED = 5
SPEAKERS = {"anna": 90, "ben": 91}
LANGUAGES = {"english": 92, "german": 93}
_TEXT_TOKENS = ("<|im_start|>", "<|im_end|>", "<tts_pad>", "<tts_bos>", "<tts_eos>")
# Codes of the first group; behind them stand the talker's own tokens.
_CODES = 64
_END = 70
# Of a model that copies recordings
_SPEAKER_ENCODER = {
    "enc_dim": 32,
    "enc_channels": [16, 16, 16, 16, 48],
    "enc_attention_channels": 8,
    "enc_res2net_scale": 4,
    "enc_se_channels": 8,
}


def _tokenizer(folder: Path) -> list[int]:
    from tokenizers import Tokenizer, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {name: number for number, name in enumerate([*letters, *_TEXT_TOKENS])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(list(_TEXT_TOKENS))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "Qwen2TokenizerFast",
                "processor_class": "Qwen3TTSProcessor",
                "eos_token": "<|im_end|>",
                "pad_token": "<|im_end|>",
                "additional_special_tokens": list(_TEXT_TOKENS),
            }
        )
    )
    return [vocabulary[name] for name in _TEXT_TOKENS]


def make(folder: Path, kind: str = "custom_voice") -> None:
    """`kind`: "base" for one that copies a recording."""
    import torch
    from qwen_tts.core.models import Qwen3TTSConfig, Qwen3TTSForConditionalGeneration
    from qwen_tts.core.tokenizer_12hz.configuration_qwen3_tts_tokenizer_v2 import (
        Qwen3TTSTokenizerV2Config,
    )
    from qwen_tts.core.tokenizer_12hz.modeling_qwen3_tts_tokenizer_v2 import (
        Qwen3TTSTokenizerV2Model,
    )

    torch.manual_seed(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    start, end, pad, bos, eos = _tokenizer(folder)
    layers = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "num_code_groups": 4,
    }
    config = Qwen3TTSConfig(
        talker_config={
            **layers,
            "vocab_size": _CODES + 1024,
            "num_hidden_layers": 2,
            "text_hidden_size": 32,
            "text_vocab_size": eos + 1,
            "rope_scaling": {
                "mrope_section": [2, 3, 3],
                "interleaved": True,
                "rope_type": "default",
            },
            "code_predictor_config": {**layers, "vocab_size": _CODES, "num_hidden_layers": 1},
            "codec_eos_token_id": _END,
            "codec_think_id": 71,
            "codec_nothink_id": 72,
            "codec_think_bos_id": 73,
            "codec_think_eos_id": 74,
            "codec_pad_id": 75,
            "codec_bos_id": 76,
            "spk_id": SPEAKERS,
            "spk_is_dialect": dict.fromkeys(SPEAKERS, False),
            "codec_language_id": LANGUAGES,
        },
        tokenizer_type="qwen3_tts_tokenizer_12hz",
        tts_model_size="1b7",
        tts_model_type=kind,
        speaker_encoder_config=_SPEAKER_ENCODER,
        im_start_token_id=start,
        im_end_token_id=end,
        tts_pad_token_id=pad,
        tts_bos_token_id=bos,
        tts_eos_token_id=eos,
    )
    model = Qwen3TTSForConditionalGeneration(config)
    # It goes on until the limit: the end is never among the five likeliest codes.
    with torch.no_grad():
        model.talker.codec_head.weight[_END] = 0
    model.save_pretrained(folder)
    written = json.loads((folder / "config.json").read_text())
    # It is written in a form that its own reader refuses.
    written["speaker_encoder_config"] = _SPEAKER_ENCODER
    (folder / "config.json").write_text(json.dumps(written))
    (folder / "generation_config.json").write_text(json.dumps({"max_new_tokens": 60, "top_k": 5}))
    decoder = {
        "codebook_size": _CODES,
        "hidden_size": 32,
        "latent_dim": 32,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 32,
        # Two layers that look back 8 frames, with all their weight, so that a window which is too
        # short is heard
        "num_hidden_layers": 2,
        "sliding_window": 8,
        "layer_scale_initial_scale": 1.0,
        "num_quantizers": 4,
        "decoder_dim": 32,
        "codebook_dim": 32,
    }
    encoder = {
        "hidden_size": 32,
        "num_filters": 4,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 32,
        "codebook_dim": 16,
        "vector_quantization_hidden_dimension": 16,
        "codebook_size": _CODES,
        "num_quantizers": 4,
        "num_semantic_quantizers": 1,
        "upsample_groups": 32,
    }
    sound = Qwen3TTSTokenizerV2Model(
        Qwen3TTSTokenizerV2Config(
            encoder_config=encoder, decoder_config=decoder, encoder_valid_num_quantizers=4
        )
    )
    # Random weights whisper: make it as loud as speech, and each part of it heard.
    with torch.no_grad():
        for blocks in sound.decoder.upsample:
            blocks[1].gamma.fill_(0.3)
        for name, parameter in sound.decoder.quantizer.named_parameters():
            if name.endswith("embedding_sum"):
                parameter.normal_()
        loudness = sound.decoder(torch.randint(0, _CODES, (1, 4, 40))).std()
        for parameter in sound.decoder.decoder[-1].parameters():
            parameter.mul_(0.2 / loudness)
    inside = folder / "speech_tokenizer"
    sound.save_pretrained(inside)
    (inside / "preprocessor_config.json").write_text(
        json.dumps({"feature_extractor_type": "EncodecFeatureExtractor", "sampling_rate": 24_000})
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make a tiny Qwen3-TTS with random weights.")
    parser.add_argument("folder", type=Path)
    make(parser.parse_args().folder)
