"""Properties of a model, and the catalogue of models, read from `models.toml` or a file in the same format."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from server.core.errors import BadRequest
from server.core.frames import BoxUnit, Geometry
from server.features.hosting.catalogue.machine import MachineClass
from server.models.families import Ability as Ability
from server.models.families import Library as Library
from server.models.families import ModelType as ModelType
from server.models.files import clean


class RunMode(StrEnum):
    """How a model runs."""

    REMOTE = "remote"
    SUBPROCESS = "subprocess"
    CONTAINER = "container"
    IN_PROCESS = "in_process"


BUILTIN_FILE = Path(__file__).with_name("models.toml")
MAX_MODELS = 500
_TERABYTE = 10**12
# NAME or OWNER/NAME, as on the hub; it can never be a path that leaves a folder, or an option of a program
ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$"
# Full hash of a commit
COMMIT = re.compile(r"[0-9a-f]{40}")
ALIAS = r"^[a-z0-9][a-z0-9.-]{0,39}$"
MAX_PARTS = 64
# "…-00001-of-00003.gguf"
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_GGUF = r"^([A-Za-z0-9][A-Za-z0-9._-]{0,119}\.gguf)?$"


class CatalogueError(BadRequest):
    """The catalogue cannot be read, or does not contain the model; `message` is for operators."""


class FirstToken(BaseModel):
    """A measured time to the first token of an answer about one picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(gt=0, le=3600, allow_inf_nan=False)
    # Hardware and software of the measurement
    on: str = Field(min_length=1, max_length=120)
    # An address, or a file of this project
    source: str = Field(pattern=r"^(https://|docs/figures/)[!-~]{1,240}$")


class Model(BaseModel):
    """One model, from the catalogue or read from its folder (`folder.read_model`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # The hub's id, or the folder's name
    id: str = Field(pattern=ID)
    title: str = Field(default="", max_length=80)
    aliases: tuple[Annotated[str, Field(pattern=ALIAS)], ...] = Field(default=(), max_length=8)
    # Branch, tag or commit to fetch; empty for the newest. With a full commit hash, local files of another commit are
    # not this model. For a folder: the commit in its record.
    revision: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$")
    model_type: ModelType
    # model_type of config.json ("qwen2_5_vl"), or the class of a diffusers pipeline ("WanPipeline")
    architecture: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,80}$")
    library: Library = Library.TRANSFORMERS
    abilities: frozenset[Ability] = Field(min_length=1)
    # The unit of its boxes; None without GROUNDING
    boxes: BoxUnit | None = None
    # None: it accepts pictures of any size, and resizes them itself
    geometry: Geometry | None = None
    # None: unknown
    parameters: int | None = Field(default=None, gt=0, le=_TERABYTE * 10)
    # Bytes of its files, and of the weights in memory in their stored format; 0: unknown
    weights_bytes: int = Field(ge=0, le=_TERABYTE * 10)
    # Bytes of memory (GPU memory, or main memory if there is no GPU) for weights, one context and one picture
    memory_bytes: int = Field(ge=0, le=_TERABYTE * 10)
    # Names of the fields above that are computed or guessed, not read from files
    estimates: frozenset[str] = frozenset()
    # Tokens of prompt and answer together; None: unknown or not applicable
    context_length: int | None = Field(default=None, gt=0)
    # Format of the stored weights
    dtype: str = Field(default="bfloat16", pattern=r"^[a-z0-9]{2,12}$")
    # SPDX id, or the licence's own name
    licence: str = Field(default="", max_length=80)
    # Those that its maker names, or how many; empty: unknown
    languages: str = Field(default="", max_length=120)
    # Machine class that it is proposed for; of several models of a class the first that fits
    default_for: MachineClass | None = None
    # Empty: no measurement is known
    first_token: tuple[FirstToken, ...] = Field(default=(), max_length=8)
    # Libraries that run it, with the minimum version ("transformers" = "4.49.0"); empty version: unknown. No other
    # library runs it.
    needs: Mapping[str, str] = Field(default_factory=dict)
    # True: it contains Python code, which runs only with TRUST_REMOTE_CODE
    remote_code: bool = False
    # Such as "compressed-tensors" or "gptq", or "Q4_K_M" for GGUF; empty: none
    quantization: str = Field(default="", max_length=40)
    # For llama.cpp: the file of weights, and the multimodal projector (mmproj). Only these files are fetched.
    weights_file: str = Field(default="", pattern=_GGUF)
    projector_file: str = Field(default="", pattern=_GGUF)
    # A sentence on when to choose it
    note: str = Field(default="", max_length=400)
    # Folder of its files; None: not on this machine. Never set in a catalogue's file.
    folder: Path | None = None

    @model_validator(mode="after")
    def _validate(self) -> Model:
        if (self.boxes is None) != (Ability.GROUNDING not in self.abilities):
            raise ValueError("boxes and the ability grounding go together")
        files = bool(self.weights_file) + bool(self.projector_file)
        if files != 2 * (self.library is Library.LLAMA_CPP):
            raise ValueError("weights_file, projector_file and the library llama.cpp go together")
        return self

    @property
    def name(self) -> str:
        """Name for display."""
        return self.title or self.id.rpartition("/")[2]

    @property
    def answers(self) -> bool:
        """Whether it answers questions about pictures."""
        return Ability.IMAGES in self.abilities

    @property
    def files(self) -> tuple[str, ...]:
        """Names of its files in the repository; empty: all files."""
        if not self.weights_file:
            return ()
        return (*get_part_names(self.weights_file), self.projector_file)

    def with_folder(self, folder: Path) -> Model:
        """Return a copy of the model whose files are in `folder`."""
        return self.model_copy(update={"folder": folder})


def get_part_names(weights_file: str) -> list[str]:
    """Return the file names of GGUF weights: the given name, or the names of all parts if it is one of several."""
    part = _PART.search(weights_file)
    if part is None:
        return [weights_file]
    begin, count = weights_file[: part.start()], part[2]
    numbers = range(1, min(int(count), MAX_PARTS) + 1)
    return [f"{begin}-{number:05d}-of-{count}.gguf" for number in numbers]


class Catalogue:
    """Models by id and alias. Immutable.

    `errors`: sentences about folders and files that could not be read.
    """

    def __init__(self, models: Sequence[Model], errors: Sequence[str] = ()) -> None:
        """Raise CatalogueError for a duplicate id or alias."""
        self._models = tuple(models)
        self.errors = tuple(errors)
        self._by_name: dict[str, Model] = {}
        for model in self._models:
            for name in (model.id.lower(), *model.aliases):
                if name in self._by_name:
                    raise CatalogueError(
                        f"The catalogue has {name} twice, as an id or alias. Rename or remove one of the two."
                    )
                self._by_name[name] = model

    @classmethod
    def load(cls, source: str = "") -> Catalogue:
        """Read the file `source`; "": the built-in catalogue. Raises CatalogueError."""
        path = Path(os.path.expanduser(source)) if source else BUILTIN_FILE
        try:
            return cls.read(path.read_text("utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise CatalogueError(
                f"CATALOGUE: {path} cannot be read ({reason}). Leave it empty for the built-in catalogue."
            ) from None

    @classmethod
    def read(cls, text: str, source: str) -> Catalogue:
        """Parse TOML with one `[[model]]` per model; `source` is the name of the file in errors.

        Raises CatalogueError.
        """
        try:
            entries = tomllib.loads(text).get("model")
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise CatalogueError(
                f"The catalogue {source} is not TOML: {str(error)[:200]}."
            ) from None
        if not isinstance(entries, list) or not 0 < len(entries) <= MAX_MODELS:
            raise CatalogueError(
                f"The catalogue {source} needs 1 to {MAX_MODELS} entries [[model]]; it has none, or more."
            )
        return cls([_parse_entry(entry, number, source) for number, entry in enumerate(entries, 1)])

    def find(self, name: str) -> Model | None:
        """Return the model with this id (case-insensitive) or alias, or None if there is none."""
        return self._by_name.get(name) or self._by_name.get(name.lower())

    def require(self, name: str) -> Model:
        """Return the model that `find` returns. Raises CatalogueError with the known names."""
        model = self.find(name)
        if model is None:
            known = ", ".join(one.aliases[0] if one.aliases else one.id for one in self._models)
            raise CatalogueError(
                f"The catalogue has no model {clean(name)}. It has: {known[:600]}. For another model, give the path of its folder."
            )
        return model

    def with_local(self, local: Sequence[Model], errors: Sequence[str] = ()) -> Catalogue:
        """Return a catalogue with the models in local folders: known models get their folder, others are appended.

        Figures read from a folder replace those in the catalogue. A folder whose commit differs from the catalogue's is
        added under another name. `errors`: sentences about unusable folders.
        """
        here: dict[str, Model] = {}
        others: list[Model] = []
        for found in local:
            known = self.find(found.id)
            if known is None or not _is_same(known, found):
                others.append(found)
            else:
                here.setdefault(known.id, found)
        models = [_merge(known, here.get(known.id)) for known in self._models]
        taken = {name for model in models for name in (model.id.lower(), *model.aliases)}
        for found in others:
            name = found.id
            while name.lower() in taken:
                name += "-here"
            taken.add(name.lower())
            models.append(found if name == found.id else found.model_copy(update={"id": name}))
        return Catalogue(models, (*self.errors, *errors))

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)


def _merge(known: Model, found: Model | None) -> Model:
    if found is None:
        return known
    kept = {"id", "title", "aliases", "licence", "note", "needs", "languages", "default_for"}
    kept |= {"first_token", "parameters"}
    if found.library is Library.LLAMA_CPP:
        # GGUF files use llama.cpp's names for architectures, not all of which are known here.
        kept |= {"model_type", "architecture", "abilities", "boxes", "geometry", "quantization"}
    return found.model_copy(update={name: getattr(known, name) for name in kept})


def _is_same(known: Model, found: Model) -> bool:
    """Return whether a folder contains the catalogue's model of the same name, at the pinned commit."""
    pinned = COMMIT.fullmatch(known.revision) is not None
    other = pinned and found.revision not in ("", known.revision)
    return known.id.lower() == found.id.lower() and not other


def _parse_entry(entry: Any, number: int, source: str) -> Model:
    try:
        return Model.model_validate(entry)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    name = f" ({entry['id']})" if isinstance(entry, dict) and "id" in entry else ""
    raise CatalogueError(
        f"Model {number}{name} of the catalogue {source} is invalid: {where}: {first['msg']}."
    )
