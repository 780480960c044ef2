"""Parse the `Retry-After` header of other servers. Pure."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)
# Maximum characters; a date has 29.
_MOST = 64


def parse_retry_after(header: str, now: float) -> float | None:
    """Return the seconds given by a header, a number or an HTTP date; None if it is neither.

    `now`: seconds since the epoch.
    """
    text = header[:_MOST].strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
        # A date without a zone is GMT.
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError):
        return None
