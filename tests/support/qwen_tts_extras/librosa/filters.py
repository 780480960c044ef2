"""Stands in for librosa.filters."""


def mel() -> None:
    """Never used here."""
