"""The catalogue of models that the setting CATALOGUE names: ours, a file's, or one at an https URL; paths in a folder."""

from __future__ import annotations

import hashlib
import logging
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import httpcore2
import httpx2

from server.features.hosting.catalogue.entry import MAX_FILE_BYTES, Catalogue, CatalogueError
from server.models.files import ModelFolderError, opened
from server.shared import network
from server.shared.network import FetchError, Network

# Fetch one file by https: bounded in time, size and redirects, checked by its checksum, from
# public addresses only.

SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
# For one connection with its TLS
_CONNECT_SECONDS = 10.0
# Compressed, few bytes could become many.
_HEADERS = [("Accept-Encoding", "identity"), ("User-Agent", "qwen-camera"), ("Accept", "*/*")]


@dataclass(frozen=True, slots=True)
class Fetcher:
    """`refused` and `resolve` as `Network` has them; `ssl_context` None is the system's trust."""

    # Bytes of the content
    max_bytes: int
    # From the first look-up to the last byte, with redirects
    seconds: float = 20.0
    # Without any byte
    read_seconds: float = 15.0
    refused: Callable[[str], str | None] = network.refused
    resolve: network.Resolve = network.resolve
    ssl_context: ssl.SSLContext | None = None

    def read(self, url: str, *, sha256: str = "") -> bytes:
        """Return the content; nothing is written anywhere. Raises FetchError.

        A proxy is not used: behind one, nobody here could tell where it connects to.
        """
        start = parsed(url)
        named = shown(start)
        if sha256 and SHA256.fullmatch(sha256) is None:
            raise FetchError(f"The checksum for {named} is no SHA-256: 64 hexadecimal digits are.")
        try:
            content = b"".join(self._content(start))
        except httpcore2.TimeoutException:
            raise FetchError(
                f"{named} took too long: {self.seconds:g} s are allowed in all,"
                f" {self.read_seconds:g} s without a byte. Try again, or fetch it by other means and give the path."
            ) from None
        except (
            httpcore2.NetworkError,
            httpcore2.ProtocolError,
            httpcore2.UnsupportedProtocol,
        ) as error:
            raise FetchError(
                f"{named} cannot be reached, or the connection broke ({network.reason(error)}). Check the name and the"
                " network (a proxy is not used), or fetch it by other means and give the path."
            ) from None
        found = hashlib.sha256(content).hexdigest()
        if sha256 and found != sha256.lower():
            raise FetchError(
                f"{named} is not what was asked for: its SHA-256 is {found}, not {sha256.lower()}."
                " Nothing of it is used. Ask whoever publishes it for the new checksum."
            )
        return content

    def _content(self, url: httpx2.URL) -> Iterator[bytes]:
        """Yield the content, after the redirects. Raises FetchError, and httpcore2's errors."""
        backend = Network(seconds=self.seconds, refused=self.refused, resolve=self.resolve)
        context, named = self.ssl_context or network.trusted(), shown(url)
        times = dict.fromkeys(("connect", "pool"), _CONNECT_SECONDS)
        times |= dict.fromkeys(("read", "write"), self.read_seconds)
        with httpcore2.ConnectionPool(ssl_context=context, network_backend=backend) as pool:
            for _ in range(_MOST_REDIRECTS + 1):
                target = httpcore2.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                )
                headers = [("Host", url.netloc.decode("ascii")), *_HEADERS]
                with pool.stream(
                    "GET", target, headers=headers, extensions={"timeout": times}
                ) as answer:
                    if answer.status not in _REDIRECTS:
                        yield from self._body(answer, shown(url))
                        return
                    url = parsed(_header(answer, b"location"), after=url)
            raise FetchError(
                f"{named} leads on and on: {_MOST_REDIRECTS} redirects are followed. Give the last address itself."
            )

    def _body(self, answer: httpcore2.Response, named: str) -> Iterator[bytes]:
        most = self.max_bytes
        if answer.status != 200:
            raise FetchError(
                f"{named} answers with status {answer.status}. Check the address, or fetch it by other means and give the"
                " path."
            )
        if _header(answer, b"content-encoding") not in ("", "identity"):
            raise FetchError(
                f"{named} comes compressed though it was not asked for so. Give another address."
            )
        too_large = FetchError(
            f"{named} is larger than {most} bytes, and no more is taken. Is it the right address?"
        )
        length = _header(answer, b"content-length")
        if length.isdecimal() and int(length[:20]) > most:
            raise too_large
        came = 0
        for piece in answer.iter_stream():
            came += len(piece)
            if came > most:
                raise too_large
            yield piece


def parsed(text: str, after: httpx2.URL | None = None) -> httpx2.URL:
    """Parse an https URL, or the redirect that was found at `after`. Raises FetchError."""
    where = "The address" if after is None else f"{shown(after)} leads on, and the address there"
    if not text or len(text) > 2000 or not text.isprintable():
        raise FetchError(f"{where} is empty, longer than 2000 characters, or none.")
    try:
        url = httpx2.URL(text) if after is None else after.join(text)
        url = url.copy_with(fragment=None)
        whole = bool(url.host) and (url.port or 0) <= 65535
    except (httpx2.InvalidURL, UnicodeError, ValueError):
        raise FetchError(f"{where} is no URL; one looks like https://host/file.") from None
    if not whole and url.scheme == "https":
        raise FetchError(f"{where} has no host, or a port that is none.")
    if url.scheme != "https":
        raise FetchError(
            f"{where} is {shown(url)}: only https is fetched, so that nobody on the way changes it. Give an https URL or"
            " a path."
        )
    if url.userinfo:
        raise FetchError(f"{where} has a user or password in it ({shown(url)}); leave it out.")
    return url


def shown(url: httpx2.URL) -> str:
    """Shorten a URL for a sentence, without user, query and fragment, which may hold secrets."""
    port = f":{url.port}" if url.port is not None else ""
    # Encoded as they go out: decoded, they may move a terminal's cursor or look like another host.
    host, path = url.raw_host.decode("ascii"), url.raw_path.partition(b"?")[0].decode("ascii")
    text = f"{url.scheme}://{f'[{host}]' if ':' in host else host}{port}{path}"
    return text if len(text) <= 120 else f"{text[:117]}..."


def _header(answer: httpcore2.Response, name: bytes) -> str:
    """Return the first header of that name, or ""."""
    values = (value for key, value in answer.headers if key.lower() == name)
    return next(values, b"").decode("latin-1").strip()


log = logging.getLogger(__name__)
# Seconds after a failure before an address is tried again, so that nobody waits for it each time
RETRY_SECONDS = 60.0
_PIN = "#sha256="
_EMPTY = " Leave it empty for our own."


def load_catalogue(source: str, fetcher: Fetcher | None = None) -> Catalogue:
    """`source` is empty (ours), a path, or an https URL that may end in #sha256= and 64 hexadecimal
    digits.

    Blocking, up to 20 s. Raises CatalogueError.
    """
    if not source:
        return Catalogue.load()
    try:
        if "://" in source:
            url, _, checksum = source.partition(_PIN)
            if _PIN in source and not checksum:
                raise FetchError("The checksum after #sha256= is missing.")
            named = shown(parsed(url))
            content = (fetcher or Fetcher(MAX_FILE_BYTES)).read(url, sha256=checksum)
        else:
            path = Path(source).expanduser()
            named = str(path)
            content = read(path, MAX_FILE_BYTES)
        text = content.decode("utf-8")
    except FetchError as error:
        raise CatalogueError(f"CATALOGUE: {error.message}{_EMPTY}") from None
    except RuntimeError:
        raise CatalogueError(
            "CATALOGUE: ~ cannot be used, because this user has no home directory."
        ) from None
    except UnicodeDecodeError:
        raise CatalogueError(
            f"The catalogue {named} is not UTF-8 text. It has to be TOML, like ours."
        ) from None
    return Catalogue.read(text, named)


@dataclass(eq=False)
class CatalogueSource:
    """The catalogue that CATALOGUE names, for a program that goes on: a file is read each time, an
    address once.

    One that cannot be read is replaced by ours, with a sentence among its `troubles`, which the log has, too. For any
    number of threads; `now` is monotonic seconds.
    """

    source: str
    fetcher: Fetcher | None = None
    now: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    # The catalogue of an address, kept
    _fetched: Catalogue | None = field(default=None, init=False)
    _failed_at: float | None = field(default=None, init=False)
    # The reason why ours is used; empty while it is not
    _trouble: str = field(default="", init=False)

    def load(self) -> Catalogue:
        """Blocking, up to 20 s for an address."""
        with self._lock:
            if self._fetched is not None:
                return self._fetched
            address = "://" in self.source
            failed_at = self._failed_at if address else None
            if failed_at is not None and self.now() - failed_at < RETRY_SECONDS:
                return self._ours()
            try:
                found = load_catalogue(self.source, self.fetcher)
            except CatalogueError as error:
                self._failed_at = self.now()
                again = f" It is asked for again in {RETRY_SECONDS:.0f} s." if address else ""
                self._note(
                    f"{error.message.removesuffix(_EMPTY)} Until it can be had ours is used.{again}"
                )
                return self._ours()
            self._note("")
            if address:
                self._fetched = found
            return found

    def _ours(self) -> Catalogue:
        return Catalogue.load().with_local((), (self._trouble,))

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("CATALOGUE cannot be read: ours is used", extra={"reason": trouble})
        elif self._trouble and not trouble:
            log.info("the catalogue that CATALOGUE names is there again")
        self._trouble = trouble


# Paths stay inside their folder, also through links, and files are read up to a limit.


def relative(name: str) -> PurePosixPath:
    """Check that `name` (with /) stays within a folder, whatever is there. Raises FetchError."""
    parts = PurePosixPath(name)
    plain = name.isprintable() and 0 < len(name) <= 500 and "\\" not in name
    if not plain or parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise FetchError(
            f"{_short(name)} is no name within a folder: it is empty, too long, absolute, or leads out of it."
        )
    return parts


def inside(folder: Path, name: str) -> Path:
    """Find `name` in `folder`, links followed. Raises FetchError for a path elsewhere.

    The file need not exist yet; the folder itself may be a link.
    """
    parts = relative(name)
    try:
        root = folder.resolve()
        path = (root / parts).resolve()
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "links go round in a circle"
        raise FetchError(f"{_short(name)} in {folder} cannot be followed ({reason}).") from None
    if path == root or not path.is_relative_to(root):
        raise FetchError(
            f"{_short(name)} in {folder} is a link that leads out of it. Remove the link."
        )
    return path


def read(path: Path, max_bytes: int) -> bytes:
    """Read a regular file. Raises FetchError; never waits for a pipe or a device."""
    try:
        with opened(path) as file:
            content = file.read(max_bytes + 1)
    except ModelFolderError:
        raise FetchError(f"{path} is no regular file.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no path"
        raise FetchError(f"{path} cannot be read ({reason}).") from None
    if len(content) > max_bytes:
        raise FetchError(
            f"{path} is larger than {max_bytes} bytes, and no more is taken. Is it the right file?"
        )
    return content


def _short(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:80]}...")
