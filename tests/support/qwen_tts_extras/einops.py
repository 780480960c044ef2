"""Stands in for einops."""


def rearrange() -> None:
    """Never used here."""


def repeat() -> None:
    """Never used here."""
