"""Tiny models that make videos and speech, built on the spot with random weights."""
