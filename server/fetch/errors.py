"""What keeps something from being fetched."""

from __future__ import annotations


class FetchError(Exception):
    """`message` says what was asked for, what happened and what to do; it holds no query and no password of a URL."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
