"""Worker process of a model, in an environment with torch: `PYTHON -m server.features.local_models.worker --help`.

Modules here import only the standard library, torch, transformers, numpy, Pillow, this folder, `wire`, and the modules
that read a model's files.
"""
