"""Runs inside the models' environment: `python -m server.generation.worker`.

Knows torch, numpy and its own folder.
"""
