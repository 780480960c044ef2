"""Build a tiny Whisper whose words mean nothing: `python -m tests.real_model.tiny_whisper FOLDER`.

Runs in the models' environment.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from tokenizers import AddedToken
from transformers import (
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

MARKS = (
    *("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>"),
    *("<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
)


def main() -> None:
    folder = Path(sys.argv[1])
    torch.manual_seed(5)
    base = WhisperTokenizer(
        vocab={"<|endoftext|>": 0, **{chr(97 + n): n + 1 for n in range(26)}}, merges=[]
    )
    base.add_tokens([AddedToken(one, special=True) for one in MARKS[1:]], special_tokens=True)
    base.add_tokens([AddedToken(f"<|{n * 0.02:.2f}|>", special=False) for n in range(1501)])
    ids = {one: base.convert_tokens_to_ids(one) for one in MARKS}
    config = WhisperConfig(
        vocab_size=len(base),
        num_mel_bins=80,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_target_positions=64,
        pad_token_id=ids["<|endoftext|>"],
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"],
        decoder_start_token_id=ids["<|startoftranscript|>"],
    )
    model = WhisperForConditionalGeneration(config).eval()
    settings = model.generation_config
    settings._from_model_config = False
    settings.lang_to_id = {one: ids[one] for one in ("<|en|>", "<|de|>")}
    settings.task_to_id = {"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]}
    settings.no_timestamps_token_id = ids["<|notimestamps|>"]
    settings.is_multilingual = True
    settings.max_length = 24
    settings.begin_suppress_tokens = settings.suppress_tokens = None
    settings.alignment_heads = [[0, 0]]
    model.save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(), base).save_pretrained(folder)


if __name__ == "__main__":
    main()
