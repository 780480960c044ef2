"""Builds tiny models of random (seeded) weights: `python -m tests.generating.build FOLDER`, some
seconds.

Runs in the models' environment. In FOLDER: `words` (a video from words or a first frame, as Wan 2.2
5B does it), `picture` (from a first frame, as Wan 2.1 does it), `speech` (a VITS), `music` (a
Stable Audio) and `tune` (a MusicGen). They make noise; all else is as in large ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLWan,
    AutoencoderOobleck,
    EulerDiscreteScheduler,
    StableAudioDiTModel,
    StableAudioPipeline,
    StableAudioProjectionModel,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    EncodecConfig,
    EncodecFeatureExtractor,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    MusicgenProcessor,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
    VitsConfig,
    VitsModel,
    VitsTokenizer,
)

SEED = 5
LETTERS = " abcdefghijklmnopqrstuvwxyz"
# Wan 2.1: the noised latents, and for a first frame its own latents with a mask of one channel a
# frame of a latent.
LATENTS, WITH_FRAME = 16, 36


def make_tokenizer() -> PreTrainedTokenizerFast:
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    bare.train_from_iterator(["a red ball rolls"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="<pad>", eos_token="</s>", model_max_length=512
    )


def make_transformer(channels: int) -> WanTransformer3DModel:
    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=channels,
        out_channels=LATENTS,
        text_dim=32,
        freq_dim=64,
        ffn_dim=32,
        num_layers=2,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )


def videos(folder: Path) -> None:
    tokenizer = make_tokenizer()
    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2}
    shared: dict[str, Any] = {
        "tokenizer": tokenizer,
        "text_encoder": UMT5EncoderModel(UMT5Config(vocab_size=len(tokenizer), **sizes)),
        "vae": AutoencoderKLWan(
            base_dim=4,
            z_dim=LATENTS,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
        ),
        "scheduler": UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    }
    words = WanPipeline(transformer=make_transformer(LATENTS), **shared, expand_timesteps=True)
    words.save_pretrained(folder / "words")
    picture = WanImageToVideoPipeline(transformer=make_transformer(WITH_FRAME), **shared)
    picture.save_pretrained(folder / "picture")


def speech(folder: Path) -> None:
    config = VitsConfig(
        vocab_size=len(LETTERS) + 2,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        ffn_dim=16,
        flow_size=16,
        spectrogram_bins=9,
        upsample_initial_channel=16,
        upsample_rates=[4, 4],
        upsample_kernel_sizes=[8, 8],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1]],
        prior_encoder_num_flows=1,
        prior_encoder_num_wavenet_layers=1,
        posterior_encoder_num_wavenet_layers=1,
        duration_predictor_num_flows=1,
        duration_predictor_filter_channels=16,
        depth_separable_num_layers=1,
        sampling_rate=16_000,
    )
    VitsModel(config).eval().save_pretrained(folder / "speech")
    vocabulary = {letter: at for at, letter in enumerate(("<pad>", "<unk>", *LETTERS))}
    file = folder / "speech" / "vocab.json"
    file.write_text(json.dumps(vocabulary), "utf-8")
    tokenizer = VitsTokenizer(
        str(file), pad_token="<pad>", unk_token="<unk>", phonemize=False, is_uroman=False
    )
    tokenizer.save_pretrained(folder / "speech")


def music(folder: Path) -> None:
    tokenizer = make_tokenizer()
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    StableAudioPipeline(
        vae=AutoencoderOobleck(
            encoder_hidden_size=4,
            downsampling_ratios=[2, 4],
            decoder_channels=4,
            decoder_input_channels=4,
            audio_channels=2,
            channel_multiples=[1, 2],
            sampling_rate=8_000,
        ),
        text_encoder=T5EncoderModel(T5Config(vocab_size=len(tokenizer), **sizes)),
        tokenizer=tokenizer,
        projection_model=StableAudioProjectionModel(
            text_encoder_dim=16, conditioning_dim=16, min_value=0, max_value=32
        ),
        transformer=StableAudioDiTModel(
            sample_size=2000,
            in_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            num_key_value_attention_heads=2,
            out_channels=4,
            cross_attention_dim=16,
            time_proj_dim=8,
            global_states_input_dim=32,
            cross_attention_input_dim=16,
        ),
        scheduler=EulerDiscreteScheduler(),
    ).save_pretrained(folder / "music")


def tune(folder: Path) -> None:
    tokenizer = make_tokenizer()
    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2}
    text = T5Config(vocab_size=len(tokenizer), **sizes, decoder_start_token_id=0)
    codec = EncodecConfig(
        sampling_rate=8_000,
        num_filters=4,
        hidden_size=16,
        codebook_size=64,
        codebook_dim=16,
        num_lstm_layers=1,
        target_bandwidths=[1.5],
        upsampling_ratios=[8, 5, 4],
    )
    decoder = MusicgenDecoderConfig(
        vocab_size=64,
        num_hidden_layers=2,
        ffn_dim=32,
        num_attention_heads=2,
        hidden_size=32,
        num_codebooks=codec.num_quantizers,
        pad_token_id=64,
        bos_token_id=64,
    )
    config = MusicgenConfig(
        text_encoder=text.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict()
    )
    model = MusicgenForConditionalGeneration(config)
    for name in ("pad_token_id", "bos_token_id", "decoder_start_token_id"):
        setattr(model.generation_config, name, 64)
    model.save_pretrained(folder / "tune")
    ear = EncodecFeatureExtractor(feature_size=1, sampling_rate=8_000)
    MusicgenProcessor(feature_extractor=ear, tokenizer=tokenizer).save_pretrained(folder / "tune")


def main() -> None:
    folder = Path(sys.argv[1])
    torch.manual_seed(SEED)
    videos(folder)
    speech(folder)
    music(folder)
    tune(folder)


if __name__ == "__main__":
    main()
