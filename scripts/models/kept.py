"""The folder that a model is fetched to: its whole files, missing files, and files of another revision or model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.models import checkpoint, disk, record
from scripts.models.hub import HubFile, Repository
from scripts.models.trouble import ModelError
from server.features.hosting.catalogue.files import inside
from server.shared.network import FetchError

PIPELINE = "model_index.json"
WEIGHTS = (".safetensors", ".gguf")
# Beside the files: index, record, what the file system takes
SPARE = 16 * 1024 * 1024


def missing(repository: Repository, folder: Path) -> list[HubFile]:
    """Files whose size is not yet right; those with the right size are checked later."""
    return [
        file
        for file in repository.files
        if not (folder / file.name).is_file() or (folder / file.name).stat().st_size != file.size
    ]


def begun(files: Sequence[HubFile], folder: Path) -> int:
    """Bytes of these that need not be fetched: whole files, and first parts."""
    sizes = 0
    for file in files:
        for name in (file.name, f"{file.name}.part"):
            try:
                size = (folder / name).stat().st_size
            except OSError:
                continue
            # Another size under its own name is of another revision, and makes way only when this
            # one is whole.
            if size == file.size or (name != file.name and size < file.size):
                sizes += size
                break
    return sizes


def strangers(repository: Repository, folder: Path) -> list[Path]:
    """An earlier revision's files, which would be read as this one's; ModelError where another
    model's files are.
    """
    if folder.exists() and not folder.is_dir():
        raise ModelError(f"{folder} is a file. Choose a folder with --to or MODEL_PATH.")
    known = record.read(folder) if folder.is_dir() else None
    source = record.unfinished(folder) if known is None else known["source"]
    ours_begun = known is None and source.get("repository") == repository.name
    if source and source.get("repository") != repository.name:
        other = str(source.get("repository") or "a converted model")[:100]
        raise ModelError(
            f"{folder} holds {other}. Choose another folder with --to, or remove that one."
        )
    ours = {file.name for file in repository.files}
    weights = (path for form in WEIGHTS for path in folder.glob(f"*{form}"))
    found = {path for path in weights if path.name not in ours}
    earlier = set() if known is None else _recorded(folder, set(known["files"]) - ours)
    if found - earlier and not ours_begun:
        names = sorted(path.name for path in found - earlier)
        raise ModelError(
            f"{folder} has weights of something else ({', '.join(names[:3])}). Choose another folder with --to, or remove"
            " them."
        )
    return sorted(found | earlier)


def _recorded(folder: Path, names: set[str]) -> set[Path]:
    """Return those of the names that are files within the folder."""
    found = set()
    for name in names:
        try:
            inside(folder, name)
        except FetchError:
            continue
        if (folder / name).is_file():
            found.add(folder / name)
    return found


def require_space(repository: Repository, folder: Path) -> tuple[list[HubFile], int]:
    """Return the missing files of `folder` and their bytes.

    Raises ModelError when they cannot be written there.
    """
    strangers(repository, folder)
    files = missing(repository, folder)
    needed = sum(file.size for file in files) - begun(files, folder)
    if files:
        disk.require_space(folder, needed + SPARE, "what is to be fetched")
    return files, needed


def begin(repository: Repository, folder: Path) -> None:
    """Remove files of another revision that are in the way. Raises ModelError, OSError."""
    source = {"repository": repository.name, "commit": repository.commit}
    old = strangers(repository, folder)
    if record.unfinished(folder) not in ({}, source):
        # Of another revision, whose files may go on otherwise.
        old += folder.rglob("*.part")
    known = record.read(folder)
    if known is not None:
        sums = {name: entry["sha256"] for name, entry in known["files"].items()}
        old += [
            folder / file.name
            for file in repository.files
            if file.sha256 not in (None, sums.get(file.name, file.sha256))
        ]
    for path in old:
        path.unlink(missing_ok=True)
    record.begin(folder, source)
    if known is not None and known["source"] != source:
        # Until all of this revision is there, the folder is neither the one nor the other.
        (folder / record.NAME).unlink(missing_ok=True)


def finish(repository: Repository, folder: Path) -> None:
    """The record; what the index names has to be there. Raises ModelError."""
    # A pipeline of several models (diffusers) has no index of its own, nor have GGUF files; they were
    # all named by the hub, or to it.
    names = {file.name for file in repository.files}
    if PIPELINE not in names and not any(name.endswith(".gguf") for name in names):
        model = checkpoint.read(folder)
        lost = [name for name in model.shards if not (folder / name).is_file()]
        if lost:
            raise ModelError(
                f"{repository.name} itself lacks {', '.join(lost[:5])}: take another revision."
            )
    files = {
        file.name: {"size": file.size, "sha256": file.sha256 or record.sha256(folder / file.name)}
        for file in repository.files
    }
    source = {"repository": repository.name, "commit": repository.commit}
    record.write(folder, source, files)
    (folder / record.BEGUN).unlink(missing_ok=True)
