"""Stands in for sox."""


class Transformer:
    """Never used here."""
