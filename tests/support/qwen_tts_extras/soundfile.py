"""Stands in for soundfile."""
