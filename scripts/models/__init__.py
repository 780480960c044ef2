"""Shared parts of the model scripts: disk, records, checks, quantisation, vLLM's command line."""
