"""Runs inside the models' environment: `python -m server.features.generation.worker`.

Knows torch, numpy and its own folder.
"""
