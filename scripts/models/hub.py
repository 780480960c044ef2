"""A repository on a Hugging Face hub: its files with their checksums, and one of them fetched with resuming.

Through huggingface_hub, which knows tokens, proxies, mirrors (HF_ENDPOINT) and retries. Its own download into a folder
throws a file's first part away when it is interrupted (from 2.0 on), and a shard has gigabytes; so its `http_get` is
called here with what is there already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from scripts.models import record
from scripts.models.trouble import ModelError

SECONDS = 30.0
# Weights in other forms than safetensors: not read here, and pickles run code when they are loaded.
_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5", ".onnx", ".gguf", ".pkl")
_OTHER_FOLDERS = ("original", "onnx", "openvino", "gguf")


@dataclass(frozen=True, slots=True)
class HubFile:
    name: str
    size: int
    # Of large files the SHA-256 of the content, of others git's hash of it
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True, slots=True)
class Repository:
    name: str
    # The commit, whatever revision was asked for
    commit: str
    files: tuple[HubFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def look_up(name: str, revision: str | None) -> Repository:
    """What is to be fetched. Raises ModelError."""
    try:
        info = HfApi().model_info(name, revision=revision, files_metadata=True, timeout=SECONDS)
    except (*_FAILURES, HFValidationError) as error:
        raise ModelError(_sentence(error, name, revision)) from None
    files = []
    for one in info.siblings or ():
        path = PurePosixPath(one.rfilename)
        # A name from the network becomes a path here.
        if path.is_absolute() or ".." in path.parts:
            raise ModelError(f"{name} names a file outside of its folder ({one.rfilename[:80]!r}).")
        if path.suffix in _OTHER_WEIGHTS or path.parts[0] in _OTHER_FOLDERS:
            continue
        lfs = one.lfs
        size = lfs.size if lfs is not None else one.size
        if size is None or (lfs is None and one.blob_id is None):
            raise ModelError(f"The hub tells no size and checksum of {one.rfilename} in {name}.")
        files.append(HubFile(one.rfilename, size, None if lfs is None else lfs.sha256, one.blob_id))
    if info.sha is None or not files:
        raise ModelError(f"{name} has no files on the hub.")
    if not any(file.name.endswith(".safetensors") for file in files):
        raise ModelError(f"{name} has no weights as safetensors, and only these are taken.")
    return Repository(name, info.sha, tuple(sorted(files, key=lambda file: file.name)))


def fetch(repository: Repository, file: HubFile, folder: Path) -> None:
    """The file in `folder`, its first part (name.part) gone on with. Raises ModelError, OSError.

    Its content is not checked here.
    """
    path = folder / file.name
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    there = part.stat().st_size if part.exists() else 0
    # Small files may come compressed, where no part of them can be asked for.
    if there > file.size or file.sha256 is None:
        there = 0
    url = hf_hub_url(repository.name, file.name, revision=repository.commit)
    try:
        with part.open("ab" if there else "wb") as stream:
            http_get(
                url,
                stream,
                resume_size=there,
                headers=build_hf_headers(),
                expected_size=file.size,
                displayed_filename=file.name,
            )
    except _FAILURES as error:
        raise ModelError(_sentence(error, repository.name, None)) from None
    except ValueError:
        raise ModelError(
            f"{file.name} is too large to be fetched in one piece ({file.size} bytes): take another repository."
        ) from None
    part.replace(path)


def right(file: HubFile, path: Path, seen: Callable[[int], None] | None = None) -> bool:
    """Whether the content of `path` is what the hub says; `seen` is told of each piece's bytes. Raises OSError."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.sha256 is not None:
        return record.sha256(path, seen) == file.sha256
    content = path.read_bytes()
    if seen is not None:
        seen(len(content))
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest() == file.git_sha1


_FAILURES = (HfHubHTTPError, httpx2.HTTPError, OfflineModeIsEnabled)


def _sentence(error: Exception, name: str, revision: str | None) -> str:
    hub = constants.ENDPOINT
    if isinstance(error, HFValidationError):
        return f"{name[:100]!r} is no repository id; one looks like Qwen/Qwen2.5-VL-32B-Instruct."
    if isinstance(error, GatedRepoError):
        return (
            f"{name} is gated: its licence has to be accepted first. Open {hub}/{name} in a browser, accept it, make a"
            f" token at {hub}/settings/tokens, and run this again with HF_TOKEN=(the token) in the environment."
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{name} has no revision {revision!r}. Give a branch, a tag or a commit of it."
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403) or isinstance(error, RepositoryNotFoundError):
            return (
                f"There is no {name} at {hub}, or it is private and HF_TOKEN is missing or not good for it"
                f" (status {status}). Check the name and the token."
            )
        if status == 429:
            return f"{hub} asks for a pause (status 429). Run this again in some minutes: what came is kept."
        return f"{hub} fails (status {status}). Run this again later: what came is kept."
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so nothing can be fetched. Unset it."
    return (
        f"{hub} can not be reached, or the connection broke ({type(error).__name__}). Check the network and HTTPS_PROXY, or"
        " set HF_ENDPOINT to a mirror; run this again: what came is kept."
    )
