"""The catalogue of models that the setting CATALOGUE names: ours, a file's, or one at an https URL."""

from __future__ import annotations

from pathlib import Path

from server.catalogue.entry import MAX_FILE_BYTES, Catalogue, CatalogueError
from server.fetch import files
from server.fetch.errors import FetchError
from server.fetch.fetcher import Fetcher, Limits, parsed, shown

LIMITS = Limits(max_bytes=MAX_FILE_BYTES, seconds=20.0)
_PIN = "#sha256="


def load_catalogue(source: str, fetcher: Fetcher | None = None) -> Catalogue:
    """`source` is empty (ours), a path, or an https URL that may end in #sha256= and 64 hexadecimal digits.

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
        raise CatalogueError(f"CATALOGUE: {error.message} Left empty, it is ours.") from None
    except RuntimeError:
        raise CatalogueError(
            "CATALOGUE: ~ means nothing here, because the user has no home."
        ) from None
    except UnicodeDecodeError:
        raise CatalogueError(
            f"The catalogue {named} is no text in UTF-8. It has to be TOML, like ours."
        ) from None
    return Catalogue.read(text, named)
