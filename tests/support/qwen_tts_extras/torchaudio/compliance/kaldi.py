"""Stands in for torchaudio.compliance.kaldi."""
