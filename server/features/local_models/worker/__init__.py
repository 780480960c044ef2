"""Runs a model in an environment that has torch: `PYTHON -m server.features.local_models.worker --help`.

Nothing here may import more than the standard library, torch, transformers, numpy, Pillow, this
folder, `wire`, and what reads a model's files.
"""
