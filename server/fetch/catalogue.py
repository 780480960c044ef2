"""The catalogue of models that the setting CATALOGUE names: ours, a file's, or one at an https URL."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from server.catalogue.entry import MAX_FILE_BYTES, Catalogue, CatalogueError
from server.fetch import files
from server.fetch.fetcher import Fetcher, Limits, parsed, shown
from server.fetch.network import FetchError

log = logging.getLogger(__name__)

# Seconds after a failure before an address is tried again, so that nobody waits for it each time
RETRY_SECONDS = 60.0
LIMITS = Limits(max_bytes=MAX_FILE_BYTES, seconds=20.0)
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
            content = (fetcher or Fetcher(LIMITS)).read(url, sha256=checksum)
        else:
            path = Path(source).expanduser()
            named = str(path)
            content = files.read(path, MAX_FILE_BYTES)
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


class CatalogueSource:
    """The catalogue that CATALOGUE names, for a program that goes on: a file is read each time, an
    address once.

    One that cannot be read is replaced by ours, with a sentence among its `troubles`, which the log has, too. For any
    number of threads; `now` is monotonic seconds.
    """

    def __init__(
        self,
        source: str,
        fetcher: Fetcher | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._fetcher = fetcher
        self._now = now
        self._lock = threading.Lock()
        # The catalogue of an address, kept
        self._fetched: Catalogue | None = None
        self._failed_at: float | None = None
        # The reason why ours is used; empty while it is not
        self._trouble = ""

    def load(self) -> Catalogue:
        """Blocking, up to 20 s for an address."""
        with self._lock:
            if self._fetched is not None:
                return self._fetched
            address = "://" in self._source
            failed_at = self._failed_at if address else None
            if failed_at is not None and self._now() - failed_at < RETRY_SECONDS:
                return self._ours()
            try:
                found = load_catalogue(self._source, self._fetcher)
            except CatalogueError as error:
                self._failed_at = self._now()
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
        return Catalogue.load().with_troubles(self._trouble)

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("CATALOGUE cannot be read: ours is used", extra={"reason": trouble})
        elif self._trouble and not trouble:
            log.info("the catalogue that CATALOGUE names is there again")
        self._trouble = trouble
