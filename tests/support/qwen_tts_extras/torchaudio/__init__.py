"""Stands in for torchaudio."""
