"""The catalogue: ours, others' files, and what is wrong with them in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from server.core.frames import BoxUnit
from server.features.hosting.catalogue.entry import (
    Ability,
    Catalogue,
    CatalogueError,
    Library,
    Model,
    ModelType,
)
from server.models import families
from server.models.families import FAMILIES

TINY = b"""
[[model]]
id = "someone/tiny-vl"
aliases = ["tiny"]
model_type = "vision"
architecture = "qwen2_5_vl"
abilities = ["images"]
weights_bytes = 1000
memory_bytes = 1000
needs = { transformers = "" }
"""
ENTRY = """
[[model]]
id = "some/model"
aliases = ["one"]
model_type = "vision"
architecture = "llava"
abilities = ["images"]
weights_bytes = 1000
memory_bytes = 2000
"""


@pytest.mark.parametrize("model", list(Catalogue.load()), ids=lambda model: model.id)
def test_ours_holds(model: Model) -> None:
    assert model.licence
    assert model.folder is None
    assert model.library.value in model.needs
    assert model.geometry == families.get_family(model.architecture).geometry
    assert model.answers is (model.model_type in (ModelType.VISION, ModelType.OMNI))
    assert model.languages or not model.answers
    assert "memory_bytes" in model.estimates
    assert model.parameters is not None
    # Numbers of two or four bytes, of quantised files mostly less, and what else lies beside them
    least = 0.4 if model.quantization else 1.9
    assert least <= model.weights_bytes / model.parameters <= 4.4
    assert model.memory_bytes >= min(model.weights_bytes, 2 * model.parameters)
    if model.answers:
        assert model.boxes == FAMILIES[model.architecture].boxes
    if model.library is Library.TRANSFORMERS:
        family = FAMILIES[model.architecture]
        assert model.model_type == family.model_type
        assert model.abilities == family.abilities
        assert model.needs == family.needs


def test_ours_has_every_type() -> None:
    types = {model.model_type for model in Catalogue.load()}
    assert types == set(ModelType)
    abilities = frozenset[Ability]().union(*(model.abilities for model in Catalogue.load()))
    assert abilities == set(Ability)


def test_a_first_token_says_what_it_was_measured_on_and_where() -> None:
    """Without its machine and source a figure is none; a folder's model keeps those of the catalogue."""
    measured = [model for model in Catalogue.load() if model.first_token]
    assert measured
    for model in measured:
        assert all(one.on and one.source for one in model.first_token)
    given = 'first_token = [{ seconds = 0.5, on = "a laptop", source = "https://a.example/b" }]'
    catalogue = Catalogue.read(ENTRY + given + '\nlanguages = "English"', "here")
    found = catalogue.require("one").model_copy(
        update={"aliases": (), "first_token": (), "languages": "", "folder": Path("/m")}
    )
    joined = catalogue.with_local([found]).require("one")
    assert joined.folder == Path("/m")
    assert (joined.first_token[0].seconds, joined.languages) == (0.5, "English")
    for wrong, says in (
        (given.replace("0.5", "0"), "greater than 0"),
        (given.replace('on = "a laptop", ', ""), "Field required"),
        (given.replace("https://a.example/b", "a friend"), "String should match"),
    ):
        with pytest.raises(CatalogueError, match=says):
            Catalogue.read(ENTRY + wrong, "here")


def test_the_small_one_fits_a_laptop() -> None:
    """The model of `--model small`, which is a default."""
    small = Catalogue.load().require("small")
    assert small.default_for
    assert small.memory_bytes <= 6_000_000_000


def test_a_model_is_found_by_id_and_alias_in_any_case() -> None:
    catalogue = Catalogue.read(ENTRY, "here")
    assert catalogue.require("One") is catalogue.require("SOME/model") is next(iter(catalogue))
    assert catalogue.find("two") is None
    with pytest.raises(CatalogueError, match=r"no model tw o\. It has: one\."):
        catalogue.require("tw\x1b o")


def test_models_found_here_are_joined() -> None:
    """A known one keeps its names and gets folder and figures, an unknown one is added."""
    catalogue = Catalogue.read(ENTRY, "here")
    known = catalogue.require("one")
    found = known.model_copy(
        update={"aliases": (), "weights_bytes": 3, "needs": {}, "folder": Path("/m")}
    )
    other = known.model_copy(update={"id": "other", "aliases": (), "folder": Path("/o")})
    joined = catalogue.with_local([found, other])
    assert [model.id for model in joined] == ["some/model", "other"]
    assert joined.require("one").folder == Path("/m")
    assert joined.require("one").weights_bytes == 3
    assert known.folder is None


def test_a_pinned_commit_holds_for_what_lies_here() -> None:
    """Another commit's files get a name of their own; without one, kind and size tell."""
    ours, theirs = "a1" * 20, "b2" * 20
    catalogue = Catalogue.read(ENTRY + f'revision = "{ours}"', "here")
    found = catalogue.require("one").with_folder(Path("/m")).model_copy(update={"aliases": ()})
    for revision, taken in ((ours, True), ("", True), (theirs, False)):
        joined = catalogue.with_local([found.model_copy(update={"revision": revision})])
        assert (joined.require("one").folder is not None) is taken
        assert (joined.find("some/model-here") is not None) is not taken
    # A branch says nothing of commits.
    branch = Catalogue.read(ENTRY + 'revision = "main"', "here")
    assert branch.with_local([found.model_copy(update={"revision": theirs})]).require("one").folder


def test_troubles_stay_with_it() -> None:
    catalogue = Catalogue.read(ENTRY, "here")
    assert catalogue.errors == ()
    both = catalogue.with_local([], ["One."]).with_local([], ["Two."])
    assert both.errors == ("One.", "Two.")
    assert list(both) == list(catalogue)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[model]", "is not TOML"),
        ("a = 1", "needs 1 to 500 entries [[model]]"),
        ("model = 1", "needs 1 to 500 entries [[model]]"),
        ("model = [1]", "Model 1 of the catalogue here is invalid"),
        (ENTRY + ENTRY, "has some/model twice"),
        (ENTRY.replace('"vision"', '"wings"'), "Model 1 (some/model) of the catalogue here"),
        (ENTRY.replace("some/model", "../model"), "id: String should match"),
        (ENTRY.replace("some/model", "-x"), "id: String should match"),
        (ENTRY + "wings = 2", "wings: Extra inputs"),
        (ENTRY + 'boxes = "pixels"', "boxes and the ability grounding go together"),
        (ENTRY + 'revision = "--help"', "revision: String should match"),
    ],
)
def test_a_bad_catalogue_is_refused_with_the_place(text: str, says: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        Catalogue.read(text, "here")
    assert says in caught.value.message
    assert "here" in caught.value.message or "twice" in says


GGUF = """library = "llama.cpp"
weights_file = "one-Q4_K_M.gguf"
projector_file = "mmproj-one.gguf"
"""


def test_a_gguf_model_names_both_of_its_files() -> None:
    """One without the other sees no pictures, or has no words; no name leads out of the folder."""
    found = Catalogue.read(ENTRY + GGUF, "here").require("one")
    assert found.library is Library.LLAMA_CPP
    for wrong in (
        GGUF.replace('weights_file = "one-Q4_K_M.gguf"', ""),
        GGUF.replace('projector_file = "mmproj-one.gguf"', ""),
        GGUF.replace('library = "llama.cpp"', ""),
        'library = "llama.cpp"',
        GGUF.replace("one-Q4_K_M", "../one"),
        GGUF.replace("one-Q4_K_M.gguf", "one.safetensors"),
    ):
        with pytest.raises(CatalogueError, match=r"weights_file|projector_file"):
            Catalogue.read(ENTRY + wrong, "here")


def test_a_model_never_changes() -> None:
    """It is shared by everybody; `at` gives another one."""
    model = Catalogue.read(ENTRY, "here").require("one")
    with pytest.raises(ValidationError, match="frozen"):
        model.id = "x"
    assert model.with_folder(Path("/m")).folder == Path("/m")
    assert (model.name, model.boxes, model.answers) == ("model", None, True)
    grounded = model.model_dump() | {"abilities": [Ability.GROUNDING], "boxes": "thousandths"}
    assert Model.model_validate(grounded).boxes is BoxUnit.THOUSANDTHS


def test_the_setting_names_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its path, ~ being the home directory; what cannot be read is a sentence."""
    (tmp_path / "models.toml").write_bytes(TINY)
    (tmp_path / "picture").write_bytes(b"\xff\xd8\xff")
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in (str(tmp_path / "models.toml"), "~/models.toml"):
        assert [model.id for model in Catalogue.load(source)] == ["someone/tiny-vl"]
    for source, says in (
        ("~/none.toml", "No such file"),
        ("~", "Is a directory"),
        ("~/picture", "not UTF-8 text"),
    ):
        with pytest.raises(
            CatalogueError, match=f"{says}.*Leave it empty for the built-in catalogue"
        ):
            Catalogue.load(source)
