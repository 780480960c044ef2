"""A model's own folder: what it tells, and each way in which it can be unusable."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.frames import BoxUnit
from server.features.hosting.catalogue.entry import Ability, Catalogue, Library, ModelType
from server.features.hosting.catalogue.folder import ModelFolderError, find_models, read_model
from server.features.hosting.catalogue.sizes import OVERHEAD_BYTES
from server.models import families
from server.models.files import MAX_JSON_BYTES
from tests.support.gguf_writer import write_projector, write_weights

QWEN: dict[str, Any] = {
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


def tensors(path: Path, told: dict[str, Any], size: int) -> None:
    """Write `size` bytes of numbers, and before them what is told of them."""
    header = json.dumps(told).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))


def safetensors(path: Path, shape: tuple[int, ...] = (4, 5), dtype: str = "BF16") -> None:
    """Write a file with one tensor."""
    count = math.prod(shape) * {"F32": 4, "BF16": 2, "I32": 4, "F8_E4M3": 1}[dtype]
    tensor = {"dtype": dtype, "shape": shape, "data_offsets": [0, count]}
    tensors(path, {"__metadata__": {"format": "pt"}, "w": tensor}, count)


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def beside(folder: Path) -> None:
    """Write the files that a model needs beside its weights."""
    write(folder / "tokenizer.json", {})
    write(folder / "preprocessor_config.json", {})


def shards(folder: Path) -> None:
    """Write weights of two files, with their index."""
    for name in ("a.safetensors", "b.safetensors"):
        safetensors(folder / name)
    placed = {"x": "a.safetensors", "y": "b.safetensors"}
    write(folder / "model.safetensors.index.json", {"weight_map": placed})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole one, of two shards."""
    model = tmp_path / "my model"
    write(model / "config.json", QWEN)
    beside(model)
    shards(model)
    return model


def test_it_tells_what_it_is(folder: Path) -> None:
    model = read_model(folder)
    size = sum((folder / name).stat().st_size for name in ("a.safetensors", "b.safetensors"))
    assert model.id == "my-model"
    assert model.folder == folder
    assert (model.model_type, model.architecture) == (ModelType.VISION, "qwen2_5_vl")
    assert model.abilities == {Ability.IMAGES, Ability.VIDEO_IN, Ability.GROUNDING}
    assert model.boxes is BoxUnit.PIXELS
    assert model.geometry == families.QWEN2_VL
    assert (model.weights_bytes, model.dtype) == (size, "bfloat16")
    # A tenth for one context
    assert model.memory_bytes == size + size // 10 + OVERHEAD_BYTES
    assert model.context_length == 4096
    assert model.needs["vllm"] == "0.7.2"
    assert not model.remote_code


@pytest.mark.parametrize("length", [-1, 0, 10**30, 1e30, True, "8192", float("nan"), None, [1]])
def test_a_length_that_can_not_be_is_none(folder: Path, length: object) -> None:
    text(max_position_embeddings=length)(folder)
    assert read_model(folder).context_length is None


def test_its_name_comes_from_its_download(folder: Path) -> None:
    """The record beside the files; a damaged name in it counts for nothing."""
    source = {"repository": "Qwen/Some-VL", "commit": "a1" * 20}
    write(folder / "model-files.json", {"source": source, "files": {}})
    model = read_model(folder)
    assert (model.id, model.revision) == ("Qwen/Some-VL", "a1" * 20)
    write(folder / "model-files.json", {"source": {**source, "commit": "main"}, "files": {}})
    assert read_model(folder).revision == ""
    for bad in ("../x", "Qwen/x\n", 7):
        write(folder / "model-files.json", {"source": {"repository": bad}, "files": {}})
        assert read_model(folder).id == "my-model"


def test_one_file_without_an_index_and_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As small models have it; an unlisted kind is known by what its config holds."""
    write(tmp_path / "config.json", {"model_type": "newvlm", "vision_config": {}, "dtype": "odd!"})
    beside(tmp_path)
    safetensors(tmp_path / "model.safetensors", dtype="F32")
    monkeypatch.chdir(tmp_path)
    model = read_model(Path())
    assert model.folder == tmp_path
    assert model.model_type is ModelType.VISION
    assert model.abilities == {Ability.IMAGES}
    assert (model.geometry, model.boxes, model.dtype) == (None, None, "float32")
    assert model.needs == {"transformers": "", "vllm": ""}
    assert model.context_length is None


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
    beside(tmp_path)
    safetensors(tmp_path / "model.safetensors")
    model = read_model(tmp_path)
    assert model.model_type is kind
    assert model.abilities == abilities


def test_quantised_weights(folder: Path) -> None:
    configured(quantization_config={"quant_method": "gptq", "bits": 4})(folder)
    safetensors(folder / "a.safetensors", dtype="I32")
    model = read_model(folder)
    assert model.quantization == "gptq"


def pipeline(folder: Path, index: dict[str, Any] = WAN, **transformer: object) -> Path:
    """A diffusers folder with all its parts."""
    write(folder / "model_index.json", index)
    write(folder / "scheduler" / "scheduler_config.json", {})
    (folder / "vocoder").mkdir()
    for part in ("text_encoder", "transformer", "vae"):
        write(folder / part / "config.json", transformer if part == "transformer" else {})
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
        # Made of pictures: what works on frames beside each other tells, and what makes waves of
        # them.
        (
            {"vae": ["diffusers", "AutoencoderKL"], "scheduler": ["diffusers", "UNetMotionModel"]},
            {},
            {Ability.TEXT_TO_VIDEO},
        ),
        (
            {
                "vae": ["diffusers", "AutoencoderKL"],
                "transformer": ["diffusers", "X"],
                "vocoder": ["transformers", "SpeechT5HifiGan"],
            },
            {},
            {Ability.TEXT_TO_AUDIO},
        ),
    ],
)
def test_pipelines(
    tmp_path: Path, index: dict[str, Any], transformer: dict[str, Any], abilities: set[Ability]
) -> None:
    """The autoencoder shows the output, the transformer the input."""
    model = read_model(pipeline(tmp_path / "wan", {**WAN, **index}, **transformer))
    assert model.library is Library.DIFFUSERS
    sound = Ability.TEXT_TO_AUDIO in abilities
    assert model.model_type is (ModelType.AUDIO if sound else ModelType.VIDEO)
    assert model.abilities == abilities
    assert model.needs == {"diffusers": ""}
    assert model.architecture == index.get("_class_name", "WanPipeline")
    parts = (tmp_path / "wan").rglob("*.safetensors")
    assert model.weights_bytes == sum(path.stat().st_size for path in parts)


def test_a_unet_tells_like_a_transformer(tmp_path: Path) -> None:
    """Stable Video Diffusion's takes a picture's channels beside the noise."""
    index = {
        "_class_name": "StableVideoDiffusionPipeline",
        "unet": ["diffusers", "UNetSpatioTemporalConditionModel"],
        "vae": ["diffusers", "AutoencoderKLTemporalDecoder"],
    }
    write(tmp_path / "model_index.json", index)
    for part in ("unet", "vae"):
        sizes = {"in_channels": 8, "out_channels": 4} if part == "unet" else {}
        write(tmp_path / part / "config.json", sizes)
        safetensors(tmp_path / part / "diffusion_pytorch_model.safetensors")
    assert read_model(tmp_path).abilities == {Ability.IMAGE_TO_VIDEO}


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


def header(path: Path, **tensor: object) -> None:
    """A file with one tensor of 40 bytes, something of it other than it should be."""
    usual = {"dtype": "BF16", "shape": [4, 5], "data_offsets": [0, 40]}
    tensors(path, {"w": {**usual, **tensor}}, 40)


def configured(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: write(folder / "config.json", {**QWEN, **changes})


def text(**changes: Any) -> Callable[[Path], None]:
    return configured(text_config={**QWEN["text_config"], **changes})


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path)


def only(folder: Path, *files: str, **contents: object) -> None:
    """A folder of another kind; `contents` are of files whose names end in .json."""
    for path in folder.iterdir():
        path.unlink()
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    for name, content in contents.items():
        write(folder / f"{name}.json", content)


BROKEN: list[tuple[Callable[[Path], object], str]] = [
    (
        lambda f: (f / "config.json").write_text("{"),
        "is damaged: it is not JSON. Download it … again",
    ),
    (lambda f: (f / "config.json").write_text("[" * 99_999), "is damaged: it is not JSON"),
    (lambda f: (f / "config.json").write_text("[]"), "is not a JSON object"),
    (lambda f: (f / "config.json").write_text("{}"), "has no model_type"),
    (lambda f: (f / "config.json").unlink(), "has no config.json: … Download"),
    (
        lambda f: write(f / "config.json", {"model_type": "llama"}),
        "has model_type llama and no vision_config … does not accept pictures. Choose one that answers",
    ),
    (
        lambda f: (f / "b.safetensors").unlink(),
        "lacks b.safetensors of 2 files of weights. … Fetch them",
    ),
    (
        lambda f: write(f / "model.safetensors.index.json", {"weight_map": {"x": "../b"}}),
        "names a file outside the folder",
    ),
    (lambda f: cut(f / "b.safetensors"), "b.safetensors is truncated: it has … again"),
    (lambda f: (f / "b.safetensors").write_bytes(b""), "is not a safetensors header"),
    (lambda f: write(f / "model_index.json", {}), "has no _class_name"),
    (
        lambda f: write(
            f / "model_index.json",
            {"_class_name": "X", "vae": ["diffusers", "AutoencoderKL"], "unet": ["a", "UNet2D"]},
        ),
        "generates neither video nor sound",
    ),
    (lambda f: write(f / "model_index.json", WAN), "lacks scheduler, which model_index.json"),
    # Numbers that no model has
    (lambda f: header(f / "a.safetensors", data_offsets=[0]), "is not a safetensors header"),
    # Not a regular file
    (lambda f: pipe(f / "config.json"), "config.json is not a regular file. Download"),
    (
        lambda f: loop(f / "config.json"),
        "cannot be read (Too many levels of symbolic links) … Give this user access",
    ),
    (
        lambda f: (f / "config.json").write_bytes(bytes(MAX_JSON_BYTES + 1)),
        "it has more than 33554432",
    ),
    # Another kind of folder
    (lambda f: only(f), "has no config.json"),
    (lambda f: only(f, "model-Q4_K_M.gguf"), "model-Q4_K_M.gguf is not a GGUF file"),
    (
        lambda f: only(f, "pytorch_model.bin", config=QWEN),
        "Other formats are not read, because they run code",
    ),
    (
        lambda f: only(f, "model.safetensors.part", config=QWEN),
        "The download is incomplete. Continue it: bash scripts/download_model.sh",
    ),
    # Files beside the weights
    (lambda f: (f / "preprocessor_config.json").write_text("{"), "preprocessor_config.json is dam"),
]


@pytest.mark.parametrize(("break_it", "says"), BROKEN, ids=[says for _, says in BROKEN])
def test_a_broken_folder_is_named(
    folder: Path, break_it: Callable[[Path], object], says: str
) -> None:
    break_it(folder)
    with pytest.raises(ModelFolderError) as caught:
        read_model(folder)
    assert all(part in caught.value.message for part in says.split(" … ")), caught.value.message
    assert str(folder) in caught.value.message
    assert caught.value.message.isprintable()
    # The problem of one is reported, and the others are found.
    models, troubles = find_models([folder])
    assert models == []
    assert len(troubles) <= 1


def test_no_folder_and_no_access(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelFolderError, match="There is no folder"):
        read_model(tmp_path / "none")
    for name, says in (("a.gguf", "a.gguf is not a GGUF file"), ("b", "is not a folder. Name the")):
        (tmp_path / name).write_text("x")
        with pytest.raises(ModelFolderError, match=says):
            read_model(tmp_path / name)
    with pytest.raises(ModelFolderError, match=r"cannot be read \(File name too long\)"):
        read_model(tmp_path / ("x" * 300))

    def refused(path: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    # Root, which tests may be run by, is refused nothing.
    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(ModelFolderError, match=r"cannot be read \(Permission denied\)"):
        read_model(tmp_path)


@given(st.binary(max_size=200))
def test_no_bytes_make_a_header_fail_otherwise(tmp_path_factory: Any, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("m")
    write(folder / "config.json", QWEN)
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelFolderError):
        read_model(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_files_of_somebody_else(folder: Path) -> None:
    """A folder or a file that may not be read: a sentence, not an end of the search."""
    look = (
        "import os, sys; from pathlib import Path; from server.features.hosting.catalogue.folder import find_models, read_model\n"
        "from server.models.files import ModelFolderError\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: read_model(Path(sys.argv[1]))\n"
        "except ModelFolderError as error: print(error.message)\n"
        "print(len(find_models([Path(sys.argv[1]).parent])[0]))"
    )

    def told() -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", look, folder], capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    with world_may_look(folder.parent):
        folder.chmod(0o744)
        assert told() == [
            f"{folder / 'model_index.json'} cannot be read (Permission denied). Give this user access to it.",
            "0",
        ]
        folder.chmod(0o755)
        (folder / "b.safetensors").chmod(0o600)
        assert "b.safetensors cannot be read (Permission denied)" in told()[0]


@contextmanager
def world_may_look(folder: Path) -> Iterator[None]:
    """Every folder above may be entered by anybody, for a while."""
    before = [(path, path.stat().st_mode) for path in (folder, *folder.parents)]
    for path, mode in before:
        path.chmod(mode | 0o055)
    try:
        yield
    finally:
        for path, mode in before:
            path.chmod(mode)


def test_models_are_found_in_folders(folder: Path, tmp_path: Path) -> None:
    """The folder itself, and those in it and in its folders; the fault of one is reported."""
    pipeline(tmp_path / "org" / "wan", WAN, in_channels=16, out_channels=16)
    write(tmp_path / "broken" / "config.json", {})
    models, troubles = find_models([folder, tmp_path, tmp_path / "org" / "..", tmp_path / "none"])
    assert [model.id for model in models] == ["my-model", "wan"]
    assert len(troubles) == 1
    assert "broken" in troubles[0]


# GGUF files, for llama.cpp


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A folder with weights, and with what reads pictures for them."""
    model = tmp_path / "my gguf"
    model.mkdir()
    write_weights(model / "Model-Q4_K_M.gguf")
    write_projector(model / "mmproj-Model-F16.gguf")
    return model


def test_a_gguf_model_is_read_from_its_two_files(pair: Path) -> None:
    """Kind, sizes, what it can do; a config.json that hubs keep beside them changes nothing."""
    write(pair / "config.json", QWEN)
    model = read_model(pair)
    assert (model.id, model.library) == ("my-gguf", Library.LLAMA_CPP)
    assert (model.weights_file, model.projector_file) == (
        "Model-Q4_K_M.gguf",
        "mmproj-Model-F16.gguf",
    )
    assert model.architecture == "qwen3_vl"
    assert model.boxes is BoxUnit.THOUSANDTHS
    assert model.abilities == {Ability.IMAGES, Ability.GROUNDING}
    assert model.geometry == families.get_family("qwen3_vl").geometry
    assert model.context_length == 4096
    assert model.weights_bytes == sum(path.stat().st_size for path in pair.glob("*.gguf"))
    assert model.memory_bytes > model.weights_bytes + OVERHEAD_BYTES
    assert find_models([pair.parent]) == ([model], [])


def test_one_of_several_gguf_models_is_named_by_its_file(pair: Path) -> None:
    """The smallest of what reads pictures goes with it."""
    write_weights(pair / "Model-Q8_0.gguf")
    write_projector(pair / "mmproj-Model-F32.gguf", rows=400)
    with pytest.raises(ModelFolderError, match=r"several models \(Model-Q4_K_M.gguf, Model-Q8_0"):
        read_model(pair)
    model = read_model(pair / "Model-Q8_0.gguf")
    assert model.id == "Model-Q8_0"
    assert model.projector_file == "mmproj-Model-F16.gguf"
    assert model.folder == pair


def test_a_gguf_model_of_several_parts_needs_all(pair: Path) -> None:
    """Named is the first; a missing part is told before the server is started."""
    (pair / "Model-Q4_K_M.gguf").unlink()
    for number in (1, 2):
        write_weights(pair / f"Model-0000{number}-of-00003.gguf")
    with pytest.raises(ModelFolderError, match=r"lacks Model-00003-of-00003.gguf"):
        read_model(pair)
    write_weights(pair / "Model-00003-of-00003.gguf")
    assert read_model(pair).weights_file == "Model-00001-of-00003.gguf"
    assert read_model(pair).weights_bytes == sum(one.stat().st_size for one in pair.iterdir())


def test_half_a_gguf_model_is_named(pair: Path) -> None:
    """Without what reads pictures it would see none; that alone says nothing."""
    (pair / "mmproj-Model-F16.gguf").rename(pair.parent / "kept.gguf")
    with pytest.raises(
        ModelFolderError, match=r"Model-Q4_K_M.gguf without its multimodal projector"
    ):
        read_model(pair)
    (pair / "Model-Q4_K_M.gguf").unlink()
    (pair.parent / "kept.gguf").rename(pair / "mmproj-Model-F16.gguf")
    with pytest.raises(ModelFolderError, match="has a multimodal projector"):
        read_model(pair)


def test_a_fetched_gguf_model_is_the_catalogues(pair: Path) -> None:
    """By its record; what its files do not tell stays as the catalogue has it."""
    record = {"source": {"repository": "some/model-GGUF", "commit": "a" * 40}, "files": {}}
    write(pair / "model-files.json", record)
    write_weights(pair / "Model-Q4_K_M.gguf", "newer9")
    write_projector(pair / "mmproj-Model-F16.gguf", "newer9_merger")
    known = Catalogue.read(
        """
        [[model]]
        id = "some/model-GGUF"
        model_type = "vision"
        architecture = "qwen3_vl"
        library = "llama.cpp"
        abilities = ["images", "grounding"]
        boxes = "thousandths"
        weights_bytes = 1
        memory_bytes = 2
        quantization = "Q4_K_M"
        weights_file = "Model-Q4_K_M.gguf"
        projector_file = "mmproj-Model-F16.gguf"
        """,
        "here",
    )
    (model,) = known.with_local([read_model(pair)])
    assert (model.folder, model.revision) == (pair, "a" * 40)
    assert (model.architecture, model.boxes) == ("qwen3_vl", BoxUnit.THOUSANDTHS)
    assert model.weights_bytes > 1
