"""A repository on a Hugging Face hub: the list of its files with checksums, and resumable downloads.

It uses huggingface_hub, which supports tokens, proxies, mirrors (HF_ENDPOINT) and retries. Its
`snapshot_download` (2.4.0) discards a partially downloaded shard when it is interrupted, keeps content
that does not match the hub's checksum, and returns an incomplete folder as if it were complete when the
hub fails. Therefore its `http_get` is called here with what has already been downloaded.
"""

from __future__ import annotations

import hashlib
import os
import threading
import urllib.request
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import quote

import httpx2
from huggingface_hub import (
    close_session,
    constants,
    get_session,
    get_token,
    hf_hub_url,
    set_client_factory,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    hf_raise_for_status,
    validate_repo_id,
)
from pydantic import BaseModel, Field, ValidationError

from scripts.models import network, record
from scripts.models.disk import ModelError, parse_relative_path, resolve_inside
from scripts.models.network import FetchError, Network

# Largest response about a repository: names, sizes and checksums of its files
MAX_REPLY_BYTES = 32 * 1024 * 1024
REPLY_SECONDS = 60.0
# Longest pause before a retry that a hub may request; a longer one is ignored.
MAX_PAUSE_SECONDS = 30


def _parse_url(text: str) -> httpx2.URL:
    """Parse a URL. Return an empty URL for an invalid text."""
    try:
        return httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        return httpx2.URL("")


def quote_url(url: httpx2.URL) -> str:
    """Shorten a URL for a sentence, without user, query and fragment, which may contain secrets."""
    port = f":{url.port}" if url.port is not None else ""
    # Encoded, as sent: decoded characters could move a terminal's cursor or look like another host.
    host, path = url.raw_host.decode("ascii"), url.raw_path.partition(b"?")[0].decode("ascii")
    text = f"{url.scheme}://{f'[{host}]' if ':' in host else host}{port}{path}"
    return text if len(text) <= 120 else f"{text[:117]}..."


def parse_endpoint(text: str) -> httpx2.URL:
    """Parse HF_ENDPOINT. Raises FetchError if it is not a valid hub URL."""
    url = _parse_url(text)
    if url.scheme not in ("https", "http") or not url.host:
        # It may contain a password.
        said = "" if "@" in text or not text.isprintable() else f" {text[:100]!r}"
        raise FetchError(
            f"HF_ENDPOINT{said} is not a hub's address such as https://hub.example.org. If it is unset, https://huggingface.co is used."
        )
    return url


class GuardedTransport(httpx2.BaseTransport):
    """A transport to a hub that allows only https and public addresses. Raises FetchError for others.

    The `hub` itself (HF_ENDPOINT) may also be a machine in the user's own network, also by plain http,
    because the user configured it. Redirects to other hosts require https and public addresses. A proxy
    chooses the address of a connection by itself; with a proxy, https and IP addresses in the URL are still checked.
    Compressed responses are refused, because few bytes could become many.
    """

    def __init__(self, hub: str) -> None:
        url = parse_endpoint(hub)
        self._endpoint = _get_origin(url)
        self._api = f"{url.path.rstrip('/')}/api/"
        self._lock = threading.Lock()
        # By proxy, and whether they are for the hub itself; created on demand
        self._lasting: dict[tuple[str, bool], _Transport] = {}
        self._passing: list[_Transport] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        own = _get_origin(url) == self._endpoint
        if url.scheme != "https" and not own:
            raise FetchError(
                f"The hub redirects to {quote_url(url)}: only https is allowed, so that the content cannot be changed on the way. Set HF_ENDPOINT"
                " to another mirror."
            )
        is_api = own and url.path.startswith(self._api)
        request.headers["Accept-Encoding"] = "identity"
        answer = self._make_transport(url, own, REPLY_SECONDS if is_api else None).handle_request(
            request
        )
        if answer.status_code not in (200, 206):
            # The body of a redirect or an error is not used.
            answer.close()
            return httpx2.Response(
                answer.status_code, headers=_filter_reply_headers(answer.headers)
            )
        if answer.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
            answer.close()
            raise FetchError(
                f"{quote_url(url)} is compressed, although no compression was requested. Set HF_ENDPOINT to another mirror."
            )
        if not is_api:
            return answer
        stream = _BoundedStream(cast(httpx2.SyncByteStream, answer.stream), quote_url(url))
        return httpx2.Response(
            answer.status_code, headers=answer.headers, stream=stream, extensions=answer.extensions
        )

    def _make_transport(self, url: httpx2.URL, own: bool, seconds: float | None) -> _Transport:
        refused: Callable[[str], str | None] = network.classify_refused
        proxy = _get_proxy(url)
        if proxy:
            _check_literal(url, own)
            # The configured hub may have any address.
            refused = _allow_any
        elif own:
            refused = _allow_any if url.scheme == "https" else _refuse_public
        with self._lock:
            if seconds is not None:
                # A transport with a time limit is for one request.
                self._passing.append(_Transport(refused, seconds, proxy))
                return self._passing[-1]
            if (proxy, own) not in self._lasting:
                self._lasting[proxy, own] = _Transport(refused, None, proxy)
            return self._lasting[proxy, own]

    def close(self) -> None:
        for transport in (*self._lasting.values(), *self._passing):
            transport.close()


class _Transport(httpx2.HTTPTransport):
    """Connections to all but `refused`, through `proxy` unless "", for `seconds` unless None."""

    def __init__(
        self, refused: Callable[[str], str | None], seconds: float | None, proxy: str
    ) -> None:
        trust = network.make_tls_context()
        through = httpx2.Proxy(proxy) if proxy else None
        if through is not None and through.url.scheme == "https":
            through.ssl_context = trust
        super().__init__(verify=trust, proxy=through)
        # httpx2 has no parameter for a network backend; its pool reads this attribute for each new connection.
        self._pool._network_backend = Network(refused=refused, seconds=seconds)


class _BoundedStream(httpx2.SyncByteStream):
    """Reads a hub's response up to its limit. Raises FetchError beyond it."""

    def __init__(self, stream: httpx2.SyncByteStream, named: str) -> None:
        self._stream = stream
        self._named = named

    def __iter__(self) -> Iterator[bytes]:
        came = 0
        for piece in self._stream:
            came += len(piece)
            if came > MAX_REPLY_BYTES:
                raise FetchError(
                    f"{self._named} sent more than the limit of {MAX_REPLY_BYTES} bytes. Set HF_ENDPOINT to another"
                    " mirror."
                )
            yield piece

    def close(self) -> None:
        self._stream.close()


def _allow_any(address: str) -> None:
    """Allow any address, for a configured hub."""


def _refuse_public(address: str) -> str | None:
    """Return the reason to refuse plain http to a public address; None for an address in the user's network."""
    return (
        None
        if network.classify_refused(address)
        else "public (plain http is only for your own network)"
    )


def _filter_reply_headers(headers: httpx2.Headers) -> list[tuple[str, str]]:
    """Return the headers about the response itself, without retry delays that are too long."""
    kept = []
    for name, value in headers.multi_items():
        if name.startswith(("content-", "transfer-", "ratelimit")):
            continue
        short = value.isascii() and value.isdecimal() and int(value[:9]) <= MAX_PAUSE_SECONDS
        if name != "retry-after" or short:
            kept.append((name, value))
    return kept


def _get_proxy(url: httpx2.URL) -> str:
    """Return the environment's proxy for a URL, or "". Raises FetchError for an unsupported proxy."""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all") or ""
    port = url.port or (443 if url.scheme == "https" else 80)
    if not proxy or urllib.request.proxy_bypass(f"{url.host}:{port}"):
        return ""
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    through = _parse_url(proxy)
    if through.scheme not in ("http", "https") or not through.host:
        kind = f"of the kind {through.scheme}" if through.scheme.isalnum() else "that is not a URL"
        raise FetchError(
            f"The environment names a proxy {kind} (HTTPS_PROXY or ALL_PROXY), but only http:// and https://"
            " proxies are supported. Set one in HTTPS_PROXY, or list the hub in NO_PROXY."
        )
    return proxy


def _get_origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _check_literal(url: httpx2.URL, own: bool) -> None:
    """Raise FetchError for a private IP address in the URL, which no lookup would check."""
    kind = network.classify_refused(url.host)
    if kind not in (None, "no IP") and not own:
        raise FetchError(
            f"The hub redirects to {quote_url(url)}, a {kind} address, which is not allowed."
        )


# All requests of huggingface_hub in this process go to public addresses; its own request hook
# (offline mode) is kept.
_hooks = get_session().event_hooks
close_session()
set_client_factory(
    lambda: httpx2.Client(
        transport=GuardedTransport(constants.ENDPOINT),
        event_hooks=_hooks,
        follow_redirects=True,
        max_redirects=5,
        timeout=30.0,
    )
)
# Bytes written to a file at a time, and lost when the connection breaks. With the library's default of
# 10 MiB, a slow connection shows no progress for minutes, and one that breaks often makes none.
constants.DOWNLOAD_CHUNK_SIZE = 256 * 1024

SECONDS = 30.0
MAX_FILES = 5000
# Weights in formats other than safetensors: they are not read here, and pickles run code when loaded.
_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5", ".onnx", ".gguf", ".pkl")
_OTHER_FOLDERS = ("original", "onnx", "openvino", "gguf")


@dataclass(frozen=True, slots=True)
class HubFile:
    name: str
    size: int
    # The SHA-256 of the content for large files, else git's hash of it
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True, slots=True)
class Repository:
    name: str
    # The commit of the requested revision
    commit: str
    files: tuple[HubFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


class _Lfs(BaseModel):
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _File(BaseModel):
    rfilename: str
    size: int | None = Field(default=None, ge=0)
    blob: str | None = Field(default=None, alias="blobId", pattern=r"^[0-9a-f]{40}$")
    lfs: _Lfs | None = None


class _Reply(BaseModel):
    """A hub's untrusted description of a repository: the fields used here."""

    sha: str = Field(pattern=r"^[0-9a-f]{40}$")
    siblings: list[_File]


def look_up(name: str, revision: str | None, only: Collection[str] = ()) -> Repository:
    """Return the repository with the files to download: `only` these, else those of a safetensors model.

    Raises ModelError.
    """
    if (token := get_token()) and not (token.isascii() and token.isprintable()):
        raise ModelError(
            "HF_TOKEN contains characters that are invalid in a token. Copy it again, or unset it."
        )
    try:
        validate_repo_id(name)
        at = "" if revision is None else f"/revision/{quote(revision, safe='')}"
        answer = get_session().get(
            f"{constants.ENDPOINT}/api/models/{name}{at}",
            headers=build_hf_headers(),
            params={"blobs": True},
            timeout=SECONDS,
        )
        hf_raise_for_status(answer)
        reply = _Reply.model_validate_json(answer.content)
    except FetchError as error:
        raise ModelError(error.message) from None
    except (*_FAILURES, HFValidationError) as error:
        raise ModelError(_explain_error(error, name, revision)) from None
    except ValidationError:
        raise ModelError(
            f"{get_hub_address()} does not respond as a hub. Check HF_ENDPOINT, and that no login page of the network is in between."
        ) from None
    found = _select_files(name, reply.siblings, only)
    if lost := sorted(set(only) - {file.name for file in found}):
        at = f" at {revision}" if revision else ""
        raise ModelError(f"{name} has no {', '.join(lost[:3])}{at}. Look at its files on the hub.")
    if not found:
        raise ModelError(f"{name} has no files on the hub.")
    if len(found) > MAX_FILES:
        raise ModelError(f"{name} has {len(found)} files; no model has more than {MAX_FILES}.")
    if not only and not any(file.name.endswith(".safetensors") for file in found):
        raise ModelError(f"{name} has no safetensors weights, and other formats are not supported.")
    return Repository(name, reply.sha, tuple(sorted(found, key=lambda file: file.name)))


def _select_files(name: str, siblings: Iterable[_File], only: Collection[str]) -> list[HubFile]:
    """Select the files to download from a repository. Raises ModelError for an invalid name."""
    found: dict[str, HubFile] = {}
    for one in siblings:
        try:
            # The name, which is received from the network, becomes a path.
            path = parse_relative_path(one.rfilename)
        except ModelError as error:
            raise ModelError(f"{name} is refused: {error.message}") from None
        other = path.suffix in _OTHER_WEIGHTS or path.parts[0] in _OTHER_FOLDERS
        if str(path) not in only if only else other:
            continue
        # The names of the record and of partial files are reserved.
        if str(path).startswith(record.NAME) or path.suffix == ".part":
            continue
        size, sha256 = (one.size, None) if one.lfs is None else (one.lfs.size, one.lfs.sha256)
        if size is None or (sha256 is None and one.blob is None):
            raise ModelError(f"The hub gives no size or checksum for {path} in {name}.")
        if str(path) in found:
            raise ModelError(f"{name} is refused: the hub lists {path} twice.")
        found[str(path)] = HubFile(str(path), size, sha256, one.blob)
    return list(found.values())


def fetch(repository: Repository, file: HubFile, folder: Path) -> None:
    """Download the file into `folder`, resuming a partial download (name.part). Raises ModelError or OSError.

    Only the size is checked here, not the content.
    """
    path = folder / file.name
    if path.parent != folder:
        # A link in the folder may lead anywhere.
        resolve_inside(folder, path.parent.relative_to(folder).as_posix())
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    there = part.stat().st_size if part.exists() else 0
    if there > file.size:
        there = 0
    if there == 0 and file.size > constants.MAX_HTTP_DOWNLOAD_SIZE:
        raise ModelError(
            f"{file.name} is too large to be fetched in one piece ({file.size} bytes): choose another repository."
        )
    url = hf_hub_url(repository.name, file.name, revision=repository.commit)
    try:
        with part.open("ab" if there else "wb") as stream:
            http_get(
                url,
                cast(BinaryIO, _BoundedFile(stream, file.size)),
                resume_size=there,
                headers=build_hf_headers(),
                expected_size=file.size,
                displayed_filename=file.name,
            )
            # The record states that all files are complete, which must remain true after a power failure.
            stream.flush()
            os.fsync(stream.fileno())
    except FetchError as error:
        raise ModelError(error.message) from None
    except _FAILURES as error:
        raise ModelError(_explain_error(error, repository.name, None)) from None
    except _WrongSize:
        part.unlink(missing_ok=True)
        raise ModelError(_explain_wrong_size(file)) from None
    except OSError as error:
        # An error of the disk has a number; without one, http_get received another size than expected.
        if error.errno is not None:
            raise
        part.unlink(missing_ok=True)
        raise ModelError(_explain_wrong_size(file)) from None
    part.replace(path)


def _explain_wrong_size(file: HubFile) -> str:
    return (
        f"The hub states {file.size} bytes for {file.name}, but sent another number: a proxy or mirror changes the"
        " content, or the hub is faulty. The received part was removed; run the same command to fetch it again."
    )


class _WrongSize(Exception):
    """The response is larger than the hub stated."""


class _BoundedFile:
    """The file interface for http_get, with a limit on the written bytes."""

    def __init__(self, stream: BinaryIO, most: int) -> None:
        self._stream = stream
        self._most = most
        self.seek, self.tell, self.truncate = stream.seek, stream.tell, stream.truncate

    def write(self, piece: bytes) -> int:
        if self._stream.tell() + len(piece) > self._most:
            raise _WrongSize
        return self._stream.write(piece)


def is_correct(file: HubFile, path: Path, seen: Callable[[int], None] | None = None) -> bool:
    """Return True if a file matches the hub's checksum. `seen` gets the bytes of each piece. Raises OSError."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.sha256 is not None:
        return record.update_checksum(path, hashlib.sha256(), seen) == file.sha256
    git = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    return record.update_checksum(path, git, seen) == file.git_sha1


_FAILURES = (HfHubHTTPError, httpx2.HTTPError, OfflineModeIsEnabled)


def get_hub_address() -> str:
    """Return the hub's address, without a password. Raises ModelError if it is invalid."""
    try:
        return quote_url(parse_endpoint(constants.ENDPOINT)).rstrip("/")
    except FetchError as error:
        raise ModelError(error.message) from None


def _explain_error(error: Exception, name: str, revision: str | None) -> str:
    if isinstance(error, HFValidationError):
        return f"{name[:100]!r} is not a repository id such as Qwen/Qwen2.5-VL-32B-Instruct."
    hub = get_hub_address()
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
                f"There is no {name} at {hub}, or it is private and HF_TOKEN is missing or gives no access to it"
                f" (status {status}). Check the name and the token."
            )
        if status == 429:
            return f"{hub} limits requests (status 429). Run this again in a few minutes: received data is kept."
        return f"{hub} failed (status {status}). Run this again later: received data is kept."
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so nothing can be fetched. Unset it."
    return (
        f"{hub} cannot be reached, or the connection broke ({network.explain_error(error)}). Check the network and HTTPS_PROXY, or"
        " set HF_ENDPOINT to a mirror; run this again: received data is kept."
    )
