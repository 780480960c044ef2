"""A model's own folder: what it tells, and each way in which it can be unusable."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.catalogue import geometry
from server.catalogue.entry import Ability, Library, ModelType
from server.catalogue.folder import ModelFolderError, find_models, read_model
from server.frames import BoxUnit

QWEN = {
    "model_type": "qwen2_5_vl",
    "vision_config": {"patch_size": 14, "spatial_merge_size": 2},
    "text_config": {
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_size": 64,
        "max_position_embeddings": 4096,
        "dtype": "bfloat16",
    },
}
WAN: dict[str, Any] = {
    "_class_name": "WanPipeline",
    "_diffusers_version": "0.35.0.dev0",
    "scheduler": ["diffusers", "UniPCMultistepScheduler"],
    "text_encoder": ["transformers", "UMT5EncoderModel"],
    "transformer": ["diffusers", "WanTransformer3DModel"],
    "transformer_2": [None, None],
    "vae": ["diffusers", "AutoencoderKLWan"],
}


def safetensors(path: Path, shape: tuple[int, ...] = (4, 5), dtype: str = "BF16") -> int:
    """A file with one tensor; its size."""
    width = {"F32": 4, "BF16": 2, "I32": 4}[dtype]
    count = width
    for side in shape:
        count *= side
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "w": {"dtype": dtype, "shape": shape, "data_offsets": [0, count]},
        }
    ).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(count))
    return path.stat().st_size


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole one, of two shards."""
    model = tmp_path / "my model"
    write(model / "config.json", QWEN)
    names = ("a.safetensors", "b.safetensors")
    for name in names:
        safetensors(model / name)
    write(
        model / "model.safetensors.index.json",
        {"weight_map": dict(zip(("x", "y"), names, strict=True))},
    )
    return model


def test_it_tells_what_it_is(folder: Path) -> None:
    """Type, abilities, boxes, sizes and context, read from its own files."""
    model = read_model(folder)
    size = sum((folder / name).stat().st_size for name in ("a.safetensors", "b.safetensors"))
    assert model.id == "my-model"
    assert model.folder == folder
    assert (model.model_type, model.architecture) == (ModelType.VISION, "qwen2_5_vl")
    assert model.abilities == {Ability.IMAGES, Ability.VIDEO_IN, Ability.GROUNDING}
    assert model.boxes is BoxUnit.PIXELS
    assert model.geometry == geometry.QWEN2_VL
    assert (model.parameters, model.weights_bytes, model.dtype) == (40, size, "bfloat16")
    # Keys and values: 2 × 2 layers × 2 pairs × 16 wide × 2 bytes × 4,096 tokens.
    assert model.memory_bytes - size == 1_048_576 + 800_000_000
    assert "memory_bytes" in model.estimates
    assert model.context_length == 4096
    assert model.needs["vllm"] == "0.7.2"
    assert not model.remote_code


def test_its_name_comes_from_its_download(folder: Path) -> None:
    """The record beside the files; a damaged name in it counts for nothing."""
    write(folder / "model-files.json", {"source": {"repository": "Qwen/Some-VL"}, "files": {}})
    assert read_model(folder).id == "Qwen/Some-VL"
    write(folder / "model-files.json", {"source": {"repository": "../x"}, "files": {}})
    assert read_model(folder).id == "my-model"


def test_one_file_without_an_index_and_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As small models have it; an unlisted kind is known by what its config holds."""
    write(tmp_path / "config.json", {"model_type": "newvlm", "vision_config": {}, "dtype": "odd!"})
    safetensors(tmp_path / "model.safetensors", dtype="F32")
    monkeypatch.chdir(tmp_path)
    model = read_model(Path())
    assert model.folder == tmp_path
    assert model.model_type is ModelType.VISION
    assert model.abilities == {Ability.IMAGES}
    assert (model.geometry, model.boxes, model.dtype) == (None, None, "float32")
    assert model.needs == {"transformers": "", "vllm": ""}
    assert (model.parameters, model.context_length) == (20, None)


@pytest.mark.parametrize(
    ("config", "kind", "abilities"),
    [
        (
            {"thinker_config": {"vision_config": {}, "audio_config": {}}, "talker_config": {}},
            ModelType.OMNI,
            {Ability.IMAGES, Ability.AUDIO_IN, Ability.SPEECH_OUT},
        ),
        (
            {"vision_config": {}, "audio_config": {}, "video_token_id": 7},
            ModelType.OMNI,
            {Ability.IMAGES, Ability.AUDIO_IN, Ability.VIDEO_IN},
        ),
        ({"model_type": "vits"}, ModelType.SPEECH, {Ability.TEXT_TO_SPEECH}),
        ({"model_type": "musicgen"}, ModelType.AUDIO, {Ability.TEXT_TO_AUDIO}),
    ],
)
def test_other_kinds(
    tmp_path: Path, config: dict[str, Any], kind: ModelType, abilities: set[Ability]
) -> None:
    """By the type where it is known, else by which parts it has."""
    write(tmp_path / "config.json", {"model_type": "new", **config})
    safetensors(tmp_path / "model.safetensors")
    model = read_model(tmp_path)
    assert model.model_type is kind
    assert model.abilities == abilities


def test_quantised_weights(folder: Path) -> None:
    """What holds several weights in a number has no known count of them."""
    write(
        folder / "config.json", {**QWEN, "quantization_config": {"quant_method": "gptq", "bits": 4}}
    )
    safetensors(folder / "a.safetensors", dtype="I32")
    model = read_model(folder)
    assert (model.quantization, model.parameters) == ("gptq", None)


def pipeline(folder: Path, index: dict[str, Any] = WAN, **transformer: object) -> Path:
    """A diffusers folder with all its parts."""
    write(folder / "model_index.json", index)
    for part in ("scheduler", "text_encoder", "transformer", "vae"):
        write(folder / part / "config.json", transformer if part == "transformer" else {})
    for part in ("text_encoder", "transformer", "vae"):
        name = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        safetensors(folder / part / f"{name}.safetensors")
    return folder


@pytest.mark.parametrize(
    ("index", "transformer", "abilities"),
    [
        ({}, {"in_channels": 16, "out_channels": 16}, {Ability.TEXT_TO_VIDEO}),
        (
            {"_class_name": "WanImageToVideoPipeline"},
            {"in_channels": 36, "out_channels": 16},
            {Ability.IMAGE_TO_VIDEO},
        ),
        (
            {"expand_timesteps": True},
            {"in_channels": 48, "out_channels": 48},
            {Ability.TEXT_TO_VIDEO, Ability.IMAGE_TO_VIDEO},
        ),
        ({"vae": ["diffusers", "AutoencoderOobleck"]}, {}, {Ability.TEXT_TO_AUDIO}),
    ],
)
def test_pipelines(
    tmp_path: Path, index: dict[str, Any], transformer: dict[str, Any], abilities: set[Ability]
) -> None:
    """What comes out is told by the autoencoder, what goes in by the transformer."""
    model = read_model(pipeline(tmp_path / "wan", {**WAN, **index}, **transformer))
    assert model.library is Library.DIFFUSERS
    assert model.model_type is (ModelType.AUDIO if index.get("vae") else ModelType.VIDEO)
    assert model.abilities == abilities
    assert model.needs == {"diffusers": ""}
    assert model.architecture == index.get("_class_name", "WanPipeline")
    parts = (tmp_path / "wan").rglob("*.safetensors")
    assert model.weights_bytes == sum(path.stat().st_size for path in parts)


def test_foreign_code_is_noticed(folder: Path) -> None:
    """Only where the file is there: a class of that name in the library needs none."""
    write(folder / "processor_config.json", {"auto_map": {"AutoProcessor": "own.Processor"}})
    assert not read_model(folder).remote_code
    (folder / "own.py").write_text("")
    assert read_model(folder).remote_code
    (folder / "processor_config.json").unlink()
    write(folder / "config.json", {**QWEN, "auto_map": {"AutoModel": "own.Model"}})
    assert not read_model(folder).remote_code
    unknown = {**QWEN, "model_type": "new", "auto_map": {"AutoModel": ["own.Model", None]}}
    write(folder / "config.json", unknown)
    assert read_model(folder).remote_code


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


BROKEN: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: (f / "config.json").write_text("{"), "is damaged: it is not JSON. Download it"),
    (lambda f: (f / "config.json").write_text("[" * 99_999), "is damaged: it is not JSON"),
    (lambda f: (f / "config.json").write_bytes(b"\xff"), "is damaged: it is not JSON"),
    (lambda f: (f / "config.json").write_text("[]"), "is no JSON object"),
    (lambda f: (f / "config.json").write_text("{}"), "names no model_type"),
    (lambda f: (f / "config.json").unlink(), "There is no config.json in"),
    (
        lambda f: write(f / "config.json", {"model_type": "llama"}),
        "says model_type llama: a model without eyes",
    ),
    (lambda f: (f / "b.safetensors").unlink(), "lacks b.safetensors of 2 files with weights."),
    (
        lambda f: (f / "model.safetensors.index.json").unlink(),
        "There are no weights in",
    ),
    (
        lambda f: write(f / "model.safetensors.index.json", {"weight_map": {"x": "../b"}}),
        "names a file outside of the folder",
    ),
    (lambda f: cut(f / "b.safetensors"), "b.safetensors is cut short: it has"),
    (lambda f: (f / "b.safetensors").write_bytes(b""), "is no safetensors header"),
    (lambda f: (f / "b.safetensors").write_bytes(b"\xff" * 99), "is no safetensors header"),
    (lambda f: write(f / "model_index.json", {}), "names no _class_name"),
    (
        lambda f: write(f / "model_index.json", {**WAN, "vae": ["diffusers", "AutoencoderKL"]}),
        "makes neither video nor sound",
    ),
    (lambda f: write(f / "model_index.json", WAN), "lacks scheduler, which model_index.json"),
]


@pytest.mark.parametrize(("break_it", "says"), BROKEN, ids=[says for _, says in BROKEN])
def test_a_broken_folder_is_named(
    folder: Path, break_it: Callable[[Path], object], says: str
) -> None:
    """Which file, what is wrong with it."""
    break_it(folder)
    with pytest.raises(ModelFolderError) as caught:
        read_model(folder)
    assert says in caught.value.message
    assert str(folder) in caught.value.message


def test_no_folder_and_no_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told apart: one is fetched, the other needs a right."""
    with pytest.raises(ModelFolderError, match="There is no folder"):
        read_model(tmp_path / "none")

    def refused(path: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    # Root, which tests may be run by, is refused nothing.
    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(ModelFolderError, match=r"cannot be read \(Permission denied\)"):
        read_model(tmp_path)


@given(st.binary(max_size=200))
def test_no_bytes_make_a_header_fail_otherwise(tmp_path_factory: Any, content: bytes) -> None:
    """Whatever the file begins with: the model, or the one error."""
    folder = tmp_path_factory.mktemp("m")
    write(folder / "config.json", QWEN)
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelFolderError):
        read_model(folder)


def test_models_are_found_in_folders(folder: Path, tmp_path: Path) -> None:
    """The folder itself, and those in it and in its folders; what is wrong with one is told."""
    pipeline(tmp_path / "org" / "wan", WAN, in_channels=16, out_channels=16)
    write(tmp_path / "broken" / "config.json", {})
    models, troubles = find_models([folder, tmp_path, tmp_path / "none"])
    assert [model.id for model in models] == ["my-model", "wan"]
    assert len(troubles) == 1
    assert "broken" in troubles[0]
