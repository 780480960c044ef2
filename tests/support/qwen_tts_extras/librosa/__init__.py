"""Stands in for librosa."""
